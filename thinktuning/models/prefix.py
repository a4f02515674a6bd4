"""What many prompts begin with, computed once: a teacher's exemplars."""

import copy
import inspect
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from accelerate.utils import is_peft_model
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from thinktuning.models.decodable import UnsupportedError, check_model
from thinktuning.models.generation import inner_model

WINDOWS = ("window_size", "attention_window", "keep_window_size")  # of columns, in any cache


class PrefixCache:
    """The keys and values of the tokens that all prompts of a model begin with.

    They are kept from call to call, so the model's weights must be the same at each. They need the
    memory of one row; a batch that begins with them needs no more than without.

    Args:
        model: a transformers model, or a PEFT model.
    """

    def __init__(self, model: Any) -> None:
        self.model = inner_model(model)
        self.holds = takes_gaps(model)
        self.ids: list[int] = []
        self.cache: Any = None

    def share(self, prompt_ids: Sequence[Sequence[int]]) -> None:
        """Hold what these prompts begin with, at most all but the last token of the shortest.

        It is computed again whenever it is not what is held, and not cut to size: replies must not
        depend on earlier calls, of which a training that resumes knows nothing.
        """
        if not self.holds or not prompt_ids:
            return
        common = common_prefix(prompt_ids)[: min(map(len, prompt_ids)) - 1]
        if common != self.ids:
            self.ids, self.cache = [], None
            if common:
                self._compute(common)

    def rows(self, batch_size: int) -> Any:
        """Return a cache of that many rows, or None if nothing is held."""
        if not self.ids:
            return None
        cache = copy.deepcopy(self.cache)
        for layer in cache.layers:  # views: they are copied when the first token is added
            layer.keys = layer.keys.expand(batch_size, -1, -1, -1)
            layer.values = layer.values.expand(batch_size, -1, -1, -1)
        return cache

    def _compute(self, ids: list[int]) -> None:
        cache = DynamicCache(config=self.model.config.get_text_config(decoder=True))
        tokens = torch.tensor([ids], device=self.model.device)
        with torch.no_grad():
            self.model(input_ids=tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
        self.holds = all(type(layer) is DynamicLayer for layer in cache.layers)
        if self.holds:  # no layer of a sliding window, for which columns count
            self.ids, self.cache = ids, cache


def takes_gaps(model: Any) -> bool:
    """Return whether padding may stand between a prefix and the rest of a prompt.

    It may where a token's given position, not its column, tells where it is.

    Args:
        model: a transformers model, or a PEFT model.
    """
    adapters = model.peft_config.values() if is_peft_model(model) else []
    if any(adapter.is_prompt_learning for adapter in adapters):
        return False
    model = inner_model(model)
    try:
        check_model(model, model.device)
    except UnsupportedError:
        return False
    if any(getattr(model.config, name, None) for name in WINDOWS):
        return False
    if not model._supports_default_dynamic_cache():  # MiniMax has a cache of its own
        return False
    return {"position_ids", "logits_to_keep"} <= inspect.signature(model.forward).parameters.keys()


def common_prefix(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the longest list that all rows begin with."""
    columns = zip(*rows, strict=False)  # up to the end of the shortest
    return [column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns)]
