"""What the toy model can do: answer as a student, check itself when asked, give feedback.

The same is measured of a pretrained model that was warmed up on the toy model's documents.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import reflects
from thinktuning.models.chat import Chat, encode_chats, generate_ids
from thinktuning.models.documents import (
    NUM_HELD_OUT,
    Problem,
    Student,
    Tutor,
    told_to_check,
    user_turn,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
        Shares from 0 to 1, and the number of problems.
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

    def accuracy(replies: list[str]) -> float:
        right = [extract_boxed(r) == str(p.value) for r, p in zip(replies, probe, strict=True)]
        return sum(right) / len(right)

    asked = [student(p.question) for p in probe]
    told = [told_to_check(chat) for chat in asked]
    greedy, sampled, checked = ask(asked), ask(asked, **sampling), ask(told)
    taught = ask([tutor(p.question, s) for p, s in zip(probe, sampled, strict=True)])
    judged = [
        (feedback.opinion == "correct") == (extract_boxed(s) == str(p.value))
        for reply, s, p in zip(taught, sampled, probe, strict=True)
        if (feedback := parse_feedback(reply))
    ]
    return {
        "num_problems": len(probe),
        "student_accuracy_greedy": accuracy(greedy),
        "student_accuracy_sampled": accuracy(sampled),
        "student_reflection_rate_sampled": sum(map(reflects, sampled)) / len(sampled),
        "student_asked_to_check_accuracy": accuracy(checked),
        "tutor_accuracy": accuracy(taught),
        "tutor_parsed": len(judged) / len(taught),
        "tutor_opinion_accuracy": sum(judged) / max(1, len(judged)),
    }
