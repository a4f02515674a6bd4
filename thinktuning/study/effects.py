"""What a study says of its methods in vain: overrides without effect, methods that are the same.

A method whose override changes nothing is not what its name says, and nothing in its results would
show it. Only what the method itself sets is judged: a key that it has from the study may be there
for other methods. `reads` knows what has an effect.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, get_args

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.io.section import flattened
from thinktuning.study.config import looks_of
from thinktuning.study.extra import refusal
from thinktuning.study.reads import OF_TRAINING, drop, what_it_does, why_unread
from thinktuning.study.reward import check_reward

if TYPE_CHECKING:
    from thinktuning.study.config import MethodConfig
    from thinktuning.study.jobs import TrainJob
    from thinktuning.study.study import Study

ALGORITHMS = {
    each.model_fields["type"].default for each in get_args(get_args(AnyAlgorithmConfig)[0])
}


def check_distinct(methods: Mapping[str, "MethodConfig"], points: Mapping[str, "Study"]) -> None:
    """Refuse two methods of one label, and two that do the same at all points.

    Args:
        methods: of the study.
        points: of its sweep, in which two methods may be the same at some points.

    Raises:
        ValueError: names the two.
    """
    labeled: dict[str, str] = {}
    doing: dict[tuple[str, ...], str] = {}
    for name, method in methods.items():
        label = method.label or name
        if (first := labeled.setdefault(looks_of(label), name)) != name:
            other = methods[first].label or first
            like = "" if label == other else f" (but for case, width or spaces: {other!r})"
            raise ValueError(
                f"methods.{first} and methods.{name} have one label, {label!r}{like}: tables and"
                " figures could not be told apart; change one of the two"
            )
        done = tuple(what_it_does(study, name) for study in points.values())
        if (first := doing.setdefault(done, name)) != name:
            raise ValueError(
                f"methods.{first} and methods.{name} do the same: what they set is what the study"
                " has, equal in both, or without effect on results; change or remove one of the two"
            )


def check_overrides(study: "Study", name: str, job: "TrainJob") -> None:
    """Refuse overrides of a method that have no effect on its job, and a KL term of no loss.

    Args:
        study: that has the method.
        name: of the method.
        job: of the method.

    Raises:
        ValueError: names the key and the fix.
    """
    if job.train and job.training.beta and not job.algorithm.has_kl_term:
        raise ValueError(
            f"method {name} has training.beta = {job.training.beta:g}, but the loss of"
            f" algorithm {job.algorithm.type} has no KL term; set it to 0 for this method"
        )
    method = study.methods[name]
    overrides = {section: getattr(method, section) for section in OF_TRAINING}
    for key in flattened(overrides):
        found = why_unread(job, key)
        if found and not (job.train and _is_needed(study, name, found[0])):
            raise ValueError(f"methods.{name}.{found[0]} has no effect: {found[1]}; remove it")


def _is_needed(study: "Study", name: str, key: str) -> bool:
    """Tell whether a method would be refused without an override, or be another one.

    An algorithm of its own loss cannot honor each `loss_type` of a study, though it reads none.
    """
    method = study.methods[name].model_dump()
    drop(method, key)
    changed = type(study.methods[name]).model_validate(method)
    without = study.model_copy(update={"methods": dict(study.methods) | {name: changed}})
    try:
        job = without.train_job(name, study.seeds[0])
        check_reward(name, job, study.data)
    except ValueError:
        return True
    refused = refusal(job.algorithm, job.training)
    return bool(refused) or what_it_does(without, name) != what_it_does(study, name)


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
