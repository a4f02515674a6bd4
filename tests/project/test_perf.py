"""The scripts of perf/ run, on their smallest inputs."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from browser import CHROMEDRIVER, CHROMIUM, MISSING
from finished_study import JOB, write_results

from thinktuning.io.files import write_jsonl
from thinktuning.study.jobs import to_json
from thinktuning.study.reading import load_study

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


def test_plans(run):
    printed = run("plans.py", "--jobs", 40, "--repeats", 1)
    finished, sweep = printed.splitlines()
    assert finished.split()[3] == "0" and int(sweep.split()[4]) > 40


def test_starts(run, tmp_path):
    written = tmp_path / "seconds.json"
    printed = run("starts.py", "--only", "data", "validate", "--repeats", 1, "--json", written)
    assert [line.split()[0] for line in printed.splitlines()] == ["data", "validate"]
    assert json.loads(written.read_text())["cpu_seconds"]["data"][0] > 0


def test_families(run):
    small = {"max_steps": 4, "batch_size": 16, "hidden_size": 32, "num_hidden_layers": 1}
    pairs = [word for pair in small.items() for word in ("--set", "{}={}".format(*pair))]
    study = SCRIPTS.parent / "studies" / "families.yaml"
    first, _, _, *rows = run("families.py", study, "--problems", 6, *pairs).splitlines()
    assert "weights" in first and "'max_steps': 4" in first
    assert [row.split(" | ")[0] for row in rows] == [
        f"| {name} {band}"
        for name in ("chain_sum", "products", "leg_counting")
        for band in ("easy", "hard", "longer")
    ]
    assert all(row.startswith("2 | 0.0 (0.0 to 84.2) |", row.index("|", 2) + 2) for row in rows)


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_help(script):
    """Needs neither a model nor results, so a mistake shows before an hour has passed."""
    command = [sys.executable, str(SCRIPTS / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr


@pytest.fixture
def results(likely_eos, tmp_path):
    """What the scripts read of a finished default study, with a tiny model."""
    (tmp_path / "models").mkdir()
    shutil.copytree(likely_eos, tmp_path / "models" / "base")
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(64)]
    write_jsonl(tmp_path / "data" / "train.jsonl", rows)
    for task in load_study(SCRIPTS.parent / "config.yaml").tasks:
        write_jsonl(tmp_path / "data" / "eval" / f"{task}.jsonl", rows)
    return tmp_path


def in_process(script, *arguments):
    """Run a script in a process of its own, on this checkout; return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bfloat16():
    printed = in_process("bfloat16.py", "--quick")
    rows = [line.split(" | ") for line in printed.splitlines() if " s | " in line]
    assert [row[0] for row in rows] == [
        "| update, autocast",
        "| 2 tokens sampled, weights in bfloat16",
        "| Muon",
    ]
    assert all(float(row[-1].strip(" |")) > 0 for row in rows)


@pytest.mark.slow
def test_speed(results, tmp_path):
    written = tmp_path / "speed.json"
    printed = in_process("speed.py", "--quick", "--results", results, "--json", written)
    parts = json.loads(written.read_text())["parts"]
    assert set(parts) == {"toy", "smollm2", "gsm8k", "growth", "evaluation"}
    for part in ("toy", "smollm2", "gsm8k"):
        (stock,), (ours,), (taught,) = parts[part]["measured"].values()
        for turn in (stock, ours, taught):
            assert sum(turn["parts"].values()) == pytest.approx(turn["seconds"])
            assert all(seconds >= 0 for seconds in turn["parts"].values())
            assert turn["update_positions"] > 0
            assert 0 < turn["computed_tokens"] <= turn["real_tokens"]
        assert stock["computed_tokens"] == stock["real_tokens"]
        assert any(turn["computed_tokens"] < turn["real_tokens"] for turn in (ours, taught))
        assert stock["student_tokens"] == ours["student_tokens"] == taught["student_tokens"]
        assert stock["teacher_tokens"] == 0 < taught["teacher_tokens"]
        assert set(parts[part]["peak_mb"]) == {"stock", "ours", "thinktuning"}
        assert f"### {part}: 1 turns of 1 rollout batches" in printed
    answers = {name: run["answers"] for name, run in parts["evaluation"].items()}
    assert answers == {"thinktuning": 3 * 2 * 4, "lm_eval": 3 * 2 * 4}


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="the CPU's part; with a GPU: perf/gpu.py")
def test_gpu_on_a_cpu(results, tmp_path):
    """Every check of every part runs; what it finds about this model is not of interest."""
    in_process("gpu.py", "--output", tmp_path / "out", "--results", results, "--limit", 900)
    for part in ("correctness", "doctor", "toy", "large", "generation"):
        found = json.loads((tmp_path / "out" / f"{part}.json").read_text())
        assert found["exit"] == 0 and "no GPU" in found["device"], found["log"]
        assert found["checks"]
        for name, check in found["checks"].items():
            assert "error" not in check, (name, check)
        assert all(c["ok"] for c in found["checks"].values()) or part == "toy", found["checks"]


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
