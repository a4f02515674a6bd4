"""The study section `resources`: what the jobs of each stage may use."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PositiveInt

from thinktuning.io.section import Section

if TYPE_CHECKING:
    from thinktuning.study.jobs import TrainJob


class ResourcesConfig(Section):
    """What each job of a stage may use: cores, memory in MiB, run time in minutes, GPUs."""

    threads: PositiveInt = 1
    mem_mb: PositiveInt = 4000
    runtime: PositiveInt = 60
    gpu: Annotated[int, Field(ge=0)] = 0


class TrainResourcesConfig(ResourcesConfig):
    """A training job on several GPUs runs one process on each, with the `distributed` strategy.

    On several SLURM `nodes`, the other resources are per node.
    """

    nodes: PositiveInt = 1
    distributed: Literal["ddp", "fsdp2", "zero3"] = "ddp"

    @property
    def num_processes(self) -> int:
        """The number of training processes, on all nodes."""
        return max(1, self.gpu) * self.nodes

    @property
    def threads_of_process(self) -> int:
        """The number of cores of each process."""
        return max(1, self.threads // max(1, self.gpu))

    @property
    def is_sharded(self) -> bool:
        """Whether the model's weights are sharded over the processes."""
        return self.num_processes > 1 and self.distributed != "ddp"


class ModelResourcesConfig(ResourcesConfig):
    """A warm-up uses at most one GPU."""

    gpu: Annotated[int, Field(ge=0, le=1)] = 0


class StagesConfig(Section):
    """The resources of each stage.

    The warm-up uses those of `model`, the judge those of `evaluate`, the report those of `compare`.
    """

    data: ResourcesConfig = ResourcesConfig(mem_mb=4000)
    model: ModelResourcesConfig = ModelResourcesConfig()
    train: TrainResourcesConfig = TrainResourcesConfig()
    evaluate: ResourcesConfig = ResourcesConfig()
    compare: ResourcesConfig = ResourcesConfig(mem_mb=2000, runtime=30)


def check_sharding(method: str, job: "TrainJob", train: TrainResourcesConfig) -> None:
    """Refuse what a model that is split over processes cannot do.

    Raises:
        ValueError: names the method and the fix.
    """
    if not train.is_sharded:
        return
    if job.training.lora:
        raise ValueError(
            f"method {method} trains a LoRA adapter, and merging it needs the whole model on"
            f" one GPU, but resources.train.distributed is {train.distributed}; use ddp"
        )
    if job.algorithm.scores_texts:
        raise ValueError(
            f"method {method} has algorithm {job.algorithm.type}, which scores texts of its"
            " own, and their number differs between processes, but resources.train"
            f".distributed is {train.distributed}; use ddp"
        )
