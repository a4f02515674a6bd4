"""Evaluate one model on one task.

    thinktuning evaluate --config results/eval/grpo/seed0/chain_sum/config.json ...

lm-eval asks the questions: a task of thinktuning/evaluation/tasks/ on the prepared snapshot, with
the model's chat template and the study's sampling. Every answer is stored in samples.jsonl, one row
per question and sample, so all tables can be rebuilt without a model.
"""

import hashlib
import json
import time
from dataclasses import astuple
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from thinktuning.data.prompt import prompt_sha256, student_chat
from thinktuning.data.questions import read_questions
from thinktuning.evaluation.config import TASKS
from thinktuning.evaluation.lm import recording_model
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import detect, first_boxed
from thinktuning.grading.grader import Grader
from thinktuning.io import provenance
from thinktuning.io.errors import StudyError
from thinktuning.io.files import sha256, write_jsonl, write_text_atomic
from thinktuning.models.chat import encode_chats
from thinktuning.models.checks import check
from thinktuning.models.config import model_sha256
from thinktuning.study.jobs import EvaluateJob


def evaluate(job: EvaluateJob, model_dir: Path, data: Path, output: Path) -> None:
    """Run one evaluation job.

    Raises:
        StudyError: the questions or the model do not match the configuration.
    """
    questions = read_questions(data, job.answer_kind)
    check(
        model_dir,
        f"--model {model_dir}",
        system=bool(job.prompt.system),
        template_kwargs=job.chat_template_kwargs,
    )

    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    started = time.perf_counter()
    lm = recording_model(model_dir, job.evaluation, job.chat_template_kwargs)
    prompts = checked_prompts(job, questions, lm, data)
    seed = job.evaluation.seed
    with TemporaryDirectory() as name:
        directory = Path(name)
        write_documents(questions, directory / "test.parquet")
        task = directory / f"{job.lm_eval}.yaml"
        task.write_text(yaml.safe_dump(task_config(job, directory)), encoding="utf-8")
        evaluated = simple_evaluate(
            model=lm,
            tasks=[str(task)],
            task_manager=TaskManager(include_defaults=False),
            apply_chat_template=True,
            system_instruction=job.prompt.system,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            bootstrap_iters=0,
        )
    documents = evaluated["samples"][job.lm_eval]
    check_asked(documents, questions, prompts, lm)
    rows = sample_rows(job, documents, lm)
    write_jsonl(output / "samples.jsonl", rows)
    summary = summarize(job, rows) | {
        "inputs": {
            "model": model_sha256(model_dir),
            "data": sha256(data),
            "prompt": prompt_sha256(job.prompt, lm.tokenizer, job.chat_template_kwargs),
        },
        "wall_seconds": time.perf_counter() - started,
        "peak_memory_mb": provenance.peak_memory_mb(),
    }
    summary |= provenance.collect()
    write_text_atomic(output / "results.json", json.dumps(summary, indent=2) + "\n")


def checked_prompts(
    job: EvaluateJob, rows: list[dict[str, Any]], lm: Any, data: Path
) -> list[list[int]]:
    """Return each question's prompt as token IDs, as training asks it.

    Raises:
        StudyError: a prompt leaves no room for `max_gen_toks`; lm-eval would truncate it.
    """
    chats = [student_chat(row["question"], job.prompt) for row in rows]
    prompts = encode_chats(chats, lm.tokenizer, job.chat_template_kwargs)
    longest = max(range(len(rows)), key=lambda i: len(prompts[i]))
    length = len(prompts[longest])
    if length + job.evaluation.max_gen_toks > lm.max_length:
        raise StudyError(
            f"{data}: question {rows[longest]['id']!r} has a prompt of {length}"
            f" tokens; with max_gen_toks = {job.evaluation.max_gen_toks} that exceeds"
            f" the model's context length of {lm.max_length} tokens; lower max_gen_toks or drop"
            " the question"
        )
    return prompts


def write_documents(questions: list[dict[str, Any]], path: Path) -> None:
    """Write the questions for lm-eval as Parquet, which holds the types: text, and options.

    Of a JSONL file `datasets` infers them, and takes an id such as 2024-01-01 for a date.
    """
    from datasets import Dataset, Features, List, Value

    names = list(dict.fromkeys(name for row in questions for name in row))
    rows = [{name: row.get(name) for name in names} for row in questions]
    text = Value("string")
    features = Features({name: List(text) if name == "options" else text for name in names})
    Dataset.from_list(rows, features=features).to_parquet(path)


def check_asked(
    documents: list[dict[str, Any]],
    questions: list[dict[str, Any]],
    prompts: list[list[int]],
    lm: Any,
) -> None:
    """Check that lm-eval has asked every question, in the prompt in which training asks it."""
    for document in documents:
        index = document["doc_id"]
        asked = document["arguments"][0][0]
        row = {name: value for name, value in document["doc"].items() if value is not None}
        if row != questions[index] or lm.prompt_ids[asked] != prompts[index]:
            raise RuntimeError(
                f"lm_eval {version('lm_eval')}: question {questions[index]['id']!r} was asked as"
                f" {asked!r}, which is not the study's prompt"
            )
    if len(documents) != len(questions):
        raise RuntimeError(
            f"lm_eval {version('lm_eval')}: asked {len(documents)} of {len(questions)} questions"
        )


def task_config(job: EvaluateJob, directory: Path) -> dict[str, Any]:
    """Return the task's YAML with the study's prompt, number of samples and sampling.

    Args:
        job: the evaluation.
        directory: has the questions as test.parquet, and room for a cache of this job's own.
    """
    greedy = job.evaluation.temperature == 0
    sampling: dict[str, Any] = {"do_sample": False}
    if not greedy:
        # top_k 0: transformers' default would keep the 50 most likely tokens only
        sampling = {"do_sample": True, "temperature": job.evaluation.temperature, "top_k": 0}
    if job.evaluation.backend == "vllm":
        sampling["skip_special_tokens"] = True  # as hf does
    return {
        "include": str(TASKS / f"{job.lm_eval}.yaml"),
        "task": job.lm_eval,
        "dataset_path": "parquet",
        "dataset_kwargs": {
            "data_files": {"test": str(directory / "test.parquet")},
            "cache_dir": str(directory / "cache"),
        },
        # a Jinja template; the suffix is plain text in it
        "doc_to_text": "{{question}}{% raw %}" + job.prompt.suffix + "{% endraw %}",
        "repeats": job.num_samples,
        "filter_list": [
            {
                "name": "samples",
                "filter": [{"function": "take_first_k", "k": job.num_samples}],
            }
        ],
        "generation_kwargs": sampling | {"until": [], "max_gen_toks": job.evaluation.max_gen_toks},
    }


def sample_rows(job: EvaluateJob, documents: list[dict[str, Any]], lm: Any) -> list[dict[str, Any]]:
    """Return the rows of samples.jsonl: verdicts, behaviors, length and finish reason."""
    import torch

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
    golds = [row["gold"] for row in rows]
    of_question = {d["doc"]["id"]: d["doc"].get("options") for d in documents}
    options = [of_question[row["id"]] for row in rows]
    with Grader(num_workers=torch.get_num_threads()) as grader:  # the job's threads
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
        "reflection_rate": mean(lambda row: row["reflects"]),
        "mean_tokens": mean(lambda row: row["num_tokens"]),
        "truncation_rate": mean(lambda row: row["finish_reason"] == "length"),
        "no_answer_rate": mean(lambda row: row["verdict"] == "no_answer"),
        "error_rate": mean(lambda row: row["verdict"] in ("error", "timeout")),
        "prompt": job.prompt.model_dump() | {"chat_template_kwargs": job.chat_template_kwargs},
        "sampling": job.evaluation.model_dump(),
    }
