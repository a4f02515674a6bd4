"""The doctor on what a study needs: memory, disk, models, questions, servers."""

import json
import shutil
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from fake_machine import by_check, fake_gpus
from openai_server import Server
from planned_study import ROOT, default_study

from thinktuning.planning import requirements
from thinktuning.planning.costs import GIB, MIB
from thinktuning.planning.estimates import StageEstimate

COMMIT = "0123456789" * 4


def test_memory_and_disk_are_compared_with_the_estimates(tiny_model_dir, monkeypatch):
    model = {"source": "path", "path": str(tiny_model_dir)}
    on_gpu = default_study(model=model, resources={"train": {"gpu": 1}})
    estimates = requirements.cached_estimates(on_gpu)
    trained = [estimate for estimate in estimates if estimate.stage == "train"]
    assert len(trained) == 2
    most = max(estimate.gpu_memory_gb for estimate in trained)
    for total, status in ((0.9 * most, "warning"), (1.1 * most, "ok")):
        fake_gpus(monkeypatch, [(1, total)])
        assert max(trained, key=lambda estimate: estimate.gpu_memory_gb).method in [
            finding.found.split(":")[0]
            for finding in requirements.gpu_memory(on_gpu, estimates)
            if finding.status == status
        ]
    fake_gpus(monkeypatch)
    assert list(requirements.gpu_memory(on_gpu, estimates)) == []

    needed = sum(estimate.disk_gb for estimate in estimates)
    for free, status in ((0.9 * needed, "warning"), (1.1 * needed, "ok")):
        usage = SimpleNamespace(free=free * GIB)
        monkeypatch.setattr(requirements.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert requirements.disk(estimates).status == status
    assert requirements.disk([]).status == "warning"  # a few MB are free


@pytest.mark.parametrize(
    ("stage", "cores", "mem_mb", "total", "statuses"),
    [  # three jobs that take 4,000 MiB each
        ("train", 1, 6000, 5000, ["ok"]),
        ("train", 1, 6000, 3900, ["warning"]),
        ("train", 2, 6000, 7000, ["warning"]),  # two of them at a time
        ("train", 8, 6000, 13000, ["ok"]),  # all three at a time
        ("train", 1, 3900, 5000, ["ok", "warning"]),
        ("model", 8, 6000, 5000, ["ok"]),  # the warm-up runs after the model
    ],
)
def test_host_memory_of_the_jobs_that_run_at_a_time(
    monkeypatch, stage, cores, mem_mb, total, statuses
):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    memory = SimpleNamespace(total=total * MIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    estimates = [StageEstimate(stage, "", 3, host_memory_mb=4000)]
    asking = default_study(resources={stage: {"mem_mb": mem_mb}})
    found = list(requirements.host_memory(asking, estimates))
    assert [finding.status for finding in found] == statuses
    if cores == 8 and stage == "train":  # no more at a time than the GPUs allow
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
        asking = default_study(resources={"train": {"mem_mb": mem_mb, "gpu": 2}})
        (row,) = requirements.host_memory(asking, estimates)
        assert row.found.startswith("train: 2 at a time")
    fixes = [finding.fix for finding in found if finding.fix]
    if total < 4000:
        assert fixes == ["a smaller batch or model, or a machine with more memory"]
    elif mem_mb < 4000:
        assert fixes == ["raise it to 6000"]
    elif "warning" in statuses:
        assert fixes == ["snakemake --resources mem_mb=7000 runs fewer at a time"]


def test_a_directory_without_a_model_is_a_problem_and_so_is_one_as_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = yaml.safe_load((ROOT / "config.yaml").read_text())["data"]
    data["train"] = {"source": "jsonl", "path": "."}
    asking = default_study(model={"source": "path", "path": "."}, data=data)
    rows = requirements.examine(asking)
    found = by_check(rows)
    assert found["base"].status == found["data.train"].status == "problem"
    assert "has no config.json" in found["base"].found
    assert found["data.train"].found == ". is a directory"
    assert any(row.found.startswith("not estimated: ") for row in rows if row.check == "memory")
    (tmp_path / "config.json").write_text("{}")
    assert "has no tokenizer" in by_check(requirements.examine(asking))["base"].found


def test_models_and_questions_that_have_not_been_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    data = yaml.safe_load((ROOT / "config.yaml").read_text())["data"]
    data["train"] = {"source": "jsonl", "path": str(tmp_path / "none.jsonl")}
    asking = default_study(model={"source": "hub", "repo": "a/b", "revision": COMMIT}, data=data)

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = by_check(requirements.examine(asking))
    assert found["base"].status == found["data.train"].status == "problem"
    assert "snakemake results/models/base" in found["base"].fix
    assert found["HF token"].status == "warning" and "HF_HUB_OFFLINE" in found["hub"].found
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.delenv("HF_DATASETS_OFFLINE")
    assert by_check(requirements.examine(asking))["base"].status == "warning"
    made = Path("results/models/base")
    made.mkdir(parents=True)
    for repo, revision, status in (("a/c", COMMIT, "warning"), ("a/b", COMMIT, "ok")):
        record = {"source": {"source": "hub", "repo": repo, "revision": revision}}
        (made / "provenance.json").write_text(
            json.dumps(record)
        )  # of another study, then of this one
        assert by_check(requirements.examine(asking))["base"].status == status


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (
            {"source": "package", "package": "no_such", "gguf_file": "x.gguf"},
            "no package 'no_such'",
        ),
        (
            {"source": "package", "package": "foo.bar", "gguf_file": "x.gguf"},
            "no package 'foo.bar'",
        ),
        ({"source": "package", "package": "torch", "gguf_file": "x.gguf"}, "torch has no x.gguf"),
        (
            {"source": "hub", "repo": "a/b/c", "revision": COMMIT},
            "'a/b/c' is not a valid repository name",
        ),
    ],
)
def test_models_that_cannot_exist_are_problems(model, found):
    base = by_check(requirements.examine(default_study(model=model)))["base"]
    assert base.status == "problem" and found in base.found and base.fix


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        (
            {"generator": "chain_summ"},
            "generator: reasoning_gym has no 'chain_summ'; choose from chain_sum",
        ),
        ({"params": {"min_termz": 2}}, "params: chain_sum refuses {'min_termz': 2}"),
    ],
)
def test_questions_that_cannot_be_generated_are_problems(changes, found):
    train = yaml.safe_load((ROOT / "config.yaml").read_text())["data"]["train"] | {"size": 9}
    assert train["generator"] == "chain_sum"
    sources = {"source": "concat", "parts": {"good": train, "bad": train | changes}}
    rows = by_check(requirements.questions(default_study(data={"train": sources})))
    assert rows["data.train.parts.good"].status == "ok"
    assert rows["data.train.parts.bad"].status == "problem"
    assert f"data.train.parts.bad.{found}" in rows["data.train.parts.bad"].found


def test_a_generator_whose_package_is_missing_is_a_problem(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    train = by_check(requirements.questions(default_study()))["data.train"]
    assert train.status == "problem" and "reasoning_gym is not installed" in train.found


def test_a_cached_model_has_weights_and_tokenizer(tmp_path, tiny_model_dir, monkeypatch):
    """Its config.json alone, all that `thinktuning plan` fetches, is not enough."""
    snapshot = tmp_path / "models--a--b" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def look():
        return requirements.hub("base", "a/b", COMMIT, "base", "base/provenance.json")

    shutil.copy(tiny_model_dir / "config.json", snapshot)
    for name in ("tokenizer.json", "model.safetensors"):
        assert look().status == "problem"
        assert look().found == f"{requirements.ABSENT}the weights or the tokenizer of a/b"
        shutil.copy(tiny_model_dir / name, snapshot)
    assert look().status == "ok"
    index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index))
    assert look().status == "problem"  # a shard is missing
    data = tmp_path / "datasets--a--b" / "snapshots" / COMMIT
    data.mkdir(parents=True)
    assert requirements.hub("data", "a/b", COMMIT, "data", "config.json", "dataset").status == "ok"


def test_a_server_that_is_down_and_one_that_refuses():
    with Server(lambda *_: (200, None)) as server:
        gone = server.url
    endpoint = {"base_url": gone, "model": "tutor"}
    taught = default_study(teacher={"backend": "openai", "openai": endpoint})
    (found,) = requirements.servers(taught)
    assert found.status == "warning" and "start it" in found.fix
    with Server(lambda *_: (200, None)) as server:  # it is up, but answers GET with an error
        endpoint["base_url"] = server.url
        (found,) = requirements.servers(
            default_study(teacher={"backend": "openai", "openai": endpoint})
        )
    assert found.status == "warning" and "OPENAI_API_KEY" in found.fix


@pytest.mark.parametrize("url", ["http://localhost:port/v1", "http://my host/v1", "http://[::1/v1"])
def test_a_server_with_a_bad_address(url):
    endpoint = {"base_url": url, "model": "tutor"}
    (found,) = requirements.servers(
        default_study(teacher={"backend": "openai", "openai": endpoint})
    )
    assert found.status == "warning" and "correct its base_url" in found.fix


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
        (found,) = requirements.servers(
            default_study(teacher={"backend": "openai", "openai": endpoint})
        )
        thread.join()
    assert found.status == "warning" and "SSH-2.0" in found.found
