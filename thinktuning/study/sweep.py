"""The study section `sweep`: one study over several bases and settings.

    sweep:
      axes:
        pretraining: {key: model.max_steps, values: [250, 500, 950]}
        size:
          points:
            small: {model.hidden_size: 64, model.intermediate_size: 192}
            large: {model.hidden_size: 128, model.intermediate_size: 384}

Each combination of the axes' values is a *point*: the study with those keys replaced by the rules
of `extends` (`merging`), validated as a study of its own. The first is called
`pretraining-250_size-small`. `points` in place of `axes` lists the points themselves.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from operator import not_
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from thinktuning.io.section import Name, Plain, Section, once

# What methods, tasks, seeds and the comparison are is the same at every point.
SECTIONS = (
    *("data", "model", "warmup", "prompt", "chat_template_kwargs"),
    *("training", "algorithm", "teacher"),
)
OF_METHOD = ("prompt", "training", "algorithm", "teacher")
KEYS = f"a sweep changes keys of {', '.join(SECTIONS)}, and methods.NAME.SECTION.KEY"
# The directories of results, of a sweep and of a study without one.
RESERVED = ("benchmarks", "data", "eval", "logs", "models", "plots", "report", "runs", "tables")
OF_BASE = ("gap", "asked", "plain")  # what a figure's x may be if the study has a gap
BY_POINT = "point"  # a figure's x that is the points themselves
LONGEST = 120  # characters of a point's name, which is also that of a directory

PointName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
Settings = dict[str, Plain]  # dotted key -> value


@dataclass(frozen=True)
class Point:
    """One point of a sweep.

    Attributes:
        name: the directory of its results, below results/.
        values: axis -> value there; without axes, key -> value.
        settings: the keys that it replaces.
    """

    name: str
    values: Settings
    settings: Settings


class AxisConfig(Section):
    """One axis: the `values` of a `key`, or `points` that set several keys at once.

    Values that are lists or mappings need names: `values: {NAME: VALUE}`.
    """

    key: str | None = None
    values: list[Plain] | dict[PointName, Plain] = Field(default_factory=list)
    points: dict[PointName, Settings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _of_one_kind(self) -> Self:
        given = [bool(each) for each in (self.key, self.values, self.points)]
        if given not in ([True, True, False], [False, False, True]):
            raise ValueError(
                "an axis has either a key and its values, e.g. {key: model.max_steps, values:"
                " [250, 500]}, or points: {NAME: {KEY: VALUE, ...}, ...}"
            )
        for _ in self.named():  # refuses values without a name
            pass
        return self

    def named(self) -> Iterator[tuple[str, Any, Settings]]:
        """Yield the name, the value and the settings of each place on the axis."""
        for name, settings in self.points.items():
            yield name, name, settings
        if self.key:
            values = self.values
            named = (
                values.items() if isinstance(values, dict) else [(value_name(v), v) for v in values]
            )
            for name, value in named:
                yield name, value, {self.key: value}


class GapConfig(Section):
    """The untrained methods whose difference in accuracy is a base's *gap*: asked minus plain."""

    asked: Name
    plain: Name

    @model_validator(mode="after")
    def _of_two(self) -> Self:
        if self.asked == self.plain:
            raise ValueError(
                f"asked and plain are both {self.asked}, so every gap is 0; name two methods, one"
                " with the prompt that asks"
            )
        return self


# matplotlib's name; jobs of studies that do not give it do not mention it
XScale = Annotated[
    Literal["linear", "log"], Field(exclude_if=lambda value: bool(value == "linear"))
]
Join = Annotated[bool, Field(exclude_if=not_)]


class SweepFigureConfig(Section):
    """What the sweep's figure draws: the gain of `methods` over `baseline`, against `x`.

    `x` is `gap`, `plain` or `asked` (a base's accuracies), an axis with numbers, `measured.NAME`, a
    number in the base model's provenance.json, or `point`: a row for each method, with its gain at
    every point. Without it: the gap, else the first axis with numbers. With `join` or `xscale: log`
    the points of a method are joined, in place of a line that is fitted; with `series`, another
    axis, those at each of its values. `baseline` is by default the gap's `plain`, else the study's
    first; `methods` are all trained ones.
    """

    x: str | None = None
    xscale: XScale = "linear"
    join: Join = False
    series: Name | None = None
    baseline: Name | None = None
    methods: Annotated[list[Name], AfterValidator(once)] = Field(default_factory=list)


class SweepConfig(Section):
    """Several points, as the product of `axes` or as a list of `points`."""

    axes: dict[Name, AxisConfig] = Field(default_factory=dict)
    points: dict[PointName, Settings] = Field(default_factory=dict)
    gap: GapConfig | None = None
    figure: SweepFigureConfig = SweepFigureConfig()

    @model_validator(mode="after")
    def _points(self) -> Self:
        if bool(self.axes) == bool(self.points):
            raise ValueError("needs either axes, whose product is swept, or points; give one")
        for name, settings in self.points.items():
            check_keys(f"points.{name}", settings)
        self._check_axes()
        names = [point.name for point in self.all_points()]
        for name in names:
            if name in RESERVED:
                raise ValueError(
                    f"point {name}: results/{name}/ is a directory of every study; rename it"
                )
            if len(name) > LONGEST:
                raise ValueError(
                    f"point {name}: has more than {LONGEST} characters; shorten the axes' names, or"
                    " name the values: {NAME: VALUE}"
                )
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"several points are called {sorted(repeated)[0]}; list each value once, or name"
                " the values: {NAME: VALUE}"
            )
        return self

    def _check_axes(self) -> None:
        """Refuse axes that set the same key, and names that `figure.x` gives to a base."""
        owner: dict[str, str] = {}
        for axis, each in self.axes.items():
            if axis in (*OF_BASE, BY_POINT):
                raise ValueError(f"axes.{axis}: figure.x: {axis} is no axis; rename this one")
            for *_, settings in each.named():
                check_keys(f"axes.{axis}", settings)
                for key in settings:
                    for other, first in owner.items():
                        if first != axis and overlap(key, other):
                            raise ValueError(
                                f"axes {first} and {axis} both set {min(key, other, key=len)};"
                                " merge them into one axis with points"
                            )
                    owner.setdefault(key, axis)

    def all_points(self) -> list[Point]:
        """Return the points; of a product, the last axis changes fastest."""
        if self.points:
            keys = list(dict.fromkeys(key for each in self.points.values() for key in each))
            return [
                Point(name, {key: settings.get(key) for key in keys}, settings)
                for name, settings in self.points.items()
            ]
        found = []
        for places in itertools.product(*(list(axis.named()) for axis in self.axes.values())):
            chosen = dict(zip(self.axes, places, strict=True))
            settings: Settings = {}
            for *_, each in places:
                settings |= each
            name = "_".join(f"{axis}-{place}" for axis, (place, *_) in chosen.items())
            found.append(Point(name, {axis: v for axis, (_, v, _) in chosen.items()}, settings))
        return found

    def numeric(self) -> list[str]:
        """Return the axes, or keys of `points`, that have a number at every point."""
        points = self.all_points()
        return [axis for axis in points[0].values if all(is_number(p.values[axis]) for p in points)]


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted keys as nested mappings."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return found


def check_keys(where: str, settings: Settings) -> None:
    """Refuse keys that a sweep may not change, and keys of which one contains another."""
    for key in settings:
        first, *rest = key.split(".")
        of_method = first == "methods" and len(rest) > 1 and rest[1] in OF_METHOD
        if "" in (first, *rest) or not (first in SECTIONS or of_method):
            raise ValueError(f"{where}: cannot change {key!r}; {KEYS}")
    for a, b in itertools.combinations(settings, 2):
        if overlap(a, b):
            raise ValueError(f"{where}: sets {a} and {b}, one of which contains the other")


def overlap(a: str, b: str) -> bool:
    """Tell whether a dotted key is, or contains, another."""
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")


def value_name(value: Any) -> str:
    """Return the name of a value in those of points: `0.1`, `true`, `null`, `wrong_first`."""
    if isinstance(value, list | dict) or value == "":
        raise ValueError(f"value {value!r:.80} has no name; name the values: {{NAME: VALUE}}")
    text = value if isinstance(value, str) else json.dumps(value)
    return re.sub(r"[^a-z0-9_.-]+", "-", text.lower().replace("+", ""))


def is_number(value: Any) -> bool:
    """Tell whether a value is a number, or a text that YAML 1.1 should have read as one: 1e-5."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
