"""What every section of a study is made of: strict fields, and no key that is not known."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveFloat

NAME = r"^[a-z0-9][a-z0-9_]*$"


def _scientific(value: Any) -> Any:
    """Read `1e-5`, which YAML 1.1 takes for a string, as the number it is."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Number = Annotated[float, BeforeValidator(_scientific)]
Positive = Annotated[PositiveFloat, BeforeValidator(_scientific)]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_scientific)]
Percent = Annotated[float, Field(ge=0, le=100)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
Name = Annotated[str, Field(pattern=NAME)]


class Section(BaseModel):
    """A mapping of the study: strict types, no unknown keys, no infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
