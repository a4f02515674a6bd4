"""Held-out questions during a training: they are asked, and change nothing that is learned."""

import pytest
from finished_run import untimed
from killed_run import killed_at
from safetensors.torch import load_file

from thinktuning.commands.train import train
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl

HELD_OUT = {"task": "chain_sum", "eval_steps": 4, "size": 5}
FIGURES = {"eval_reward", "eval_reflection_rate", "eval_completion_length"}


@pytest.fixture
def asked(training, tutor):
    """Return a function that makes a job that asks held-out questions, with model and data."""
    resolve, model, data = training
    rows = [{"id": f"h{i}", "question": f"What is {i}+2?", "answer": str(i + 2)} for i in range(9)]
    write_jsonl(data.parent / "eval/chain_sum.jsonl", rows)

    def job(**overrides):
        return resolve(teacher=tutor[0], **({"max_steps": 8} | overrides)), model, data

    return job


def weights(run):
    return load_file(run / "model/model.safetensors")


def assert_same_training(run, other):
    """The weights are equal, and so are all metrics but those of the held-out questions."""
    found, expected = weights(run), weights(other)
    assert all((found[name] == expected[name]).all() for name in expected)
    without = [{k: v for k, v in row.items() if k not in FIGURES} for row in untimed(run)]
    assert without == [{k: v for k, v in row.items() if k not in FIGURES} for row in untimed(other)]


def test_they_change_nothing_that_is_learned(asked, tmp_path, monkeypatch):
    train(*asked(), tmp_path / "without")
    train(*asked(held_out=HELD_OUT), tmp_path / "with")
    assert_same_training(tmp_path / "with", tmp_path / "without")
    rows = list(read_jsonl(tmp_path / "with/metrics.jsonl"))
    given = [FIGURES | {"time_eval"} <= row.keys() for row in rows]
    assert given == [row["step"] % 4 == 0 for row in rows] and sum(given) == 2
    assert all(0 <= row["eval_reward"] <= 1 for row in rows[1::2])
    assert all(row["time_update"] > 0 and row["time_eval"] > 0 for row in rows[1::2])
    assert not any(FIGURES & row.keys() for row in read_jsonl(tmp_path / "without/metrics.jsonl"))

    run = tmp_path / "killed"
    killed_at(7, monkeypatch, *asked(held_out=HELD_OUT), run)
    train(*asked(held_out=HELD_OUT), run)
    assert untimed(run) == untimed(tmp_path / "with")
    assert_same_training(run, tmp_path / "without")


@pytest.mark.slow
def test_with_an_adapter_and_the_whole_text(asked, tmp_path):
    overrides = {"lora": {"r": 2, "lora_alpha": 2, "lora_dropout": 0.1}, "max_steps": 4}
    overrides |= {"reward": "whole_text", "save_steps": None}
    train(*asked(**overrides), tmp_path / "without")
    train(*asked(held_out=HELD_OUT, **overrides), tmp_path / "with")
    assert_same_training(tmp_path / "with", tmp_path / "without")


def test_missing_questions_are_refused(asked, tmp_path):
    job, model, data = asked(held_out=HELD_OUT)
    (data.parent / "eval/chain_sum.jsonl").unlink()
    with pytest.raises(StudyError, match=r"eval/chain_sum.jsonl: cannot be read"):
        train(job, model, data, tmp_path / "run")


@pytest.mark.parametrize(
    ("held_out", "message"),
    [
        ({"task": "other", "eval_steps": 4}, "not among the study's tasks"),
        ({"task": "chain_sum", "eval_steps": 3}, "held_out.eval_steps = 3 is not a multiple of"),
        ({"task": "chain_sum", "steps": 4}, "unknown key"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked, held_out, message):
    with pytest.raises(StudyError, match=message):
        asked(held_out=held_out)
