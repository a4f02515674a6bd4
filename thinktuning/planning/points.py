"""What the points of a sweep will take: each job is counted once, at the point that makes it."""

from pathlib import Path

from thinktuning.io.errors import StudyError
from thinktuning.planning.estimates import StageEstimate, estimate_study
from thinktuning.planning.pilot import metrics_files
from thinktuning.study.sharing import homes, made_at
from thinktuning.study.study import Study


def estimate_points(study: Study, results: Path | None = None) -> dict[str, list[StageEstimate]]:
    """Return point -> what its jobs take, without those that it has from others.

    A study without a sweep is its only point, called "".

    Raises:
        StudyError: a model's configuration or the pilot's results cannot be read.
    """
    points = study.points()
    found = homes(points)
    estimated = {}
    for point, each in points.items():
        try:
            estimates = estimate_study(each, pilot_of(point, results))
        except StudyError as error:
            raise StudyError(f"sweep, point {point}: {error}" if point else str(error)) from error
        made = made_at(found[point], point)
        estimated[point] = [every for every in estimates if directory(each, every) in made]
    return estimated


def pilot_of(point: str, results: Path | None) -> Path | None:
    """Return the pilot's results for a point: its own, or those of a study without a sweep."""
    own = results / point if results else None
    return own if own and own.is_dir() else results


def check_pilot(study: Study, results: Path | None) -> None:
    """Refuse a pilot's results that have nothing of this study.

    Raises:
        StudyError: says what is looked for.
    """
    if results is None:
        return
    for point, each in study.points().items():
        place = pilot_of(point, results) or results
        for method in each.methods:
            if metrics_files(method, place) or [*place.glob(f"eval/{method}/seed*/*/results.json")]:
                return
    raise StudyError(
        f"--results: {results} has no runs/METHOD/seed*/metrics.jsonl of a method of this study;"
        " pass the directory results/ itself"
    )


def directory(study: Study, estimate: StageEstimate) -> str:
    """Return the directory of results of the first job of an estimate."""
    kind = {"model": "models/base", "train": "runs", "evaluate": "eval"}[estimate.stage]
    if estimate.stage == "model":
        return kind
    return f"{kind}/{estimate.method}/seed{study.evaluated_seeds(estimate.method)[0]}"
