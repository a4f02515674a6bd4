"""A difficulty curriculum: the questions of a training in the order of their difficulty.

The questions are drawn as for an ordinary training, all of them once before any comes again; only
their order differs. Difficulty is measured on the question's text, so that it is known before
training and the same for every method. A running pass rate would be part of the trainer's state,
and differ between methods.
"""

import random
import re
from collections.abc import Sequence
from typing import Any, Literal

Difficulty = Literal["numbers", "length"]


def difficulty(question: str, measure: Difficulty) -> int:
    """Return how many numbers a question has, of a sum its terms; or how many characters."""
    return len(re.findall(r"\d+", question)) if measure == "numbers" else len(question)


def easy_first(
    rows: Sequence[dict[str, Any]], measure: Difficulty, size: int, seed: int
) -> list[dict[str, Any]]:
    """Draw the questions of a whole training, and sort them by difficulty.

    Args:
        rows: the training questions.
        measure: of the difficulty; equally difficult ones are in random order.
        size: how many questions the training asks, with repetitions.
        seed: the training seed.
    """
    rng = random.Random(f"curriculum/{seed}")
    drawn: list[dict[str, Any]] = []
    while len(drawn) < size:
        drawn += rng.sample(rows, len(rows))
    return sorted(drawn[:size], key=lambda row: difficulty(row["question"], measure))
