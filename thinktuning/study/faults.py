"""What a study may say, but its tables must not hide or count twice."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from thinktuning.algorithms.guided import TaughtConfig
from thinktuning.data.config import FEW_QUESTIONS, LEAST_QUESTIONS, ReasoningGymConfig, parts

if TYPE_CHECKING:
    from thinktuning.evaluation.config import TaskConfig
    from thinktuning.study.study import Study


def unguided(study: "Study") -> list[str]:
    """Return the methods that could be taught, and whose schedule has a rate of 0 from the first.

    A rate of 0 is the end of a sweep of it, which is GRPO under another name.
    """
    found = []
    for name in study.trained():
        job = study.train_job(name, study.seeds[0])
        taught = isinstance(job.algorithm, TaughtConfig)
        if taught and not job.algorithm.guidance_rate(0, job.training.num_rollout_batches):
            found.append(name)
    return found


def check_tasks(tasks: Mapping[str, "TaskConfig"]) -> None:
    """Refuse tasks whose intervals could not be right.

    Two that ask the same count as independent in the mean of tasks, and one question has no spread.

    Raises:
        ValueError: names the tasks.
    """
    asking: dict[str, str] = {}
    for name, task in tasks.items():
        if (first := asking.setdefault(task.data.model_dump_json(), name)) != name:
            raise ValueError(
                f"tasks.{first} and tasks.{name} have the same data: the mean of tasks would count"
                " each question twice, with too narrow an interval; change or remove one of the"
                " two"
            )
        sizes = [
            ("size", part.size) if isinstance(part, ReasoningGymConfig) else ("limit", part.limit)
            for part in parts(f"tasks.{name}.data", task.data).values()
        ]
        if sizes in ([("size", 1)], [("limit", 1)]):
            raise ValueError(
                f"tasks.{name}.data.{sizes[0][0]} = 1: {FEW_QUESTIONS}; raise it to at least"
                f" {LEAST_QUESTIONS}"
            )


def check_sampling(study: "Study") -> None:
    """Refuse several answers to a question that are the same, as those without a temperature are.

    Raises:
        ValueError: names the tasks.
    """
    repeated = [
        name
        for name, task in study.tasks.items()
        if task.num_samples > 1 and study.task_evaluation(name).temperature == 0
    ]
    if repeated:
        own = study.tasks[repeated[0]].temperature is not None
        key = f"tasks.{repeated[0]}" if own else "evaluation"
        raise ValueError(
            f"{key}.temperature = 0 gives the same answer each time, but tasks {repeated}"
            " draw several; set their num_samples to 1"
        )
