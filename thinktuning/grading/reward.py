r"""The reward: 1 if the completion ended by itself and its last `\boxed{}` is correct, else 0.

`WholeTextReward` verifies the whole text instead of the box, as the paper's released code does.

Departure from the released code: if the verifier fails or times out, there is no verdict. The
reward is then None, which TRL leaves out of the group's mean and the loss, and it is counted.
"""

from collections.abc import Sequence
from typing import Any

from thinktuning.grading.answers import AnswerKind, extract_boxed
from thinktuning.grading.grader import Grader, Verdict
from thinktuning.grading.whole_text import GradedAs

REWARDS = {Verdict.correct: 1.0, Verdict.incorrect: 0.0, Verdict.no_answer: 0.0}


def ended(completion_ids: Sequence[int], eos_ids: Sequence[int]) -> bool:
    """Return whether a completion ended by itself: it has exactly one EOS, the last token."""
    return sum(token in eos_ids for token in completion_ids) == 1 and completion_ids[-1] in eos_ids


class BoxedReward:
    """A reward function for `trl.GRPOTrainer`; `answer` holds the gold answers.

    Column `options` holds the texts of a question's options, if it has any.
    """

    __name__ = "boxed_reward"

    def __init__(self, grader: Grader, kind: AnswerKind, eos_ids: Sequence[int]) -> None:
        self.grader = grader
        self.kind: GradedAs = kind
        self.eos_ids = eos_ids

    def __call__(
        self,
        completions: list[Any],
        completion_ids: list[list[int]],
        answer: list[str],
        options: list[list[str] | None] | None = None,
        log_metric: Any = None,
        **_: Any,
    ) -> list[float | None]:
        """Score each completion: 1.0, 0.0, or None where the verifier failed."""
        answers = [
            self.answer(completion_text(completion)) if ended(ids, self.eos_ids) else None
            for completion, ids in zip(completions, completion_ids, strict=True)
        ]
        verdicts = self.grader.grade(answers, answer, self.kind, options)
        rewards = [REWARDS.get(verdict) for verdict in verdicts]
        if log_metric is not None:
            log_metric("verifier_failures", sum(r is None for r in rewards) / len(rewards))
        return rewards

    def answer(self, text: str) -> str | None:
        """Return the part of a completion that is verified, None if there is none."""
        return extract_boxed(text)


class WholeTextReward(BoxedReward):
    """As `BoxedReward`, but math-verify looks for the answer in the whole text (`whole_text`)."""

    __name__ = "whole_text_reward"

    def __init__(self, grader: Grader, kind: AnswerKind, eos_ids: Sequence[int]) -> None:
        super().__init__(grader, kind, eos_ids)
        self.kind = "whole_text"

    def answer(self, text: str) -> str | None:
        """Return the completion as it is."""
        return text


FUNCTIONS = {"last_box": BoxedReward, "whole_text": WholeTextReward}  # by `training.reward`


def completion_text(completion: str | list[dict[str, str]]) -> str:
    """Return a completion's text, whether TRL passes it as a string or as a message."""
    return completion if isinstance(completion, str) else completion[-1]["content"]
