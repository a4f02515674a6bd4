"""README and the pages of docs/, for the tests that hold them to the code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {path: path.read_text(encoding="utf-8") for path in PAGES}
README = TEXTS[ROOT / "README.md"]
EXTENDING = TEXTS[ROOT / "docs/extending.md"]
EVALUATION = TEXTS[ROOT / "docs/evaluation.md"]


def without_code(text):
    """A page's text without blocks of code, code in a line, and comments."""
    return re.sub(r"^```.*?^```$|^ {4}.*?$|`[^`\n]*`|<!--.*?-->", "", text, flags=re.M | re.S)
