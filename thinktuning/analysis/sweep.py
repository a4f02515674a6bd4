"""A sweep's points together: the rows of sweep.csv, and what its figure draws and fits.

A point's rows are those of its comparison, with the axes' values and with what was measured of its
base: the accuracies of the untrained methods `plain` and `asked`, and the *gap*, asked minus plain,
paired by question.

Gap and gain (a method minus the baseline) share their errors where they have been measured on the
same questions, and where both subtract the same answers. Their covariance follows from the
variances of sum and difference, which `variance` estimates over seeds crossed with questions:

    cov(x, y) = (var(x + y) - var(x - y)) / 4
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thinktuning.analysis.comparison import (
    SUCCESS,
    Answers,
    comparison_rows,
    paired_tasks,
    scopes,
    scores,
    share_interval,
)
from thinktuning.analysis.intervals import Difference, Estimate
from thinktuning.analysis.line import Line, Points, fit_line
from thinktuning.analysis.variance import Scores, mean_of_tasks
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import SweepJob
from thinktuning.study.sweep import BY_POINT, OF_BASE, is_number

AnswersOf = Mapping[tuple[str, str], Answers]  # (method, task)
Row = dict[str, Any]
Fits = Mapping[tuple[str, str], Line | None]  # (task, method)

METHOD = (
    *("method", "label", "task", "seeds", "n", "k", "mean", "ci_low", "ci_high", "seed_values"),
    *("reflection_rate", "reflection_ci_low", "reflection_ci_high", "reflection_seed_values"),
    *("reflection_pass_at_k", "mean_tokens", "no_answer_rate", "truncation_rate"),
    *(f"{prefix}{column}" for prefix in ("", "reflection_") for column in SUCCESS),
)
DIFFERENCE = ("", "_ci_low", "_ci_high", "_p", "_p_holm", "_seed_values")
CLOSEST = 0.99  # |correlation| of a point's errors at most: at 1 a point would have no error


@dataclass(frozen=True)
class Place:
    """A method at a point of the sweep, on a task or the mean of tasks.

    Attributes:
        x: what the figure is drawn against; an axis has neither interval nor standard error.
        gain: the method minus the baseline.
        covariance: of the errors of `x` and `gain`.
        seeds: the gain of each training seed, if there are several.
    """

    point: str
    method: str
    task: str
    x: Estimate
    gain: Difference
    covariance: float
    seeds: list[float]


def point_rows(
    job: SweepJob,
    point: str,
    answers: AnswersOf,
    tokens: Mapping[str, Mapping[str, float]],
    measured: Mapping[str, float],
) -> list[Row]:
    """Return the rows of sweep.csv of one point.

    Args:
        job: the sweep.
        point: its name.
        answers: of all methods to all tasks, at this point.
        tokens: trained method -> the tokens generated in a training, means over seeds.
        measured: the numbers in the provenance of the point's base.
    """
    compared = job.at(point)
    place: Row = {"point": point}
    place |= {f"axis_{axis}": as_cell(value) for axis, value in job.points[point].items()}
    base = {scope: base_columns(job, answers, tasks) for scope, tasks in scopes(compared).items()}
    generated = {f"train_{who}_tokens": None for who in ("student", "teacher")}
    kept = [*METHOD]
    kept += [f"diff_{b}{end}" for b in job.baselines for end in DIFFERENCE]
    return [
        place
        | {column: row[column] for column in kept}
        | generated
        | dict(tokens.get(row["method"], {}))
        | base[row["task"]]
        | {f"measured_{name}": value for name, value in measured.items()}
        for row in comparison_rows(compared, answers)
    ]


def as_cell(value: Any) -> Any:
    """Return a value of an axis for a CSV file: a mapping or a list as JSON."""
    return json.dumps(value) if isinstance(value, (dict, list)) else value


def base_columns(job: SweepJob, answers: AnswersOf, tasks: Sequence[str]) -> Row:
    """Return what the untrained methods say about a base, with intervals."""
    row: Row = {}
    for name in ("plain", "asked", "gap") if job.gap else ():
        found = quantity(job, name, answers, tasks)
        row |= {name: found.mean, f"{name}_ci_low": found.ci_low, f"{name}_ci_high": found.ci_high}
    return row


def quantity(job: SweepJob, name: str, answers: AnswersOf, tasks: Sequence[str]) -> Estimate:
    """Return `plain`, `asked` or `gap` of a base."""
    assert job.gap
    asked, plain = (
        [answers[method, task].correct_S_N_K for task in tasks]
        for method in (job.gap.asked, job.gap.plain)
    )
    confidence = job.confidence
    if name == "gap":
        return paired_tasks(scores(asked), scores(plain), confidence)[0]
    return share_interval({"asked": asked, "plain": plain}[name], confidence)


def places(
    job: SweepJob, point: str, answers: AnswersOf, measured: Mapping[str, float]
) -> list[Place]:
    """Return what the figure draws at one point, by task and method; nothing without an x."""
    if job.x is None:
        return []
    found = []
    for scope, tasks in scopes(job.comparison).items():
        x, signs = abscissa(job, point, answers, tasks, measured)
        x_scores = signed(answers, tasks, signs)
        for method in job.methods:
            mine, other = (
                scores([answers[name, task].correct_S_N_K for task in tasks])
                for name in (method, job.baseline)
            )
            gain, seeds = paired_tasks(mine, other, job.confidence)
            y_scores = [a - b for a, b in zip(mine, other, strict=True)]
            shared = covariance(x_scores, y_scores) if signs else 0.0
            most = CLOSEST * x.se * gain.se
            shared = float(np.clip(shared, -most, most))
            found.append(Place(point, method, scope, x, gain, shared, seeds))
    return found


def abscissa(
    job: SweepJob,
    point: str,
    answers: AnswersOf,
    tasks: Sequence[str],
    measured: Mapping[str, float],
) -> tuple[Estimate, dict[str, int]]:
    """Return the figure's x, and the methods whose answers it adds (1) and subtracts (-1)."""
    assert job.x
    if job.x in OF_BASE:
        assert job.gap
        signs = {"asked": {job.gap.asked: 1}, "plain": {job.gap.plain: 1}}.get(job.x)
        signs = signs or {job.gap.asked: 1, job.gap.plain: -1}
        return quantity(job, job.x, answers, tasks), signs
    if job.x == BY_POINT:
        return Estimate(float(list(job.points).index(point)), None, None, 0.0, 0), {}
    name = job.x.removeprefix("measured.")
    values = measured if job.x != name else job.points[point]
    if not is_number(values.get(name)):
        raise StudyError(
            f"sweep.figure.x is {job.x}, which point {point} has no number for; it has"
            f" {sorted(values)}"
        )
    value = float(values[name])
    if job.xscale == "log" and value <= 0:
        raise StudyError(
            f"sweep.figure.xscale is log, but {job.x} is {value:g} at point {point}; remove it"
        )
    return Estimate(value, None, None, 0.0, 0), {}


def signed(answers: AnswersOf, tasks: Sequence[str], signs: Mapping[str, int]) -> list[Scores]:
    """Return each task's (S, N) scores, summed over methods with their signs."""
    return [
        sum(sign * answers[name, task].correct_S_N_K.mean(axis=2) for name, sign in signs.items())
        for task in tasks
    ]


def covariance(x: Sequence[Scores], y: Sequence[Scores]) -> float:
    """Return the covariance of two means over tasks, from the same questions.

    Args:
        x: for each task the (S, N) scores; (1, N) if they have no training seeds.
        y: the same for the other mean.
    """
    pairs = list(zip(x, y, strict=True))
    together, apart = (mean_of_tasks([a + s * b for a, b in pairs]).se ** 2 for s in (1, -1))
    return (together - apart) / 4


def fits(job: SweepJob, found: Sequence[Place]) -> dict[tuple[str, str], Line | None]:
    """Return (task, method) -> the line through its points, if the figure has lines.

    A line has an interval only if all its points have one: those of two seeds, or of seeds that
    succeed or fail, are off by more than their standard errors say.
    """
    if not job.has_lines:
        return {}
    groups: dict[tuple[str, str], list[Place]] = {}
    for place in found:
        groups.setdefault((place.task, place.method), []).append(place)
    found_lines = {}
    for key, group in groups.items():
        line = fit_line(as_points(group))
        known = all(place.gain.ci_low is not None for place in group)
        found_lines[key] = replace(line, has_interval=known) if line else None
    return found_lines


def as_points(group: Sequence[Place]) -> Points:
    """Return the places of one method as points with errors."""
    columns = [
        (place.x.mean, place.gain.mean, place.x.se**2, place.gain.se**2, place.covariance)
        for place in group
    ]
    return Points(*(np.array(column, dtype=float) for column in zip(*columns, strict=True)))


def fit_rows(job: SweepJob, lines: Fits) -> list[Row]:
    """Return the rows of sweep_fit.csv: the line of each method on each task."""
    confidence = job.confidence
    rows = []
    for (task, method), line in lines.items():
        row: Row = {"task": task, "method": method, "label": job.labels[method]}
        row |= {"x": job.x, "baseline": job.baseline}
        names = ("slope", "intercept")
        row |= {f"{name}{end}": None for name in names for end in ("", "_ci_low", "_ci_high")}
        row |= {"scatter": None, "num_points": len(job.points)}
        if line:
            row |= {"slope": line.slope, "intercept": line.intercept, "scatter": line.scatter}
        if line and line.has_interval:
            ends = (line.slope_interval(confidence), line.intercept_interval(confidence))
            for name, (low, high) in zip(names, ends, strict=True):
                row |= {f"{name}_ci_low": low, f"{name}_ci_high": high}
        rows.append(row)
    return rows
