"""Adjust the p-values of a study for the number of its comparisons."""

from collections.abc import Sequence
from typing import Any

from thinktuning.analysis.intervals import holm


def adjust_p_values(rows: Sequence[dict[str, Any]], baselines: Sequence[str], mean: str) -> None:
    """Add Holm's adjusted p-values to the rows of comparison.csv, in place.

    One family has the differences on all tasks, of every pair of method and baseline; another one
    those of the mean of tasks. Where both of a pair are baselines, a - b and b - a are one
    hypothesis, which counts once.

    Args:
        rows: the rows, with `diff_NAME_p`; None takes no part.
        baselines: the NAMEs.
        mean: the `task` of the mean of tasks.
    """
    for is_mean in (False, True):
        cells = [
            (row, f"diff_{baseline}_p", (row["task"], frozenset((row["method"], baseline))))
            for row in rows
            for baseline in baselines
            if (row["task"] == mean) == is_mean and row[f"diff_{baseline}_p"] is not None
        ]
        family = {hypothesis: row[key] for row, key, hypothesis in cells}
        adjusted = dict(zip(family, holm(list(family.values())), strict=True))
        for row, key, hypothesis in cells:
            row[f"{key}_holm"] = adjusted[hypothesis]
