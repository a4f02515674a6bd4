"""Merge overrides into a study.

Mappings are merged key by key; any other value, including a list or null, replaces the old one. If
an override changes the key that selects a section's class, the section's keys change too:

- another `source` replaces the whole section;
- another `type` of algorithm keeps the keys of the section that the new type also has, so that two
  algorithms with a schedule share the study's.
"""

from collections.abc import Collection
from typing import Any, get_args

from thinktuning.algorithms import AnyAlgorithmConfig


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `override` merged in; unknown keys are refused later, by `Study`."""
    if "source" in base and override.get("source", base["source"]) != base["source"]:
        return override
    if "type" in base and override.get("type", base["type"]) != base["type"]:
        kept = algorithm_keys(override["type"])
        base = {key: value for key, value in base.items() if key in kept}
    merged = dict(base)
    for key, value in override.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value) if nested else value
    return merged


def algorithm_keys(kind: Any) -> Collection[str]:
    """Return the keys of an algorithm's section, given its `type`; none if the type is unknown."""
    union, _ = get_args(AnyAlgorithmConfig)
    sections = [each for each in get_args(union) if each.model_fields["type"].default == kind]
    return {key for section in sections for key in section.model_fields}
