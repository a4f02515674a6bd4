"""The study sections `methods` and `comparison`."""

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field

from thinktuning.io.section import Name, Or, Percent, Section


class MethodConfig(Section):
    """A named set of overrides, which are validated when the method is resolved into a job."""

    train: bool = True
    label: str | None = None
    prompt: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    algorithm: dict[str, Any] = Field(default_factory=dict)
    teacher: dict[str, Any] = Field(default_factory=dict)


T = TypeVar("T")
OrNone = Annotated[  # null: {}
    T, BeforeValidator(lambda value: {} if value is None else value), Or(type="null")
]
Band = Annotated[list[Percent], Field(min_length=2, max_length=2)]


class ComparisonConfig(Section):
    """The differences that the tables show: each method minus each baseline, paired by question.

    `published`: method -> baseline -> task (or `mean`) -> a paper's difference in points, shown
    next to ours. `expected`: method -> task -> the range of plausible accuracies, in percent; an
    accuracy outside is flagged with its likely causes.
    """

    baselines: list[Name]
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    published: OrNone[dict[Name, dict[Name, dict[Name, float]]]] = Field(default_factory=dict)
    expected: OrNone[dict[Name, dict[Name, Band]]] = Field(default_factory=dict)
