r"""The teacher's feedback: parsing it, and splicing it onto the student's rollout.

The reply must be `<opinion>correct|incorrect</opinion><reason>...</reason><phrase>...</phrase>` and
nothing else. The spliced completion is the student's tokens without their EOS, the tokens of
`"\n\n" + reason + "\n\n" + phrase`, and one EOS, cut to the maximum completion length.

Departure from the released code: the student's own tokens are never re-tokenized, so their
log-probabilities stay those of the sampled tokens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinktuning.models.chat import without_thoughts

_FORMAT = re.compile(
    r"\s*<opinion>\s*(correct|incorrect)\s*</opinion>"
    r"\s*<reason>((?:(?!</?(?:opinion|reason|phrase)>).)+)</reason>"
    r"\s*<phrase>((?:(?!</?(?:opinion|reason|phrase)>).)+)</phrase>\s*",
    re.DOTALL,
)


@dataclass(frozen=True)
class Feedback:
    """Parsed feedback: an opinion, a first-person reflection, and the continuation."""

    opinion: Literal["correct", "incorrect"]
    reason: str
    phrase: str

    @property
    def text(self) -> str:
        """The text that is spliced onto the student's answer."""
        return f"\n\n{self.reason}\n\n{self.phrase}"

    @property
    def opening(self) -> str:
        """The first words of the reason, up to its first colon and space; empty without one."""
        first, colon, _ = self.reason.partition(": ")
        return first + colon if colon else ""

    @property
    def working(self) -> str:
        """The reason without its `opening`."""
        return self.reason.removeprefix(self.opening)


def parse_feedback(reply: str | None) -> Feedback | None:
    """Parse a teacher's reply; None if it is missing (it did not end) or malformed.

    A closed thinking block at its beginning is skipped.
    """
    match = _FORMAT.fullmatch(without_thoughts(reply)) if reply else None
    if match is None or not (match[2].strip() and match[3].strip()):
        return None
    opinion: Literal["correct", "incorrect"] = "correct" if match[1] == "correct" else "incorrect"
    return Feedback(opinion, match[2].strip(), match[3].strip())


def splice(
    student_ids: Sequence[int], feedback_ids: Sequence[int], eos_id: int, max_length: int
) -> tuple[list[int], int]:
    """Return the spliced completion, and the position of the teacher's first token.

    Args:
        student_ids: one completion, ending in its EOS.
        feedback_ids: tokens that continue the student's with exactly `Feedback.text`.
        eos_id: ends the spliced completion.
        max_length: in tokens; a longer completion is cut and has no EOS.
    """
    start = len(student_ids) - 1
    return [*student_ids[:-1], *feedback_ids, eos_id][:max_length], start
