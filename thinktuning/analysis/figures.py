"""The comparison's figures, as SVG with text as text.

Each function draws rows of the tables and returns the SVG; none computes a statistic. A method has
the same color in every figure (`looks`).
"""

import io
from collections.abc import Mapping, Sequence
from math import isnan
from statistics import fmean
from textwrap import fill
from typing import TYPE_CHECKING, Any

from thinktuning.analysis.labels import bars_height, wrapped_labels
from thinktuning.analysis.looks import Look, color, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ComparisonRow = Mapping[str, Any]  # of comparison.csv or flips.csv
MetricsRow = Mapping[str, Any]  # of metrics.jsonl
Curve = Mapping[int, float]
Points = Mapping[tuple[str, str, str], Sequence[float]]
Shares = Sequence[float | None]

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

# Column of metrics.jsonl -> panel title; `taught_share` is num_taught / num_rollouts.
CURVES = {
    "student_reward": "Reward of the student's own text",
    "reward": "Reward after splicing",
    "completion_length": "Tokens per rollout after splicing",
    "reflection_rate": "Share of student texts that reflect",
    "guidance_rate": "Share to teach, $\\gamma_t$",
    "taught_share": "Share of rollouts taught",
    "eval_reward": "Reward on held-out questions",
    "eval_reflection_rate": "Share of held-out answers that reflect",
}


def learning_curves(
    metrics: Mapping[str, Sequence[Sequence[MetricsRow]]], labels: Mapping[str, str]
) -> str:
    """Draw learning curves: each method's mean over seeds, and a band from lowest to highest seed.

    Args:
        metrics: trained method -> for each training seed, the rows of its metrics.jsonl.
        labels: every method of the study -> its label.
    """
    import matplotlib
    from matplotlib.figure import Figure

    drawn = looks(labels)
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
                draw_curve(axis, seeds, drawn[method])
            axis.set_title(CURVES[key])
            axis.set_xlabel("rollout batch")
            axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        num_seeds = max(len(runs) for runs in metrics.values())
        band = f"line: mean of {num_seeds} training seeds; band: lowest to highest seed"
        entries = [(drawn[method], labels[method]) for method in metrics]
        legend(figure, entries, band if num_seeds > 1 else "one training seed")
        return to_svg(figure)


def curve(rows: Sequence[MetricsRow], key: str) -> dict[int, float]:
    """Return rollout batch -> value, averaged over the optimizer steps of a batch."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if key == "taught_share" and row.get("num_rollouts"):
            row = {**row, key: row.get("num_taught", 0) / row["num_rollouts"]}
        if row.get(key) is not None:
            values.setdefault(row["rollout_batch"], []).append(row[key])
    return {batch: fmean(found) for batch, found in sorted(values.items())}


def draw_curve(axis: "Axes", seeds: Sequence[Curve], look: Look) -> None:
    """Draw one method over the batches that all seeds have, so that means are comparable."""
    seeds = [seed for seed in seeds if seed]
    if not seeds:
        return
    batches = sorted(set.intersection(*(set(seed) for seed in seeds)))
    values = [[seed[batch] for seed in seeds] for batch in batches]
    means = [fmean(v) for v in values]
    marker = "." if len(batches) < 10 else ""  # a line through one point is invisible
    style = {"color": look.color, "linestyle": look.line, "linewidth": 1.5}
    axis.plot(batches, means, marker=marker, **style)
    if len(seeds) > 1:
        lowest, highest = [min(v) for v in values], [max(v) for v in values]
        axis.fill_between(batches, lowest, highest, color=look.color, alpha=0.18, linewidth=0)


def accuracy(rows: Sequence[ComparisonRow], points: Points) -> str:
    """Draw accuracy and reflection rate with their intervals, and a dot per seed.

    Args:
        rows: rows of comparison.csv.
        points: (`mean` or `reflection_rate`, method, task) -> the value of each training seed.
    """
    columns = {
        "accuracy": ("mean", "ci_low", "ci_high"),
        "reflection": ("reflection_rate", "reflection_ci_low", "reflection_ci_high"),
    }
    return forest(rows, columns, "% of answers", points)


def differences(rows: Sequence[ComparisonRow], baselines: Mapping[str, str]) -> str:
    """Draw the paired difference in accuracy of every method to each baseline.

    Args:
        rows: rows of comparison.csv.
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
    rows: Sequence[ComparisonRow],
    columns: Mapping[str, tuple[str, str, str]],
    x_label: str,
    points: Points,
    zero: bool = False,
) -> str:
    """Draw a forest plot: one row of panels per task, one panel per column, one bar per method.

    `columns` maps a panel's name to the keys of value and interval (None: none); rows without a
    value are skipped. `zero` draws a dashed line at 0.
    """
    import matplotlib
    from matplotlib.figure import Figure

    tasks, methods, labels = unique(rows, "task"), unique(rows, "method"), wrapped_labels(rows)
    titles = {(task, name): fill(f"{task}: {name}", 36) for task in tasks for name in columns}
    with matplotlib.rc_context(STYLE):
        lines = max(title.count("\n") for title in titles.values())
        height = 0.8 + (0.5 + 0.18 * lines + bars_height(labels, 0.25)) * len(tasks)
        figure = Figure(figsize=(1.6 + 3.2 * len(columns), height))
        axes = figure.subplots(len(tasks), len(columns), squeeze=False, sharex="col", sharey=True)
        for row in rows:
            line = axes[tasks.index(row["task"])]
            for axis, (value, low, high) in zip(line, columns.values(), strict=True):
                if row[value] is not None:
                    seeds = points.get((value, row["method"], row["task"]), [])
                    estimate = row[value], row[low], row[high]
                    place, shade = methods.index(row["method"]), color(row["method"])
                    draw_bar(axis, place, shade, estimate, seeds)
        for task, line in zip(tasks, axes, strict=True):
            for axis, name in zip(line, columns, strict=True):
                axis.set_title(titles[task, name])
                axis.grid(axis="y", visible=False)
                if zero:
                    axis.axvline(0, color="#555555", linewidth=0.9, linestyle="--", zorder=1)
        axes[0, 0].set_yticks(range(len(methods)), list(labels.values()))
        axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)  # the first method on top
        for axis in axes[-1]:
            axis.set_xlabel(x_label)
        figure.tight_layout()
        return to_svg(figure)


def draw_bar(
    axis: "Axes", index: int, shade: str, estimate: Shares, seeds: Sequence[float]
) -> None:
    """Draw a share and its interval, if it has one, in percent, and below it several seeds'."""
    value, *ends = [100 * share for share in estimate if share is not None]
    axis.plot(ends, [index] * len(ends), "-", color=shade, linewidth=2)
    axis.plot([value], [index], "o", color=shade, markersize=5)
    if len(seeds) > 1:
        shares, below = [100 * seed for seed in seeds], [index + 0.28] * len(seeds)
        axis.plot(shares, below, "o", color=shade, markersize=2.5, alpha=0.7)


FLIP_COLORS = {  # column -> (legend, color); answers that change stand out
    "wrong_to_right": ("wrong to right", "#009E73"),
    "right_to_wrong": ("right to wrong", "#D55E00"),
    "right_to_right": ("right, unchanged", "#bbbbbb"),
    "wrong_to_wrong": ("wrong, still wrong", "#e6e6e6"),
}


def flips(rows: Sequence[ComparisonRow]) -> str:
    """Draw answer changes, from rows of flips.csv: one panel per task, one stacked bar per method.

    A method without committed answers has an empty bar.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    tasks, methods, labels = unique(rows, "task"), unique(rows, "method"), wrapped_labels(rows)
    columns = min(2, len(tasks))
    lines = -(-len(tasks) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.6 + 3.4 * columns, (0.7 + bars_height(labels, 0.22)) * lines))
        axes = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
        for axis in axes.flat[len(tasks) :]:
            axis.set_visible(False)
        for i, (axis, task) in enumerate(zip(axes.flat, tasks, strict=False)):
            for row in (row for row in rows if row["task"] == task):
                left = 0.0
                for key, (_, shade) in FLIP_COLORS.items():
                    share = 0.0 if isnan(row[key]) else 100 * row[key]
                    axis.barh(methods.index(row["method"]), share, left=left, color=shade)
                    left += share
            axis.set_title(task)
            axis.grid(visible=False)
            if i + columns >= len(tasks):  # the last of its column
                axis.set_xlabel("% of committed answers")
                axis.tick_params(labelbottom=True)
        axes[0, 0].set_yticks(range(len(methods)), list(labels.values()))
        axes[0, 0].set_ylim(len(methods) - 0.4, -0.6)
        axes[0, 0].set_xlim(0, 100)
        swatches = [(shown, shade) for shown, shade in FLIP_COLORS.values()]
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


def unique(rows: Sequence[ComparisonRow], key: str) -> list[str]:
    """Return the distinct values of a column, in order of first appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def legend(figure: "Figure", entries: Sequence[tuple[Look, str]], note: str) -> None:
    """Draw a legend of methods below the panels, with a note on line and band as its title."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.color, linestyle=look.line, marker=look.marker)
        for look, _ in entries
    ]
    labels = [label for _, label in entries]
    longest = 0.5 + 0.08 * max(map(len, labels))  # inches, roughly
    columns = max(1, min(4, len(entries), int(figure.get_figwidth() / longest)))
    height = 0.19 * -(-len(entries) // columns) + 0.4
    figure.set_figheight(figure.get_figheight() + height)
    figure.tight_layout(rect=(0, height / figure.get_figheight(), 1, 1))
    figure.legend(handles, labels, loc="lower center", ncols=columns, title=note)


def nothing(message: str) -> str:
    """Return an empty figure with a message that says why."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 1))
        figure.text(0.5, 0.5, message, ha="center", va="center")
        return to_svg(figure)


def to_svg(figure: "Figure") -> str:
    """Return a figure as SVG, identical from run to run."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    return text.getvalue()
