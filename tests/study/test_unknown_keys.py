"""Unknown keys are refused, with their path and a suggestion."""

import pytest
from edited_study import HUB_DATA, edited, message, refusal

from thinktuning.io.errors import FORMER


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("prompts", {}, "prompts: unknown key; did you mean `prompt`?"),
        ("training.max_stepz", 1, "training.max_stepz: unknown key; did you mean `max_steps`?"),
        (
            "algorithm.schedule.innit",
            0.1,
            "algorithm.schedule.innit: unknown key; did you mean `init`?",
        ),
        ("data.train.sise", 1, "data.train.sise: unknown key; did you mean `size`?"),
        ("model.hiden_size", 1, "model.hiden_size: unknown key; did you mean `hidden_size`?"),
        (
            "tasks.sums.data.sead",
            1,
            "tasks.sums.data.sead: unknown key; did you mean `seed`?",
        ),
        (
            "tasks.sums.num_sample",
            1,
            "tasks.sums.num_sample: unknown key; did you mean `num_samples`?",
        ),
        (
            "methods.grpo.trainin",
            {},
            "methods.grpo.trainin: unknown key; did you mean `training`?",
        ),
        (
            "methods.grpo.training",
            {"learning_rat": 1e-5},
            "methods.grpo.training.learning_rat: unknown key; did you mean `learning_rate`?",
        ),
        (
            "methods.thinktuning.algorithm",
            {"schedule": {"kinds": "linear"}},
            "methods.thinktuning.algorithm.schedule.kinds: unknown key; did you mean `kind`?",
        ),
        (
            "methods.grpo.algorithm",
            {"type": "grpo", "select": "random"},
            "methods.grpo.algorithm.select: unknown key; known keys: type",
        ),
        # renamed and removed keys
        ("guidance", {}, f"guidance: unknown key; {FORMER['guidance']}"),
        (
            "methods.grpo.guidance",
            {"enabled": False},
            f"methods.grpo.guidance: unknown key; {FORMER['guidance']}",
        ),
        ("teacher.behaviours", {}, "teacher.behaviours: unknown key; it is now `behaviors`"),
        ("resources.base", {}, "resources.base: unknown key; it is now `model`"),
        (
            "resources.train.thread",
            1,
            "resources.train.thread: unknown key; did you mean `threads`?",
        ),
        (
            "comparison.qqq",
            1,
            "comparison.qqq: unknown key; known keys: baselines, confidence, published, expected",
        ),
        # names that are also keys or sources
        (
            "methods.label",
            {"training": {"max_step": 1}},
            "methods.label.training.max_step: unknown key; did you mean `max_steps`?",
        ),
        (
            "methods.train",
            {"lable": "x"},
            "methods.train.lable: unknown key; did you mean `label`?",
        ),
        (
            "tasks.hub",
            {"lm_eval": "thinktuning_gsm8k", "num_samples": 1, "data": HUB_DATA | {"splits": "x"}},
            "tasks.hub.data.splits: unknown key; did you mean `split`?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_a_suggestion(path, value, expected):
    assert refusal(path, value) == expected


def test_every_error_is_listed():
    study = edited("training.max_stepz", 1)
    del study["prompt"]
    study["seeds"] = "0"
    lines = message(study).split("\n  ")[1:]
    assert sorted(lines) == [
        "prompt: is required and missing",
        "seeds: Input should be a valid list (found '0')",
        "training.max_stepz: unknown key; did you mean `max_steps`?",
    ]
