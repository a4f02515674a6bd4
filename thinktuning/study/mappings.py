"""The mappings in `training.extra`: which names they may have, and of which type each value is."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, PositiveInt, TypeAdapter

from thinktuning.io.errors import did_you_mean
from thinktuning.io.section import Fraction, NonNegative, Number, Plain, Positive
from thinktuning.study.decisions import REFUSED, names

STRICT = ConfigDict(strict=True, allow_inf_nan=False)


def _decay(value: list[Any]) -> list[Any]:
    if not isinstance(value[0], int) or value[0] < 0 or value[1] <= 0:
        raise ValueError("Input should be [START, FACTOR], e.g. [100, 1.01]")
    return value


def _bias(value: list[Any]) -> list[Any]:
    if not isinstance(value[0], list) or isinstance(value[1], list):
        raise ValueError("Input should be [TOKENS, BIAS], e.g. [[10, 20], -1.5]")
    return value


Token = Annotated[int, Field(ge=0)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Bias = Annotated[list[Tokens | Number], Field(min_length=2, max_length=2), AfterValidator(_bias)]
Share = Annotated[Fraction, Field(gt=0, lt=1)]  # 0 and 1 switch it off

# Arguments of `from_pretrained` that `model_init_kwargs` may have, and where others belong.
LOADING: Mapping[str, Any] = {"attn_implementation": str, "experts_implementation": str}
NOT_LOADING: Mapping[str, str] = {
    "dtype": "weights are trained in float32; training.bf16 computes in bfloat16",
    "torch_dtype": "weights are trained in float32; training.bf16 computes in bfloat16",
    "revision": "the study's `model` has it",
    "device_map": "resources.train decides which devices a training uses",
    "quantization_config": "the published model is the one that was trained, in full precision",
    "trust_remote_code": REFUSED["trust_remote_code"],
}

# Arguments that `gradient_checkpointing_kwargs`, and `lr_scheduler_kwargs` by schedule, may have.
CHECKPOINTING: Mapping[str, Any] = {
    "debug": bool,
    "determinism_check": Literal["default", "none"],
    "early_stop": bool,
    "preserve_rng_state": bool,
    "use_reentrant": bool,
}
SCHEDULES: Mapping[str, Mapping[str, Any]] = {
    "cosine": {"num_cycles": Positive},
    "inverse_sqrt": {"timescale": PositiveInt},
    "polynomial": {"lr_end": NonNegative, "power": Positive},
}
LR_END = 1e-7  # transformers' default

# Arguments of transformers' GenerationConfig that `generation_kwargs` may have, and others' keys.
SAMPLING: Mapping[str, Any] = {
    "bad_words_ids": Annotated[list[Tokens], Field(min_length=1)],
    "begin_suppress_tokens": Tokens,
    "epsilon_cutoff": Share,
    "eta_cutoff": Share,
    "exponential_decay_length_penalty": Annotated[
        list[int | Number], Field(min_length=2, max_length=2), AfterValidator(_decay)
    ],
    "min_new_tokens": PositiveInt,
    "no_repeat_ngram_size": PositiveInt,
    "remove_invalid_values": bool,
    "renormalize_logits": bool,
    "sequence_bias": Annotated[list[Bias], Field(min_length=1)],
    "suppress_tokens": Tokens,
    "top_h": Annotated[Fraction, Field(gt=0)],
    "typical_p": Share,
}
BEAMS = "beams, and greedy answers, are not samples of the policy"
NOT_SAMPLING: Mapping[str, str] = {
    "max_new_tokens": "use training.max_completion_length",
    "max_length": "use training.max_completion_length",
    "max_tokens": "use training.max_completion_length",
    "temperature": "use training.temperature",
    "top_p": "use training.top_p",
    "top_k": "use training.extra.top_k",
    "min_p": "use training.extra.min_p",
    "repetition_penalty": "use training.extra.repetition_penalty",
    "cache_implementation": "use training.extra.cache_implementation",
    "num_return_sequences": "use training.num_generations",
    "n": "use training.num_generations",
    "seed": "use seeds",
    "do_sample": BEAMS,
    "num_beams": BEAMS,
    **dict.fromkeys(
        names("eos_token_id pad_token_id bos_token_id stop stop_strings stop_token_ids"),
        "a completion ends with the turn's end of the model, and the reward reads that",
    ),
    "logprobs": "the trainer asks for what it needs",
}

# option -> the types of its entries; of `generation_kwargs` there are others with vLLM
ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "generation_kwargs": SAMPLING,
    "gradient_checkpointing_kwargs": CHECKPOINTING,
    "lr_scheduler_kwargs": {k: v for kinds in SCHEDULES.values() for k, v in kinds.items()},
    "model_init_kwargs": LOADING,
}


def typed(option: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping's entries of the type that each should have, without those that are null.

    Raises:
        ValidationError: an entry is of another type; it is the error's location.
    """
    kinds = ENTRIES[option]
    found: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            kind: Any = dict[str, kinds.get(name, Plain)]  # type: ignore[misc]
            entry: TypeAdapter[Any] = TypeAdapter(kind, config=STRICT)
            found |= entry.validate_python({name: value})
    return found


def check_names(
    given: Mapping[str, Any],
    allowed: Mapping[str, Any],
    others: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Refuse entries that a mapping may not have.

    Args:
        given: the mapping.
        allowed: the names of its entries, with their types.
        others: names that belong elsewhere -> where.

    Raises:
        ValueError: names the entry and what it may be.
    """
    for key in given:
        if key in others:
            raise ValueError(f"{key} cannot be set here: {others[key]}")
        if key not in allowed:
            raise ValueError(f"{key} cannot be set here; {did_you_mean(key, list(allowed))}")
