"""What a study's jobs will take, before any runs: tokens, FLOPs, GPU-hours, memory, disk.

Counts come from the study, the model's size from its configuration (`thinktuning.costs`). Lengths
of answers cannot be known beforehand: the budgets bound them, and the results of a pilot
(one seed, or fewer questions) say what they are.

- a token costs 2 N FLOPs forward and 6 N forward and backward (Kaplan et al. 2020, arXiv
  2001.08361), for N parameters; 8 N with gradient checkpointing; 2 N more for the old
  log-probabilities of a rollout batch that makes several optimiser steps;
- a process on a GPU loads its weights in host memory first; a sharded model is gathered there for
  each checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from statistics import fmean
from typing import Any

from thinktuning.config import Run, Study
from thinktuning.costs import (
    GPUS,
    Size,
    activations,
    decode_seconds,
    model_size,
    train_seconds,
    training_memory,
)
from thinktuning.errors import StudyError
from thinktuning.files import numbered_lines, parse_row, read_jsonl
from thinktuning.models import Organism
from thinktuning.schedules import gamma_at
from thinktuning.sources import ConcatSource, HubSource, ReasoningGymSource

MIB, GIB = 2**20, 2**30
RUNTIME_MB = 600  # of Python, torch, transformers, trl and lm-eval before a model is loaded
CUDA_MB = 1500  # of a CUDA context with its libraries
FIGURES = ("student_tokens", "teacher_tokens", "num_rollouts", "num_asked")  # of metrics.jsonl
DOCUMENT_TOKENS = 128  # at most, of an organism's document: sums of four terms make 76
NUM_QUESTIONS = {  # of the public data sets' splits; others count as 1,000 unless they say a limit
    ("openai/gsm8k", "test"): 1319,
    ("HuggingFaceH4/MATH-500", "test"): 500,
    ("HuggingFaceH4/aime_2024", "train"): 30,
    ("math-ai/aime25", "test"): 30,
    ("Idavidrein/gpqa", "train"): 198,  # gpqa_diamond
    ("TIGER-Lab/MMLU-Pro", "test"): 12032,
    ("allenai/ai2_arc", "test"): 1172,  # ARC-Challenge
    ("tau/commonsense_qa", "validation"): 1221,
    ("ChilleD/StrategyQA", "train"): 1603,
    ("ChilleD/StrategyQA", "test"): 687,
}


@dataclass
class Job:
    """All jobs of one method's stage together; memory is one job's, `longest_gpu_hours` too."""

    stage: str
    method: str
    jobs: int
    prompts: int = 0
    student_tokens: float = 0
    teacher_tokens: float = 0
    tflop: float = 0
    gpu_hours: dict[str, float] = field(default_factory=dict)
    longest_gpu_hours: dict[str, float] = field(default_factory=dict)
    gpu_memory_gb: float = 0
    host_memory_mb: float = 0
    disk_gb: float = 0


@dataclass(frozen=True)
class Lengths:
    """Tokens of an answer, of a teacher's reply, and replies asked for a rollout.

    `seeds` has the answer's length in each of the pilot's seeds; none: these are the budgets.
    """

    student: float
    teacher: float
    asked: float
    seeds: tuple[float, ...] = ()


def estimate(study: Study, results: Path | None = None) -> list[Job]:
    """Return what the jobs of every stage and method take.

    Args:
        results: the `results` of a pilot, whose lengths are taken for methods that it has.

    Raises:
        StudyError: the model's configuration or the pilot's results cannot be read.
    """
    size = model_size(study.model)
    jobs = [base_job(study, size)]
    for method in study.trained():
        jobs.append(train_job(study, study.run_config(method, study.seeds[0]), size, results))
    for method in study.methods:
        jobs.append(evaluate_job(study, method, size, results))
    return jobs


def suggested_mem_mb(jobs: Sequence[Job]) -> int:
    """Return what jobs should ask for: half as much again as the largest is estimated to take."""
    memory = 1.5 * max(job.host_memory_mb for job in jobs)
    return max(2000, -(-int(memory) // 500) * 500)


# --- lengths --------------------------------------------------------------------------------------


def lengths(run: Run, results: Path | None) -> Lengths:
    """Return a method's lengths: a pilot's, else its budgets."""
    seeds = [read_metrics(path) for path in metrics_of(run.method, results)]
    rows = [row for seed in seeds for row in seed]
    if not rows:
        budgets = run.training.max_completion_length, run.teacher.max_completion_length
        return Lengths(*budgets, asked=num_asked(run) / max(num_rollouts(run), 1))
    return Lengths(
        student=ratio(rows, "student_tokens", "num_rollouts"),
        teacher=ratio(rows, "teacher_tokens", "num_asked"),
        asked=ratio(rows, "num_asked", "num_rollouts"),
        seeds=tuple(ratio(seed, "student_tokens", "num_rollouts") for seed in seeds if seed),
    )


def ratio(rows: Sequence[Mapping[str, Any]], above: str, below: str) -> float:
    return sum(row[above] for row in rows) / max(sum(row[below] for row in rows), 1)


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read the figures of a pilot's training."""
    rows = enumerate(read_jsonl(path), start=1)
    return [numbers(row, FIGURES, f"{path}: row {number}") for number, row in rows]


def numbers(row: Mapping[str, Any], names: Sequence[str], where: str) -> dict[str, float]:
    """Return these numbers of a pilot's row; without them it is of something else."""
    if bad := [name for name in names if not isinstance(row.get(name), int | float)]:
        raise StudyError(
            f"{where} has no numbers {', '.join(bad)}; --results takes a results/ of this workflow"
        )
    return {name: row[name] for name in names}


def metrics_of(method: str, results: Path | None) -> list[Path]:
    return sorted(results.glob(f"runs/{method}/seed*/metrics.jsonl")) if results else []


def answer_length(study: Study, method: str, task: str, results: Path | None) -> float:
    """Return the tokens of an evaluation's answer: a pilot's, else the budget."""
    paths = results.glob(f"eval/{method}/seed*/{task}/results.json") if results else []
    found = []
    for path in paths:
        text = "".join(line for _, line in numbered_lines(path))
        found += numbers(parse_row(text, str(path)), ["mean_tokens"], str(path)).values()
    return fmean(found) if found else study.evaluation.max_gen_toks


def num_rollouts(run: Run) -> int:
    """Completions of a whole training run, on one process."""
    return run.training.generation_batch_size * run.training.num_rollout_batches


def num_asked(run: Run) -> int:
    """Replies that the teacher is asked for if every rollout is eligible."""
    if not run.guidance.enabled:
        return 0
    training, total = run.training, run.training.num_rollout_batches
    groups = training.generation_batch_size // training.num_generations
    schedule = run.guidance.schedule.model_dump()
    gammas = (gamma_at(t, total, **schedule) for t in range(total))
    return sum(groups * max(1, floor(g * training.num_generations)) for g in gammas if g > 0)


# --- jobs -----------------------------------------------------------------------------------------


def base_job(study: Study, size: Size) -> Job:
    weights = 4 * size.parameters
    memory = RUNTIME_MB + weights / MIB
    if isinstance(study.model, Organism):
        tokens = study.model.batch_size * DOCUMENT_TOKENS
        memory += (3 * weights + activations(size, tokens, False)) / MIB
    if warmup := study.warmup:
        tokens = warmup.batch_size * warmup.max_length
        working = activations(size, tokens, False, warmup.bf16) + 12 * tokens * size.vocabulary
        memory += ((3.5 if warmup.bf16 else 3) * weights + working) / MIB
    return Job("base", "", 1 + bool(study.warmup), host_memory_mb=memory, disk_gb=weights / GIB)


def train_job(study: Study, run: Run, size: Size, results: Path | None) -> Job:
    training, stage = run.training, study.resources.train
    processes, seeds = stage.num_processes, len(study.seeds)
    rollouts = num_rollouts(run) * processes
    found = lengths(run, results)
    student, teacher = rollouts * found.student, rollouts * found.asked * found.teacher
    n = size.parameters
    per_token = (8 if training.gradient_checkpointing else 6) * n
    if training.optimizer_steps_per_rollout_batch > 1:
        per_token += 2 * n
    trained = student + teacher + rollouts * training.max_prompt_length
    train_flop = per_token * trained * training.num_iterations
    generate_flop = 2 * n * (student + teacher + rollouts * training.max_prompt_length)
    concurrency = training.generation_batch_size
    waves = training.num_rollout_batches * processes  # batches that one GPU generates
    local = run.guidance.enabled and run.teacher.backend != "openai"
    length = found.student + (found.teacher if local else 0)
    hours = {
        name: (
            train_seconds(train_flop, gpu) + waves * decode_seconds(size, length, concurrency, gpu)
        )
        / 3600
        for name, gpu in GPUS.items()
    }
    shards = processes if stage.is_sharded else 1
    gpu_memory = sum(training_memory(run, size, shards, on_gpu=True))
    # the model and two moments; gathered shards are written twice; an adapter is small
    checkpoint = 0 if training.lora else (16 if stage.is_sharded else 12) * n
    on_node = processes // stage.nodes
    host_memory = sum(training_memory(run, size, 1, on_gpu=False))
    if stage.gpu:
        host_memory = 4 * n * on_node + (12 * n if stage.is_sharded else 0)
    return Job(
        "train",
        run.method,
        seeds,
        prompts=seeds * rollouts // training.num_generations,
        student_tokens=seeds * student,
        teacher_tokens=seeds * teacher,
        tflop=seeds * (train_flop + generate_flop) / 1e12,
        gpu_hours={name: seeds * each for name, each in hours.items()},
        longest_gpu_hours=hours,
        gpu_memory_gb=(CUDA_MB * MIB + gpu_memory) / GIB,
        host_memory_mb=on_node * RUNTIME_MB + host_memory / MIB,
        # all seeds at once: the last checkpoint goes when the next is there, the model stays
        disk_gb=seeds * max(4 * n, 2 * checkpoint) / GIB,
    )


def evaluate_job(study: Study, method: str, size: Size, results: Path | None) -> Job:
    runs = len(study.evaluated_seeds(method))
    prompts, tokens = 0, 0.0
    hours: dict[str, list[float]] = {name: [] for name in GPUS}  # of each task
    batch = study.evaluation.batch_size
    for task_name, task in study.tasks.items():
        answers = num_questions(task.data) * task.num_samples
        length = answer_length(study, method, task_name, results)
        prompts += answers
        tokens += answers * length
        for name, gpu in GPUS.items():
            waves = -(-answers // batch)
            hours[name].append(waves * decode_seconds(size, length, batch, gpu) / 3600)
    n = size.parameters
    memory = 2 * n + 2 * GIB  # vLLM: weights in bfloat16 and a small cache, which more makes faster
    if study.evaluation.backend == "hf":
        cache = batch * study.evaluation.max_gen_toks * size.num_layers * 8 * size.kv_size
        memory = 4 * n + cache
    return Job(
        "evaluate",
        method,
        runs * len(study.tasks),
        prompts=runs * prompts,
        student_tokens=runs * tokens,
        tflop=runs * 2 * n * tokens / 1e12,
        gpu_hours={name: runs * sum(tasks) for name, tasks in hours.items()},
        longest_gpu_hours={name: max(tasks) for name, tasks in hours.items()},
        gpu_memory_gb=(CUDA_MB * MIB + memory) / GIB,
        host_memory_mb=RUNTIME_MB + (4 * n if study.resources.evaluate.gpu else memory) / MIB,
        disk_gb=runs * tokens * 6 / GIB,
    )


def num_questions(source: Any) -> int:
    """Count a source's questions."""
    match source:
        case ConcatSource():
            return sum(map(num_questions, source.parts.values()))
        case ReasoningGymSource():
            return source.size
        case HubSource():
            known = NUM_QUESTIONS.get((source.repo, source.split), 1000)
        case _:
            known = 1000
            if Path(source.path).is_file():
                known = sum(1 for _ in numbered_lines(source.path))
    return min(known, source.limit or known)
