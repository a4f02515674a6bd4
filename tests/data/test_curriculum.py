"""The order of questions in a curriculum."""

from collections import Counter

import pytest

from thinktuning.data.curriculum import difficulty, easy_first

ROWS = [{"question": text} for text in ("1 + 2 + 30 =", "1 + 2 =", "5 =", "1 + 2 + 3 =")]


@pytest.mark.parametrize(("measure", "expected"), [("numbers", 3), ("length", 12)])
def test_the_measures(measure, expected):
    assert difficulty("1 + 2 + 30 =", measure) == expected


@pytest.mark.parametrize(
    ("measure", "expected"), [("numbers", [1, 2, 3, 3]), ("length", [3, 7, 11, 12])]
)
def test_easy_questions_come_first(measure, expected):
    ordered = easy_first(ROWS, measure, size=4, seed=0)
    assert [difficulty(row["question"], measure) for row in ordered] == expected
    assert Counter(row["question"] for row in ordered) == Counter(r["question"] for r in ROWS)


def test_every_question_comes_once_before_any_comes_again():
    ordered = easy_first(ROWS, "numbers", size=10, seed=1)
    assert sorted(Counter(row["question"] for row in ordered).values()) == [2, 2, 3, 3]
    assert [difficulty(row["question"], "numbers") for row in ordered] == sorted(
        difficulty(row["question"], "numbers") for row in ordered
    )


def test_a_short_training_does_not_only_ask_easy_questions():
    """It asks a random part of the questions, from easy to hard."""
    rows = [{"question": "7 " * n} for n in range(1, 101)]
    counts = [difficulty(r["question"], "numbers") for r in easy_first(rows, "numbers", 10, 0)]
    assert counts == sorted(counts) and max(counts) > 50 > min(counts)


def test_the_order_depends_on_the_seed_alone():
    first, second, other = (easy_first(ROWS * 5, "numbers", 20, seed) for seed in (0, 0, 1))
    assert first == second
    drawn = [[row["question"] for row in easy_first(ROWS, "numbers", 2, s)] for s in range(9)]
    assert len({tuple(each) for each in drawn}) > 1 and len(other) == 20
