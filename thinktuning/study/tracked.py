"""The sections of a study that name experiment trackers."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from thinktuning.io.trackers import TrackedSection

if TYPE_CHECKING:
    from thinktuning.study.study import Study


def tracked(study: "Study") -> dict[str, TrackedSection]:
    """Return the sections of trained methods and of the warm-up that name trackers, by key."""
    found: dict[str, TrackedSection] = {
        f"methods.{method}.training": study.train_job(method, study.seeds[0]).training
        for method in study.trained()
    }
    if study.warmup:
        found["warmup"] = study.warmup
    return {key: section for key, section in found.items() if section.trackers}


def named(study: "Study") -> Iterator[tuple[str, TrackedSection]]:
    """Yield the key and the section of each job that a study has recorded, with its names."""
    for method in study.trained():
        if study.train_job(method, study.seeds[0]).training.trackers:
            for seed in study.seeds:
                section = study.train_job(method, seed).training
                yield f"methods.{method}.training.run_name of seed {seed}", section
    if study.warmup and study.warmup.trackers:
        yield "warmup.run_name", study.warmup_job().warmup


def check_run_names(points: Mapping[str, "Study"]) -> None:
    """Refuse one name for two runs: trackers would mix their records, or keep one of the two.

    Args:
        points: the studies of a sweep by point; without a sweep, one under "".

    Raises:
        ValueError: names both jobs.
    """
    owner: dict[tuple[str | None, str | None], str] = {}
    for point, study in points.items():
        for key, section in named(study):
            job = f"{key} at point {point}" if point else key
            first = owner.setdefault((section.project, section.run_name), job)
            if first != job:
                parts = ", ".join(f"{{{part}}}" for part in section.PARTS)
                raise ValueError(
                    f"{job} is {section.run_name!r}, and so is {first}: trackers would mix the two"
                    f" runs; set it to null, or let it contain what differs: {parts}"
                )
