"""What a study's jobs will take, before any runs: tokens, FLOPs, GPU-hours, memory, disk.

Counts come from the study, the model's size from its configuration (`costs`). Answer lengths are
not known in advance: the token budgets bound them, and the results of a pilot (one seed, or fewer
questions) measure them (`pilot`). `work` has the tokens that are computed and the time they take,
`writing` the checkpoints, `budgets` the steps that a token budget allows.

A process on a GPU loads its weights into host memory first; a sharded model is gathered there when
it is saved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thinktuning.data.config import ConcatConfig, HubConfig, ReasoningGymConfig
from thinktuning.io.files import numbered_lines
from thinktuning.models.config import OrganismConfig
from thinktuning.planning.budgets import planned_job
from thinktuning.planning.costs import (
    GIB,
    GPUS,
    MIB,
    Size,
    activations,
    model_size,
    training_memory,
)
from thinktuning.planning.pilot import answer_length, lengths, num_rollouts
from thinktuning.planning.work import (
    decode_seconds,
    training_seconds,
    training_work,
    update_seconds,
)
from thinktuning.planning.writing import Checkpoints, checkpoint_bytes, checkpoints
from thinktuning.study.jobs import TrainJob
from thinktuning.study.study import Study

RUNTIME_MB = 600  # Python with torch, transformers, trl and lm-eval, before a model is loaded
CUDA_MB = 1500  # a CUDA context with its libraries
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
    """All jobs of one method and stage; memory and the two last are those of one job.

    `hours` are those that a job computes on its GPUs, `checkpoints` what it writes meanwhile, both
    for each GPU.
    """

    stage: str
    method: str
    jobs: int
    prompts: int = 0
    student_tokens: float = 0
    teacher_tokens: float = 0
    tflop: float = 0
    gpu_hours: dict[str, float] = field(default_factory=dict)
    gpu_memory_gb: float = 0
    host_memory_mb: float = 0
    disk_gb: float = 0
    hours: dict[str, float] = field(default_factory=dict)
    checkpoints: dict[str, Checkpoints] = field(default_factory=dict)

    def minutes(self, gpu: str) -> float:
        """Return the wall time of one job on such GPUs, writing included."""
        writing = self.checkpoints[gpu].hours if self.checkpoints else 0.0
        return 60 * (self.hours[gpu] + writing)


def estimate_study(study: Study, results: Path | None = None) -> list[StageEstimate]:
    """Return what the jobs of every stage and method take.

    Lengths come from the pilot whose directory is `results`, for the methods that it has.

    Raises:
        StudyError: the model's configuration or the pilot's results cannot be read.
    """
    size = model_size(study.model)
    if study.warmup:
        size = replace(size, stored_bytes=4)  # it saves float32
    train_jobs = [planned_job(study, method, results) for method in study.trained()]
    return [
        estimate_model(study, size),
        *(estimate_training(study, job, size, results) for job in train_jobs),
        *(estimate_evaluation(study, method, size, results) for method in study.methods),
    ]


def suggested_mem_mb(estimates: Sequence[StageEstimate]) -> int:
    """Return the `mem_mb` to request: 1.5 times the largest estimate, and at least 2,000."""
    memory = 1.5 * max(estimate.host_memory_mb for estimate in estimates)
    return max(2000, -(-int(memory) // 500) * 500)


# --- stages ---------------------------------------------------------------------------------------


def estimate_model(study: Study, size: Size) -> StageEstimate:
    """Estimate the base model's jobs: pre-training of the toy model, conversion, warm-up.

    The time is that of the warm-up's training, whose documents are as long as `max_length` at most.
    """
    found = StageEstimate("model", "", 1 + bool(study.warmup))
    weights = 4 * size.parameters
    memory = RUNTIME_MB + weights / MIB
    if isinstance(study.model, OrganismConfig):
        tokens = study.model.batch_size * DOCUMENT_TOKENS
        memory += (3 * weights + activations(size, tokens, False)) / MIB
    if warmup := study.warmup:
        tokens = warmup.batch_size * warmup.max_length
        working = activations(size, tokens, False, warmup.bf16) + 12 * tokens * size.vocabulary
        memory += ((3.5 if warmup.bf16 else 3) * weights + working) / MIB
        found.prompts = warmup.max_steps * warmup.batch_size
        flop = 6 * size.parameters * found.prompts * warmup.max_length
        found.tflop = flop / 1e12
        hours = {name: update_seconds(flop, gpu) / 3600 for name, gpu in GPUS.items()}
        found.gpu_hours = found.hours = hours
    found.host_memory_mb, found.disk_gb = memory, weights / GIB
    return found


def estimate_training(
    study: Study, job: TrainJob, size: Size, results: Path | None
) -> StageEstimate:
    """Estimate a method's training jobs, one per seed."""
    stage, seeds, n = study.resources.train, len(study.seeds), size.parameters
    processes = stage.num_processes
    found = lengths(job, results)
    work = training_work(job, size, found, processes)
    hours = {
        name: training_seconds(job, size, found, processes, gpu) / processes / 3600
        for name, gpu in GPUS.items()
    }
    shards = processes if stage.is_sharded else 1
    gpu_memory = sum(training_memory(job, size, shards, on_gpu=True))
    on_node = processes // stage.nodes
    host_memory = sum(training_memory(job, size, 1, on_gpu=False))
    if stage.gpu:
        host_memory = 4 * n * (on_node + stage.is_sharded)
    return StageEstimate(
        "train",
        job.method,
        seeds,
        prompts=seeds * num_rollouts(job) * processes // job.training.num_generations,
        student_tokens=seeds * work.student_tokens,
        teacher_tokens=seeds * work.teacher_tokens,
        tflop=seeds * (work.update_flop + work.generate_flop) / 1e12,
        gpu_hours={name: seeds * processes * each for name, each in hours.items()},
        gpu_memory_gb=(CUDA_MB * MIB + gpu_memory) / GIB,
        host_memory_mb=on_node * RUNTIME_MB + host_memory / MIB,
        # all seeds at once: a checkpoint is removed after the next is written; the model stays
        disk_gb=seeds * max(4 * n, 2 * checkpoint_bytes(job, size, stage)) / GIB,
        hours=hours,
        checkpoints={  # a CPU's speed is not known
            name: checkpoints(job, size, stage, each if stage.gpu else None)
            for name, each in hours.items()
        },
    )


def estimate_evaluation(
    study: Study, method: str, size: Size, results: Path | None
) -> StageEstimate:
    """Estimate a method's evaluation jobs, one per seed for all tasks."""
    seeds = len(study.evaluated_seeds(method))
    prompts, tokens = 0, 0.0
    hours = dict.fromkeys(GPUS, 0.0)
    batch = study.evaluation.expected_batch_size
    for task_name, task in study.tasks.items():
        answers = num_questions(task.data) * task.num_samples
        length = answer_length(study, method, task_name, results)
        prompts += answers
        tokens += answers * length
        for name, gpu in GPUS.items():
            waves = -(-answers // batch)
            hours[name] += waves * decode_seconds(size, length, batch, gpu) / 3600
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
        gpu_hours={name: seeds * each for name, each in hours.items()},
        gpu_memory_gb=(CUDA_MB * MIB + memory) / GIB,
        host_memory_mb=RUNTIME_MB + (4 * n if study.resources.evaluate.gpu else memory) / MIB,
        disk_gb=seeds * tokens * 6 / GIB,
        hours={name: each / max(1, study.resources.evaluate.gpu) for name, each in hours.items()},
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
