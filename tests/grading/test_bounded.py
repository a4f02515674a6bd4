"""The caller's process: whatever an answer or a gold answer is, it costs milliseconds there."""

import contextlib
import itertools

import pytest
from effort import measured

from thinktuning.grading.answers import extract_boxed, parse_gold, verify_literally

UNITS = [
    "9", "A", "a ", "a", "(", ")", "[", "{", "}", r"\{", r"\text{a}", r"\text{", "a,", "1,", "1 ",
    "1, ", "=", "x=", "<", "1<", "and ", "1 or ", "^", "^(", r"\sqrt(", r"\pm", "1/", r"\frac",
    r"\frac1", r"0.\overline{1}", "0.1", "1e1", "*", "**", "$", r"\(", r"\cup", "|", "_", "'",
    "the ", "your ", "cm ", "cm/", "m^2 ", ":", "1:", "%", r"\%", "(A)", "A. ", r"\left",
    r"\boxed{", r"\boxed{}", "-", "- ", ".", "not ", "yes ", "B, ",
    "\N{VULGAR FRACTION ONE HALF}", "\N{SQUARE ROOT}", "\N{SUPERSCRIPT TWO}",
    "\N{FULLWIDTH DIGIT ONE}", "\u200b", "\0", "\\", "~", "`", "2!", "x'", r"\mathrm{d}", "AB",
    "f(x)", "{}1", "f(", "0", "0^", "2/3", r"\infty", "1,234", r"\ln 2\cdot", r"\log_2", "{,}",
]  # fmt: skip
TEN_MEGABYTES = 10_000_000


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("length", [1_990, 19_990, 200_000])
def test_repeated_text_costs_the_caller_little(unit, length):
    text = unit * (length // len(unit))
    kinds = (("number", "7"), ("latex", "x^2+1"), ("letter", "B"), ("yes_no", "yes"))
    with measured() as effort:
        for (kind, gold), answer in itertools.product(kinds, (text, f"{text}1!", f"8 = {text}")):
            assert verify_literally(answer, gold, kind) in (False, None)
            if kind != "latex":  # which sympy reads
                with contextlib.suppress(ValueError):
                    parse_gold(answer, kind)
    assert effort.units < 20


@pytest.mark.parametrize("space", [" ", "\n", "\\ ", "~", r"\quad", "\N{NO-BREAK SPACE}"])
def test_a_run_of_space_costs_the_caller_little(space):
    verify_literally("1", "7", "number")  # imports what it needs
    with measured() as effort:
        for head, kind in itertools.product("1x(", ("number", "latex", "letter", "yes_no")):
            answer = f"{head}{space * (1_980 // len(space))}1"
            gold = {"letter": "B", "yes_no": "yes"}.get(kind, "7")
            assert verify_literally(answer, gold, kind) in (False, None)
    assert effort.units < 4


@pytest.mark.parametrize("digits", ["9", "1,", "0.1"])
def test_ten_megabytes_cost_milliseconds(digits):
    text = digits * (TEN_MEGABYTES // len(digits))
    with measured() as effort:
        for kind in ("number", "latex"):
            assert verify_literally(text, "7", kind) is False
            with pytest.raises(ValueError, match="characters"):
                parse_gold(text, kind)
    assert effort.units < 5


def test_a_long_list_of_boxes_costs_the_caller_little():
    halves = "\N{VULGAR FRACTION ONE HALF}" * 8
    text = ",".join(rf"\boxed{{{halves}{i}}}" for i in range(400))
    with measured() as effort:
        assert extract_boxed(text).count(", ") == 399
    assert effort.units < 10


@pytest.mark.parametrize(
    "gold",
    [
        r"x=5=\sum_{k=1}^{10000000} k^k",
        r"\frac{1}{a+b}+\frac{1}{b+c}+\frac{1}{c+d}+\frac{1}{d+f}+\frac{1}{f+g}+\frac{1}{g+h}=1",
        "x^{500}+x^{499}+1=0",
        r"(x+1)(x+2)(x+3)(x+4)(x+5)(x+6)(x+7)(x+8)=\sqrt{x}+\sqrt{x+1}+\sqrt{x+2}",
        "(1+x+y+z+w)^{100}=3",
    ],
)
def test_a_gold_answer_that_sympy_takes_long_for_costs_little(gold):
    parse_gold("x^2+1=3x", "latex")  # imports sympy
    with measured() as effort, contextlib.suppress(ValueError):
        parse_gold(gold, "latex")
    assert effort.units < 60


def test_extraction_from_ten_megabytes_is_linear():
    text = rf"\boxed{{{'9' * TEN_MEGABYTES}}} so \boxed{{7}}"
    with measured() as effort:
        assert extract_boxed(text) == "7"
    assert effort.units < 60
