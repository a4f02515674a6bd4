"""What a job does not read is refused where a method sets it, and is no difference of two jobs."""

import copy

import pytest
from edited_study import DEFAULT, OTHER, edited, message, refusal

from thinktuning.study.reading import parse_study

SERVER = {"backend": "openai", "openai": {"base_url": "http://localhost:1/v1", "model": "m"}}
ONE_STEP = "a rollout batch has one optimizer step, in which the ratio is 1"


def of_method(override, **training):
    """Return the default study with a method of its own, and keys of `training` changed."""
    study = edited("methods.mine", {"label": "mine"} | override)
    study["training"] |= training
    return study


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        *(
            (
                {"algorithm": {"type": kind}, "training": {"reward": "whole_text"}},
                f"training.reward has no effect: the loss of algorithm {kind} does not depend on",
            )
            for kind in ("sft", "sdpo")
        ),
        (
            {"algorithm": {"type": "sdpo", "max_untaught_batches": 9}},
            "algorithm.max_untaught_batches has no effect: algorithm sdpo with context: prompt",
        ),
        (
            {"algorithm": {"type": "dpo", "keep": "right"}},
            "algorithm.keep has no effect: the spliced text of a pair is right",
        ),
        (
            {"algorithm": {"type": "rft", "keep": "right"}},
            "algorithm.keep has no effect: rft with count: spliced imitates right completions only",
        ),
        (
            {"algorithm": {"aas": {"variant": "off"}, "mask": "teacher"}},
            "algorithm.mask has no effect: aas.variant off does not read it",
        ),
        (
            {"algorithm": {"corruption": {"miss_rate": 0.5, "doubt": "Hm: "}}},
            "algorithm.corruption.doubt has no effect: corruption.false_alarm_rate is 0",
        ),
        (
            {"teacher": SERVER | {"batch_size": 3}},
            "teacher.batch_size has no effect: backend openai asks openai.concurrency at a time",
        ),
        (
            {"algorithm": {"type": "grpo"}, "teacher": SERVER},
            "teacher has no effect: algorithm grpo asks no teacher",
        ),
        *(
            (
                {"training": {f"adam_{key}": 0.5, "extra": {"optim": name}}},
                f"training.adam_{key} has no effect: optim = {name} does not read it",
            )
            for key in ("beta1", "beta2")
            for name in ("adafactor", "sgd", "rmsprop", "adagrad")
        ),
        (
            {
                "training": {
                    "adam_beta1": 0.5,
                    "extra": {"optim": "ademamix", "optim_args": "beta1=0.8"},
                }
            },
            "training.adam_beta1 has no effect: extra.optim_args has beta1",
        ),
        (
            {
                "algorithm": {"type": "grpo"},
                "training": {"loss_type": "sapo", "delta": None, "epsilon": 0.3},
            },
            "training.epsilon has no effect: loss_type sapo has no clip",
        ),
        (
            {
                "algorithm": {"type": "grpo"},
                "training": {
                    "loss_type": "cispo",
                    "delta": None,
                    "epsilon": 0.3,
                    "extra": {"epsilon_high": 5.0},
                },
            },
            "training.epsilon has no effect: loss_type cispo clips above only, at extra.epsilon_hi",
        ),
    ],
)
def test_an_override_that_is_not_read_is_refused(override, expected):
    assert refusal("methods.mine", override).startswith(f"methods.mine.{expected}")


@pytest.mark.parametrize(
    ("override", "training"),
    [
        ({"algorithm": {"type": "sft", "select": "wrong_first"}}, {"reward": "whole_text"}),
        ({"algorithm": {"type": "sft", "keep": "right"}}, {"reward": "whole_text"}),
        (
            {"algorithm": {"type": "sft", "corruption": {"miss_rate": 1}}},
            {"reward": "whole_text"},
        ),
        ({"algorithm": {"type": "sft"}}, {"reward": "whole_text", "max_resamplings": 2}),
        ({"algorithm": {"type": "rft"}}, {"reward": "whole_text"}),
        ({"algorithm": {"type": "dpo"}}, {"reward": "whole_text"}),
        ({"algorithm": {"type": "rft", "count": "all", "keep": "right"}}, {}),
        ({"algorithm": {"type": "rft", "keep": "right"}}, {"budget": {"scored_tokens": 10**6}}),
        ({"algorithm": {"type": "dpo", "keep": "right"}}, {"budget": {"scored_tokens": 10**6}}),
        ({"algorithm": {"aas": {"variant": "paper"}, "mask": "teacher"}}, {}),
        ({"teacher": {"batch_size": 3}}, {}),
        ({}, {"adam_beta2": 0.5, "extra": {"optim": "lion_32bit"}}),
        ({"algorithm": {"type": "grpo"}}, {"loss_type": "cispo", "delta": None, "epsilon": 0.3}),
        ({}, {"epsilon": 0.3, "delta": None}),
    ],
)
def test_an_override_that_is_read_is_taken(override, training):
    assert parse_study(of_method(override | {"training": training}), "test")


@pytest.mark.parametrize("kind", ["thinktuning", "grpo", "luffy", "critique_grpo"])
@pytest.mark.parametrize(
    ("clip", "key"),
    [
        ({"epsilon": 0.9}, "epsilon"),
        ({"delta": None}, "delta"),
        ({"delta": 2.0}, "delta"),
        ({"extra": {"epsilon_high": 0.9}}, "extra.epsilon_high"),
    ],
)
def test_a_clip_does_nothing_to_a_ratio_of_one(kind, clip, key):
    override = {"algorithm": {"type": kind}, "training": clip}
    expected = f"methods.mine.training.{key} has no effect: {ONE_STEP}"
    assert expected in message(of_method(override, steps_per_generation=1))
    accumulated = {"steps_per_generation": 2, "gradient_accumulation_steps": 2}
    assert expected in message(of_method(override, **accumulated))
    assert parse_study(of_method(override), "test")  # two steps
    again = of_method(override, steps_per_generation=1, num_iterations=2)
    assert parse_study(again, "test")
    corrected = of_method(override, steps_per_generation=1, vllm={})
    assert parse_study(corrected, "test")
    off = {"importance_sampling_correction": False}
    assert expected in message(of_method(override, steps_per_generation=1, vllm=off))


def test_an_override_without_which_a_method_is_refused_is_taken():
    """Another loss than TRL's cannot honor `sapo`, though it does not read `loss_type` either."""
    study = copy.deepcopy(DEFAULT)
    study["training"] |= {"loss_type": "sapo", "delta": None}
    study["methods"]["thinktuning"] = {"algorithm": {"type": "grpo"}} | OTHER
    override = {"algorithm": {"type": "sft"}, "training": {"loss_type": "bnpo"}}
    study["methods"]["sft"] = override
    assert parse_study(study, "test")
    override["training"]["delta"] = 3.0
    assert "methods.sft.training.delta has no effect" in message(study)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"reward": ["last_box", "whole_text"]}, {"reward": ["whole_text", "last_box"]}),
        (
            {"reward": ["last_box", "whole_text"], "reward_weights": [1, 0.5]},
            {"reward": ["whole_text", "last_box"], "reward_weights": [0.5, 1]},
        ),
    ],
)
def test_methods_that_are_written_differently_are_the_same(first, second):
    study = of_method({"training": first | {"right_from": 1}})
    study["methods"]["other"] = {"training": second | {"right_from": 1}}
    assert "methods.mine and methods.other do the same" in message(study)


@pytest.mark.parametrize(
    "algorithm",
    [
        {"type": "sdpo", "template": "{question} Check your answer."},
        {"type": "sdpo", "schedule": {"cutoff": None}},
        {"type": "sdpo", "schedule": {"cutoff": 0.01}},
    ],
)
def test_algorithms_that_are_written_differently_are_the_same(algorithm):
    study = of_method({"algorithm": {"type": "sdpo", "schedule": {"cutoff": 0.02}}})
    schedule = {"cutoff": 0.03} | algorithm.get("schedule", {})
    study["methods"]["other"] = {"algorithm": algorithm | {"schedule": schedule}}
    assert "methods.mine and methods.other do the same" in message(study)
    study["methods"]["other"]["algorithm"]["schedule"]["cutoff"] = 0.05  # the least rate: reached
    assert parse_study(study, "test")
