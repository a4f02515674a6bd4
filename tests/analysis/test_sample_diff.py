"""Comparing two sample files: numbers worked by hand, and files that cannot be paired."""

import json

import pytest

from thinktuning.analysis.sample_diff import compare_samples
from thinktuning.io.errors import StudyError


def write(path, questions, **changes):
    """Write a sample file from each question's verdicts, 1 for right."""
    rows = [
        {"id": name, "sample": k, "correct": bool(right), "gold": "2", "text": f"{path.stem} {k}"}
        | changes
        for name, verdicts in questions.items()
        for k, right in enumerate(verdicts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def compared(capsys, *paths):
    compare_samples(*paths)
    return capsys.readouterr().out


def test_one_sample_per_question(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", {"q1": [0], "q2": [0], "q3": [1], "q4": [1], "q5": [0]})
    b = write(tmp_path / "b.jsonl", {"q5": [1], "q1": [1], "q2": [1], "q3": [1], "q4": [0]})
    out = compared(capsys, a, b)
    # Clopper and Pearson for 2 and 4 of 5. Differences 1, 1, 0, -1, 1 and two more, -1 and 1: mean
    # 2/7, squares about it sum to 38/7, se = sqrt(38/7 / 42) = 0.3595, t_4 = 2.776: 0.286 +- 0.998,
    # clipped at 1; t = 0.795
    assert f"A         {a}\n          accuracy, %: 40.0 [5.3, 85.3]; 5 questions" in out
    assert f"B         {b}\n          accuracy, %: 80.0 [28.4, 99.5]; 5 questions" in out
    assert "B minus A +40.0 [-71.2, +100.0] points, paired by question, p = 0.471\n" in out
    assert (
        "wrong to right 60.0%, right to wrong 20.0%, right to right 20.0%, wrong to wrong 0.0%"
    ) in out
    assert (
        "B gains   on 3 of 5 questions\n\nquestion  q1, gold 2\nA         a 0\nB         b 0\n"
        in out
    )
    assert "B loses   on 1 of 5 questions\n\nquestion  q4, gold 2\n" in out


def test_verdicts_are_compared_over_all_pairs_of_samples(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", {"q1": [1, 0], "q2": [0, 0]})
    b = write(tmp_path / "b.jsonl", {"q1": [0, 1, 1, 1], "q2": [0, 0, 0, 1]})
    out = compared(capsys, a, b)
    assert "accuracy, %: 25.0 [0.0, 100.0]; 2 questions, samples per question: 2" in out
    # 3/4 - 1/2 and 1/4 - 0 are equal, and two more are -0.707 and 0.707: mean 1/8, se 0.2975
    assert "B minus A +25.0 [-100.0, +100.0] points, paired by question, p = 0.747" in out
    # wrong to right: 1/2 * 3/4 and 1 * 1/4; right to wrong: 1/2 * 1/4 and 0
    assert "wrong to right 31.2%, right to wrong 6.2%, right to right 18.8%" in out
    # a wrong text of A, and a right one of B
    assert "question  q1, gold 2\nA         a 1\nB         b 1\n" in out
    assert "question  q2, gold 2\nA         a 0\nB         b 3\n" in out
    assert "B loses   on 0 of 2 questions" in out


def test_a_file_compared_with_itself(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", {"q1": [1, 0], "q2": [0, 0]})
    out = compared(capsys, a, a)
    assert "B minus A +0.0 [-100.0, +100.0] points, paired by question, p = 1.000" in out
    assert "B gains   on 0 of 2 questions" in out


def test_failures_stand_beside_the_accuracy(tmp_path, capsys):
    verdicts = {"verdict": "no_answer", "finish_reason": "length"}
    a = write(tmp_path / "a.jsonl", {"q1": [0], "q2": [0]}, **verdicts)
    b = write(tmp_path / "b.jsonl", {"q1": [1], "q2": [1]}, verdict="correct", finish_reason="stop")
    out = compared(capsys, a, b)
    assert "samples per question: 1, no answer 100.0%, cut off 100.0%\n" in out
    assert "samples per question: 1, no answer 0.0%, cut off 0.0%\n" in out


def test_texts_cannot_control_the_terminal(tmp_path, capsys):
    a = write(tmp_path / "a.jsonl", {"q1": [1], "q2": [0]}, text="\x1b[2J[red]", gold="\x1b[2J")
    b = write(tmp_path / "b.jsonl", {"q1": [1], "q2": [1]}, text="\x1b[2J[red]", gold="\x1b[2J")
    out = compared(capsys, a, b)
    assert "\x1b" not in out
    assert "question  q2, gold <U+001B>[2J\nA         <U+001B>[2J[red]\n" in out


TWO = {"q1": [1], "q2": [0]}


@pytest.mark.parametrize(
    ("questions", "changes", "message"),
    [
        (
            {"q1": [1], "q3": [0]},
            {},
            "a.jsonl and .*b.jsonl .* 1 of 2 are only in the first, e.g. 'q2'",
        ),
        (TWO | {"q3": [0]}, {}, "b.jsonl and .*a.jsonl .* 1 of 3 are only in the first, e.g. 'q3'"),
        (TWO, {"gold": "3"}, "question 'q1' has different gold answers, '2' and '3'"),
        ({"q1": [1], "q2": [0, 1]}, {}, "b.jsonl: has 2 questions with 1 to 2 samples"),
        ({"q1": [1]}, {}, "b.jsonl: has 1 questions with 1 to 1 samples"),
        ({}, {}, "b.jsonl: has 0 questions"),
        (TWO, {"correct": "yes"}, "b.jsonl: sample 1: `correct` must be true or false"),
    ],
)
def test_files_that_cannot_be_paired_are_refused(tmp_path, questions, changes, message):
    a, b = write(tmp_path / "a.jsonl", TWO), write(tmp_path / "b.jsonl", questions, **changes)
    with pytest.raises(StudyError, match=message):
        compare_samples(a, b)


def test_a_file_of_two_runs_is_refused(tmp_path):
    a, b = (write(tmp_path / f"{name}.jsonl", TWO) for name in "ab")
    b.write_text(2 * b.read_text())
    with pytest.raises(StudyError, match=r"b.jsonl: question 'q1' has a sample twice"):
        compare_samples(a, b)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "b.jsonl: cannot be read"),
        ("{", "b.jsonl:1: is not valid JSON"),
        ("[]", "b.jsonl:1: expected a JSON object"),
        ('{"id": 1}', "b.jsonl: sample 1 has no correct, text"),
    ],
)
def test_broken_files_are_refused(tmp_path, text, message):
    a, b = write(tmp_path / "a.jsonl", TWO), tmp_path / "b.jsonl"
    if text is not None:
        b.write_text(text)
    with pytest.raises(StudyError, match=message):
        compare_samples(a, b)
