"""Stage `data`: what it writes, and that it writes nothing when it fails."""

import json
import os

import pytest

from thinktuning.commands.data import exemplars, prepare
from thinktuning.data.config import JsonlConfig, ReasoningGymConfig
from thinktuning.data.questions import read_questions
from thinktuning.io import files
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import DataJob, ExemplarsJob

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


@pytest.mark.parametrize("name", ["train.jsonl", "eval/sums.jsonl"])
def test_prepared_questions_that_were_changed_are_refused(tmp_path, name):
    """Else all methods would be trained on, or asked, others than the study says."""
    drop = {"on_contamination": "drop"}
    prepare(data_job(gym(size=30, seed=100, **SUMS), gym(size=5, **SUMS), **drop), tmp_path)
    path = tmp_path / name
    rows = read_questions(path, "number")
    files.write_jsonl(path, rows[:-1])
    with pytest.raises(StudyError, match=rf"{name}: is not the file that .* `snakemake -R data`"):
        read_questions(path, "number")
    files.write_jsonl(tmp_path / "mine.jsonl", rows[:-1])
    assert len(read_questions(tmp_path / "mine.jsonl", "number")) == len(rows) - 1


def test_a_task_has_two_questions(tmp_path):
    files.write_jsonl(tmp_path / "one.jsonl", [{"question": "1 + 1 =", "answer": "2"}] * 2)
    task = JsonlConfig(source="jsonl", path=str(tmp_path / "one.jsonl"))
    with pytest.raises(StudyError, match=r"^tasks.sums.data: 1 question is left of 2: a differen"):
        prepare(data_job(gym(size=30, **SUMS), task), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tasks_that_share_questions_are_told_of(tmp_path, caplog):
    task, drop = gym(size=5, **SUMS), {"on_contamination": "drop"}
    job = data_job(gym(size=30, seed=100, **SUMS), task, **drop)
    later = job.tasks["sums"].model_copy(update={"data": gym(size=5, seed=3, **SUMS)})
    prepare(job.model_copy(update={"tasks": job.tasks | {"more": later}}), tmp_path)
    (told,) = [record.getMessage() for record in caplog.records if "thinktuning" in record.name]
    assert told.startswith(
        "tasks.more.data: 2 of 5 questions are also of an earlier task: the mean"
    )


def test_bad_golds_stop_the_study_or_are_counted(tmp_path):
    rows = [{"question": f"{i} + {i} =", "answer": a} for i, a in enumerate(["0", "two", "4", "?"])]
    files.write_jsonl(tmp_path / "rows.jsonl", rows)
    train = JsonlConfig(source="jsonl", path=str(tmp_path / "rows.jsonl"))
    with pytest.raises(StudyError, match=r"data\.train: 2 rows cannot be used"):
        prepare(data_job(train, gym(size=2, **SUMS)), tmp_path / "failed")
    prepare(data_job(train, gym(size=2, **SUMS), on_bad_gold="drop"), tmp_path / "out")
    report = json.loads((tmp_path / "out" / "decontamination.json").read_text())
    (reason, counted) = report["train"]["bad_golds"].popitem()
    assert (reason, counted["count"]) == ("not a number", 2)
    assert [place.rsplit(":", 1)[1] for place in counted["examples"]] == ["2", "4"]
    assert (report["train"]["before"], report["train"]["after"]) == (4, 2)
    assert report["tasks"]["sums"]["bad_golds"] == {}
    assert report["settings"]["on_bad_gold"] == "drop"


def test_prepare_writes_nothing_when_it_fails(tmp_path):
    train, task = gym(size=5, **SUMS), gym(size=5, seed=3, **SUMS)
    with pytest.raises(StudyError, match="2 training questions are evaluation questions"):
        prepare(data_job(train, task, on_contamination="fail"), tmp_path)
    with pytest.raises(StudyError, match="no question is left: of 5, 0 are duplicates, 5 are"):
        prepare(data_job(train, train, on_contamination="drop"), tmp_path)
    assert os.listdir(tmp_path) == []


def test_exemplars_that_are_evaluation_questions_are_refused(tmp_path):
    train, task = gym(size=40, **SUMS), gym(size=5, seed=100, **SUMS)
    prepare(data_job(train, task), tmp_path)
    output = tmp_path / "exemplars.json"
    job = ExemplarsJob(teacher_prompts=["paper"], ngram=8, max_ngram_count=10)
    exemplars(job, tmp_path, output)
    assert json.loads(output.read_text()) == {"checked": {"paper": 8}}
    asked = next(files.read_jsonl(tmp_path / "eval/sums.jsonl"))["question"]
    example = {"behavior": "self_conflict", "question": asked, "response": "7", "feedback": "No."}
    prompt = tmp_path / "mine.yaml"
    prompt.write_text(
        json.dumps({"system": "S", "user": "{question} {response}", "exemplars": [example]})
    )
    output.unlink()
    mine = job.model_copy(update={"teacher_prompts": [str(prompt)]})
    with pytest.raises(StudyError, match=r"teacher\.prompt: .*mine\.yaml shows the teacher"):
        exemplars(mine, tmp_path, output)
    assert not output.exists()
