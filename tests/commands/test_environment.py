"""Variables of the environment that would decide in place of the study are refused."""

import argparse

import pytest

from thinktuning.commands.settings import DECIDED, check_environment
from thinktuning.commands.stages import train
from thinktuning.io.errors import StudyError


def test_transformers_reads_the_precision_from_the_environment(monkeypatch, tmp_path):
    """The reason for the check."""
    from transformers import TrainingArguments

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    arguments = TrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    assert (arguments.bf16, arguments.mixed_precision) == (False, "bf16")


@pytest.mark.parametrize("name", DECIDED)
def test_a_training_refuses_what_would_change_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv(name, "bf16" if "PRECISION" in name else "true")
    with pytest.raises(StudyError, match=rf"^{name}=.* which {DECIDED[name]} decides; unset it"):
        train(argparse.Namespace(config=tmp_path / "config.json"))
    monkeypatch.setenv(name, "no")
    with pytest.raises(StudyError, match="cannot be read"):
        train(argparse.Namespace(config=tmp_path / "config.json"))


def test_what_accelerate_launch_has_set_is_the_studys():
    check_environment({"LOCAL_RANK": "0", "ACCELERATE_USE_FSDP": "true"})
