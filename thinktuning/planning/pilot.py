"""Lengths of answers: the token budgets, which bound them, or what a pilot's results measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from pathlib import Path
from statistics import fmean
from typing import Any

from thinktuning.io.errors import StudyError
from thinktuning.io.files import numbered_lines, parse_row, read_jsonl
from thinktuning.study.jobs import TrainJob
from thinktuning.study.study import Study

METRICS = ("student_tokens", "teacher_tokens", "num_rollouts", "num_asked")  # of metrics.jsonl


@dataclass(frozen=True)
class Lengths:
    """Mean tokens per answer and per teacher's reply, and teacher requests per rollout.

    A pilot's `student` includes what the student generated when it was asked again (`resamples`).
    `seeds` has the answer length of each seed of the pilot; if empty, the lengths are the budgets.
    """

    student: float
    teacher: float
    asked: float
    seeds: tuple[float, ...] = ()


def lengths(job: TrainJob, results: Path | None) -> Lengths:
    """Return a method's lengths: the pilot's if it has the method, else the budgets."""
    seeds = [read_metrics(path) for path in metrics_files(job.method, results)]
    rows = [row for seed in seeds for row in seed]
    if not rows:
        budgets = job.training.max_completion_length, job.teacher.max_completion_length
        return Lengths(*budgets, asked=num_asked(job) / max(num_rollouts(job), 1))
    return Lengths(
        student=ratio(rows, "student_tokens", "num_rollouts"),
        teacher=ratio(rows, "teacher_tokens", "num_asked"),
        asked=ratio(rows, "num_asked", "num_rollouts"),
        seeds=tuple(ratio(seed, "student_tokens", "num_rollouts") for seed in seeds if seed),
    )


def ratio(rows: Sequence[Mapping[str, Any]], above: str, below: str) -> float:
    """Return the sum of one column over that of another."""
    return float(sum(row[above] for row in rows) / max(sum(row[below] for row in rows), 1))


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the `METRICS` of one of the pilot's trainings."""
    rows = enumerate(read_jsonl(path), start=1)
    return [numbers(row, METRICS, f"{path}: row {number}") for number, row in rows]


def numbers(row: Mapping[str, Any], names: Sequence[str], where: str) -> dict[str, float]:
    """Return the named numbers of a row of the pilot's results, or refuse the row."""
    if bad := [name for name in names if not isinstance(row.get(name), int | float)]:
        raise StudyError(
            f"{where} has no numbers {', '.join(bad)}; give --results a results/ of this workflow"
        )
    return {name: row[name] for name in names}


def metrics_files(method: str, results: Path | None) -> list[Path]:
    """Return the pilot's metrics.jsonl of each seed."""
    return sorted(results.glob(f"runs/{method}/seed*/metrics.jsonl")) if results else []


def answer_length(study: Study, method: str, task: str, results: Path | None) -> float:
    """Return the mean tokens of an evaluation's answers: the pilot's, else the budget."""
    paths = results.glob(f"eval/{method}/seed*/{task}/results.json") if results else []
    found: list[float] = []
    for path in paths:
        text = "".join(line for _, line in numbered_lines(path))
        found += numbers(parse_row(text, str(path)), ["mean_tokens"], str(path)).values()
    return fmean(found) if found else study.task_evaluation(task).max_gen_toks


def num_rollouts(job: TrainJob) -> int:
    """Return the rollouts of a whole training on one process."""
    return job.training.generation_batch_size * job.training.num_rollout_batches


def num_asked(job: TrainJob) -> int:
    """Return the teacher requests of a whole training if every rollout is eligible."""
    if not job.algorithm.uses_teacher:
        return 0
    training, total = job.training, job.training.num_rollout_batches
    groups = training.generation_batch_size // training.num_generations
    rates = (job.algorithm.guidance_rate(t, total) for t in range(total))
    return sum(groups * max(1, floor(r * training.num_generations)) for r in rates if r > 0)
