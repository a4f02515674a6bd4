"""The caller's process: whatever an answer or a gold answer is, it costs milliseconds there."""

import contextlib
import itertools
import time

import pytest

from thinktuning.grading.answers import extract_boxed, parse_gold, verify_literally

UNITS = [
    "9", "A", "a ", "a", "(", ")", "[", "{", "}", r"\{", r"\text{a}", r"\text{", "a,", "1,", "1 ",
    "1, ", "=", "x=", "<", "1<", "and ", "1 or ", "^", "^(", r"\sqrt(", r"\pm", "1/", r"\frac",
    r"\frac1", r"0.\overline{1}", "0.1", "1e1", "*", "**", "$", r"\(", r"\cup", "|", "_", "'",
    "the ", "your ", "cm ", "cm/", "m^2 ", ":", "1:", "%", r"\%", "(A)", "A. ", r"\left",
    r"\boxed{", r"\boxed{}", "-", "- ", ".", "not ", "yes ", "B, ",
    "\N{VULGAR FRACTION ONE HALF}", "\N{SQUARE ROOT}", "\N{SUPERSCRIPT TWO}",
    "\N{FULLWIDTH DIGIT ONE}", "\u200b", "\0", "\\", "~", "`", "2!", "x'", r"\mathrm{d}", "AB",
    "f(x)", "{}1",
]  # fmt: skip
TEN_MEGABYTES = 10_000_000


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("length", [1_990, 19_990, 200_000])
def test_repeated_text_costs_the_caller_little(unit, length):
    text = unit * (length // len(unit))
    start = time.process_time()
    kinds = (("number", "7"), ("latex", "x^2+1"), ("letter", "B"), ("yes_no", "yes"))
    for (kind, gold), answer in itertools.product(kinds, (text, f"{text}1!", f"8 = {text}")):
        assert verify_literally(answer, gold, kind) in (False, None)
        if kind != "latex":  # which sympy reads
            with contextlib.suppress(ValueError):
                parse_gold(answer, kind)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("digits", ["9", "1,", "0.1"])
def test_ten_megabytes_cost_milliseconds(digits):
    text = digits * (TEN_MEGABYTES // len(digits))
    start = time.process_time()
    for kind in ("number", "latex"):
        assert verify_literally(text, "7", kind) is False
        with pytest.raises(ValueError, match="characters"):
            parse_gold(text, kind)
    assert time.process_time() - start < 0.2


def test_extraction_from_ten_megabytes_is_linear():
    text = rf"\boxed{{{'9' * TEN_MEGABYTES}}} so \boxed{{7}}"
    start = time.process_time()
    assert extract_boxed(text) == "7"
    assert time.process_time() - start < 3
