"""Grade the samples of a document, when lm-eval runs a task of this folder on its own."""

from typing import Any

from thinktuning.answers import extract_boxed
from thinktuning.grading import Grader

_grader = Grader()


def process_results(doc: dict[str, Any], results: list[Any]) -> dict[str, float]:
    """Return avg@k: the share of this question's samples whose last box has the right number."""
    samples = results[0] if isinstance(results[0], list) else results
    answers = [extract_boxed(text) for text in samples]
    verdicts = _grader.grade(answers, [doc["answer"]] * len(answers), "number")
    return {"exact_match": sum(verdict == "correct" for verdict in verdicts) / len(verdicts)}
