"""Sums of one-digit terms, worked out as a running total: `4 - 1 = 3 - 7 = -4.`."""

from collections.abc import Mapping
from typing import Any

from thinktuning.models.families import Derivation, Family, Note
from thinktuning.models.sums import steps


def expression(metadata: Mapping[str, Any]) -> str:
    """Return the sum, e.g. `4 - 1 - 7`."""
    return str(metadata["expression"])


def derive(expression: str, note: Note) -> Derivation:
    """Add the terms from the left; each result is the first operand of the next step."""
    text = expression.split()[0]
    total = int(text)
    for step in steps(expression):
        total = note(total + step.term if step.sign == "+" else total - step.term)
        text += f" {step.sign} {step.term} = {total}"
    return Derivation(f"{text}.", total)


ONE_DIGIT = {"min_digits": 1, "max_digits": 1}

FAMILY = Family(
    generator="chain_sum",
    start={"min_terms": 2, "max_terms": 2, **ONE_DIGIT},
    bands={
        "easy": {"min_terms": 3, "max_terms": 3, **ONE_DIGIT},
        "hard": {"min_terms": 4, "max_terms": 4, **ONE_DIGIT},
        "longer": {"min_terms": 5, "max_terms": 6, **ONE_DIGIT},
    },
    expression=expression,
    derive=derive,
)
