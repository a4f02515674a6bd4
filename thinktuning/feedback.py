"""The teacher's feedback: reading it, and splicing it onto the student's rollout.

The reply must be `<opinion>correct|incorrect</opinion><reason>...</reason><phrase>...</phrase>` and
nothing else. The spliced completion is the student's tokens without their EOS, the tokens of
`"\\n\\n" + reason + "\\n\\n" + phrase`, and one EOS, cut to the maximum completion length.

Departure from the released code: the student's own tokens are never re-tokenised, so their
log-probabilities stay those of what it said.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mask = Literal["trajectory", "teacher"]

_FORMAT = re.compile(
    r"\s*<opinion>\s*(correct|incorrect)\s*</opinion>"
    r"\s*<reason>((?:(?!</?(?:opinion|reason|phrase)>).)+)</reason>"
    r"\s*<phrase>((?:(?!</?(?:opinion|reason|phrase)>).)+)</phrase>\s*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Feedback:
    """What the teacher said: an opinion, a first-person reflection, and how it goes on."""

    opinion: Literal["correct", "incorrect"]
    reason: str
    phrase: str

    @property
    def text(self) -> str:
        """What is spliced onto the student's answer."""
        return f"\n\n{self.reason}\n\n{self.phrase}"


def parse_feedback(reply: str | None) -> Feedback | None:
    """Read a teacher's reply; None when there is none (it did not end) or its format is off."""
    match = _FORMAT.fullmatch(reply) if reply else None
    if match is None or not (match[2].strip() and match[3].strip()):
        return None
    opinion: Literal["correct", "incorrect"] = "correct" if match[1] == "correct" else "incorrect"
    return Feedback(opinion, match[2].strip(), match[3].strip())


def ended(completion_ids: Sequence[int], eos_ids: Sequence[int]) -> bool:
    """Whether a rollout ended by itself: exactly one EOS, the last token."""
    return sum(token in eos_ids for token in completion_ids) == 1 and completion_ids[-1] in eos_ids


def splice(
    student_ids: Sequence[int], feedback_ids: Sequence[int], eos_id: int, max_length: int
) -> tuple[list[int], int]:
    """Return the spliced completion, and where the teacher's tokens begin.

    Args:
        student_ids: one completion, ending in its EOS.
        feedback_ids: tokens of `Feedback.text`, without special tokens.
    """
    start = len(student_ids) - 1
    return [*student_ids[:-1], *feedback_ids, eos_id][:max_length], start


def guidance_row(length: int, start: int, padded_length: int, mask: Mask) -> list[bool]:
    """Return one row of the guidance mask, (padded_length,): the tokens that are trained as guided.

    trajectory: the student's tokens as well (released code); teacher: from `start` on (ablation).
    Padding is never guided.
    """
    first = 0 if mask == "trajectory" else start
    return [first <= i < length for i in range(padded_length)]
