"""The sweep's figure: gains over a baseline, against what the points differ in."""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from thinktuning.analysis.cells import confidence_text
from thinktuning.analysis.figures import STYLE, legend, nothing, to_svg, unique
from thinktuning.analysis.intervals import Estimate
from thinktuning.analysis.line import Array, Line
from thinktuning.analysis.looks import Look, color, looks
from thinktuning.analysis.sweep import Fits, Place, as_cell
from thinktuning.study.jobs import SweepJob
from thinktuning.study.sweep import BY_POINT, OF_BASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = 100
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # of points, where each is a marker in a row


def draw(job: SweepJob, places: Sequence[Place], lines: Fits) -> str:
    """Draw a panel per task, the mean of tasks first.

    A point has its interval in both directions, small dots are training seeds, and a line has its
    confidence band. With `series` a point has the marker of its value there. Where `x` is the gap
    and the baseline the method that it is measured from, a dotted line shows a gain as large as the
    gap. Where `x` is `point`, a panel has a row for each method, with a marker for each point.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not places:
        return nothing("No axis of this sweep has numbers, and the study names no gap.")
    tasks = unique([vars(place) for place in places], "task")
    tasks = [tasks[-1], *tasks[:-1]] if len(tasks) > 1 else tasks
    columns = min(2, len(tasks))
    rows = -(-len(tasks) // columns)
    by_point = job.x == BY_POINT
    height = 0.3 * len(job.methods) + 0.8 if by_point else 3.1
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * columns + 0.4, height * rows))
        axes = figure.subplots(rows, columns, squeeze=False, sharey=by_point)
        for axis in axes.flat[len(tasks) :]:
            axis.set_visible(False)
        for axis, task in zip(axes.flat, tasks, strict=False):
            of_task = [place for place in places if place.task == task]
            if by_point:
                draw_rows(axis, job, of_task)
            else:
                draw_task(axis, job, of_task, lines)
            axis.set_title(task)
            axis.set_xlabel(x_label(job))
            if not by_point and axis.get_subplotspec().is_first_col():
                axis.set_ylabel(gain_label(job))
        entries = marker_entries(job.points) if by_point else method_entries(job)
        legend(figure, entries, note_of(job))
        return to_svg(figure)


def note_of(job: SweepJob) -> str:
    """Return what bars, bands, small marks and dotted lines are."""
    bars = "bars, band" if job.has_lines else "bars"
    seeds = "ticks" if job.x == BY_POINT else "dots"
    note = f"{bars}: {confidence_text(job.confidence)} intervals; small {seeds}: training seeds"
    return f"{note}; dotted: gain = gap" if shows_gap(job) else note


def gain_label(job: SweepJob) -> str:
    """Return what is drawn of each method, with its unit."""
    return f"gain over {job.labels[job.baseline]}, points"


def method_entries(job: SweepJob) -> list[tuple[Look, str]]:
    """Return the legend's entries of methods, a line and a label, and of series."""
    drawn = looks(job.labels)
    methods = [(drawn[name], job.labels[name]) for name in job.methods]
    return methods + marker_entries([f"{job.series}: {value}" for value in series_values(job)])


def marker_entries(names: Iterable[str]) -> list[tuple[Look, str]]:
    """Return the legend's entries of points or series: a marker and a name."""
    return [(Look("#555555", "none", mark), name) for name, mark in markers(names).items()]


def markers(names: Iterable[str]) -> dict[str, str]:
    """Return the marker of each point or value of the series."""
    return dict(zip(names, itertools.cycle(MARKERS), strict=False))


def series_values(job: SweepJob) -> list[str]:
    """Return the values of the series in the points' order; without series, none."""
    values = [series_of(job, point) for point in job.points] if job.series else []
    return list(dict.fromkeys(values))


def series_of(job: SweepJob, point: str) -> str:
    """Return a point's value of the series as text; "" without series."""
    return str(as_cell(job.points[point][job.series])) if job.series else ""


def draw_rows(axis: "Axes", job: SweepJob, places: Sequence[Place]) -> None:
    """Draw a panel with a row for each method, and in it its gain at each point."""
    axis.axvline(0, color="#555555", linewidth=0.9, linestyle="--", zorder=1)
    marks = markers(job.points)
    for place in places:
        i = int(place.x.mean)
        row = job.methods.index(place.method) + 0.6 * ((i + 0.5) / len(job.points) - 0.5)
        shade = color(place.method)
        axis.plot(ends(place.gain, PERCENT), [row, row], "-", color=shade, linewidth=1.2)
        seeds = [PERCENT * seed for seed in place.seeds]
        axis.plot(seeds, [row] * len(seeds), "|", color=shade, markersize=4, alpha=0.6)
        axis.plot([PERCENT * place.gain.mean], [row], marks[place.point], color=shade, markersize=5)
    axis.set_yticks(range(len(job.methods)), [job.labels[name] for name in job.methods])
    axis.set_ylim(len(job.methods) - 0.5, -0.5)


def x_label(job: SweepJob) -> str:
    """Return what the horizontal axis shows, with its unit."""
    assert job.x
    labels = job.labels
    if job.x == BY_POINT:
        return gain_label(job)
    if job.x not in OF_BASE:
        return job.x.removeprefix("measured.")
    assert job.gap
    if job.x == "gap":
        return f"{labels[job.gap.asked]} minus {labels[job.gap.plain]}, points"
    return f"accuracy of {labels[getattr(job.gap, job.x)]}, %"


def shows_gap(job: SweepJob) -> bool:
    """Tell whether gain and gap subtract the same accuracy."""
    return job.x == "gap" and job.gap is not None and job.gap.plain == job.baseline


def draw_task(axis: "Axes", job: SweepJob, places: Sequence[Place], lines: Fits) -> None:
    """Draw one panel; the bands, which may be wide with few points, do not stretch it."""
    drawn = looks(job.labels)
    unit = PERCENT if job.x in OF_BASE else 1
    axis.axhline(0, color="#555555", linewidth=0.9, linestyle="--", zorder=1)
    marks = markers(series_values(job))
    for place in places:
        mark = marks.get(series_of(job, place.point), MARKERS[0])
        draw_place(axis, place, unit, color(place.method), mark)
    if job.xscale == "log":
        draw_log_scale(axis, [unit * place.x.mean for place in places])
    if job.is_joined:
        draw_joined(axis, job, places, unit)
        return
    limits = axis.get_ylim()
    at = np.linspace(min(p.x.mean for p in places), max(p.x.mean for p in places), 60)
    for name in job.methods:
        if line := lines.get((places[0].task, name)):
            draw_line(axis, job, line, at, unit, drawn[name])
    if shows_gap(job):
        axis.plot(unit * at, PERCENT * at, ":", color="#555555", linewidth=0.9, zorder=1)
    axis.set_ylim(limits)


def draw_joined(axis: "Axes", job: SweepJob, places: Sequence[Place], unit: float) -> None:
    """Join each method's points; with series, those at each of its values."""
    drawn = looks(job.labels)
    for name, value in itertools.product(job.methods, series_values(job) or [""]):
        mine = [p for p in places if p.method == name and series_of(job, p.point) == value]
        x, y = zip(*sorted((p.x.mean, p.gain.mean) for p in mine), strict=True)
        axis.plot(
            unit * np.array(x),
            PERCENT * np.array(y),
            linestyle=drawn[name].line,
            color=drawn[name].color,
            linewidth=1.2,
        )


def draw_log_scale(axis: "Axes", values: Iterable[float]) -> None:
    """Make the horizontal axis logarithmic, with ticks at the points."""
    axis.set_xscale("log")
    places = sorted(set(values))
    axis.set_xticks(places, [f"{value:g}" for value in places])
    axis.minorticks_off()  # their labels would overlap


def draw_place(axis: "Axes", place: Place, unit: float, shade: str, mark: str) -> None:
    """Draw a point, its intervals if it has any, and its seeds."""
    x, y = unit * place.x.mean, PERCENT * place.gain.mean
    seeds = [PERCENT * seed for seed in place.seeds]
    axis.plot([x] * len(seeds), seeds, "o", color=shade, markersize=2.5, alpha=0.5)
    axis.plot([x, x], ends(place.gain, PERCENT), "-", color=shade, linewidth=1.2)
    axis.plot(ends(place.x, unit), [y, y], "-", color=shade, linewidth=1.2)
    axis.plot([x], [y], mark, color=shade, markersize=5)


def ends(found: Estimate, unit: float) -> list[float]:
    """Return the ends of an interval; the value itself, twice, if there is none."""
    if found.ci_low is None or found.ci_high is None:
        return [unit * found.mean] * 2
    return [unit * found.ci_low, unit * found.ci_high]


def draw_line(axis: "Axes", job: SweepJob, line: Line, at: Array, unit: float, look: Look) -> None:
    """Draw a line and, if it has an interval, its confidence band at these x."""
    y = line.at(at)
    axis.plot(unit * at, PERCENT * y, linestyle=look.line, color=look.color, linewidth=1.2)
    if not line.has_interval:
        return
    half = line.half_width(at, job.confidence)
    band = (PERCENT * (y - half), PERCENT * (y + half))
    axis.fill_between(unit * at, *band, color=look.color, alpha=0.15, linewidth=0)
