"""Rewards of the user's own: functions with the signature of TRL's reward functions.

    def brevity(completions, **kwargs):
        return [1 / (1 + len(completion[-1]["content"])) for completion in completions]

A study names it as `training.reward: rewards:brevity`. TRL passes `prompts`, `completions` and
`completion_ids`, every column of the questions (`answer`, ...), `trainer_state`, `log_extra` and
`log_metric`. What a function returns is checked here: TRL would train on NaN as on no verdict.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from thinktuning.grading.answers import AnswerKind
from thinktuning.io import functions
from thinktuning.io.errors import StudyError

if TYPE_CHECKING:
    from thinktuning.grading.grader import Grader

BUILT_IN = ("last_box", "whole_text")
FORM = "def NAME(completions, answer, **kwargs)"
IN_EVALUATION = {"prompts", "completions"}  # what a function is passed besides columns
IN_TRAINING = IN_EVALUATION | {"completion_ids", "trainer_state", "log_extra", "log_metric"}


class OwnReward:
    """A user's function, called as TRL calls it.

    Args:
        reference: `module:function`.
        name: of its metrics.
        alone: whether it is the only reward, and so has to score every completion.
        key: where the study names it, for messages.

    Raises:
        StudyError: the function cannot be imported.
    """

    def __init__(
        self, reference: str, name: str, alone: bool, key: str = "training.reward"
    ) -> None:
        self.reference = reference
        self.key = key
        self.__name__ = name
        self.alone = alone
        try:
            self.function = functions.function(reference)
        except ValueError as error:
            raise StudyError(f"{key}: {error}") from error

    def __call__(self, completions: list[Any], **columns: Any) -> list[float | None]:
        """Score each completion.

        Raises:
            StudyError: the function fails, or does not return one finite number per completion.
        """
        try:
            scores = self.function(completions=completions, **columns)
        except StudyError:
            raise
        except Exception as error:
            raise self._refused(f"failed: {functions.failure(error)}") from error
        if isinstance(scores, str | dict) or not hasattr(scores, "__len__"):
            raise self._refused(f"returned {type(scores).__name__}, not a list of numbers")
        if len(scores) != len(completions):
            raise self._refused(
                f"returned {len(scores)} rewards for {len(completions)} completions; return one for"
                " each, in order"
            )
        return [self._score(*pair) for pair in zip(scores, completions, strict=True)]

    def _score(self, score: Any, completion: Any) -> float | None:
        if score is None and not self.alone:
            return None  # another of the rewards scores this completion
        try:
            number = math.nan if score is None or isinstance(score, str) else float(score)
        except (TypeError, ValueError):
            number = math.nan
        if math.isfinite(number):
            return number
        from thinktuning.grading.reward import completion_text

        hint = " (only one of several rewards may return None)" if score is None else ""
        raise self._refused(
            f"returned {score!r:.80}, not a finite number{hint}, for the completion"
            f" {completion_text(completion)!r:.200}"
        )

    def _refused(self, what: str) -> StudyError:
        return StudyError(f"{self.key}: {self.reference} {what}")


def missing_columns(reference: str, columns: set[str] | None, passed: set[str]) -> list[str]:
    """Return what a function needs and is not passed.

    Args:
        reference: `module:function`.
        columns: of the questions; None: not known, so that no parameter is missing.
        passed: what it is passed besides.

    Raises:
        ValueError: it does not exist, or does not have the signature of a reward function.
    """
    missing = functions.required(reference, passed | (columns or set()), FORM)
    return [] if columns is None else sorted(missing)


def check_columns(reference: str, columns: set[str], passed: set[str]) -> None:
    """Refuse a function that needs what it is not passed; the arguments of `missing_columns`.

    Raises:
        ValueError: names what it needs.
    """
    if missing := missing_columns(reference, columns, passed):
        raise ValueError(
            f"{reference} needs {', '.join(missing)}, but questions have only"
            f" {', '.join(sorted(columns))}; a format of your own (`format: module:function`) may"
            " add columns"
        )


def reward_functions(
    rewards: Sequence[str],
    columns: set[str],
    grader: "Grader",
    kind: AnswerKind,
    eos_ids: Sequence[int],
) -> list[Any]:
    """Return the reward functions for the trainer.

    Args:
        rewards: names of built-in rewards, and `module:function`.
        columns: of the questions.
        grader: of the built-in ones.
        kind: of the gold answers.
        eos_ids: tokens that end a completion.

    Raises:
        StudyError: a function cannot be imported, or needs a column that no question has.
    """
    from thinktuning.grading.reward import FUNCTIONS

    found: list[Any] = []
    short = [reward.rpartition(":")[2] for reward in rewards]
    for reward, name in zip(rewards, short, strict=True):
        if reward in FUNCTIONS:
            found.append(FUNCTIONS[reward](grader, kind, eos_ids))
            continue
        name = name if short.count(name) == 1 else reward.replace(":", ".")
        found.append(OwnReward(reward, name, alone=len(rewards) == 1))
        try:
            check_columns(reward, columns, IN_TRAINING)
        except ValueError as error:
            raise StudyError(f"training.reward: {error}") from None
    return found
