"""The doctor: what it finds on machines that this one is not, and what it says to do."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from openai_server import Server

from thinktuning import cli, doctor, needs
from thinktuning.config import Study, parse_study
from thinktuning.jobs import Job

ROOT = Path(__file__).parents[1]
GIB = 2**30
COMMIT = "0123456789" * 4


def study(**sections) -> Study:
    values = yaml.safe_load((ROOT / "config.yaml").read_text())
    for name, settings in sections.items():
        replaced = name in ("model", "teacher") or "source" in settings
        values[name] = settings if replaced else values[name] | settings
    return parse_study(values, "test")


ROLLOUTS = {"vllm": {"gpu_memory_utilization": 0.5}}


@pytest.fixture
def machine(monkeypatch):
    """A machine with these GPUs, as (free, total) GiB, and this build of torch."""

    def pretend(gpus=(), cuda="13.0", driver=True):
        memory = [(free * GIB, total * GIB) for free, total in gpus]
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(memory))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(memory))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: memory[index])
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
        properties = [SimpleNamespace(total_memory=total) for _, total in memory]
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties[index])
        monkeypatch.setattr(doctor.shutil, "which", lambda name: name if driver else None)

    return pretend


def by_check(findings):
    return {finding.check: finding for finding in findings}


def installed(monkeypatch, **versions):
    """Pretend that these packages are installed in these versions, or not at all."""
    real = doctor.installed_version

    def pretended(name):
        return versions[name] if name in versions else real(name)

    monkeypatch.setattr(doctor, "installed_version", pretended)


def test_this_environment_is_in_order():
    done = subprocess.run(
        [sys.executable, "-m", "thinktuning.cli", "doctor", "config.yaml"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout


def test_a_package_that_is_missing_or_out_of_range(monkeypatch):
    installed(monkeypatch, trl="0.1", peft=None)
    found = by_check(doctor.packages())
    assert found["trl"].status == found["peft"].status == "problem"
    assert found["trl"].found.startswith("0.1, outside")
    assert found["peft"].found == "not installed" and "pip install 'peft" in found["peft"].mend
    assert found["torch"].status == "ok"


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    ("version", "unused", "needed"),
    [(None, "ok", "problem"), ("0.10.0", "warning", "problem"), ("0.30.0+cpu", "ok", "ok")],
)
def test_vllm(monkeypatch, used, version, unused, needed):
    installed(monkeypatch, vllm=version)
    loaded = SimpleNamespace(returncode=0, stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: loaded)
    (found,) = doctor.vllm(study(training={"vllm": {}}) if used else study())
    assert found.status == (needed if used else unused)
    assert ("requirements-vllm.lock" in found.mend) == (found.status != "ok")


def test_a_vllm_that_cannot_be_imported(monkeypatch):
    installed(monkeypatch, vllm="0.30.0")
    broken = SimpleNamespace(returncode=1, stderr="Traceback\nRuntimeError: torchvision::nms\n")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: broken)
    (found,) = doctor.vllm(study(evaluation={"backend": "vllm"}))
    assert found.status == "problem" and "torchvision::nms" in found.found


def test_zero3_needs_deepspeed(monkeypatch):
    sharded = study(resources={"train": {"gpu": 2, "distributed": "zero3"}})
    for version, status in ((None, "problem"), ("0.18", "warning"), ("0.19.8", "ok")):
        installed(monkeypatch, deepspeed=version)
        (found,) = doctor.deepspeed(sharded)
        assert found.status == status
        assert ("deepspeed<0.20,>=0.19" in found.mend) == (status != "ok")
    assert list(doctor.deepspeed(study())) == []


def test_no_gpu_matters_to_a_study_that_asks_for_one(machine):
    asks = study(resources={"train": {"gpu": 1}})
    for settings, alone in (
        ({"cuda": None, "driver": False}, "ok"),
        ({"cuda": None}, "warning"),
        ({}, "warning"),
    ):
        machine(**settings)
        assert [finding.status for finding in doctor.gpus(None)] == [alone]
        assert [finding.status for finding in doctor.gpus(asks)] == ["problem"]
    assert "srun" in next(doctor.gpus(asks)).mend


def test_fewer_gpus_than_a_job_asks_for(machine):
    machine([(80, 80), (80, 80)])
    assert next(doctor.gpus(study(resources={"train": {"gpu": 2}}))).status == "ok"
    found = next(doctor.gpus(study(resources={"train": {"gpu": 4}})))
    assert found.status == "problem" and "asks for 4" in found.mend


def test_a_study_that_asks_for_none_of_the_gpus(machine):
    machine([(80, 80)])
    assert list(needs.gpu_memory(study(), [Job("train", "grpo", 1, gpu_memory_gb=90)])) == []

    def rows(**sections):
        found = [row for row in doctor.gpus(study(**sections)) if row.check == "CPU"]
        return {row.found.split(".")[1]: (row.status, row.mend) for row in found}

    assert rows() == {"train": ("ok", ""), "evaluate": ("ok", "")}
    vllm = ("problem", "set it, vLLM needs one")
    assert rows(training=ROLLOUTS) == {"train": vllm, "evaluate": ("ok", "")}
    asked = {"train": {"gpu": 1}}
    assert rows(resources=asked) == {"evaluate": ("warning", "set it")}
    assert rows(resources=asked, evaluation={"backend": "vllm"}) == {"evaluate": vllm}


def test_gpu_memory_that_vllm_would_not_get(machine):
    machine([(30, 80)])
    found = by_check(doctor.gpus(study(training={"vllm": {}})))["GPU 0"]
    assert found.status == "warning"  # 0.3 of 80 GiB are there
    found = by_check(doctor.gpus(study(training=ROLLOUTS)))["GPU 0"]
    assert found.status == "problem" and "training.vllm.gpu_memory_utilization = 0.5" in found.mend
    found = by_check(doctor.gpus(study(evaluation={"backend": "vllm"})))["GPU 0"]
    assert "evaluation.model_args.gpu_memory_utilization = 0.92" in found.mend


def test_memory_and_disk_are_compared_with_the_plan(machine, tiny_model_dir, monkeypatch):
    model = {"source": "path", "path": str(tiny_model_dir)}
    asks = study(model=model, resources={"train": {"gpu": 1}})
    jobs = needs.estimates(asks)
    trained = [job for job in jobs if job.stage == "train"]
    assert len(trained) == 2
    most = max(job.gpu_memory_gb for job in trained)
    for total, status in ((0.9 * most, "warning"), (1.1 * most, "ok")):
        machine([(1, total)])
        assert max(trained, key=lambda job: job.gpu_memory_gb).method in [
            finding.found.split(":")[0]
            for finding in needs.gpu_memory(asks, jobs)
            if finding.status == status
        ]
    machine()
    assert list(needs.gpu_memory(asks, jobs)) == []

    taken = sum(job.disk_gb for job in jobs)
    for free, status in ((0.9 * taken, "warning"), (1.1 * taken, "ok")):
        usage = SimpleNamespace(free=free * 2**30)
        monkeypatch.setattr(needs.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert needs.disk(jobs).status == status
    assert needs.disk([]).status == "warning"  # a few MB


@pytest.mark.parametrize(
    ("stage", "cores", "mem_mb", "total", "statuses"),
    [  # of jobs that each take 4,000 MiB
        ("train", 1, 6000, 5000, ["ok"]),
        ("train", 1, 6000, 3900, ["warning"]),
        ("train", 2, 6000, 7000, ["warning"]),  # two of three seeds at a time
        ("train", 8, 6000, 13000, ["ok"]),  # three, and there are no more
        ("train", 1, 3900, 5000, ["ok", "warning"]),
        ("base", 8, 6000, 5000, ["ok"]),  # the warm-up waits for the model
    ],
)
def test_host_memory(monkeypatch, stage, cores, mem_mb, total, statuses):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    memory = SimpleNamespace(total=total * 2**20)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    asks = study(resources={stage: {"mem_mb": mem_mb}})
    found = list(needs.host_memory(asks, [Job(stage, "", 3, host_memory_mb=4000)]))
    assert [finding.status for finding in found] == statuses
    if cores == 8 and stage == "train":  # no more at a time than there are GPUs for
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        asks = study(resources={"train": {"mem_mb": mem_mb, "gpu": 2}})
        (row,) = needs.host_memory(asks, [Job(stage, "", 3, host_memory_mb=4000)])
        assert row.found.startswith("train: 2 at a time")
    mends = [finding.mend for finding in found if finding.mend]
    if total < 4000:
        assert mends == ["a smaller batch or model, or a machine with more"]
    elif mem_mb < 4000:
        assert mends == ["raise it to 6000"]
    elif "warning" in statuses:
        assert mends == ["snakemake --resources mem_mb=7000 lets fewer run together"]


def test_models_and_questions_that_are_not_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    data = yaml.safe_load((ROOT / "config.yaml").read_text())["data"]
    data["train"] = {"source": "jsonl", "path": str(tmp_path / "none.jsonl")}
    wanted = study(model={"source": "hub", "repo": "a/b", "revision": COMMIT}, data=data)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = by_check(needs.examine(wanted))
    assert found["base"].status == found["data.train"].status == "problem"
    assert "snakemake results/models/base" in found["base"].mend
    assert found["HF token"].status == "warning" and "HF_HUB_OFFLINE" in found["hub"].found
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_DATASETS_OFFLINE")
    assert by_check(needs.examine(wanted))["base"].status == "warning"
    made = Path("results/models/base")
    made.mkdir(parents=True)
    for repo, revision, status in (("a/c", COMMIT, "warning"), ("a/b", COMMIT, "ok")):
        record = {"source": {"source": "hub", "repo": repo, "revision": revision}}
        (made / "provenance.json").write_text(json.dumps(record))  # another study's, then its own
        assert by_check(needs.examine(wanted))["base"].status == status


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ({"source": "package", "package": "no_such", "gguf_file": "x.gguf"}, "there is no package"),
        ({"source": "package", "package": "foo.bar", "gguf_file": "x.gguf"}, "there is no package"),
        ({"source": "package", "package": "torch", "gguf_file": "x.gguf"}, "torch has no x.gguf"),
        ({"source": "hub", "repo": "a/b/c", "revision": COMMIT}, "'a/b/c' cannot be the name"),
    ],
)
def test_models_that_nothing_can_be(model, found):
    base = by_check(needs.examine(study(model=model)))["base"]
    assert base.status == "problem" and found in base.found and base.mend


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"generator": "chain_summ"},
            "generator: reasoning_gym has no 'chain_summ', but chain_sum",
        ),
        ({"params": {"min_termz": 2}}, "params: chain_sum refuses {'min_termz': 2}"),
    ],
)
def test_questions_that_nothing_generates(changes, found):
    train = yaml.safe_load((ROOT / "config.yaml").read_text())["data"]["train"] | {"size": 9}
    assert train["generator"] == "chain_sum"
    sources = {"source": "concat", "parts": {"good": train, "bad": train | changes}}
    rows = by_check(needs.questions(study(data={"train": sources})))
    assert rows["data.train.parts.good"].status == "ok"
    assert rows["data.train.parts.bad"].status == "problem"
    assert f"data.train.parts.bad.{found}" in rows["data.train.parts.bad"].found


def test_a_model_in_the_cache(tmp_path, tiny_model_dir, monkeypatch):
    """Not its config.json alone, which is all that `thinktuning plan` fetches."""
    snapshot = tmp_path / "models--a--b" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def look():
        return needs.hub("base", "a/b", COMMIT, "base", "base/provenance.json")

    shutil.copy(tiny_model_dir / "config.json", snapshot)
    for name in ("tokenizer.json", "model.safetensors"):
        assert look().status == "problem"
        assert look().found == f"{needs.ABSENT}the weights or the tokenizer of a/b"
        shutil.copy(tiny_model_dir / name, snapshot)
    assert look().status == "ok"
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert look().status == "problem"  # a shard is missing
    data = tmp_path / "datasets--a--b" / "snapshots" / COMMIT
    data.mkdir(parents=True)
    assert needs.hub("data", "a/b", COMMIT, "data", "config.json", "dataset").status == "ok"


def test_servers():
    with Server(lambda *_: (200, None)) as server:
        gone = server.url
    endpoint = {"base_url": gone, "model": "tutor"}
    taught = study(teacher={"backend": "openai", "openai": endpoint})
    (found,) = needs.servers(taught)
    assert found.status == "warning" and "start it" in found.mend
    with Server(lambda *_: (200, None)) as server:  # it knows no GET: up, and not as expected
        endpoint["base_url"] = server.url
        (found,) = needs.servers(study(teacher={"backend": "openai", "openai": endpoint}))
    assert found.status == "warning" and "OPENAI_API_KEY" in found.mend


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "http://my host/v1", "http://[::1/v1"])
def test_servers_without_an_address(url):
    endpoint = {"base_url": url, "model": "tutor"}
    (found,) = needs.servers(study(teacher={"backend": "openai", "openai": endpoint}))
    assert found.status == "warning" and "correct its base_url" in found.mend


def test_a_server_that_does_not_speak_http():
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def greet():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                connection.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        endpoint = {"base_url": f"http://127.0.0.1:{listening.getsockname()[1]}", "model": "tutor"}
        (found,) = needs.servers(study(teacher={"backend": "openai", "openai": endpoint}))
        thread.join()
    assert found.status == "warning" and "SSH-2.0" in found.found


def test_a_problem_is_the_exit_code(monkeypatch, capsys):
    installed(monkeypatch, trl=None)
    monkeypatch.setattr(sys, "argv", ["thinktuning", "doctor"])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    assert "1 problems" in capsys.readouterr().out
