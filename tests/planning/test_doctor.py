"""The doctor on other machines: packages, vLLM, DeepSpeed, GPUs."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fake_machine import by_check, fake_gpus, fake_packages
from planned_study import ROOT, default_study

from thinktuning.commands import cli
from thinktuning.planning import doctor, requirements
from thinktuning.planning.estimates import StageEstimate

ROLLOUTS = {"vllm": {"gpu_memory_utilization": 0.5}}


def test_this_environment_has_no_problems():
    done = subprocess.run(
        [sys.executable, "-m", "thinktuning.commands.cli", "doctor", "config.yaml"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 problems" in done.stdout


def test_a_problem_sets_the_exit_code(monkeypatch, capsys):
    fake_packages(monkeypatch, trl=None)
    monkeypatch.setattr(sys, "argv", ["thinktuning", "doctor"])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 1
    assert "1 problems" in capsys.readouterr().out


def test_a_missing_package_and_one_out_of_range_are_problems(monkeypatch):
    fake_packages(monkeypatch, trl="0.1", peft=None)
    found = by_check(doctor.packages())
    assert found["trl"].status == found["peft"].status == "problem"
    assert found["trl"].found.startswith("0.1, outside")
    assert found["peft"].found == "not installed" and "pip install 'peft" in found["peft"].fix
    assert found["torch"].status == "ok"


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(
    ("version", "unused", "needed"),
    [(None, "ok", "problem"), ("0.10.0", "warning", "problem"), ("0.30.0+cpu", "ok", "ok")],
)
def test_vllm_must_be_the_tested_release_if_it_is_used(monkeypatch, used, version, unused, needed):
    fake_packages(monkeypatch, vllm=version)
    loaded = SimpleNamespace(returncode=0, stderr="")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: loaded)
    (found,) = doctor.vllm(default_study(training={"vllm": {}}) if used else default_study())
    assert found.status == (needed if used else unused)
    assert ("requirements-vllm.lock" in found.fix) == (found.status != "ok")


def test_a_vllm_that_cannot_be_imported_is_a_problem(monkeypatch):
    fake_packages(monkeypatch, vllm="0.30.0")
    broken = SimpleNamespace(returncode=1, stderr="Traceback\nRuntimeError: torchvision::nms\n")
    monkeypatch.setattr(doctor.subprocess, "run", lambda *_, **__: broken)
    (found,) = doctor.vllm(default_study(evaluation={"backend": "vllm"}))
    assert found.status == "problem" and "torchvision::nms" in found.found


def test_zero3_needs_deepspeed(monkeypatch):
    sharded = default_study(resources={"train": {"gpu": 2, "distributed": "zero3"}})
    for version, status in ((None, "problem"), ("0.18", "warning"), ("0.19.8", "ok")):
        fake_packages(monkeypatch, deepspeed=version)
        (found,) = doctor.deepspeed(sharded)
        assert found.status == status
        assert ("deepspeed<0.20,>=0.19" in found.fix) == (status != "ok")
    assert list(doctor.deepspeed(default_study())) == []


def test_a_machine_without_gpus_is_a_problem_for_a_study_that_requests_one(monkeypatch):
    on_gpu = default_study(resources={"train": {"gpu": 1}})
    for settings, alone in (
        ({"cuda": None, "driver": False}, "ok"),
        ({"cuda": None}, "warning"),
        ({}, "warning"),
    ):
        fake_gpus(monkeypatch, **settings)
        assert [finding.status for finding in doctor.gpus(None)] == [alone]
        assert [finding.status for finding in doctor.gpus(on_gpu)] == ["problem"]
    assert "srun" in next(doctor.gpus(on_gpu)).fix


def test_fewer_gpus_than_a_job_requests_are_a_problem(monkeypatch):
    fake_gpus(monkeypatch, [(80, 80), (80, 80)])
    assert next(doctor.gpus(default_study(resources={"train": {"gpu": 2}}))).status == "ok"
    found = next(doctor.gpus(default_study(resources={"train": {"gpu": 4}})))
    assert found.status == "problem" and "requests 4" in found.fix


def test_stages_that_leave_gpus_unused_are_reported(monkeypatch):
    fake_gpus(monkeypatch, [(80, 80)])
    too_large = [StageEstimate("train", "grpo", 1, gpu_memory_gb=90)]
    assert list(requirements.gpu_memory(default_study(), too_large)) == []  # it trains on the CPU

    def rows(**sections):
        found = [row for row in doctor.gpus(default_study(**sections)) if row.check == "CPU"]
        return {row.found.split(".")[1]: (row.status, row.fix) for row in found}

    assert rows() == {"train": ("ok", ""), "evaluate": ("ok", "")}
    vllm = ("problem", "raise it; vLLM needs a GPU")
    assert rows(training=ROLLOUTS) == {"train": vllm, "evaluate": ("ok", "")}
    on_gpu = {"train": {"gpu": 1}}
    assert rows(resources=on_gpu) == {"evaluate": ("warning", "raise it")}
    assert rows(resources=on_gpu, evaluation={"backend": "vllm"}) == {"evaluate": vllm}


def test_gpu_memory_must_be_free_for_vllm(monkeypatch):
    fake_gpus(monkeypatch, [(30, 80)])
    found = by_check(doctor.gpus(default_study(training={"vllm": {}})))["GPU 0"]
    assert found.status == "warning"  # the default share, 0.3 of 80 GiB, is free
    found = by_check(doctor.gpus(default_study(training=ROLLOUTS)))["GPU 0"]
    assert found.status == "problem" and "training.vllm.gpu_memory_utilization = 0.5" in found.fix
    found = by_check(doctor.gpus(default_study(evaluation={"backend": "vllm"})))["GPU 0"]
    assert "evaluation.model_args.gpu_memory_utilization = 0.92" in found.fix


@pytest.mark.parametrize(
    ("version", "old"), [("570.86.15", True), ("580.65.06", False), ("not found", False)]
)
def test_a_driver_that_is_too_old_is_named(monkeypatch, tmp_path, version, old):
    """torch for CUDA 13 then finds no GPU, and says no more."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    fake_gpus(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (finding,) = [each for each in doctor.gpus(None) if each.check == "CUDA"]
    assert finding.status == "warning"
    assert (f"the driver is {version}" in finding.found) == old
    assert ("update the driver to 580 or newer" in finding.fix) == old
