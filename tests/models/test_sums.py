"""Sums, solved step by step."""

import pytest

from thinktuning.models.sums import Step, steps


def test_a_sum_is_solved_from_the_left():
    assert steps("4 - 1 - 7") == [Step(4, "-", 1, 3), Step(3, "-", 7, -4)]
    assert steps(" 12+3 ") == [Step(12, "+", 3, 15)]


@pytest.mark.parametrize(
    "expression", ["", "4", "-4 + 1", "2 * 3", "(2 + 3) - 1", "2 + 3 =", "None"]
)
def test_other_expressions_have_no_steps(expression):
    assert steps(expression) == []
