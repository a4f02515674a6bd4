"""Two processes (gloo, CPU) train as one does on the same global batch; the stage under them.

They start as the workflow starts them, through `accelerate launch` and the packaged settings, and
under FSDP2 and ZeRO-3 each has but its shards.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from extras import needs
from openai_server import Server
from safetensors.torch import load_file
from test_train import solve
from transformers import AutoModelForCausalLM

from thinktuning.config import parse_study, to_json
from thinktuning.files import read_jsonl, write_jsonl

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
ZERO3 = needs("deepspeed")


def command(distributed, num_processes, *arguments):
    """The workflow's command for a job on several GPUs; for one process none of it."""
    if num_processes == 1:
        return [sys.executable, *map(str, arguments)]
    settings = ROOT / f"thinktuning/accelerate/{distributed}.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(settings)]
    launch += ["--num_processes", str(num_processes), "--main_process_port", "0"]
    return [*launch, *map(str, arguments)]


def environment():
    # an engine of vLLM's in this process, of other tests, has left it such variables
    places = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
    own = {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(HERE / "on_cpu")}
    return {name: value for name, value in os.environ.items() if name not in places} | own


def run(distributed, num_processes, *arguments, **settings):
    return subprocess.run(
        command(distributed, num_processes, *arguments),
        **({"capture_output": True, "text": True, "env": environment(), "timeout": 300} | settings),
    )


@pytest.fixture(scope="module")
def trained(tiny_model_dir, tmp_path_factory):
    """Return a function that trains in some processes, 16 rollouts a batch in all, just once."""
    made = {}

    def train(distributed, num_processes, loss_type, tuning):
        key = (distributed, num_processes, loss_type, tuning)
        if key not in made:
            output = tmp_path_factory.mktemp("run") / "run.json"
            script = [HERE / "accelerate_run.py", tiny_model_dir, output, 16 // num_processes]
            done = run(distributed, num_processes, *script, loss_type, tuning)
            assert done.returncode == 0, done.stdout + done.stderr
            made[key] = json.loads(output.read_text())
            assert made[key]["num_processes"] == num_processes
        return made[key]

    return train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distributed", "loss_type", "tuning"),
    [
        ("ddp", "dapo", "full"),
        ("ddp", "grpo", "lora"),
        ("fsdp2", "dapo", "full"),
        pytest.param("zero3", "dapo", "full", marks=ZERO3),
    ],
)
def test_two_processes_equal_one(trained, distributed, loss_type, tuning):
    one = trained("", 1, loss_type, tuning)
    two = trained(distributed, 2, loss_type, tuning)

    assert one["backend"] == "NO"
    backends = {"ddp": "MULTI_CPU", "fsdp2": "FSDP", "zero3": "DEEPSPEED"}
    assert two["backend"] == backends[distributed]
    # under DDP each process holds everything, else about half
    held = two["num_held"] / one["num_held"]
    assert held == 1 if distributed == "ddp" else held == pytest.approx(0.5, abs=0.01)
    assert any(rollout["taught"] for rollout in one["rollouts"])
    assert len(two["rollouts"]) == 16
    for a, b in zip(one["rollouts"], two["rollouts"], strict=True):
        a, b = dict(a), dict(b)
        assert a.pop("advantage") == pytest.approx(b.pop("advantage"), rel=1e-5, abs=1e-6)
        assert a == b
    names = ("loss", "reward", "student_reward", "num_taught", "teacher_tokens", "student_length")
    for a, b in zip(one["log"], two["log"], strict=True):
        assert [a[name] for name in names] == pytest.approx([b[name] for name in names], abs=1e-5)
    for name, weight in one["weights"].items():
        # Adam turns rounding in a gradient near 0 into a step of up to lr = 1e-3; the sums of the
        # two processes are rounded in another order
        torch.testing.assert_close(
            torch.tensor(two["weights"][name]), torch.tensor(weight), atol=1e-5, rtol=1e-4
        )


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["ddp", "fsdp2", pytest.param("zero3", marks=ZERO3)])
def test_log_probabilities_stay_float32_in_bfloat16(trained, distributed):
    assert trained(distributed, 2, "dapo", "bf16")["dtypes"] == ["torch.float32"]


@pytest.fixture
def job(likely_eos, tmp_path):
    """Write a job's files; returns the stage's arguments, but for its output."""

    def write(num_questions, teacher, **training):
        study = yaml.safe_load((ROOT / "config.yaml").read_text())
        study["training"] |= {"max_steps": 4, "save_steps": 2, "warmup_steps": 0}
        study["training"] |= {"per_device_train_batch_size": 4, "num_generations": 4}
        study["training"] |= {"max_prompt_length": 200, "max_completion_length": 48}
        study["training"] |= {"loss_type": "dapo", "rollouts_per_step": 100} | training
        study["teacher"] |= teacher
        run = parse_study(study, "test").run_config("thinktuning", 0)
        (tmp_path / "config.json").write_text(to_json(run))
        rows = [
            {"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1)}
            for i in range(num_questions)
        ]
        write_jsonl(tmp_path / "train.jsonl", rows)
        stage = ["-m", "thinktuning.cli", "train", "--config", "config.json"]
        return [*stage, "--model", likely_eos, "--data", "train.jsonl", "--output"]

    return write


@pytest.mark.slow
def test_the_stage_writes_once_what_two_processes_did(job, tmp_path):
    stage = job(4, {"max_completion_length": 8})
    done = run("ddp", 2, *stage, "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "run"
    assert sorted(path.name for path in made.iterdir()) == [
        *("metrics.jsonl", "model", "provenance.json", "rollouts.jsonl")
    ]
    metrics = list(read_jsonl(made / "metrics.jsonl"))
    assert [row["rollout_batch"] for row in metrics] == [1, 2]
    assert [row["num_rollouts"] for row in metrics] == [16, 16]  # 4 x 2 of each process
    assert len(list(read_jsonl(made / "rollouts.jsonl"))) == 32
    AutoModelForCausalLM.from_pretrained(made / "model")

    # four prompts a batch: with three processes there are too few questions
    done = run("ddp", 3, *stage, "other", cwd=tmp_path)
    assert done.returncode != 0
    assert "4 questions, fewer than the 6 prompts of a rollout batch" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["fsdp2", pytest.param("zero3", marks=ZERO3)])
def test_a_killed_sharded_training_repeats_the_whole_one(job, tmp_path, likely_eos, distributed):
    """With the precision and the checkpointing of the studies for GPUs, and real rollouts."""
    with Server(solve) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        settings = {"max_steps": 16, "bf16": True, "gradient_checkpointing": True}
        stage = job(16, {"backend": "openai", "openai": endpoint}, **settings)
        done = run(distributed, 2, *stage, "whole", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        killed = subprocess.Popen(
            command(distributed, 2, *stage, "killed"),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        checkpoints = tmp_path / "killed/checkpoints"
        while not list(checkpoints.glob("checkpoint-*/trainer_state.json")):
            assert killed.poll() is None
            time.sleep(0.05)
        for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
            process.kill()
        killed.wait()
        saved = next(checkpoints.glob("checkpoint-*/trainer_state.json")).parent
        bytes_taken = sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())
        num_weights = sum(w.numel() for w in load_file(likely_eos / "model.safetensors").values())
        assert bytes_taken == pytest.approx(16 * num_weights, rel=0.1)  # as `plan` has it
        assert not (tmp_path / "killed/model").exists()
        done = run(distributed, 2, *stage, "killed", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    name = "model/model.safetensors"
    before = load_file(likely_eos / "model.safetensors")
    whole, resumed = load_file(tmp_path / "whole" / name), load_file(tmp_path / "killed" / name)
    assert whole.keys() == before.keys()
    assert any((weight != before[key].to(weight.dtype)).any() for key, weight in whole.items())
    assert all(torch.equal(weight, resumed[key]) for key, weight in whole.items())
    rollouts = [(tmp_path / made / "rollouts.jsonl").read_text() for made in ("whole", "killed")]
    assert rollouts[0] == rollouts[1]


@pytest.mark.parametrize(
    ("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP"), ("zero3", "DEEPSPEED")]
)
def test_accelerate_reads_the_packaged_settings(name, kind):
    config = load_config_from_file(str(ROOT / f"thinktuning/accelerate/{name}.yaml"))
    assert config.distributed_type == kind
