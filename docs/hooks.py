"""MkDocs' hooks: the pages of the site that are not files of docs/.

Pages link to each other as GitHub wants it. What lies outside docs/ gets a page in the site, so
that every link works offline and is checked: README.md is the home page, other Markdown files and
notebooks are pages, source files are shown with highlighting, folders as lists. `reference.py`
writes the reference.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from reference import pages as reference_pages

ROOT = Path(__file__).resolve().parents[1]
HOMES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "examples/quickstart.ipynb": "quickstart.md",
}
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".json": "json", ".smk": "python"}
# Code, whose brackets are no links; then a link's target.
CODE = re.compile(r"^```.*?^```$|^(?: {4}|\t).*?$|`[^`\n]*`|<!--.*?-->", re.M | re.S)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^()\s#]+)(#[\w-]+)?(?=\))")
UNLISTED = "---\nhide: [navigation, toc]\nsearch: {exclude: true}\n---\n\n"


def exists(path: str) -> bool:
    """Tell whether the repository has a path."""
    return not path.startswith("../") and (ROOT / path).exists()


def uri_of(path: str) -> str:
    """Return where in the site a path of the repository is shown.

    Raises:
        FileNotFoundError: the repository has no such path.
    """
    target = ROOT / path
    if not exists(path):
        raise FileNotFoundError(path)
    if path in HOMES:
        return HOMES[path]
    inside = path.startswith("docs/") and target.suffix != ".py"
    uri = path.removeprefix("docs/") if inside else f"source/{path}"
    if target.is_dir():
        return f"{uri}/index.md"
    return uri if inside or target.suffix == ".md" else f"{uri}.md"


def linked(text: str, path: str, use: Callable[[str], str | None]) -> str:
    """Return a page's text with its links replaced.

    Args:
        text: of the page, in Markdown.
        path: the page's file in the repository; links are relative to it.
        use: takes the linked path of the repository, returns the new target, or None to keep it.
    """
    code = [found.span() for found in CODE.finditer(text)]

    def replaced(found: re.Match[str]) -> str:
        if any(start <= found.start() < end for start, end in code):
            return found[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(path), found[1]))
        return (use(target) or found[1]) + (found[2] or "")

    return LINK.sub(replaced, text)


def links(text: str, path: str) -> list[str]:
    """Return the paths of the repository that a page links to."""
    found: list[str] = []
    linked(text, path, found.append)
    return found


def listed(folder: str) -> list[str]:
    """Return the names of what is in a folder of the repository, folders first."""
    names = [path.name for path in (ROOT / folder).iterdir()]
    names = [name for name in names if not name.startswith((".", "__pycache__"))]
    return sorted(names, key=lambda name: ((ROOT / folder / name).is_file(), name))


def shown(path: str) -> str:
    """Return the page of a path of the repository, in Markdown."""
    target = ROOT / path
    if target.is_dir():
        items = [f"- [`{name}`]({target.name}/{name})" for name in listed(path)]
        return f"{UNLISTED}# {path}\n\n" + "\n".join(items) + "\n"
    text = target.read_text(encoding="utf-8")
    if target.suffix == ".md":
        return text if path in HOMES else UNLISTED + text
    if target.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        return "\n".join(line for cell in cells for line in notebook_cell(cell))
    language = LANGUAGES.get(target.suffix, "text")
    block = fenced(text, f'{{.{language} linenums="1"}}')
    return f"{UNLISTED}# {path}\n\n{block}"


def fenced(text: str, language: str) -> str:
    """Return text as a block of code, whatever fences it has itself."""
    fence = "`" * (max(map(len, re.findall(r"`{3,}", text)), default=2) + 1)
    return f"{fence} {language}\n{text.rstrip()}\n{fence}\n"


def notebook_cell(cell: dict[str, Any]) -> Iterator[str]:
    """Yield a cell of a notebook, and its outputs, in Markdown."""
    source = "".join(cell["source"])
    yield f"{source}\n" if cell["cell_type"] == "markdown" else fenced(source, "python")
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            yield f"![figure](data:image/png;base64,{''.join(data['image/png']).strip()})\n"
        else:
            yield fenced("".join(output.get("text") or data.get("text/plain", "")), "text")


def outside(texts: dict[str, str]) -> dict[str, str]:
    """Return path -> text of all pages that are not files of docs/ but that a page leads to.

    Links to nothing are left to MkDocs, which names them.

    Args:
        texts: path -> text of the pages that there are anyway.
    """
    pages: dict[str, str] = {}
    waiting = [path for page, text in texts.items() for path in links(text, page)]
    while waiting:
        path = waiting.pop()
        target = ROOT / path
        if path in pages or path in texts or not exists(path):
            continue
        if not uri_of(path).endswith(".md"):  # a figure or a table of docs/
            continue
        pages[path] = shown(path)
        if target.is_dir():
            waiting += [f"{path}/{name}" for name in listed(path)]
        elif target.suffix in (".md", ".ipynb"):
            waiting += links(pages[path], path)
    return pages


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are no files of docs/."""
    from mkdocs.structure.files import File

    docs = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    homes = {path: shown(path) for path in HOMES}
    made = homes | outside(docs | homes)
    for path, text in made.items():
        if path not in docs:
            page = File.generated(config, uri_of(path), content=text)
            page.repository_path = path
            files.append(page)
    for uri, text in reference_pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point a page's links to where their targets are in the site."""
    path = getattr(page.file, "repository_path", f"docs/{page.file.src_uri}")
    here = posixpath.dirname(page.file.src_uri)
    if page.file.src_uri.startswith("reference/"):
        return markdown

    def use(target: str) -> str | None:
        return posixpath.relpath(uri_of(target), here or ".") if exists(target) else None

    return linked(markdown, path, use)
