"""Model output on a terminal: in color where supported, with control characters made visible."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

INDENT = 10
# Control characters, invisible characters, and those that change the text direction.
_UNSEEN = re.compile(
    "[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e"
    "\\u2060-\\u2069\\ud800-\\udfff\\ufeff]"
)


def visible(text: str) -> str:
    """Replace every control or invisible character by its code point, e.g. `<U+001B>`."""
    return _UNSEEN.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


def console() -> "Console":
    """Return a console on standard output; without a terminal it prints plain text."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def paragraph(name: str, *parts: tuple[str, str]) -> "Text":
    """Return a labeled paragraph of (text, style) parts, with later lines indented to match.

    The text is not parsed as rich markup: brackets stay literal.
    """
    from rich.text import Text

    made = Text(f"{name:{INDENT}}", style="dim")
    for text, style in parts:
        indented = re.sub("\n(?=[^\n])", "\n" + " " * INDENT, visible(text))
        made.append(indented, style=f"not dim {style}")
    return made
