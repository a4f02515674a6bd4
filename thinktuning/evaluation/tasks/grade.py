"""Grade a document's samples, where lm-eval runs a task of this folder without the workflow.

Each task's YAML names the function for its kind of answer; lm-eval averages over documents. Then
`exact_match` is avg@k; `no_answer` and `verifier_failures` are the samples without a box and those
that the grader could not decide.

In a study an answer that the token limit cut off is no answer. lm-eval passes texts only, which
tell this if they end within a box, and not otherwise.
"""

import re
from typing import Any

from thinktuning.grading.answers import AnswerKind, extract_boxed
from thinktuning.grading.grader import Grader

_grader = Grader()


def number(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Score answers that are numbers."""
    return scores(doc, results, "number")


def latex(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Score answers that are LaTeX expressions."""
    return scores(doc, results, "latex")


def letter(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Score answers that are the letter of an option."""
    return scores(doc, results, "letter")


def yes_no(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Score answers that are yes or no."""
    return scores(doc, results, "yes_no")


def number_by_subset(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Score numbers, and repeat `exact_match` under the document's subset (AIME's years)."""
    scored = number(doc, results)
    if doc.get("subset") in ("2024", "2025"):
        scored[f"exact_match_{doc['subset']}"] = scored["exact_match"]
    return scored


def ended(text: str) -> str:
    """Return a text, or nothing if it ends within a box: the token limit cut it off."""
    _, box, rest = text.rpartition(r"\boxed{")
    depth = 1
    for brace in re.findall(r"(?<!\\)[{}]", rest):
        depth += 1 if brace == "{" else -1
        if depth == 0:
            return text
    return "" if box else text


def scores(doc: dict[str, Any], results: list[Any], kind: AnswerKind) -> dict[str, float]:
    """Return the shares of a document's samples that are correct, unboxed, and not gradable."""
    samples = map(ended, results[0] if isinstance(results[0], list) else results)
    answers = [extract_boxed(text) for text in samples]
    golds, options = [doc["answer"]] * len(answers), [doc.get("options")] * len(answers)
    verdicts = _grader.grade(answers, golds, kind, options)

    def verdict_share(*names: str) -> float:
        return sum(verdict in names for verdict in verdicts) / len(verdicts)

    return {
        "exact_match": verdict_share("correct"),
        "no_answer": verdict_share("no_answer"),
        "verifier_failures": verdict_share("error", "timeout"),
    }
