"""The sections `data` and `tasks` of a study: where questions come from, and which task asks them.

`thinktuning.loading` reads the sources, `thinktuning.schema` has the study's other sections.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, PositiveInt, model_validator

from thinktuning.answers import AnswerKind
from thinktuning.benchmarks import FORMATS, BenchmarkName
from thinktuning.section import Name, Section

TASKS = Path(__file__).parent / "tasks"


class _TaskLoader(yaml.SafeLoader):
    """Reads a task of lm-eval's, whose `!function module.name` it takes for text."""


_TaskLoader.add_constructor("!function", lambda loader, node: str(node.value))


def _packaged_task(name: str) -> str:
    """Refuse a task that is not in tasks/: it would be missed after hours of training."""
    known = sorted(path.stem for path in TASKS.glob("thinktuning_*.yaml"))
    if name not in known:
        raise ValueError(f"there is no such task in thinktuning/tasks/, but {', '.join(known)}")
    return name


LMEvalTask = Annotated[str, AfterValidator(_packaged_task)]


def task_kind(name: str) -> AnswerKind:
    """Return the kind of answer that a packaged task of lm-eval's grades."""
    task: dict[str, Any] = {"include": f"{name}.yaml"}
    while "metadata" not in task:
        task = yaml.load((TASKS / task["include"]).read_text(encoding="utf-8"), _TaskLoader)
    kind: AnswerKind = task["metadata"]["answer_kind"]
    return kind


class ReasoningGymSource(Section):
    """Problems of a `reasoning_gym` generator, whose item i is drawn from seed + i."""

    source: Literal["reasoning_gym"]
    generator: str
    size: PositiveInt
    seed: int
    params: dict[str, Any] = Field(default_factory=dict)


class Records(Section):
    """How the records of a data set are read, and how many are taken.

    `format` names a public benchmark's fields; without it the fields are named one by one. `limit`
    takes the first rows or, with `stratify`, a sample that keeps the shares of that field's values.
    """

    format: BenchmarkName | None = None
    question_field: str = "question"
    answer_field: str = "answer"
    id_field: str | None = None
    limit: PositiveInt | None = None
    stratify: str | None = None

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        fields = ("question_field", "answer_field", "id_field")
        changed = [f for f in fields if getattr(self, f) != type(self).model_fields[f].default]
        if self.format and changed:
            raise ValueError(f"format: {self.format} has its own fields; remove {changed} or it")
        if self.stratify and not self.limit:
            raise ValueError("stratify says which rows a limit takes; set limit too")
        return self


class JsonlSource(Records):
    """A local JSONL file. GSM8K's own rows (`answer` ending in `#### 42`) work as they are."""

    source: Literal["jsonl"]
    path: str


class HubSource(Records):
    """A data set of the Hugging Face hub, pinned to a commit."""

    source: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    name: str | None = None
    split: str


SimpleSource = ReasoningGymSource | JsonlSource | HubSource


class ConcatSource(Section):
    """Several data sets one after the other; the rows of each are a `subset` of that name."""

    source: Literal["concat"]
    parts: Annotated[
        dict[Name, Annotated[SimpleSource, Field(discriminator="source")]], Field(min_length=1)
    ]


Source = Annotated[SimpleSource | ConcatSource, Field(discriminator="source")]


def parts(key: str, source: Source) -> dict[str, SimpleSource]:
    """Return the data sets of the source at a key, one unless it is several, each by its key."""
    if isinstance(source, ConcatSource):
        return {f"{key}.parts.{name}": part for name, part in source.parts.items()}
    return {key: source}


def check_kind(source: Source, kind: AnswerKind) -> None:
    """Refuse a benchmark whose answers are of another kind than the study says."""
    for part in parts("", source).values():
        if isinstance(part, Records) and part.format and FORMATS[part.format].kind != kind:
            raise ValueError(
                f"the answers of format {part.format} are of kind {FORMATS[part.format].kind},"
                f" and answer_kind is {kind}; set answer_kind: {FORMATS[part.format].kind}"
            )


class Data(Section):
    """The training questions, and how overlap with the evaluation is treated."""

    train: Source
    answer_kind: AnswerKind = "number"
    ngram: PositiveInt = 8
    max_ngram_count: PositiveInt = 10
    on_contamination: Literal["fail", "drop"] = "fail"

    @model_validator(mode="after")
    def _kind(self) -> Self:
        check_kind(self.train, self.answer_kind)
        return self


class Task(Section):
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
                f"lm_eval: {self.lm_eval} grades answers of kind {kind}, and answer_kind is"
                f" {self.answer_kind}; change one of the two"
            )
        return self
