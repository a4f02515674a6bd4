r"""Verify the whole text of an answer, as the paper's released code does.

math-verify looks for expressions and LaTeX anywhere in the text. It takes the last box, or what
follows a later "final answer is"; without these what follows "answer", else the last expression. So
an answer without a box can be right. Boxes less than 10 characters apart, or less than 70 with a
comma, "and" or "or" in between (`\boxed{6}. Wait, no: \boxed{7}`), are read as one set, which is
no number. (The distances are those of math-verify 0.9.)

The settings are those of the released code, but the time limit is the grader's, and an exception is
raised, not turned into "incorrect".
"""

from typing import Literal

from thinktuning.grading.answers import AnswerKind

GradedAs = AnswerKind | Literal["whole_text"]


def verify_whole_text(text: str, gold: str) -> bool:
    """Return whether what math-verify finds in the text equals the gold answer.

    Like `answers.verify` it may raise or never return: the grader runs it in another process.

    Args:
        text: the whole answer; a box is not needed.
        gold: the gold answer, a number or LaTeX, as `parse_gold` returns it.

    Raises:
        ValueError: math-verify finds nothing in the gold answer.
        Exception: whatever sympy raises on a text it cannot compare.
    """
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    strict = {"parsing_timeout": None, "raise_on_error": True}
    golds = parse(rf"\boxed{{{gold}}}", [LatexExtractionConfig()], **strict)
    if not golds:
        raise ValueError(f"math-verify finds no answer in the gold answer {gold!r}")
    found = parse(text, [ExprExtractionConfig(), LatexExtractionConfig()], **strict)
    equal: bool = verify(golds, found, timeout_seconds=None, raise_on_error=True)
    return equal
