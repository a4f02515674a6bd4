"""What interventions on reflection change: interventions.csv, .md and .svg.

A score of a question is the mean over its usable answers, those that committed to something and
ended; a question without one in every seed is left out. Intervals are those of all tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from thinktuning.analysis import seeds
from thinktuning.analysis.cells import confidence_text, interval_text
from thinktuning.analysis.comparison import ComparisonRow
from thinktuning.analysis.figures import STYLE, legend, to_svg, unique
from thinktuning.analysis.intervals import Estimate, share
from thinktuning.analysis.looks import looks
from thinktuning.analysis.tables import csv_text, table
from thinktuning.io.files import write_text_atomic
from thinktuning.study.jobs import CompareJob

PerSeed = Sequence[Sequence[Mapping[str, Any]]]
Key = tuple[str, str]  # method, task

LABELS = {
    "as_is": "as it is",
    "cut": "cut after the first answer",
    "doubt": "doubt forced",
    "agree": "agreement forced",
    "right_first": "right answer first",
    "wrong_first": "wrong answer first",
    "swap": "another answer's reflection",
}
MEASURES = {
    "correct": "accuracy",
    "follows": "follows what was planted",
    "reflects": "reflects",
}
COLUMNS = ["method", "task", "intervention", "seeds", "n"]
COLUMNS += [f"{name}{end}" for name in MEASURES for end in ("", "_ci_low", "_ci_high")]
NOTE = """\
`n`: questions. Each answer is cut after its first box and goes on from a changed beginning;
intervals are {level}, over questions or over seeds crossed with questions. *Follows*: the share of
final answers that equal what was planted, that is the first answer or, of another answer's
reflection, what that came to. A model that corrects is right after a wrong answer as after a right
one; one that confirms follows both. Where doubt or agreement is forced, these words reflect.
"""


def write(
    made: Mapping[Key, PerSeed], recorded: Mapping[Key, PerSeed], job: CompareJob, output: Path
) -> None:
    """Write the tables and the figure.

    Args:
        made: the answers under the interventions, of each seed.
        recorded: the usable answers as they are, of each seed; one that keeps its first follows it.
        job: the study's comparison.
        output: the directory.
    """
    rows = [
        row
        for (method, task), per_seed in made.items()
        for row in summarize(method, task, recorded[method, task], per_seed, job)
    ]
    texts = {
        "interventions.csv": csv_text(rows, COLUMNS),
        "interventions.md": markdown(job, rows),
        "interventions.svg": draw(rows, job),
    }
    for name, text in texts.items():
        write_text_atomic(output / name, text)


def summarize(
    method: str, task: str, recorded: PerSeed, made: PerSeed, job: CompareJob
) -> list[ComparisonRow]:
    """Return a row for the answers as they are and for each intervention that has answers."""
    by_kind: dict[str, list[list[Mapping[str, Any]]]] = {
        "as_is": [list(samples) for samples in recorded]
    }
    for kind in LABELS:
        found = [[row for row in rows if row["intervention"] == kind] for rows in made]
        if kind != "as_is" and all(found):
            by_kind[kind] = found
    rows = []
    for kind, per_seed in by_kind.items():
        row: ComparisonRow = {"method": method, "task": task, "intervention": kind}
        row |= {"label": LABELS[kind], "seeds": len(per_seed)}
        for measure in MEASURES:
            if share_of := estimate(per_seed, measure, job.comparison.confidence):
                row |= {"n": share_of.n, measure: share_of.mean}
                row |= {
                    f"{measure}_ci_low": share_of.ci_low,
                    f"{measure}_ci_high": share_of.ci_high,
                }
        if "n" in row:
            rows.append(row)
    return rows


def estimate(per_seed: PerSeed, measure: str, confidence: float) -> Estimate | None:
    """Return the share of answers with a property; None with fewer than two common questions."""
    values: list[dict[str, list[bool]]] = []
    for rows in per_seed:
        of_seed: dict[str, list[bool]] = {}
        for row in rows:
            of_seed.setdefault(row["id"], []).append(row[measure])
        values.append(of_seed)
    common = sorted(set.intersection(*(set(of_seed) for of_seed in values)))
    if len(common) < 2:
        return None
    scores = np.array([[np.mean(of_seed[name]) for name in common] for of_seed in values])
    found = share([scores], confidence)
    if seeds.have_interval(scores):
        return found
    return replace(found, ci_low=None, ci_high=None)


def markdown(job: CompareJob, rows: Sequence[ComparisonRow]) -> str:
    """Return interventions.md: a table for each model and task."""
    parts = [f"# Study `{job.study}`: reflection cut, forced and swapped", note(job)]
    for method, task in dict.fromkeys((row["method"], row["task"]) for row in rows):
        body = [
            [row["label"], str(row["n"]), *(cell(row, measure) for measure in MEASURES)]
            for row in rows
            if (row["method"], row["task"]) == (method, task)
        ]
        parts += [f"## {job.methods[method]}, {task}"]
        parts += [table(["answers", "n", *MEASURES.values()], body)]
    return "\n\n".join(parts) + "\n"


def note(job: CompareJob) -> str:
    """Return the note above the tables."""
    return NOTE.format(level=confidence_text(job.comparison.confidence)).strip()


def cell(row: ComparisonRow, measure: str) -> str:
    """Return a share with its interval, if it has one."""
    value, low, high = (row[f"{measure}{end}"] for end in ("", "_ci_low", "_ci_high"))
    return f"{100 * value:.1f}" if low is None else interval_text(value, low, high)


def draw(rows: Sequence[ComparisonRow], job: CompareJob) -> str:
    """Draw a column of panels per task: accuracy, and the share that follows what was planted."""
    import matplotlib
    from matplotlib.figure import Figure

    tasks, methods = unique(rows, "task"), unique(rows, "method")
    kinds = [kind for kind in LABELS if kind in unique(rows, "intervention")]
    measures, drawn = ["correct", "follows"], looks(job.methods)
    with matplotlib.rc_context(STYLE):
        height = 0.6 + len(kinds) * (0.16 + 0.09 * len(methods))
        figure = Figure(figsize=(1.6 + 2.6 * len(tasks), height * len(measures)))
        axes = figure.subplots(len(measures), len(tasks), squeeze=False, sharex=True, sharey=True)
        for row in rows:
            shift = (methods.index(row["method"]) - (len(methods) - 1) / 2) * 0.7 / len(methods)
            y = kinds.index(row["intervention"]) + shift
            shade = drawn[row["method"]].color
            for line, measure in zip(axes, measures, strict=True):
                axis = line[tasks.index(row["task"])]
                ends = [row[f"{measure}{end}"] for end in ("_ci_low", "_ci_high")]
                if None not in ends:
                    axis.plot([100 * end for end in ends], [y, y], "-", color=shade, linewidth=1.6)
                axis.plot([100 * row[measure]], [y], "o", color=shade, markersize=4)
        for line, measure in zip(axes, measures, strict=True):
            for axis, task in zip(line, tasks, strict=True):
                axis.set_title(f"{task}:\n{MEASURES[measure]}")
                axis.grid(axis="y", visible=False)
                for between in range(1, len(kinds)):
                    axis.axhline(between - 0.5, color="#dddddd", linewidth=0.6)
        axes[0, 0].set_yticks(range(len(kinds)), [LABELS[kind] for kind in kinds])
        axes[0, 0].set_ylim(len(kinds) - 0.5, -0.5)
        for axis in axes[-1]:
            axis.set_xlabel("share of answers, %")
        entries = [(drawn[name], job.methods[name]) for name in methods]
        legend(figure, entries, f"bars: {confidence_text(job.comparison.confidence)} intervals")
        return to_svg(figure)
