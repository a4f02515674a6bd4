"""The fields of `trl.GRPOConfig`, written down, so that a study is checked without importing TRL.

    python -m thinktuning.commands.trl_options > thinktuning/study/trl_options.yaml

`tests/study/test_trl_options.py` compares the file with the installed TRL. What a study may say of
each field is decided in `thinktuning.study.decisions`.
"""

import json
from dataclasses import MISSING, fields
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin

HEADER = """\
# The fields of trl.GRPOConfig {version}; first those that it has from transformers.
# Written by `python -m thinktuning.commands.trl_options`; decisions.py says what a study may set.
"""


def options() -> dict[str, dict[str, dict[str, Any]]]:
    """Return the fields of `GRPOConfig`: `transformers` and `trl` -> name -> type and default.

    A type is a union of `bool`, `int`, `float`, `str`, `dict`, `list` and `None`; an enumeration is
    `str`, with its `choices`. A default that is no plain value is left out.
    """
    from transformers import TrainingArguments
    from trl import GRPOConfig

    inherited = {option.name for option in fields(TrainingArguments)}
    found: dict[str, dict[str, dict[str, Any]]] = {"transformers": {}, "trl": {}}
    for option in fields(GRPOConfig):
        kinds, choices = kinds_of(option.type)
        entry: dict[str, Any] = {"type": " | ".join(kinds)}
        default = option.default_factory() if callable(option.default_factory) else option.default
        if default is not MISSING:
            entry["default"] = default
        if choices:
            entry["choices"] = choices
        found["transformers" if option.name in inherited else "trl"][option.name] = entry
    return found


def kinds_of(annotation: Any) -> tuple[list[str], list[str]]:
    """Return the plain types that an annotation allows, and the values of its enumerations."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return ["str"], [str(member.value) for member in annotation]
    plain = {bool: "bool", int: "int", float: "float", str: "str", NoneType: "None", None: "None"}
    origin = get_origin(annotation) or annotation
    if origin in plain:
        return [plain[origin]], []
    if origin in (dict, list):
        return [origin.__name__], []
    kinds: list[str] = []
    choices: list[str] = []
    for argument in get_args(annotation):
        # a literal's argument is a value
        found, some = kinds_of(bool if isinstance(argument, bool) else argument)
        kinds += [kind for kind in found if kind not in kinds]
        choices += some
    return sorted(kinds, key=lambda kind: kind == "None"), choices


def written() -> str:
    """Return the file's text."""
    import trl

    lines = [HEADER.format(version=trl.__version__), f"version: {trl.__version__}\n"]
    for origin, named in options().items():
        lines.append(f"{origin}:\n")
        for name, entry in named.items():
            values = ", ".join(f"{key}: {json.dumps(value)}" for key, value in entry.items())
            lines.append(f"  {name}: {{{values}}}\n")
    return "".join(lines)


if __name__ == "__main__":
    print(written(), end="")
