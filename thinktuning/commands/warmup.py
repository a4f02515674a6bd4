"""Warm up the base model: `thinktuning warmup --config results/models/warmup.json ...`.

A small chat model rarely boxes its answer and hardly ever follows the teacher's format, so it earns
no reward and gives no feedback. A few steps of supervised training on worked answers to *training*
questions fix that: as a student and, for `tutor_share` of the questions, as the tutor of a student
who is wrong half of the time. Every method starts from this model, zero-shot included.
"""

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.data.prompt import student_chat
from thinktuning.data.questions import read_questions
from thinktuning.io.errors import StudyError
from thinktuning.models.chat import (
    continuation,
    encode_chats,
    eos_ids,
    turn_end,
)
from thinktuning.models.checks import check
from thinktuning.models.probe import saved_as_trained
from thinktuning.planning.limits import check_gpus
from thinktuning.study.jobs import WarmupJob
from thinktuning.teachers.prompts import load

Document = dict[str, list[dict[str, str]]]


def warm_up(job: WarmupJob, model_dir: Path, data: Path, output: Path) -> None:
    """Warm up the model in `model_dir` and write the result to `output`.

    Raises:
        StudyError: the data or the model do not match the configuration, no document fits
            `warmup.max_length`, or the saved model is not the one that was trained.
    """
    rows = read_questions(data, job.answer_kind)
    tutors = bool(job.teacher_prompt and job.warmup.tutor_share)
    system = tutors or bool(job.prompt.system)
    options = job.chat_template_kwargs
    check(model_dir, f"--model {model_dir}", system=system, template_kwargs=options)
    import torch
    import trl
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed
    from trl import SFTConfig, SFTTrainer

    check_gpus(torch.cuda.device_count(), num_processes=1)
    spec = job.warmup
    set_seed(spec.seed)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    end = turn_end(tokenizer, eos_ids(model, tokenizer), options)
    encoded = encode(make_documents(job, rows), tokenizer, end, options)
    # a truncated document would teach not to end
    documents = [doc for doc in encoded if len(doc["input_ids"]) <= spec.max_length]
    if not documents:
        raise StudyError(
            f"{data}: no worked answer fits warmup.max_length = {spec.max_length} tokens; raise it"
        )
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(documents),
        args=SFTConfig(
            output_dir=str(partial),
            max_steps=spec.max_steps,
            per_device_train_batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=spec.max_steps // 10,
            max_length=None,
            train_sampling_strategy="group_by_length",  # less padding where lengths differ
            completion_only_loss=True,
            activation_checkpointing=False,
            bf16=spec.bf16,
            seed=spec.seed,
            save_strategy="no",
            logging_steps=max(1, spec.max_steps // 20),
            report_to="none",
            use_cpu=not torch.cuda.is_available(),
        ),
    )
    if trainer.train_dataset[0]["input_ids"] != documents[0]["input_ids"]:
        raise RuntimeError(f"trl {trl.__version__}: SFTTrainer changed the tokens of a document")
    try:
        trainer.train()
        with saved_as_trained(trainer, tokenizer, partial):
            trainer.save_model(str(partial))
        (partial / "training_args.bin").unlink(missing_ok=True)
        check(partial, "the warmed-up model", system=system)
        shutil.rmtree(output, ignore_errors=True)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def make_documents(job: WarmupJob, rows: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Return a chat and its reply for every question, in an order drawn from the seed."""
    rng = random.Random(job.warmup.seed)
    rows = list(rows)
    rng.shuffle(rows)
    tutor = load(job.teacher_prompt).select(job.behaviors) if job.teacher_prompt else None
    documents = []
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        question, right = row["question"], worked(row)
        chat, reply = student_chat(question, job.prompt), right
        if tutor and rng.random() < job.warmup.tutor_share:
            wrong = rng.random() < 0.5
            response = f"The answer is \\boxed{{{other['answer']}}}." if wrong else right
            is_wrong = wrong and other["answer"] != row["answer"]
            chat, reply = tutor.chat(question, response), feedback(row, is_wrong, rng)
        documents.append({"prompt": chat, "completion": [{"role": "assistant", "content": reply}]})
    return documents


def worked(row: Mapping[str, Any]) -> str:
    r"""Return the worked solution, if the data has one, and the answer in a \boxed{}."""
    boxed = f"The answer is \\boxed{{{row['answer']}}}."
    solution = row.get("solution", "").strip()
    return f"{solution}\n{boxed}" if solution else boxed


def feedback(row: Mapping[str, Any], wrong: bool, rng: random.Random) -> str:
    """Return a tutor's reply in the teacher's format, which works the question out again."""
    opening = rng.choice(DOUBTS if wrong else CONFIRMATIONS)
    solution = row.get("solution", "").strip()
    verdict = "incorrect" if wrong else "correct"
    reason = f"{opening} {solution}".strip()
    reply = (
        f"<opinion>{verdict}</opinion><reason>{reason}</reason>"
        f"<phrase>The answer is \\boxed{{{row['answer']}}}.</phrase>"
    )
    assert parse_feedback(reply), reply
    return reply


DOUBTS = (
    "Wait, let me check that.",
    "Hmm, I jumped to the answer, so let me work it out step by step.",
    "My teacher would ask for the steps, so let me write them down.",
)
CONFIRMATIONS = (
    "Let me go through it again to be sure.",
    "Let me double-check this step by step.",
)


def encode(
    documents: Sequence[Document],
    tokenizer: Any,
    end: int,
    template_kwargs: Mapping[str, Any] | None = None,
) -> list[dict[str, list[int]]]:
    """Return each document's tokens: generation prompt + reply + end of turn.

    This is what the model will see and should say as a student and as a teacher. The template is
    not asked to render the reply: for a model that thinks, it would add a thinking block.

    Args:
        documents: chats and the replies to them.
        tokenizer: with a chat template.
        end: the token that ends a turn.
        template_kwargs: the study's `chat_template_kwargs`.

    Returns:
        TRL's columns `input_ids` and `completion_mask`, 1 for the reply and the end of turn.

    Raises:
        StudyError: the tokenizer cannot encode a reply so that it decodes to the same text.
    """
    prompts = encode_chats([doc["prompt"] for doc in documents], tokenizer, template_kwargs)
    rows = []
    for prompt_ids, document in zip(prompts, documents, strict=True):
        reply = document["completion"][0]["content"]
        reply_ids = continuation(prompt_ids, reply, tokenizer)
        if reply_ids is None:
            raise StudyError(f"warmup: the tokenizer cannot encode {reply!r:.80} without changes")
        mask = [0] * len(prompt_ids) + [1] * (len(reply_ids) + 1)
        rows.append({"input_ids": [*prompt_ids, *reply_ids, end], "completion_mask": mask})
    return rows
