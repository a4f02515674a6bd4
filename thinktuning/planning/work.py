"""The tokens that a training computes, and what they cost.

    sampled    the prompts, once a group, and the students' answers; a row that ends costs no more
    taught     for each request the question, the answer and the reply; the exemplars, which all
               requests share, are computed once
    resampled  for each request question, answer and reply again, and another answer of the student,
               if the algorithm asks for one
    updated    for each rollout its answer with the feedback, and its prompt, which the rollouts of
               a micro-batch share in the layout `packed` (`thinktuning.trainer.padding`), times
               `PADDING`, at most what the budgets allow

A token costs 2 N FLOPs forward and 6 N forward and backward for N parameters (Kaplan et al. 2020,
arXiv 2001.08361), 8 N with gradient checkpointing. The first optimizer step after sampling needs no
old log-probabilities; where there are more, the others' rollouts cost 2 N more. So does every
rollout with the reference model (`beta` > 0), and, at most, what a loss scores in addition
(`scores_texts`), by the base. Rollouts of groups with equal rewards are left out of the update;
they are counted here, since their number is unknown.
"""

from dataclasses import dataclass

from thinktuning.planning.costs import (
    BANDWIDTH_UTILIZATION,
    GENERATE_UTILIZATION,
    GPU,
    TRAIN_UTILIZATION,
    Size,
)
from thinktuning.planning.pilot import Lengths, num_rollouts
from thinktuning.study.jobs import TrainJob

PADDING = 1.3  # computed / real tokens of a forward pass in the update, at most


@dataclass(frozen=True)
class Work:
    """Tokens and FLOPs of a whole training, on all processes together.

    Attributes:
        student_tokens: those that the student generates.
        teacher_tokens: those that the teacher generates.
        read_tokens: prompts of the student and of a local teacher, which are only read.
        update_tokens: those of one forward pass over all rollouts, padding included.
        update_flop: of all passes of the update.
        generate_flop: of sampling and of a local teacher.
    """

    student_tokens: float
    teacher_tokens: float
    read_tokens: float
    update_tokens: float
    update_flop: float
    generate_flop: float


def training_work(job: TrainJob, size: Size, found: Lengths, processes: int) -> Work:
    """Return the work of a training whose answers have these lengths."""
    training, n = job.training, size.parameters
    rollouts = num_rollouts(job) * processes
    groups = rollouts / training.num_generations
    prompt = training.max_prompt_length
    asked = rollouts * found.asked
    student, teacher = rollouts * found.student, asked * found.teacher
    local = teaches_here(job)
    again = asked * found.student if resamples_unmeasured(job, found) else 0
    read = groups * prompt + (asked * (prompt + found.student) if local else 0)
    if job.algorithm.resamples:
        read += asked * (prompt + found.student + found.teacher)
    prompts = prompt * num_prompts(job, size) * processes
    update = rollouts * training.max_completion_length + prompts
    if size.layout == "packed" or (size.layout != "padded" and processes == 1):
        update = min(PADDING * (student + teacher + prompts), update)
    per_pass = (8 if training.gradient_checkpointing else 6) * n
    steps = training.steps_per_generation // training.gradient_accumulation_steps  # of one pass
    old = 2 * n * (1 if scores_at_once(job) else (steps - 1) / steps)
    base = 2 * n if job.algorithm.scores_texts else 0
    reference = 2 * n if training.beta else 0
    return Work(
        student_tokens=student + again,
        teacher_tokens=teacher,
        read_tokens=read,
        update_tokens=update,
        update_flop=update * ((per_pass + base) * training.num_iterations + old + reference),
        generate_flop=2 * n * (student + again + read + (teacher if local else 0)),
    )


def resamples_unmeasured(job: TrainJob, found: Lengths) -> bool:
    """Tell whether the student answers again, and no pilot's lengths include these answers."""
    return job.algorithm.resamples and not found.seeds


def teaches_here(job: TrainJob) -> bool:
    """Tell whether the teacher runs in the training process."""
    return job.algorithm.uses_teacher and job.teacher.backend != "openai"


def num_prompts(job: TrainJob, size: Size) -> float:
    """Return how many prompts an update computes on one process, in a whole training.

    One for each rollout, or in the layout `packed` for each prompt of a micro-batch, at most. The
    rollouts of an optimizer step are dealt to its micro-batches by prompt; but for `bnpo`.
    """
    training, rollouts = job.training, num_rollouts(job)
    if size.layout != "packed":
        return rollouts
    batch, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    groups = training.generation_batch_size // training.num_generations  # of a rollout batch
    if training.loss_type == "bnpo":
        return rollouts / batch * min(batch, groups)
    of_step = min(batch * steps, groups)
    return rollouts / (batch * steps) * min(batch * steps, of_step + steps - 1)


def scores_at_once(job: TrainJob) -> bool:
    """Tell whether all old log-probabilities are computed as soon as rollouts are sampled.

    vLLM's correction needs them, and with dropout they are not those of the first step; with an
    adapter and a reference model TRL's calls for both cannot be told apart.
    """
    training = job.training
    if training.vllm and training.vllm.importance_sampling_correction:
        return True
    several = training.optimizer_steps_per_rollout_batch > 1
    return several and bool(training.lora and (training.beta or training.lora.lora_dropout))


def training_seconds(job: TrainJob, size: Size, found: Lengths, processes: int, gpu: GPU) -> float:
    """Return the GPU-seconds of a training, over all processes."""
    training, batches = job.training, job.training.num_rollout_batches
    work = training_work(job, size, found, processes)
    seconds = update_seconds(work.update_flop, gpu)
    seconds += 2 * size.parameters * work.read_tokens / (gpu.tflops * 1e12 * GENERATE_UTILIZATION)
    rows = training.generation_batch_size
    seconds += processes * batches * decode_seconds(size, found.student, rows, gpu)
    if resamples_unmeasured(job, found):
        again = max(1, round(rows * found.asked))
        seconds += processes * batches * decode_seconds(size, found.student, again, gpu)
    if teaches_here(job):
        waves = num_rollouts(job) * found.asked / job.teacher.batch_size
        taught = decode_seconds(size, found.teacher, job.teacher.batch_size, gpu)
        seconds += processes * waves * taught
    return seconds


def update_seconds(flop: float, gpu: GPU) -> float:
    """Return the time of forward and backward passes."""
    return flop / (gpu.tflops * 1e12 * TRAIN_UTILIZATION)


def decode_seconds(size: Size, length: float, concurrency: int, gpu: GPU) -> float:
    """Return the seconds to generate `concurrency` answers of `length` tokens at once.

    Each token takes the time to read weights and cache or to compute, whichever is longer. On
    average half of an answer is in the cache.
    """
    cached = concurrency * length / 2 * 4 * size.num_layers * size.kv_size
    reading = (2 * size.parameters + cached) / (gpu.bandwidth * 1e9 * BANDWIDTH_UTILIZATION)
    computing = 2 * size.parameters * concurrency / (gpu.tflops * 1e12 * GENERATE_UTILIZATION)
    return length * max(reading, computing)
