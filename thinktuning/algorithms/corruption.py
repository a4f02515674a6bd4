r"""Corrupted feedback: a reliable teacher is made to err at known rates.

A *false alarm* doubts a right answer and ends in a wrong one; a *miss* agrees with a wrong answer.
These are the two errors of verification whose rates decide whether reflection helps in Yu et al.
2025 (arXiv 2510.12157): with both verdicts and resampling it does if they sum to less than 1.

A reply is changed as its text: the last mention of its answer in the reason, the box of its phrase,
the opinion, and the reason's opening words. The toy model's feedback reads then as its documents
with a wrong last step do (`thinktuning.models.families.wrong_derivation`). The rates are those of
an unchanged teacher's usable replies, to which its own errors are added. A reply without a whole
number for an answer, or whose reason does not mention it, stays as it is, and is counted as
`num_uncorrupted` in metrics.jsonl.
"""

import random
import re

from thinktuning.algorithms.feedback import Feedback
from thinktuning.grading.answers import extract_boxed
from thinktuning.io.section import Fraction, Section

SLIPS = (-3, -2, -1, 1, 2, 3)
_WHOLE = re.compile(r"-?\d+")
_BOX = re.compile(r"(\\boxed\s*\{)[^{}]*(\})")


class CorruptionConfig(Section):
    """How often the teacher's feedback is made wrong, and how its reasons then begin.

    `false_alarm_rate`: of the replies to right answers. `miss_rate`: of the replies to wrong ones.
    `doubt` and `agreement` take the place of a reason's first words up to a colon.
    """

    false_alarm_rate: Fraction = 0.0
    miss_rate: Fraction = 0.0
    doubt: str = "Wait, let me check: "
    agreement: str = "Let me go through it again: "

    @property
    def errs(self) -> bool:
        """Whether any reply is made wrong."""
        return bool(self.false_alarm_rate or self.miss_rate)

    def rate(self, right: bool) -> float:
        """Return the rate at which replies to right, or to wrong, answers are changed."""
        return self.false_alarm_rate if right else self.miss_rate


def corrupt(
    feedback: Feedback, said: str, right: bool, config: CorruptionConfig, rng: random.Random
) -> Feedback | None:
    """Return feedback that errs about an answer; None if it cannot be made to.

    Args:
        feedback: the teacher's.
        said: the student's whole text.
        right: whether its answer is right.
        config: the words that a changed reason begins with.
        rng: draws by how much a false alarm's answer is wrong.
    """
    found, own = extract_boxed(feedback.phrase), extract_boxed(said)
    if found is None or own is None or not (_WHOLE.fullmatch(found) and _WHOLE.fullmatch(own)):
        return None
    answer = str(int(own) + rng.choice(SLIPS)) if right else own
    mentions = [*re.finditer(rf"(?<![\d.-]){re.escape(found)}(?![\d]|\.\d)", feedback.working)]
    if not mentions:
        return None
    start, end = mentions[-1].span()
    opening = (config.doubt if right else config.agreement) if feedback.opening else ""
    return Feedback(
        opinion="incorrect" if right else "correct",
        reason=f"{opening}{feedback.working[:start]}{answer}{feedback.working[end:]}",
        phrase=_BOX.sub(rf"\g<1>{answer}\g<2>", feedback.phrase),
    )
