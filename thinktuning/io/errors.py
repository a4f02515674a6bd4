"""User errors, and readable messages for pydantic's validation errors."""

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

DISCRIMINATORS = ("source", "type")  # keys whose value selects a section's class

# Renamed and removed keys, and what to write instead.
FORMER = {
    "guidance": "use `algorithm: {type: thinktuning, ...}`, with the same keys next to `type`;"
    " `enabled: false` is now `type: grpo`, `objective: sft` is now `type: sft`",
    "behaviours": "it is now `behaviors`",
    "base": "it is now `model`",
}


class StudyError(ValueError):
    """A user error: what is wrong, where, and how to fix it. Printed without a traceback."""


def describe(error: ValidationError, kind: type[BaseModel], prefix: str = "") -> str:
    """Format a validation error as lines of `  key.path: what is wrong (fix)`.

    Args:
        error: the error.
        kind: the class that was validated.
        prefix: put before every key path.
    """
    lines = []
    for item in error.errors():
        keys, sections = _follow(kind, item["loc"])
        message = item["msg"].removeprefix("Value error, ").strip()
        match item["type"]:
            case "extra_forbidden":
                message = f"unknown key; {_hint(keys[-1], sections)}"
            case "missing":
                message = "is required and missing"
            case "union_tag_not_found":
                keys.append(item["ctx"]["discriminator"].strip("'"))
                message = "is required and missing"
            case "union_tag_invalid":
                keys.append(item["ctx"]["discriminator"].strip("'"))
                message = f"should be one of {item['ctx']['expected_tags']}"
                message += f" (found {item['ctx']['tag']!r})"
            case "json_invalid":
                pass  # the input is the whole file
            case _ if not isinstance(item["input"], dict | BaseModel):
                message += f" (found {item['input']!r:.80})"
        path = prefix + ".".join(keys)
        lines.append(f"  {path}: {message}" if path else f"  {message}")
    return "\n".join(lines)


def _hint(key: str, sections: list[type[BaseModel]]) -> str:
    """Suggest a fix for an unknown key: its new name, the closest known key, or all of them."""
    if key in FORMER:
        return FORMER[key]
    fields = [item for section in sections for item in section.model_fields.items()]
    known = [field.alias or name for name, field in fields]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"


def _follow(kind: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return an error's location as a key path, and the sections that may hold its last key.

    Pydantic's location also contains the tag of every union on the way, and a `[key]` marker after
    a bad mapping key; both are dropped.
    """
    keys: list[str] = []
    sections: list[type[BaseModel]] = []
    for part in location:
        sections = _sections(kind)
        tagged = [section for section in sections if part in _tags(section)]
        if entries := _entries(kind):
            kind = entries
        elif len(sections) > 1 and tagged:
            kind = tagged[0]
            continue
        elif len(sections) == 1 and part in sections[0].model_fields:
            kind = sections[0].model_fields[str(part)].annotation
        elif part == "[key]":
            continue
        keys.append(str(part))
    return keys, sections


def _entries(annotation: Any) -> Any:
    """Return what a dict or list contains, also an optional one's; None of anything else."""
    kinds = (annotation, *get_args(annotation))
    return next((get_args(kind)[-1] for kind in kinds if get_origin(kind) in (dict, list)), None)


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the section classes that a type annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (dict, list):
        return []
    return [section for arg in get_args(annotation) for section in _sections(arg)]


def _tags(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the discriminator values that select a section."""
    fields = [section.model_fields[name] for name in DISCRIMINATORS if name in section.model_fields]
    return tuple(tag for field in fields for tag in get_args(field.annotation))
