"""The sections `tasks`, `evaluation` and `judge` of a study."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import AfterValidator, Field, PositiveInt, model_validator

from thinktuning.data.config import Source, check_kind
from thinktuning.grading.answers import AnswerKind
from thinktuning.io.section import Number, Section, Seed
from thinktuning.teachers.config import BackendConfig

TASKS = Path(__file__).parent / "tasks"


class _TaskLoader(yaml.SafeLoader):
    """Loads the YAML of an lm-eval task; `!function module.name` is read as plain text."""


_TaskLoader.add_constructor("!function", lambda loader, node: str(node.value))


def _packaged_task(name: str) -> str:
    """Refuse an unknown task now, not after hours of training."""
    known = sorted(path.stem for path in TASKS.glob("thinktuning_*.yaml"))
    if name not in known:
        raise ValueError(
            f"no such task in thinktuning/evaluation/tasks/; choose from {', '.join(known)}"
        )
    return name


LMEvalTask = Annotated[str, AfterValidator(_packaged_task)]


def task_kind(name: str) -> AnswerKind:
    """Return the kind of answer that a packaged lm-eval task grades."""
    task: dict[str, Any] = {"include": f"{name}.yaml"}
    while "metadata" not in task:
        task = yaml.load((TASKS / task["include"]).read_text(encoding="utf-8"), _TaskLoader)
    kind: AnswerKind = task["metadata"]["answer_kind"]
    return kind


class TaskConfig(Section):
    """An evaluation task: its questions, and the lm-eval task that asks them."""

    data: Source
    lm_eval: LMEvalTask
    answer_kind: AnswerKind = "number"
    num_samples: PositiveInt

    @model_validator(mode="after")
    def _kind(self) -> Self:
        check_kind(self.data, self.answer_kind)
        if (kind := task_kind(self.lm_eval)) != self.answer_kind:
            raise ValueError(
                f"lm_eval: {self.lm_eval} grades answers of kind {kind}, but answer_kind is"
                f" {self.answer_kind}; change one of them"
            )
        return self


class EvaluationConfig(Section):
    """How answers are sampled, on every task; greedy is `temperature: 0` with `num_samples: 1`.

    `backend` and `model_args` are lm-eval's `--model` and `--model_args`.
    """

    backend: Literal["hf", "vllm"] = "hf"
    model_args: dict[str, Any] = Field(default_factory=dict)
    temperature: Annotated[Number, Field(ge=0)]
    max_gen_toks: PositiveInt
    batch_size: PositiveInt
    seed: Seed = 1234


class JudgeConfig(BackendConfig):
    """A language model that labels the behaviors in answers, as a check on the lexical detector.

    It uses the teachers' backends. `num_samples` answers of each evaluation are judged, chosen by
    hash; a reply that does not parse counts as missing.
    """

    section: ClassVar[str] = "judge"
    backend: Literal["model", "openai"]
    prompt: str = "judge"
    num_samples: PositiveInt = 200
    max_completion_length: PositiveInt = 256
