"""`format: module:function`: how a function of one's own reads a record, and how it may fail."""

import pytest
from edited_study import edited, message

from thinktuning.data.config import JsonlConfig
from thinktuning.data.questions import read_questions
from thinktuning.data.sources import load_rows
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl

FORMATS = '''
def quiz(record):
    """Return what the record says to return."""
    return eval(record["made"])

def two(record, other):
    return {}
'''


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """A function that reads records, each the text of what the format returns."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "formats.py").write_text(FORMATS)

    def read(*made, kind="number", **settings):
        write_jsonl("records.jsonl", [{"made": text, "x": i % 2} for i, text in enumerate(made)])
        source = {"source": "jsonl", "path": "records.jsonl", "format": "formats:quiz"}
        return load_rows(JsonlConfig(**source | settings), kind, "train", "data.train")

    return read


def test_a_record_becomes_a_question_with_columns(rows, tmp_path):
    made = (
        "{'question': '2 + 3?', 'answer': 5, 'id': 7, 'subset': 'sums', 'solution': '2 + 3 = 5',"
        " 'tests': '[1]', 'weight': 0.5, 'empty': '', 'absent': None}"
    )
    found = rows(made, "{'question': 'B?', 'answer': 3.0}")
    assert found[0] == {
        "id": "7",
        "question": "2 + 3?",
        "answer": "5",
        "source": "jsonl:records.jsonl",
        "subset": "sums",
        "solution": "2 + 3 = 5",
        "tests": "[1]",
        "weight": "0.5",
        "empty": "",
    }
    assert (found[1]["id"], found[1]["answer"]) == ("train-1", "3.0")
    write_jsonl("prepared.jsonl", found)
    assert read_questions(tmp_path / "prepared.jsonl", "number") == found


def test_an_answer_of_kind_text_is_kept_as_it_is(rows):
    (row,) = rows("{'question': '?', 'answer': ' any {text}, 1/2 '}", kind="text")
    assert row["answer"] == "any {text}, 1/2"
    with pytest.raises(StudyError, match=r"records.jsonl:1: gold answer 'no' is not a number"):
        rows("{'question': '?', 'answer': 'no'}")


def test_limits_and_strata_are_those_of_the_records(rows):
    made = [f"{{'question': 'q{i}?', 'answer': {i}}}" for i in range(8)]
    assert [row["answer"] for row in rows(*made, limit=2)] == ["0", "1"]
    strata = rows(*made, limit=4, stratify="x")
    assert sorted(int(row["answer"]) % 2 for row in strata) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("[1]", r"returned \[1\], not a mapping with question and answer"),
        ("None", "returned None, not a mapping with question and answer"),
        ("{'question': 'a'}", "returned {'question': 'a'}, not a mapping with question and answer"),
        ("{'question': 'a', 'answer': None}", "returned no answer"),
        ("{'question': '', 'answer': 1}", "field 'question' is ''; return text, or text in JSON"),
        ("{'question': 'a', 'answer': 1, 'tests': [1]}", r"field 'tests' is \[1\]; return text,"),
        ("{'question': 'a', 'answer': 1, 'options': 'b'}", "field 'options' is not a list: 'b'"),
        ("{'question': 'a', 'answer': 1, 'prompt': 'b'}", r"returned the keys \['prompt'\], which"),
        ("record['nope']", r"failed: KeyError: 'nope' \(<string>:1\)"),
    ],
)
def test_what_is_no_question_is_refused_with_its_line(rows, made, said):
    with pytest.raises(StudyError, match=rf"records.jsonl:1: format formats:quiz:? {said}"):
        rows(made)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("quiz", "Input should be 'gsm8k', 'math500', 'aime', 'gpqa', 'mmlu_pro', 'arc', 'comm"),
        ("formats:nope", "module formats has no function 'nope'"),
        ("formats:two", "formats:two does not take one argument (missing a required argument"),
    ],
)
def test_what_is_no_format_is_refused(rows, name, said):
    source = {"source": "jsonl", "path": "records.jsonl", "format": name}
    assert f"data.train.format: {said}" in message(edited("data.train", source))
