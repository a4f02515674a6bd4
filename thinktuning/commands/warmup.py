"""Warm up the base model: `thinktuning warmup --config results/models/warmup.json ...`.

A small chat model rarely boxes its answer and hardly ever follows the teacher's format, so it earns
no reward and gives no feedback. A few steps of supervised training fix that, either on

- worked answers to *training* questions: as a student and, for `tutor_share` of the questions, as
  the tutor of a student who is wrong half of the time; or
- the toy model's documents (`warmup.documents`), none of them an evaluation question in
  its wording: they also install what reflection can be learned from, a student who answers tersely
  and never reflects, and who does better when asked to check. How much better is measured and
  recorded in provenance.json.

Every method starts from this model, zero-shot included.
"""

import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from thinktuning.commands.model import VERSIONS, evaluation_questions, write_provenance
from thinktuning.commands.trackers import tracking
from thinktuning.commands.worked_answers import worked_answers
from thinktuning.data.prompt import student_chat
from thinktuning.data.questions import read_questions
from thinktuning.evaluation import skills
from thinktuning.io.errors import StudyError
from thinktuning.io.trackers import check_installed
from thinktuning.models.chat import continuation, encode_chats, eos_ids, turn_end
from thinktuning.models.checks import check
from thinktuning.models.config import WarmupConfig
from thinktuning.models.documents import Document, Student, Tutor, documents, held_out
from thinktuning.models.families import Problem
from thinktuning.models.probe import saved_as_trained
from thinktuning.planning.limits import check_gpus
from thinktuning.study.jobs import WarmupJob
from thinktuning.teachers.prompts import load

# The skills are measured with as many problems: at 50 %, a standard error of 3.5 points.
NUM_MEASURED, MEASURED_AT_ONCE = 200, 50
AT_ONCE = 8  # rows of a step: logits of a large vocabulary are most of the memory

Row = dict[str, list[int]]  # TRL's columns


class Corpus(NamedTuple):
    """What a warm-up trains on, and the problems that measure it; none for worked answers."""

    documents: list[Document]
    probe: list[Problem]


def warm_up(job: WarmupJob, model_dir: Path, data: Path, output: Path) -> None:
    """Warm up the model in `model_dir` and write the result to `output`.

    Args:
        job: the resolved warm-up.
        model_dir: the model to warm up.
        data: output of stage `data`.
        output: the directory to write.

    Raises:
        StudyError: the data or the model do not match the configuration, the documents do not fit
            `warmup.max_length`, or the saved model is not the one that was trained.
    """
    check_installed(job.warmup, "warmup")
    corpus = read_corpus(job, data)
    tutors = bool(job.teacher_prompt and job.warmup.has_tutor)
    system = tutors or bool(job.prompt.system)
    options = job.chat_template_kwargs
    check(model_dir, f"--model {model_dir}", system=system, template_kwargs=options)
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    check_gpus(torch.cuda.device_count(), num_processes=1)
    set_seed(job.warmup.seed)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    end = turn_end(tokenizer, eos_ids(model, tokenizer), options)
    rows = fitting(job, encode(corpus.documents, tokenizer, end, options), data)
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        measured = {"final_loss": train(job, model, tokenizer, rows, partial)}
        check(partial, "the warmed-up model", system=system)
        if corpus.probe:
            longest = max(sum(row["completion_mask"]) for row in rows)
            measured |= measure(job, partial, corpus.probe, longest)
        made = {"warmup": job.warmup.untracked().model_dump(), "measured": measured}
        write_provenance(partial, made, (*VERSIONS, "trl"))
        shutil.rmtree(output, ignore_errors=True)
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def train(job: WarmupJob, model: Any, tokenizer: Any, rows: Sequence[Row], output: Path) -> float:
    """Train the model on encoded documents and save it; return the loss of the last quarter.

    Raises:
        StudyError: the saved model is not the one that was trained.
    """
    import torch
    import trl
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from thinktuning.models.emulated import products_in_float32

    spec = job.warmup
    rows = in_steps(rows, spec)
    at_once = micro_batch(spec.batch_size)
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(rows),
        args=SFTConfig(
            output_dir=str(output),
            max_steps=spec.max_steps,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=spec.batch_size // at_once,
            learning_rate=spec.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=spec.max_steps // 10,
            max_length=None,
            train_sampling_strategy="sequential",  # `in_steps` has the order
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
    if trainer.train_dataset[0]["input_ids"] != rows[0]["input_ids"]:
        raise RuntimeError(f"trl {trl.__version__}: SFTTrainer changed the tokens of a document")
    if spec.trackers:
        config = job.model_copy(update={"warmup": spec.untracked()}).model_dump()
        trainer.add_callback(tracking(spec, config, output))
    with products_in_float32(spec.bf16):
        trainer.train()
    with saved_as_trained(trainer, tokenizer, output):
        trainer.save_model(str(output))
    (output / "training_args.bin").unlink(missing_ok=True)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return fmean(losses[-5:])  # of 20


def in_steps(rows: Sequence[Row], spec: WarmupConfig) -> list[Row]:
    """Return the rows of all optimizer steps in order, those of a step from short to long.

    Rows come in their own order, and in a new one each time they are used up. Each step has what
    comes next, whatever its length: in batches of one length, one has terse answers only, and the
    next one a tutor's replies only. Within a step the order does not matter to the loss, and
    micro-batches of similar rows need little padding.
    """
    rng = random.Random(spec.seed)
    size, order = spec.batch_size, list(range(len(rows)))
    while len(order) < spec.max_steps * size:
        order += rng.sample(range(len(rows)), len(rows))
    steps = [order[i * size : (i + 1) * size] for i in range(spec.max_steps)]
    return [
        rows[i] for step in steps for i in sorted(step, key=lambda i: len(rows[i]["input_ids"]))
    ]


def micro_batch(batch_size: int) -> int:
    """Return the rows of a step to compute at a time: at most `AT_ONCE`, and all as many."""
    return max(n for n in range(1, AT_ONCE + 1) if batch_size % n == 0)


def measure(job: WarmupJob, directory: Path, probe: list[Problem], longest: int) -> dict[str, Any]:
    """Measure the skills of the saved model, in the precision in which it computed.

    Args:
        job: the resolved warm-up.
        directory: the warmed-up model.
        probe: problems that no document asks in this wording.
        longest: the tokens of the longest reply in the documents; a longer one is cut off.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    dtype = "bfloat16" if job.warmup.bf16 else "float32"
    model: Any = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    set_seed(job.warmup.seed)
    return skills.measure(
        model,
        AutoTokenizer.from_pretrained(directory),
        probe,
        *asked(job),
        template_kwargs=job.chat_template_kwargs,
        max_new_tokens=longest,
        batch_size=MEASURED_AT_ONCE,
    )


def read_corpus(job: WarmupJob, data: Path) -> Corpus:
    """Return the documents of a warm-up, and the problems that measure it.

    Args:
        job: the resolved warm-up.
        data: output of stage `data`: its training questions are answered or, with
            `warmup.documents`, its evaluation questions are excluded.

    Raises:
        StudyError: there are no questions, or no document is left.
    """
    spec = job.warmup
    if spec.documents is None:
        rows = read_questions(data / "train.jsonl", job.answer_kind)
        return Corpus(worked_answers(job, rows), [])
    probe = held_out(spec.documents, spec.seed, NUM_MEASURED)
    excluded = evaluation_questions(data) | {problem.question for problem in probe}
    size = spec.max_steps * spec.batch_size
    found = documents(spec.documents, spec.seed, size, frozenset(excluded), *asked(job))
    if not found:
        raise StudyError(
            "warmup.documents: no document is left, because all problems are evaluation questions"
            " or held out to measure the skills; raise max_terms, or max_steps * batch_size"
        )
    return Corpus(found, probe)


def asked(job: WarmupJob) -> tuple[Tutor, Student]:
    """Return how the toy model's documents ask their tutor and their student."""
    assert job.teacher_prompt
    tutor = load(job.teacher_prompt).select(job.behaviors).chat
    return tutor, lambda question: student_chat(question, job.prompt)


def fitting(job: WarmupJob, rows: list[Row], data: Path) -> list[Row]:
    """Return the encoded documents that fit: a truncated one would teach not to end.

    Of worked answers, those that are too long are left out. The toy model's longest documents are
    all of one kind, so leaving them out would change the shares.

    Raises:
        StudyError: none fits, or not all of the toy model's do.
    """
    limit, longest = job.warmup.max_length, max(len(row["input_ids"]) for row in rows)
    if job.warmup.documents and longest > limit:
        raise StudyError(
            f"warmup.documents: the longest has {longest} tokens, over warmup.max_length = {limit};"
            " raise it"
        )
    kept = [row for row in rows if len(row["input_ids"]) <= limit]
    if not kept:
        raise StudyError(
            f"{data}/train.jsonl: no worked answer fits warmup.max_length = {limit} tokens; raise"
            " it"
        )
    return kept


def encode(
    docs: Sequence[Document],
    tokenizer: Any,
    end: int,
    template_kwargs: Mapping[str, Any] | None = None,
) -> list[Row]:
    """Return each document's tokens: generation prompt + reply + end of turn.

    This is what the model will see and should say as a student and as a teacher. The template is
    not asked to render the reply: for a model that thinks, it would add a thinking block.

    Args:
        docs: chats and the replies to them.
        tokenizer: with a chat template.
        end: the token that ends a turn.
        template_kwargs: the study's `chat_template_kwargs`.

    Returns:
        TRL's columns `input_ids` and `completion_mask`, 1 for the reply and the end of turn.

    Raises:
        StudyError: the tokenizer cannot encode a reply so that it decodes to the same text.
    """
    prompts = encode_chats([doc.chat for doc in docs], tokenizer, template_kwargs)
    rows = []
    for prompt_ids, doc in zip(prompts, docs, strict=True):
        reply_ids = continuation(prompt_ids, doc.reply, tokenizer)
        if reply_ids is None:
            raise StudyError(
                f"warmup: the tokenizer cannot encode {doc.reply!r:.80} without changes"
            )
        mask = [0] * len(prompt_ids) + [1] * (len(reply_ids) + 1)
        rows.append({"input_ids": [*prompt_ids, *reply_ids, end], "completion_mask": mask})
    return rows
