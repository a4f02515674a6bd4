"""The points of a sweep differ: one that changes no job is refused."""

import copy

import pytest
from edited_study import DEFAULT, message

from thinktuning.study.reading import parse_study

RATE = "training.learning_rate"
OWN = {"grpo": {"training": {"learning_rate": 1e-5}}, "thinktuning": {"training": {"beta": 0.1}}}


def swept(sweep, **methods):
    found = copy.deepcopy(DEFAULT) | {"sweep": sweep}
    for name, override in methods.items():
        found["methods"][name] |= override
    return found


@pytest.mark.parametrize(
    ("sweep", "points"),
    [
        ({"axes": {"a": {"key": RATE, "values": [1, 1.0]}}}, ("a-1", "a-1.0")),
        ({"axes": {"a": {"key": RATE, "values": ["1e-5", 1e-5]}}}, ("a-1e-5", "a-1e-05")),
        ({"axes": {"a": {"key": RATE, "values": {"x": 0.1, "y": 0.1}}}}, ("a-x", "a-y")),
        ({"points": {"a": {}, "b": {"model.max_steps": 5}, "c": {}}}, ("a", "c")),
    ],
)
def test_points_of_equal_values_are_refused(sweep, points):
    expected = f"sweep: points {points[0]} and {points[1]} are the same in all jobs: they have equ"
    assert expected in message(swept(sweep))


def test_an_axis_that_no_method_reads_is_refused():
    rates = {"axes": {"rate": {"key": RATE, "values": [1e-3, 1e-4]}}}
    assert parse_study(swept(rates, grpo=OWN["grpo"]), "test").points()  # thinktuning has none
    every = {name: OWN["grpo"] for name in OWN}
    assert "points rate-0.001 and rate-0.0001 are the same in all jobs" in (
        message(swept(rates, **every))
    )
    steps = {"steps": {"key": "model.max_steps", "values": [5, 6]}}
    assert "points rate-0.001_steps-5 and rate-0.0001_steps-5 are" in (
        message(swept({"axes": rates["axes"] | steps}, **every))
    )


def test_a_teacher_that_nobody_asks_is_no_axis():
    prompts = {"axes": {"prompt": {"key": "teacher.prompt", "values": ["paper", "organism"]}}}
    assert len(parse_study(swept(prompts), "test").points()) == 2
    untaught = swept(prompts, thinktuning={"algorithm": {"type": "grpo"}})
    assert "points prompt-paper and prompt-organism are the same" in message(untaught)
