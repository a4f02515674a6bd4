"""The calls of `generate` that `thinktuning.models.decoding` answers as transformers does."""

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationMixin
from transformers.cache_utils import DummyLayer, DynamicLayer, DynamicSlidingWindowLayer
from transformers.generation import stopping_criteria as criteria

from thinktuning.models.layouts import LONGEST_ROW, finds_invocations, rope_kinds

LAYERS = {DynamicLayer, DynamicSlidingWindowLayer, DummyLayer}  # whose rows can be selected
OPTIONS = {"use_cache", "logits_to_keep"}
INPUTS = {"attention_mask", "position_ids", "past_key_values"} | OPTIONS
PREPARE = ("prepare_inputs_for_generation", "_update_model_kwargs_for_generation")


class UnsupportedError(Exception):
    """`decode` would not do what transformers' loop does; the message is the reason."""


def endings(stopping_criteria: Any, device: torch.device) -> tuple[Tensor, int]:
    """Return the tokens that end a row, and the maximum length.

    Raises:
        UnsupportedError: a row can also end otherwise, or there is no maximum.
    """
    known = (criteria.EosTokenCriteria, criteria.MaxLengthCriteria)
    if other := [type(one).__name__ for one in stopping_criteria if type(one) not in known]:
        raise UnsupportedError(f"{other} may end a row")
    if stopping_criteria.max_length is None:
        raise UnsupportedError("there is no maximum length")
    ends = [one.eos_token_id.to(device) for one in stopping_criteria if type(one) is known[0]]
    none = torch.zeros(0, dtype=torch.long, device=device)
    return torch.cat([none, *ends]), stopping_criteria.max_length


def check_model(model: Any, device: torch.device) -> None:
    """Raise `UnsupportedError` for a model that `decode` cannot run as transformers does.

    Args:
        model: the model.
        device: the device of the batch.
    """
    if model.config.is_encoder_decoder:
        raise UnsupportedError("it has an encoder")
    own = [n for n in PREPARE if getattr(type(model), n) is not getattr(GenerationMixin, n)]
    if own or vars(model).keys() & set(PREPARE) or model.is_remote_code():
        raise UnsupportedError("it prepares its inputs in its own way")
    if {weight.device for weight in model.parameters()} != {device}:
        raise UnsupportedError("it is not on the device of the batch, or on several")
    if rope_kinds(model.config) & LONGEST_ROW:
        raise UnsupportedError("its positions depend on the longest row of the batch")
    if finds_invocations(model):
        raise UnsupportedError("its adapter looks for its invocation in each row of the batch")
    if any(map(is_random, model.modules())):
        raise UnsupportedError("its dropout or noise is on, and takes part in the sampling")


def is_random(module: Any) -> bool:
    """Return whether a module is in training mode with dropout, or noise of another kind."""
    if not module.training:
        return False
    rates: list[Any] = [module.p] if is_dropout(module) else []
    for name, value in vars(module).items():
        if any(kind in name for kind in ("drop", "jitter", "noise")):  # `neftune_noise_alpha`, too
            rates += value.values() if isinstance(value, dict) else [value]  # a rate per adapter
    return any(type(rate) in (int, float) and rate > 0 for rate in rates)


def is_dropout(module: Any) -> bool:
    """Return whether a module is a dropout layer of torch, or one like it: PEFT's for OFT."""
    named = "Dropout" in type(module).__name__ and hasattr(module, "p")
    return named or isinstance(module, torch.nn.modules.dropout._DropoutNd)


def check_inputs(input_ids: Tensor, generation_config: Any, model_kwargs: dict[str, Any]) -> None:
    """Raise `UnsupportedError` for a call that `decode` cannot answer as transformers does."""
    mode = generation_config.get_generation_mode()
    if mode not in ("sample", "greedy_search"):
        raise UnsupportedError(f"it is asked for {mode.value}")
    if generation_config.return_dict_in_generate:
        raise UnsupportedError("it is asked for more than tokens")
    if other := sorted(
        n for n, value in model_kwargs.items() if value is not None and n not in INPUTS
    ):
        raise UnsupportedError(f"it is given {other}")
    for name in ("attention_mask", "position_ids"):
        given = model_kwargs.get(name)
        if given is not None and given.shape != input_ids.shape:
            raise UnsupportedError(f"its {name} are not those of input_ids")
    cache = model_kwargs.get("past_key_values")
    if not model_kwargs.get("use_cache") or type(cache) is not DynamicCache or cache.offloading:
        raise UnsupportedError("its cache is not dynamic")
    if (
        not {type(x) for x in cache.layers} | {cache.layer_class_to_replicate or DynamicLayer}
        <= LAYERS
    ):
        raise UnsupportedError("rows of its cache cannot be selected")
