"""What the toy model can do: answer as a student, check itself when asked, give feedback.

The same is measured of a pretrained model that was warmed up on the toy model's documents.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import reflects
from thinktuning.models.chat import Chat, encode_chats, generate_ids
from thinktuning.models.documents import (
    NUM_HELD_OUT,
    Student,
    Tutor,
    told_to_check,
    user_turn,
)
from thinktuning.models.families import Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The numbers in `summary`.
MEASURED = (
    *("num_problems", "student_accuracy_greedy", "student_accuracy_sampled"),
    *("student_reflection_rate_sampled", "student_asked_to_check_accuracy"),
    *("tutor_accuracy", "tutor_parsed", "tutor_opinion_accuracy"),
)


def measure(
    model: "PreTrainedModel",
    tokenizer: Any,
    probe: list[Problem],
    tutor: Tutor,
    student: Student = user_turn,
    *,
    template_kwargs: Mapping[str, Any] | None = None,
    max_new_tokens: int = 96,
    batch_size: int = NUM_HELD_OUT,
) -> dict[str, Any]:
    """Measure student and tutor on problems that no training document asks in this wording.

    Args:
        model: the model.
        tokenizer: the model's, with a chat template.
        probe: the problems.
        tutor: returns the chat that asks for feedback on a question and an answer.
        student: returns the chat that asks a question.
        template_kwargs: the study's `chat_template_kwargs`.
        max_new_tokens: the budget of a reply.
        batch_size: the number of chats that are completed at once.

    Returns:
        Shares from 0 to 1, and the number of problems; under `bands`, if the problems have any, the
        same of each, e.g. `products easy`.
    """
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0}

    def ask(chats: list[Chat], **how: Any) -> list[str]:
        ids = encode_chats(chats, tokenizer, template_kwargs)
        replies: list[str] = []
        for start in range(0, len(ids), batch_size):
            batch = ids[start : start + batch_size]
            completions = generate_ids(model, tokenizer, batch, max_new_tokens, **how)
            replies += tokenizer.batch_decode(completions, skip_special_tokens=True)
        return replies

    asked = [student(p.question) for p in probe]
    told = [told_to_check(chat) for chat in asked]
    greedy, sampled, checked = ask(asked), ask(asked, **sampling), ask(told)
    taught = ask([tutor(p.question, s) for p, s in zip(probe, sampled, strict=True)])
    replies = [Replies(*row) for row in zip(probe, greedy, sampled, checked, taught, strict=True)]
    bands: dict[str, list[Replies]] = {}
    for each in replies:
        if each.problem.band:
            bands.setdefault(f"{each.problem.family} {each.problem.band}", []).append(each)
    apart = {"bands": {name: summary(of_band) for name, of_band in bands.items()}} if bands else {}
    return summary(replies) | apart


class Replies(NamedTuple):
    """A problem, and the replies of the student (greedy, sampled, told to check) and the tutor."""

    problem: Problem
    greedy: str
    sampled: str
    checked: str
    taught: str

    def right(self, reply: str) -> bool:
        """Return whether a reply's answer is the problem's value."""
        return extract_boxed(reply) == str(self.problem.value)


def summary(replies: Sequence[Replies]) -> dict[str, Any]:
    """Return what is measured of some problems; the opinions' accuracy is None if none parses."""
    judged = [
        (feedback.opinion == "correct") == each.right(each.sampled)
        for each in replies
        if (feedback := parse_feedback(each.taught))
    ]
    return {
        "num_problems": len(replies),
        "student_accuracy_greedy": fmean(r.right(r.greedy) for r in replies),
        "student_accuracy_sampled": fmean(r.right(r.sampled) for r in replies),
        "student_reflection_rate_sampled": fmean(reflects(r.sampled) for r in replies),
        "student_asked_to_check_accuracy": fmean(r.right(r.checked) for r in replies),
        "tutor_accuracy": fmean(r.right(r.taught) for r in replies),
        "tutor_parsed": len(judged) / len(replies),
        "tutor_opinion_accuracy": fmean(judged) if judged else None,
    }
