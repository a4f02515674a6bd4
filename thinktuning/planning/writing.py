"""What a training writes to disk: how many checkpoints, of how many bytes, and for how long.

A checkpoint has weights and two moments in float32, 12 bytes per parameter; ZeRO-3 adds copies of
the weights in bfloat16, 4 bytes. With LoRA it has the adapter only.
"""

from dataclasses import dataclass

from thinktuning.planning.costs import GIB, Size
from thinktuning.study.jobs import TrainJob
from thinktuning.study.resources import TrainResourcesConfig

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
        return 0
    copies = 4 if stage.is_sharded and stage.distributed == "zero3" else 0
    return (12 + copies) * size.parameters


def checkpoints(
    job: TrainJob, size: Size, stage: TrainResourcesConfig, hours: float | None
) -> Checkpoints:
    """Return what a training that takes `hours` writes; if None, by `save_steps` alone."""
    training = job.training
    by_steps = training.max_steps // training.save_steps if training.save_steps else 0
    by_time = 0
    if training.save_minutes and hours is not None:
        by_time = min(training.num_rollout_batches, int(60 * hours / training.save_minutes))
    number, each = max(by_steps, by_time), checkpoint_bytes(job, size, stage)
    written = number * each + 4 * size.parameters
    return Checkpoints(number, each / GIB, written / GIB, written / WRITE_BANDWIDTH / 3600)
