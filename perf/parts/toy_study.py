"""The default study's trainings on this device, beside the CPU's snapshot; a killed training.

The base model and the questions come from a finished study (`--results`), so that the start is the
same. One seed of each method is trained by the workflow's own command.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch
from parts.checks import SHOWN

from thinktuning.data.prompt import student_chat
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import detect
from thinktuning.grading.grader import Grader
from thinktuning.io.files import read_jsonl
from thinktuning.models.chat import encode_chats, eos_ids, generate_ids
from thinktuning.study.jobs import TrainJob, read_config, to_json
from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "thinktuning.commands.cli"]
SNAPSHOT = ROOT / "docs" / "default" / "comparison.md"
VOLATILE = ("time", "step_time", "num_tokens", "epoch")  # prefixes of metrics that may differ
DETERMINISTIC = """\
import torch
torch.use_deterministic_algorithms(True, warn_only=True)
"""


def run(checks):
    """Run the part's checks."""
    study = load_study(ROOT / "config.yaml")
    base = checks.results / "models" / "base"
    if not base.is_dir():
        raise SystemExit(f"{base}: is missing; run `make all` first, or pass --results")
    checks.run("base model beside the snapshot", evaluated, checks, study, "zero_shot", base)
    trainings = {}
    for method in ("grpo", "thinktuning"):  # both at once: the model is too small to fill a GPU
        steps = {"max_steps": 4, "save_steps": 2, "warmup_steps": 0} if checks.small else {}
        trainings[method] = Training(checks, study, method, method, steps)
    deterministic = checks.directory / "deterministic"
    deterministic.mkdir()
    (deterministic / "sitecustomize.py").write_text(DETERMINISTIC)
    exact = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONPATH": str(deterministic)}
    modes = {"as it is": {}, "deterministic algorithms": exact}
    resumed = {name: Resumed(checks, study, name, extra) for name, extra in modes.items()}
    for method, training in trainings.items():
        checks.run(f"train {method}", training.result)
        model = training.output / "model"
        checks.run(f"{method} beside the snapshot", evaluated, checks, study, method, model)
    for name, each in resumed.items():
        checks.run(f"kill and resume, {name}", each.result)
    checks.run("the stage `evaluate`", stage, checks, study, base)


class Training:
    """A training by the workflow's command, which runs beside others until `result`."""

    def __init__(self, checks, study, method, name, training, environment=None):
        job = study.train_job(method, 0)
        merged = job.training.model_copy(update=training)
        self.output = checks.directory / "runs" / name
        self.output.mkdir(parents=True)
        config = self.output / "config.json"
        config.write_text(to_json(job.model_copy(update={"training": merged})))
        read_config(config, TrainJob)
        self.command = [*CLI, "train", "--config", str(config), "--output", str(self.output)]
        self.command += ["--model", str(checks.results / "models" / "base")]
        self.command += ["--data", str(checks.results / "data" / "train.jsonl")]
        extra = dict(environment or {})
        paths = [extra.pop("PYTHONPATH", ""), os.environ.get("PYTHONPATH", "")]
        self.environment = os.environ | extra | {"OMP_NUM_THREADS": "1" if checks.small else "4"}
        self.environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        self.log = self.output.with_suffix(".log")
        self.start()

    def start(self):
        """Start it, or start it again."""
        self.started = time.perf_counter()
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def finish(self):
        """Wait for its end."""
        code = self.process.wait(timeout=280)
        self.seconds = time.perf_counter() - self.started
        if code:
            raise RuntimeError(f"exit {code}: {self.log.read_text()[-SHOWN:]}")

    def result(self):
        """Return its time, rewards and peak memory."""
        self.finish()
        rows = list(read_jsonl(self.output / "metrics.jsonl"))
        shown = ("student_reward", "reflection_rate", "student_length")
        return {
            "seconds with start": self.seconds,
            "seconds of training": sum(row["time_step"] for row in rows),
            "batches": len(rows),
            "last batch": {name: rows[-1][name] for name in shown},
        }


class Resumed:
    """An uninterrupted training, and one that is killed after a checkpoint and started again."""

    def __init__(self, checks, study, name, environment):
        steps = {"max_steps": 20, "save_steps": 4}
        if checks.small:
            steps = {"max_steps": 8, "save_steps": 2, "warmup_steps": 0}
        label = name.replace(" ", "_")
        make = [checks, study, "thinktuning"]
        self.whole = Training(*make, f"whole-{label}", steps, environment)
        self.killed = Training(*make, f"killed-{label}", steps, environment)
        self.reached = []
        self.killer = threading.Thread(target=self.kill, daemon=True)
        self.killer.start()

    def kill(self):
        """Kill one of the two after its first checkpoint, and start it again."""
        process, state = self.killed.process, self.killed.output / "checkpoints"
        while not list(state.glob("checkpoint-*/trainer_state.json")):
            if process.poll() is not None:
                return
            time.sleep(0.01)
        process.kill()
        process.wait()
        self.reached = sorted(path.name for path in state.glob("checkpoint-*"))
        self.killed.start()

    def result(self):
        """Compare the two runs' weights and metrics."""
        self.killer.join(timeout=250)
        self.killed.finish()
        self.whole.finish()
        if not self.reached:
            raise RuntimeError("ended before it could be killed")
        runs = (self.whole.output, self.killed.output)
        weights = [digest(output / "model" / "model.safetensors") for output in runs]
        metrics = [untimed(output) for output in runs]
        return {
            "killed at": self.reached,
            "weights identical": weights[0] == weights[1],
            "metrics identical": metrics[0] == metrics[1],
            "largest difference of weights": difference(*runs),
            "ok": weights[0] == weights[1] and metrics[0] == metrics[1],
        }


def digest(path):
    """Return a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def difference(a, b):
    """Return the largest difference between two runs' weights."""
    from safetensors.torch import load_file

    first, second = (load_file(run / "model" / "model.safetensors") for run in (a, b))
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def untimed(output):
    """Return a run's metrics without times and counters."""
    return [
        {key: value for key, value in row.items() if not key.startswith(VOLATILE)}
        for row in read_jsonl(output / "metrics.jsonl")
    ]


def evaluated(checks, study, method, model_dir):
    """Sample and grade the study's tasks, and put the shares beside the snapshot's intervals."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32").to(checks.device)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    set_seed(study.evaluation.seed)
    prompt = study.train_job(method, 0).prompt
    snapshot, found = intervals(), {}
    label = study.methods[method].label or method
    started = time.perf_counter()
    for name, task in study.tasks.items():
        rows = list(read_jsonl(checks.results / "data" / "eval" / f"{name}.jsonl"))
        rows = [
            row for row in rows[: 20 if checks.small else None] for _ in range(task.num_samples)
        ]
        chats = [student_chat(row["question"], prompt) for row in rows]
        ids = encode_chats(chats, tokenizer)
        texts, ended = sampled(model, tokenizer, ids, study.evaluation)
        answers = [extract_boxed(t) if e else None for t, e in zip(texts, ended, strict=True)]
        golds = [row["answer"] for row in rows]
        with Grader() as grader:
            verdicts = grader.grade(answers, golds, task.answer_kind, [None] * len(rows))
        low, high = snapshot[name, label]
        accuracy = 100 * sum(v == "correct" for v in verdicts) / len(rows)
        found[name] = {
            "accuracy, %": round(accuracy, 1),
            "snapshot, %": [low, high],
            "within": low <= accuracy <= high,
            "reflects, %": round(100 * sum(bool(detect(t)) for t in texts) / len(rows), 1),
        }
    return found | {"seconds": time.perf_counter() - started}


def sampled(model, tokenizer, prompt_ids, settings):
    """Sample an answer to each prompt; return the texts, and whether each ended by itself."""
    texts, ended = [], []
    ends = eos_ids(model, tokenizer)
    for start in range(0, len(prompt_ids), settings.batch_size):
        batch = prompt_ids[start : start + settings.batch_size]
        options = {"do_sample": True, "temperature": settings.temperature, "top_k": 0}
        for ids in generate_ids(model, tokenizer, batch, settings.max_gen_toks, **options):
            texts.append(tokenizer.decode(ids, skip_special_tokens=True))
            ended.append(bool(ids) and ids[-1] in ends)
    return texts, ended


def intervals():
    """Return (task, method) -> the snapshot's interval of the accuracy, in percent."""
    found, task = {}, None
    for line in SNAPSHOT.read_text().splitlines():
        if line.startswith("## "):  # a task, or the mean of all, whose name has spaces
            title = re.match(r"## (\w+) \(", line)
            task = title and title[1]
        row = re.match(r"\| ([^|]+) \| [-\d]+ \| [\d.]+ \[([\d.]+), ([\d.]+)\]", line)
        if row and task:
            found[task, row[1]] = float(row[2]), float(row[3])
    return found


def stage(checks, study, base):
    """Run the workflow's evaluation command on one task."""
    task = "chain_sum"
    output = checks.directory / "eval"
    output.mkdir()
    config = output / "config.json"
    config.write_text(to_json(study.evaluate_job("zero_shot", None, task)))
    data = checks.results / "data" / "eval" / f"{task}.jsonl"
    command = [*CLI, "evaluate", "--config", str(config), "--model", str(base)]
    command += ["--data", str(data), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-SHOWN:])
    results = json.loads((output / "results.json").read_text())
    shutil.rmtree(output)
    low, high = intervals()[task, "zero-shot"]
    accuracy = 100 * results["mean"]
    shown = {
        "accuracy, %": accuracy,
        "snapshot, %": [low, high],
        "seconds": results["wall_seconds"],
    }
    return shown | {"cuda": torch.cuda.is_available()}
