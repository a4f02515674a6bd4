"""Results of another study are refused, also where Snakemake has no record of their making."""

import copy
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import planned, snakemake, stand_in, write_study

from thinktuning.io.files import sha256

RECORD = "decontamination.json"
CONFIG = "results/runs/grpo/seed0/config.json"


@pytest.fixture
def finished(tmp_path: Path, small: dict[str, Any]) -> tuple[Path, str]:
    """A directory that looks like that of a finished study, and the study."""
    study = write_study(tmp_path, small)
    stand_in(tmp_path, study)
    return tmp_path, study


def refusal(directory: Path, *arguments: str) -> str:
    """Return what Snakemake says when it refuses the results."""
    done = snakemake(directory, *arguments)
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def test_copied_results_are_another_studys_if_their_configuration_is(
    finished: tuple[Path, str], small: dict[str, Any]
) -> None:
    directory, study = finished
    shutil.rmtree(directory / ".snakemake")
    assert planned(directory, "--configfile", study) == {}  # all of this study: nothing to do
    other = copy.deepcopy(small)
    other["methods"]["grpo"]["training"]["learning_rate"] = 0.007
    changed = write_study(directory, other, "changed.yaml")
    for arguments in (("--cores", "1"), ("-n", "-R", "train")):
        said = refusal(directory, "--configfile", changed, *arguments)
        assert f"{CONFIG} is not what this study says" in said
    assert f"make it and its results again: snakemake -R {CONFIG}" in said
    assert (directory / CONFIG).with_name("model").exists()  # and nothing is lost
    runs = [f"results/runs/grpo/seed{seed}/config.json" for seed in small["seeds"]]
    again = planned(directory, "--configfile", changed, "-R", *runs)
    assert (again["train"], again["evaluate"]) == (len(runs), len(runs))
    for run in runs:
        (directory / run).unlink()  # Snakemake would not miss it
    assert f"{CONFIG} is missing beside" in refusal(directory, "--configfile", changed, "-n")


@pytest.mark.parametrize(
    "damage", [lambda text: text.replace("0.0001", "0.5"), lambda text: text[:300]]
)
def test_a_configuration_that_was_changed_or_cut_is_refused(
    finished: tuple[Path, str], damage: Any
) -> None:
    """Snakemake would train what it says, or delete the run and then fail."""
    directory, study = finished
    path = directory / CONFIG
    before = path.read_text()
    path.write_text(damage(before))
    assert path.read_text() != before
    assert f"{CONFIG} is not" in refusal(directory, "--configfile", study, "--cores", "1")
    assert path.with_name("model").exists() and path.read_text() == damage(before)
    assert planned(directory, "--configfile", study, "-R", CONFIG)["train"] == 1


def test_edited_questions_are_refused_before_a_result_is_removed(
    finished: tuple[Path, str],
) -> None:
    directory, study = finished
    questions, record = (directory / "results/data" / name for name in ("train.jsonl", RECORD))
    made = record.stat().st_mtime
    record.write_text(json.dumps({"sha256": {questions.name: sha256(questions)}}))
    os.utime(record, (made, made))
    assert planned(directory, "--configfile", study) == {}
    questions.write_text('{"question": "another"}\n')
    said = refusal(directory, "--configfile", study, "--cores", "1")
    assert "results/data/train.jsonl: is not the file that" in said and "snakemake -R data" in said
    assert (directory / CONFIG).with_name("model").exists()
    assert planned(directory, "--configfile", study, "-R", "data")["data"] == 1


def test_all_is_made_again_if_that_is_asked_for(finished: tuple[Path, str]) -> None:
    directory, study = finished
    (directory / CONFIG).write_text("{}")
    assert planned(directory, "--configfile", study, "-F")["train"] > 0


def test_a_change_is_not_passed_over_with_other_triggers(
    finished: tuple[Path, str], small: dict[str, Any]
) -> None:
    """A profile that reruns by time alone would keep some seeds, and make others as changed."""
    directory, study = finished
    by_time = ("--rerun-triggers", "mtime")
    assert planned(directory, "--configfile", study, *by_time) == {}
    other = copy.deepcopy(small)
    other["methods"]["grpo"]["training"]["learning_rate"] = 0.007
    changed = write_study(directory, other, "changed.yaml")
    said = refusal(directory, "-n", "--configfile", changed, *by_time)
    assert f"{CONFIG} is not what this study says, and rerun-triggers without params" in said
    assert planned(directory, "--configfile", changed)["train"] == len(small["seeds"])
