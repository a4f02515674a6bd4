"""The floor beside each part: its FLOPs at the measured matmul rate, its bytes at the bandwidth.

Counted is what the method needs and nothing else: real tokens, one pass over the weights per
decoding step, keys and values of the rows that have not ended. Prompts are counted once per group
of rollouts where one pass serves all, in sampling. The floor of a part is the longer of computing
and reading.
"""

import functools
import time

import torch


@functools.cache
def rates(dtype=torch.float32):
    """Return FLOP/s of a large matrix product, and bytes/s of reading and writing memory."""
    cuda = torch.cuda.is_available()
    device, n, size = ("cuda", 8192, 2**28) if cuda else ("cpu", 1024, 2**24)
    a = torch.randn(n, n, device=device, dtype=dtype)
    x = torch.randn(size, device=device)
    y = torch.empty_like(x)
    matmul = best(lambda: a @ a, cuda)
    copy = best(lambda: y.copy_(x), cuda)
    return 2 * n**3 / matmul, 2 * 4 * size / copy


def best(call, cuda, repeats=7):
    """Return the shortest time of a call, in seconds."""
    found = []
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        if cuda:
            torch.cuda.synchronize()
        found.append(time.perf_counter() - started)
    return min(found)


def floor(trainer, lengths):
    """Return the least seconds of each part.

    Args:
        trainer: the trainer.
        lengths: of each rollout batch, the prompts' and the completions' lengths in tokens.
    """
    config = trainer.model.config
    bf16 = bool(trainer.args.bf16) and torch.cuda.is_available()
    flops, bandwidth = rates(torch.bfloat16 if bf16 else torch.float32)
    trunk = sum(p.numel() for name, p in trainer.model.named_parameters() if is_trunk(name))
    head = config.vocab_size * config.hidden_size
    attention = 4 * config.num_hidden_layers * config.hidden_size
    width = config.hidden_size * config.num_key_value_heads // config.num_attention_heads
    cached = 2 * config.num_hidden_layers * width * 4  # bytes of a token's keys and values
    weights = 4 * (trunk + head)
    group = trainer.num_generations
    sampling = forward = 0.0
    for prompts, completions in lengths:
        rows = list(zip(prompts, completions, strict=True))
        shared = sum(2 * trunk * p + attention * p * p / 2 for p in prompts[::group])
        sampling += shared / flops
        for step in range(max(completions)):
            open_rows = [p + step for p, c in rows if c > step]
            computing = len(open_rows) * 2 * (trunk + head) + attention * sum(open_rows)
            reading = weights + cached * sum(open_rows)
            sampling += max(computing / flops, reading / bandwidth)
        forward += sum(
            2 * trunk * (p + c) + 2 * head * c + attention * (p + c) ** 2 / 2 for p, c in rows
        )
    uses = trainer.args.steps_per_generation * trainer.num_iterations
    off_policy = max(0.0, 1 - trainer.args.gradient_accumulation_steps / uses)
    return {
        "generation": sampling,
        "old_logps": forward / flops * off_policy,  # the first step's ratio is 1
        "forward": forward / flops,
        "backward": 2 * forward / flops,
    }


def is_trunk(name):
    """Tell whether a parameter is one of a layer's: neither embedding nor head."""
    return "embed" not in name and "lm_head" not in name
