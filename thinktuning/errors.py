"""A user's mistakes, and the words for those that pydantic finds in a study."""

import difflib
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError


class StudyError(ValueError):
    """A user's mistake: what, where, and how to mend it. Printed without a traceback."""


def describe(error: ValidationError, kind: type[BaseModel], prefix: str = "") -> str:
    """Turn a validation error into lines `  key.path: what is wrong (mend)`."""
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
                keys.append("source")
                message = "is required and missing"
            case "union_tag_invalid":
                keys.append("source")
                message = f"should be one of {item['ctx']['expected_tags']}"
                message += f" (found {item['ctx']['tag']!r})"
            case "json_invalid":
                pass  # the input would be the whole file
            case _ if not isinstance(item["input"], dict | BaseModel):
                message += f" (found {item['input']!r:.80})"
        path = prefix + ".".join(keys)
        lines.append(f"  {path}: {message}" if path else f"  {message}")
    return "\n".join(lines)


def _hint(key: str, sections: list[type[BaseModel]]) -> str:
    """Name the known key nearest to `key`, or all."""
    known = [name for section in sections for name in section.model_fields]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(known)}"


def _follow(kind: Any, location: tuple[int | str, ...]) -> tuple[list[str], list[type[BaseModel]]]:
    """Return an error's location as a path of keys, and the sections that its last key is in.

    pydantic's location also has the tag of each union that it went through, and marks a bad key.
    """
    keys: list[str] = []
    sections: list[type[BaseModel]] = []
    for part in location:
        sections = _sections(kind)
        tagged = [section for section in sections if part in _tags(section)]
        if get_origin(kind) in (dict, list):
            kind = get_args(kind)[-1]
        elif len(sections) > 1 and tagged:
            kind = tagged[0]
            continue
        elif len(sections) == 1 and part in sections[0].model_fields:
            kind = sections[0].model_fields[str(part)].annotation
        elif part == "[key]":
            continue
        keys.append(str(part))
    return keys, sections


def _sections(annotation: Any) -> list[type[BaseModel]]:
    """Return the section classes that a type annotation admits."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (dict, list):
        return []
    return [section for arg in get_args(annotation) for section in _sections(arg)]


def _tags(section: type[BaseModel]) -> tuple[str, ...]:
    """Return the values of a section's `source` key that select it."""
    field = section.model_fields.get("source")
    return get_args(field.annotation) if field else ()
