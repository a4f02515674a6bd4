"""Limits that are checked before training: questions, prompt lengths, context length, GPUs.

A study that does not fit is refused; nothing is truncated.
"""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from thinktuning.data.prompt import student_chat
from thinktuning.io.errors import StudyError
from thinktuning.io.functions import is_reference
from thinktuning.models.chat import num_tokens
from thinktuning.study.jobs import TrainJob
from thinktuning.teachers.prompts import load


def check_gpus(num_gpus: int, num_processes: int) -> None:
    """Refuse several GPUs in one process: transformers would replicate the model over them."""
    if num_gpus > 1 and num_processes == 1:
        raise StudyError(
            f"this process sees {num_gpus} GPUs and can use one; set CUDA_VISIBLE_DEVICES=0, or"
            " start the training with `accelerate launch` (docs/gpu.md)"
        )


def checked_prompts(
    job: TrainJob, rows: list[dict[str, Any]], tokenizer: Any, data: Path, num_processes: int
) -> list[dict[str, Any]]:
    """Return the trainer's rows; refuse too few or too long prompts.

    A row has the prompt, the question, its gold answer and, if any question has them, its options;
    for a reward of one's own, all that the data have.
    """
    training = job.training
    per_batch = training.generation_batch_size * num_processes // training.num_generations
    if len(rows) < per_batch:
        raise StudyError(
            f"{data}: {len(rows)} questions, fewer than the {per_batch} prompts of a rollout batch;"
            " enlarge data.train or lower training.per_device_train_batch_size"
        )
    chats = [student_chat(row["question"], job.prompt) for row in rows]
    lengths = num_tokens(chats, tokenizer, job.chat_template_kwargs)
    longest = max(range(len(rows)), key=lambda i: lengths[i])
    if lengths[longest] > training.max_prompt_length:
        raise StudyError(
            f"{data}: question {rows[longest]['id']!r} has a prompt of {lengths[longest]} tokens,"
            f" over training.max_prompt_length = {training.max_prompt_length}; raise it or drop"
            " the question"
        )
    columns = ["question", "answer", *(["options"] if any("options" in r for r in rows) else [])]
    if any(map(is_reference, training.rewards)):
        columns = list(dict.fromkeys(column for row in rows for column in row))
    return [
        {"prompt": chat} | {column: row.get(column) for column in columns}
        for chat, row in zip(chats, rows, strict=True)
    ]


def check_adapter(job: TrainJob, model: Any) -> None:
    """Refuse a LoRA adapter on modules that the model does not have, or that the head shares.

    PEFT leaves out a name that no module has if it finds another one. Merging changes the one
    tensor that two embeddings use, so that the published model is not the trained one.
    """
    lora = job.training.lora
    if lora is None or lora.target_modules == "all-linear":
        return
    modules = lora.target_modules
    named = {modules: modules} if isinstance(modules, str) else {each: [each] for each in modules}
    names = [name for name, _ in model.named_modules()]
    for each, targeted in named.items():
        if not any(targets(targeted, name) for name in names):
            ends = sorted({name.split(".")[-1] for name in names if name[-1:].isalpha()})
            raise StudyError(
                f"training.lora.target_modules: no module of the model is called {each!r}; choose"
                f" from {', '.join(ends)}, or take all-linear"
            )
    if not model.config.tie_word_embeddings:
        return
    shared = (model.get_input_embeddings(), model.get_output_embeddings())
    for name, module in model.named_modules():
        if any(module is each for each in shared) and targets(lora.target_modules, name):
            raise StudyError(
                f"training.lora.target_modules: {name} is tied to the model's"
                " other embedding (tie_word_embeddings), and merging the adapter would change both;"
                " leave it out, or take a model that does not tie them"
            )


def targets(modules: str | list[str], name: str) -> bool:
    """Tell whether PEFT's `target_modules` name a module: a regular expression, or endings."""
    if isinstance(modules, str):
        return re.fullmatch(modules, name) is not None
    return any(name == each or name.endswith(f".{each}") for each in modules)


def check_context(job: TrainJob, rows: list[dict[str, Any]], tokenizer: Any, config: Any) -> None:
    """Refuse token budgets over the model's context length, as student and as `self` teacher."""
    positions = getattr(config, "max_position_embeddings", None)
    if not positions:
        return
    training = job.training
    if training.max_prompt_length + training.max_completion_length > positions:
        raise StudyError(
            f"training.max_prompt_length + training.max_completion_length ="
            f" {training.max_prompt_length} + {training.max_completion_length} exceeds the model's"
            f" context length of {positions} tokens; lower one of them"
        )
    if job.algorithm.uses_teacher and job.teacher.backend == "self":
        check_teacher_context(job, rows, tokenizer, positions)
    check_resampling_context(job, rows, tokenizer, positions)
    check_privileged_context(job, rows, tokenizer, positions)


def check_privileged_context(
    job: TrainJob, rows: list[dict[str, Any]], tokenizer: Any, positions: int
) -> None:
    """Refuse texts over the context length where the base reads more than the student does."""
    asked = (student_chat(row["question"], job.prompt) for row in rows)
    found = [each for chat in asked if (each := job.algorithm.privileged_chat(chat))]
    if not found:
        return
    longest = max(num_tokens([chat for chat, _ in found], tokenizer, job.chat_template_kwargs))
    answer, reply = job.training.max_completion_length, job.teacher.max_completion_length
    budgets = {"response": answer, "feedback": reply}
    shown = sum(budgets[name] for name in found[0][1])
    if longest + shown + answer > positions:
        raise StudyError(
            "the longest prompt by algorithm.template, what it shows of the answer and of the"
            f" teacher's reply, and training.max_completion_length = {longest} + {shown} + {answer}"
            f" exceed the model's context length of {positions} tokens; lower"
            " training.max_completion_length or teacher.max_completion_length, or shorten the"
            " template"
        )


def check_resampling_context(
    job: TrainJob, rows: list[dict[str, Any]], tokenizer: Any, positions: int
) -> None:
    """Refuse a prompt and token budgets over the model's or vLLM's context length.

    A student that is asked again may be shown its answer and the teacher's reply.
    """
    asked = (student_chat(row["question"], job.prompt) for row in rows)
    chats = [chat for each in asked if (chat := job.algorithm.resampling_chat(each))]
    if not chats:
        return
    longest = max(num_tokens(chats, tokenizer, job.chat_template_kwargs))
    budget, reply = job.training.max_completion_length, job.teacher.max_completion_length
    lengths = {"the model's context length": positions}
    if vllm := job.training.vllm:
        room = job.training.max_prompt_length + budget
        lengths["training.vllm.max_model_length"] = vllm.max_model_length or room
    for name, limit in lengths.items():
        if longest + reply + 2 * budget > limit:
            raise StudyError(
                "the longest prompt for another answer + teacher.max_completion_length + twice"
                f" training.max_completion_length = {longest} + {reply} + 2 * {budget} exceeds"
                f" {name} of {limit} tokens; lower one of the two, shorten algorithm.refinement, or"
                " raise the limit if it is vLLM's"
            )


def check_teacher_context(
    job: TrainJob, rows: list[dict[str, Any]], tokenizer: Any, positions: int
) -> None:
    """Refuse a prompt and token budgets over the teacher's context length."""
    prompt = load(job.teacher.prompt).select(job.teacher.behaviors)
    chats = [prompt.chat(row["question"], "") for row in rows]
    asked = max(num_tokens(chats, tokenizer, job.chat_template_kwargs))
    budgets = job.training.max_completion_length, job.teacher.max_completion_length
    if asked + sum(budgets) > positions:
        raise StudyError(
            f"the teacher's longest prompt + training.max_completion_length +"
            f" teacher.max_completion_length = {asked} + {budgets[0]} + {budgets[1]} exceeds its"
            f" model's context length of {positions} tokens; lower one of the two, show fewer"
            " exemplars (teacher.behaviors) or shorten teacher.prompt"
        )


def check_vllm(job: TrainJob) -> None:
    """Refuse `training.vllm` without vLLM, before anything is loaded."""
    if job.training.vllm and not find_spec("vllm"):
        raise StudyError(
            "training.vllm: is set, but vLLM is not installed; install it (docs/gpu.md), or remove"
            " training.vllm"
        )
