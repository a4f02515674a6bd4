"""The progress of a job, read from the bar at the end of its log, which tqdm writes there."""

import re
from dataclasses import dataclass
from pathlib import Path

TAIL = 8192  # bytes: some hundred characters a bar
_BAR = re.compile(r"([\w .-]+): +\d+%\|[^|]*\| (\d+)/(\d+) \[([^\]]*)\]")


@dataclass(frozen=True)
class Bar:
    """A bar as it was last drawn.

    Attributes:
        name: of what is counted, e.g. `train`.
        done: how many are done, of `total`.
        figures: what it shows besides, e.g. `student_reward` of the last batch.
    """

    name: str
    done: int
    total: int
    figures: dict[str, float]


def last_bar(log: Path) -> Bar | None:
    """Return the last bar in a log; None without one, or if the log cannot be read.

    Bars of one step say nothing, e.g. that of a model's only file.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - TAIL))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return None
    bars = [match for match in _BAR.finditer(text) if int(match[3]) > 1]
    if not bars:
        return None
    name, done, total, rest = bars[-1].groups()
    return Bar(name.strip(), int(done), int(total), figures(rest))


def figures(text: str) -> dict[str, float]:
    """Return the named numbers behind a bar: `00:13<00:00, 4.27batch/s, reward=0.29`."""
    found = {}
    for part in text.split(", "):
        name, _, value = part.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:  # elapsed time, or speed
            continue
    return found
