"""What a training has room for: questions, prompts and budgets, the model's positions, GPUs.

A study that does not fit is refused before it trains; nothing is cut.
"""

from pathlib import Path
from typing import Any

from thinktuning.config import Run
from thinktuning.errors import StudyError
from thinktuning.prompts import load, num_tokens, student_chat


def check_gpus(num_gpus: int, num_processes: int) -> None:
    """Refuse one process with several GPUs, which transformers would copy the model to."""
    if num_gpus > 1 and num_processes == 1:
        raise StudyError(
            f"this process sees {num_gpus} GPUs: show it one (CUDA_VISIBLE_DEVICES=0); on several"
            " a training starts through `accelerate launch` (docs/gpu.md)"
        )


def checked_prompts(
    run: Run, rows: list[dict[str, Any]], tokenizer: Any, data: Path, num_processes: int
) -> list[dict[str, Any]]:
    """Make the trainer's rows (prompt, question, answer), or say why they cannot be trained on."""
    training = run.training
    per_batch = training.generation_batch_size * num_processes // training.num_generations
    if len(rows) < per_batch:
        raise StudyError(
            f"{data}: {len(rows)} questions, fewer than the {per_batch} prompts of a rollout batch;"
            " enlarge data.train or lower training.per_device_train_batch_size"
        )
    chats = [student_chat(row["question"], run.prompt) for row in rows]
    lengths = num_tokens(chats, tokenizer)
    longest = max(range(len(rows)), key=lambda i: lengths[i])
    if lengths[longest] > training.max_prompt_length:
        raise StudyError(
            f"{data}: question {rows[longest]['id']!r} makes a prompt of {lengths[longest]} tokens,"
            f" over training.max_prompt_length = {training.max_prompt_length}; raise it or drop"
            " the question"
        )
    return [
        {"prompt": chat, "question": row["question"], "answer": row["answer"]}
        for chat, row in zip(chats, rows, strict=True)
    ]


def check_context(run: Run, rows: list[dict[str, Any]], tokenizer: Any, config: Any) -> None:
    """Refuse budgets that together exceed the model's positions, as student and as teacher."""
    positions = getattr(config, "max_position_embeddings", None)
    if not positions:
        return
    training = run.training
    if training.max_prompt_length + training.max_completion_length > positions:
        raise StudyError(
            f"training.max_prompt_length + training.max_completion_length ="
            f" {training.max_prompt_length} + {training.max_completion_length} exceed the"
            f" {positions} positions of the model; lower one of them"
        )
    if run.guidance.enabled and run.teacher.backend == "self":
        check_teacher_context(run, rows, tokenizer, positions)


def check_teacher_context(
    run: Run, rows: list[dict[str, Any]], tokenizer: Any, positions: int
) -> None:
    """Refuse a teacher whose prompt and budgets exceed its positions."""
    prompt = load(run.teacher.prompt).select(run.teacher.behaviours)
    asked = max(num_tokens([prompt.chat(row["question"], "") for row in rows], tokenizer))
    budgets = run.training.max_completion_length, run.teacher.max_completion_length
    if asked + sum(budgets) > positions:
        raise StudyError(
            f"the teacher's longest prompt, training.max_completion_length and"
            f" teacher.max_completion_length = {asked} + {budgets[0]} + {budgets[1]} exceed the"
            f" {positions} positions of its model; lower one of the two, show fewer exemplars"
            " (teacher.behaviours) or shorten teacher.prompt"
        )
