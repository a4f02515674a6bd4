"""Following a training: its rows as they are written, its end, and nothing to follow."""

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answered_study import batch
from finished_study import rollout
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from thinktuning.analysis.watch import BLOCKS, Run, Tail, drawing, sparkline, watch
from thinktuning.io.errors import StudyError

TRAINING = """
import json, sys, time
from pathlib import Path
run, rows, rollouts = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
work = run / "checkpoints"
work.mkdir()
for row, rollout in zip(rows, rollouts):
    time.sleep(0.1)
    for name, made in (("metrics", row), ("rollouts", rollout)):
        with (work / f"{name}.jsonl").open("a") as file:
            half = len(json.dumps(made)) // 2
            file.write(json.dumps(made)[:half]); file.flush()
            file.write(json.dumps(made)[half:] + "\\n")
for name in ("metrics", "rollouts"):
    (work / f"{name}.jsonl").rename(run / f"{name}.jsonl")
(run / "provenance.json").write_text("{}")
"""


def rows(number):
    return [batch(i, step=2 * i, student_reward=i / 10) for i in range(1, number + 1)]


def start(run, number=4):
    """Start a process that writes as a training does; the run's directory was resolved before."""
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    rollouts = [rollout("[bold]3[/bold]", taught=True, step=2 * i) for i in range(1, number + 1)]
    values = [json.dumps(rows(number)), json.dumps(rollouts)]
    return subprocess.Popen([sys.executable, "-c", TRAINING, str(run), *values])


def test_a_line_per_batch_until_the_end(tmp_path, capsys):
    run = tmp_path / "results/runs/grpo/seed0"
    with start(run):
        watch(run, every=0.02)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:3] for line in lines[:-1]] == [
        ["grpo/seed0", f"batch {i}", f"reward of the student 0.{i}0"] for i in range(1, 5)
    ]
    assert lines[-1] == "grpo/seed0: ended after 4 batches"


def test_all_trainings_of_a_study(tmp_path, capsys):
    runs = tmp_path / "results/runs"
    with start(runs / "grpo/seed0", 2), start(runs / "sft/seed1", 3):
        watch(tmp_path / "results", every=0.02)
    lines = capsys.readouterr().out.splitlines()
    assert {line.split("  ")[0] for line in lines[:-2]} == {"grpo/seed0", "sft/seed1"}
    assert lines[-2:] == ["grpo/seed0: ended after 2 batches", "sft/seed1: ended after 3 batches"]
    watch(tmp_path / "results")  # all over: how they ended, and no history
    assert capsys.readouterr().out.splitlines() == lines[-2:]


def test_curves_and_the_latest_rollout_on_a_terminal(tmp_path):
    run = Run("grpo/seed0", tmp_path / "results/runs/grpo/seed0")
    with start(run.directory):
        pass
    run.update()
    out = io.StringIO()
    Console(file=out, width=100, color_system=None).print(drawing([run]))
    shown = out.getvalue()
    assert "grpo/seed0               ended after 4 batches" in shown
    assert "  reward of the student  \u2581\u2582\u2583\u2584 0.40" in shown
    assert "latest rollout" in shown and "Wait: [bold]3[/bold]" in shown


def test_nothing_to_follow(tmp_path, capsys):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/config.json").write_text("{}")
    for path in (tmp_path, tmp_path / "absent", tmp_path / "tables"):
        with pytest.raises(StudyError, match="has no training, neither running nor finished; pass"):
            watch(path)
    run = tmp_path / "results/runs/grpo/seed0"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    watch(run, once=True)
    assert capsys.readouterr().out == "grpo/seed0: waiting for the first batch\n"


def test_a_training_that_has_gone_quiet_names_its_log(tmp_path):
    run = Run("grpo/seed0", tmp_path / "results/runs/grpo/seed0")
    (run.directory / "checkpoints").mkdir(parents=True)
    (run.directory / "checkpoints/metrics.jsonl").write_text(json.dumps(rows(1)[0]) + "\n")
    run.update()
    assert run.state() == "1 batches"
    run.log.parent.mkdir(parents=True)
    run.log.write_text("train:   2%|#  | 1/50 [00:01<00:01, 4batch/s]")
    past = time.time() - 90
    os.utime(run.directory / "checkpoints/metrics.jsonl", (past, past))
    assert run.state() == f"batch 1 of 50, none for 90 s: see {run.log}"


def test_a_training_that_failed_before_its_first_batch_names_its_log(tmp_path, capsys):
    run = tmp_path / "results/runs/grpo/seed0"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    log = tmp_path / "results/logs/train/grpo/seed0.log"
    log.parent.mkdir(parents=True)
    log.write_text("thinktuning: no such model")
    past = time.time() - 90
    os.utime(log, (past, past))
    watch(run, once=True)
    said = f"grpo/seed0: waiting for the first batch, none for 90 s: see {log}\n"
    assert capsys.readouterr().out == said

    def interrupt(seconds):
        if next(looks) == 2:
            raise KeyboardInterrupt

    looks = iter(range(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thinktuning.analysis.watch.time.sleep", interrupt)
        watch(run)
    assert capsys.readouterr().out == said  # once while it is quiet


def test_a_training_that_diverged_has_ended(tmp_path, capsys):
    run = tmp_path / "results/runs/grpo/seed0"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints/metrics.jsonl").write_text(json.dumps(rows(1)[0]) + "\n")
    (run / "checkpoints/diverged.jsonl").touch()
    watch(tmp_path / "results")
    said = capsys.readouterr().out
    assert said.startswith("grpo/seed0: diverged after 1 batches: see ")
    later = time.time() + 5  # it was started again
    os.utime(run / "checkpoints/metrics.jsonl", (later, later))
    assert not Run("grpo/seed0", run).ended


@pytest.mark.parametrize(
    ("at", "path"),
    [("grpo", "seed0"), ("grpo/seed0", "."), ("", "grpo/seed0"), ("sft", "../grpo/seed0")],
)
def test_a_relative_path(tmp_path, capsys, monkeypatch, at, path):
    runs = tmp_path / "results/runs"
    (runs / "sft").mkdir(parents=True)
    (runs / "grpo/seed0").mkdir(parents=True)
    (runs / "grpo/seed0/config.json").write_text("{}")
    monkeypatch.chdir(runs / at)
    watch(Path(path), once=True)
    assert capsys.readouterr().out == "grpo/seed0: waiting for the first batch\n"


def test_rows_that_are_none_are_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('5\n{"rollout_batch": 1}\nnull\n{"step": 2}\n')
    assert Tail(path).read() == (True, [{"step": 2}])


def test_a_resumed_training_drops_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "checkpoints/metrics.jsonl"
    path.parent.mkdir()
    run = Run("grpo/seed0", tmp_path)

    def write(found):
        other = tmp_path / "new"
        other.write_text("".join(json.dumps(row) + "\n" for row in found))
        other.rename(path)

    write(rows(3))
    assert [row["step"] for row in run.update()] == [2, 4, 6]
    write(rows(2))
    assert run.update() == [] and len(run.metrics) == 2
    with path.open("a") as file:
        file.write(json.dumps(rows(3)[-1]) + "\n")
    assert [row["step"] for row in run.update()] == [6]


@given(st.lists(st.integers(0, 40), max_size=12))
def test_a_tail_reads_each_row_once(tmp_path_factory, cuts):
    path = tmp_path_factory.mktemp("tail") / "rows.jsonl"
    text = "".join(json.dumps({"step": i}) + "\n" for i in range(4)).encode()
    tail, read = Tail(path), []
    for cut in [*sorted(cuts), len(text)]:
        have = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            file.write(text[have:cut])
        read += tail.read()[1]
    assert [row["step"] for row in read] == [0, 1, 2, 3]


@given(st.lists(st.floats(-5, 5), max_size=200), st.integers(1, 50))
def test_a_curve_fits(values, width):
    curve = sparkline(values, width)
    assert len(curve) == min(width, len(values)) and set(curve) <= set(BLOCKS)
