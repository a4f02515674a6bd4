"""One evaluation job a model: which tasks it makes again, with real jobs on the tiny model."""

import copy
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import BIN, ROOT, planned, snakemake, stand_in, write_study

MODEL = Path("results/eval/zero_shot/seed0")


@pytest.fixture
def study(small: dict[str, Any], lively: Path) -> dict[str, Any]:
    """A study of one untrained model on two tasks, the second of which takes a while."""
    small["model"] = {"source": "path", "path": str(lively)}
    small["methods"] = {"zero_shot": {"train": False}}
    small["comparison"]["baselines"] = []
    task = small["tasks"]["chain_sum"]
    small["tasks"] = {"first": task, "second": copy.deepcopy(task)}
    for name, size in (("first", 4), ("second", 100)):
        small["tasks"][name]["data"]["size"] = size
        small["tasks"][name]["num_samples"] = 2
    small["data"]["train"]["size"] = 20
    return small


def results(directory: Path) -> dict[str, dict[str, Any]]:
    """Return the results of each task that has any."""
    found = sorted((directory / MODEL).glob("*/results.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}


def run(directory: Path, study: str, *arguments: str) -> list[str]:
    """Run the evaluations; return the tasks whose results are not those of before."""
    before = results(directory)
    targets = arguments or (f"{MODEL}/second/results.json",)
    done = snakemake(directory, "--cores", "1", *targets, "--configfile", study)
    assert done.returncode == 0, done.stdout + done.stderr
    after = results(directory)
    assert set(after) == {"first", "second"}
    assert not list((directory / MODEL).glob("*/.*"))  # nothing is kept after success
    return [task for task in after if after[task] != before.get(task)]


def test_a_job_a_model_is_planned(tmp_path: Path, study: dict[str, Any]) -> None:
    study["methods"]["grpo"] = {"algorithm": {"type": "grpo"}}
    path = write_study(tmp_path, study)
    found = planned(tmp_path, "--configfile", path)
    assert (found["evaluate"], found["resolve_evaluate"]) == (3, 6)  # seeds 0 and 1 of grpo
    shown = snakemake(tmp_path, "--dry-run", "--printshellcmds", "--configfile", path).stdout
    commands = re.findall(r"thinktuning evaluate .*", shown)
    one = f"{MODEL}/first {MODEL}/second >"
    assert len(commands) == 3 and any(one in command for command in commands)


def test_only_the_models_of_what_changes_are_evaluated(
    tmp_path: Path, study: dict[str, Any]
) -> None:
    study["methods"]["grpo"] = {"algorithm": {"type": "grpo"}}
    path = write_study(tmp_path, study)
    stand_in(tmp_path, path)

    def evaluations(*arguments: str) -> int:
        return planned(tmp_path, *arguments).get("evaluate", 0)

    study["tasks"]["first"]["num_samples"] = 3
    assert evaluations("--configfile", write_study(tmp_path, study, "edited.yaml")) == 3
    (tmp_path / MODEL / "second/results.json").unlink()
    assert evaluations(f"{MODEL}/second/results.json", "--configfile", path) == 1
    assert evaluations(f"{MODEL}/first/results.json", "--configfile", path) == 0


@pytest.mark.slow
def test_only_what_is_missing_is_made(tmp_path: Path, study: dict[str, Any]) -> None:
    path = write_study(tmp_path, study)
    assert run(tmp_path, path) == ["first", "second"]
    samples = {
        task: (tmp_path / MODEL / task / "samples.jsonl").read_text() for task in results(tmp_path)
    }

    study["tasks"]["first"]["num_samples"] = 3
    write_study(tmp_path, study)
    assert run(tmp_path, path) == ["first"]

    (tmp_path / MODEL / "second/results.json").unlink()
    assert run(tmp_path, path) == ["second"]
    assert (tmp_path / MODEL / "second/samples.jsonl").read_text() == samples["second"]

    study["tasks"]["second"]["data"]["seed"] += 1000
    write_study(tmp_path, study)
    assert run(tmp_path, path) == ["second"]

    first = f"{MODEL}/first/results.json"
    assert run(tmp_path, path, first, "-R", "evaluate") == ["first", "second"]
    assert run(tmp_path, path, first, "-f") == ["first"]
    assert run(tmp_path, path) == []

    del study["tasks"]["first"]
    write_study(tmp_path, study)
    assert run(tmp_path, path) == []


@pytest.mark.slow
def test_an_interrupted_job_makes_the_rest(tmp_path: Path, study: dict[str, Any]) -> None:
    path = write_study(tmp_path, study)
    targets = [f"{MODEL}/second/results.json", "--configfile", path]
    command = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    first = tmp_path / MODEL / "first/results.json"
    kept = tmp_path / MODEL / "first/.results.json.done/results.json"
    process = subprocess.Popen(
        [*command, *targets], cwd=tmp_path, env=environment, start_new_session=True
    )
    try:
        while not kept.exists():
            assert process.poll() is None
            time.sleep(0.02)
        made = kept.read_text()
        kill_evaluation(process.pid)
        assert process.wait(60) != 0
    finally:
        process.kill()
    assert not first.exists()  # Snakemake deletes the outputs of a failed job
    assert run(tmp_path, path) == ["first", "second"]
    assert first.read_text() == made


def kill_evaluation(snakemake_id: int) -> None:
    """Kill the evaluation that a running Snakemake has started."""
    import psutil

    for child in psutil.Process(snakemake_id).children(recursive=True):
        if "evaluate" in child.cmdline():
            child.send_signal(signal.SIGKILL)
