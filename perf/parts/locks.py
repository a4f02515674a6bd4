"""`thinktuning doctor` on this machine, and whether a GPU is given to one process at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from parts.checks import SHOWN

from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]
HOLD = 6.0  # seconds that the first process keeps the device


def run(checks):
    """Run the part's checks."""
    checks.run("doctor", doctor)
    checks.run("doctor, a study on GPUs", doctor, study(checks))
    checks.run("one process per device", one_at_a_time, checks)
    checks.run("nvidia-smi", smi)


def study(checks):
    """Write a study whose jobs ask for a GPU, with the default study's model and questions."""
    results = checks.results.resolve()
    questions = {"source": "jsonl", "path": str(results / "data" / "train.jsonl")}
    tasks = load_study(ROOT / "config.yaml").tasks
    stated = {
        "extends": str(ROOT / "config.yaml"),
        "name": "on_gpus",
        "data": {"train": questions},
        "tasks": {
            name: {"data": questions | {"path": str(results / f"data/eval/{name}.jsonl")}}
            for name in tasks
        },
        "model": {"source": "path", "path": str(results / "models" / "base")},
        "resources": {"train": {"gpu": 1}, "evaluate": {"gpu": 1}},
    }
    path = checks.directory / "on_gpus.yaml"
    path.write_text(yaml.safe_dump(stated))
    return str(path)


def doctor(*study):
    """Run `thinktuning doctor`; its exit code says whether a study could run."""
    command = [sys.executable, "-m", "thinktuning.commands.cli", "doctor", *study]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    text = done.stdout + done.stderr
    return {"exit": done.returncode, "ok": "Traceback" not in text, "output": text[-2 * SHOWN :]}


def one_at_a_time(checks):
    """Start two jobs on the first device; the second must wait until the first has ended."""
    environment = os.environ | {"TMPDIR": str(checks.directory)}  # locks of its own
    environment["CUDA_VISIBLE_DEVICES"] = "0"
    on_gpu = [sys.executable, "-m", "thinktuning.commands.gpus", "1", sys.executable, "-c"]
    seen = "import os, time; print(os.environ['CUDA_VISIBLE_DEVICES'], time.time(), flush=True)"
    first = subprocess.Popen(
        [*on_gpu, f"{seen}; time.sleep({HOLD}); print(time.time())"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    device, started = first.stdout.readline().split()
    second = subprocess.run(
        [*on_gpu, seen], env=environment, capture_output=True, text=True, timeout=60
    )
    ended = float(first.stdout.readline())
    first.wait()
    other, began = second.stdout.split()
    waited = "waiting for 1 of 1 GPUs" in second.stderr
    return {
        "devices": [device, other],
        "second began after the first ended, s": float(began) - ended,
        "first held it, s": ended - float(started),
        "ok": float(began) >= ended and waited and device == other == "0",
    }


def smi():
    """Return what nvidia-smi says, if there is one."""
    started = time.perf_counter()
    try:
        done = subprocess.run(["nvidia-smi"], capture_output=True, text=True, timeout=30)
    except FileNotFoundError:
        return "none"
    return {"output": done.stdout[:SHOWN], "seconds": time.perf_counter() - started}
