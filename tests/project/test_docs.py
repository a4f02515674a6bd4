"""Links, paths and commands in README and docs."""

import re
from typing import get_args

import pytest
from pages import PAGES, ROOT, TEXTS, without_code

from thinktuning.algorithms import AnyAlgorithmConfig


def test_commands_put_results_outside_the_repository():
    found = re.findall(r"(?:DIRECTORY=|--directory )([^\s`]+)", "\n".join(TEXTS.values()))
    assert len(found) > 3
    assert [directory for directory in found if not directory.startswith("~/")] == []


def anchors(text):
    """The anchors that GitHub gives to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "path",
    [*PAGES, ROOT / "CHANGELOG.md", ROOT / "results/README.md"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_links_within_the_repository_resolve(path):
    text = path.read_text(encoding="utf-8")
    dead = []
    for link in re.findall(r"\]\(([^()\s]+)\)", without_code(text)):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text())):
            dead.append(link)
    assert dead == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_paths_in_the_text_exist(path):
    text = re.sub(r"^```.*?^```$", "", TEXTS[path], flags=re.M | re.S)
    folders = "docs|perf|studies|tests|thinktuning|workflow"
    named = re.findall(rf"`((?:{folders})/[\w./-]*)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_algorithm_and_each_of_its_keys_is_explained():
    union, _ = get_args(AnyAlgorithmConfig)
    method, study = ((ROOT / f"docs/{page}.md").read_text() for page in ("method", "study"))
    for section in get_args(union):
        name = section.model_fields["type"].default
        assert re.search(rf"^\| `{name}` \|", method, re.M), name
        assert f"`{name}`" in study
        for key in section.model_fields:
            assert re.search(rf"^\| (?:`\w+`, )*`{key}`(?:, `\w+`)* \|", study, re.M), key
