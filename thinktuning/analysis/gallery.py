"""The figures of a study, in the order in which the page shows them.

A new figure is a function in a file of its own, and an entry here: `thinktuning compare` draws it,
the page and Snakemake's report show it (docs/extending.md).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinktuning.analysis import figures

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Material:
    """What figures draw.

    Attributes:
        comparison: the rows of comparison.csv.
        reflection: the rows of behaviors.csv and flips.csv.
        metrics: trained method -> for each training seed, the rows of its metrics.jsonl.
        seeds: (column, method, task) -> the value of each training seed.
        baselines: baseline -> label.
        labels: method -> label.
    """

    comparison: Rows
    reflection: Rows
    metrics: Mapping[str, Sequence[Rows]]
    seeds: Mapping[tuple[str, str, str], Sequence[float]]
    baselines: Mapping[str, str]
    labels: Mapping[str, str]


@dataclass(frozen=True)
class FigureEntry:
    """A figure: its name in Snakemake's report, its caption on the page, and its SVG."""

    label: str
    caption: str
    draw: Callable[[Material], str]


GALLERY = {
    "differences": FigureEntry(
        label="differences to the baselines",
        caption="Difference in accuracy to each baseline, paired by question. An interval that "
        "crosses the dashed line is compatible with no difference.",
        draw=lambda m: figures.differences(m.comparison, m.baselines),
    ),
    "accuracy": FigureEntry(
        label="accuracy and reflection",
        caption="Accuracy and reflection rate. Small dots are single training seeds.",
        draw=lambda m: figures.accuracy(m.comparison, m.seeds),
    ),
    "flips": FigureEntry(
        label="answer changes",
        caption="Answer changes: from the first committed answer to the last one, which is graded.",
        draw=lambda m: figures.flips(m.reflection),
    ),
    "learning_curves": FigureEntry(
        label="learning curves",
        caption="Training, by rollout batch.",
        draw=lambda m: figures.learning_curves(m.metrics, m.labels),
    ),
}
