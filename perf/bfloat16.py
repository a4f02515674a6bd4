"""What bfloat16 costs on this CPU, as PyTorch multiplies it and with products in float32.

    python perf/bfloat16.py            # two minutes on a CPU that has bfloat16, ten without
    python perf/bfloat16.py --quick    # a smoke run

In CPU seconds, the least of several turns, on one thread: an update (forward, backward) of a random
Llama with a third of SmolLM2-135M's layers under autocast, a batch that it samples with weights in
bfloat16, and a step of Muon for the toy model. `thinktuning` takes the last column where the CPU
has no instructions for bfloat16 (`thinktuning.models.emulated`).
"""

import argparse
import copy
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from parts.markdown import table

SMOLLM2 = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 10,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
}
SMALL = SMOLLM2 | {"vocab_size": 512, "num_hidden_layers": 1}
TOY = 3 * [(128, 128)] * 4 + 3 * [(384, 128), (384, 128), (128, 384)]
BATCH, LENGTH, PROMPT = 8, 100, 40


def update(model, bf16):
    """Compute the gradients of a batch of answers, in float32 or under autocast."""
    ids = torch.arange(BATCH * LENGTH).reshape(BATCH, LENGTH) % 500
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        hidden = model.model(input_ids=ids).last_hidden_state[:, PROMPT:]
        logits = model.lm_head(hidden).float().flatten(0, 1)
        torch.nn.functional.cross_entropy(logits, ids[:, PROMPT:].flatten()).backward()
    model.zero_grad()


def sample(model, num_tokens):
    """Sample answers of `num_tokens` tokens."""
    ids = torch.arange(1, BATCH * PROMPT + 1).reshape(BATCH, PROMPT) % 500
    mask, num = torch.ones_like(ids), {"max_new_tokens": num_tokens, "min_new_tokens": num_tokens}
    model.generate(ids, attention_mask=mask, do_sample=True, **num)


def muon():
    """Return a step of Muon for matrices of the toy model's sizes."""
    weights = [torch.nn.Parameter(torch.randn(shape)) for shape in TOY]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    return torch.optim.Muon(weights).step


def fastest(call, context, turns):
    """Return the least CPU time of a call in seconds."""
    found = []
    for _ in range(turns):
        started = time.process_time()
        with context():
            call()
        found.append(time.process_time() - started)
    return min(found)


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run, on a tiny model")
    quick = parser.parse_args().quick
    from transformers import LlamaConfig, LlamaForCausalLM

    from thinktuning.models.emulated import InFloat32, is_emulated

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**(SMALL if quick else SMOLLM2)))
    narrow = copy.deepcopy(model).to(torch.bfloat16)
    num_tokens, turns = (2, 1) if quick else (30, 3)
    step = muon()
    cases = {  # name -> the same work in float32 and in bfloat16
        "update, autocast": (lambda: update(model, False), lambda: update(model, True)),
        f"{num_tokens} tokens sampled, weights in bfloat16": (
            lambda: sample(model, num_tokens),
            lambda: sample(narrow, num_tokens),
        ),
        "Muon": (None, step),
    }
    rows = []
    for name, (in_float32, in_bfloat16) in cases.items():
        plain = fastest(in_float32, nullcontext, turns) if in_float32 else None
        own, ours = (fastest(in_bfloat16, each, turns) for each in (nullcontext, InFloat32))
        seconds = [f"{each:.2f} s" if each else "" for each in (plain, own, ours)]
        rows.append((name, *seconds, f"{own / plain:.1f}" if plain else "", f"{own / ours:.1f}"))
    has = "no" if is_emulated() else "its own"
    print(f"{torch.backends.cpu.get_cpu_capability()}: {has} instructions for bfloat16\n")
    header = ("", "float32", "bfloat16", "products in float32", "bfloat16 / float32", "gain")
    print(table(header, rows))


if __name__ == "__main__":
    main()
