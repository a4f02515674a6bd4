"""The scripts of perf/ run, on their smallest inputs."""

import json
import runpy
import sys
from pathlib import Path

import pytest
from browser import CHROMEDRIVER, CHROMIUM, MISSING
from finished_study import JOB, write_results

from thinktuning.io.files import write_jsonl
from thinktuning.study.jobs import to_json

SCRIPTS = Path(__file__).parents[2] / "perf"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a script as from the command line and return what it prints."""

    def script(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
        return capsys.readouterr().out

    return script


def test_grader(run):
    assert "ratio: " in run("grader.py", "--answers", 10, "--rounds", 1, "--hostile", 4)


def test_starts(run, tmp_path):
    written = tmp_path / "seconds.json"
    printed = run("starts.py", "--only", "data", "validate", "--repeats", 1, "--json", written)
    assert [line.split()[0] for line in printed.splitlines()] == ["data", "validate"]
    assert json.loads(written.read_text())["cpu_seconds"]["data"][0] > 0


def test_overhead(run, likely_eos, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "base").symlink_to(likely_eos)
    (tmp_path / "data").mkdir()
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(64)]
    write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    printed = run("overhead.py", "--results", tmp_path, "--steps", 1, "--turns", 1)
    assert "median of 1: " in printed


@pytest.mark.skipif(not (CHROMIUM and CHROMEDRIVER), reason=MISSING)
def test_report(run, tmp_path):
    write_results(tmp_path, {0: [], 1: []})
    (tmp_path / "tables" / "config.json").write_text(to_json(JOB))
    printed = run("report.py", "--results", tmp_path, "--rollouts", 20, "--repeats", 1)
    assert "20 of 20 rollouts" in printed


def test_coverage(run):
    printed = run("coverage.py", "--studies", 2)
    assert "| Beta(0.1, 2), 30 questions x 32 | " in printed and "| 5 seeds | " in printed


def test_tables(run):
    small = [x for name in ("methods", "seeds", "tasks", "samples") for x in (f"--{name}", 1)]
    assert "3 answers: " in run("tables.py", *small, "--questions", 3)
