"""A random Llama of 3B parameters on one GPU: memory, steps, updates, the teacher, a checkpoint.

The sizes are those of Llama-3.2-3B, with an untied head (`lengths`), so 3.6B parameters: float32
weights and AdamW, bfloat16 autocast. Answers have GSM8K's lengths.
"""

import copy
import gc
import shutil
import statistics
import time
from pathlib import Path

import torch
from parts import lengths
from parts.floor import rates
from parts.settings import forced
from parts.stopwatch import Stopwatch
from parts.turns import turn

from thinktuning.planning.costs import Size, training_memory
from thinktuning.study.reading import load_study
from thinktuning.teachers.local import LocalTeacher
from thinktuning.teachers.prompts import load

ROOT = Path(__file__).parents[2]
LLAMA_3B = {
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_hidden_layers": 28,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "vocabulary": 128256,
}
TINY = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "vocabulary": 1024,
}
SAVED_LAYERS = 8  # of the model whose checkpoint is saved: that of all 28 fills a small disk
ROLLOUTS, GROUP, MICRO = 32, 8, 8  # of a rollout batch, of a prompt, of a micro-batch


def setting_of(checks, layers=None):
    """Return the model's setting: two optimizer steps of two micro-batches a rollout batch.

    Args:
        checks: whose device decides the size.
        layers: how many the model has at most.
    """
    shape = {"mean": 10, "longest": 24} if checks.small else {"mean": 220, "longest": 512}
    accumulated = {"steps_per_generation": ROLLOUTS // MICRO, "gradient_accumulation_steps": 2}
    size = (TINY if checks.small else LLAMA_3B) | {"device": checks.device}
    if layers:
        size["num_hidden_layers"] = min(layers, size["num_hidden_layers"])
    return forced(
        None,
        size=size,
        rollouts=ROLLOUTS,
        group=GROUP,
        name="large",
        per_device_train_batch_size=MICRO,
        bf16=True,
        **accumulated,
        **shape,
    )


def run(checks):
    """Run the part's checks."""
    setting = setting_of(checks)
    checks.run("rates", machine)
    turns = {}
    for kind in ("stock", "ours", "thinktuning"):
        turns[kind] = checks.run(f"step, {kind}", turn, setting, kind, 1, checks.directory / "t")
    checks.run("ratios", ratios, turns)
    checks.run("memory beside plan", memory, checks, setting, turns)
    checks.run("update", updates, checks, setting)
    for dtype in ("float32", "bfloat16"):
        checks.run(f"teacher, {dtype}", teacher, checks, setting, dtype)
    checks.run("checkpoint", checkpoint, checks, setting_of(checks, layers=SAVED_LAYERS))


def machine():
    """Return the rates that floors are computed with."""
    found = {}
    for dtype in (torch.float32, torch.bfloat16):
        flops, bandwidth = rates(dtype)
        found[str(dtype)] = {"TFLOP/s": flops / 1e12, "GB/s": bandwidth / 1e9}
    return found


def ratios(turns):
    """Return each trainer's seconds, and its parts', relative to stock TRL's step."""
    stock = turns["stock"]
    return {
        kind: {
            "step / TRL": each["seconds"] / stock["seconds"],
            "parts, s": each["parts"],
            "floor, s": each["floor"],
            "forwarded / real": each["update_positions"] / each["real_tokens"],
            "forwarded / computed rows": each["update_positions"] / each["computed_tokens"],
            "peak, GiB": each.get("peak_gib"),
        }
        for kind, each in turns.items()
        if each
    }


def memory(checks, setting, turns):
    """Put the measured peak beside the estimate of `thinktuning plan` for this model."""
    model, _ = setting.load()
    config = model.config
    size = Size(
        parameters=model.num_parameters(),
        num_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        kv_size=config.hidden_size // config.num_attention_heads * config.num_key_value_heads,
        vocabulary=config.vocab_size,
    )
    study = load_study(ROOT / "studies" / "llama3.yaml")
    training = {
        name: setting.training[name] for name in ("steps_per_generation", "num_generations")
    }
    training |= {"per_device_train_batch_size": MICRO, "max_prompt_length": 200, "vllm": None}
    training |= {"max_completion_length": setting.training["max_completion_length"]}
    training |= {"gradient_checkpointing": False}
    found = {"parameters": size.parameters}
    for kind, method in (("stock", "grpo"), ("ours", "grpo"), ("thinktuning", "thinktuning")):
        job = study.train_job(method, 0)
        told = {"max_completion_length": training["max_completion_length"], "batch_size": 64}
        job = job.model_copy(
            update={
                "training": job.training.model_copy(update=training),
                "teacher": job.teacher.model_copy(update=told),
            }
        )
        state, working = training_memory(job, size, 1, checks.device == "cuda")
        peak = (turns[kind] or {}).get("peak_gib")
        planned = (state + working) / 2**30
        found[kind] = {"planned, GiB": planned, "measured, GiB": peak}
        found[kind] |= {"state, GiB": state / 2**30, "working, GiB": working / 2**30}
        if peak:
            found[kind]["measured / planned"] = peak / planned
    return found


def rollouts(trainer, seed=0):
    """Return prompts and completions of a rollout batch with GSM8K's lengths, in random order."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary, longest = trainer.model.config.vocab_size, trainer.max_completion_length
    log_p = lengths.distribution(0.43 * longest, longest)
    drawn = torch.multinomial(log_p.exp(), ROLLOUTS, replacement=True, generator=generator)
    prompts = torch.randint(longest // 8, longest // 3, (ROLLOUTS // GROUP,), generator=generator)
    asked = [torch.randint(5, vocabulary, (int(n),), generator=generator) for n in prompts]
    rows = [
        (asked[i // GROUP], torch.randint(5, vocabulary, (int(n),), generator=generator))
        for i, n in enumerate(drawn)
    ]
    return [rows[i] for i in torch.randperm(ROLLOUTS, generator=generator)]


def padded(rows, widths, device, pad=0):
    """Return a micro-batch's IDs and mask, (B, P + C), padded on both sides to `widths`."""
    width, length = widths
    ids = torch.full((len(rows), width + length), pad)
    mask = torch.zeros_like(ids)
    for i, (prompt, completion) in enumerate(rows):
        start, end = width - len(prompt), width + len(completion)
        ids[i, start:end] = torch.cat([prompt, completion])
        mask[i, start:end] = 1
    return ids.to(device), mask.to(device)


def widest(rows):
    """Return the longest prompt's and the longest completion's length."""
    return max(len(p) for p, _ in rows), max(len(c) for _, c in rows)


def updates(checks, setting):
    """Time forward and backward of a rollout batch: padded as TRL does, trimmed, sorted, ours."""
    found = {}
    for name, kind in (
        ("padded", "stock"),
        ("trimmed", "stock"),
        ("sorted", "stock"),
        ("ours", "ours"),
    ):
        trainer = setting.trainer(kind, 1, checks.directory / "t")
        trainer.model.train()
        rows = rollouts(trainer)
        whole = widest(rows)
        if name == "sorted":  # within each optimizer step's half
            half = ROLLOUTS // 2
            halves = (rows[:half], rows[half:])
            rows = [row for each in halves for row in sorted(each, key=lambda row: len(row[1]))]
        batches = [rows[i : i + MICRO] for i in range(0, ROLLOUTS, MICRO)]
        widths = [widest(b) if name in ("trimmed", "sorted") else whole for b in batches]
        inputs = [
            padded(b, w, trainer.accelerator.device) for b, w in zip(batches, widths, strict=True)
        ]
        times = [seconds_of(trainer, inputs, widths) for _ in range(2 if checks.small else 3)]
        found[name] = {
            "seconds": statistics.median(times[1:]),  # the first one compiles kernels
            "first, s": times[0],
            "columns / real": sum(ids.numel() for ids, _ in inputs)
            / sum(int(mask.sum()) for _, mask in inputs),
        }
        if checks.device == "cuda":
            found[name]["peak, GiB"] = torch.cuda.max_memory_allocated() / 2**30
            torch.cuda.reset_peak_memory_stats()
        del trainer, inputs
        gc.collect()
    for each in found.values():
        each["/ padded"] = each["seconds"] / found["padded"]["seconds"]
    return found


def seconds_of(trainer, inputs, widths):
    """Return the seconds of log-probabilities and their gradients for all micro-batches."""
    watch = Stopwatch()
    watch.switch()
    started = watch.since
    trainer.model.zero_grad(set_to_none=True)
    for (ids, mask), (_, length) in zip(inputs, widths, strict=True):
        logps, *_ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, length, compute_entropy=True
        )
        (logps * mask[:, -length:]).sum().backward()
    watch.switch()
    return watch.since - started


def teacher(checks, setting, dtype):
    """Time 64 replies of a frozen copy of the model, in batches of 16 and of 64."""
    model, tokenizer = setting.load()
    model = model.to(getattr(torch, dtype))
    prompt = load("paper").select(None)
    response = tokenizer.decode(list(range(1000, 1000 + (8 if checks.small else 220))))
    chats = [
        prompt.chat(row["question"], response) for row in setting.rows[: 8 if checks.small else 64]
    ]
    found = {"weights, GiB": sum(p.numel() * p.element_size() for p in model.parameters()) / 2**30}
    for batch_size in (2, 8) if checks.small else (16, 64):
        speaker = LocalTeacher(
            model, tokenizer, max_completion_length=8 if checks.small else 64, batch_size=batch_size
        )
        if checks.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        watch = Stopwatch()
        watch.switch()
        started = watch.since
        speaker.generate(copy.deepcopy(chats))
        watch.switch()
        found[f"batches of {batch_size}"] = {
            "seconds": watch.since - started,
            "tokens": speaker.num_generated_tokens,
            "peak, GiB": torch.cuda.max_memory_allocated() / 2**30
            if checks.device == "cuda"
            else None,
        }
    return found


def checkpoint(checks, setting):
    """Save what a training resumes from, after one optimizer step; return bytes and seconds."""
    trainer = setting.trainer("ours", 1, checks.directory / "t", max_steps=1)
    trainer.train()
    parameters = trainer.model.num_parameters()
    started = time.perf_counter()
    trainer._save_checkpoint(trainer.model, trial=None)
    seconds = time.perf_counter() - started
    files = [path for path in (checks.directory / "t").rglob("checkpoint-*/*") if path.is_file()]
    sizes = {path.name: path.stat().st_size for path in files}
    shutil.rmtree(checks.directory / "t")
    total = sum(sizes.values())
    return {
        "seconds": seconds,
        "parameters": parameters,
        "bytes": total,
        "bytes per parameter": total / parameters,
        "GB/s": total / 1e9 / seconds,
        "files": {name: size for name, size in sizes.items() if size > 1e6},
    }
