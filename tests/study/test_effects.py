"""A method that would not be what it says is refused: overrides in vain, two that are the same."""

import pytest
from edited_study import DEFAULT, OTHER, edited, message, refusal

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
            for key, value in {
                "epsilon": 0.1,
                "delta": None,
                "scale_rewards": "none",
                "loss_type": "grpo",
            }.items()
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
    expected = f"methods.{other} and methods.mine have one label, {label!r}: tables and"
    assert refusal("methods.mine", {"label": label}).startswith(expected)


@pytest.mark.parametrize("label", ["grpo", "\uff27RPO", "GrPO"])
def test_labels_differ_in_more_than_case_and_width(label):
    expected = f"methods.grpo and methods.mine have one label, {label!r} (but for case, width or sp"
    assert refusal("methods.mine", OTHER | {"label": label}).startswith(expected)


def test_labels_differ_in_more_than_spaces():
    study = edited("methods.mine", OTHER | {"label": "wide  clip"})
    assert parse_study(study, "test")
    study["methods"]["other"] = {"label": "Wide clip", "training": {"learning_rate": 2.0e-3}}
    assert "methods.mine and methods.other have one label, 'Wide clip' (but for" in message(study)


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ("", "is blank; write one, or remove it to show the method's name"),
        (" \u3000", "is blank"),
        ("mine ", "has spaces around it; write 'mine'"),
        ("ThinkTuning\nwith a wide clip", "has the character U+000A, which is a line break or is"),
        ("mi\u200bne", "has the character U+200B"),
        ("\u202emine", "has the character U+202E"),
        ("mine\u2028", "has the character U+2028"),
    ],
)
def test_a_label_is_shown_as_it_is(label, reason):
    found = refusal("methods.mine", OTHER | {"label": label})
    assert found.startswith(f"methods.mine.label: {reason}")


def test_a_constant_learning_rate_has_no_warm_up():
    """transformers ignores the steps, which an extending study has from the default one."""
    constant = {"lr_scheduler_type": "constant"}
    expected = "methods.grpo.training: warmup_steps = 10 has no effect on lr_scheduler_type = const"
    assert refusal("methods.grpo.training", constant).startswith(expected)
    assert parse_study(edited("methods.grpo.training", constant | {"warmup_steps": 0}), "test")


@pytest.mark.parametrize(
    ("training", "above"),
    [
        ({"delta": 0.5}, "delta = 0.5 is not above 1 + epsilon = 1.2: TRL clips"),
        ({"delta": 1.2}, "delta = 1.2 is not above 1 + epsilon = 1.2: TRL clips"),
        ({"epsilon": 2.5}, "delta = 3 is not above 1 + epsilon = 3.5: TRL clips"),
        (
            {"delta": 1.25, "extra": {"epsilon_high": 0.28}},
            "delta = 1.25 is not above 1 + extra.epsilon_high = 1.28: TRL clips",
        ),
    ],
)
def test_the_second_clip_is_above_the_first(training, above):
    assert refusal("methods.grpo.training", training).startswith(f"methods.grpo.training: {above}")
    for delta in (4.0, None):
        assert parse_study(edited("methods.grpo.training", training | {"delta": delta}), "test")


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


@pytest.mark.parametrize(
    ("other", "override"),
    [
        ("thinktuning", {}),
        ("thinktuning", {"label": "mine", "algorithm": {"schedule": {"init": 0.4}}}),
        ("thinktuning", {"training": {"loss_type": DEFAULT["training"]["loss_type"]}}),
        ("grpo", DEFAULT["methods"]["grpo"] | {"label": "mine"}),
        ("zero_shot", {"train": False}),
        ("zero_shot", {"train": False, "prompt": {"system": None}}),
        ("zero_shot", {"train": False, "prompt": {"system": ""}}),
        ("thinktuning", {"training": {"reward": ["last_box"]}}),
        ("thinktuning", {"training": {"extra": {"epsilon_high": 0.2}}}),
        ("thinktuning", {"training": {"extra": {"optim": "adamw_torch_fused", "top_k": 0}}}),
        ("thinktuning", {"training": {"extra": {"min_p": 0}}}),
        ("thinktuning", {"training": {"rollouts_per_step": 3, "save_minutes": 5}}),
        ("thinktuning", {"algorithm": {"corruption": {"miss_rate": 0}}}),
    ],
)
def test_two_methods_do_not_do_the_same(other, override):
    expected = f"methods.{other} and methods.mine do the same: what they set is what the study has"
    assert refusal("methods.mine", override).startswith(expected)


def test_two_methods_are_the_same_at_some_points_only():
    study = edited("methods.mine", {"training": {"learning_rate": 4.0e-3}})
    key = "methods.mine.training.learning_rate"
    study["training"]["learning_rate"] = 4.0e-3
    study["sweep"] = {"axes": {"rate": {"key": key, "values": [4.0e-3, 1.0e-3]}}}
    assert parse_study(study, "study.yaml")
    study["sweep"]["axes"]["rate"] = {"key": "training.learning_rate", "values": [4.0e-3, 1.0e-3]}
    study["methods"]["mine"] = {"label": "mine"}
    assert "methods.thinktuning and methods.mine do the same" in message(study)


@pytest.mark.parametrize("name", ["mode", "clip_max", "clip_min"])
def test_a_correction_that_is_off_has_no_settings(name):
    key, value = f"importance_sampling_{name}", "token_mask" if name == "mode" else 0.5
    off = {"importance_sampling_correction": False, key: value}
    expected = f"methods.grpo.training.vllm: {key} = {value} has no effect with importance_sampling"
    assert refusal("methods.grpo.training", {"vllm": off}).startswith(expected)
    assert parse_study(edited("methods.grpo.training", {"vllm": {key: value}}), "test")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpu_memory_utilization", 0.8),
        ("tensor_parallel_size", 2),
        ("max_model_length", 512),
        ("enable_sleep_mode", True),
    ],
)
def test_keys_of_a_colocated_engine_do_nothing_to_a_server(key, value):
    server = {"mode": "server", "server_base_url": "http://localhost:8000"}
    expected = f"training.vllm: {key} = {value} has no effect with mode: server; give it to"
    assert refusal("training.vllm", server | {key: value}).startswith(expected)
    assert parse_study(edited("training.vllm", server), "test")
    assert parse_study(edited("training.vllm", {key: value}), "test")


@pytest.mark.parametrize("end", ["_p", "_ci_low", "_p_holm", "_seed_values"])
def test_a_column_of_the_tables_is_of_one_baseline(end):
    """`diff_grpo_p` would be the p-value of GRPO, and the difference from a method grpo_p."""
    study = edited(f"methods.grpo{end}", DEFAULT["methods"]["grpo"] | OTHER | {"label": None})
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
        (
            "mine",
            OTHER | {"label": "LUFFY", "algorithm": {"type": "grpo"}},
            " (algorithm: grpo)",
        ),
        ("mine", OTHER | {"label": "Critique-GRPO"}, "Critique-GRPO (algorithm: thinktuning)"),
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
