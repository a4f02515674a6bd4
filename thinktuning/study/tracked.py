"""The sections of a study that name experiment trackers."""

from thinktuning.io.trackers import TrackedSection
from thinktuning.study.study import Study


def tracked(study: Study) -> dict[str, TrackedSection]:
    """Return the sections of trained methods and of the warm-up that name trackers, by key."""
    found: dict[str, TrackedSection] = {
        f"methods.{method}.training": study.train_job(method, study.seeds[0]).training
        for method in study.trained()
    }
    if study.warmup:
        found["warmup"] = study.warmup
    return {key: section for key, section in found.items() if section.trackers}
