"""Evaluate one model on one task.

    thinktuning evaluate --config results/eval/grpo/seed0/chain_sum/config.json ...

lm-eval asks the questions (a task of thinktuning/tasks/, from the prepared snapshot, with the
model's chat template and the study's sampling); every answer is kept in samples.jsonl, a row a
question and sample, so that all tables can be rebuilt without a model.
"""

import hashlib
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from thinktuning import base, provenance
from thinktuning.answers import extract_boxed
from thinktuning.backends import recording_model
from thinktuning.behaviours import detect, first_boxed
from thinktuning.config import EvalRun
from thinktuning.errors import StudyError
from thinktuning.files import write_jsonl, write_text_atomic
from thinktuning.grading import Grader
from thinktuning.prompts import num_tokens, student_chat
from thinktuning.questions import read_questions
from thinktuning.sources import TASKS


def evaluate(run: EvalRun, model_dir: Path, data: Path, output: Path) -> None:
    """Run one evaluation job.

    Raises:
        StudyError: the questions or the model do not fit the configuration.
    """
    questions = read_questions(data, run.answer_kind)
    base.check(model_dir, f"--model {model_dir}")

    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    started = time.perf_counter()
    lm = recording_model(model_dir, run.evaluation)
    check_lengths(run, questions, lm, data)
    seed = run.evaluation.seed
    with TemporaryDirectory() as directory:
        task = Path(directory) / f"{run.lm_eval}.yaml"
        task.write_text(yaml.safe_dump(task_config(run, data)), encoding="utf-8")
        evaluated = simple_evaluate(
            model=lm,
            tasks=[str(task)],
            task_manager=TaskManager(include_defaults=False),
            apply_chat_template=True,
            system_instruction=run.prompt.system,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            bootstrap_iters=0,
        )
    rows = sample_rows(run, evaluated["samples"][run.lm_eval], lm)
    write_jsonl(output / "samples.jsonl", rows)
    summary = summarise(run, rows) | {
        "wall_seconds": time.perf_counter() - started,
        "peak_memory_mb": provenance.peak_memory_mb(),
    }
    summary |= provenance.collect()
    write_text_atomic(output / "results.json", json.dumps(summary, indent=2) + "\n")


def check_lengths(run: EvalRun, rows: list[dict[str, Any]], lm: Any, data: Path) -> None:
    """Refuse what lm-eval would cut: a prompt that leaves no room for `max_gen_toks`."""
    chats = [student_chat(row["question"], run.prompt) for row in rows]
    lengths = num_tokens(chats, lm.tokenizer)
    longest = max(range(len(rows)), key=lambda i: lengths[i])
    if lengths[longest] + run.evaluation.max_gen_toks > lm.max_length:
        raise StudyError(
            f"{data}: question {rows[longest]['id']!r} makes a prompt of {lengths[longest]}"
            f" tokens; with evaluation.max_gen_toks = {run.evaluation.max_gen_toks} that is over"
            f" the model's {lm.max_length}; lower max_gen_toks or drop the question"
        )


def task_config(run: EvalRun, data: Path) -> dict[str, Any]:
    """Lay the study's snapshot, samples and sampling over the task's YAML."""
    greedy = run.evaluation.temperature == 0
    sampling: dict[str, Any] = {"do_sample": False}
    if not greedy:
        # top_k 0: transformers would otherwise cut the distribution at its default of 50
        sampling = {"do_sample": True, "temperature": run.evaluation.temperature, "top_k": 0}
    if run.evaluation.backend == "vllm":
        sampling["skip_special_tokens"] = True  # as hf does
    return {
        "include": str(TASKS / f"{run.lm_eval}.yaml"),
        "task": run.lm_eval,
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        # a Jinja template, in which the suffix is text
        "doc_to_text": "{{question}}{% raw %}" + run.prompt.suffix + "{% endraw %}",
        "repeats": run.num_samples,
        "filter_list": [
            {
                "name": "samples",
                "filter": [{"function": "take_first_k", "k": run.num_samples}],
            }
        ],
        "generation_kwargs": sampling | {"until": [], "max_gen_toks": run.evaluation.max_gen_toks},
    }


def sample_rows(run: EvalRun, documents: list[dict[str, Any]], lm: Any) -> list[dict[str, Any]]:
    """Make the rows of samples.jsonl: graded, with behaviours, length and finish reason."""
    import torch

    rows = []
    for document in documents:
        question, prompt = document["doc"], document["arguments"][0][0]
        for sample, text in enumerate(document["resps"][0]):
            length, finished = lm.completions[prompt, text].popleft()
            behaviours = sorted(detect(text))
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
                    "reflects": bool(behaviours),
                    "behaviours": behaviours,
                }
            )
    golds = [row["gold"] for row in rows]
    with Grader(num_workers=torch.get_num_threads()) as grader:  # the job's threads
        last, first = (
            grader.grade([row[key] for row in rows], golds, run.answer_kind)
            for key in ("answer", "first_answer")
        )
    return [
        row
        | {"verdict": str(verdict), "correct": verdict == "correct"}
        | {"first_correct": None if row["first_answer"] is None else at_first == "correct"}
        for row, verdict, at_first in zip(rows, last, first, strict=True)
    ]


def summarise(run: EvalRun, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Aggregate a task's rows: what `results.json` says beside where it comes from."""

    def mean(figure: Any) -> float:
        return sum(map(figure, rows)) / len(rows)

    return {
        "method": run.method,
        "seed": run.seed,
        "task": run.task,
        "lm_eval": run.lm_eval,
        "n": len({row["id"] for row in rows}),
        "k": run.num_samples,
        "mean": mean(lambda row: row["correct"]),
        "reflection_rate": mean(lambda row: row["reflects"]),
        "mean_tokens": mean(lambda row: row["num_tokens"]),
        "truncation_rate": mean(lambda row: row["finish_reason"] == "length"),
        "no_answer_rate": mean(lambda row: row["verdict"] == "no_answer"),
        "error_rate": mean(lambda row: row["verdict"] in ("error", "timeout")),
        "prompt": run.prompt.model_dump(),
        "sampling": run.evaluation.model_dump(),
    }
