"""The section `sweep`: its points and their names, what is refused, and which jobs are shared."""

import copy
from typing import Any

import pytest
import yaml
from edited_study import DEFAULT, edited, message
from hypothesis import given
from hypothesis import strategies as st

from thinktuning.study.points import sweep_job
from thinktuning.study.reading import parse_study, resolved_yaml
from thinktuning.study.sharing import elsewhere, homes
from thinktuning.study.study import Study
from thinktuning.study.sweep import AxisConfig, SweepConfig, nested, value_name

TRAINED = ("grpo", "thinktuning")


def swept(sweep: dict[str, Any], **keys: Any) -> Study:
    """Return the default study with a sweep."""
    return parse_study(copy.deepcopy(DEFAULT) | keys | {"sweep": sweep}, "study.yaml")


def refused(sweep: dict[str, Any]) -> str:
    """Return the one line that says what is wrong with a sweep of the default study."""
    heading, *lines = message(edited("sweep", sweep)).split("\n  ")
    assert heading == "study.yaml is not a valid study:" and len(lines) == 1, lines
    return lines[0]


AXES = {
    "steps": {"key": "model.max_steps", "values": [250, 500]},
    "size": {
        "points": {
            "small": {"model.hidden_size": 64, "model.intermediate_size": 192},
            "large": {"model.hidden_size": 128},
        }
    },
}


def test_points_are_the_product_of_the_axes():
    study = swept({"axes": AXES})
    assert list(study.points()) == [
        *("steps-250_size-small", "steps-250_size-large"),
        *("steps-500_size-small", "steps-500_size-large"),
    ]
    models = [point.model for point in study.points().values()]
    assert [model.max_steps for model in models] == [250, 250, 500, 500]
    assert [model.hidden_size for model in models] == [64, 128, 64, 128]
    assert models[0].intermediate_size == 192 and models[1].intermediate_size == 384
    assert study.sweep.all_points()[2].values == {"steps": 500, "size": "small"}


def test_points_may_be_listed():
    points = {"short": {"model.max_steps": 250}, "silent": {"methods.grpo.training.beta": 0.1}}
    study = swept({"points": points})
    short, silent = study.points().values()
    assert list(study.points()) == ["short", "silent"]
    assert short.model.max_steps == 250 and silent.model == study.model
    assert silent.train_job("grpo", 0).training.beta == 0.1
    assert silent.train_job("thinktuning", 0).training.beta == 0.0
    assert study.sweep.all_points()[0].values == {
        "model.max_steps": 250,
        "methods.grpo.training.beta": None,
    }


def test_a_point_is_a_study_of_its_own():
    """It is the study that has these keys in its file."""
    (point,) = swept({"points": {"short": {"model.max_steps": 250}}}).points().values()
    alone = parse_study(edited("model.max_steps", 250), "study.yaml")
    assert point.model_dump() == alone.model_dump()


def test_a_study_without_a_sweep_is_its_only_point():
    study = parse_study(DEFAULT, "study.yaml")
    assert study.points() == {"": study}
    (found,) = homes(study.points()).values()
    assert elsewhere(found, "") == {}
    assert "elsewhere" not in study.compare_job().model_dump()


def test_the_printed_sweep_reads_back_as_the_same():
    study = swept({"axes": AXES, "figure": {"x": "steps"}})
    again = parse_study(yaml.safe_load(resolved_yaml(study)), "printed")
    assert again == study and again.points() == study.points()


def test_a_section_may_be_replaced_or_removed():
    other = {"source": "path", "path": "somewhere"}
    warmup = {"max_steps": 1, "learning_rate": 1e-3, "batch_size": 1, "max_length": 64}
    points = {"given": {"model": other}, "cold": {"warmup": None}}
    given_model, cold = swept({"points": points}, warmup=warmup).points().values()
    assert given_model.model.path == "somewhere" and given_model.warmup
    assert cold.warmup is None


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *[(0.1, "0.1"), (1e-05, "1e-05"), ("1e-4", "1e-4"), (1e16, "1e16"), (-2, "-2")],
        *[(True, "true"), (None, "null"), ("wrong_first", "wrong_first"), ("a/B c", "a-b-c")],
    ],
)
def test_names_of_values(value, name):
    assert value_name(value) == name


@given(
    st.lists(
        st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()),
        min_size=1,
    ),
    st.sampled_from(["a", "b_1"]),
)
def test_names_of_points_are_names_of_directories(values, axis):
    try:
        sweep = SweepConfig(axes={axis: AxisConfig(key="training.beta", values=values)})
    except ValueError as error:
        assert "several points are called" in str(error)
        return
    names = [point.name for point in sweep.all_points()]
    assert len(set(names)) == len(values)
    assert all(name.isascii() and "/" not in name and name.startswith(f"{axis}-") for name in names)


def test_nested():
    assert nested({"a.b.c": 1, "a.b.d": 2, "e": {"f": 3}}) == {
        "a": {"b": {"c": 1, "d": 2}},
        "e": {"f": 3},
    }


STEPS = {"key": "model.max_steps", "values": [250, 500]}


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        (
            {"points": {"short": {"model.max_stepz": 5}}},
            "sweep, point short: model.max_stepz: unknown key; did you mean `max_steps`?",
        ),
        (
            {"points": {"short": {"training.max_steps": 81}}},
            "sweep, point short: training: max_steps = 81 is not a multiple of the 2 optimizer"
            " steps of a rollout batch: the last one would be used in part, and not recorded; take"
            " 82",
        ),
        (
            {"points": {"short": {"methods.gpro.training.beta": 0.1}}},
            "sweep, point short: methods.gpro.training.beta: 'gpro' is not among methods",
        ),
        (
            {"points": {"other": {"tasks.sums.num_samples": 5}}},
            "sweep: points.other: cannot change 'tasks.sums.num_samples'; a sweep changes keys of"
            " data, model,",
        ),
        (
            {"points": {"other": {"methods.grpo.label": "G"}}},
            "sweep: points.other: cannot change 'methods.grpo.label'; a sweep changes keys of",
        ),
        (
            {"points": {"other": {"model.": 1}}},
            "sweep: points.other: cannot change 'model.'; a sweep changes keys of",
        ),
        (
            {"points": {"other": {"model": {}, "model.max_steps": 1}}},
            "sweep: points.other: sets model and model.max_steps, one of which contains the other",
        ),
        (
            {"points": {"tables": {}}},
            "sweep: point tables: results/tables/ is a directory of every study; rename it",
        ),
        ({}, "sweep: needs either axes, whose product is swept, or points; give one"),
        (
            {"axes": {"steps": {"key": "model.max_steps"}}},
            "sweep.axes.steps: an axis has either a key and its values,",
        ),
        (
            {"axes": {"steps": {"key": "model.max_steps", "values": [[1], [2]]}}},
            "sweep.axes.steps: value [1] has no name; name the values: {NAME: VALUE}",
        ),
        (
            {"axes": {"steps": {"key": "model.max_steps", "values": [1, 1]}}},
            "sweep: several points are called steps-1; list each value once, or name the values",
        ),
        ({"axes": {"gap": STEPS}}, "sweep: axes.gap: figure.x: gap is no axis; rename this one"),
        ({"axes": {"point": STEPS}}, "sweep: axes.point: figure.x: point is no axis; rename"),
        (
            {"axes": {"a": STEPS}, "figure": {"xscale": "log"}},
            "sweep.figure.xscale is log, but x is None: name an axis or measured.NAME as x, or",
        ),
        (
            {
                "axes": {"beta": {"key": "training.beta", "values": [0.0, 0.1]}},
                "figure": {"x": "beta", "xscale": "log"},
            },
            "sweep.figure.xscale is log, but beta is 0.0 at a point; remove it",
        ),
        (
            {"axes": {"a": STEPS}, "figure": {"x": "point", "join": True}},
            "sweep.figure.join is given, but x is point: remove one of the two",
        ),
        (
            {"axes": {"a": STEPS, "b": STEPS}},
            "sweep: axes a and b both set model.max_steps; merge them into one axis with points",
        ),
        (
            {"axes": {"a": STEPS}, "gap": {"asked": "grpo", "plain": "zero_shot"}},
            "sweep.gap names ['grpo'], not among untrained methods ['zero_shot',",
        ),
        (
            {"axes": {"a": STEPS}, "figure": {"x": "b"}},
            "sweep.figure.x is 'b', but it has no number at some point; choose one of ['gap',",
        ),
        (
            {"axes": {"a": STEPS}, "figure": {"baseline": "gpro"}},
            "sweep.figure.baseline names ['gpro'], not among methods",
        ),
        (
            {"axes": {"a": STEPS}, "figure": {"baseline": "grpo", "methods": ["grpo"]}},
            "sweep.figure.methods has the baseline 'grpo', whose gain over itself",
        ),
    ],
)
def test_what_is_refused(sweep, said):
    assert refused(sweep).startswith(said)


def test_points_share_what_is_the_same_back_to_the_questions():
    rates = {"key": "training.learning_rate", "values": [3e-4, 1e-3]}
    methods = copy.deepcopy(DEFAULT["methods"])
    methods["grpo"] |= {"training": {"learning_rate": 1e-4}}
    points = swept({"axes": {"steps": STEPS, "rate": rates}}, methods=methods).points()
    first, second, third, fourth = points
    found = homes(points)
    assert set(found[first].values()) == {first}
    assert {key for key, home in found[second].items() if home == second} == {
        f"{kind}/thinktuning/seed{seed}" for kind in ("runs", "eval") for seed in (0, 1, 2)
    }
    assert found[third]["data"] == found[third]["data/exemplars"] == first
    assert found[third]["models/base"] == found[third]["eval/zero_shot/seed0"] == third
    assert found[fourth]["runs/grpo/seed1"] == third
    assert elsewhere(found[fourth], fourth)["models/base"] == f"../{third}/models/base"


UNTRAINED = {"eval/zero_shot", "eval/zero_shot_reflect"}
GRPO, THINKTUNING = ({f"{kind}/{name}" for kind in ("runs", "eval")} for name in TRAINED)
OF_BASE = {"models/base"} | UNTRAINED | GRPO | THINKTUNING


@pytest.mark.parametrize(
    ("key", "value", "own"),
    [
        ("data.ngram", 9, OF_BASE | {"data", "data/exemplars"}),
        ("model.seed", 1, OF_BASE),
        # a method with a suffix of its own keeps it
        ("prompt.suffix", " Well?", GRPO | THINKTUNING | {"eval/zero_shot"}),
        ("methods.zero_shot.prompt.suffix", " Well?", {"eval/zero_shot"}),
        ("training.beta", 0.1, GRPO | THINKTUNING),
        ("methods.grpo.training.beta", 0.1, GRPO),
        ("teacher.max_completion_length", 63, THINKTUNING),  # GRPO has no teacher
        ("algorithm.keep", "right", THINKTUNING),
    ],
)
def test_what_a_key_changes(key, value, own):
    points = swept({"points": {"a": {}, "b": {key: value}}}).points()
    found = homes(points)["b"].items()
    assert {name.split("/seed")[0] for name, home in found if home == "b"} == own


def test_a_training_is_shared_only_if_the_runs_behind_its_budget_are():
    budget = {"max_steps": 400, "budget": {"as": "thinktuning"}}
    methods = DEFAULT["methods"] | {
        "grpo_tokens": {"algorithm": {"type": "grpo"}, "training": budget}
    }
    key = "methods.thinktuning.training.learning_rate"
    study = swept({"axes": {"rate": {"key": key, "values": [1e-4, 2e-4]}}}, methods=methods)
    _, second = homes(study.points()).values()
    home = {name: second[f"runs/{name}/seed0"] for name in ("grpo", "thinktuning", "grpo_tokens")}
    own = dict.fromkeys(("thinktuning", "grpo_tokens"), "rate-0.0002")
    assert home == {"grpo": "rate-0.0001"} | own


def test_the_job_of_a_sweep_has_its_defaults():
    study = swept({"axes": {"steps": STEPS}})
    job = sweep_job(study, {"steps-250": {}, "steps-500": {"data": "../steps-250/data"}})
    assert (job.x, job.baseline, job.methods) == ("gap", "zero_shot", ["grpo", "thinktuning"])
    assert (job.gap.asked, job.gap.plain) == ("zero_shot_reflect", "zero_shot")
    assert job.at("steps-500").elsewhere == {"data": "../steps-250/data"}
    assert job.at("steps-250").study == "default/steps-250"
    assert type(job).model_validate_json(job.model_dump_json()) == job
    assert not {"xscale", "join"} & job.model_dump().keys()  # which a study of before does not have
    methods = {name: DEFAULT["methods"][name] for name in ("zero_shot", "grpo")}
    job = sweep_job(swept({"axes": {"steps": STEPS}}, methods=methods), {})
    assert (job.x, job.gap, job.baseline) == ("steps", None, "zero_shot")
