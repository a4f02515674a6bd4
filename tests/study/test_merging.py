"""Merging knows a section's selector from an entry, or an option, that has its name."""

import copy
from typing import Any

import pytest
from edited_study import DEFAULT, OTHER, edited
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktuning.io.errors import _entries, _sections
from thinktuning.study.merging import SELECTORS, merge
from thinktuning.study.reading import lay_over, parse_study
from thinktuning.study.study import Study


def of_several_classes(kind: Any, place: str = "") -> dict[str, str]:
    """Return the places in a section that hold one of several classes -> the selecting key."""
    found = {}
    for section in _sections(kind):
        for name, field in section.model_fields.items():
            entries = _entries(field.annotation)
            inner, path = entries or field.annotation, f"{place}{name}{'.*' * bool(entries)}"
            classes = _sections(inner)
            if len(classes) > 1:
                (key,) = {"source", "type"} & classes[0].model_fields.keys()
                found[path] = key
            found |= of_several_classes(inner, f"{path}.")
    return found


def test_the_selectors_are_those_of_the_study():
    assert of_several_classes(Study) == SELECTORS


NAMES = st.sampled_from(["source", "type", "a", "b"])
VALUES = st.sampled_from(["x", "y", None, 1, {}, {"type": "x", "a": 1}, {"source": "y", "b": {}}])
FREE = [
    *("methods", "tasks", "chat_template_kwargs", "sweep.axes", "sweep.points"),
    *("data.train.parts", "data.train.params", "tasks.source.data.params", "evaluation.model_args"),
    *("sweep.points.a", "sweep.axes.a.points", "sweep.axes.a.values", "training.extra"),
    *("comparison.published", "methods.a.training.extra", "model.documents.families"),
]


@pytest.mark.parametrize("path", FREE)
@settings(max_examples=30)
@given(base=st.dictionaries(NAMES, VALUES), override=st.dictionaries(NAMES, VALUES))
def test_no_entry_vanishes_whatever_it_is_called(path, base, override):
    def at(values):
        for key in reversed(path.split(".")):
            values = {key: values}
        return values

    merged = merge(at(base), at(override))
    for key in path.split("."):
        merged = merged[key]
    assert merged.keys() == base.keys() | override.keys()
    assert all(merged[name] == base[name] for name in base.keys() - override.keys())


def test_a_method_may_be_called_type_and_an_axis_source():
    axes = {
        name: {"key": key, "values": [1, 2]}
        for name, key in (("source", "model.max_steps"), ("rate", "model.seed"))
    }
    base = edited("methods", DEFAULT["methods"] | {"type": OTHER}) | {"sweep": {"axes": axes}}
    override = {
        "methods": {"type": {"label": "T"}},
        "sweep": {"axes": {"source": {"key": "model.max_steps", "values": [3, 4]}}},
    }
    study = parse_study(lay_over(base, override, "base"), "study.yaml")
    assert study.methods["type"].label == "T" and len(study.methods) == 5
    assert len(study.points()) == 4


@pytest.mark.parametrize(
    "place",
    [
        "model",
        "judge.model",
        "teacher.model",
        "methods.source.teacher.model",
        "tasks.source.data",
        "data.train.parts.type",
        "sweep.points.source.model",
        "sweep.axes.source.points.type.teacher.model",
        "sweep.points.source.methods.type.teacher.model",
        "sweep.axes.source.values.type",
    ],
)
def test_another_source_replaces_the_section_wherever_it_is(place):
    base: dict[str, Any] = {"source": "path", "path": "x"}
    override: dict[str, Any] = {"source": "hub", "repo": "a/b"}
    keys = place.split(".")
    if "points" in keys:  # settings have dotted keys
        start = keys.index("points") + 2
        keys[start:] = [".".join(keys[start:])]
    expected = copy.deepcopy(override)
    for key in reversed(keys):
        base, override, expected = {key: base}, {key: override}, {key: expected}
    if ".values." in place:
        for each in (base, override, expected):
            each["sweep"]["axes"]["source"]["key"] = "model"
    assert merge(base, override) == expected
