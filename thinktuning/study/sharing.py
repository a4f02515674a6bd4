"""Which jobs the points of a sweep share: a job is made once, at the first point that has it.

Two points share a job if its resolved configuration is the same, as far as the job depends on it,
and so is all that it reads, back to the questions. Without a sweep there is one point, which has
everything.
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from thinktuning.models.config import OrganismConfig
from thinktuning.study.jobs import ModelJob, TrainJob, to_json

if TYPE_CHECKING:
    from thinktuning.study.study import Study


def homes(points: Mapping[str, "Study"]) -> dict[str, dict[str, str]]:
    """Return, for each point and each directory of a job's results, the point that has it."""
    first: dict[tuple[str, str], str] = {}
    return {
        point: {key: first.setdefault((key, made), point) for key, made in job_keys(study).items()}
        for point, study in points.items()
    }


def place(point: str, directory: str) -> str:
    """Return the path of a directory of a point's results; "" is a study without a sweep."""
    return "/".join(filter(None, ("results", point, directory)))


def made_at(found: Mapping[str, str], point: str) -> list[str]:
    """Return the directories of the jobs that a point makes: those that it has not from others."""
    return [directory for directory, home in found.items() if home == point]


def elsewhere(found: Mapping[str, str], point: str) -> dict[str, str]:
    """Return the directories that a point has from others -> where, from its own results."""
    return {key: f"../{home}/{key}" for key, home in found.items() if home != point}


def job_keys(study: "Study") -> dict[str, str]:
    """Return, for each directory of a job's results, a hash of all that they are made from."""
    data = digest(to_json(study.data_job()))
    keys = {"data": data, "data/exemplars": digest(to_json(study.exemplars_job()), data)}
    for name, model in study.models().items():
        documents = [data] if isinstance(model, OrganismConfig) else []
        keys[f"models/{name}"] = digest(to_json(ModelJob(model=model)), *documents)
    if study.warmup:
        warmup = study.warmup_job()
        warmup = warmup.model_copy(update={"warmup": warmup.warmup.unnamed()})
        keys["models/base"] = digest(to_json(warmup), keys["models/raw"], data)
    budgets = study.budgets()

    def trained(method: str) -> str:
        """Hash a training, with those whose tokens are its budget."""
        job = training(study.train_job(method, study.seeds[0]))
        teacher = keys.get(f"models/teacher_{method}", "")
        others = budgets[method].references().values() if method in budgets else ()
        return digest(job, keys["models/base"], data, teacher, *map(trained, others))

    for method in study.methods:
        evaluated = keys["models/base"]
        if study.methods[method].train:
            evaluated = trained(method)
            keys |= {f"runs/{method}/seed{seed}": f"{evaluated} {seed}" for seed in study.seeds}
        jobs = [to_json(study.evaluate_job(method, None, task)) for task in study.tasks]
        evaluation = digest(*jobs, evaluated, data)
        for seed in study.evaluated_seeds(method):
            keys[f"eval/{method}/seed{seed}"] = f"{evaluation} {seed}"
    return keys


def training(job: TrainJob) -> str:
    """Return all that a training depends on; without a teacher, that is not the section `teacher`.

    So a sweep over the teacher trains vanilla GRPO once. What trackers call the training, which may
    contain the point, is no part of it either.
    """
    unused = None if job.algorithm.uses_teacher else {"teacher"}
    job = job.model_copy(update={"training": job.training.unnamed()})
    return job.model_dump_json(exclude=unused)


def digest(*parts: str) -> str:
    """Return a hash of several texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
