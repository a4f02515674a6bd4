"""The points of a sweep differ: one that changes no job is refused."""

import copy

import pytest
from edited_study import DEFAULT, message

from thinktuning.study.merging import merge
from thinktuning.study.points import measured_of, sweep_job
from thinktuning.study.reading import parse_study

RATE = "training.learning_rate"
WORKED = {"max_steps": 8, "learning_rate": 1e-5, "batch_size": 4, "max_length": 90}
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


def test_a_key_that_every_method_overrides_is_refused():
    rates = {"axes": {"rate": {"key": RATE, "values": [1e-3, 1e-4]}}}
    assert parse_study(swept(rates, grpo=OWN["grpo"]), "test").points()  # thinktuning has none
    every = {name: OWN["grpo"] for name in OWN}
    expected = f"sweep: {RATE} has no effect at any point: it is overridden (grpo, thinktuning)"
    assert expected in message(swept(rates, **every))
    steps = {"steps": {"key": "model.max_steps", "values": [5, 6]}}
    assert expected in message(swept({"axes": rates["axes"] | steps}, **every))
    assert expected in message(swept({"points": {"a": {RATE: 1.0}, "b": {RATE: 0.1}}}, **every))


UNREAD = "has no effect at any point: "
FAMILIES = {"chain_sum": {"share": 1}}


@pytest.mark.parametrize(
    ("key", "values", "section", "reason"),
    [
        (
            "algorithm.aas.constant",
            [0.1, 0.5],
            {},
            "algorithm grpo has no such key (grpo), aas.variant released does not read it (thinkt",
        ),
        (
            "algorithm.schedule.decay_fraction",
            [0.1, 0.5],
            {"algorithm": {"schedule": {"kind": "constant"}}},
            "algorithm grpo has no such key (grpo), schedule.kind is constant (thinktuning)",
        ),
        ("training.epsilon", [0.1, 0.5], {"training": {"steps_per_generation": 1}}, "a rollout ba"),
        (
            "training.adam_beta2",
            [0.1, 0.5],
            {"training": {"extra": {"optim": "sgd"}}},
            "optim = sgd does not read it (grpo, thinktuning)",
        ),
        ("model.max_terms", [6, 7], {"model": {"families": FAMILIES}}, "its documents are those"),
    ],
)
def test_a_key_that_no_method_reads_is_refused(key, values, section, reason):
    axes = {"a": {"key": key, "values": values}}
    axes["b"] = {"key": "model.learning_rate", "values": [1e-3, 1e-4]}
    study, first = swept({"axes": axes}), values[0]
    if key != "algorithm.aas.constant":  # which the default study does not read
        assert len(parse_study(study, "test").points()) == 4
    for name, changed in section.items():
        study[name] = merge(study[name], changed)
    assert f"sweep: {key} {UNREAD}{reason}" in message(study)
    study["sweep"] = {"points": {"a": {key: first}, "b": {"model.seed": 1}}}
    assert f"sweep: {key} {UNREAD}{reason}" in message(study)


def test_a_key_that_is_read_at_some_points_is_taken():
    """Points that differ only in what is not read there are the same."""
    variants = {"key": "algorithm.aas.variant", "values": ["constant", "released"]}
    constants = {"key": "algorithm.aas.constant", "values": [0.1, 0.5]}
    both = swept({"axes": {"variant": variants, "constant": constants}})
    assert "points variant-released_constant-0.1 and variant-released_constant-0.5 are" in (
        message(both)
    )
    points = {
        "a": {"algorithm.aas.variant": "constant", "algorithm.aas.constant": 0.5},
        "b": {"algorithm.aas.variant": "released", "algorithm.aas.constant": 0.5},
    }
    assert parse_study(swept({"points": points}), "test").points()


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("training.save_steps", [2, 4]),
        ("training.save_minutes", [2, 4]),
        ("training.rollouts_per_step", [2, 4]),
        ("training.reward", {"one": "last_box", "other": ["last_box"]}),
        ("methods.thinktuning.training.save_steps", [2, 4]),
    ],
)
def test_what_is_only_recorded_or_written_differently_is_no_axis(key, values):
    assert "are the same in all jobs: they have equal values, or keys that" in (
        message(swept({"axes": {"a": {"key": key, "values": values}}}))
    )
    size = {"small": {"model.max_steps": 5}, "large": {"model.max_steps": 6, key: 2}}
    if isinstance(values, list):  # a point of its own may record more
        assert parse_study(swept({"points": size}), "test").points()


def test_a_teacher_that_nobody_asks_is_no_axis():
    prompts = {"axes": {"prompt": {"key": "teacher.prompt", "values": ["paper", "organism"]}}}
    assert len(parse_study(swept(prompts), "test").points()) == 2
    longer = {"algorithm": {"type": "grpo"}, "training": {"max_steps": 160}}
    untaught = swept(prompts, thinktuning=longer)
    assert "sweep: teacher.prompt has no effect at any point: algorithm grpo asks no teacher" in (
        message(untaught)
    )


def test_a_teacher_that_only_the_warm_up_asks_is_an_axis():
    prompts = {"axes": {"prompt": {"key": "teacher.prompt", "values": ["paper", "organism"]}}}
    longer = {"algorithm": {"type": "grpo"}, "training": {"max_steps": 160}}
    study = swept(prompts, thinktuning=longer)
    study["warmup"] = {"max_steps": 1, "learning_rate": 1e-3, "batch_size": 1, "max_length": 64}
    assert "teacher.prompt has no effect" in message(study)
    study["warmup"]["tutor_share"] = 0.5
    assert parse_study(study, "test").points()


def test_labels_are_those_of_the_points():
    types = {"type": {"key": "algorithm.type", "values": ["rft", "sft"]}}
    study = parse_study(swept({"axes": types, "figure": {"x": "point"}}), "test")
    job = sweep_job(study, {point: {} for point in study.points()})
    for point, own in study.points().items():
        assert job.at(point).methods == own.compare_job().methods
    label = study.methods["thinktuning"].label or "thinktuning"
    assert job.labels["thinktuning"] == f"{label} (algorithm: rft) / {label} (algorithm: sft)"
    assert job.labels["grpo"] == "GRPO"
    rates = parse_study(swept({"axes": {"rate": {"key": RATE, "values": [1e-3, 1e-4]}}}), "test")
    assert "labels_at" not in sweep_job(rates, {}).model_dump()  # of a study of before


@pytest.mark.parametrize("named", [{}, {"baseline": "zero_shot"}])
def test_the_figure_has_no_gain_of_its_baseline(named):
    """`zero_shot` is the gap's `plain`, and so the baseline of a study that names none."""
    rates = {"axes": {"rate": {"key": RATE, "values": [1e-3, 1e-4]}}}
    figure = {"methods": ["zero_shot", "grpo"]} | named
    expected = "sweep.figure.methods has the baseline 'zero_shot', whose gain over itself is 0"
    assert expected in message(swept(rates | {"figure": figure}))
    other = {"figure": figure | {"baseline": "zero_shot_reflect"}}
    assert parse_study(swept(rates | other), "test").points()


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ({"x": "rate", "series": "rate"}, "'rate', but must be an axis other than x: choose from "),
        ({"x": "rate", "series": "step"}, "'step', but must be an axis other than x: choose from "),
        ({"x": "point", "series": "rate"}, "given, but x is point: remove one of the two"),
    ],
)
def test_series_are_another_axis(figure, expected):
    axes = {"rate": {"key": RATE, "values": [1e-3, 1e-4]}}
    axes |= {"steps": {"key": "model.max_steps", "values": [5, 6]}}
    right = parse_study(swept({"axes": axes, "figure": {"x": "rate", "series": "steps"}}), "test")
    job = sweep_job(right, {})
    assert (job.series, job.has_lines) == ("steps", False)
    assert f"sweep.figure.series is {expected}" in message(swept({"axes": axes, "figure": figure}))
    plain = parse_study(swept({"axes": axes}), "test")
    assert "series" not in sweep_job(plain, {}).model_dump()  # of a study of before


def test_series_are_not_the_x_of_a_figure_that_names_none():
    """It is the gap, and without one the first axis with numbers."""
    axes = {"rate": {"key": RATE, "values": [1e-3, 1e-4]}}
    axes |= {"steps": {"key": "model.max_steps", "values": [5, 6]}}
    study = swept({"axes": axes, "figure": {"series": "rate"}})
    assert parse_study(study, "test").points()
    del study["methods"]["zero_shot_reflect"]
    assert "sweep.figure.series is 'rate', but must be an axis other" in message(study)
    study["sweep"]["figure"]["series"] = "steps"
    assert sweep_job(parse_study(study, "test"), {}).x == "rate"


@pytest.mark.parametrize(
    ("base", "named", "said"),
    [
        ({}, "student_acuracy", "it has measured.final_loss, measured.num_problems"),
        ({"warmup": WORKED}, "tutor_accuracy", "it has measured.final_loss; correct it"),
        ({"model": {"source": "path", "path": "x"}}, "final_loss", "nothing is measured of it"),
    ],
)
def test_the_figure_is_against_what_is_measured_of_every_base(base, named, said):
    sweep = {"axes": {"beta": {"key": "training.beta", "values": [0.0, 0.1]}}}
    study = DEFAULT | base | {"sweep": sweep | {"figure": {"x": f"measured.{named}"}}}
    expected = f"sweep.figure.x is 'measured.{named}', but the base of point beta-0.0 has no such"
    assert expected in message(study) and said in message(study)
    for known in [] if "model" in base else measured_of(parse_study(DEFAULT | base, "test")):
        study["sweep"]["figure"]["x"] = f"measured.{known}"
        assert parse_study(study, "test")
