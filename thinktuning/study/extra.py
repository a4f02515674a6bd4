"""The study section `training.extra`: arguments of `trl.GRPOConfig` without a key of their own.

    training:
      extra: {epsilon_high: 0.28, mask_truncated_completions: true}

Each must do here what TRL says: `decisions` has those that do, and why others are refused. What an
algorithm cannot honor, it refuses itself (`algorithms.options`). Types and defaults are those of
`trl_options.yaml`; nothing here imports TRL.
"""

import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.options import LIMITED
from thinktuning.io.section import Number
from thinktuning.study.decisions import (
    ADAMW,
    CHECKPOINTING,
    HONORED,
    LOADING,
    NO_OPTIMIZERS,
    NOT_LOADING,
    NOT_SAMPLING,
    OWNED,
    REFUSED,
    SAMPLING,
    SCHEDULES,
)
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from thinktuning.study.training import TrainingConfig

KINDS = {"bool": bool, "int": int, "float": Number, "str": str, "dict": dict, "list": list}
# Losses that clip the ratio on both sides; `cispo` clips it above only.
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
VESPO = ("vespo_k_neg", "vespo_k_pos", "vespo_lambda_neg", "vespo_lambda_pos")
# option -> the key that it needs, and the values of that key; (): any but null and false
NEEDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    **{f"sapo_temperature_{sign}": ("loss_type", ("sapo",)) for sign in ("neg", "pos")},
    **{
        f"vespo_{k}_{s}": ("loss_type", ("vespo",)) for k in ("k", "lambda") for s in ("neg", "pos")
    },
    **{f"entropy_{x}": ("use_adaptive_entropy", ()) for x in ("coef_min", "coef_max", "target")},
    "entropy_coef_delta": ("use_adaptive_entropy", ()),
    "epsilon_high": ("loss_type", (*CLIPPED, "cispo")),
    "use_bias_correction_kl": ("beta", ()),
    "gradient_checkpointing_kwargs": ("gradient_checkpointing", ()),
    "lr_scheduler_kwargs": ("lr_scheduler_type", tuple(SCHEDULES)),
    "vllm_group_port": ("vllm.mode", ("server",)),
    "vllm_model_impl": ("vllm.mode", ("colocate",)),
    "vllm_server_timeout": ("vllm.mode", ("server",)),
    "vllm_structured_outputs_regex": ("vllm", ()),
}
# Options that change the distribution that tokens are drawn from.
RESHAPING = ("generation_kwargs", "min_p", "repetition_penalty", "top_k")
RESHAPING_VLLM = (*RESHAPING, "vllm_structured_outputs_regex")


@cache
def known() -> dict[str, dict[str, Any]]:
    """Return TRL's options: name -> type, default, choices, and whether it is TRL's own (`own`)."""
    text = files("thinktuning.study").joinpath("trl_options.yaml").read_text(encoding="utf-8")
    listed = yaml.safe_load(text)
    return {
        name: entry | {"own": origin == "trl"}
        for origin in ("transformers", "trl")
        for name, entry in listed[origin].items()
    }


def checked(extra: dict[str, Any]) -> dict[str, Any]:
    """Return the options by name, without those that are null, which are TRL's default.

    Raises:
        ValidationError: an option is unknown, owned by another key, refused, or of another type.
    """
    values: dict[str, Any] = {}
    problems: list[Any] = []
    for name, value in sorted(extra.items()):
        if value is None and name in HONORED:
            continue
        try:
            values[name] = _checked(name, value)
        except ValidationError as error:
            first = error.errors()[0]
            problems.append(_problem(name, first["msg"], first["input"]))
        except ValueError as error:
            problems.append(_problem(name, str(error)))
    if problems:
        raise ValidationError.from_exception_data("extra", problems)
    return values


def _problem(name: str, text: str, found: Any = None) -> dict[str, Any]:
    """Return an error of an option as pydantic has it; of a mapping, the message has the value."""
    found = {} if found is None else found
    return {"type": "value_error", "loc": (name,), "input": found, "ctx": {"error": text}}


def _checked(name: str, value: Any) -> Any:
    """Return the value of an option.

    Raises:
        ValueError: the option cannot be set here, or not to this value.
    """
    if name in OWNED:
        raise ValueError(f"follows from {OWNED[name]}; set that instead")
    if name in REFUSED:
        raise ValueError(f"cannot be set: {REFUSED[name]}; remove it")
    if name not in HONORED:
        raise ValueError(f"unknown option of trl.GRPOConfig; {_hint(name)}")
    kind = HONORED[name]
    if kind is None:
        kind = Any
        for each in known()[name]["type"].split(" | "):
            if each != "None":
                kind = KINDS[each] if kind is Any else kind | KINDS[each]
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    value = TypeAdapter(kind, config=strict).validate_python(value)
    if value == {}:
        raise ValueError("is empty; remove it")
    if name == "optim":
        _check_optimizer(value)
    if name == "model_init_kwargs":
        _check_names(value, LOADING, NOT_LOADING)
    if name == "gradient_checkpointing_kwargs":
        _check_names(value, CHECKPOINTING)
    if name == "generation_kwargs" and (owned := [key for key in value if key in NOT_SAMPLING]):
        raise ValueError(f"{owned[0]} cannot be set here: {NOT_SAMPLING[owned[0]]}")
    return value


def _hint(name: str) -> str:
    """Return what may be meant by an unknown option."""
    if name in LOADING:
        return f"it is a loading option: model_init_kwargs: {{{name}: ...}}"
    if near := difflib.get_close_matches(name, known(), n=1, cutoff=0.6):
        return f"did you mean `{near[0]}`?"
    return f"those that can be set: {', '.join(sorted(HONORED))}"


def _check_optimizer(name: str) -> None:
    choices = known()["optim"]["choices"]
    if name in NO_OPTIMIZERS:
        raise ValueError(f"{name} cannot be used: {NO_OPTIMIZERS[name]}; choose another one")
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        usable = ", ".join(each for each in choices if each not in NO_OPTIMIZERS)
        hint = f"did you mean `{near[0]}`?" if near else f"choose from {usable}"
        raise ValueError(f"transformers has no optimizer {name!r}; {hint}")


def _check_names(
    given: Mapping[str, Any], allowed: list[str], others: Mapping[str, str] = MappingProxyType({})
) -> None:
    for key in given:
        if key in others:
            raise ValueError(f"{key} cannot be set here: {others[key]}")
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"choose from {', '.join(allowed)}"
            raise ValueError(f"{key} cannot be set here; {hint}")


def check_together(training: "TrainingConfig") -> None:
    """Refuse options that the rest of the section leaves without effect, or makes wrong.

    Raises:
        ValidationError: says which.
    """
    problems: list[Any] = [
        _problem(name, text) | {"loc": ("extra", name)} for name, text in _contradictions(training)
    ]
    if problems:
        raise ValidationError.from_exception_data("training", problems)


def _contradictions(training: "TrainingConfig") -> Iterator[tuple[str, str]]:
    extra, vllm = training.extra, training.vllm
    for name in extra:
        if name not in NEEDS:
            continue
        key, values = NEEDS[name]
        found: Any = extra.get(key, training)
        if found is training:
            for part in key.split("."):
                found = getattr(found, part, None)
        if not found or (values and found not in values):
            needed = f"one of {', '.join(values)}" if values[1:] else "".join(values) or "set"
            where = f"training.extra.{key}" if key in HONORED else f"training.{key}"
            yield name, f"has no effect unless {where} is {needed}; set that too, or remove it"
    optimizer = extra.get("optim", ADAMW[-1])
    if "adam_epsilon" in extra and "adam" not in optimizer:
        yield "adam_epsilon", f"has no effect on optim = {optimizer}; remove one of the two"
    if "optim_args" in extra and optimizer in (*ADAMW, "adafactor", "adamw_8bit", "adamw_bnb_8bit"):
        yield "optim_args", f"has no effect on optim = {optimizer}; remove it"
    if "optim_target_modules" in extra and not optimizer.startswith(("galore", "apollo")):
        yield "optim_target_modules", "is for optim: galore_* or apollo_*; remove it"
    if "cache_implementation" in extra and vllm:
        yield "cache_implementation", "has no effect with training.vllm; remove one of the two"
    named = {"lr_scheduler_kwargs": SCHEDULES.get(training.lr_scheduler_type)}
    named["generation_kwargs"] = None if vllm else SAMPLING  # vLLM refuses what it does not know
    for name, allowed in named.items():
        try:
            _check_names(extra.get(name, {}), allowed) if allowed else None
        except ValueError as error:
            yield name, str(error)
    reshaping = [name for name in RESHAPING_VLLM if name in extra]
    if not (reshaping and vllm):
        return
    if vllm.importance_sampling_correction or vllm.max_logp_difference is not None:
        yield (
            reshaping[0],
            "changes the distribution that vLLM samples from and takes its log-probabilities of,"
            " which the trainer's are not: set training.vllm.importance_sampling_correction to"
            " false and training.vllm.max_logp_difference to null, or remove it",
        )


def refusal(algorithm: AlgorithmConfig, training: "TrainingConfig") -> str | None:
    """Return why an algorithm cannot honor the options or the loss type of a training, if so."""
    options = dict(training.extra)
    if training.loss_type not in LIMITED["loss_type"][0]:
        options["loss_type"] = training.loss_type
    options = {  # those that hooks may mind
        name: value
        for name, value in options.items()
        if known()[name]["own"] and value != known()[name]["default"]
    }
    if not options:
        return None
    nobody = cast(Teacher, object())  # to say what it refuses, it asks no teacher
    try:
        algorithm.build(nobody if algorithm.uses_teacher else None, None).check(options)
    except ValueError as error:
        return str(error)
    return None
