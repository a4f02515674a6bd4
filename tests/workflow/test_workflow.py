"""The workflow's jobs: what a study plans, what a change to it reruns, and how a job fails.

Only the slow test runs a whole study.
"""

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import BIN, ROOT, planned, snakemake, stand_in, write_study


def test_a_methods_own_teacher_is_materialized(tmp_path: Path, small: dict[str, Any]) -> None:
    other = {"backend": "model", "model": {"source": "path", "path": "teacher"}}
    small["methods"]["other"] = {"teacher": other}
    study = write_study(tmp_path, small)
    assert planned(tmp_path, "--configfile", study)["model"] == 1
    done = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", study)
    commands = re.findall(r"thinktuning train .*", done.stdout)
    assert len(commands) == 3 * len(small["seeds"])
    for command in commands:
        assert ("--teacher results/models/teacher_other " in command) == ("runs/other/" in command)


def test_a_judge_judges_every_evaluation(tmp_path: Path, small: dict[str, Any]) -> None:
    small["judge"] = {"backend": "model", "model": {"source": "path", "path": "judge"}}
    found = planned(tmp_path, "--configfile", write_study(tmp_path, small))
    assert found["judge"] == found["evaluate"] == 6
    assert (found["resolve_judge"], found["model"]) == (1, 1)


def test_a_toy_model_is_a_job_and_other_models_are_fetched_locally(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    teacher = {"source": "hub", "repo": "someone/teacher", "revision": "0" * 40}
    small["methods"]["other"] = {"teacher": {"backend": "model", "model": teacher}}
    small["judge"] = {"backend": "model", "model": {"source": "path", "path": "judge"}}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--dry-run", "--configfile", study)
    jobs = re.findall(
        r"^rule (\w+):\n    input: (.*)\n    output: results/models/(\w+)$", done.stdout, re.M
    )
    made = {model: (rule, "results/data/train.jsonl" in needs) for rule, needs, model in jobs}
    assert made == {
        "base": ("organism", True),
        "teacher_other": ("model", False),
        "judge": ("model", False),
    }
    # a dry run treats all jobs as local
    (tmp_path / "Snakefile").write_text(
        f'include: "{ROOT}/Snakefile"\nprint("local:", *workflow._localrules)\n'
    )
    done = snakemake(tmp_path, "--snakefile", "Snakefile", "--dry-run", "--configfile", study)
    (local,) = re.findall(r"^local: (.*)", done.stdout, re.M)
    assert "model" in local.split() and "organism" not in local.split()


def test_a_method_without_training_has_no_run(tmp_path: Path, small: dict[str, Any]) -> None:
    """It would be trained by the study's algorithm, under the name of the base."""
    study = write_study(tmp_path, small)
    run = "results/runs/{}/seed0/provenance.json"
    assert planned(tmp_path, run.format("grpo"), "--configfile", study)["train"] == 1
    done = snakemake(tmp_path, "--dry-run", run.format("zero_shot"), "--configfile", study)
    assert done.returncode != 0
    assert "MissingRuleException" in done.stdout + done.stderr


def test_a_change_reruns_what_depends_on_it(tmp_path: Path, small: dict[str, Any]) -> None:
    study = write_study(tmp_path, small)
    stand_in(tmp_path, study)

    def rerun(change: dict[str, Any]) -> dict[str, int]:
        changed = planned(tmp_path, "--configfile", write_study(tmp_path, change, "changed.yaml"))
        return {rule: n for rule, n in changed.items() if rule in ("organism", "train", "evaluate")}

    method = copy.deepcopy(small)
    method["methods"]["thinktuning"]["algorithm"] = {"select": "all_wrong"}
    assert rerun(method) == {"train": 2, "evaluate": 2}

    task = copy.deepcopy(small)
    task["tasks"]["chain_sum"]["num_samples"] += 1
    assert rerun(task) == {"evaluate": 2 + 2 * 2}  # two untrained methods, and two with two seeds

    comparison = copy.deepcopy(small)
    comparison["comparison"]["confidence"] = 0.9
    assert rerun(comparison) == {}

    forced = planned(tmp_path, "--configfile", study, "-R", "evaluate")
    assert forced == {"evaluate": 6, "compare": 1, "report": 1, "all": 1}
    everything = forced | {"data": 1, "exemplars": 1, "organism": 1, "train": 4}
    assert planned(tmp_path, "--configfile", study, "-R", "data") == everything


def test_a_failed_job_names_its_log_and_leaves_no_output(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    small["data"]["train"] = {"source": "jsonl", "path": "no/such/file.jsonl"}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "data", "--cores", "1", "--configfile", study)
    assert done.returncode != 0
    output = done.stdout + done.stderr
    assert "results/logs/data/data.log (check log file(s) for error details)" in output
    assert "no/such/file.jsonl" in output  # --show-failed-logs, from profiles/default
    left = {path.name for path in (tmp_path / "results/data").rglob("*") if path.is_file()}
    assert left == {"config.json"}


def test_lint(tmp_path: Path) -> None:
    done = snakemake(tmp_path, "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_format() -> None:
    command = [str(BIN / "snakefmt"), "--check", "Snakefile", "workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_whole_workflow(tmp_path: Path, small: dict[str, Any]) -> None:
    small["data"]["train"]["size"] = 100
    small["tasks"]["chain_sum"]["data"]["size"] = 8
    small["tasks"]["chain_sum"]["num_samples"] = 2
    small["model"] |= {"max_steps": 5, "hidden_size": 32, "intermediate_size": 64}
    small["model"] |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    small["training"] |= {"per_device_train_batch_size": 8, "num_generations": 4}
    small["training"] |= {"max_steps": 2, "save_steps": 2, "warmup_steps": 0}
    study = write_study(tmp_path, small)
    done = snakemake(tmp_path, "--cores", "2", "--show-failed-logs", "--configfile", study)
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    rows = (results / "tables/comparison.csv").read_text().splitlines()
    assert len(rows) == 1 + len(small["methods"])
    for plot in ("accuracy", "differences", "learning_curves"):
        assert (results / f"plots/{plot}.svg").stat().st_size > 1000
    assert "ThinkTuning" in (results / "report/index.html").read_text(encoding="utf-8")
    assert planned(tmp_path, "--configfile", study) == {}

    report = snakemake(tmp_path, "--configfile", study, "--report", "report.html")
    assert report.returncode == 0, report.stderr
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "95% interval" in text
    assert "learning curves" in text
