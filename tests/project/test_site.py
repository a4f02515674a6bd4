"""The documentation's site: what it is made of, and that it can be built without a warning."""

import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import ROOT

import thinktuning
from thinktuning.commands.cli import parser
from thinktuning.study.reading import load_study


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml, whose tags only MkDocs understands."""


Loader.add_multi_constructor("", lambda loader, tag, node: None)
MKDOCS = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)


@pytest.fixture
def site(monkeypatch):
    """The modules of docs/ that make pages: name -> module."""
    monkeypatch.syspath_prepend(ROOT / "docs")
    names = ("hooks", "reference")
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        del sys.modules[name]


def listed(nav):
    """Yield the pages of a navigation."""
    for entry in nav:
        for target in entry.values():
            yield from [target] if isinstance(target, str) else listed(target)


def test_every_page_is_in_the_navigation(site):
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    made = [*site["hooks"].HOMES.values(), *site["reference"].pages()]
    assert sorted(listed(MKDOCS["nav"])) == sorted(pages + made)


LINKS = "[a](../config.yaml) [b](study.md#x) ![c](d/e.svg) [f](https://g.h) `[i](../j)`\n\n"


def test_links_lead_to_the_sites_pages(site):
    hooks = site["hooks"]
    text = f"{LINKS}    [k](../l)\n"
    assert hooks.links(text, "docs/m.md") == ["config.yaml", "docs/study.md", "docs/d/e.svg"]
    made = hooks.linked(text, "docs/m.md", {"config.yaml": "source/config.yaml.md"}.get)
    assert made == text.replace("../config.yaml", "source/config.yaml.md")
    assert hooks.uri_of("README.md") == "index.md"
    assert hooks.uri_of("docs/study.md") == "study.md"
    assert hooks.uri_of("studies") == "source/studies/index.md"
    for missing in ("studies/none.yaml", f"../{ROOT.name}/config.yaml"):
        with pytest.raises(FileNotFoundError):
            hooks.uri_of(missing)


def test_a_page_shows_a_file_whatever_fences_it_has(site):
    shown = site["hooks"].shown("docs/hooks.py")
    fence = re.findall("^`+", shown, re.M)
    assert len(fence) == 2 and len(fence[0]) > 3 and len(set(fence)) == 1


def test_the_reference_has_every_public_name_command_and_key(site):
    pages = site["reference"].pages()
    text = "\n".join(pages.values())
    for name, home in thinktuning._HOMES.items():
        assert f"::: thinktuning.{home}.{name}\n" in text
    (commands,) = (a.choices for a in parser()._actions if isinstance(a.choices, dict))
    assert re.findall(r"^## (\w+)$", pages["reference/cli.md"], re.M) == list(commands)
    study = load_study(ROOT / "config.yaml").model_dump()
    for key in [*study, *study["training"], *study["algorithm"], *study["teacher"]]:
        assert f"\n| `{key}` | " in pages["reference/keys.md"]
    anchors = {name.lower() for name in re.findall("^## (.*)$", pages["reference/keys.md"], re.M)}
    assert set(re.findall(r"\]\(#(\w+)\)", pages["reference/keys.md"])) <= anchors


def make(target, *variables, directory=ROOT):
    """Run a target of the Makefile with the interpreter of the tests."""
    command = ["make", "--no-print-directory", "--old-file=env", target, *variables]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PIP_RETRIES": "1", "PIP_TIMEOUT": "20"}
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_host(tmp_path):
    """`make docs`, which fails on dead links and anchors, and on pages outside the navigation."""
    variables = [f"DOCS={tmp_path}/packages", f"SITE={tmp_path}/site"]
    installed = make(f"{tmp_path}/packages/.installed", *variables)
    if "(from versions: none)" in installed.stderr:
        pytest.skip(f"the package registry cannot be reached: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    built = make("docs", *variables)
    assert built.returncode == 0, built.stderr
    assert f"{tmp_path}/site/index.html" in built.stdout
    pages = {str(p.relative_to(tmp_path / "site")): p for p in tmp_path.rglob("site/**/*.html")}
    assert len(pages) > 50
    assert {"index.html", "tutorial.html", "reference/trainer.html"} <= pages.keys()
    trainer = pages["reference/trainer.html"].read_text()
    assert 'id="thinktuning.trainer.trainer.ThinkTuningTrainer"' in trainer
    loaded = re.compile(r'(?:<script[^>]* src|<link[^>]* href|<img[^>]* src)="https?:')
    assert [name for name, page in pages.items() if loaded.search(page.read_text())] == []

    broken = tmp_path / "broken"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "results", "site")
    shutil.copytree(ROOT, broken, ignore=ignored)
    with (broken / "docs/tutorial.md").open("a") as page:
        page.write("[a](nowhere.md) [b](study.md#nowhere) [c](../thinktuning/nowhere.py)\n")
    (broken / "docs/lost.md").write_text("# Lost\n")
    refused = make("docs", variables[0], f"SITE={tmp_path}/broken_site", directory=broken)
    assert refused.returncode != 0
    for named in ("'nowhere.md'", "'study.md#nowhere'", "'../thinktuning/nowhere.py'", "lost.md"):
        assert named in refused.stderr, refused.stderr
