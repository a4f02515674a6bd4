"""Ways to sample a rollout batch from the model of part `large`, on one GPU."""

import torch
from parts.large import GROUP, ROLLOUTS, setting_of
from parts.stopwatch import Stopwatch
from transformers import set_seed

from thinktuning.models.chat import encode_chats, padded


def run(checks):
    """Run the part's checks, those that may take long last."""
    for kind in ("stock", "ours"):
        checks.run(f"{kind}, as in training", by_trainer, checks, kind)
    checks.run("bfloat16 weights, transformers' loop", by_model, checks)
    static = {"cache_implementation": "static"}
    if not checks.small:  # compiling takes a minute
        checks.run("static cache, compiled", by_model, checks, compiled=True, **static)
    checks.run("static cache", by_model, checks, **static, disable_compile=True)
    # its cache stays allocated, and would fill the memory if nothing was said
    cache = (
        {"num_blocks": 16, "max_batch_tokens": 256} if checks.small else {"max_memory_percent": 0.3}
    )
    batching = {
        "use_transformers_continuous_batching": True,
        "transformers_continuous_batching_config": cache,
    }
    checks.run("continuous batching", by_trainer, checks, "stock", **batching)


def by_trainer(checks, kind, **options):
    """Time a trainer's own sampling, under the autocast that training prepares."""
    setting = setting_of(checks)
    trainer = setting.trainer(kind, 1, checks.directory / "t", **options)
    trainer.accelerator.prepare_model(trainer.model)
    trainer.model.train()
    rows = [row for row in setting.rows[: ROLLOUTS // GROUP] for _ in range(GROUP)]
    prompts, *_ = trainer._tokenize_prompts([row["prompt"] for row in rows])
    budget = trainer.generation_config.max_new_tokens

    def sample(num_tokens):
        trainer.generation_config.max_new_tokens = num_tokens
        if hasattr(trainer, "_new_batch"):
            trainer.batch = trainer._new_batch(rows)
        return trainer._generate_single_turn(prompts, None, {}, GROUP)[0]

    first, _ = timed(sample, 4)
    seconds, completions = timed(sample, budget)
    return summary(first, seconds, [len(ids) for ids in completions], checks)


@torch.no_grad()
def by_model(checks, compiled=False, **options):
    """Time `generate` of a bfloat16 model; a compiled loop compiles in the first run."""
    setting = setting_of(checks)
    model, tokenizer = setting.load()
    model = model.to(torch.bfloat16).eval()
    chats = [row["prompt"] for row in setting.rows[: ROLLOUTS // GROUP] for _ in range(GROUP)]
    ids, mask = padded(encode_chats(chats, tokenizer), tokenizer.pad_token_id)
    inputs = {"input_ids": ids.to(checks.device), "attention_mask": mask.to(checks.device)}
    budget = setting.training["max_completion_length"]

    def sample(num_tokens):
        sampling = {"do_sample": True, "top_k": 0, "max_new_tokens": num_tokens}
        return model.generate(**inputs, **sampling, **options)[:, ids.size(1) :]

    first, _ = timed(sample, budget if compiled else 4)  # it compiles for the budget's shapes
    seconds, completions = timed(sample, budget)
    lengths = (completions != tokenizer.pad_token_id).sum(1).tolist()
    return summary(first, seconds, lengths, checks)


def timed(call, *args):
    """Return the seconds of a call and its result, from the same random state each time."""
    set_seed(0)
    watch = Stopwatch()
    watch.switch()
    started = watch.since
    result = call(*args)
    watch.switch()
    return watch.since - started, result


def summary(first, seconds, lengths, checks):
    """Return times, tokens a second, and the peak memory."""
    found = {"first, s": first, "seconds": seconds, "tokens": sum(lengths), "longest": max(lengths)}
    found["tokens/s"] = sum(lengths) / seconds
    if checks.device == "cuda":
        found["peak, GiB"] = torch.cuda.max_memory_allocated() / 2**30
        torch.cuda.reset_peak_memory_stats()
    return found
