"""The resolved jobs of a study: each contains what that job depends on and nothing else.

The workflow writes each as `config.json` next to the job's results, with the hashes of the files
that it names, so that editing one method, or a file that it reads, changes only its own files.
"""

import json
import os
from operator import not_
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.data.config import DataConfig, PromptConfig, Source
from thinktuning.evaluation.config import (
    EvaluationConfig,
    JudgeConfig,
    LMEvalTask,
    OwnFunction,
    task_files,
)
from thinktuning.grading.answers import AnswerKind
from thinktuning.grading.behaviors import Behavior
from thinktuning.io import functions
from thinktuning.io.contents import hashes
from thinktuning.io.errors import StudyError, describe
from thinktuning.io.section import Name, Number, Section, Seed, absent
from thinktuning.models.config import Model, OrganismConfig, WarmupConfig
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.sweep import BY_POINT, GapConfig, Join, XScale
from thinktuning.study.training import TrainingConfig
from thinktuning.teachers import prompts
from thinktuning.teachers.config import TeacherConfig


class Job(Section):
    """A resolved job; `sha256` has the content of each file that it names, None if unreadable."""

    sha256: dict[str, str | None] = Field(default_factory=dict)


T = TypeVar("T", bound=Job)


class TrainJob(Job):
    """A resolved training job."""

    method: str
    seed: Seed
    train: bool
    prompt: PromptConfig
    training: TrainingConfig
    algorithm: AnyAlgorithmConfig
    teacher: TeacherConfig
    answer_kind: AnswerKind
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("algorithm")
    @classmethod
    def _its_threshold(cls, algorithm: Any, info: ValidationInfo) -> Any:
        """Write out from which reward on a completion is right, where no key says it."""
        training = info.data.get("training")
        if training and training.right_from is None and hasattr(algorithm, "min_reward"):
            return algorithm.model_copy(update={"min_reward": algorithm.threshold(None)})
        return algorithm

    def held_out(self) -> list[str]:
        """Return the prepared questions that training asks besides, as files of the data."""
        section = self.training.held_out
        return [f"eval/{section.task}.jsonl"] if section else []

    def files(self) -> dict[str, Path]:
        """Return the files that the job names; without a teacher, not the teacher's."""
        unused = {} if self.algorithm.uses_teacher else self.teacher.files()
        return {name: path for name, path in super().files().items() if name not in unused}


class EvaluateJob(Job):
    """A resolved evaluation job: one task; `seed` is None for an untrained method."""

    method: str
    seed: Seed | None
    task: str
    lm_eval: LMEvalTask
    answer_kind: AnswerKind
    num_samples: int
    prompt: PromptConfig
    evaluation: EvaluationConfig
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    reward: Annotated[OwnFunction | None, Field(exclude_if=absent)] = None
    right_from: Annotated[Number | None, Field(exclude_if=absent)] = None

    def files(self) -> dict[str, Path]:
        """Return the files that the job names, with those of lm-eval's task and of `reward`."""
        own = functions.files(self.reward) if self.reward else {}
        return super().files() | task_files(self.lm_eval) | own


class TaskData(Section):
    """The questions of one task, in a data job."""

    data: Source
    answer_kind: AnswerKind


class DataJob(Job):
    """The resolved data job."""

    data: DataConfig
    tasks: dict[Name, TaskData]


class ExemplarsJob(Job):
    """The check that no exemplar of the teacher's prompts is an evaluation question."""

    teacher_prompts: list[str]
    ngram: int
    max_ngram_count: int

    def files(self) -> dict[str, Path]:
        """Return the prompts' files."""
        return {name: prompts.locate(name) for name in self.teacher_prompts}


class ModelJob(Job):
    """A resolved model job: the base model, a separate teacher, or the judge."""

    model: Model

    def files(self) -> dict[str, Path]:
        """Return the files that the job names; the toy model learns the prompt `organism`."""
        found = super().files()
        if isinstance(self.model, OrganismConfig):
            found["organism"] = prompts.locate("organism")
        return found


class WarmupJob(Job):
    """The resolved warm-up job; without a `teacher_prompt` it has no tutor documents."""

    answer_kind: AnswerKind
    prompt: PromptConfig
    teacher_prompt: str | None
    behaviors: dict[Behavior, int] | None
    warmup: WarmupConfig
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)

    def files(self) -> dict[str, Path]:
        """Return the tutor's prompt."""
        prompt = self.teacher_prompt
        return super().files() | ({prompt: prompts.locate(prompt)} if prompt else {})


class CompareJob(Job):
    """The resolved comparison job; an untrained method has no `seeds`.

    Majority votes go by verified equality on the tasks whose `answer_kinds` are known. `betas` has
    the weight of the KL term of each trained method; it is empty if no method has such a term.
    `unguided` are methods with a teacher whose schedule never guides (`study.faults`). At a
    point of a sweep, `elsewhere` maps the directories of results that another point has to where
    they are: `runs/grpo/seed0` to `../OTHER/runs/grpo/seed0`, from the directory of the results.
    """

    study: str
    methods: dict[Name, str]
    seeds: dict[Name, list[int]]
    evaluated_seeds: dict[Name, list[int]]
    tasks: list[Name]
    answer_kinds: dict[Name, AnswerKind] = Field(default_factory=dict)  # else votes go by text
    comparison: ComparisonConfig
    judged: bool = False
    betas: dict[Name, float] = Field(default_factory=dict, exclude_if=not_)
    unguided: list[Name] = Field(default_factory=list, exclude_if=not_)
    elsewhere: dict[str, str] = Field(default_factory=dict, exclude_if=not_)

    def place(self, results: Path, directory: str) -> Path:
        """Return where a directory of results is, e.g. `runs/grpo/seed0`."""
        if directory in self.elsewhere:
            return Path(os.path.normpath(results / self.elsewhere[directory]))
        return results / directory


class SweepJob(Job):
    """The resolved job of a sweep's tables and figure.

    `points` has the axes' values at each point, `elsewhere` what each point has from others, and
    `comparison` what is compared at all of them. `labels_at` has the labels of methods at points
    where another algorithm trains them, `unguided` the methods at each point whose schedule never
    guides, if there are any. The figure's `x` is None if there is nothing with numbers to draw
    against; `series` is the axis at whose values points are joined.
    """

    study: Name
    points: dict[str, dict[str, Any]]
    elsewhere: dict[str, dict[str, str]]
    comparison: CompareJob
    labels_at: dict[str, dict[Name, str]] = Field(default_factory=dict, exclude_if=not_)
    gap: GapConfig | None
    x: str | None
    xscale: XScale = "linear"
    join: Join = False
    series: Annotated[Name | None, Field(exclude_if=absent)] = None
    unguided: dict[str, list[Name]] = Field(default_factory=dict, exclude_if=not_)
    baseline: Name
    methods: list[Name]

    @property
    def has_lines(self) -> bool:
        """Whether lines are fitted to the points: `x` is a number, on a linear scale."""
        return self.x not in (None, BY_POINT) and not self.is_joined

    @property
    def is_joined(self) -> bool:
        """Whether the points of a method, at each value of `series` if given, are joined."""
        return self.join or self.xscale == "log" or self.series is not None

    @property
    def confidence(self) -> float:
        """The confidence of all intervals."""
        return self.comparison.comparison.confidence

    @property
    def baselines(self) -> list[str]:
        """The baselines of all differences, the figure's among them."""
        return self.comparison.comparison.baselines

    @property
    def labels(self) -> dict[str, str]:
        """The label of each method: all that it has, where it has another one at some points."""
        return {
            method: " / ".join(
                dict.fromkeys(self.labels_at.get(p, {}).get(method, label) for p in self.points)
            )
            for method, label in self.comparison.methods.items()
        }

    def at(self, point: str) -> CompareJob:
        """Return the comparison at a point."""
        found: dict[str, Any] = {"study": f"{self.study}/{point}"}
        found |= {"elsewhere": self.elsewhere[point], "unguided": self.unguided.get(point, [])}
        found["methods"] = self.comparison.methods | self.labels_at.get(point, {})
        return self.comparison.model_copy(update=found)


class JudgeJob(Job):
    """A resolved judge job."""

    answer_kind: AnswerKind
    judge: JudgeConfig


def read_config(path: str | Path, kind: type[T]) -> T:
    """Read a resolved job that the workflow wrote.

    Args:
        path: the job's config.json.
        kind: the job's class.

    Raises:
        StudyError: the file cannot be read, or is not such a job; or a file that the job names has
            changed since.
    """
    try:
        job = kind.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(
            f"{path}: cannot be read ({error.strerror}); `snakemake {path}` writes it"
        ) from None
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: is not UTF-8 text ({error.reason})") from None
    except ValidationError as error:
        raise StudyError(f"{path}:\n{describe(error, kind)}") from None
    files = {name: file for name, file in job.files().items() if name in job.sha256}
    now = hashes(files)
    for name, was in job.sha256.items():
        if now.get(name) != was:
            what = "has changed since" if was else "could not be read when"
            raise StudyError(
                f"{name}: {what} {path} was written; run snakemake again, where it can be read:"
                " it runs what depends on the file"
            )
    return job


def sealed(job: T, memory: Path | None = None) -> T:
    """Return a job with the hashes of the files that it names.

    Args:
        job: as `Study` resolves it.
        memory: a file that remembers the hashes of large files.
    """
    return job.model_copy(update={"sha256": hashes(job.files(), memory)})


def to_json(section: BaseModel) -> str:
    """Serialize a resolved job; equal jobs give equal text."""
    return json.dumps(section.model_dump(), indent=2, ensure_ascii=False) + "\n"
