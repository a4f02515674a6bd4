"""The study's `training.reward`: what a completion is rewarded for, and when it counts as right.

`last_box` and `whole_text` verify the answer: their rewards are 1 and 0. A function of the user's
own (`module:function`) or a weighted sum of several is graded. What an algorithm asks of a reward
is then either its size, as the advantages do, or whether the completion is right: `right_from` is
the reward from which it is, and without it what needs a right and a wrong is refused.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from thinktuning.data.config import COLUMNS, DataConfig, has_own_format
from thinktuning.grading.own_reward import (
    BUILT_IN,
    IN_TRAINING,
    check_columns,
    missing_columns,
)
from thinktuning.io import functions
from thinktuning.io.section import Number, absent, remove

if TYPE_CHECKING:
    from thinktuning.study.jobs import TrainJob


def _reward(value: Any) -> Any:
    """Check the names of built-in rewards, and import the functions."""
    several = isinstance(value, list)
    names = value if several else [value]
    for name in names:
        own = isinstance(name, str) and functions.is_reference(name)
        if own:
            missing_columns(name, None, IN_TRAINING)
        elif not isinstance(name, str) or name not in BUILT_IN:
            shown = f" (found {name!r:.80})" if several else ""
            raise ValueError(
                "Input should be 'last_box' or 'whole_text', module:function, or a list of"
                f" these{shown}"
            )
    if not names or len(set(names)) != len(names):
        raise ValueError("a list of rewards names at least one, and each once")
    return value


_NAMED = {"type": "string", "pattern": rf"^({'|'.join(BUILT_IN)})$|:"}
Reward = Annotated[
    str | list[str],
    BeforeValidator(_reward),
    WithJsonSchema({"anyOf": [_NAMED, {"type": "array", "items": _NAMED, "minItems": 1}]}),
]
Weights = Annotated[list[Number] | None, Field(exclude_if=absent)]


def check_weights(rewards: Sequence[str], weights: Sequence[float] | None) -> None:
    """Refuse weights that are not one for each of several rewards, or all 0.

    Raises:
        ValueError: says how many there should be.
    """
    if weights is None:
        return
    if len(rewards) == 1:
        raise ValueError(
            "reward_weights are for several rewards, and there is one; remove them (in a method,"
            " set reward_weights to null)"
        )
    if len(weights) != len(rewards):
        raise ValueError(
            f"reward_weights has {len(weights)} numbers for {len(rewards)} rewards; give one each"
        )
    if not any(weights):
        raise ValueError("reward_weights are all 0, so nothing is rewarded; raise one")


def check_threshold(rewards: Sequence[str], right_from: float | None) -> None:
    """Refuse a threshold for rewards that are 0 or 1.

    Raises:
        ValueError: there is nothing to choose.
    """
    if right_from is not None and not is_graded(rewards):
        raise ValueError(
            f"right_from = {right_from:g}, but reward {rewards[0]} is 1 for what is right and 0 for"
            f" what is not; {remove('right_from')}"
        )


def is_graded(rewards: Sequence[str]) -> bool:
    """Tell whether a reward may have other values than 0 and 1."""
    return len(rewards) > 1 or rewards[0] not in BUILT_IN


def check_corruption(method: str, job: "TrainJob") -> None:
    """Refuse to corrupt feedback on answers that are never whole numbers.

    Raises:
        ValueError: names the method and the keys.
    """
    corruption = getattr(job.algorithm, "corruption", None)
    if corruption and corruption.errs and job.answer_kind in ("letter", "yes_no"):
        raise ValueError(
            f"method {method} has algorithm.corruption, which changes whole numbers, but"
            f" data.answer_kind is {job.answer_kind}; {remove()}"
        )


def check_reached(method: str, job: "TrainJob") -> None:
    """Refuse a threshold with which every completion would be right, or none.

    The range of a function of the user's own is not known; built-in rewards are 0 or 1.

    Raises:
        ValueError: names the method, the key and the range.
    """
    training = job.training
    weights = training.reward_weights or [1.0] * len(training.rewards)
    if any(reward not in BUILT_IN for reward in training.rewards):
        return
    low, high = sum(min(w, 0.0) for w in weights), sum(max(w, 0.0) for w in weights)
    thresholds = {
        "training.right_from": training.right_from,
        "algorithm.min_reward": getattr(job.algorithm, "min_reward", None),
    }
    for key, threshold in thresholds.items():
        if threshold is not None and not low < threshold <= high:
            which = "none" if threshold > high else "every one"
            raise ValueError(
                f"method {method} has {key} = {threshold:g}, but its rewards are from {low:g} to"
                f" {high:g}, so that {which} would count as right; choose one in between"
            )


def check_reward(method: str, job: "TrainJob", data: DataConfig) -> None:
    """Refuse a method whose reward and questions, or reward and algorithm, do not go together.

    Raises:
        ValueError: names the method and the keys.
    """
    rewards, right_from = job.training.rewards, job.training.right_from
    check_corruption(method, job)
    if "whole_text" in rewards and data.answer_kind not in ("number", "latex"):
        raise ValueError(
            f"method {method} has training.reward: whole_text, which finds numbers and LaTeX,"
            f" but data.answer_kind is {data.answer_kind}; use reward: last_box"
        )
    if data.answer_kind == "text" and (verified := [r for r in rewards if r in BUILT_IN]):
        raise ValueError(
            f"method {method} has training.reward: {', '.join(verified)}, which verifies answers,"
            " but data.answer_kind is text, which only a function of your own can judge; name one"
            " (module:function)"
        )
    if is_graded(rewards):
        asked = job.algorithm.asks_what_is_right()
        if asked and right_from is None:
            raise ValueError(
                f"method {method} has algorithm.{', '.join(asked)}, for which a completion is right"
                f" or wrong, but training.reward: {', '.join(rewards)} is graded; set"
                " training.right_from to the reward from which one is right"
            )
        own = getattr(job.algorithm, "min_reward", None)
        if right_from is not None and own is not None and own != right_from:
            raise ValueError(
                f"method {method} has training.right_from = {right_from:g} and algorithm.min_reward"
                f" = {own:g}; both say from which reward on a completion is right: set min_reward"
                " to null"
            )
    check_reached(method, job)
    for reward in rewards:
        if reward not in BUILT_IN and not has_own_format(data.train):
            try:
                check_columns(reward, COLUMNS, IN_TRAINING)
            except ValueError as error:
                raise ValueError(f"method {method} has training.reward: {error}") from None
