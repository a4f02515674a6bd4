"""Training in two processes (gloo, CPU) equals training in one on the same global batch.

They are started as in the workflow, with `accelerate launch` and the packaged settings. Under FSDP2
and ZeRO-3 each process holds only its shards.
"""

import json
import subprocess
import time
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from extras import needs
from openai_server import Server, solve
from processes import ACCELERATE, HELPERS, command, environment, run
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.jobs import to_json
from thinktuning.study.reading import parse_study

ROOT = Path(__file__).parents[2]
ZERO3 = needs("deepspeed")


@pytest.fixture(scope="module")
def trained(tiny_model_dir, tmp_path_factory):
    """Return a cached function that trains in N processes, with a global batch of 16 rollouts."""
    made = {}

    def train(distributed, num_processes, loss_type, tuning):
        key = (distributed, num_processes, loss_type, tuning)
        if key not in made:
            output = tmp_path_factory.mktemp("run") / "run.json"
            script = [HELPERS / "accelerate_run.py", tiny_model_dir, output, 16 // num_processes]
            done = run(distributed, num_processes, *script, loss_type, tuning)
            assert done.returncode == 0, done.stdout + done.stderr
            made[key] = json.loads(output.read_text())
            assert made[key]["num_processes"] == num_processes
        return made[key]

    return train


def start(*arguments, cwd):
    """Start a training, for a test to stop; see `command`."""
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    return subprocess.Popen(command(*arguments), cwd=cwd, env=environment(), **quiet)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("distributed", "loss_type", "tuning"),
    [
        ("ddp", "dapo", "full"),
        ("ddp", "grpo", "lora"),
        ("ddp", "dapo", "critique_grpo"),
        ("ddp", "dapo", "sdpo"),
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
    # under DDP each process holds all weights, otherwise about half
    held = two["num_held"] / one["num_held"]
    assert held == 1 if distributed == "ddp" else held == pytest.approx(0.5, abs=0.01)
    assert one["layout"] == two["layout"] == "packed"
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
        # The order of summation differs between one and two processes, and Adam amplifies rounding
        # in a gradient near 0 to a step of up to lr = 1e-3.
        torch.testing.assert_close(
            torch.tensor(two["weights"][name]), torch.tensor(weight), atol=1e-5, rtol=1e-4
        )


@pytest.mark.slow
def test_two_processes_score_the_pairs_of_one(trained):
    """Each has the mean over its own pairs, so that the loss may differ, and the texts may not."""
    one, two = trained("", 1, "dapo", "dpo"), trained("ddp", 2, "dapo", "dpo")
    counts = [[row["extra_scored_tokens"] for row in run["log"]] for run in (one, two)]
    assert counts[0] == counts[1] and any(counts[0])
    pairs = [r["student_reward"] == 0 < r["reward"] and r["taught"] for r in two["rollouts"]]
    assert any(pairs[:8]) and any(pairs[8:])
    assert all(row["loss"] > 0 or not row["extra_scored_tokens"] for row in two["log"])


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["ddp", "fsdp2", pytest.param("zero3", marks=ZERO3)])
def test_log_probabilities_stay_float32_in_bfloat16(trained, distributed):
    made = trained(distributed, 2, "dapo", "bf16")
    assert made["dtypes"] == ["torch.float32"] and made["layout"] == "packed"


@pytest.fixture
def job(likely_eos, tmp_path):
    """Write a job's files; return the stage's arguments without the output."""

    def write(num_questions, teacher, **training):
        study = yaml.safe_load((ROOT / "config.yaml").read_text())
        study["training"] |= {"max_steps": 4, "save_steps": 2, "warmup_steps": 0}
        study["training"] |= {"per_device_train_batch_size": 4, "num_generations": 4}
        study["training"] |= {"max_prompt_length": 200, "max_completion_length": 48}
        study["training"] |= {"loss_type": "dapo", "rollouts_per_step": 100} | training
        study["teacher"] |= teacher
        resolved = parse_study(study, "test").train_job("thinktuning", 0)
        (tmp_path / "config.json").write_text(to_json(resolved))
        rows = [
            {"id": f"q{i}", "question": f"What is {i}+1?", "answer": str(i + 1)}
            for i in range(num_questions)
        ]
        write_jsonl(tmp_path / "train.jsonl", rows)
        stage = ["-m", "thinktuning.commands.cli", "train", "--config", "config.json"]
        return [*stage, "--model", likely_eos, "--data", "train.jsonl", "--output"]

    return write


@pytest.mark.slow
def test_two_processes_write_one_set_of_outputs(job, tmp_path):
    stage = job(4, {"max_completion_length": 8})
    done = run("ddp", 2, *stage, "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "run"
    assert sorted(path.name for path in made.iterdir()) == [
        *("metrics.jsonl", "model", "provenance.json", "rollouts.jsonl")
    ]
    metrics = list(read_jsonl(made / "metrics.jsonl"))
    assert [row["rollout_batch"] for row in metrics] == [1, 2]
    assert [row["num_rollouts"] for row in metrics] == [16, 16]  # 4 x 2 per process
    assert len(list(read_jsonl(made / "rollouts.jsonl"))) == 32
    AutoModelForCausalLM.from_pretrained(made / "model")

    # 2 prompts per process and batch: 4 questions are too few for three processes
    done = run("ddp", 3, *stage, "other", cwd=tmp_path)
    assert done.returncode != 0
    assert "4 questions, fewer than the 6 prompts of a rollout batch" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["fsdp2", pytest.param("zero3", marks=ZERO3)])
def test_a_killed_sharded_training_reproduces_the_whole_one(job, tmp_path, likely_eos, distributed):
    """With real rollouts, and precision and checkpointing as in the studies for GPUs."""
    with Server(solve) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        settings = {"max_steps": 16, "bf16": True, "gradient_checkpointing": True}
        stage = job(16, {"backend": "openai", "openai": endpoint}, **settings)
        done = run(distributed, 2, *stage, "whole", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        killed = start(distributed, 2, *stage, "killed", cwd=tmp_path)
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
        if distributed == "zero3":  # as `plan` estimates
            assert bytes_taken == pytest.approx(16 * num_weights, rel=0.1)
        else:  # each process has written its own shards, and nobody a copy of the weights
            file_formats = 3 * num_weights  # 2 KB for each of the 160 tensors of so small a model
            assert 12 * num_weights < bytes_taken < 12 * num_weights + file_formats
            shards = [path.name for path in saved.rglob("*.distcp")]
            assert sorted(shards) == sorted(2 * ["__0_0.distcp", "__1_0.distcp"])
            assert not list(saved.glob("*.safetensors"))
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


@pytest.mark.slow
@pytest.mark.parametrize("distributed", ["ddp", "fsdp2", pytest.param("zero3", marks=ZERO3)])
def test_two_processes_that_failed_after_the_last_step_take_no_other(job, tmp_path, distributed):
    with Server(solve) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        # four prompts a step for two steps each: the last step is within the second epoch
        stage = job(12, {"backend": "openai", "openai": endpoint}, max_steps=8)
        assert run(distributed, 2, *stage, "whole", cwd=tmp_path).returncode == 0
        blocked = tmp_path / "failed/checkpoints/model"
        failed = start(distributed, 2, *stage, "failed", cwd=tmp_path)
        while not (blocked.parent / "job").exists():
            assert failed.poll() is None
            time.sleep(0.05)
        blocked.write_text("a file where the model's directory would be")
        assert failed.wait() != 0
        assert (blocked.parent / "checkpoint-8/trainer_state.json").exists()
        blocked.unlink()
        done = run(distributed, 2, *stage, "failed", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    made = [tmp_path / name for name in ("whole", "failed")]
    whole, again = (load_file(path / "model/model.safetensors") for path in made)
    assert all(torch.equal(weight, again[key]) for key, weight in whole.items())
    for path in made:
        steps = [row["step"] for row in read_jsonl(path / "metrics.jsonl")]
        assert steps[-1] == 8 and len(steps) == 4
    assert len({(path / "rollouts.jsonl").read_text() for path in made}) == 1


@pytest.mark.parametrize(
    ("name", "kind"), [("ddp", "MULTI_GPU"), ("fsdp2", "FSDP"), ("zero3", "DEEPSPEED")]
)
def test_accelerate_reads_the_packaged_settings(name, kind):
    config = load_config_from_file(str(ACCELERATE / f"{name}.yaml"))
    assert config.distributed_type == kind
