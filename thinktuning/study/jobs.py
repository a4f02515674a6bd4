"""The resolved jobs of a study: each contains what that job depends on and nothing else.

The workflow writes each as `config.json` next to the job's results, so that editing one method
changes only that method's files.
"""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.data.config import DataConfig, PromptConfig, Source
from thinktuning.evaluation.config import EvaluationConfig, JudgeConfig, LMEvalTask
from thinktuning.grading.answers import AnswerKind
from thinktuning.grading.behaviors import Behavior
from thinktuning.io.errors import StudyError, describe
from thinktuning.io.section import Name, Section, Seed
from thinktuning.models.config import Model, WarmupConfig
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.training import TrainingConfig
from thinktuning.teachers.config import TeacherConfig

T = TypeVar("T", bound=Section)


class TrainJob(Section):
    """A resolved training job."""

    method: str
    seed: Seed
    train: bool
    prompt: PromptConfig
    training: TrainingConfig
    algorithm: AnyAlgorithmConfig
    teacher: TeacherConfig
    answer_kind: AnswerKind


class EvaluateJob(Section):
    """A resolved evaluation job: one task; `seed` is None for an untrained method."""

    method: str
    seed: Seed | None
    task: str
    lm_eval: LMEvalTask
    answer_kind: AnswerKind
    num_samples: int
    prompt: PromptConfig
    evaluation: EvaluationConfig


class TaskData(Section):
    """The questions of one task, in a data job."""

    data: Source
    answer_kind: AnswerKind


class DataJob(Section):
    """The resolved data job; exemplars of `teacher_prompts` may not be evaluation questions."""

    data: DataConfig
    tasks: dict[Name, TaskData]
    teacher_prompts: list[str]


class ModelJob(Section):
    """A resolved model job: the base model, a separate teacher, or the judge."""

    model: Model


class WarmupJob(Section):
    """The resolved warm-up job; without a `teacher_prompt` it has no tutor documents."""

    answer_kind: AnswerKind
    prompt: PromptConfig
    teacher_prompt: str | None
    behaviors: dict[Behavior, int] | None
    warmup: WarmupConfig


class CompareJob(Section):
    """The resolved comparison job; an untrained method has no `seeds`."""

    study: Name
    methods: dict[Name, str]
    seeds: dict[Name, list[int]]
    evaluated_seeds: dict[Name, list[int]]
    tasks: list[Name]
    comparison: ComparisonConfig
    judged: bool = False


class JudgeJob(Section):
    """A resolved judge job."""

    answer_kind: AnswerKind
    judge: JudgeConfig


def read_config(path: str | Path, kind: type[T]) -> T:
    """Read a resolved job that the workflow wrote.

    Args:
        path: the job's config.json.
        kind: the job's class.

    Raises:
        StudyError: the file cannot be read, or is not such a job.
    """
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
    """Serialize a resolved job; equal jobs give equal text."""
    return json.dumps(section.model_dump(), indent=2, ensure_ascii=False) + "\n"
