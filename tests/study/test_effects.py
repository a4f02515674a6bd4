"""A method that would not be what it says is refused: overrides in vain, one label for two."""

import pytest
from edited_study import DEFAULT, edited, message, refusal

from thinktuning.study.reading import parse_study


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ({"training": {"max_steps": 40}}, "training"),
        ({"algorithm": {"type": "sft"}}, "algorithm"),
        ({"teacher": {"prompt": "paper"}, "prompt": {"suffix": " Check."}}, "teacher"),
    ],
)
def test_an_untrained_method_overrides_no_training(override, key):
    expected = f"methods.base.{key} has no effect: train is false; remove it"
    assert refusal("methods.base", {"train": False} | override) == expected
    given = {"train": False, "prompt": {"suffix": " Check."}, key: {}}
    assert parse_study(edited("methods.base", given), "study.yaml")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            {"algorithm": {"type": "grpo"}, "teacher": {"prompt": "paper"}},
            "teacher has no effect: algorithm grpo asks no teacher",
        ),
        (
            {"algorithm": {"type": "sdpo"}, "teacher": {"batch_size": 4}},
            "teacher has no effect: algorithm sdpo with context: prompt asks no teacher",
        ),
        *(
            (
                {"algorithm": {"type": kind}, "training": {key: value}},
                f"training.{key} has no effect: algorithm {kind} has a loss of its own",
            )
            for kind in ("sft", "rft", "dpo", "sdpo")
            for key, value in {"epsilon": 0.1, "delta": None, "scale_rewards": "none"}.items()
        ),
        (
            {"algorithm": {"schedule": {"kind": "constant", "decay_fraction": 0.3}}},
            "algorithm.schedule.decay_fraction has no effect: schedule.kind is constant",
        ),
        (
            {"algorithm": {"aas": {"constant": 0.5}}},
            "algorithm.aas.constant has no effect: aas.variant released does not read it",
        ),
        (
            {"algorithm": {"aas": {"variant": "paper", "constant": 0.5}}},
            "algorithm.aas.constant has no effect: aas.variant paper does not read it",
        ),
        (
            {"algorithm": {"aas": {"variant": "off", "bound": 0.1}}},
            "algorithm.aas.bound has no effect: aas.variant off does not read it",
        ),
    ],
)
def test_a_trained_method_overrides_what_it_reads(override, expected):
    assert refusal("methods.mine", override) == f"methods.mine.{expected}; remove it"


@pytest.mark.parametrize(
    "override",
    [
        {"algorithm": {"type": "sdpo", "context": "feedback"}, "teacher": {"batch_size": 4}},
        {"algorithm": {"schedule": {"kind": "constant", "init": 0.1, "min": 0.0}}},
        {"algorithm": {"aas": {"variant": "constant", "constant": 0.5, "probability_floor": 0.1}}},
        {"algorithm": {"aas": {"variant": "paper", "bound": 0.1, "advantage_range": 2.0}}},
    ],
)
def test_what_a_method_reads_or_inherits_is_taken(override):
    assert parse_study(edited("methods.mine", override), "study.yaml")


@pytest.mark.parametrize("label", ["GRPO", "thinktuning"])
def test_two_methods_have_two_labels(label):
    other = "grpo" if label == "GRPO" else label
    expected = f"methods.{other} and methods.mine have one label, {label!r}: tables and figures"
    assert refusal("methods.mine", {"label": label}).startswith(expected)


def test_a_constant_learning_rate_has_no_warm_up():
    """transformers ignores the steps, which an extending study has from the default one."""
    constant = {"lr_scheduler_type": "constant"}
    expected = "methods.grpo.training: warmup_steps = 10 has no effect on lr_scheduler_type = const"
    assert refusal("methods.grpo.training", constant).startswith(expected)
    assert parse_study(edited("methods.grpo.training", constant | {"warmup_steps": 0}), "test")


BOTH = {"reward": ["last_box", "whole_text"]}


@pytest.mark.parametrize(
    ("training", "algorithm", "expected"),
    [
        ({}, {"type": "rft", "min_reward": 2}, "algorithm.min_reward = 2, but its rewards are fro"),
        (BOTH | {"right_from": 3}, {}, "training.right_from = 3, but its rewards are from 0 to 2"),
        (BOTH | {"right_from": 0}, {}, "training.right_from = 0, but its rewards are from 0 to 2"),
        (BOTH | {"reward_weights": [0.5, 0.25]}, {"type": "rft"}, "algorithm.min_reward = 1, but"),
        (BOTH | {"reward_weights": [1, -1], "right_from": -1}, {}, "are from -1 to 1, so that eve"),
    ],
)
def test_a_threshold_lies_within_the_rewards(training, algorithm, expected):
    override = {"training": training, "algorithm": algorithm}
    assert expected in refusal("methods.mine", override)
    right = {"training": training | ({"right_from": 0.5} if training else {})}
    if algorithm:
        right["algorithm"] = {"type": "rft", "min_reward": 0.5}
    assert parse_study(edited("methods.mine", right), "test")


@pytest.mark.parametrize("name", ["mode", "clip_max", "clip_min"])
def test_a_correction_that_is_off_has_no_settings(name):
    key, value = f"importance_sampling_{name}", "token_mask" if name == "mode" else 0.5
    off = {"importance_sampling_correction": False, key: value}
    expected = f"methods.grpo.training.vllm: {key} = {value} has no effect with importance_sampling"
    assert refusal("methods.grpo.training", {"vllm": off}).startswith(expected)
    assert parse_study(edited("methods.grpo.training", {"vllm": {key: value}}), "test")


@pytest.mark.parametrize("end", ["_p", "_ci_low", "_p_holm", "_seed_values"])
def test_a_column_of_the_tables_is_of_one_baseline(end):
    """`diff_grpo_p` would be the p-value of GRPO, and the difference from a method grpo_p."""
    study = edited(f"methods.grpo{end}", {"algorithm": {"type": "grpo"}})
    assert parse_study(study, "test")  # no baseline
    expected = f"the tables' column diff_grpo{end} would be of both grpo and grpo{end}; rename one"
    study["comparison"] = {"baselines": ["grpo", f"grpo{end}"]}
    assert f"comparison.baselines: {expected}" in message(study)
    study["comparison"] = {"baselines": ["grpo"]}
    study["sweep"] = {"points": {"a": {}}, "figure": {"baseline": f"grpo{end}"}}
    assert expected in message(study)


@pytest.mark.parametrize(
    ("name", "override", "label"),
    [
        ("thinktuning", {"algorithm": {"type": "rft"}}, "(algorithm: rft)"),
        ("mine", {"label": "ThinkTuning ", "algorithm": {"type": "grpo"}}, " (algorithm: grpo)"),
        ("mine", {"label": "Critique-GRPO"}, "Critique-GRPO (algorithm: thinktuning)"),
        ("critique_grpo", {"algorithm": {"type": "critique_grpo"}}, "critique_grpo"),
        ("grpo", {"label": "GRPO, longer"}, "GRPO, longer"),
        ("zero_shot", {"label": "GRPO of before"}, "GRPO of before"),
    ],
)
def test_a_method_of_another_algorithms_name_says_which_it_is(name, override, label):
    override = DEFAULT["methods"].get(name, {}) | override
    shown = parse_study(edited(f"methods.{name}", override), "test").compare_job().methods
    assert shown[name].endswith(label)
    assert [each for each in shown if "algorithm:" in shown[each]] in ([], [name])
