"""A sweep's tables for people: on its page, with links to the points' reports, and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from thinktuning.analysis.cells import confidence_text, estimate_text
from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.findings import sweep_findings
from thinktuning.analysis.looks import looks
from thinktuning.analysis.report.page import render, svg_uri
from thinktuning.analysis.report.page_tables import Table
from thinktuning.analysis.tables import table
from thinktuning.study.jobs import SweepJob
from thinktuning.study.sweep import OF_BASE

Rows = Sequence[dict[str, Any]]
BASE = ("plain", "asked", "gap")
CAPTION = "Gain of each method over a baseline, at each point of the sweep."


def sweep_page(job: SweepJob, rows: Rows, lines: Rows, plot: str) -> str:
    """Return the page of a sweep.

    Args:
        job: the sweep.
        rows: those of sweep.csv.
        lines: the rows of sweep_fit.csv.
        plot: the figure, as SVG.
    """
    points, fits, headline, *others = all_tables(job, rows, lines)
    drawn = looks(job.labels)
    return render(
        "sweep.html",
        study=job.study,
        confidence=confidence_text(job.confidence),
        level=f"{1 - job.confidence:.2g}",
        points=points,
        links={point: f"../{point}/report/index.html" for point in job.points},
        plot=svg_uri(plot.encode()),
        caption=CAPTION,
        fits=fits,
        headline=headline,
        per_task=others,
        found=sweep_findings(job, [row for row in rows if row["task"] == headline_of(rows)]),
        looks={row["label"]: drawn[row["method"]] for row in rows},
    )


def sweep_markdown(job: SweepJob, rows: Rows, lines: Rows) -> str:
    """Return sweep.md, from the rows of sweep.csv and sweep_fit.csv."""
    told = (
        f"{confidence_text(job.confidence)} intervals in brackets, which are not adjusted. In"
        " sweep.csv, `p_holm` is adjusted for the differences at its point, nothing for the number"
        " of points."
    )
    parts = [f"# Sweep `{job.study}`", told]
    for data in all_tables(job, rows, lines):
        if data.body:
            parts += [f"## {data.title}", table(data.head, data.body)]
    return "\n\n".join(parts) + "\n"


def all_tables(job: SweepJob, rows: Rows, lines: Rows) -> list[Table]:
    """Return the tables of points, of lines, and of the methods in each scope, the mean first."""
    scopes = list(dict.fromkeys(row["task"] for row in rows))
    headline = headline_of(rows)
    others = [scope for scope in scopes if scope != headline]
    return [
        points_table(job, [row for row in rows if row["task"] == headline]),
        fits_table(job, lines),
        *(methods_table(job, rows, scope) for scope in (headline, *others)),
    ]


def headline_of(rows: Rows) -> str:
    """Return the scope that is shown first: the mean of tasks, or the only task."""
    scopes = [str(row["task"]) for row in rows]
    return MEAN_OF_TASKS if MEAN_OF_TASKS in scopes else scopes[0]


def points_table(job: SweepJob, rows: Rows) -> Table:
    """Return each point's values and what was measured of its base, in the headline's scope."""
    columns = columns_of(job.points)
    first = {row["point"]: row for row in reversed(rows)}
    measured = BASE if job.gap else ()
    body = [
        [
            point,
            *(cells[i] for cells in columns.values()),
            *(estimate_text(first[point], name, sign="+" * (name == "gap")) for name in measured),
        ]
        for i, point in enumerate(job.points)
    ]
    labels = job.labels
    names = {"plain": job.gap.plain, "asked": job.gap.asked} if job.gap else {}
    head = [f"{labels[names[each]]}, %" if each in names else "gap, points" for each in measured]
    return Table(f"{len(body)} points", ["point", *columns, *head], body)


def columns_of(points: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return axis -> its cell at each point; axes with the same values are one column."""
    axes: dict[tuple[str, ...], list[str]] = {}
    for axis in next(iter(points.values())):
        axes.setdefault(tuple(cell(values[axis]) for values in points.values()), []).append(axis)
    short = [common_name(names) for names in axes.values()]
    full = [", ".join(names) for names in axes.values()]
    heads = short if len(set(short)) == len(short) else full
    return dict(zip(heads, map(list, axes), strict=True))


def cell(value: Any) -> str:
    """Return a value of an axis as text, a mapping without braces."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {item}" for key, item in value.items())
    return "" if value is None else str(value)


def common_name(names: Sequence[str]) -> str:
    """Return one name for several keys: `*` is the part that differs; all, if more differ."""
    parts = [set(part) for part in zip(*(name.split(".") for name in names), strict=False)]
    alike = len({name.count(".") for name in names}) == 1
    if not alike or sum(len(part) > 1 for part in parts) > 1:
        return ", ".join(names)
    return ".".join("*" if len(part) > 1 else part.pop() for part in parts)


def methods_table(job: SweepJob, rows: Rows, scope: str) -> Table:
    """Return all methods at all points on one task, or on the mean of tasks."""
    baselines = job.baselines
    head = ["point", "method", "accuracy, %"]
    head += [f"minus {job.labels[name]}, points" for name in baselines]
    head += ["reflects, %", "cut off, %", "no answer, %", "tokens"]
    body = []
    for row in (row for row in rows if row["task"] == scope):
        line = [row["point"], row["label"], estimate_text(row, "mean", "")]
        line += [
            "" if row[f"diff_{name}"] is None else estimate_text(row, f"diff_{name}", sign="+")
            for name in baselines
        ]
        line += [estimate_text(row, "reflection_rate", "reflection_")]
        line += [f"{100 * row[f'{name}_rate']:.1f}" for name in ("truncation", "no_answer")]
        line += [f"{row['mean_tokens']:.0f}"]
        body.append(line)
    title = scope[0].upper() + scope[1:] if scope == MEAN_OF_TASKS else scope
    return Table(title, head, body, num_names=2)


def fits_table(job: SweepJob, lines: Rows) -> Table:
    """Return the slopes and intercepts of the lines that could be fitted."""
    unit = 1.0 if job.x in OF_BASE else 100.0  # points per point, or points per unit of an axis
    head = ["task", "method", "slope", "intercept, points", "scatter, points"]
    body = []
    for row in (row for row in lines if row["slope"] is not None):
        ends = [row[f"slope_ci_{end}"] for end in ("low", "high")]
        slope, intercept = f"{unit * row['slope']:.3g}", f"{100 * row['intercept']:.1f}"
        if ends[0] is not None:
            slope += f" [{', '.join(f'{unit * end:.3g}' for end in ends)}]"
            intercept = estimate_text(row, "intercept")
        body.append([row["task"], row["label"], slope, intercept, f"{100 * row['scatter']:.1f}"])
    return Table("Fitted lines", head, body, num_names=2)
