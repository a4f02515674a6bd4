"""Values in `training.extra`: each has a type, and what nothing would read is refused."""

import inspect
import re

import pytest
from edited_study import DEFAULT, edited, refusal
from transformers import GenerationConfig, get_scheduler, trainer_optimizer

from thinktuning.study.mappings import SAMPLING, SCHEDULES
from thinktuning.study.optimizers import ARGUMENTS
from thinktuning.study.reading import parse_study

POLYNOMIAL = {"lr_scheduler_type": "polynomial"}


def extra_of(extra, **training):
    """Return the options, as the study's section has them."""
    values = edited("training", DEFAULT["training"] | training | {"extra": extra})
    return parse_study(values, "study.yaml").train_job("grpo", 0).training.extra


def refused(extra, **training):
    """Return the line that refuses the study's options."""
    line = refusal("training", DEFAULT["training"] | training | {"extra": extra})
    return line.removeprefix("training.extra.")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"typical_p": "9e-1"}, {"typical_p": 0.9}),
        ({"min_new_tokens": 3, "typical_p": None}, {"min_new_tokens": 3}),
        ({"bad_words_ids": [[1, 2]], "suppress_tokens": [3]},) * 2,
        (
            {"sequence_bias": [[[1], "-1e0"]], "exponential_decay_length_penalty": [9, 1.5]},
            {"sequence_bias": [[[1], -1.0]], "exponential_decay_length_penalty": [9, 1.5]},
        ),
    ],
)
def test_options_of_sampling_are_read_as_numbers(given, expected):
    found = extra_of({"generation_kwargs": given})["generation_kwargs"]
    assert found == expected
    GenerationConfig(**found).validate()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"min_new_tokens": "many"}, "min_new_tokens: Input should be a valid integer (found"),
        ({"min_new_tokens": 1000}, " min_new_tokens = 1000 is not below training.max_completion"),
        ({"no_repeat_ngram_size": "x"}, "no_repeat_ngram_size: Input should be a valid integer"),
        ({"suppress_tokens": 5}, "suppress_tokens: Input should be a valid list (found 5)"),
        ({"typical_p": float("nan")}, "typical_p: Input should be "),
        ({"typical_p": 1.0}, "typical_p: Input should be less than 1 (found 1.0)"),
        ({"top_h": 0}, "top_h: Input should be greater than 0"),
        ({"bad_words_ids": [1]}, "bad_words_ids: Input should be a valid list"),
        ({"sequence_bias": [[1, 2]]}, "sequence_bias: Input should be [TOKENS, BIAS]"),
        ({"exponential_decay_length_penalty": [1.5, 2]}, "exponential_decay_length_penalty: Input"),
        ({"remove_invalid_values": 1}, "remove_invalid_values: Input should be a valid boolean"),
    ],
    ids=str,
)  # fmt: skip
def test_other_values_of_sampling_are_refused_by_name(given, expected):
    line = refused({"generation_kwargs": given})
    assert line.startswith((f"generation_kwargs.{expected}", f"generation_kwargs:{expected}"))


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("polynomial", {"lr_end": "x"}, "lr_scheduler_kwargs.lr_end: Input should be a valid num"),
        ("polynomial", {"lr_end": 1.0}, "lr_scheduler_kwargs: lr_end = 1 is not below training.l"),
        ("cosine", {"num_cycles": "x"}, "lr_scheduler_kwargs.num_cycles: Input should be a valid"),
        ("cosine", {"num_cycles": None}, "lr_scheduler_kwargs: is empty; remove it (in a method"),
        ("inverse_sqrt", {"timescale": 0}, "lr_scheduler_kwargs.timescale: Input should be great"),
    ],
)
def test_values_of_a_schedule_are_refused_by_name(kind, given, expected):
    assert refused({"lr_scheduler_kwargs": given}, lr_scheduler_type=kind).startswith(expected)


def test_a_schedule_reads_numbers_as_the_study_does():
    found = extra_of({"lr_scheduler_kwargs": {"lr_end": "1e-7"}}, **POLYNOMIAL)
    assert found == {"lr_scheduler_kwargs": {"lr_end": 1e-7}}
    line = refusal("training", DEFAULT["training"] | POLYNOMIAL | {"learning_rate": 1e-8})
    assert "lr_end = 1e-07 is not below training.learning_rate = 1e-08" in line


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"torch_compile_mode": "bogus"}, "torch_compile_mode: Input should be 'default', 'redu"),
        ({"torch_compile_backend": "bogus"}, "torch_compile_backend: Input should be 'aot_eager'"),
        ({"torch_compile": False, "torch_compile_mode": "default"}, "torch_compile_mode: compiles"),
        ({"entropy_coef_min": 1, "entropy_coef_max": 0.5, "use_adaptive_entropy": True},
         "entropy_coef_min: the smallest, 1, is above the largest, 0.5; change one of the two"),
        ({"optim": "galore_adamw"}, "optim: galore_adamw needs optim_target_modules, e.g. all-li"),
        ({"optim": "galore_adamw", "optim_target_modules": "all-linear", "adam_epsilon": 1e-7},
         "adam_epsilon: has no effect on optim = galore_adamw"),
        ({"optim": "lion_32bit", "optim_args": "x=1"}, "optim_args: has no effect on optim = lion"),
        ({"optim": "paged_adamw_8bit", "optim_args": "x=1"}, "optim_args: has no effect on optim"),
        ({"optim": "sgd", "optim_args": "foo"}, "optim_args: should be NAME=VALUE,NAME=VALUE"),
        ({"optim": "sgd", "optim_args": "mom=1"}, "optim_args: optim = sgd does not read 'mom'; c"),
        ({"optim": "sgd", "optim_args": "momentum=x"}, "optim_args: momentum should be a finite n"),
        ({"optim": "sgd", "optim_args": "nesterov=on"}, "optim_args: nesterov should be true or f"),
        ({"optim": "stable_adamw", "optim_args": "kahan_sum=False"}, "optim_args: kahan_sum shoul"),
    ],
    ids=str,
)  # fmt: skip
def test_values_without_effect_are_refused(extra, expected):
    assert refused(extra).startswith(expected)


def test_checkpointing_reads_no_debug_if_it_is_reentrant():
    extra = {"gradient_checkpointing_kwargs": {"use_reentrant": True, "debug": True}}
    line = refused(extra, gradient_checkpointing=True)
    assert line == (
        "gradient_checkpointing_kwargs: debug has no effect with use_reentrant; remove it"
    )
    extra["gradient_checkpointing_kwargs"]["use_reentrant"] = False
    assert extra_of(extra, gradient_checkpointing=True) == extra


@pytest.mark.parametrize(
    "extra",
    [
        {"optim": "ademamix", "adam_epsilon": 1e-7, "optim_args": "beta3=0.999,t_alpha=100"},
        {"optim": "rmsprop", "optim_args": "alpha=0.9, centered=true"},
        {"optim": "apollo_adamw", "optim_args": "rank=8", "optim_target_modules": "all-linear"},
    ],
    ids=lambda extra: extra["optim"],
)
def test_what_an_optimizer_reads_is_taken(extra):
    assert extra_of(extra) == extra


def test_arguments_of_optimizers_are_those_that_transformers_reads():
    """By the names in its source; those left out are not read as they are written, or not at all.

    `weight_decay` is that of `training`, which every parameter's group has.
    """
    source = inspect.getsource(trainer_optimizer)
    read = set(re.findall(r"optim_args(?:\.get|\.pop)?[(\[]\"(\w+)\"", source))
    read |= set(re.findall(r"\"(\w+)\" in ctx\.optim_args", source))
    for names in re.findall(r"for key in \((.*?)\):", source):
        read |= set(re.findall(r"\w+", names))
    left_out = {"block_size", "weight_decay", "weight_lr_power", "r"}  # two of schedule_free_*
    assert {name for known in ARGUMENTS.values() for name in known} == read - left_out


def test_names_are_those_of_transformers():
    assert SAMPLING.keys() <= GenerationConfig().to_dict().keys()
    module = inspect.getmodule(get_scheduler)
    functions = {
        "cosine": module.get_cosine_schedule_with_warmup,
        "inverse_sqrt": module.get_inverse_sqrt_schedule,
        "polynomial": module.get_polynomial_decay_schedule_with_warmup,
    }
    for kind, entries in SCHEDULES.items():
        assert entries.keys() <= inspect.signature(functions[kind]).parameters.keys()
