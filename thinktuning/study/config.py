"""The study sections `methods` and `comparison`."""

import unicodedata
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from thinktuning.io.section import Name, Or, Percent, Section, once

# Categories of characters that a label has in vain: control, format, line and paragraph
# separators, and those without a meaning.
UNSEEN = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")


def _label(label: str) -> str:
    """Refuse a label that tables and figures would not show as it is."""
    if not label.strip():
        raise ValueError("is blank; write one, or remove it to show the method's name")
    if bad := next((c for c in label if unicodedata.category(c) in UNSEEN), None):
        raise ValueError(
            f"has the character U+{ord(bad):04X}, which is a line break or is not seen in tables"
            " and figures; remove it"
        )
    if label != (tidy := label.strip()):
        raise ValueError(f"has spaces around it; write {tidy!r}")
    return label


def looks_of(label: str) -> str:
    """Return a label without what readers do not tell apart: case, width, and lengths of spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    return " ".join(folded.split())


class MethodConfig(Section):
    """A named set of overrides, which are validated when the method is resolved into a job."""

    train: bool = True
    label: Annotated[str, AfterValidator(_label)] | None = None
    prompt: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    algorithm: dict[str, Any] = Field(default_factory=dict)
    teacher: dict[str, Any] = Field(default_factory=dict)


T = TypeVar("T")
OrNone = Annotated[  # null: {}
    T, BeforeValidator(lambda value: {} if value is None else value), Or(type="null")
]


def _band(value: list[float]) -> list[float]:
    low, high = value
    if low > high:
        raise ValueError(f"the range begins above its end; write [{high:g}, {low:g}]")
    if low > 0 and high < 1:
        raise ValueError(
            f"accuracies are in percent, and this is below 1; write [{100 * low:g}, {100 * high:g}]"
        )
    return value


Band = Annotated[list[Percent], Field(min_length=2, max_length=2), AfterValidator(_band)]


# Ends of the columns of a difference in the tables, which a method's name may end in, too.
ENDS = ("_ci_low", "_ci_high", "_p", "_p_holm", "_seed_values")


def check_columns(baselines: list[str]) -> list[str]:
    """Refuse baselines of which the tables would have two columns of one name.

    Raises:
        ValueError: names the two.
    """
    for baseline in baselines:
        for end in ENDS:
            if baseline + end in baselines:
                raise ValueError(
                    f"the tables' column diff_{baseline}{end} would be of both {baseline} and"
                    f" {baseline}{end}; rename one of the two methods"
                )
    return baselines


class ComparisonConfig(Section):
    """The differences that the tables show: each method minus each baseline, paired by question.

    `published`: method -> baseline -> task (or `mean`) -> a paper's difference in points, shown
    next to ours. `expected`: method -> task -> the range of plausible accuracies, in percent; an
    accuracy outside is flagged with its likely causes.
    """

    baselines: Annotated[list[Name], AfterValidator(once), AfterValidator(check_columns)]
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    published: OrNone[dict[Name, dict[Name, dict[Name, float]]]] = Field(default_factory=dict)
    expected: OrNone[dict[Name, dict[Name, Band]]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _published(self) -> Self:
        for method, baselines in self.published.items():
            for baseline in baselines:
                if baseline not in self.baselines or baseline == method:
                    raise ValueError(
                        f"published.{method}.{baseline} would not be shown: the tables compare"
                        f" methods with baselines {self.baselines}, and none with itself; add"
                        f" {baseline} there, or remove the numbers (in an extending study:"
                        " published: null)"
                    )
        return self
