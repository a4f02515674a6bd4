"""The public benchmarks' formats, on rows with the fields of the public datasets."""

import collections
import json
from pathlib import Path
from typing import get_args

import pytest

from thinktuning.data.config import ConcatConfig, JsonlConfig
from thinktuning.data.formats import FORMATS, BenchmarkName, Options, lettered
from thinktuning.data.sources import load_rows
from thinktuning.evaluation.config import task_kind
from thinktuning.io.errors import StudyError

ROWS = Path(__file__).parents[1] / "helpers" / "rows"
SHARED = Path(__file__).parents[3] / "shared" / "data"
FORMAT_OF = {
    "gsm8k": "gsm8k",
    "math500": "math500",
    "aime_2024": "aime",
    "aime_2025": "aime",
    "gpqa_diamond": "gpqa",
    "mmlu_pro": "mmlu_pro",
    "arc_challenge": "arc",
    "commonsense_qa": "commonsense_qa",
    "strategyqa": "strategyqa",
}


def source(name: str, path: Path | None = None, **settings) -> JsonlConfig:
    path = path or ROWS / f"{name}.jsonl"
    return JsonlConfig(source="jsonl", path=str(path), format=FORMAT_OF[name], **settings)


def load(name: str, path: Path | None = None, **settings):
    return load_rows(source(name, path, **settings), FORMATS[FORMAT_OF[name]].kind, name, name)


def record(name: str, number: int = 0, **changes):
    """Return a row of tests/helpers/rows/ with fields replaced, or removed if None."""
    row = json.loads((ROWS / f"{name}.jsonl").read_text().splitlines()[number]) | changes
    return {field: value for field, value in row.items() if value is not None}


# --- golden rows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gsm8k", [("gsm8k-0", "16", None), ("gsm8k-1", "1200", None), ("gsm8k-2", "-5", None)]),
        (
            "math500",
            [
                ("test/prealgebra/1.json", r"\frac{5}{6}", "Prealgebra"),
                ("test/precalculus/2.json", r"( 3, \frac{\pi}{2} )", "Precalculus"),
                ("test/algebra/3.json", "(-2,2)", "Algebra"),
            ],
        ),
        ("aime_2024", [("60", "24", None), ("61", "29", None)]),
        ("aime_2025", [("aime_2025-0", "720", None), ("aime_2025-1", "336", None)]),
        (
            "gpqa_diamond",
            [
                ("rec0001", "C", "Physics"),
                ("rec0002", "C", "Chemistry"),
                ("rec0003", "C", "Biology"),
            ],
        ),
        ("mmlu_pro", [("70", "C", "math"), ("71", "A", "biology"), ("72", "C", "math")]),
        ("arc_challenge", [("Made_1", "A", None), ("Made_2", "B", None), ("Made_3", "A", None)]),
        ("commonsense_qa", [("c1", "B", None), ("c2", "D", None)]),
        ("strategyqa", [("s1", "no", None), ("s2", "yes", None)]),
    ],
)
def test_ids_gold_answers_and_subsets(name, expected):
    assert [(row["id"], row["answer"], row.get("subset")) for row in load(name)] == expected


def test_the_exact_text_of_a_question_with_options():
    """This is what the model is asked: a change here changes results."""
    assert load("gpqa_diamond")[0]["question"] == (
        "A ball is dropped from rest in vacuum. After 2 s of free fall with g = 10 m/s^2, how fast"
        " is it?\n\nA. 40 m/s\nB. 10 m/s\nC. 20 m/s\nD. 5 m/s\n\n"
        "Answer with the letter of the right option."
    )
    assert load("strategyqa")[0]["question"] == (
        "Could a penguin meet a polar bear in the wild? Answer yes or no."
    )


def labeled(row):
    choices = dict(zip(row["choices"]["label"], row["choices"]["text"], strict=True))
    return choices[row["answerKey"]]


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("gpqa_diamond", lambda row: row["Correct Answer"].strip()),
        ("mmlu_pro", lambda row: row["options"][row["answer_index"]]),
        ("arc_challenge", labeled),
        ("commonsense_qa", labeled),
    ],
)
def test_the_letter_names_the_right_option(name, right):
    for i, row in enumerate(load(name)):
        assert f"\n{row['answer']}. {right(record(name, i))}\n" in row["question"]
        assert row["options"]["ABCDEFGHIJ".index(row["answer"])] == right(record(name, i))


# --- options --------------------------------------------------------------------------------------


def test_the_right_option_is_uniform_over_the_letters():
    """1,000 questions with four options: each letter is right 250 times, within 4.5 sigma."""
    letters = collections.Counter(
        lettered(f"Question {i}?", Options(["r", "x", "y", "z"], 0))[1] for i in range(1000)
    )
    assert sorted(letters) == list("ABCD")
    assert all(abs(count - 250) < 62 for count in letters.values())


def test_the_order_depends_on_the_question_only():
    options = Options(["red", "green", "blue", "white"], 0)
    orders = {lettered(f"Question {i}?", options)[0] for i in range(500)}
    assert len(orders) == 24
    backwards = Options(options.texts[::-1], 3)
    assert lettered("Why?", options) == lettered("Why?", backwards)


@pytest.mark.parametrize(
    "last", ["All of the above", "both A and C", "None of the options below", "answers B or D"]
)
def test_options_that_refer_to_others_keep_their_order(last):
    texts = ["one", "two", "three", last]
    for i in range(20):
        assert lettered(f"Question {i}?", Options(texts, 1)) == (
            f"A. one\nB. two\nC. three\nD. {last}",
            "B",
        )
    # ... unless the right one always comes first in the dataset
    found = {lettered(f"Question {i}?", Options(texts, 0), right_first=True)[1] for i in range(50)}
    assert found == set("ABCD")


@pytest.mark.parametrize(("count", "words"), [(1, "1 options"), (11, "11 options")])
def test_too_few_or_too_many_options(count, words):
    with pytest.raises(ValueError, match=words):
        lettered("Why?", Options([str(i) for i in range(count)], 0))


# --- unusable rows --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("math500", {"problem": None}, r"'problem' is missing; the record has \['solution'"),
        ("math500", {"answer": "???"}, "gold answer '\\?\\?\\?'"),
        ("gsm8k", {"answer": "#### many"}, "gold answer"),
        ("aime_2024", {"answer": "1000"}, "'1000' is not an integer from 0 to 999"),
        ("aime_2024", {"answer": "-1"}, "not an integer from 0"),
        ("gpqa_diamond", {"Incorrect Answer 3": ""}, "'Incorrect Answer 3' is ''"),
        ("mmlu_pro", {"answer_index": 1}, "'H' and answer_index 1 do not name the same one of 10"),
        ("mmlu_pro", {"answer": "K", "answer_index": 10}, "do not name the same one of 10 options"),
        ("mmlu_pro", {"options": "A, B"}, "'options' is not a list"),
        ("arc_challenge", {"choices": []}, "'choices' is not a mapping"),
        ("arc_challenge", {"answerKey": "Z"}, "'Z' is not one label"),
        ("commonsense_qa", {"answerKey": ""}, "the test split has no answers, use validation"),
        ("strategyqa", {"answer": "yes"}, "'yes', not true or false"),
    ],
)
def test_an_unusable_row_is_named_with_its_line(name, changes, expected, tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [record(name, 1), record(name, 0, **changes)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(StudyError, match=f"1 rows cannot be used:\n.*rows.jsonl:2: .*{expected}"):
        load(name, path)


# --- several datasets, and subsets of one ---------------------------------------------------------


def test_aimes_years_are_one_task_with_two_subsets():
    both = ConcatConfig(
        source="concat", parts={"2024": source("aime_2024"), "2025": source("aime_2025")}
    )
    rows = load_rows(both, "number", "aime", "tasks.aime.data")
    assert [(row["id"], row["subset"]) for row in rows] == [
        ("2024/60", "2024"),
        ("2024/61", "2024"),
        ("2025/aime-0", "2025"),
        ("2025/aime-1", "2025"),
    ]


def test_generators_are_parts_too():
    chain = {"source": "reasoning_gym", "generator": "chain_sum", "size": 2, "seed": 5}
    both = ConcatConfig(
        source="concat", parts={"sums": chain, "more": chain | {"generator": "basic_arithmetic"}}
    )
    rows = load_rows(both, "number", "train", "data.train")
    assert [(row["id"], row["subset"]) for row in rows] == [
        ("sums/train-0", "sums"),
        ("sums/train-1", "sums"),
        ("more/train-0", "more"),
        ("more/train-1", "more"),
    ]


def test_a_stratified_sample_keeps_the_shares(tmp_path):
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i in range(60):
            category = "math" if i % 3 else "law"
            row = record("mmlu_pro", 0, question_id=i, question=f"Is {i} prime?", category=category)
            file.write(json.dumps(row) + "\n")
    rows = load("mmlu_pro", path, limit=10, stratify="category")
    assert collections.Counter(row["subset"] for row in rows) == {"math": 7, "law": 3}
    assert rows == load("mmlu_pro", path, limit=10, stratify="category")
    assert [row["id"] for row in rows] != [str(i) for i in range(10)]


# --- the tasks of lm-eval -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(FORMAT_OF))
def test_each_benchmark_has_a_task_of_its_kind(name):
    assert task_kind(f"thinktuning_{name}") == FORMATS[FORMAT_OF[name]].kind


def test_every_format_has_rows_here():
    assert set(FORMAT_OF.values()) == set(get_args(BenchmarkName)) == set(FORMATS)


# --- the real rows, if present --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "count"), [("gsm8k", 1319), ("math500", 500)])
def test_the_real_rows(name, count):
    path = SHARED / name / "test.jsonl"
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared/data/{name}, which is not part of the repository")
    rows = load(name, path)
    assert len(rows) == count
    if name == "gsm8k":
        assert rows[0]["answer"] == "18"  # Janet's ducks
    else:
        assert rows[0]["answer"] == r"( 3, \frac{\pi}{2} )"
        assert len({row["subset"] for row in rows}) == 7
