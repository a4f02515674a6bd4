"""The base class and the field types of every section of a study."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PositiveFloat,
)

NAME = r"^[a-z0-9][a-z0-9_]*$"
NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"


def _scientific(value: Any) -> Any:
    """Convert `1e-5`, which YAML 1.1 reads as a string, to a float."""
    return float(value) if isinstance(value, str) and re.search(NUMBER, value) else value


def _plain(value: Any) -> Any:
    """Refuse what JSON, in which jobs are written, cannot represent."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise ValueError("Input should have no NaN, no infinity and nothing endless") from None
    except TypeError:
        raise ValueError(
            "Input should be text, a number, true, false, null, or lists and mappings of these;"
            " quote a date"
        ) from None
    return value


def once(value: list[Any]) -> list[Any]:
    """Refuse a list that names something twice."""
    if repeated := [each for each in value if value.count(each) > 1]:
        raise ValueError(f"names {repeated[0]} more than once; list each once")
    return value


class Or:
    """Adds to a field's JSON schema what a validator converts to the field's type."""

    def __init__(self, **schema: str) -> None:
        self._schema = schema

    def __get_pydantic_json_schema__(
        self, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(core_schema), self._schema]}


_TEXT = Or(type="string", pattern=NUMBER)

Number = Annotated[float, BeforeValidator(_scientific), _TEXT]
NonNegative = Annotated[float, Field(ge=0), BeforeValidator(_scientific), _TEXT]
Positive = Annotated[PositiveFloat, BeforeValidator(_scientific), _TEXT]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_scientific), _TEXT]
Percent = Annotated[float, Field(ge=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range numpy accepts
Name = Annotated[str, Field(pattern=NAME)]
Plain = Annotated[Any, AfterValidator(_plain)]  # any value that JSON has


def remove(what: str = "it") -> str:
    """Say how to remove a key: a method that leaves it out inherits the study's."""
    return f"remove {what} (in a method, set it to null)"


def absent(value: object) -> bool:
    """Tell whether a key is null, to leave it out of a job: jobs from before the key stay as is."""
    return value is None


class Section(BaseModel):
    """A mapping in a study: strict types, no unknown keys, no infinity or NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def files(self) -> dict[str, Path]:
        """Return the files that this section and those in it name: as named there -> path.

        What a job reads from them is as much a part of its configuration as the names are. A
        section with a key that names a file adds it; a file that does not exist is listed too.
        """
        return {
            name: path
            for value in dict(self).values()
            for section in _sections(value)
            for name, path in section.files().items()
        }


def _sections(value: Any) -> Iterator[Section]:
    """Yield the sections in a field's value, also those in its lists and mappings."""
    if isinstance(value, Section):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _sections(inner)


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by key path: `{"a": {"b": 1}}` as `{"a.b": 1}`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found |= flattened(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
