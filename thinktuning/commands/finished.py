"""A finished training run: what it was, what it was made from, and how its model answers.

Read for publishing it. A run that has not finished, or whose files do not belong together, is
refused: what is published must be what was trained and evaluated.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from thinktuning.analysis.comparison import MEAN_OF_TASKS, Answers, ComparisonRow, summary
from thinktuning.analysis.inputs import check_evaluation, check_files
from thinktuning.analysis.results import read_json, read_metrics, read_samples
from thinktuning.analysis.training import NEEDED, marks, run_figures
from thinktuning.grading.grader import Grader
from thinktuning.io.errors import StudyError
from thinktuning.models.config import model_sha256
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob, read_config

MADE = ("commit", "python", "versions", "inputs", "model_sha256", "method", "seed")


@dataclass(frozen=True)
class Task:
    """A task that the run's model was evaluated on.

    Attributes:
        row: the model's accuracy and its interval over questions, as in comparison.csv.
        results: the evaluation's results.json.
    """

    row: ComparisonRow
    results: dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        directory: of the run.
        results: the directory of the study's results.
        job: the run's resolved configuration, as plain data.
        made: its provenance.json.
        study: the comparison that it is part of.
        marks: what the tables mark it with, e.g. `taught 0 of 96 asked`.
        tasks: its evaluations by task; empty if it has not been evaluated.
        mean: as a task's row, of the mean of tasks; None with fewer than two.
        base: the `model` section of the study; None if it is not known.
        data: the resolved data job; None if it is not there.
    """

    directory: Path
    results: Path
    job: dict[str, Any]
    made: dict[str, Any]
    study: CompareJob
    marks: list[str]
    tasks: dict[str, Task] = field(default_factory=dict)
    mean: ComparisonRow | None = None
    base: dict[str, Any] | None = None
    data: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The run in words, as tables call it, with its marks."""
        label = self.study.methods.get(self.made["method"], self.made["method"])
        return f"{label} ({'; '.join(self.marks)})" if self.marks else label


def read_run(directory: Path) -> FinishedRun:
    """Read a run and its evaluations.

    Args:
        directory: of the run, e.g. results/runs/thinktuning/seed0.

    Raises:
        StudyError: there is no such run, it has not finished, or its files do not belong together.
    """
    check_finished(directory)
    job = read_json(directory / "config.json", ["training", "algorithm", "teacher", "prompt"])
    made = read_json(directory / "provenance.json", MADE)
    if not all(isinstance(made[key], dict) for key in ("inputs", "versions")):
        raise StudyError(
            f"{directory}/provenance.json: inputs and versions should be JSON objects; train this"
            " run again"
        )
    model = directory / "model"
    if not list(model.glob("*.safetensors")) or model_sha256(model) != made["model_sha256"]:
        raise StudyError(
            f"{model}: is not the model that provenance.json beside it describes; train it again:"
            f" snakemake --force {directory}/provenance.json"
        )
    check_files(directory, made)
    results = directory.resolve().parents[2]
    study = _study(results, made["method"], made["seed"])
    figures = run_figures(read_metrics(directory / "metrics.jsonl", NEEDED))
    tasks, mean = _evaluated(results, study, made)
    models = study.place(results, "models/base").parent
    names = (models / "raw.json", models / "base.json")  # a warm-up began with `raw`
    base = next((path for path in names if path.is_file()), None)
    data = study.place(results, "data") / "config.json"
    return FinishedRun(
        directory=directory,
        results=results,
        job=job,
        made=made,
        study=study,
        marks=marks({made["seed"]: figures}, made["method"] in study.unguided),
        tasks=tasks,
        mean=mean,
        base=read_json(base, ["model"])["model"] if base else None,
        data=read_json(data, ["data", "tasks"]) if data.is_file() else None,
    )


def check_finished(directory: Path) -> None:
    """Refuse what is no finished training run.

    Raises:
        StudyError: says what is missing, and what to do.
    """
    if not (directory / "config.json").is_file():
        raise StudyError(
            f"{directory}: is not a training run; pass a run's directory, e.g."
            " results/runs/thinktuning/seed0 (a method that is not trained has none)"
        )
    if (directory / "provenance.json").is_file():
        return
    if (directory / "checkpoints/diverged.jsonl").is_file():
        raise StudyError(
            f"{directory}: this training diverged and has no model to publish; its log says what to"
            " change"
        )
    raise StudyError(
        f"{directory}: this training has not finished; `snakemake {directory}/provenance.json`"
        " continues it"
    )


def _study(results: Path, method: str, seed: int) -> CompareJob:
    """Return the comparison that a run is part of; without one, that of the run alone."""
    path = results / "tables/config.json"
    if path.is_file():
        study = read_config(path, CompareJob)
        if seed in study.seeds.get(method, []):
            return study
    evaluated = results / f"eval/{method}/seed{seed}"
    return CompareJob(
        study=results.parent.name,
        methods={method: method},
        seeds={method: [seed]},
        evaluated_seeds={method: [seed]},
        tasks=sorted(path.parent.name for path in evaluated.glob("*/results.json")),
        comparison=ComparisonConfig(baselines=[]),
    )


def _evaluated(
    results: Path, study: CompareJob, made: dict[str, Any]
) -> tuple[dict[str, Task], ComparisonRow | None]:
    """Read the model's evaluations: each task's, and the mean of tasks.

    Raises:
        StudyError: an evaluation is of another model, or not what the files beside it say.
    """
    place = study.place(results, f"eval/{made['method']}/seed{made['seed']}")
    tasks: dict[str, Task] = {}
    answers: list[Answers] = []
    with Grader() as grader:
        for task in study.tasks:
            path = place / task / "results.json"
            if not path.is_file():
                continue
            found = read_json(path, ["inputs", "n", "k", "sampling", "commit"])
            if found["inputs"]["model"] != made["model_sha256"]:
                raise StudyError(
                    f"{path}: is of another model than this run's; evaluate it again: `snakemake"
                    " -R evaluate`"
                )
            names = {"method": made["method"], "seed": made["seed"], "task": task}
            check_evaluation(path, found, names)
            own = read_samples(path.with_name("samples.jsonl"), grader, None)
            answers.append(own)
            tasks[task] = Task(summary([own], study.comparison.confidence), found)
    whole = len(tasks) == len(study.tasks) > 1
    mean = summary(answers, study.comparison.confidence) if whole else None
    return tasks, {"task": MEAN_OF_TASKS} | mean if mean else None
