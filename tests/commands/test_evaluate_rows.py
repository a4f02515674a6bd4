"""The rows of samples.jsonl, graded by hand."""

from types import SimpleNamespace

from evaluate_job import evaluate_job

from thinktuning.commands.evaluate import sample_rows, summarize
from thinktuning.evaluation.lm import Answer
from thinktuning.grading.grader import Grader


def document(number, row_id, gold, *texts):
    """Return lm-eval's record of a document and its answers."""
    return {
        "doc_id": number,
        "doc": {"id": row_id, "answer": gold},
        "arguments": [(f"prompt of {row_id}", {})],
        "resps": [list(texts)],
    }


def test_rows_are_graded_with_behaviors():
    right, wrong = "So \\boxed{7}", "Wait, let me check: \\boxed{8}"
    documents = [
        document(4, "a", "7", right, right, wrong),
        document(2, "b", "8", wrong, right, "no"),
    ]
    answers = {
        2: [Answer(wrong, 7, True), Answer(right, 8, True), Answer("no", 9, False)],
        4: [Answer(right, 5, True), Answer(right, 9, False), Answer(wrong, 6, True)],
    }
    job = evaluate_job(num_samples=3)
    with Grader() as grader:
        rows = sample_rows(job, documents, SimpleNamespace(answers=answers), grader)
    kept = [
        (r["id"], r["num_tokens"], r["answer"], r["verdict"], r["correct"], r["reflects"])
        for r in rows
    ]
    assert kept == [
        ("a", 5, "7", "correct", True, False),
        ("a", 9, None, "no_answer", False, False),  # right, but it did not end
        ("a", 6, "8", "incorrect", False, True),
        ("b", 7, "8", "correct", True, True),
        ("b", 8, "7", "incorrect", False, False),
        ("b", 9, None, "no_answer", False, False),
    ]
    assert [r["first_correct"] for r in rows] == [True, None, False, True, False, None]
    summary = summarize(job, rows)
    assert summary["n"] == 2
    assert summary["mean"] == summary["truncation_rate"] == summary["no_answer_rate"] == 2 / 6
    assert summary["reflection_rate"] == 2 / 6
    assert summary["mean_tokens"] == 44 / 6  # 5 + 9 + 6 + 7 + 8 + 9


def test_the_first_committed_answer_is_graded_too():
    text = "\\boxed{8} Wait, let me check. \\boxed{7}"
    lm = SimpleNamespace(answers={0: [Answer(text, 9, True)]})
    documents = [document(0, "a", "7", text)]
    documents[0]["doc"]["subset"] = "2024"
    with Grader() as grader:
        (row,) = sample_rows(evaluate_job(num_samples=1), documents, lm, grader)
    assert (row["first_answer"], row["answer"]) == ("8", "7")
    assert (row["first_correct"], row["correct"]) == (False, True)
    assert row["subset"] == "2024"
