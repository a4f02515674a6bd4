"""The SLURM profile, on a real SLURM with fake GPUs that the test starts."""

import copy
import os
import re
import subprocess

import pytest
import slurm
import yaml
from finished_run import untimed
from safetensors.numpy import load_file
from snakemake_run import BIN, ROOT

from thinktuning.io.files import read_jsonl
from thinktuning.study.reading import read_values

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm.MISSING), reason=f"SLURM is not installed: no {slurm.MISSING}"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting SLURM's daemons needs root"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm.slurm(tmp_path_factory.mktemp("slurm")) as env:
        yield env | {"PATH": f"{BIN}{os.pathsep}{env['PATH']}"}


@pytest.fixture
def two_nodes(tmp_path_factory):
    with slurm.slurm(tmp_path_factory.mktemp("slurm"), num_nodes=2) as env:
        path = {"PATH": f"{BIN}{os.pathsep}{env['PATH']}"}
        yield env | path | {"PYTHONPATH": str(ROOT / "tests/helpers/on_cpu")}


@pytest.fixture
def study(tmp_path):
    """The smallest study, with a training that is long enough to be interrupted."""
    values = read_values(ROOT / "studies/smallest.yaml")
    values["seeds"] = [0]
    values["tasks"].pop("basic_arithmetic")
    values["methods"] = {name: values["methods"][name] for name in ("zero_shot", "thinktuning")}
    values["comparison"]["baselines"] = ["zero_shot"]
    values["training"] |= {"max_steps": 60, "save_steps": 2}
    return values


def command(directory, study, *arguments):
    """Return the documented command, with faster polling."""
    path = directory / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return [
        *("snakemake", "--snakefile", str(ROOT / "Snakefile"), *arguments),
        *("--workflow-profile", str(ROOT / "profiles/slurm"), "--latency-wait", "5"),
        *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
        *("--configfile", str(path)),
    ]


def running_job(env, rule):
    """Return the id of the running job of a rule, "" if there is none."""
    running = slurm.output(env, "squeue", "--noheader", "--states=R", "-o", "%A %k")
    found = re.search(rf"^(\d+) rule_{rule}_", running, re.M)
    return found[1] if found else ""


def last_checkpoint(run):
    """Return the last complete checkpoint's step, 0 if there is none."""
    found = run.glob("checkpoints/checkpoint-*/trainer_state.json")
    return max((int(path.parent.name.split("-")[1]) for path in found), default=0)


def test_a_study_survives_scancel_and_requeue(cluster, study, tmp_path):
    run = tmp_path / "results/runs/thinktuning/seed0"
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            command(tmp_path, study), cwd=tmp_path, env=cluster, stdout=out, stderr=out
        )
    try:

        def reaches(step):
            assert process.poll() is None, (tmp_path / "out").read_text()
            return last_checkpoint(run) >= step

        slurm.wait(lambda: reaches(4), 120, "training has a checkpoint")
        cancelled = running_job(cluster, "train")
        subprocess.run(["scancel", cancelled], env=cluster, check=True)
        slurm.wait(
            lambda: running_job(cluster, "train") not in ("", cancelled),
            60,
            "the job was submitted again",
        )
        reached = last_checkpoint(run)
        assert 4 <= reached < 60
        slurm.wait(lambda: reaches(reached + 4), 60, "training resumes")
        requeued = running_job(cluster, "train")
        subprocess.run(["scontrol", "requeue", requeued], env=cluster, check=True)
        process.wait(180)
    finally:
        process.kill()
    printed = (tmp_path / "out").read_text()
    assert process.returncode == 0, printed
    assert (tmp_path / "results/report/index.html").exists()
    assert f"SLURM-job '{cancelled}' failed" in printed
    assert f"/results/logs/slurm/rule_train/thinktuning_0/{cancelled}.log" in printed

    whole = tmp_path / "whole"
    stage = ["thinktuning", "train", "--config", str(run / "config.json"), "--output", str(whole)]
    stage += ["--model", "results/models/base", "--data", "results/data/train.jsonl"]
    alone = cluster | {"OMP_NUM_THREADS": "1"}
    subprocess.run(stage, cwd=tmp_path, env=alone, check=True, capture_output=True)
    weights, expected = (load_file(made / "model/model.safetensors") for made in (run, whole))
    assert all((weights[name] == expected[name]).all() for name in expected)
    assert untimed(run) == untimed(whole)
    assert (run / "rollouts.jsonl").read_text() == (whole / "rollouts.jsonl").read_text()


def test_a_cancelled_evaluation_keeps_the_tasks_that_it_has_finished(
    cluster, study, tmp_path, lively
):
    study["model"] = {"source": "path", "path": str(lively)}
    study["tasks"] = {"first": study["tasks"]["chain_sum"]}
    study["tasks"]["second"] = copy.deepcopy(study["tasks"]["first"])
    study["tasks"]["second"] |= {"num_samples": 100}
    study["tasks"]["second"]["data"]["seed"] += 1000
    directory = tmp_path / "results/eval/zero_shot/seed0"
    target = "results/eval/zero_shot/seed0/second/results.json"
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            command(tmp_path, study, target), cwd=tmp_path, env=cluster, stdout=out, stderr=out
        )
    try:
        kept = directory / "first/.results.json.done/results.json"
        slurm.wait(kept.exists, 180, "the first task is done")
        made = kept.read_text()
        cancelled = running_job(cluster, "evaluate")
        subprocess.run(["scancel", cancelled], env=cluster, check=True)
        process.wait(300)
    finally:
        process.kill()
    printed = (tmp_path / "out").read_text()
    assert process.returncode == 0, printed
    assert f"SLURM-job '{cancelled}' failed" in printed
    assert (directory / "first/results.json").read_text() == made
    assert (directory / "second/samples.jsonl").exists()
    assert not list(directory.rglob(".*"))


def test_jobs_get_the_gpus_memory_and_time_of_the_study(cluster, study, tmp_path, likely_eos):
    study["model"] = {"source": "path", "path": str(likely_eos)}
    study["resources"]["train"] |= {"gpu": 2, "mem_mb": 1234, "runtime": 17}
    target = "results/runs/thinktuning/seed0/provenance.json"
    # A fake GPU cannot train: another job holds both, and the request is read from the queue.
    blocker = ["sbatch", "--gpus=1", "--mem=10", "--output", str(tmp_path / "blocker")]
    subprocess.run([*blocker, "--wrap", "sleep 300"], env=cluster, check=True)
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            command(tmp_path, study, target), cwd=tmp_path, env=cluster, stdout=out, stderr=out
        )
    try:

        def waiting():
            assert process.poll() is None, (tmp_path / "out").read_text()
            return slurm.output(cluster, "squeue", "--noheader", "--states=PD", "-o", "%A|%m|%l|%r")

        slurm.wait(lambda: "Resources" in waiting(), 120, "the training job waits for the GPUs")
        number, memory, limit, _ = waiting().split("|")
        assert (memory, limit) == ("1234M", "17:00")
        details = slurm.output(cluster, "scontrol", "show", "job", number)
        assert re.search(r"TresPerJob=(gres:)?gpu:2\b", details), details
        assert "NumNodes=1-1 " in details  # both on one node
    finally:
        process.kill()
        subprocess.run(["scancel", "--user=root"], env=cluster)
        slurm.wait(lambda: not slurm.output(cluster, "squeue", "--noheader"), 30, "queue is empty")


def test_two_nodes_share_a_training(two_nodes, study, tmp_path, likely_eos):
    """FSDP2 across two nodes, one process each; the GPUs that the job holds are fake."""
    study["model"] = {"source": "path", "path": str(likely_eos)}
    study["training"] |= {"max_steps": 4, "warmup_steps": 0, "loss_type": "dapo"}
    study["training"] |= {"max_prompt_length": 200}
    study["resources"]["train"] |= {"nodes": 2, "gpu": 1, "distributed": "fsdp2"}
    target = "results/runs/thinktuning/seed0/provenance.json"
    once = command(tmp_path, study, target, "--retries", "0")
    done = subprocess.run(once, cwd=tmp_path, env=two_nodes, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = slurm.output(two_nodes, "squeue", "--noheader", "--states=all", "-o", "%A %N %k")
    (number,) = re.findall(r"^(\d+) node\[0-1\] rule_train_", jobs, re.M)
    details = slurm.output(two_nodes, "scontrol", "show", "job", number)
    assert re.search(r"TresPerNode=(gres:)?gpu:1\b", details), details
    (first, *_) = read_jsonl(tmp_path / "results/runs/thinktuning/seed0/metrics.jsonl")
    training = study["training"]
    batch = training["per_device_train_batch_size"] * training["steps_per_generation"]
    assert first["num_rollouts"] == 2 * batch
