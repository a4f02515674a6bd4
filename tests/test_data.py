"""Stage `data`: its files, and decontamination on examples worked by hand."""

import errno
import json
import os
from types import SimpleNamespace

import pytest

from thinktuning import data, files, prompts
from thinktuning.config import DataRun
from thinktuning.errors import StudyError
from thinktuning.loading import load_rows
from thinktuning.sources import ReasoningGymSource

SUMS = {"min_terms": 3, "max_terms": 3, "min_digits": 1, "max_digits": 1}


def gym(generator: str = "chain_sum", size: int = 5, seed: int = 0, **params) -> ReasoningGymSource:
    return ReasoningGymSource(
        source="reasoning_gym", generator=generator, size=size, seed=seed, params=params
    )


def rows(*questions: str) -> list[data.Row]:
    return [
        {"id": f"t-{i}", "question": question, "answer": "1", "source": "test"}
        for i, question in enumerate(questions)
    ]


def data_run(train, task, **settings) -> DataRun:
    return DataRun.model_validate(
        {
            "data": {"train": train.model_dump(), **settings},
            "tasks": {"sums": {"data": task.model_dump(), "answer_kind": "number"}},
            "teacher_prompts": [],
        }
    )


# --- files ----------------------------------------------------------------------------------------


def test_jsonl_round_trip_keeps_any_text(tmp_path):
    written = [{"text": "π \u2028 \n \ud800"}, {"n": [1, None]}]
    files.write_jsonl(tmp_path / "new" / "a.jsonl", written)
    assert list(files.read_jsonl(tmp_path / "new" / "a.jsonl")) == written
    assert os.listdir(tmp_path / "new") == ["a.jsonl"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": \n', r"rows\.jsonl:3: is not valid JSON"),
        (b'{"a": 1}\n[1]\n', r"rows\.jsonl:2: expected a JSON object, found list"),
        (b'{"a": 1}\n{"a": "\xff"}\n', r"rows\.jsonl:2: is not UTF-8"),
    ],
)
def test_read_jsonl_names_file_and_line(tmp_path, content, message):
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(StudyError, match=message):
        list(files.read_jsonl(tmp_path / "rows.jsonl"))


def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    files.write_text_atomic(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StudyError, match=r"a\.txt: no space left"):
        files.write_text_atomic(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_write_jsonl_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        files.write_jsonl(tmp_path / "a.jsonl", [{"loss": float("nan")}])
    assert os.listdir(tmp_path) == []


# --- decontamination ------------------------------------------------------------------------------


def test_tokens_are_words_and_single_symbols():
    assert data.normalise("Is 4-1*7 = -3.5?") == "is 4 - 1 * 7 = - 3 . 5 ?"
    assert data.normalise(" WHAT  is\n1+1 ?") == data.normalise("What is 1 + 1?")
    assert data.ngrams("a b c d", 3) == ["a b c", "b c d"]
    assert data.ngrams("a b", 3) == []


def test_own_ngrams_touch_no_wording():
    """`what is` is wording: of the 2-grams `is 4`, `4 +`, `+ 1` it takes the first with it."""
    assert data.own_ngrams("what is 4 + 1", 2, {"what is"}) == ["4 +", "+ 1"]


def test_drop_duplicates_keeps_the_first():
    kept, repeats = data.drop_duplicates(rows("1 + 1 =", "2 + 2 =", "1+1="))
    assert [row["id"] for row in kept] == ["t-0", "t-1"]
    assert repeats == [data.Overlap("t-2", "t-0")]


def test_training_rows_that_are_or_share_an_ngram_with_evaluation_questions():
    """With n = 3: `b c d` is shared; `x y z`, in 4 of the 6 questions, is wording (more than 3)."""
    train = rows("A B!", "q b c d", "x y z e", "x y z f", "x y z g", "u v")
    index = data.EvaluationIndex(train, {"task": rows("a b !", "b c d x y z")}, 3, 3)
    assert index.wording == {"x y z"}
    clean, equal, sharing = data.decontaminate(train, index, "drop")
    assert [row["question"] for row in clean] == ["x y z e", "x y z f", "x y z g", "u v"]
    assert equal == [data.Overlap("t-0", "task/t-0")]
    assert sharing == [data.Overlap("t-1", "task/t-1", "b c d")]
    with pytest.raises(StudyError, match=r"1 of its questions are .*: t-0 = task/t-0;"):
        data.decontaminate(train, index, "fail")


def test_what_is_shared_by_no_more_than_max_ngram_count_questions_is_no_wording():
    """The same `x y z` in 4 questions, with 4 allowed: every row that has it goes."""
    train = rows("x y z e", "x y z f", "x y z g", "u v")
    index = data.EvaluationIndex(train, {"task": rows("b c d x y z")}, 3, 4)
    clean, _, sharing = data.decontaminate(train, index, "fail")
    assert [row["question"] for row in clean] == ["u v"]
    assert [overlap.shared for overlap in sharing] == ["x y z"] * 3


def test_an_8gram_of_sums_is_four_terms():
    """Sums that begin alike stay, four terms in a row with their operators do not."""
    wording = "State the final answer to the following arithmetic problem: "
    other = [f"{wording}{10 + i} - {20 + i} =" for i in range(11)]
    task = rows(f"{wording}4 - 1 - 7 =", "Calculate 5 + 6 + 7 + 8 + 9.")
    train = rows(*other, f"{wording}4 - 1 + 2 =", f"{wording}3 - 5 + 6 + 7 + 8 + 9 =")
    index = data.EvaluationIndex(train, {"task": task}, 8, 10)
    _, _, sharing = data.decontaminate(train, index, "drop")
    assert sharing == [data.Overlap("t-12", "task/t-1", "5 + 6 + 7 + 8 +")]


def test_questions_of_two_tasks_are_reported_and_kept():
    index = data.EvaluationIndex([], {"a": rows("1 + 1"), "b": rows("1+1", "2")}, 8, 10)
    assert index.repeated == [data.Overlap("b/t-0", "a/t-0")]


@pytest.mark.parametrize("exemplar", ["A b c d!", "So: b c d"])
def test_an_exemplar_that_is_an_evaluation_question_is_refused(exemplar):
    index = data.EvaluationIndex([], {"gsm8k": rows("f", "a b c d !")}, 3, 10)
    data.check_exemplars("paper", ["b c", "x y z"], index)
    with pytest.raises(StudyError, match=r"paper shows .*: exemplar 2 [=~] gsm8k/t-1"):
        data.check_exemplars("paper", ["x y z", exemplar], index)


# --- the stage ------------------------------------------------------------------------------------


def test_prepare_writes_rows_and_a_report(tmp_path):
    """Seeds 0-29 against 20-24 overlap in 5 items, which is what `drop` is for."""
    run = data_run(gym(size=30, **SUMS), gym(size=5, seed=20, **SUMS), on_contamination="drop")
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "old.jsonl").write_text("{}\n")
    data.prepare(run, tmp_path)
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
    with pytest.raises(StudyError, match="2 of its questions are evaluation questions"):
        data.prepare(data_run(train, task, on_contamination="fail"), tmp_path)
    with pytest.raises(StudyError, match="no question is left: of 5, 0 were duplicates, 5 are"):
        data.prepare(data_run(train, train, on_contamination="drop"), tmp_path)
    question = load_rows(task, "number", "t", "tasks.t.data")[0]["question"]
    exemplars = [SimpleNamespace(question=question)]
    monkeypatch.setattr(prompts, "load", lambda name: SimpleNamespace(exemplars=exemplars))
    run = data_run(gym(size=2, **SUMS), task).model_copy(update={"teacher_prompts": ["mine"]})
    with pytest.raises(StudyError, match=r"teacher\.prompt: mine shows the teacher"):
        data.prepare(run, tmp_path)
    assert os.listdir(tmp_path) == []
