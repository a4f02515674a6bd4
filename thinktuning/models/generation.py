"""Generation that computes nothing twice, and nothing for rows that have ended.

transformers' loop runs the model over all rows of a batch until the longest has ended, and computes
a prompt as often as it is in the batch: once per rollout of a group, once per sample of a question.
`decode` is another loop for transformers' own `generate(custom_generate=decode)`, which still
prepares inputs, cache, logits processors and stopping criteria. In it

- each distinct prompt is prefilled once; its rows then get its cache and its logits;
- rows that have ended leave the batch once they are one in eight (`ENDED`), with their part of the
  cache; copying the rest of the cache costs about one step;
- a row gets the random numbers that transformers' loop would have given it.

So one seed gives the completions of transformers' loop, on CPU and CUDA, and leaves the generator
in the same state. Logits are equal up to rounding only, since a product of fewer rows may add in
another order: where two tokens are within rounding of each other, the other may be chosen.

`generate` uses the loop where it is valid, and transformers' own otherwise: beams and other
strategies, outputs beyond the tokens, further stopping criteria, caches that are static, quantized,
offloaded or recurrent, encoders, multimodal inputs, models that prepare inputs in their own way,
dropout that is on, and sharded weights, for which all processes must take each step together.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.integrations.fsdp import is_fsdp_managed_module

from thinktuning.models.decodable import UnsupportedError
from thinktuning.models.decoding import decode
from thinktuning.models.emulated import products_in_float32

logger = logging.getLogger(__name__)


def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
    """Do what the model's own `generate` does, by `decode` where it is valid."""
    stock: Callable[..., Any] = type(model).generate
    passed = ("assistant_model", "custom_generate", "streamer", "tokenizer")  # not on to `decode`
    with products_in_float32(model.dtype == torch.bfloat16):
        try:
            if is_sharded(model, kwargs.get("synced_gpus")):
                raise UnsupportedError("its weights are sharded")
            if given := [name for name in passed if kwargs.get(name) is not None]:
                raise UnsupportedError(f"{given} are given")
            return stock(model, *args, **kwargs, custom_generate=decode)
        except UnsupportedError as reason:
            logger.info("%s generates by transformers' own loop: %s", type(model).__name__, reason)
        return stock(model, *args, **kwargs)


@contextmanager
def decoding(model: Any) -> Iterator[list[str]]:
    """Make `model.generate` our `generate` within the context, for callers of other libraries.

    Args:
        model: a transformers model, or a PEFT model, of whose base model this is done.

    Yields:
        A list that gets an entry, the class's name, at each call of `generate`.
    """
    inner = inner_model(model)
    calls: list[str] = []

    def replacement(*args: Any, **kwargs: Any) -> Any:
        calls.append(type(inner).__name__)
        return generate(inner, *args, **kwargs)

    own = vars(inner).get("generate")  # of a repository with a loop of its own
    inner.generate = replacement
    try:
        yield calls
    finally:
        if own is None:
            del inner.generate
        else:
            inner.generate = own


def inner_model(model: Any) -> Any:
    """Return the transformers model of a PEFT model; any other model is returned as it is."""
    return model.get_base_model() if is_peft_model(model) else model


def is_sharded(model: Any, synced: bool | None = None) -> bool:
    """Return whether all processes must take part in each forward.

    Args:
        model: the model.
        synced: the argument `synced_gpus` of `generate`, which decides if it is given.
    """
    if synced is None:
        return bool(is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model))
    return synced
