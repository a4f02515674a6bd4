"""The study sections `data` and `prompt`: where questions come from, and how they are asked."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from thinktuning.data.formats import FORMATS, check_format
from thinktuning.grading.answers import AnswerKind
from thinktuning.io import functions
from thinktuning.io.section import Name, Plain, Section

COLUMNS = {"id", "question", "answer", "source", "subset", "solution", "options"}  # of questions

LEAST_QUESTIONS = 2  # of a task
FEW_QUESTIONS = "a difference on a single question has no confidence interval"


class ReasoningGymConfig(Section):
    """Problems from a `reasoning_gym` generator; item i is drawn from seed + i.

    It has no negative ones: Python's `Random(-k)` is `Random(k)`, so that items would repeat.
    """

    source: Literal["reasoning_gym"]
    generator: str
    size: PositiveInt
    seed: Annotated[int, Field(ge=0)]
    params: dict[str, Plain] = Field(default_factory=dict)


class RecordsConfig(Section):
    """How to read a dataset's records, and how many to take.

    `format` selects the fields of a public benchmark, or names a function that reads a record
    (`module:function`); without it, name the fields one by one.
    `limit` takes the first rows or, with `stratify`, a sample with the same proportions of that
    field's values.
    """

    format: Annotated[str, AfterValidator(check_format)] | None = None
    question_field: str = "question"
    answer_field: str = "answer"
    id_field: str | None = None
    limit: PositiveInt | None = None
    stratify: str | None = None

    @property
    def own_format(self) -> str | None:
        """The function that reads a record, `module:function`, if there is one."""
        return self.format if self.format and functions.is_reference(self.format) else None

    def files(self) -> dict[str, Path]:
        """Return the files of the function that reads a record."""
        own = self.own_format
        return super().files() | (functions.files(own) if own else {})

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        fields = ("question_field", "answer_field", "id_field")
        changed = [f for f in fields if getattr(self, f) != type(self).model_fields[f].default]
        if self.format and changed:
            raise ValueError(f"format {self.format} sets the fields; remove {changed} or format")
        if self.stratify and not self.limit:
            raise ValueError("stratify needs limit, the number of rows to sample; set limit too")
        return self


class JsonlConfig(RecordsConfig):
    """A local JSONL file. GSM8K's own rows (`answer` ending in `#### 42`) work as they are."""

    source: Literal["jsonl"]
    path: str

    def files(self) -> dict[str, Path]:
        """Return the file, and those of the function that reads a record."""
        return super().files() | {self.path: Path(self.path)}


class HubConfig(RecordsConfig):
    """A dataset on the Hugging Face hub, pinned to a commit."""

    source: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    name: str | None = None
    split: str


SimpleSource = ReasoningGymConfig | JsonlConfig | HubConfig


class ConcatConfig(Section):
    """Several datasets concatenated; the rows of each form a `subset` named after it."""

    source: Literal["concat"]
    parts: Annotated[
        dict[Name, Annotated[SimpleSource, Field(discriminator="source")]], Field(min_length=1)
    ]


Source = Annotated[SimpleSource | ConcatConfig, Field(discriminator="source")]


def parts(key: str, source: Source) -> dict[str, SimpleSource]:
    """Return the datasets of a source by key path: the parts of a `concat`, else the one source."""
    if isinstance(source, ConcatConfig):
        return {f"{key}.parts.{name}": part for name, part in source.parts.items()}
    return {key: source}


def has_own_format(source: Source) -> bool:
    """Tell whether a function of the user's own reads records, which may add columns."""
    found = parts("", source).values()
    return any(isinstance(part, RecordsConfig) and part.own_format for part in found)


def check_kind(source: Source, kind: AnswerKind) -> None:
    """Refuse a benchmark whose answers are not of the study's answer kind.

    Raises:
        ValueError: a format has answers of another kind.
    """
    for part in parts("", source).values():
        if not isinstance(part, RecordsConfig) or not part.format or part.own_format:
            continue  # an own format's answers are of any kind
        if (of_format := FORMATS[part.format].kind) != kind:
            raise ValueError(
                f"format {part.format} has answers of kind {of_format}, but answer_kind is {kind};"
                f" set answer_kind: {of_format}"
            )


class DataConfig(Section):
    """The training questions, and how to handle overlap with the evaluation questions.

    `on_bad_gold` holds for the questions of all tasks, too: whether a gold answer that cannot be
    graded stops the study or drops its question.
    """

    train: Source
    answer_kind: AnswerKind = "number"
    ngram: PositiveInt = 8
    max_ngram_count: PositiveInt = 10
    on_contamination: Literal["fail", "drop"] = "fail"
    on_bad_gold: Literal["fail", "drop"] = "fail"

    @model_validator(mode="after")
    def _kind(self) -> Self:
        check_kind(self.train, self.answer_kind)
        return self


class PromptConfig(Section):
    """How a question becomes the student's chat: `[system], user: question + suffix`."""

    system: str | None = None
    suffix: str = ""
