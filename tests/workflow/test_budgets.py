"""A budget that refers to another method, in the workflow: that method is trained first."""

import os
import re
from pathlib import Path
from typing import Any

from snakemake_run import planned, snakemake, stand_in, write_study

REFERENCE = "results/runs/thinktuning/seed{}/provenance.json"


def matched(study: dict[str, Any], **budget: str) -> dict[str, Any]:
    """Add GRPO with a budget."""
    training = {"max_steps": 900, "budget": budget}
    study["methods"]["matched"] = {"algorithm": {"type": "grpo"}, "training": training}
    return study


def test_a_training_waits_for_the_runs_that_its_budget_refers_to(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    """Those of its own seed; other trainings wait for none."""
    study = write_study(tmp_path, matched(small, **{"as": "thinktuning"}, scored_as="grpo"))
    done = snakemake(tmp_path, "--dry-run", "--configfile", study)
    assert done.returncode == 0, done.stderr
    jobs = re.findall(r"^rule train:\n    input: (.*)\n    output: (\S+)/model,", done.stdout, re.M)
    needed = {run: [p for p in read.split(", ") if "provenance" in p] for read, run in jobs}
    runs = {f"results/runs/{m}/seed{s}": [] for m in ("grpo", "thinktuning") for s in (0, 1)}
    for seed in (0, 1):
        files = [f"results/runs/{m}/seed{seed}/provenance.json" for m in ("grpo", "thinktuning")]
        runs[f"results/runs/matched/seed{seed}"] = files
    assert needed == runs
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    commands = re.findall(r" train --config \S+ .* --output (\S+) ", done.stdout)
    given = re.findall(r" --budget-runs (.*) --output (\S+) ", done.stdout)
    assert set(commands) == runs.keys()
    assert {run: read.split() for read, run in given} == {r: f for r, f in runs.items() if f}


def test_a_new_run_of_the_other_method_trains_again(tmp_path: Path, small: dict[str, Any]) -> None:
    """And with it evaluates: one seed of one method."""
    study = write_study(tmp_path, matched(small, **{"as": "thinktuning"}))
    stand_in(tmp_path, study)
    path = tmp_path / REFERENCE.format(1)
    later = path.stat().st_mtime + 5
    os.utime(path, (later, later))
    found = planned(tmp_path, "results/runs/matched/seed1/provenance.json", "--configfile", study)
    assert found == {"train": 1}
    assert planned(tmp_path, "results/runs/grpo/seed1/model", "--configfile", study) == {}
    found = planned(tmp_path, "--configfile", study)
    assert found["train"] == 1 and found["evaluate"] == 1


def test_a_study_without_references_has_the_jobs_that_it_had(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    """Adding a method with a budget to finished results trains that method alone."""
    stand_in(tmp_path, write_study(tmp_path, small))
    study = write_study(tmp_path, matched(small, **{"as": "thinktuning"}), "more.yaml")
    found = planned(tmp_path, "--configfile", study)
    assert (found["train"], found["evaluate"]) == (2, 2)


def test_mistakes_are_named(tmp_path: Path, small: dict[str, Any]) -> None:
    study = write_study(tmp_path, matched(small, **{"as": "zero_shot"}))
    done = snakemake(tmp_path, "--dry-run", "--configfile", study)
    assert done.returncode == 1
    assert "methods.matched.training.budget.as names 'zero_shot', which is not trained" in (
        done.stdout + done.stderr
    )
