"""The points of a sweep as studies, and the job that puts their results together."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import ValidationError

from thinktuning.evaluation.skills import MEASURED
from thinktuning.io.errors import StudyError, describe
from thinktuning.io.section import flattened
from thinktuning.models.config import OrganismConfig, WarmupConfig
from thinktuning.study.config import check_columns
from thinktuning.study.effects import labels
from thinktuning.study.faults import unguided
from thinktuning.study.jobs import SweepJob
from thinktuning.study.merging import merge
from thinktuning.study.reads import unread_at, what_it_makes
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
            found[point.name] = type(study).model_validate(changed, context={"is_point": True})
            found[point.name]._point = point.name
        except ValidationError as error:
            lines = describe(error, type(study)).splitlines()
            raise StudyError(
                "\n".join(f"  sweep, point {point.name}: {line.strip()}" for line in lines)
            ) from None
    check_read(sweep, found)
    check_differ(found)
    check_measured(found, sweep.figure.x)
    return found


def check_measured(points: Mapping[str, "Study"], x: str | None) -> None:
    """Refuse an x that some point's base has no number for, before all of them are trained.

    Raises:
        StudyError: names the point, and what its base has.
    """
    if not x or not x.startswith("measured."):
        return
    for name, study in points.items():
        measured = measured_of(study)
        if x.removeprefix("measured.") not in measured:
            choice = [f"measured.{each}" for each in measured]
            of_it = f"it has {', '.join(choice)}" if choice else "nothing is measured of it"
            raise StudyError(
                f"sweep.figure.x is {x!r}, but the base of point {name} has no such number:"
                f" {of_it}; correct it, or take another x"
            )


def measured_of(study: "Study") -> list[str]:
    """Return the numbers under `measured` in the provenance of a study's base.

    They are of its warm-up or else of the toy model: `commands.warmup`, `commands.model`.
    """
    trained = study.warmup or study.model
    if not isinstance(trained, WarmupConfig | OrganismConfig):
        return []
    skilled = not isinstance(trained, WarmupConfig) or trained.documents
    return ["final_loss", *(MEASURED if skilled else ())]


def check_read(sweep: SweepConfig, points: Mapping[str, "Study"]) -> None:
    """Refuse a key that nothing reads at any point that sets it.

    Raises:
        StudyError: names the key, and says of each method why.
    """
    reasons: dict[str, str | None] = {}
    for point in sweep.all_points():
        for key in flattened(nested(point.settings)):
            if reasons.get(key, key) is not None:  # not yet read at a point
                reasons[key] = unread_at(points[point.name], key)
    for key, reason in reasons.items():
        if reason:
            raise StudyError(
                f"sweep: {key} has no effect at any point: {reason}; change another key, or remove"
                " it"
            )


def check_differ(points: Mapping[str, "Study"]) -> None:
    """Refuse two points of which no job is different: what is swept between them has no effect.

    Raises:
        StudyError: names the two.
    """
    owner: dict[str, str] = {}
    for name, study in points.items():
        if (first := owner.setdefault(what_it_makes(study), name)) != name:
            raise StudyError(
                f"sweep: points {first} and {name} are the same in all jobs: they have equal"
                " values, or keys that every method overrides, that none reads there, or that say"
                " only what is recorded (methods.NAME.SECTION.KEY is one method's own); change or"
                " remove one of the two"
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
    if not (figure.baseline or gap or study.comparison.baselines):
        raise StudyError("sweep.figure.baseline is missing, and the study has no other baseline")
    if (baseline := baseline_of(study, sweep)) in figure.methods:
        raise StudyError(
            f"sweep.figure.methods has the baseline {baseline!r}, whose gain over itself is 0;"
            " remove it, or name another figure.baseline"
        )
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
    for joining in ("join", "series"):
        if getattr(figure, joining) and x == BY_POINT:
            raise StudyError(
                f"sweep.figure.{joining} is given, but x is point: remove one of the two"
            )
    if figure.series:
        check_series(sweep, x_of(study, sweep), figure.series)


def check_series(sweep: SweepConfig, x: str | None, series: str) -> None:
    """Refuse series that are no axis, or are the one drawn against."""
    if series not in sweep.axes or series == x:
        axes = [axis for axis in sweep.axes if axis != x]
        raise StudyError(
            f"sweep.figure.series is {series!r}, but must be an axis other than x:"
            f" {f'choose from {axes}' if axes else 'there is none, remove it'}"
        )


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


def baseline_of(study: "Study", sweep: SweepConfig) -> str:
    """Return the figure's baseline: its own, the gap's `plain`, or the study's first."""
    gap = gap_of(study, sweep)
    return sweep.figure.baseline or (gap.plain if gap else study.comparison.baselines[0])


def x_of(study: "Study", sweep: SweepConfig) -> str | None:
    """Return what the figure draws against: its own x, the gap, or the first axis with numbers."""
    usual = OF_BASE if gap_of(study, sweep) else sweep.numeric()
    return sweep.figure.x or next(iter(usual), None)


def labels_at(study: "Study") -> dict[str, dict[str, str]]:
    """Return what methods are called at points where that is not what the study calls them."""
    usual = labels(study)
    found = {
        name: {method: label for method, label in labels(point).items() if label != usual[method]}
        for name, point in study.points().items()
    }
    return {name: renamed for name, renamed in found.items() if renamed}


def sweep_job(study: "Study", elsewhere: Mapping[str, dict[str, str]]) -> SweepJob:
    """Resolve the job of a sweep's tables and figure.

    Args:
        study: a study with a sweep.
        elsewhere: for each point, the directories that other points have (`sharing.elsewhere`).
    """
    assert study.sweep
    sweep, gap = study.sweep, gap_of(study, study.sweep)
    baseline = baseline_of(study, sweep)
    comparison = study.comparison
    if baseline not in comparison.baselines:
        names = [*comparison.baselines, baseline]
        comparison = comparison.model_copy(update={"baselines": names})
    chosen = sweep.figure.methods or [m for m in study.trained() if m != baseline]
    return SweepJob(
        study=study.name,
        points={point.name: point.values for point in sweep.all_points()},
        elsewhere=dict(elsewhere),
        comparison=study.compare_job().model_copy(update={"comparison": comparison}),
        labels_at=labels_at(study),
        gap=gap,
        x=x_of(study, sweep),
        xscale=sweep.figure.xscale,
        join=sweep.figure.join,
        series=sweep.figure.series,
        unguided={name: off for name, point in study.points().items() if (off := unguided(point))},
        baseline=baseline,
        methods=chosen,
    )
