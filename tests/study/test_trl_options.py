"""The section `training.extra`: TRL's options, each of which is honored, owned or refused."""

import dataclasses

import pytest
import trl
import yaml
from edited_study import DEFAULT, ROOT, edited, message, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from thinktuning.commands.trl_options import options, written
from thinktuning.io.trackers import PACKAGES
from thinktuning.study import optimizers
from thinktuning.study.decisions import HONORED, OWNED, REFUSED
from thinktuning.study.extra import NEEDS, known
from thinktuning.study.jobs import TrainJob, to_json
from thinktuning.study.reading import parse_study, resolved_yaml
from thinktuning.study.study import Study
from thinktuning.study.training import TrainingConfig

LISTED = ROOT / "thinktuning/study/trl_options.yaml"
FIELDS = {option.name for option in dataclasses.fields(trl.GRPOConfig)}


def extra_of(extra, method="grpo", **training):
    """Return a method's options, as the study's section has them."""
    values = edited("training", DEFAULT["training"] | training | {"extra": extra})
    return parse_study(values, "study.yaml").train_job(method, 0).training.extra


def refused(extra, **training):
    """Return the line that refuses the study's options."""
    return refusal("training", DEFAULT["training"] | training | {"extra": extra})


def of_method(name, **training):
    """Return the default study with keys of one method's training changed."""
    return edited(f"methods.{name}", DEFAULT["methods"][name] | {"training": training})


def test_the_list_is_that_of_the_installed_trl():
    if yaml.safe_load(LISTED.read_text())["version"] == trl.__version__:
        assert LISTED.read_text() == written()
    else:  # an older one may lack some
        assert known().keys() >= FIELDS


def test_every_field_of_trl_is_decided_once():
    """A field of a new TRL belongs in one of the three: see `thinktuning.study.decisions`."""
    decided = [HONORED.keys(), OWNED.keys(), REFUSED.keys()]
    assert FIELDS - set().union(*decided) == set()
    assert sum(map(len, decided)) == len(set().union(*decided)) == len(known())


def test_every_optimizer_of_transformers_is_known():
    choices = set(options()["transformers"]["optim"]["choices"])
    assert optimizers.REFUSED.keys() | optimizers.ARGUMENTS.keys() <= choices
    assert set(optimizers.READ_BETAS) <= choices - optimizers.REFUSED.keys()
    assert NEEDS.keys() <= HONORED.keys()


def test_every_owner_is_a_key_of_the_study():
    for key in OWNED.values():
        section = Study
        for name in key.split("."):
            if section is dict:  # of `extra`
                assert name in HONORED
                continue
            field = section.model_fields[name]
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            section = next((k for k in kinds if hasattr(k, "model_fields")), dict)


def test_trackers_are_those_of_transformers():
    assert PACKAGES.keys() == INTEGRATION_TO_CALLBACK.keys()


@pytest.mark.parametrize("name", sorted(OWNED))
def test_what_has_a_key_of_its_own_is_refused_with_the_key(name):
    assert refused({name: 1}) == (
        f"training.extra.{name}: follows from {OWNED[name]}; set that instead"
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_would_not_do_what_trl_says_is_refused_with_the_reason(name):
    expected = f"training.extra.{name}: cannot be set: {REFUSED[name]}; remove it"
    assert refused({name: True}) == expected


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"epsilon_hig": 0.3}, "epsilon_hig: unknown option of trl.GRPOConfig; did you mean `eps"),
        ({"zzz": 1}, "zzz: unknown option of trl.GRPOConfig; those that can be set: adam_epsilon,"),
        ({"attn_implementation": "eager"}, "attn_implementation: unknown option of trl.GRPOConfig; "
         "it is a loading option: model_init_kwargs: {attn_implementation: ...}"),
        ({"epsilon_high": True}, "epsilon_high: Input should be a valid number (found True)"),
        ({"epsilon_high": "wide"}, "epsilon_high: Input should be a valid number (found 'wide')"),
        ({"epsilon_high": 0}, "epsilon_high: Input should be greater than 0 (found 0)"),
        ({"epsilon_high": float("inf")}, "epsilon_high: Input should be a finite number"),
        ({"top_k": 1.5}, "top_k: Input should be a valid integer"),
        ({"min_p": 2}, "min_p: Input should be less than or equal to 1"),
        ({"torch_compile": "yes"}, "torch_compile: Input should be a valid boolean"),
        ({"importance_sampling_level": "word"}, "importance_sampling_level: Input should be 'tok"),
        ({"generation_kwargs": ["a"]}, "generation_kwargs: Input should be a valid dictionary"),
        ({"generation_kwargs": {}}, "generation_kwargs: is empty; remove it"),
        ({"generation_kwargs": {"num_beams": 2}}, "generation_kwargs: num_beams cannot be set here:"
         " beams, and greedy answers, are not samples"),
        ({"generation_kwargs": {"max_new_tokens": 2}}, "generation_kwargs: max_new_tokens cannot be"
         " set here: use training.max_completion_length"),
        ({"generation_kwargs": {"min_new_token": 2}}, "generation_kwargs: min_new_token cannot be"
         " set here; did you mean `min_new_tokens`?"),
        ({"model_init_kwargs": {"dtype": "bfloat16"}}, "model_init_kwargs: dtype cannot be set here"
         ": weights are trained in float32; training.bf16"),
        ({"model_init_kwargs": {"attention": "eager"}}, "model_init_kwargs: attention cannot be"),
        ({"optim": "adamw"}, "optim: transformers has no optimizer 'adamw'; did you mean"),
        ({"optim": "lomo"}, "optim: lomo cannot be used: its state is not in a checkpoint"),
        ({"optim": "schedule_free_adamw"}, "optim: schedule_free_adamw cannot be used: its aver"),
        ({"optim": "sgd", "adam_epsilon": 1e-6}, "adam_epsilon: has no effect on optim = sgd"),
        ({"optim_args": "momentum=0.9"}, "optim_args: has no effect on optim = adamw_torch_fused"),
        ({"optim_target_modules": "q_proj"}, "optim_target_modules: is for optim: galore_* or ap"),
        ({"sapo_temperature_neg": 1.0}, "sapo_temperature_neg: has no effect unless training."
         "loss_type is sapo; set that too, or remove it"),
        ({"entropy_target": 1.0}, "entropy_target: has no effect unless training.extra.use_adaptive"
         "_entropy is set"),
        ({"use_bias_correction_kl": False}, "use_bias_correction_kl: has no effect unless training."
         "beta is set"),
        ({"gradient_checkpointing_kwargs": {"use_reentrant": False}}, "gradient_checkpointing_kwarg"
         "s: has no effect unless training.gradient_checkpointing is set"),
        ({"lr_scheduler_kwargs": {"power": 2.0}}, "lr_scheduler_kwargs: has no effect unless traini"
         "ng.lr_scheduler_type is one of cosine, inverse_sqrt, polynomial"),
        ({"vllm_model_impl": "vllm"}, "vllm_model_impl: has no effect unless training.vllm.mode i"),
        ({"vllm_group_port": 51216}, "vllm_group_port: has no effect unless training.vllm.mode is"),
    ],
    ids=str,
)  # fmt: skip
def test_what_options_cannot_say_is_refused(extra, expected):
    assert refused(extra).startswith(f"training.extra.{expected}")


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"loss_type": "sapo", "delta": None, "extra": {"epsilon_high": 0.3}}, "epsilon_high: has "
         "no effect unless training.loss_type is one of grpo, bnpo, dr_grpo, dapo, luspo, cispo"),
        ({"lr_scheduler_type": "cosine", "extra": {"lr_scheduler_kwargs": {"power": 2.0}}},
         "lr_scheduler_kwargs: power cannot be set here; choose from num_cycles"),
        ({"vllm": {"mode": "colocate"}, "extra": {"top_k": 50}}, "top_k: changes the distribution"),
        ({"vllm": {"importance_sampling_correction": False}, "extra": {"min_p": 0.1}}, "min_p: "),
        ({"vllm": {}, "extra": {"cache_implementation": "static"}}, "cache_implementation: has no"),
        ({"vllm": {}, "extra": {"vllm_server_timeout": 9}}, "vllm_server_timeout: has no effect"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_contradict_other_keys_are_refused(training, expected):
    line = message(of_method("grpo", **training)).splitlines()[1]
    assert line.strip().startswith(f"methods.grpo.training.extra.{expected}")


def test_an_algorithm_refuses_what_it_cannot_honor():
    study = edited("training", DEFAULT["training"] | {"extra": {"top_entropy_quantile": 0.2}})
    expected = "method thinktuning: algorithm 'thinktuning' cannot honor top_entropy_quantile=0.2:"
    assert expected in message(study)
    study["methods"]["thinktuning"] = {"train": False, "prompt": {"suffix": " Well?"}}
    parse_study(study, "study.yaml")
    study = of_method("thinktuning", loss_type="cispo", delta=None)
    assert "method thinktuning: algorithm 'thinktuning' cannot honor loss_type='cispo'" in message(
        study
    )


@pytest.mark.parametrize("kind", ["sft", "rft", "dpo", "sdpo"])
def test_a_loss_without_a_ratio_refuses_to_clip_it(kind):
    study = of_method("thinktuning", extra={"epsilon_high": 0.28})
    study["methods"]["thinktuning"]["algorithm"] = {"type": kind}
    assert f"algorithm '{kind}' cannot honor epsilon_high=0.28: its loss" in message(study)


def test_losses_that_do_not_clip_take_no_dual_clip():
    line = message(of_method("grpo", loss_type="cispo")).splitlines()[1]
    expected = "methods.grpo.training: delta = 3 has no effect on loss_type cispo: it clips the"
    assert line.strip().startswith(expected)
    parse_study(of_method("grpo", loss_type="cispo", delta=None), "study.yaml")


def test_options_are_numbers_in_order_and_null_is_trls_default():
    given = {"top_k": 5, "epsilon_high": "2.8e-1", "min_p": None}
    assert list(extra_of(given).items()) == [("epsilon_high", 0.28), ("top_k", 5)]
    assert extra_of(None) == {}


def test_a_method_changes_single_options():
    study = edited("training", DEFAULT["training"] | {"extra": {"top_k": 5, "min_p": 0.1}})
    study["methods"]["grpo"]["training"] = {"extra": {"top_k": None, "epsilon_high": 0.3}}
    parsed = parse_study(study, "study.yaml")
    job = parsed.train_job("grpo", 0)
    assert job.training.extra == {"epsilon_high": 0.3, "min_p": 0.1}
    assert TrainJob.model_validate_json(to_json(job)) == job
    assert parse_study(yaml.safe_load(resolved_yaml(parsed)), "resolved") == parsed


@settings(max_examples=50)
@given(st.sampled_from(sorted(HONORED)), st.none() | st.booleans() | st.integers() | st.text())
def test_any_value_is_taken_or_refused_with_its_path(name, value):
    """Whatever is set, `training` has it, or the message names the option."""
    section = DEFAULT["training"] | {"extra": {name: value}}
    try:
        found = TrainingConfig.model_validate(section).extra
    except ValidationError as error:
        (found,) = error.errors()
        assert found["loc"][:2] == ("extra", name) or f"extra.{name}" in found["msg"]
    else:
        assert list(found) == ([] if value is None else [name])
        assert all(each == type(each)(value) for each in found.values())
