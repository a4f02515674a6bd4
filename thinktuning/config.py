"""The study file: what it holds, and the one configuration that each stage receives.

A study is one YAML file. `load_study` parses it into `Study`; unknown keys, wrong types and
contradictions are refused with the key's path and the mend. `Study.run_config(method, seed)` and
its siblings resolve it: each holds what that one job depends on and nothing else, so that editing
one method changes that method's files alone.

Methods are data: a named set of overrides of the sections `prompt`, `training`, `guidance` and
`teacher`. Vanilla GRPO is `guidance: {enabled: false}`.

Imports neither torch nor transformers: `thinktuning --help` and the Snakefile read it.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from thinktuning.answers import AnswerKind
from thinktuning.behaviours import Behaviour
from thinktuning.errors import StudyError, describe
from thinktuning.files import read_yaml
from thinktuning.models import Model
from thinktuning.resources import Stages
from thinktuning.schema import (
    Comparison,
    Evaluation,
    Guidance,
    Judge,
    Method,
    Prompt,
    Teacher,
    Training,
    Warmup,
)
from thinktuning.section import Name, Section, Seed
from thinktuning.sources import Data, LMEvalTask, Source, Task

OVERRIDABLE = ("prompt", "training", "guidance", "teacher")
T = TypeVar("T", bound=Section)


class Run(Section):
    """One training job, resolved: written as `config.json` beside its results."""

    method: str
    seed: Seed
    train: bool
    prompt: Prompt
    training: Training
    guidance: Guidance
    teacher: Teacher
    answer_kind: AnswerKind


class EvalRun(Section):
    """One evaluation job, resolved: written as `config.json` beside its results."""

    method: str
    seed: Seed | None
    task: str
    lm_eval: LMEvalTask
    answer_kind: AnswerKind
    num_samples: int
    prompt: Prompt
    evaluation: Evaluation


class TaskData(Section):
    """One task's questions, resolved for the data stage."""

    data: Source
    answer_kind: AnswerKind


class DataRun(Section):
    """The data job, resolved; no question may be an exemplar of `teacher_prompts`."""

    data: Data
    tasks: dict[Name, TaskData]
    teacher_prompts: list[str]


class ModelRun(Section):
    """A model's job, resolved: the base, or a teacher of its own."""

    model: Model


class WarmupRun(Section):
    """The warm-up, resolved; without a `teacher_prompt` there is no tutor to warm up."""

    answer_kind: AnswerKind
    prompt: Prompt
    teacher_prompt: str | None
    behaviours: dict[Behaviour, int] | None
    warmup: Warmup


class CompareRun(Section):
    """The comparison job, resolved; an untrained method has no `seeds`."""

    study: Name
    methods: dict[Name, str]
    seeds: dict[Name, list[int]]
    evaluated_seeds: dict[Name, list[int]]
    tasks: list[Name]
    comparison: Comparison
    judged: bool = False


class JudgeRun(Section):
    """One job of the judge, resolved."""

    answer_kind: AnswerKind
    judge: Judge


class Study(Section):
    """A complete study."""

    name: Name
    seeds: Annotated[list[Seed], Field(min_length=1)]
    data: Data
    model: Model
    warmup: Warmup | None = None
    prompt: Prompt
    training: Training
    guidance: Guidance
    teacher: Teacher
    methods: Annotated[dict[Name, Method], Field(min_length=1)]
    tasks: Annotated[dict[Name, Task], Field(min_length=1)]
    evaluation: Evaluation
    comparison: Comparison
    judge: Judge | None = None
    resources: Stages = Stages()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds {self.seeds} repeat: each training seed is one run")
        if unknown := [b for b in self.comparison.baselines if b not in self.methods]:
            raise ValueError(
                f"comparison.baselines names {unknown}, not among methods {list(self.methods)}"
            )
        self._check_references()
        repeated = [name for name, task in self.tasks.items() if task.num_samples > 1]
        if self.evaluation.temperature == 0 and repeated:
            raise ValueError(
                f"evaluation.temperature = 0 gives the same answer each time, but tasks {repeated}"
                " take several: set their num_samples to 1"
            )
        train = self.resources.train
        for name in self.methods:
            run = self.run_config(name, self.seeds[0])
            if run.training.lora and run.train and train.is_sharded:
                raise ValueError(
                    f"method {name} trains a LoRA adapter, whose merging needs the whole model on"
                    f" one GPU, and resources.train.distributed is {train.distributed}; take ddp"
                )
        return self

    def _check_references(self) -> None:
        """Refuse names in `published` and `expected` that the study does not have, or has twice."""
        if "mean" in self.tasks:
            raise ValueError("tasks.mean: rename it; in `comparison`, mean is that of the tasks")
        known = {"method": set(self.methods), "task": {*self.tasks, "mean"}}
        found = []
        for method, baselines in self.comparison.published.items():
            found += [("published", "method", name) for name in (method, *baselines)]
            found += [("published", "task", t) for tasks in baselines.values() for t in tasks]
        for method, tasks in self.comparison.expected.items():
            found += [("expected", "method", method)]
            found += [("expected", "task", task) for task in tasks]
        for key, kind, name in found:
            if name not in known[kind]:
                raise ValueError(
                    f"comparison.{key} names the {kind} {name!r}, which is not among the study's"
                    f" {sorted(known[kind])}"
                )

    def run_config(self, method: str, seed: int) -> Run:
        """Resolve one training job: the study's sections with the method's overrides merged in."""
        spec = self.methods[method]
        merged = {
            section: _merge(getattr(self, section).model_dump(), getattr(spec, section))
            for section in OVERRIDABLE
        }
        run = {
            "method": method,
            "seed": seed,
            "train": spec.train,
            "answer_kind": self.data.answer_kind,
        }
        try:
            return Run.model_validate(run | merged)
        except ValidationError as error:
            raise StudyError(describe(error, Run, f"methods.{method}.")) from None

    def eval_config(self, method: str, seed: int | None, task: str) -> EvalRun:
        """Resolve one evaluation job; `seed` is None for an untrained method."""
        spec = self.tasks[task]
        run = self.run_config(method, self.seeds[0])
        return EvalRun(
            method=method,
            seed=seed,
            task=task,
            lm_eval=spec.lm_eval,
            answer_kind=spec.answer_kind,
            num_samples=spec.num_samples,
            prompt=run.prompt,
            evaluation=self.evaluation,
        )

    def data_config(self) -> DataRun:
        """Resolve the data job."""
        runs = [self.run_config(method, self.seeds[0]) for method in self.methods]
        return DataRun(
            data=self.data,
            tasks={
                name: TaskData(data=task.data, answer_kind=task.answer_kind)
                for name, task in self.tasks.items()
            },
            teacher_prompts=sorted(
                {run.teacher.prompt for run in runs if run.train and run.guidance.enabled}
            ),
        )

    def compare_config(self) -> CompareRun:
        """Resolve the comparison job."""
        return CompareRun(
            study=self.name,
            methods={name: method.label or name for name, method in self.methods.items()},
            seeds={name: self.seeds if m.train else [] for name, m in self.methods.items()},
            evaluated_seeds={name: self.evaluated_seeds(name) for name in self.methods},
            tasks=list(self.tasks),
            comparison=self.comparison,
            judged=self.judge is not None,
        )

    def warmup_config(self) -> WarmupRun:
        """Resolve the warm-up; only for a study with one."""
        assert self.warmup
        tutors = self.warmup.tutor_share > 0
        return WarmupRun(
            answer_kind=self.data.answer_kind,
            prompt=self.prompt,
            teacher_prompt=self.teacher.prompt if tutors else None,
            behaviours=self.teacher.behaviours if tutors else None,
            warmup=self.warmup,
        )

    def judge_config(self, task: str) -> JudgeRun:
        """Resolve the judge's jobs on a task; only for a study with a judge."""
        assert self.judge
        return JudgeRun(answer_kind=self.tasks[task].answer_kind, judge=self.judge)

    def models(self) -> dict[str, Model]:
        """Return the models to materialise: `base`, and `judge` and `teacher_METHOD` if any.

        With a warm-up the model is `raw`, and the warm-up makes the base of it.
        """
        found = {"raw" if self.warmup else "base": self.model}
        if self.judge and self.judge.model:
            found["judge"] = self.judge.model
        for method in self.trained():
            run = self.run_config(method, self.seeds[0])
            if run.guidance.enabled and run.teacher.model:
                found[f"teacher_{method}"] = run.teacher.model
        return found

    def trained(self) -> list[str]:
        """Methods that train a model, in the study's order."""
        return [name for name, method in self.methods.items() if method.train]

    def evaluated_seeds(self, method: str) -> list[int]:
        """Seeds that a method is evaluated under: an untrained one once, under the first."""
        return self.seeds if self.methods[method].train else self.seeds[:1]


def _merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `override` laid over it; the schema refuses unknown keys later.

    Another `source` (of `teacher.model`) has other keys: it replaces the section.
    """
    if "source" in base and override.get("source", base["source"]) != base["source"]:
        return override
    merged = dict(base)
    for key, value in override.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if nested else value
    return merged


# --- reading and refusing -------------------------------------------------------------------------


def parse_study(values: dict[str, Any], where: str) -> Study:
    """Validate a study given as plain data; `where` names it in messages.

    Raises:
        StudyError: one line for each mistake, with the key's path.
    """
    if values is None:
        raise StudyError(f"{where}: is empty; a study is a copy of config.yaml, edited")
    if not isinstance(values, dict):
        raise StudyError(f"{where}: expected a mapping of keys, found {type(values).__name__}")
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise StudyError(f"{where} is not a valid study:\n{describe(error, Study)}") from None


def load_study(path: str | Path) -> Study:
    """Read and validate a study file."""
    return parse_study(read_yaml(path), str(path))


def read_config(path: str | Path, kind: type[T]) -> T:
    """Read a resolved configuration that the workflow wrote."""
    try:
        return kind.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read ({error.strerror}); `snakemake {path}` writes it"
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: is not UTF-8 text ({error.reason})") from None
    except ValidationError as error:
        raise StudyError(f"{path}:\n{describe(error, kind)}") from None


def to_json(section: BaseModel) -> str:
    """Serialise a resolved configuration, stable from run to run."""
    return json.dumps(section.model_dump(), indent=2, ensure_ascii=False) + "\n"
