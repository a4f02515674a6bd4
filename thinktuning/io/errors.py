"""User errors, and readable messages for pydantic's validation errors."""

import difflib
from collections.abc import Iterator, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

DISCRIMINATORS = ("source", "type")  # keys whose value selects a section's class

# Renamed and removed keys, and what to write instead.
FORMER = {
    "guidance": "use `algorithm: {type: thinktuning, ...}`, with the same keys next to `type`;"
    " `enabled: false` is now `type: grpo`, `objective: sft` is now `type: sft`",
    "behaviours": "it is now `behaviors`",
    "base": "it is now `model`",
}

Item = Any  # of a validation error: a mapping with type, loc, msg, input and ctx
# A key path, the sections that may hold its last key, and the path of the last union of types.
Followed = tuple[list[str], list[type[BaseModel]], tuple[str, ...] | None]


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
    for item, (keys, sections, _) in _merged(kind, error):
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
            case "invalid_key" | "string_type" if _is_key(item):
                keys.pop()
                message = f"the key {item['input']!r} is not text; quote it (YAML reads no, yes, on"
                message += " and off as false or true)"
            case _ if not isinstance(item["input"], dict | BaseModel):
                message += f" (found {item['input']!r:.80})"
        path = prefix + ".".join(keys)
        lines.append(f"  {path}: {message}" if path else f"  {message}")
    return "\n".join(lines)


def _is_key(item: Item) -> bool:
    return bool(item["type"] == "invalid_key" or item["loc"][-1] == "[key]")


def _merged(kind: type[BaseModel], error: ValidationError) -> Iterator[tuple[Item, Followed]]:
    """Yield an error's items with their places, one where a value is of none of several types.

    If it is of one of them, and something in it is wrong, only that is said.
    """
    found = [(item, _follow(kind, item["loc"])) for item in error.errors()]
    mismatches: dict[tuple[str, ...], list[Item]] = {}
    inside = set()
    for item, (keys, _, choice) in found:
        if choice == tuple(keys) and item["type"].endswith("_type"):
            mismatches.setdefault(choice, []).append(item)
        else:
            inside.add(choice)
    for item, followed in found:
        of_choice = mismatches.get(followed[2] or (), [])
        if item not in of_choice:
            yield item, followed
        elif item is of_choice[0] and followed[2] not in inside:
            others = [each["msg"].removeprefix("Input should be ") for each in of_choice[1:]]
            item["msg"] = ", or ".join([item["msg"], *others])
            yield item, followed


def _hint(key: str, sections: list[type[BaseModel]]) -> str:
    """Suggest a fix for an unknown key: its new name, the closest known key, or all of them."""
    if key in FORMER:
        return FORMER[key]
    fields = [item for section in sections for item in section.model_fields.items()]
    known = [field.alias or name for name, field in fields]
    return did_you_mean(key, known, otherwise="known keys:")


def did_you_mean(given: str, known: Sequence[str], otherwise: str = "choose from") -> str:
    """Suggest the known word that is closest to an unknown one, or all of them."""
    near = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"{otherwise} {', '.join(known)}"


def _follow(kind: Any, location: tuple[int | str, ...]) -> Followed:
    """Return an error's location as a key path, and the sections that may hold its last key.

    Pydantic's location also contains the tag or the type of every union's member on the way, and a
    `[key]` marker after a bad mapping key; they are dropped. Third, the key path of the last union
    of types that are no sections, if any.
    """
    keys: list[str] = []
    sections: list[type[BaseModel]] = []
    choice: tuple[str, ...] | None = None
    for part in location:
        if len(members := _members(kind)) > 1:
            named = [each for each in members if str(part).startswith(_type_name(each))]
            kind, choice = (named or [Any])[0], tuple(keys)
            continue
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
    return keys, sections, choice


def _members(annotation: Any) -> list[Any]:
    """Return the types of a union of any but sections, without None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) not in (Union, UnionType) or _sections(annotation):
        return []
    return [each for each in get_args(annotation) if each is not type(None)]


def _type_name(annotation: Any) -> str:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return str(getattr(get_origin(annotation) or annotation, "__name__", annotation))


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
