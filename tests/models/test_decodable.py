"""What is found in a model that the decoding loop cannot run as transformers does."""

import copy

import pytest
from peft import LoKrConfig, LoraConfig, OFTConfig, get_peft_model

from tests.helpers.tiny_models import tiny
from thinktuning.models.decodable import is_random


@pytest.mark.parametrize(
    ("adapter", "options"),
    [
        (LoraConfig, {"lora_dropout": 0.5}),
        (LoKrConfig, {"r": 2, "rank_dropout": 0.5}),  # a rate per adapter, in a dict
        (LoKrConfig, {"r": 2, "module_dropout": 0.5}),
        (OFTConfig, {"oft_block_size": 4, "module_dropout": 0.5}),  # a dropout layer of PEFT's own
    ],
)
def test_dropout_of_an_adapter_is_found(adapter, options):
    for on in (True, False):
        rates = {k: v if on or "dropout" not in k else 0.0 for k, v in options.items()}
        config = adapter(target_modules=["q_proj"], task_type="CAUSAL_LM", **rates)
        model = get_peft_model(copy.deepcopy(tiny("llama")), config)
        assert any(map(is_random, model.train().modules())) == on
        assert not any(map(is_random, model.eval().modules()))
