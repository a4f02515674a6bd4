"""Arithmetic left undone: the expression of a question is not its answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktuning.grading.answers import verify, verify_literally

integers = st.integers(-999, 999)
operators = st.sampled_from(["+", "-", "*", r"\times", r"\cdot"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(integers, operators), min_size=1, max_size=4),
    integers,
    st.sampled_from(["{}", "( {} )", "-( {} )", "x = {}", "Answer: {}", "{} cm", "{} ="]),
)
def test_a_question_is_not_its_answer(terms, last, form):
    """The questions of chain_sum and basic_arithmetic, as a policy could copy them into its box."""
    expression = " ".join(f"{number} {operator}" for number, operator in terms) + f" {last}"
    plain = expression.replace(r"\times", "*").replace(r"\cdot", "*")
    value = eval(plain) * (-1 if form.startswith("-") else 1)
    for kind in ("number", "latex"):
        assert not verify(form.format(expression), str(value), kind)
        assert verify_literally(str(value), str(value), kind)


@pytest.mark.parametrize("question", ["69 / 3", "( 69 / 3 )", "-14 / 2", "12/3/2", "(8)/(4)"])
def test_a_division_that_comes_out_even_is_not_its_result(question):
    assert not verify(question, str(int(eval(question))), "number")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("4 - 1 - 7 = -4", "-4"), ("x = 2 + 1 = 3", "3"), (r"\frac{6}{2}", "3"), ("1/2", "0.5"),
        ("2^{10}", "1024"), (r"\sqrt{49}", "7"), (r"1.5\times10^{3}", "1500"), ("2e3", "2000"),
        ("3 1/2", "3.5"), (r"3\frac{1}{2}", "3.5"), ("-(-3)", "3"), ("5 dollars", "5"),
        (r"50\%", "0.5"), ("1,234", "1234"), ("14/4", "3.5"),
    ],
)  # fmt: skip
def test_ways_to_write_a_number_stay(answer, gold):
    assert verify(answer, gold, "number")


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("2^{10} - 1", "1023"), (r"\log_2 8", "3"), (r"\binom{5}{2}", "10"), (r"3 \pm 1", "2, 4"),
        ("3", "2 + 1"), ("192", r"3 \cdot 2^6"), (r"\sqrt{16} + 3", "7"), ("6/2", "3"),
        (r"2 + \sqrt{3}", r"\sqrt{3} + 2"),
    ],
)  # fmt: skip
def test_latex_counts_by_its_value_if_it_is_more_than_plain_numbers(answer, gold):
    assert verify(answer, gold, "latex")


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 99), st.integers(3, 99))
def test_numbers_side_by_side_are_a_product_or_nothing(first, second):
    """math-verify reads `2(3)` as the mixed number 5."""
    for form in (
        "{}({})",
        "({})({})",
        "({}){}",
        "{}[{}]",
        "{}{{{}}}",
        "{{{}}}{{{}}}",
        "{{{}}}({})",
    ):
        answer = form.format(first, second)
        assert not verify(answer, str(first + second), "latex"), answer
        assert not verify(rf"{answer}\sqrt{{7}}", rf"{first + second}\sqrt{{7}}", "latex"), answer
    assert verify(rf"{first}({second})\sqrt{{7}}", rf"{first * second}\sqrt{{7}}", "latex")
