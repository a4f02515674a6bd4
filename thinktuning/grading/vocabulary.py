"""The words and characters that the grader knows by name, of `vocabulary.yaml`."""

from pathlib import Path
from typing import Any

import yaml

_LOADED: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parent / "vocabulary.yaml").read_text(encoding="utf-8")
)


def words(name: str) -> frozenset[str]:
    """Return the words of a list."""
    return frozenset(_LOADED[name].split())


def lines(name: str) -> list[list[str]]:
    """Return the words of each line of a list."""
    return [line.split() for line in _LOADED[name].splitlines()]


def symbols() -> dict[str, str]:
    """Return the LaTeX of each Unicode character."""
    return {c: latex for latex, characters in _LOADED["symbols"].items() for c in characters}


def commands() -> dict[str, str]:
    """Return the replacement of each LaTeX command, without its backslash."""
    return {name: latex for latex, names in _LOADED["commands"].items() for name in names.split()}
