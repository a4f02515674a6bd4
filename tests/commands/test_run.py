"""`thinktuning run`: Snakemake with a calm view, on terminals and without one."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answered_study import ONE_SEED, run_compare, study
from snakemake.cli import parse_args
from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry
from snakemake_run import ROOT

from thinktuning.commands import live
from thinktuning.commands.jobs_view import JobsView
from thinktuning.commands.live import Reporter
from thinktuning.commands.run import snakemake_arguments
from thinktuning.study.jobs import to_json

SNAKEFILE = """
rule all:
    input:
        "results/report/index.html",
        expand("results/runs/grpo/seed{seed}/model", seed=[0, 1]),

rule resolve_train:
    output: "results/runs/grpo/seed{seed}/config.json"
    localrule: True
    shell: "echo > {output}"

rule train:
    input: "results/runs/grpo/seed{seed}/config.json"
    output: "results/runs/{method}/seed{seed}/model"
    log: "results/logs/train/{method}/seed{seed}.log"
    shell:
        "(echo 'a traceback' $FAILING; printf 'train:  50%%|###  | 5/10 [00:01<00:01, 4batch/s, "
        "student_reward=0.25, reflection_rate=0.50]'; "
        "[ {wildcards.seed} != \\"$FAILING\\" ]) > {log} 2>&1; sleep 1; touch {output}"

rule report:
    output: "results/report/index.html"
    log: "results/logs/report.log"
    shell: "touch {output}"
"""
RUN = [sys.executable, "-m", "thinktuning.commands.cli", "run", "--cores", "2"]


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A workflow of three jobs whose tables are those of a small study."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    job = study([0])
    run_compare(tmp_path / "results", job, ONE_SEED)
    (tmp_path / "results/tables/config.json").write_text(to_json(job))
    return tmp_path


def environment(failing: str = "") -> dict[str, str]:
    return os.environ | {"FAILING": failing, "COLUMNS": "120", "TERM": "xterm-256color"}


def run(directory: Path, *arguments: str, failing: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        env=environment(failing),
    )


def test_plain_lines_without_a_terminal(workflow: Path) -> None:
    done = run(workflow)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert not any("\x1b" in line for line in lines)
    jobs = sorted(re.sub(r"^[\d:]{8} ", "", line) for line in lines if re.match(r"\d\d:", line))
    assert [re.sub(r" +0:0\d", " TIME", line) for line in jobs] == [
        "done   report TIME",
        "done   train grpo seed 0 TIME  reward 0.25  reflects 0.50",
        "done   train grpo seed 1 TIME  reward 0.25  reflects 0.50",
        "start  report",
        "start  train grpo seed 0",
        "start  train grpo seed 1",
    ]
    assert "3 jobs to run" in lines
    assert "Building DAG" not in done.stderr and "resolve" not in done.stderr
    headline = done.stderr[done.stderr.index("3 of 3 jobs done") :]
    assert "sums (4 questions)" in headline and "minus zero-shot, points" in headline
    assert "87.5 [" in headline and "+37.5 [" in headline
    assert lines[-1] == f"The page: {(workflow / 'results/report/index.html').as_uri()}"
    (log,) = re.findall(r"^Complete log\(s\): (.*)", done.stderr, re.M)
    assert "rule resolve_train:" in Path(log).read_text()

    again = run(workflow)
    assert "Nothing to be done" in again.stderr and "The page: file://" in again.stderr
    planned = run(workflow, "-n", "-R", "train")
    assert "rule train:" in planned.stdout and "This was a dry-run" in planned.stdout


def test_a_failure_is_as_visible_as_with_snakemake(workflow: Path) -> None:
    done = run(workflow, "--show-failed-logs", "--keep-going", failing="1")
    assert done.returncode == 1
    plain = subprocess.run(
        ["snakemake", "--cores", "2", "--show-failed-logs"],
        cwd=workflow,
        capture_output=True,
        text=True,
        env=environment("1") | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
    )
    for text in (
        "Error in rule train:",
        "log: results/logs/train/grpo/seed1.log (check log file(s) for error details)",
        "a traceback 1",
        "At least one job did not complete successfully",
    ):
        assert text in done.stderr and text in plain.stderr
    log = workflow / "results/logs/train/grpo/seed1.log"
    assert f"train grpo seed 1 failed: {log}" in done.stderr
    assert "2 of 3 jobs done, 1 failed" in done.stderr
    assert "The page" not in done.stderr


KILLED = """
rule all:
    output: "out"
    shell: "echo half > out; [ -e again ] || sleep 60; echo whole > out"
"""


def test_what_was_killed_goes_on(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(KILLED)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    with subprocess.Popen(RUN, cwd=tmp_path, env=environment(), start_new_session=True) as process:
        while not (tmp_path / "out").exists():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGKILL)
    (tmp_path / "again").touch()
    assert run(tmp_path, "--unlock").returncode == 0
    done = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_text() == "whole\n"


def test_a_mistake_in_the_workflow_is_shown(workflow: Path) -> None:
    (workflow / "Snakefile").write_text("rule all:\n    input: 'absent.txt'\n")
    done = run(workflow)
    assert done.returncode == 1
    assert "MissingInputException" in done.stderr and "absent.txt" in done.stderr


def test_bars_on_a_terminal(workflow: Path) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        RUN, cwd=workflow, stdout=follower, stderr=follower, env=environment()
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                shown += os.read(leader, 4096)
            except OSError:  # the other end is closed
                break
    os.close(leader)
    assert process.returncode == 0
    text = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"train grpo seed 0 +\u2501+\S* +5/10  reward 0.25  reflects 0.50  0:0", text)
    assert "\u2713 train grpo seed 1" in text and "start  " not in text
    assert re.search(r"\d of 3 jobs done, 0:0", text)
    assert text.rstrip().endswith("results/report/index.html")


def test_running_jobs_are_told_from_time_to_time(tmp_path: Path) -> None:
    view, told = JobsView(), []
    log = tmp_path / "train.log"
    log.write_text("train:  50%|###  | 5/10 [00:01<00:01, 4batch/s, student_reward=0.25]")
    wildcards = {"point": "steps-1", "method": "grpo", "seed": 0}
    job = {"jobid": 3, "rule_name": "train", "wildcards": wildcards, "log": ["train.log"]}
    assert view.add(job, tmp_path) == "steps-1: train grpo seed 0"
    reporter = Reporter(view, told.append, every=0.01)
    reporter.start()
    while not told:
        assert reporter.is_alive()
    reporter.stop()
    assert re.sub(" +", " ", told[0]) == "steps-1: train grpo seed 0 5/10 reward 0.25 0:00"
    view.fail(3)
    assert view.failures() == [f"steps-1: train grpo seed 0 failed: {log}"]
    view.add(job, tmp_path)  # Snakemake starts it again
    assert view.failures() == []


def test_what_is_added_to_the_arguments(workflow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workflow)
    for name in ("a.yaml", "b.yml"):
        Path(name).write_text("{}")
    plugin = "--logger=thinktuning"
    assert snakemake_arguments([]) == [plugin, "--cores=all"]
    assert snakemake_arguments(["a.yaml", "-n", "--", "results/x"]) == [
        *(plugin, "--cores=all", "-n", "--configfile", "a.yaml", "--", "results/x")
    ]
    for limit in (
        ["-c4"],
        ["--cores=4"],
        ["-j", "4"],
        ["--workflow-profile", "p"],
        ["--core", "4"],
    ):
        assert snakemake_arguments(limit) == [plugin, *limit]


@pytest.mark.parametrize(
    ("arguments", "files", "targets"),
    [
        (["a.yaml", "b.yml"], ["a.yaml", "b.yml"], []),
        (["a.yaml", "--configfile", "b.yml"], ["a.yaml", "b.yml"], []),
        (["a.yaml", "--configfile=b.yml", "x"], ["a.yaml", "b.yml"], ["x"]),
        (["a.yaml", "--configfiles", "b.yml", "--", "x", "y"], ["a.yaml", "b.yml"], ["x", "y"]),
        (["a.yaml", "-n", "x", "y"], ["a.yaml"], ["x", "y"]),
        (["--configfile", "b.yml", "a.yaml"], ["b.yml", "a.yaml"], []),
        (["-n", "--", "a.yaml"], [], ["a.yaml"]),
    ],
)
def test_no_study_is_dropped(
    workflow: Path, monkeypatch: pytest.MonkeyPatch, arguments, files, targets
) -> None:
    monkeypatch.chdir(workflow)
    for name in ("a.yaml", "b.yml"):
        Path(name).write_text("{}")
    LoggerPluginRegistry().register_plugin("snakemake_logger_plugin_thinktuning", live)
    _, parsed = parse_args(snakemake_arguments(arguments))
    assert [*map(str, parsed.configfile)] == files and {*parsed.targets} == {*targets}


def test_mistakes_are_one_line(workflow: Path) -> None:
    def said(*arguments: str) -> str:
        done = run(workflow, *arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        return done.stderr

    (workflow / "study.yaml").write_text("{}")
    for given in (["-n", "study.yaml"], ["--directory", str(workflow), "study.yaml", "-n"]):
        assert "run: study.yaml is not the first argument; put the study first" in said(*given)
    (workflow / "Snakefile").unlink()
    assert "has no Snakefile; run it in the repository, or in a directory that `thinktu" in said()


def test_a_study_that_is_not_there(workflow: Path) -> None:
    done = subprocess.run(
        [*RUN[:4], "nosuch.yaml"], cwd=workflow, capture_output=True, text=True, env=environment()
    )
    missing = "nosuch.yaml: cannot be read (No such file or directory); check the path"
    assert done.stderr == f"thinktuning: {missing}\n"


def test_without_tables_only_the_page_is_named(workflow: Path) -> None:
    config = workflow / "results/tables/config.json"
    config.write_text(json.dumps({"points": {}}))  # a sweep's
    (workflow / "results/report/index.html").unlink(missing_ok=True)
    done = run(workflow, "--", "results/report/index.html")
    assert done.returncode == 0 and "questions)" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("The page: file://")
