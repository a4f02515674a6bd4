"""The comparison's figures: SVG, text as text, Okabe and Ito's palette (safe for the colour-blind).

Each function draws the rows that the tables hold and returns the SVG; none computes a statistic.
A method keeps its colour in every figure.
"""

import io
from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
Curve = Mapping[int, float]
Points = Mapping[tuple[str, str, str], Sequence[float]]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES: tuple[Any, ...] = ("-", "--", ":", "-.")  # the palette's next rounds: above seven methods
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "thinktuning",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}

# What a learning curve shows, in the names of metrics.jsonl; the last one is a quotient of two.
CURVES = {
    "student_reward": "Reward of the student's own text",
    "reward": "Reward after splicing",
    "completion_length": "Tokens per rollout after splicing",
    "reflection_rate": "Share of student texts that reflect",
    "gamma": "Share to teach, $\\gamma_t$",
    "taught_share": "Share of rollouts taught",
}


def colour(index: int) -> str:
    return PALETTE[index % len(PALETTE)]


def line_style(index: int) -> Any:
    return LINES[index // len(PALETTE) % len(LINES)]


def learning_curves(
    metrics: Mapping[str, Sequence[Sequence[Row]]], labels: Mapping[str, str]
) -> str:
    """Draw training by rollout batch: a method's mean over seeds, its band from lowest to highest.

    Args:
        metrics: trained method -> for each training seed, the rows of its metrics.jsonl.
        labels: every method of the study -> its label.
    """
    import matplotlib
    from matplotlib.figure import Figure

    methods = list(labels)
    panels = {
        key: {method: [curve(rows, key) for rows in seeds] for method, seeds in metrics.items()}
        for key in CURVES
    }
    panels = {key: curves for key, curves in panels.items() if any(map(any, curves.values()))}
    if not panels:
        return nothing("No method of this study is trained: there are no learning curves.")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.5 * columns, 2.5 * rows))
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (key, curves) in zip(axes.flat, panels.items(), strict=False):
            for method, seeds in curves.items():
                draw_curve(axis, seeds, methods.index(method))
            axis.set_title(CURVES[key])
            axis.set_xlabel("rollout batch")
            axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        num_seeds = max(len(runs) for runs in metrics.values())
        band = f"line: mean of {num_seeds} training seeds; band: lowest to highest seed"
        entries = {methods.index(method): labels[method] for method in metrics}
        legend(figure, entries, band if num_seeds > 1 else "one training seed")
        return to_svg(figure)


def curve(rows: Sequence[Row], key: str) -> dict[int, float]:
    """Return rollout batch -> value, the mean where several optimiser steps share a batch."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if key == "taught_share" and row.get("num_rollouts"):
            row = {**row, key: row.get("num_taught", 0) / row["num_rollouts"]}
        if row.get(key) is not None:
            values.setdefault(row["rollout_batch"], []).append(row[key])
    return {batch: fmean(found) for batch, found in sorted(values.items())}


def draw_curve(axis: "Axes", seeds: Sequence[Curve], index: int) -> None:
    """Draw one method, over the batches that every seed has: the mean is of the same seeds."""
    seeds = [seed for seed in seeds if seed]
    if not seeds:
        return
    batches = sorted(set.intersection(*(set(seed) for seed in seeds)))
    values = [[seed[batch] for seed in seeds] for batch in batches]
    means = [fmean(v) for v in values]
    marker = "." if len(batches) < 10 else ""  # a line of one point would not show
    look = {"color": colour(index), "linestyle": line_style(index), "linewidth": 1.5}
    axis.plot(batches, means, marker=marker, **look)
    if len(seeds) > 1:
        lowest, highest = [min(v) for v in values], [max(v) for v in values]
        axis.fill_between(batches, lowest, highest, color=colour(index), alpha=0.18, linewidth=0)


def accuracy(rows: Sequence[Row], points: Points) -> str:
    """Draw accuracy and reflection rate with their intervals, and a dot for each seed.

    Args:
        rows: the comparison's rows.
        points: (`mean` or `reflection_rate`, method, task) -> the value of each training seed.
    """
    columns = {
        "accuracy": ("mean", "ci_low", "ci_high"),
        "reflection": ("reflection_rate", "reflection_ci_low", "reflection_ci_high"),
    }
    return forest(rows, columns, "% of answers", points)


def differences(rows: Sequence[Row], baselines: Mapping[str, str]) -> str:
    """Draw the paired difference in accuracy of every method to each baseline.

    Args:
        rows: the comparison's rows.
        baselines: baseline -> label.
    """
    if not baselines or len(unique(rows, "method")) == 1:
        return nothing("This study names no baseline to compare with.")
    columns = {
        f"minus {label}": (f"diff_{name}", f"diff_{name}_ci_low", f"diff_{name}_ci_high")
        for name, label in baselines.items()
    }
    return forest(rows, columns, "difference in accuracy, percentage points", {}, zero=True)


def forest(
    rows: Sequence[Row],
    columns: Mapping[str, tuple[str, str, str]],
    x_label: str,
    points: Points,
    zero: bool = False,
) -> str:
    """Draw values with intervals: a line of panels a task, a panel a column, a bar a method.

    Args:
        columns: name -> the keys of value, lower and upper end; None in a row is left out.
        zero: whether to draw the line of no difference.
    """
    import matplotlib
    from matplotlib.figure import Figure

    tasks, methods = unique(rows, "task"), unique(rows, "method")
    titles = {(task, name): fill(f"{task}: {name}", 36) for task in tasks for name in columns}
    with matplotlib.rc_context(STYLE):
        lines = max(title.count("\n") for title in titles.values())
        height = 0.8 + (0.5 + 0.18 * lines + 0.25 * len(methods)) * len(tasks)
        figure = Figure(figsize=(1.6 + 3.2 * len(columns), height))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, sharex="col", sharey=True)
        for row in rows:
            line = axes[tasks.index(row["task"])]
            for axis, (value, low, high) in zip(line, columns.values(), strict=True):
                if row[value] is not None:
                    seeds = points.get((value, row["method"], row["task"]), [])
                    ends = (row[low], row[high])
                    draw_bar(axis, methods.index(row["method"]), row[value], ends, seeds)
        for task, line in zip(tasks, axes, strict=True):
            for axis, name in zip(line, columns, strict=True):
                axis.set_title(titles[task, name])
                axis.grid(axis="y", visible=False)
                if zero:
                    axis.axvline(0, color="#555555", linewidth=0.9, linestyle="--", zorder=1)
        labels = {row["method"]: row["label"] for row in rows}
        axes[0, 0].set_yticks(range(len(methods)), [labels[method] for method in methods])
        axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)  # the first method on top
        for axis in axes[-1]:
            axis.set_xlabel(x_label)
        figure.tight_layout()
        return to_svg(figure)


def draw_bar(
    axis: "Axes", index: int, value: float, ends: tuple[float, float], seeds: Sequence[float]
) -> None:
    """Draw a share and its interval in per cent, and below them those of several seeds."""
    axis.plot([100 * end for end in ends], [index] * 2, "-", color=colour(index), linewidth=2)
    axis.plot([100 * value], [index], "o", color=colour(index), markersize=5)
    if len(seeds) > 1:
        shares, below = [100 * seed for seed in seeds], [index + 0.28] * len(seeds)
        axis.plot(shares, below, "o", color=colour(index), markersize=2.5, alpha=0.7)


FLIP_COLOURS = {  # key -> (what is shown, its colour); what reflection mends and breaks stands out
    "wrong_to_right": ("wrong to right", "#009E73"),
    "right_to_wrong": ("right to wrong", "#D55E00"),
    "right_to_right": ("right, unchanged", "#bbbbbb"),
    "wrong_to_wrong": ("wrong, still wrong", "#e6e6e6"),
}


def flips(rows: Sequence[Row]) -> str:
    """Draw what became of first committed answers: a panel a task, a stacked bar a method.

    Args:
        rows: those of flips.csv; a method that commits to no answer has an empty bar.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    tasks, methods = unique(rows, "task"), unique(rows, "method")
    columns = min(2, len(tasks))
    lines = -(-len(tasks) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 3.4 * columns, (0.7 + 0.22 * len(methods)) * lines))
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.flat[len(tasks) :]:
            axis.set_visible(False)
        for i, (axis, task) in enumerate(zip(axes.flat, tasks, strict=False)):
            for row in (row for row in rows if row["task"] == task):
                left = 0.0
                for key, (_, shade) in FLIP_COLOURS.items():
                    share = 0.0 if isnan(row[key]) else 100 * row[key]
                    axis.barh(methods.index(row["method"]), share, left=left, color=shade)
                    left += share
            axis.set_title(task)
            axis.grid(visible=False)
            if i + columns >= len(tasks):  # the last of its column
                axis.set_xlabel("% of committed answers")
                axis.tick_params(labelbottom=True)
        labels = {row["method"]: row["label"] for row in rows}
        axes[0, 0].set_yticks(range(len(methods)), [labels[method] for method in methods])
        axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)
        axes[0, 0].set_xlim(0, 100)
        swatches = [(shown, shade) for shown, shade in FLIP_COLOURS.values()]
        below = 0.45
        figure.set_figheight(figure.get_figheight() + below)
        figure.tight_layout(rect=(0, below / figure.get_figheight(), 1, 1))
        figure.legend(
            [Patch(color=shade) for _, shade in swatches],
            [shown for shown, _ in swatches],
            loc="lower center",
            ncols=len(swatches),
        )
        return to_svg(figure)


def unique(rows: Sequence[Row], key: str) -> list[str]:
    """Return the values of a column in their first order."""
    return list(dict.fromkeys(row[key] for row in rows))


def legend(figure: "Figure", entries: Mapping[int, str], note: str) -> None:
    """Name the methods below the panels, and say what line and band are."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour(i), linestyle=line_style(i)) for i in entries]
    longest = 0.5 + 0.08 * max(map(len, entries.values()))  # inches, roughly
    columns = max(1, min(4, len(entries), int(figure.get_figwidth() / longest)))
    height = 0.19 * -(-len(entries) // columns) + 0.4
    figure.set_figheight(figure.get_figheight() + height)
    figure.tight_layout(rect=(0, height / figure.get_figheight(), 1, 1))
    figure.legend(handles, list(entries.values()), loc="lower center", ncols=columns, title=note)


def nothing(message: str) -> str:
    """Draw a figure that says why it is empty."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 1))
        figure.text(0.5, 0.5, message, ha="center", va="center")
        return to_svg(figure)


def to_svg(figure: "Figure") -> str:
    """Return a figure as SVG, the same from run to run."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return text.getvalue()
