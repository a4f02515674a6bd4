"""Variables of the environment that would decide in place of the study are refused."""

import argparse
import os
import subprocess
import sys

import pytest

from thinktuning.commands.settings import (
    DECIDED,
    DECIDED_IN_WARMUP,
    NOTHING,
    NOTHING_TO,
    OF_TORCH,
    check_environment,
)
from thinktuning.commands.stages import train, warmup
from thinktuning.io.errors import StudyError


def test_transformers_reads_the_precision_from_the_environment(monkeypatch, tmp_path):
    """The reason for the check."""
    from transformers import TrainingArguments

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    assert (arguments.bf16, arguments.mixed_precision) == (False, "bf16")


@pytest.mark.parametrize("name", DECIDED)
@pytest.mark.parametrize(("stage", "decided"), [(train, DECIDED), (warmup, DECIDED_IN_WARMUP)])
def test_a_training_refuses_what_would_change_it(name, stage, decided, monkeypatch, tmp_path):
    monkeypatch.setenv(name, "bf16" if "PRECISION" in name else "true")
    with pytest.raises(StudyError, match=rf"^{name}=.* which {decided[name]} decides; unset it"):
        stage(argparse.Namespace(config=tmp_path / "config.json"))
    monkeypatch.setenv(name, NOTHING_TO.get(name, NOTHING)[-1])
    with pytest.raises(StudyError, match="cannot be read"):
        stage(argparse.Namespace(config=tmp_path / "config.json"))


def test_torch_reads_the_precision_from_the_environment():
    """The reason for the check, which the study's own `tf32: false` would not change."""
    environment = os.environ | {"TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "1"}
    told = "import torch; print(torch.get_float32_matmul_precision())"
    command = [sys.executable, "-c", told]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "high"


def test_zero_changes_a_training_where_the_study_asks_for_tf32():
    with pytest.raises(StudyError, match=r"^NVIDIA_TF32_OVERRIDE=0 .* training.extra.tf32 decides"):
        check_environment({"NVIDIA_TF32_OVERRIDE": "0"})


def test_what_accelerate_launch_has_set_is_the_studys():
    check_environment({"LOCAL_RANK": "0", "ACCELERATE_USE_FSDP": "true"})
    for name in OF_TORCH:  # it sets none of these
        with pytest.raises(StudyError, match=f"^{name}=bf16 in the environment"):
            check_environment({"LOCAL_RANK": "0", name: "bf16"})
