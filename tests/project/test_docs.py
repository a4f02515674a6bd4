"""Links, paths and commands in README and docs."""

import re

import pytest
from pages import PAGES, ROOT, TEXTS, without_code


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
