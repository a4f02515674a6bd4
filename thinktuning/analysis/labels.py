"""Labels of methods beside a figure's bars: long ones, such as those with a mark, are wrapped."""

from collections.abc import Iterable, Mapping
from textwrap import fill
from typing import Any

WIDTH = 30  # characters of a line
LINE = 0.16  # inches of each line, if there are several


def wrapped_labels(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return method -> its label, in lines of at most `WIDTH` characters."""
    labels = {row["method"]: str(row["label"]) for row in rows}
    return {name: fill(text, WIDTH) if len(text) > WIDTH else text for name, text in labels.items()}


def bars_height(labels: Mapping[str, str], bar: float) -> float:
    """Return the inches of one bar per label: `bar` each, or more for labels of several lines."""
    lines = max(label.count("\n") + 1 for label in labels.values())
    return len(labels) * (max(bar, LINE * lines) if lines > 1 else bar)
