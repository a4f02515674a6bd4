"""The study section `training.extra`: arguments of `trl.GRPOConfig` without a key of their own.

    training:
      extra: {epsilon_high: 0.28, mask_truncated_completions: true}

Each must do here what TRL says: `decisions` has those that do, and why others are refused. What an
algorithm cannot honor, it refuses itself (`algorithms.options`). Types and defaults are those of
`trl_options.yaml`; nothing here imports TRL.
"""

import difflib
import functools
import operator
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import TypeAdapter, ValidationError

from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.options import LIMITED
from thinktuning.io.section import Number, remove
from thinktuning.study import optimizers
from thinktuning.study.decisions import HONORED, OWNED, REFUSED
from thinktuning.study.mappings import (
    CHECKPOINTING,
    ENTRIES,
    LOADING,
    LR_END,
    NOT_LOADING,
    NOT_SAMPLING,
    SAMPLING,
    SCHEDULES,
    STRICT,
    check_names,
    typed,
)
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from thinktuning.study.training import TrainingConfig

KINDS = {"bool": bool, "int": int, "float": Number, "str": str, "dict": dict, "list": list}
# Losses that clip the ratio on both sides; `cispo` clips it above only.
CLIPPED = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo")
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
            where = [part for part in first["loc"] if part in ENTRIES.get(name, {})]
            problems.append(_problem(name, first["msg"], first["input"], *where[:1]))
        except ValueError as error:
            problems.append(_problem(name, str(error)))
    if problems:
        raise ValidationError.from_exception_data("extra", problems)
    return values


def _problem(name: str, text: str, found: Any = None, *entry: int | str) -> dict[str, Any]:
    """Return an error of an option as pydantic has it; of a mapping, the message has the value."""
    found = {} if found is None else found
    text = text.removeprefix("Value error, ")
    return {"type": "value_error", "loc": (name, *entry), "input": found, "ctx": {"error": text}}


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
    value = TypeAdapter(kind_of(name), config=STRICT).validate_python(value)
    if name == "optim":
        optimizers.check_optimizer(value, known()["optim"]["choices"])
    if name == "model_init_kwargs":
        check_names(value, LOADING, NOT_LOADING)
    if name == "gradient_checkpointing_kwargs":
        check_names(value, CHECKPOINTING)
    if name == "generation_kwargs" and (owned := [key for key in value if key in NOT_SAMPLING]):
        raise ValueError(f"{owned[0]} cannot be set here: {NOT_SAMPLING[owned[0]]}")
    if name in ENTRIES:
        value = typed(name, value)
    if value == {}:
        raise ValueError(f"is empty; {remove()}")
    return value


def kind_of(name: str) -> Any:
    """Return the type of an option that can be set: the narrower one, else TRL's."""
    if (kind := HONORED[name]) is not None:
        return kind
    kinds = [KINDS[each] for each in known()[name]["type"].split(" | ") if each != "None"]
    return functools.reduce(operator.or_, kinds)


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON schema of each option that can be set; null is TRL's default."""
    found = {}
    for name in sorted(HONORED):
        schema = TypeAdapter(kind_of(name)).json_schema()
        if entries := ENTRIES.get(name):
            schema["properties"] = {key: _or_null(entries[key]) for key in sorted(entries)}
            schema["additionalProperties"] = name == "generation_kwargs"  # vLLM has others
        found[name] = {"anyOf": [schema, {"type": "null"}]}
    return found


def _or_null(kind: Any) -> dict[str, Any]:
    return {"anyOf": [TypeAdapter(kind).json_schema(), {"type": "null"}]}


def _hint(name: str) -> str:
    """Return what may be meant by an unknown option."""
    if name in LOADING:
        return f"it is a loading option: model_init_kwargs: {{{name}: ...}}"
    if near := difflib.get_close_matches(name, known(), n=1, cutoff=0.6):
        return f"did you mean `{near[0]}`?"
    return f"those that can be set: {', '.join(sorted(HONORED))}"


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
    yield from optimizers.contradictions(extra)
    yield from _of_values(training)
    if "cache_implementation" in extra and vllm:
        yield "cache_implementation", "has no effect with training.vllm; remove one of the two"
    named = {"lr_scheduler_kwargs": SCHEDULES.get(training.lr_scheduler_type)}
    named["generation_kwargs"] = None if vllm else SAMPLING  # vLLM refuses what it does not know
    for name, allowed in named.items():
        try:
            check_names(extra.get(name, {}), allowed) if allowed else None
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


def _of_values(training: "TrainingConfig") -> Iterator[tuple[str, str]]:
    """Yield the options whose values contradict those of others."""
    extra = training.extra
    if extra.get("torch_compile") is False:
        for name in ("torch_compile_backend", "torch_compile_mode"):
            if name in extra:
                yield name, "compiles the model, and torch_compile is false; remove one of the two"
    low, high = (
        extra.get(f"entropy_coef_{end}", known()[f"entropy_coef_{end}"]["default"])
        for end in ("min", "max")
    )
    if low > high and extra.get("use_adaptive_entropy"):
        name = "entropy_coef_min" if "entropy_coef_min" in extra else "entropy_coef_max"
        yield name, f"the smallest, {low:g}, is above the largest, {high:g}; change one of the two"
    end = extra.get("lr_scheduler_kwargs", {}).get("lr_end", LR_END)
    if training.lr_scheduler_type == "polynomial" and end >= training.learning_rate:
        yield (
            "lr_scheduler_kwargs",
            f"lr_end = {end:g} is not below training.learning_rate = {training.learning_rate:g}, so"
            " the schedule cannot fall to it; lower it",
        )
    most = training.max_completion_length
    least = extra.get("generation_kwargs", {}).get("min_new_tokens", 0)
    if least >= most:
        yield (
            "generation_kwargs",
            f"min_new_tokens = {least} is not below training.max_completion_length = {most}, so"
            " no completion could end by itself; lower it",
        )
    checkpointing = extra.get("gradient_checkpointing_kwargs", {})
    unread = {"debug", "determinism_check", "early_stop"} & checkpointing.keys()
    if checkpointing.get("use_reentrant") and unread:
        name = min(unread)
        yield "gradient_checkpointing_kwargs", f"{name} has no effect with use_reentrant; remove it"


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
