"""Merge overrides into a study.

Mappings are merged key by key; any other value, including a list or null, replaces the old one. If
an override changes the key that selects a section's class, the section's keys change too:

- another `source` replaces the whole section;
- another `type` of algorithm keeps the keys of the section that the new type also has, so that two
  algorithms with a schedule share the study's.

Elsewhere both are names like any other, of a method or an axis, or an option of a chat template.
"""

from collections.abc import Collection
from typing import Any, get_args

from thinktuning.algorithms import AnyAlgorithmConfig

Place = tuple[str, ...]  # the keys that lead to a value

# The sections of several classes -> the key that selects one; * is any name.
SELECTORS = {
    "data.train": "source",
    "data.train.parts.*": "source",
    "tasks.*.data": "source",
    "tasks.*.data.parts.*": "source",
    "model": "source",
    "teacher.model": "source",
    "judge.model": "source",
    "algorithm": "type",
}
# The settings of a sweep: a study's keys again, dotted. `below` knows a method's sections, too.
REPEATED = ("sweep.points.*", "sweep.axes.*.points.*")


def merge(base: dict[str, Any], override: dict[str, Any], place: Place = ()) -> dict[str, Any]:
    """Return `base` with `override` merged in; unknown keys are refused later, by `Study`.

    Args:
        base: what is overridden.
        override: overrides some of it.
        place: where both are in a study.
    """
    selector = next((key for path, key in SELECTORS.items() if is_at(place, path)), "")
    was, chosen = base.get(selector), override.get(selector)
    if isinstance(was, str) and isinstance(chosen, str) and chosen != was:
        if selector == "source":
            return override
        kept = algorithm_keys(chosen)
        base = {key: value for key, value in base.items() if key in kept}
    merged = dict(base)
    for key, value in override.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value, below(place, key, base)) if nested else value
    return merged


def below(place: Place, key: str, values: dict[str, Any]) -> Place:
    """Return the place of a key's value; in a sweep's settings, that of the key that they set."""
    if is_at(place, "sweep.axes.*") and key == "values":
        return ("sweep", "values", str(values.get("key")))
    if any(is_at(place, path) for path in REPEATED):
        found = tuple(str(key).split("."))  # of a number `Study` says that it is no key
    else:
        found = tuple(place[2].split(".")) if place[:2] == ("sweep", "values") else (*place, key)
    return found[2:] if is_at(found[:2], "methods.*") and len(found) > 2 else found


def is_at(place: Place, path: str) -> bool:
    """Tell whether a place is that of a dotted path with * for any name."""
    parts = path.split(".")
    return len(place) == len(parts) and all(
        part in ("*", key) for part, key in zip(parts, place, strict=True)
    )


def algorithm_keys(kind: Any) -> Collection[str]:
    """Return the keys of an algorithm's section, given its `type`; none if the type is unknown."""
    union, _ = get_args(AnyAlgorithmConfig)
    sections = [each for each in get_args(union) if each.model_fields["type"].default == kind]
    return {key for section in sections for key in section.model_fields}
