"""Prepared questions as the stages read them."""

import pytest

from thinktuning.data.questions import read_questions
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl


def test_prepared_questions_are_read(tmp_path):
    path = tmp_path / "questions.jsonl"
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(6)]
    write_jsonl(path, rows)
    assert [row["id"] for row in read_questions(path, "number")] == [f"q{i}" for i in range(6)]
    assert len(read_questions(path, "latex")) == 6


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], r"has no questions; `thinktuning data` writes them"),
        (['{"id": "a", "question": "1 ="}'], r"row 1: \['answer'\] must be text"),
        (['{"id": 1, "question": "1 =", "answer": "1"}'], r"row 1: \['id'\] must be text"),
        (['{"id": "a", '], r"questions\.jsonl:1: is not valid JSON"),
        (
            [
                '{"id": "a", "question": "1 =", "answer": "1"}',
                '{"id": "b", "question": "2 =", "answer": "#### 2"}',
            ],
            r"row 2: its gold answer '#### 2' is not a prepared number",
        ),
        (
            ['{"id": "a", "question": "1 =", "answer": "one"}'],
            r"row 1: its gold answer 'one' is not a prepared number",
        ),
    ],
)
def test_questions_that_are_not_prepared_are_refused(tmp_path, lines, expected):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(StudyError, match=expected):
        read_questions(path, "number")
