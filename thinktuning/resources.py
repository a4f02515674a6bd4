"""The study's section `resources`: what the jobs of each stage may use."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from thinktuning.section import Section


class Resources(Section):
    """What a job of a stage may use: cores, MiB, minutes, GPUs."""

    threads: PositiveInt = 1
    mem_mb: PositiveInt = 4000
    runtime: PositiveInt = 60
    gpu: Annotated[int, Field(ge=0)] = 0


class TrainResources(Resources):
    """With several GPUs a training job runs one process on each, `distributed` in this way.

    On several `nodes`, of SLURM, the other resources are each node's.
    """

    nodes: PositiveInt = 1
    distributed: Literal["ddp", "fsdp2", "zero3"] = "ddp"

    @property
    def num_processes(self) -> int:
        return max(1, self.gpu) * self.nodes

    @property
    def threads_of_process(self) -> int:
        return max(1, self.threads // max(1, self.gpu))

    @property
    def is_sharded(self) -> bool:
        return self.num_processes > 1 and self.distributed != "ddp"


class BaseResources(Resources):
    """A warm-up trains on one GPU, if on any."""

    gpu: Annotated[int, Field(ge=0, le=1)] = 0


class Stages(Section):
    """Each stage's jobs: `base` is the warm-up's too, `evaluate` the judge's, `compare` the
    report's.
    """

    data: Resources = Resources(mem_mb=4000)
    base: BaseResources = BaseResources()
    train: TrainResources = TrainResources()
    evaluate: Resources = Resources()
    compare: Resources = Resources(mem_mb=2000, runtime=30)
