"""What a training writes to disk: how many checkpoints, of how many bytes, and for how long.

A checkpoint has weights and two moments in float32, 12 bytes per parameter; ZeRO-3 adds copies of
the weights in bfloat16, 4 bytes. With LoRA it has the adapter's weights and moments only.
"""

from dataclasses import dataclass

from thinktuning.planning.costs import GIB, Size
from thinktuning.study.jobs import TrainJob
from thinktuning.study.resources import TrainResourcesConfig
from thinktuning.study.training import TrainingConfig

WRITE_BANDWIDTH = 1e9  # bytes a second that a job writes to a shared file system or an NVMe disk


@dataclass(frozen=True)
class Checkpoints:
    """What one training writes.

    Attributes:
        number: of checkpoints.
        gib: the size of each.
        written_gib: all of them, and the model at the end.
        hours: the time that writing takes, in which nothing is computed.
    """

    number: int
    gib: float
    written_gib: float
    hours: float


def checkpoint_bytes(job: TrainJob, size: Size, stage: TrainResourcesConfig) -> int:
    """Return the bytes of a checkpoint."""
    if job.training.lora:
        return 12 * adapter_parameters(job.training.lora.r, size)
    copies = 4 if stage.is_sharded and stage.distributed == "zero3" else 0
    return (12 + copies) * size.parameters


def adapter_parameters(rank: int, size: Size) -> int:
    """Return the weights of an adapter on all linear layers; on fewer it is smaller."""
    attention = 4 * size.hidden_size + 2 * (size.hidden_size + size.kv_size)
    feed_forward = 3 * (size.hidden_size + size.intermediate_size)
    return size.num_layers * rank * (attention + feed_forward)


def number_of_checkpoints(training: TrainingConfig, hours: float | None) -> int:
    """Return how many checkpoints both rules write, when all rollout batches take equally long.

    Each checkpoint starts the clock again, whichever rule wrote it.
    """
    minutes = 60 * hours / training.num_rollout_batches if hours is not None else 0.0
    number = last = 0
    for batch in range(1, training.num_rollout_batches + 1):
        step = batch * training.optimizer_steps_per_rollout_batch
        by_steps = training.save_steps and step % training.save_steps == 0
        passed = (batch - last) * minutes
        by_time = training.save_minutes and hours is not None and passed >= training.save_minutes
        if by_steps or by_time:
            number, last = number + 1, batch
    return number


def checkpoints(
    job: TrainJob, size: Size, stage: TrainResourcesConfig, hours: float | None
) -> Checkpoints:
    """Return what a training that takes `hours` writes; if None, by `save_steps` alone."""
    number, each = number_of_checkpoints(job.training, hours), checkpoint_bytes(job, size, stage)
    written = number * each + 4 * size.parameters
    return Checkpoints(number, each / GIB, written / GIB, written / WRITE_BANDWIDTH / 3600)
