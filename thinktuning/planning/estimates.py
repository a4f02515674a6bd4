"""What a study's jobs will take, before any runs: tokens, FLOPs, GPU-hours, memory, disk.

Counts come from the study, the model's size from its configuration (`costs`). Answer lengths are
not known in advance: the token budgets bound them, and the results of a pilot (one seed, or fewer
questions) measure them.

- A token costs 2 N FLOPs forward and 6 N forward and backward for N parameters (Kaplan et al. 2020,
  arXiv 2001.08361); 8 N with gradient checkpointing; 2 N more for the old log-probabilities where
  one rollout batch serves several optimizer steps.
- A process on a GPU loads its weights into host memory first; a sharded model is gathered there for
  each checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import floor
from pathlib import Path
from statistics import fmean
from typing import Any

from thinktuning.data.config import ConcatConfig, HubConfig, ReasoningGymConfig
from thinktuning.io.errors import StudyError
from thinktuning.io.files import numbered_lines, parse_row, read_jsonl
from thinktuning.models.config import OrganismConfig
from thinktuning.planning.costs import (
    GPUS,
    Size,
    activations,
    decode_seconds,
    model_size,
    train_seconds,
    training_memory,
)
from thinktuning.study.jobs import TrainJob
from thinktuning.study.study import Study

MIB, GIB = 2**20, 2**30
RUNTIME_MB = 600  # Python with torch, transformers, trl and lm-eval, before a model is loaded
CUDA_MB = 1500  # a CUDA context with its libraries
METRICS = ("student_tokens", "teacher_tokens", "num_rollouts", "num_asked")  # of metrics.jsonl
DOCUMENT_TOKENS = 128  # upper bound for a toy model's document; sums of four terms have 76
NUM_QUESTIONS = {  # in splits of public data sets; any other counts as 1,000, or its limit
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
class StageEstimate:
    """All jobs of one method and stage; memory and `longest_gpu_hours` are those of one job."""

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
    """Mean tokens per answer and per teacher's reply, and teacher requests per rollout.

    `seeds` has the answer length of each seed of the pilot; if empty, the lengths are the budgets.
    """

    student: float
    teacher: float
    asked: float
    seeds: tuple[float, ...] = ()


def estimate_study(study: Study, results: Path | None = None) -> list[StageEstimate]:
    """Return what the jobs of every stage and method take.

    Lengths come from the pilot whose directory is `results`, for the methods that it has.

    Raises:
        StudyError: the model's configuration or the pilot's results cannot be read.
    """
    size = model_size(study.model)
    train_jobs = [study.train_job(method, study.seeds[0]) for method in study.trained()]
    return [
        estimate_model(study, size),
        *(estimate_training(study, job, size, results) for job in train_jobs),
        *(estimate_evaluation(study, method, size, results) for method in study.methods),
    ]


def suggested_mem_mb(estimates: Sequence[StageEstimate]) -> int:
    """Return the `mem_mb` to request: 1.5 times the largest estimate, and at least 2,000."""
    memory = 1.5 * max(estimate.host_memory_mb for estimate in estimates)
    return max(2000, -(-int(memory) // 500) * 500)


# --- lengths --------------------------------------------------------------------------------------


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
    training, total = job.training, job.training.num_rollout_batches
    groups = training.generation_batch_size // training.num_generations
    rates = (job.algorithm.guidance_rate(t, total) for t in range(total))
    return sum(groups * max(1, floor(r * training.num_generations)) for r in rates if r > 0)


# --- stages ---------------------------------------------------------------------------------------


def estimate_model(study: Study, size: Size) -> StageEstimate:
    """Estimate the base model's jobs: pre-training of the toy model, conversion, warm-up."""
    weights = 4 * size.parameters
    memory = RUNTIME_MB + weights / MIB
    if isinstance(study.model, OrganismConfig):
        tokens = study.model.batch_size * DOCUMENT_TOKENS
        memory += (3 * weights + activations(size, tokens, False)) / MIB
    if warmup := study.warmup:
        tokens = warmup.batch_size * warmup.max_length
        working = activations(size, tokens, False, warmup.bf16) + 12 * tokens * size.vocabulary
        memory += ((3.5 if warmup.bf16 else 3) * weights + working) / MIB
    return StageEstimate(
        "model", "", 1 + bool(study.warmup), host_memory_mb=memory, disk_gb=weights / GIB
    )


def estimate_training(
    study: Study, job: TrainJob, size: Size, results: Path | None
) -> StageEstimate:
    """Estimate a method's training jobs, one per seed."""
    training, stage = job.training, study.resources.train
    processes, seeds = stage.num_processes, len(study.seeds)
    rollouts = num_rollouts(job) * processes
    found = lengths(job, results)
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
    local = job.algorithm.uses_teacher and job.teacher.backend != "openai"
    length = found.student + (found.teacher if local else 0)
    hours = {
        name: (
            train_seconds(train_flop, gpu) + waves * decode_seconds(size, length, concurrency, gpu)
        )
        / 3600
        for name, gpu in GPUS.items()
    }
    shards = processes if stage.is_sharded else 1
    gpu_memory = sum(training_memory(job, size, shards, on_gpu=True))
    # weights and two moments; sharded weights once more, gathered; an adapter is small
    checkpoint = 0 if training.lora else (16 if stage.is_sharded else 12) * n
    on_node = processes // stage.nodes
    host_memory = sum(training_memory(job, size, 1, on_gpu=False))
    if stage.gpu:
        host_memory = 4 * n * on_node + (12 * n if stage.is_sharded else 0)
    return StageEstimate(
        "train",
        job.method,
        seeds,
        prompts=seeds * rollouts // training.num_generations,
        student_tokens=seeds * student,
        teacher_tokens=seeds * teacher,
        tflop=seeds * (train_flop + generate_flop) / 1e12,
        gpu_hours={name: seeds * each for name, each in hours.items()},
        longest_gpu_hours=hours,
        gpu_memory_gb=(CUDA_MB * MIB + gpu_memory) / GIB,
        host_memory_mb=on_node * RUNTIME_MB + host_memory / MIB,
        # all seeds at once: a checkpoint is removed after the next is written; the model stays
        disk_gb=seeds * max(4 * n, 2 * checkpoint) / GIB,
    )


def estimate_evaluation(
    study: Study, method: str, size: Size, results: Path | None
) -> StageEstimate:
    """Estimate a method's evaluation jobs, one per seed."""
    seeds = len(study.evaluated_seeds(method))
    prompts, tokens = 0, 0.0
    hours: dict[str, list[float]] = {name: [] for name in GPUS}  # one per task
    batch = study.evaluation.expected_batch_size
    for task_name, task in study.tasks.items():
        answers = num_questions(task.data) * task.num_samples
        length = answer_length(study, method, task_name, results)
        prompts += answers
        tokens += answers * length
        for name, gpu in GPUS.items():
            waves = -(-answers // batch)
            hours[name].append(waves * decode_seconds(size, length, batch, gpu) / 3600)
    n = size.parameters
    memory = 2 * n + 2 * GIB  # vLLM: bfloat16 weights and a small cache; a larger one is faster
    if study.evaluation.backend == "hf":
        longest = max(study.task_evaluation(task).max_gen_toks for task in study.tasks)
        cache = batch * longest * size.num_layers * 8 * size.kv_size
        memory = 4 * n + cache
    return StageEstimate(
        "evaluate",
        method,
        seeds,
        prompts=seeds * prompts,
        student_tokens=seeds * tokens,
        tflop=seeds * 2 * n * tokens / 1e12,
        gpu_hours={name: seeds * sum(tasks) for name, tasks in hours.items()},
        longest_gpu_hours={name: sum(tasks) for name, tasks in hours.items()},
        gpu_memory_gb=(CUDA_MB * MIB + memory) / GIB,
        host_memory_mb=RUNTIME_MB + (4 * n if study.resources.evaluate.gpu else memory) / MIB,
        disk_gb=seeds * tokens * 6 / GIB,
    )


def num_questions(source: Any) -> int:
    """Return the number of a source's questions, 1,000 if unknown."""
    match source:
        case ConcatConfig():
            return sum(map(num_questions, source.parts.values()))
        case ReasoningGymConfig():
            return source.size
        case HubConfig():
            known = NUM_QUESTIONS.get((source.repo, source.split), 1000)
        case _:
            known = 1000
            if Path(source.path).is_file():
                known = sum(1 for _ in numbered_lines(source.path))
    return min(known, source.limit or known)
