"""What a study says of its methods in vain: overrides without effect, and a label of two methods.

A method whose override changes nothing is not what its name says, and nothing in its results would
show it. Only what the method itself sets is judged: a key that it has from the study may be there
for other methods.
"""

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, get_args

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.io.section import flattened

if TYPE_CHECKING:
    from thinktuning.study.config import MethodConfig
    from thinktuning.study.jobs import TrainJob
    from thinktuning.study.study import Study

ALGORITHMS = {
    each.model_fields["type"].default for each in get_args(get_args(AnyAlgorithmConfig)[0])
}
OF_TRAINING = ("training", "algorithm", "teacher")  # what an untrained method does not use
# variant of `aas` -> its keys that it does not read (`algorithms.shaping`)
UNREAD_BY_SHAPING: Mapping[str, tuple[str, ...]] = {
    "paper": ("constant",),
    "released": ("constant", "advantage_range"),
    "constant": ("bound", "advantage_range"),
    "off": ("constant", "bound", "advantage_range", "probability_floor"),
}

OF_SURROGATE = ("epsilon", "delta", "scale_rewards")  # of TRL's loss, and of advantages


def check_labels(methods: Mapping[str, "MethodConfig"]) -> None:
    """Refuse two methods of one label.

    Raises:
        ValueError: names the two.
    """
    owner: dict[str, str] = {}
    for name, method in methods.items():
        label = method.label or name
        if (first := owner.setdefault(label, name)) != name:
            raise ValueError(
                f"methods.{first} and methods.{name} have one label, {label!r}: tables and figures"
                " could not be told apart; change one of the two"
            )


def check_overrides(name: str, method: "MethodConfig", job: "TrainJob") -> None:
    """Refuse overrides of a method that have no effect on its job.

    Raises:
        ValueError: names the key and the fix.
    """
    overrides = {section: getattr(method, section) for section in OF_TRAINING}
    found = unread(job, overrides)
    if not job.train:
        found = ((key, "train is false") for key, given in overrides.items() if given)
    for key, reason in found:
        raise ValueError(f"methods.{name}.{key} has no effect: {reason}; remove it")


def labels(study: "Study") -> dict[str, str]:
    """Return what tables and figures call each method.

    A method with the name or label of another algorithm than its own has its own beside it. So it
    is where a study has an `algorithm` of another type and keeps the method `thinktuning`.
    """
    found = {}
    for name, method in study.methods.items():
        label = found[name] = method.label or name
        if method.train:
            algorithm = study.train_job(name, study.seeds[0]).algorithm.type
            called = {re.sub(r"\W+", "_", each.strip().lower()) for each in (name, label)}
            if called & ALGORITHMS - {algorithm}:
                found[name] = f"{label} (algorithm: {algorithm})"
    return found


def unread(job: "TrainJob", overrides: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys of a trained method's overrides that its job does not read, and why.

    Args:
        job: of the method.
        overrides: section -> what the method sets in it.
    """
    algorithm: Any = job.algorithm
    if overrides["teacher"] and not algorithm.uses_teacher:
        context = getattr(algorithm, "context", None)
        kind = f"{algorithm.type} with context: {context}" if context else algorithm.type
        yield "teacher", f"algorithm {kind} asks no teacher"
    for key in () if algorithm.has_kl_term else OF_SURROGATE:
        if key in overrides["training"]:
            yield f"training.{key}", f"algorithm {algorithm.type} has a loss of its own"
    given = flattened({"algorithm": overrides["algorithm"]})
    schedule, aas = (getattr(algorithm, key, None) for key in ("schedule", "aas"))
    if schedule and schedule.kind == "constant" and "algorithm.schedule.decay_fraction" in given:
        yield "algorithm.schedule.decay_fraction", "schedule.kind is constant"
    variant = aas.variant if aas else ""
    for key in UNREAD_BY_SHAPING.get(variant, ()):
        if f"algorithm.aas.{key}" in given:
            yield f"algorithm.aas.{key}", f"aas.variant {variant} does not read it"
