"""The train stage under a token budget: where it ends, even if killed, and what it records."""

import json
import shutil

import pytest
from finished_run import untimed
from killed_run import Killed, killed_at
from safetensors.torch import load_file

import thinktuning.commands.train as stage
from thinktuning.commands.budgets import spent, with_budget
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl
from thinktuning.study.budget import BudgetConfig

FIELDS = ("num_generated_tokens", "num_teacher_tokens", "num_scored_tokens", "budget")


def made(run):
    return json.loads((run / "provenance.json").read_text())


def assert_same(run, whole):
    weights, expected = (load_file(each / "model/model.safetensors") for each in (run, whole))
    assert all((weights[key] == expected[key]).all() for key in expected)
    assert untimed(run) == untimed(whole)
    assert [made(run)[key] for key in FIELDS] == [made(whole)[key] for key in FIELDS]


@pytest.fixture
def budgeted(training, tutor):
    """Return a function that makes a job with a budget, and the job's model and data."""
    resolve, model, data = training
    first = {"teacher": tutor[0], "save_steps": 2}

    def job(tokens, **overrides):
        return resolve(**(first | {"budget": {"tokens": tokens}} | overrides)), model, data

    return job


def test_a_killed_run_ends_where_the_whole_one_does(budgeted, tmp_path, monkeypatch):
    """Wherever it is killed: its counts are those of the checkpoint that it resumes from."""
    stage.train(*budgeted(10**9), tmp_path / "long")
    rows = list(read_jsonl(tmp_path / "long/metrics.jsonl"))
    each = [int(row["student_tokens"] + row["teacher_tokens"]) for row in rows]
    budget = sum(each[:3]) + 1  # one more token than three batches, with less guidance
    whole = tmp_path / "whole"
    stage.train(*budgeted(budget), whole)
    metrics = list(read_jsonl(whole / "metrics.jsonl"))
    each = [int(row["student_tokens"] + row["teacher_tokens"]) for row in metrics]
    last = len(each)
    assert 3 <= last < 6 and [row["step"] for row in metrics] == [2 * n for n in range(1, last + 1)]
    assert sum(each[:-1]) < budget <= sum(each)
    assert [row["budget_used"] for row in metrics] == pytest.approx(
        [sum(each[: n + 1]) / budget for n in range(last)]
    )
    assert made(whole)["num_teacher_tokens"] == 3 * sum(row["num_asked"] for row in metrics) > 0
    assert made(whole)["budget"] == {
        "tokens": budget,
        "scored_tokens": None,
        "as": None,
        "scored_as": None,
        "used": sum(each) / budget,
        "overshoot": {"tokens": sum(each) - budget},
    }
    for step in (3, 2 * last - 1, 2 * last):  # in the second batch, in the last one, after it
        run = tmp_path / f"killed{step}"
        killed_at(step, monkeypatch, *budgeted(budget), run)
        stage.train(*budgeted(budget), run)
        assert_same(run, whole)


def test_a_run_killed_after_its_budget_takes_no_other_step(budgeted, tmp_path, monkeypatch, capfd):
    whole, run = tmp_path / "whole", tmp_path / "run"
    stage.train(*budgeted(1), whole)
    assert "100%|██████████| 1/1 [" in capfd.readouterr().err  # not 1 of max_steps
    assert [row["step"] for row in read_jsonl(whole / "metrics.jsonl")] == [2]

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(stage, "save_model", kill)
        with pytest.raises(Killed):
            stage.train(*budgeted(1), run)
    assert (run / "checkpoints/checkpoint-2").exists()
    stage.train(*budgeted(1), run)
    assert_same(run, whole)


@pytest.mark.parametrize("backend", ["self", "grpo"])
def test_a_training_under_a_budget_is_the_first_part_of_one_without(training, tmp_path, backend):
    """Of GRPO; guidance falls with the budget. Also with the base model as the teacher."""
    resolve, model, data = training
    settings = {"algorithm": {"schedule": {"kind": "constant", "init": 0.5, "cutoff": None}}}
    if backend == "grpo":
        settings = {}
    job = resolve(**settings)
    if backend == "grpo":
        from thinktuning.algorithms.grpo import GRPOAlgorithmConfig

        job = job.model_copy(update={"algorithm": GRPOAlgorithmConfig()})
    stage.train(job, model, data, tmp_path / "long")
    rows = untimed(tmp_path / "long")
    scored = sum(row["scored_tokens"] for row in rows[:2])
    limit = resolve(budget={"scored_tokens": int(scored)}).training
    short = job.model_copy(update={"training": limit})
    stage.train(short, model, data, tmp_path / "short")
    found = untimed(tmp_path / "short")
    assert [row.pop("budget_used") for row in found][-1] == 1
    assert found == rows[:2]
    assert made(tmp_path / "short")["budget"]["overshoot"] == {"scored_tokens": 0}
    assert (made(tmp_path / "long")["num_teacher_tokens"] > 0) == (backend == "self")


def test_an_unused_budget_is_recorded(budgeted, tmp_path, caplog):
    stage.train(*budgeted(10**9, max_steps=2), tmp_path / "run")
    found = made(tmp_path / "run")
    tokens = found["num_generated_tokens"] + found["num_teacher_tokens"]
    assert found["budget"]["used"] == tokens / 10**9 and found["budget"]["overshoot"] == {}
    assert "budget not used: the training ended at step 2 with 0% of its budget" in caplog.text


def test_a_budget_as_another_methods_run(training, tmp_path):
    """It reads that run's provenance.json, with the same seed."""
    resolve, model, data = training
    other, run = tmp_path / "runs/grpo/seed0", tmp_path / "runs/thinktuning/seed0"
    job = resolve(max_steps=4)
    budget = BudgetConfig.model_validate({"as": "grpo", "scored_as": "grpo"})
    section = job.training.model_copy(update={"budget": budget})
    job = job.model_copy(update={"training": section})
    path = other / "provenance.json"
    with pytest.raises(StudyError, match=r"grpo/seed0/provenance.json: cannot be read"):
        stage.train(job, model, data, run, None, [path])
    stage.train(resolve(max_steps=2), model, data, other)
    took = made(other) | {"method": "grpo"}
    for text, named in [(took, []), (took | {"seed": 1}, [path]), (made(other), [path])]:
        path.write_text(json.dumps(text))
        with pytest.raises(StudyError, match="refers to grpo, but --budget-runs names no run of"):
            stage.train(job, model, data, run, None, named)
    path.write_text(json.dumps(took))
    tokens = took["num_generated_tokens"] + took["num_teacher_tokens"]
    resolved = with_budget(job, [path]).training.budget
    assert resolved.limits() == {"tokens": tokens, "scored_tokens": took["num_scored_tokens"]}
    stage.train(job, model, data, run, None, [path])
    assert made(run)["budget"] == {
        "tokens": tokens,
        "scored_tokens": took["num_scored_tokens"],
        "as": "grpo",
        "scored_as": "grpo",
        "used": 1.0,
        "overshoot": {"tokens": 0, "scored_tokens": 0},
    }
    shutil.rmtree(run)
    took["num_scored_tokens"] = None
    path.write_text(json.dumps(took))
    with pytest.raises(StudyError, match="does not say how many scored tokens the run took"):
        stage.train(job, model, data, run, None, [path])


def test_what_a_run_of_an_earlier_version_did_not_count_is_unknown(training):
    job = training[0]()
    rows = [{"student_tokens": 10.0, "teacher_tokens": 2.0}]
    scored = rows[0] | {"scored_tokens": 30.0}
    extra = scored | {"extra_scored_tokens": 5.0}
    assert spent(job, [scored, extra])["num_scored_tokens"] == 65
    found = spent(job, [*rows, scored])
    assert found == {
        "num_generated_tokens": 20,
        "num_teacher_tokens": 4,
        "num_scored_tokens": None,
    }
