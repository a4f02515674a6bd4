import pytest

from thinktuning.sums import Step, steps


def test_a_sum_is_worked_out_from_the_left():
    assert steps("4 - 1 - 7") == [Step(4, "-", 1, 3), Step(3, "-", 7, -4)]
    assert steps(" 12+3 ") == [Step(12, "+", 3, 15)]


@pytest.mark.parametrize(
    "expression", ["", "4", "-4 + 1", "2 * 3", "(2 + 3) - 1", "2 + 3 =", "None"]
)
def test_what_is_not_a_plain_sum_has_no_steps(expression):
    assert steps(expression) == []
