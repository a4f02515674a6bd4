"""Grade the samples of a document, when lm-eval runs a task of this folder on its own.

A task's YAML names the function of its kind of answer. lm-eval takes the mean over the documents:
`exact_match` is avg@k, `no_answer` and `verifier_failures` say how much of the rest is no mistake.
"""

from typing import Any

from thinktuning.answers import AnswerKind, extract_boxed
from thinktuning.grading import Grader

_grader = Grader()


def number(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    return scores(doc, results, "number")


def latex(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    return scores(doc, results, "latex")


def letter(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    return scores(doc, results, "letter")


def yes_no(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    return scores(doc, results, "yes_no")


def number_by_subset(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Score a document once more under its subset's name: AIME's years, the task's own metrics."""
    scored = number(doc, results)
    if doc.get("subset") in ("2024", "2025"):
        scored[f"exact_match_{doc['subset']}"] = scored["exact_match"]
    return scored


def scores(doc: dict[str, Any], results: list[Any], kind: AnswerKind) -> dict[str, float]:
    """Return the shares of this question's samples that are right, boxless and not verifiable."""
    samples = results[0] if isinstance(results[0], list) else results
    answers = [extract_boxed(text) for text in samples]
    verdicts = _grader.grade(answers, [doc["answer"]] * len(answers), kind)

    def verdict_share(*names: str) -> float:
        return sum(verdict in names for verdict in verdicts) / len(verdicts)

    return {
        "exact_match": verdict_share("correct"),
        "no_answer": verdict_share("no_answer"),
        "verifier_failures": verdict_share("error", "timeout"),
    }
