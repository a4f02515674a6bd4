"""Evaluate one model on one or several tasks.

    thinktuning evaluate --model MODEL --config CONFIG... --data QUESTIONS... --output DIRECTORY...

lm-eval asks the questions: a task of thinktuning/evaluation/tasks/ on the prepared snapshot, with
the model's chat template and the study's sampling. Every answer is stored in samples.jsonl, one row
per question and sample, so all tables can be rebuilt without a model.

The model is loaded once. Each task is asked as if it were alone: lm-eval sets the seeds anew, and
no batch has questions of two tasks. Its files are written when it is done; a job that is started
again makes the others only (`thinktuning.io.kept`).
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from thinktuning.algorithms.rollout import is_right
from thinktuning.commands.asking import ask, checked_prompts
from thinktuning.commands.inputs import fingerprint
from thinktuning.data.prompt import prompt_sha256, student_chat
from thinktuning.data.questions import read_questions
from thinktuning.evaluation.lm import recording_model
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import detect, first_boxed
from thinktuning.grading.grader import Grader
from thinktuning.grading.own_reward import OwnReward
from thinktuning.io import provenance
from thinktuning.io.errors import StudyError
from thinktuning.io.files import sha256, write_jsonl, write_text_atomic
from thinktuning.io.kept import forget, keep, recover
from thinktuning.io.modules import load_modules
from thinktuning.models.checks import check, required
from thinktuning.models.config import model_sha256
from thinktuning.study.jobs import EvaluateJob

FILES = ("samples.jsonl", "results.json")  # results.json last: it says what they were made from


@dataclass(frozen=True)
class Evaluation:
    """One task to evaluate a model on: its job, its questions, the directory of its results."""

    job: EvaluateJob
    data: Path
    output: Path


@dataclass(frozen=True)
class Missing(Evaluation):
    """A task without valid results: its questions, its inputs' hashes, the results' fingerprint."""

    questions: list[dict[str, Any]]
    inputs: dict[str, str | None]
    fingerprint: str


def evaluate(job: EvaluateJob, model_dir: Path, data: Path, output: Path) -> None:
    """Evaluate a model on one task, as `evaluate_tasks` does."""
    evaluate_tasks([Evaluation(job, data, output)], model_dir)


def evaluate_tasks(evaluations: Sequence[Evaluation], model_dir: Path) -> None:
    """Evaluate a model on the tasks that have no results of this job, model and data yet.

    Raises:
        StudyError: the questions or the model do not match the configuration, or the jobs do not
            fit together.
    """
    check_one_engine([one.job for one in evaluations])
    questions = [read_questions(one.data, one.job.answer_kind) for one in evaluations]
    list(required(model_dir, f"--model {model_dir}"))
    model = model_sha256(model_dir)
    missing: list[Missing] = []
    for one, rows in zip(evaluations, questions, strict=True):
        inputs: dict[str, str | None] = {"model": model, "data": sha256(one.data)}
        made_from = fingerprint(one.job, inputs)
        if recover(one.output, FILES, partial(is_valid, made_from=made_from)):
            print(f"{one.output}: has these results already; delete them to evaluate again")
        else:
            missing.append(Missing(one.job, one.data, one.output, rows, inputs, made_from))
    if missing:
        make(missing, model_dir)
    for one in evaluations:
        forget(one.output, FILES)


def check_one_engine(jobs: Sequence[EvaluateJob]) -> None:
    """Check that one engine can run all jobs.

    Raises:
        StudyError: names two jobs that need different ones.
    """
    engines = [
        (job.evaluation.backend, job.evaluation.model_args, job.chat_template_kwargs)
        for job in jobs
    ]
    for job, engine in zip(jobs, engines, strict=True):
        if engine != engines[0]:
            raise StudyError(
                f"--config: {jobs[0].task} and {job.task} differ in backend, model_args or"
                " chat_template_kwargs, so that no engine can run both; evaluate them one by one"
            )


def is_valid(directory: Path, made_from: str) -> bool:
    """Return whether a directory has complete results with this fingerprint."""
    try:
        results = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(results, dict) or results.get("fingerprint") != made_from:
        return False
    samples = directory / "samples.jsonl"  # those of another run if this one was interrupted
    return samples.is_file() and results.get("samples_sha256") == sha256(samples)


def load_libraries() -> None:
    """Import what an evaluation needs, and a job that keeps all results does not."""
    load_modules("transformers.modeling_utils", "lm_eval.evaluator", "lm_eval.models.huggingface")


def make(tasks: Sequence[Missing], model_dir: Path) -> None:
    """Load the model, evaluate it on each task, and write its results."""
    load_libraries()
    import torch

    job = tasks[0].job
    check(
        model_dir,
        f"--model {model_dir}",
        system=any(one.job.prompt.system for one in tasks),
        template_kwargs=job.chat_template_kwargs,
    )

    started = time.perf_counter()  # the first task's time includes loading the model
    lm = recording_model(model_dir, job.evaluation, job.chat_template_kwargs)
    # of all tasks before the first answer, since one may be too long
    prompts = [checked_prompts(one.job, one.questions, lm, one.data) for one in tasks]
    with Grader(num_workers=torch.get_num_threads()) as grader:  # the job's threads
        for one, ids in zip(tasks, prompts, strict=True):
            rows = sample_rows(one.job, ask(one.job, one.questions, ids, lm), lm, grader)
            write_jsonl(one.output / "samples.jsonl", rows)
            summary = summarize(one.job, rows) | {"fingerprint": one.fingerprint}
            summary["samples_sha256"] = sha256(one.output / "samples.jsonl")
            prompt = prompt_sha256(one.job.prompt, lm.tokenizer, one.job.chat_template_kwargs)
            summary["inputs"] = one.inputs | {"prompt": prompt}
            summary["sampling"]["batch_size"] = lm.used_batch_size
            summary["wall_seconds"] = time.perf_counter() - started
            summary["peak_memory_mb"] = provenance.peak_memory_mb()
            summary |= provenance.collect()
            write_text_atomic(one.output / "results.json", json.dumps(summary, indent=2) + "\n")
            keep(one.output, FILES)
            started = time.perf_counter()


def sample_rows(
    job: EvaluateJob, documents: list[dict[str, Any]], lm: Any, grader: Grader
) -> list[dict[str, Any]]:
    """Return the rows of samples.jsonl: verdicts, behaviors, length and finish reason."""
    rows = []
    for document in documents:
        question, prompt = document["doc"], document["arguments"][0][0]
        answers = lm.answers[document["doc_id"]]
        assert [answer.text for answer in answers] == document["resps"][0]
        for sample, (text, length, finished) in enumerate(map(astuple, answers)):
            behaviors = sorted(detect(text))
            rows.append(
                {
                    "id": question["id"],
                    **{key: question[key] for key in ("subset",) if question.get(key)},
                    "sample": sample,
                    "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest()[:16],
                    "text": text,
                    "answer": extract_boxed(text) if finished else None,
                    "first_answer": first_boxed(text) if finished else None,
                    "gold": question["answer"],
                    "finish_reason": "stop" if finished else "length",
                    "num_tokens": length,
                    "reflects": bool(behaviors),
                    "behaviors": behaviors,
                }
            )
    if job.reward:
        return scored_rows(job, rows, documents)
    golds = [row["gold"] for row in rows]
    of_question = {d["doc"]["id"]: d["doc"].get("options") for d in documents}
    options = [of_question[row["id"]] for row in rows]
    last, first = (
        grader.grade([row[key] for row in rows], golds, job.answer_kind, options)
        for key in ("answer", "first_answer")
    )
    return [
        row
        | {"verdict": str(verdict), "correct": verdict == "correct"}
        | {"first_correct": None if row["first_answer"] is None else at_first == "correct"}
        for row, verdict, at_first in zip(rows, last, first, strict=True)
    ]


def scored_rows(
    job: EvaluateJob, rows: list[dict[str, Any]], documents: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return the rows with the scores of the user's own function, which sees whole texts.

    It is passed answers that were cut off, too, as in training. Answers vote by their text.
    """
    assert job.reward
    question_of = {document["doc"]["id"]: document["doc"] for document in documents}
    questions = [question_of[row["id"]] for row in rows]
    names = dict.fromkeys(name for question in questions for name in question)
    score = OwnReward(job.reward, job.reward, alone=True, key=f"tasks.{job.task}.reward")
    scores = score(
        prompts=[student_chat(question["question"], job.prompt) for question in questions],
        completions=[[{"role": "assistant", "content": row["text"]}] for row in rows],
        **{name: [question.get(name) for question in questions] for name in names},
    )
    right = [is_right(float(score or 0), job.right_from) for score in scores]
    return [
        row
        | {"answer": row["text"].strip(), "first_answer": None, "score": score}
        | {"verdict": "correct" if correct else "incorrect", "correct": correct}
        | {"first_correct": None}
        for row, score, correct in zip(rows, scores, right, strict=True)
    ]


def summarize(job: EvaluateJob, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Aggregate a task's rows for results.json, without its provenance."""

    def mean(figure: Any) -> float:
        return float(sum(map(figure, rows)) / len(rows))

    return {
        "method": job.method,
        "seed": job.seed,
        "task": job.task,
        "lm_eval": job.lm_eval,
        "n": len({row["id"] for row in rows}),
        "k": job.num_samples,
        "mean": mean(lambda row: row["correct"]),
        **({"mean_score": mean(lambda row: row["score"])} if job.reward else {}),
        "reflection_rate": mean(lambda row: row["reflects"]),
        "mean_tokens": mean(lambda row: row["num_tokens"]),
        "truncation_rate": mean(lambda row: row["finish_reason"] == "length"),
        "no_answer_rate": mean(lambda row: row["verdict"] == "no_answer"),
        "error_rate": mean(lambda row: row["verdict"] in ("error", "timeout")),
        "prompt": job.prompt.model_dump() | {"chat_template_kwargs": job.chat_template_kwargs},
        "sampling": job.evaluation.model_dump(),
    }
