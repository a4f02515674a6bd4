"""Models of several architectures with large random weights, and batches for them."""

from functools import cache

import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 50
PAD, *WORDS = range(VOCABULARY)
SIZES = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=4,
    max_position_embeddings=128,
    tie_word_embeddings=False,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=PAD,
)
GPT2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=128, initializer_range=0.3)
LONGROPE = {  # other frequencies for a batch whose longest row is longer than the original length
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 12,
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
}
CONFIGS = {
    "llama": ("llama", {}),
    "tied": ("llama", {"tie_word_embeddings": True}),
    "grouped queries": ("llama", {"num_key_value_heads": 2}),
    "bfloat16": ("llama", {}),
    "absolute positions": ("gpt2", GPT2),
    "no positions": ("bloom", {"n_head": 4, "n_layer": 2}),  # alibi
    "sliding window": ("mistral", {"sliding_window": 5}),
    "mixed layers": ("gemma2", {"sliding_window": 5, "head_dim": 8}),
    "recurrent": ("lfm2", {"layer_types": ["conv", "full_attention"]}),
    "longest row": ("llama", {"rope_parameters": LONGROPE}),
    "window of columns": (
        "gpt_neo",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["local"], 2]], "window_size": 6},
    ),
    "own inputs": ("phi3", {"original_max_position_embeddings": 128}),
    "own cache": (
        "minimax",
        {
            "layer_types": ["linear_attention", "full_attention"],
            "head_dim": 8,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
        },
    ),
}


@cache
def tiny(name: str, seed: int = 0):
    """Return the model of a name in `CONFIGS`, in evaluation mode. Do not change it."""
    kind, changes = CONFIGS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(SIZES | changes)))
        with torch.no_grad():
            for weight in model.parameters():
                if weight.ndim == 2:
                    weight.normal_(0, 0.25)
    if name == "bfloat16":
        model = model.to(torch.bfloat16)
    return model.eval()


def batch(prompts: list[list[int]]):
    """Return input IDs and attention mask, padded on the left."""
    longest = max(map(len, prompts))
    ids = [[PAD] * (longest - len(prompt)) + prompt for prompt in prompts]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
