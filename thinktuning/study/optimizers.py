"""What optimizers of transformers read of `training.extra`, as in `transformers.trainer_optimizer`.

An optimizer ignores what it does not read, so that is refused. `optim_args` is text,
`momentum=0.9,nesterov=true`; those that an optimizer takes as text where it needs a number
(`rmsprop_bnb`; torchao's `block_size`) are not among its arguments here.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from thinktuning.study.decisions import names

DEFAULT = "adamw_torch_fused"
REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        names(
            "galore_adamw_layerwise galore_adamw_8bit_layerwise galore_adafactor_layerwise"
            " apollo_adamw_layerwise lomo adalomo"
        ),
        "its state is not in a checkpoint, so a resumed run would go on from another one",
    ),
    **dict.fromkeys(
        names("schedule_free_radam schedule_free_adamw schedule_free_sgd"),
        "its averaged weights are not those that sample and are saved",
    ),
    **dict.fromkeys(
        names("adamw_torch_xla adamw_torch_npu_fused"), "it is for TPUs or NPUs, not tried here"
    ),
}
ADEMAMIX = names("ademamix ademamix_8bit paged_ademamix_32bit paged_ademamix_8bit")
LOW_RANK = names("galore_adamw galore_adamw_8bit galore_adafactor apollo_adamw")
TORCHAO = names("adamw_torch_4bit adamw_torch_8bit")
READ_EPSILON = (
    *names("adamw_torch adamw_torch_fused adamw_anyprecision adamw_8bit adamw_bnb_8bit"),
    *names("paged_adamw_32bit paged_adamw_8bit apollo_adamw stable_adamw"),
    *ADEMAMIX,
    *TORCHAO,
)
LION = names("lion_32bit lion_8bit paged_lion_32bit paged_lion_8bit")
READ_BETAS = (*READ_EPSILON, *LION)


def _number(text: str) -> bool:
    return math.isfinite(float(text))


def _whole(text: str) -> bool:
    return int(text) > 0


def _switch(text: str) -> bool:
    return text.lower() in ("true", "false")


def _on(text: str) -> bool:
    return text.lower() == "true"  # any text is true to it, also "false"


def _dtype(text: str) -> bool:
    return text in ("float32", "bfloat16", "float16")


def _word(text: str) -> bool:
    return text.isidentifier()


Check = Callable[[str], bool]
SHOULD_BE: Mapping[Check, str] = {
    _number: "a finite number",
    _whole: "a whole number above 0",
    _switch: "true or false",
    _on: "true, or left out",
    _dtype: "float32, bfloat16 or float16",
    _word: "a word",
}
_PROJECTION = dict.fromkeys(names("rank update_proj_gap"), _whole) | {"scale": _number}
_PROJECTION |= {"proj_type": _word}
_ADEMAMIX = dict.fromkeys(names("beta1 beta2 beta3 alpha eps"), _number)
_ADEMAMIX |= dict.fromkeys(names("t_alpha t_beta3"), _whole)
# optimizer -> the arguments that it reads
ARGUMENTS: Mapping[str, Mapping[str, Check]] = {
    "sgd": dict.fromkeys(names("momentum dampening"), _number) | {"nesterov": _switch},
    "adagrad": dict.fromkeys(names("lr_decay eps"), _number),
    "rmsprop": dict.fromkeys(names("momentum alpha eps"), _number) | {"centered": _switch},
    "adamw_anyprecision": dict.fromkeys(
        names("momentum_dtype variance_dtype compensation_buffer_dtype"), _dtype
    )
    | {"use_kahan_summation": _switch},
    "grokadamw": dict.fromkeys(
        names("alpha_init lamb gamma grokking_signal_decay_rate gradient_clipping"), _number
    ),
    "stable_adamw": {"max_lr": _number, "decouple_lr": _on, "kahan_sum": _on},
    **{key: {"bf16_stochastic_round": _switch} for key in TORCHAO},
    **dict.fromkeys(ADEMAMIX, _ADEMAMIX),
    **dict.fromkeys(LOW_RANK, _PROJECTION),
    "apollo_adamw": _PROJECTION | dict.fromkeys(names("proj scale_type"), _word),
}


def check_optimizer(name: str, choices: list[str]) -> None:
    """Refuse an optimizer that transformers does not have, or that would not do what it says.

    Raises:
        ValueError: with the reason, or the closest one.
    """
    if name in REFUSED:
        raise ValueError(f"{name} cannot be used: {REFUSED[name]}; choose another one")
    if name not in choices:
        near = difflib.get_close_matches(name, choices, n=1)
        usable = ", ".join(each for each in choices if each not in REFUSED)
        hint = f"did you mean `{near[0]}`?" if near else f"choose from {usable}"
        raise ValueError(f"transformers has no optimizer {name!r}; {hint}")


def contradictions(extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the options that the optimizer does not read, or lacks, and why."""
    optimizer = extra.get("optim", DEFAULT)
    if "adam_epsilon" in extra and optimizer not in READ_EPSILON:
        yield "adam_epsilon", f"has no effect on optim = {optimizer}; remove one of the two"
    if "optim_args" in extra and (reason := _of_arguments(optimizer, extra["optim_args"])):
        yield "optim_args", reason
    if "optim_target_modules" in extra and optimizer not in LOW_RANK:
        yield "optim_target_modules", "is for optim: galore_* or apollo_*; remove it"
    if optimizer in LOW_RANK and "optim_target_modules" not in extra:
        yield "optim", f"{optimizer} needs optim_target_modules, e.g. all-linear; set that too"


def unread(extra: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the keys of a job that its optimizer does not read, and why."""
    optimizer = extra.get("optim", DEFAULT)
    given = re.findall(r"(\w+)=", extra.get("optim_args", ""))
    for key in ("beta1", "beta2"):
        if optimizer not in READ_BETAS:
            yield f"training.adam_{key}", f"optim = {optimizer} does not read it"
        elif key in given:
            yield f"training.adam_{key}", f"extra.optim_args has {key}"


def _of_arguments(optimizer: str, text: str) -> str | None:
    """Return what is wrong with `optim_args`, if anything."""
    known = ARGUMENTS.get(optimizer)
    if not known:
        return f"has no effect on optim = {optimizer}; remove it"
    found = set()
    for part in text.replace(" ", "").split(","):
        name, equals, value = part.partition("=")
        if not equals or name in found:
            return f"should be NAME=VALUE,NAME=VALUE, each name once (found {text!r:.80})"
        if name not in known:
            return f"optim = {optimizer} does not read {name!r}; choose from {', '.join(known)}"
        found.add(name)
        try:
            valid = known[name](value)
        except ValueError:
            valid = False
        if not valid:
            return f"{name} should be {SHOULD_BE[known[name]]} (found {value!r:.80})"
    return None
