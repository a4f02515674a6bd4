"""What the toy model can do: answer as a student, check itself when asked, give feedback."""

from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import reflects
from thinktuning.models.chat import Chat, encode_chats, generate_ids
from thinktuning.models.documents import CHECK_SUFFIX, Problem, Tutor, user_turn

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def measure(
    model: "PreTrainedModel",
    tokenizer: Any,
    probe: list[Problem],
    tutor: Tutor,
) -> dict[str, Any]:
    """Measure student and tutor on problems that no training document contains."""
    sampling = {"do_sample": True, "temperature": 1.0, "top_k": 0}

    def ask(chats: list[Chat], **how: Any) -> list[str]:
        completions = generate_ids(model, tokenizer, encode_chats(chats, tokenizer), 96, **how)
        replies: list[str] = tokenizer.batch_decode(completions, skip_special_tokens=True)
        return replies

    def accuracy(replies: list[str]) -> float:
        right = [extract_boxed(r) == str(p.value) for r, p in zip(replies, probe, strict=True)]
        return sum(right) / len(right)

    asked = [user_turn(p.question) for p in probe]
    told = [user_turn(p.question + CHECK_SUFFIX) for p in probe]
    student, sampled, checked = ask(asked), ask(asked, **sampling), ask(told)
    taught = ask([tutor(p.question, s) for p, s in zip(probe, sampled, strict=True)])
    judged = [
        (feedback.opinion == "correct") == (extract_boxed(s) == str(p.value))
        for reply, s, p in zip(taught, sampled, probe, strict=True)
        if (feedback := parse_feedback(reply))
    ]
    return {
        "num_problems": len(probe),
        "student_accuracy_greedy": accuracy(student),
        "student_accuracy_sampled": accuracy(sampled),
        "student_reflection_rate_sampled": sum(map(reflects, sampled)) / len(sampled),
        "student_asked_to_check_accuracy": accuracy(checked),
        "tutor_accuracy": accuracy(taught),
        "tutor_parsed": len(judged) / len(taught),
        "tutor_opinion_accuracy": sum(judged) / max(1, len(judged)),
    }
