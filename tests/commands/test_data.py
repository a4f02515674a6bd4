"""Stage `data`: what it writes, and that it writes nothing when it fails."""

import json
import os
from types import SimpleNamespace

import pytest

from thinktuning.commands.data import prepare
from thinktuning.data.config import ReasoningGymConfig
from thinktuning.data.sources import load_rows
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import DataJob

SUMS = {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}


def gym(generator: str = "chain_sum", size: int = 5, seed: int = 0, **params) -> ReasoningGymConfig:
    return ReasoningGymConfig(
        source="reasoning_gym", generator=generator, size=size, seed=seed, params=params
    )


def data_job(train, task, **settings) -> DataJob:
    return DataJob.model_validate(
        {
            "data": {"train": train.model_dump(), **settings},
            "tasks": {"sums": {"data": task.model_dump(), "answer_kind": "number"}},
            "teacher_prompts": [],
        }
    )


def test_prepare_writes_rows_and_a_report(tmp_path):
    """Seeds 0-29 and 20-24 overlap in 5 questions, which `drop` removes."""
    job = data_job(gym(size=30, **SUMS), gym(size=5, seed=20, **SUMS), on_contamination="drop")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "old.jsonl").write_text("{}\n")
    prepare(job, tmp_path)
    train = list(files.read_jsonl(tmp_path / "train.jsonl"))
    task = list(files.read_jsonl(tmp_path / "eval" / "sums.jsonl"))
    assert [row["id"] for row in task] == [f"sums-{i}" for i in range(5)]
    assert not {row["question"] for row in train} & {row["question"] for row in task}
    report = json.loads((tmp_path / "decontamination.json").read_text())
    assert report["train"]["evaluation_questions"]["count"] == 5
    assert report["train"]["evaluation_questions"]["examples"][0] == {
        "id": "train-20",
        "like": "sums/sums-0",
        "shared": None,
    }
    dropped = report["train"]["duplicates"]["count"] + 5
    assert (report["train"]["before"], report["train"]["after"]) == (30, 30 - dropped)
    assert len(train) == 30 - dropped
    assert report["tasks"]["sums"]["after"] == 5
    assert report["settings"]["ngram"] == 8
    assert sorted(os.listdir(tmp_path)) == ["decontamination.json", "eval", "train.jsonl"]
    assert os.listdir(tmp_path / "eval") == ["sums.jsonl"]


def test_prepare_writes_nothing_when_it_fails(tmp_path, monkeypatch):
    train, task = gym(size=5, **SUMS), gym(size=5, seed=3, **SUMS)
    with pytest.raises(StudyError, match="2 training questions are evaluation questions"):
        prepare(data_job(train, task, on_contamination="fail"), tmp_path)
    with pytest.raises(StudyError, match="no question is left: of 5, 0 are duplicates, 5 are"):
        prepare(data_job(train, train, on_contamination="drop"), tmp_path)
    question = load_rows(task, "number", "t", "tasks.t.data")[0]["question"]
    exemplars = [SimpleNamespace(question=question)]
    monkeypatch.setattr(
        "thinktuning.commands.data.load", lambda name: SimpleNamespace(exemplars=exemplars)
    )
    job = data_job(gym(size=2, **SUMS), task).model_copy(update={"teacher_prompts": ["mine"]})
    with pytest.raises(StudyError, match=r"teacher\.prompt: mine shows the teacher"):
        prepare(job, tmp_path)
    assert os.listdir(tmp_path) == []
