"""Trains with each trainer in turns, and puts their times, tokens and floors side by side."""

import json
import re
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import torch
from parts.floor import floor
from parts.settings import KINDS
from parts.stopwatch import PARTS, Positions, Stopwatch
from transformers import TrainerCallback


class Clock(TrainerCallback):
    """The seconds from the first step's start to the last's end, also this process's CPU time."""

    def on_step_begin(self, args, state, control, **_):
        """Start at the first step."""
        if state.global_step == 0:
            self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def on_step_end(self, args, state, control, **_):
        """Stop, for now."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self.started
        self.cpu_seconds = time.process_time() - self.cpu_started


def turn(setting, kind, batches, output, **overrides):
    """Train for some rollout batches from the setting's weights; return what was measured."""
    trainer = setting.trainer(kind, batches, output, **overrides)
    lengths, sampled = [], []
    score = trainer._generate_and_score_completions

    def scored(inputs):
        made = score(inputs)
        prompts, completions = made["prompt_mask"].sum(1), made["completion_mask"].sum(1)
        lengths.append((prompts.tolist(), completions.tolist()))
        own = map(len, trainer.batch.student_ids) if kind == "thinktuning" else lengths[-1][1]
        sampled.append(sum(own))
        return made

    trainer._generate_and_score_completions = scored
    stopwatch, positions, clock = Stopwatch(), Positions(), Clock()
    trainer.add_callback(clock)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with ExitStack() as stack:
        stack.enter_context(positions.on(trainer))
        stack.enter_context(stopwatch.on(trainer))
        trainer.train()
    teacher = getattr(getattr(trainer, "algorithm", None), "teacher", None)
    result = {
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "steps": batches * setting.steps_per_batch,
        "parts": stopwatch.parts(clock.seconds),
        "student_tokens": sum(sampled),
        "teacher_tokens": getattr(teacher, "num_generated_tokens", 0),
        "trained_tokens": sum(sum(completions) for _, completions in lengths),
        "update_positions": positions.update,
        "real_tokens": positions.real,
        "computed_tokens": positions.computed,
        "sampling_positions": positions.sampling,
        "floor": floor(trainer, lengths),
    }
    if torch.cuda.is_available():
        result["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return result


def alternate(setting, batches, turns, output, progress=print):
    """Train with each trainer in turns; return each kind's turns."""
    found = {kind: [] for kind in KINDS}
    for number in range(turns):
        for kind in KINDS:
            found[kind].append(turn(setting, kind, batches, output))
            last = found[kind][-1]
            progress(f"{setting.name}, turn {number + 1}, {kind}: {last['seconds']:.2f} s")
    return found


def spread(values):
    """Return median, minimum and maximum."""
    values = list(values)
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summarize(found):
    """Return ratios to stock TRL of the same turn, and each kind's medians."""
    summary = {}
    for kind, turns in found.items():
        stock = found["stock"]
        pairs = list(zip(turns, stock, strict=True))
        row = {
            "step_seconds": spread(t["seconds"] / t["steps"] for t in turns),
            "ratio": spread(t["seconds"] / s["seconds"] for t, s in pairs),
            "cpu_ratio": spread(t["cpu_seconds"] / s["cpu_seconds"] for t, s in pairs),
            "ratio_per_generated_token": spread(
                (t["seconds"] / generated(t)) / (s["seconds"] / generated(s)) for t, s in pairs
            ),
            "generated_tokens_per_second": spread(generated(t) / t["seconds"] for t in turns),
            "teacher_share": spread(t["teacher_tokens"] / generated(t) for t in turns),
            "forwarded_per_real": spread(t["update_positions"] / t["real_tokens"] for t in turns),
            "forwarded_per_computed": spread(
                t["update_positions"] / max(1, t["computed_tokens"]) for t in turns
            ),
            "sampled_per_real": spread(
                t["sampling_positions"] / max(1, t["student_tokens"]) for t in turns
            ),
            "parts": {
                name: statistics.median(t["parts"][name] / t["steps"] for t in turns)
                for name in PARTS
            },
            "floor": {
                name: statistics.median(t["floor"][name] / t["steps"] for t in turns)
                for name in turns[0]["floor"]
            },
        }
        if "peak_gib" in turns[0]:
            row["peak_gib"] = max(t["peak_gib"] for t in turns)
        summary[kind] = row
    return summary


def generated(turn):
    """Return the tokens that student and teacher generated in a turn."""
    return turn["student_tokens"] + turn["teacher_tokens"]


def peak_memory(script, part, arguments):
    """Return each kind's peak resident memory in MiB, each in a process of its own.

    A process's peak cannot be divided among the trainers that it ran: the allocator keeps what the
    first one used.
    """
    peaks = {}
    for kind in KINDS:
        command = [sys.executable, script, "--peak", part, kind, *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
        peaks[kind] = json.loads(done.stdout.splitlines()[-1])["peak_mb"]
    return peaks


def own_peak():
    """Return this process's peak resident memory in MiB.

    On Linux by its own account: `getrusage` includes the process that it was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
