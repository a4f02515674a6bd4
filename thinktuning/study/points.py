"""The points of a sweep as studies, and the job that puts their results together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from thinktuning.io.errors import StudyError, describe
from thinktuning.study.config import check_columns
from thinktuning.study.jobs import SweepJob
from thinktuning.study.merging import merge
from thinktuning.study.sharing import job_keys
from thinktuning.study.sweep import BY_POINT, OF_BASE, GapConfig, Point, SweepConfig, nested

if TYPE_CHECKING:
    from thinktuning.study.study import Study

GAP = GapConfig(asked="zero_shot_reflect", plain="zero_shot")  # if the study has both, untrained


def points_of(study: "Study", sweep: SweepConfig) -> dict[str, "Study"]:
    """Return the study of each point; the study itself must be valid.

    Raises:
        StudyError: a point is no valid study, or the section names what the study does not have.
    """
    check_names(study, sweep)
    values = study.model_dump() | {"sweep": None}
    found = {}
    for point in sweep.all_points():
        check_methods(study, point)
        try:
            changed = merge(values, nested(point.settings))
            found[point.name] = type(study).model_validate(changed)
            found[point.name]._point = point.name
        except ValidationError as error:
            lines = describe(error, type(study)).splitlines()
            raise StudyError(
                "\n".join(f"  sweep, point {point.name}: {line.strip()}" for line in lines)
            ) from None
    check_differ(found)
    return found


def check_differ(points: Mapping[str, "Study"]) -> None:
    """Refuse two points of which no job is different: what is swept between them has no effect.

    Raises:
        StudyError: names the two.
    """
    owner: dict[frozenset[tuple[str, str]], str] = {}
    for name, study in points.items():
        if (first := owner.setdefault(frozenset(job_keys(study).items()), name)) != name:
            raise StudyError(
                f"sweep: points {first} and {name} are the same in all jobs: they have equal"
                " values, or keys that every method overrides or none reads"
                " (methods.NAME.SECTION.KEY is one method's own); change or remove one of the two"
            )


def check_methods(study: "Study", point: Point) -> None:
    """Refuse settings of methods that the study does not have."""
    for key in point.settings:
        first, *rest = key.split(".")
        if first == "methods" and rest[0] not in study.methods:
            raise StudyError(
                f"sweep, point {point.name}: {key}: {rest[0]!r} is not among methods"
                f" {list(study.methods)}"
            )


def check_names(study: "Study", sweep: SweepConfig) -> None:
    """Refuse methods and quantities that `gap` and `figure` name and the study does not have."""
    gap, figure = gap_of(study, sweep), sweep.figure
    untrained = [name for name in study.methods if name not in study.trained()]
    known = {
        "gap": ([sweep.gap.asked, sweep.gap.plain] if sweep.gap else [], untrained, "untrained "),
        "figure.baseline": ([figure.baseline] if figure.baseline else [], [*study.methods], ""),
        "figure.methods": (figure.methods, [*study.methods], ""),
    }
    for key, (named, names, kind) in known.items():
        if unknown := [name for name in named if name not in names]:
            raise StudyError(f"sweep.{key} names {unknown}, not among {kind}methods {names}")
    if figure.baseline in figure.methods:
        raise StudyError(f"sweep.figure.methods has the baseline {figure.baseline!r}; remove it")
    if not (figure.baseline or gap or study.comparison.baselines):
        raise StudyError("sweep.figure.baseline is missing, and the study has no other baseline")
    check_columns([*study.comparison.baselines, *filter(None, [figure.baseline])])
    x, axes = figure.x, sweep.numeric()
    quantities = [*(OF_BASE if gap else ()), *axes, BY_POINT]
    if x and x not in quantities and not x.startswith("measured."):
        why = "the study names no gap" if x in OF_BASE else "it has no number at some point"
        raise StudyError(
            f"sweep.figure.x is {x!r}, but {why}; choose one of {[*quantities, 'measured.NAME']}"
        )
    if figure.xscale == "log":
        check_log(sweep, x)


def check_log(sweep: SweepConfig, x: str | None) -> None:
    """Refuse a logarithmic scale for what is not, or not always, above 0."""
    if not x or x in (*OF_BASE, BY_POINT):
        raise StudyError(
            f"sweep.figure.xscale is log, but x is {x}: name an axis or measured.NAME as x, or"
            " remove it"
        )
    values = [point.values[x] for point in sweep.all_points() if x in point.values]
    if low := [value for value in values if float(value) <= 0]:
        raise StudyError(f"sweep.figure.xscale is log, but {x} is {low[0]} at a point; remove it")


def gap_of(study: "Study", sweep: SweepConfig) -> GapConfig | None:
    """Return the methods whose difference is the gap: the study's, or the usual names if there."""
    usual = all(name in study.methods and not study.methods[name].train for _, name in GAP)
    return sweep.gap or (GAP if usual else None)


def sweep_job(study: "Study", elsewhere: Mapping[str, dict[str, str]]) -> SweepJob:
    """Resolve the job of a sweep's tables and figure.

    Args:
        study: a study with a sweep.
        elsewhere: for each point, the directories that other points have (`sharing.elsewhere`).
    """
    assert study.sweep
    sweep, gap = study.sweep, gap_of(study, study.sweep)
    baseline = sweep.figure.baseline or (gap.plain if gap else study.comparison.baselines[0])
    comparison = study.comparison
    if baseline not in comparison.baselines:
        names = [*comparison.baselines, baseline]
        comparison = comparison.model_copy(update={"baselines": names})
    quantities = [*(OF_BASE if gap else ()), *sweep.numeric(), None]
    chosen = sweep.figure.methods or [m for m in study.trained() if m != baseline]
    return SweepJob(
        study=study.name,
        points={point.name: point.values for point in sweep.all_points()},
        elsewhere=dict(elsewhere),
        comparison=study.compare_job().model_copy(update={"comparison": comparison}),
        gap=gap,
        x=sweep.figure.x or quantities[0],
        xscale=sweep.figure.xscale,
        baseline=baseline,
        methods=chosen,
    )
