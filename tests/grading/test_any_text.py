"""Any text gets a verdict in the caller's process: never an exception, seldom a right one."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktuning.grading.answers import BadGold, extract_boxed, parse_gold, verify_literally

TOKENS = [
    "5", "10", "0.", "1,234", "'", "''", '"', "\\", "\\\\", "{", "}", "(", ")", "[", "]", r"\{",
    r"\}", "$", r"\$", "%", r"\%", "^", "_", "_8", "&", "~", "`", "#", "@", "!", "|", ",", ";",
    ":", ".", "...", "=", "<", ">", "+", "-", "*", "**", "/", " ", "\n", "\0", "e", "E", "i", "x",
    "x_", r"\text{", r"\text", r"\boxed{", r"\boxed", r"\fbox", r"\frac", r"\sqrt", r"\over",
    r"\choose", r"\pm", r"\cup", r"\in", r"\mid", r"\le", r"\ne", r"^\circ", r"\circ", r"\left.",
    r"\right)", r"\overline", r"\dot", r"\ldots", r"\infty", r"\emptyset", r"\mathbb{R}", r"\pmod",
    r"\log_", r"\sin^2", r"\begin{pmatrix}", r"\end{pmatrix}", r"\times", r"\cdot", r"\sum_{i=1}",
    r"\square", "and", "or", "not", "is", "to", "mod", "base", "answer", "Answer:",
    "The answer is", "cm", "per", "degrees", "B", "(B)", "Yes", "no", "p.m.", "\N{SQUARE ROOT}",
    "\N{SUPERSCRIPT TWO}", "\N{VULGAR FRACTION ONE HALF}", "\N{COMBINING OVERLINE}",
    "\N{INFINITY}", "\N{DEGREE SIGN}", "\N{ARABIC-INDIC DIGIT ONE}", "\N{ZERO WIDTH SPACE}",
    "\N{MINUS SIGN}", "\N{FRACTION SLASH}",
]  # fmt: skip
texts = st.lists(st.sampled_from(TOKENS), max_size=9).map("".join)
GOLDS = [
    ("number", "7919"), ("latex", "x^2+7919"), ("latex", "(7919,17)"), ("latex", "7919<x<7920"),
    ("latex", "7919_{11}"), ("latex", "7919, 17"), ("letter", "J"),
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(texts)
def test_a_text_of_fragments_is_decided_and_not_right(text):
    for kind, gold in GOLDS:
        options = [f"option {n}" for n in range(10)] if kind == "letter" else ()
        assert verify_literally(text, gold, kind, options) in (False, None)
    assert verify_literally(text, "yes", "yes_no") in (False, "Yes" in text)


@settings(max_examples=200, deadline=None)
@given(texts, st.sampled_from(["number", "latex", "letter", "yes_no"]))
def test_a_gold_answer_of_fragments_is_refused_or_equals_itself(text, kind):
    extract_boxed(text)
    with contextlib.suppress(BadGold):
        gold = parse_gold(text, kind)
        assert parse_gold(gold, kind) == gold
        assert verify_literally(gold, gold, kind) in (True, None)


@pytest.mark.parametrize("text", ["5''", "''", r"10\text=\text\ln\emptyset", "5'=", r"\text{'}: 5"])
def test_texts_that_once_raised(text):
    for kind in ("number", "latex", "letter", "yes_no"):
        with contextlib.suppress(BadGold):
            parse_gold(text, kind)
