"""Answers that a policy could try for any question: none equals a gold answer that it is not."""

import pytest

from thinktuning.grading.answers import parse_gold, verify

GOLDS = [
    "3", "0.5", "-7", r"\frac{1}{3}", r"\pi", r"\sqrt{2}", "x+1", "x=3", "2,4", "(2,4)", "[2,4]",
    r"\{2,4\}", r"50\%", "5 cm", "12:00", "52_8", r"\text{Evelyn}", r"1.6\times10^{-19}",
    r"\frac{1}{2004!}", "y=2x+3", "x^2+y^2=1", "x>3", r"(-\infty,3)", "x^2+1=0", "x+y<3", r"3+2i",
    "3:4", "2x^2-7", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"(0,9) \cup (9,36)",
    r"\text{none}", r"5.4\text{ cents}", r"\pi r^2", "R", "ABC", r"\Delta", "E", "n!", "y=2X",
    r"\pi(R^2-r^2)",
]  # fmt: skip
UNIVERSAL = [
    "0=1", "1=1", "x=x", "0=0", "x=x+1", "x=0=1", "x=y=z", "4=3", r"x \approx x", "0<1", "1<0",
    "x<x", r"x \ne x", r"x \in \mathbb{R}", r"\mathbb{R}", r"\mathbb{C}", r"(-\infty,\infty)",
    r"-\infty<x<\infty", r"\infty", r"-\infty", r"\pm\infty", r"\lim_{x\to\infty} x", "nan",
    "NaN", "oo", "zoo", "undefined", "0/0", r"\frac{0}{0}", r"\frac{1}{0}", "0 \\cdot \\infty",
    "x", "y", "n", "a", "f(x)", r"\pm x", "P", "", " ", "{}", "()", "[]", r"\{\}", r"\emptyset",
    r"\sqrt{}", r"\frac{}{}", r"\left.\right.", "?", "...", r"\ldots", "_", "*", "$", "=", "==",
    "x=", ",", r"\%", r"^\circ", r"\text{cm}", "all", "any number", "answer", r"\text{answer}",
    "your answer", r"x = \text{answer}", "True", "False", "yes", "A or B", r"\forall x",
    r"\int f(x) dx", r"\sum_{k} k", "10^{10^{10}}", "9^{9^{9^{9}}}", "1000000!", "1e400", "0",
    "1", "e", "i", "1,2,3,4,5,6,7,8,9", r"\{x \mid x \in \mathbb{R}\}",
    r"\begin{pmatrix}\end{pmatrix}", "0e0", "0.0000001", r"1.7\times10^{-19}", "7\0", "\0",
    "\ud800",
]  # fmt: skip
# Beside 0, or as the exponent of 1, words have the value of a gold answer, which they deny.
JUNK = [
    "not",
    "maybe",
    "cannot be",
    "wrong",
    "abc",
    "x",
    "X",
    "qz",
    r"\theta",
    r"\Delta",
    "ie",
    "x5y",
]
FORMS = [
    "{} {}",
    "{1} {0}",
    "{}{}",
    "{}({})",
    r"{} \cdot {}",
    "x = {1} {0}",
    "{1} = {0}",
    "({1}) {0}",
]
TAUTOLOGIES = ["1=1", "x=x", "0=1", "4=3", "x=x+1", "2x=2x", "0<1", r"3 \approx 4", "x=3=4"]


@pytest.mark.parametrize("answer", UNIVERSAL)
def test_a_universal_answer_is_never_right(answer):
    for gold in GOLDS:
        assert not verify(answer, gold, "latex"), gold
        if gold in ("3", "0.5", "-7"):
            assert not verify(answer, gold, "number")


@pytest.mark.parametrize("kind", ["number", "latex"])
@pytest.mark.parametrize("junk", JUNK)
def test_words_and_symbols_that_cancel_are_no_value(junk, kind):
    for form in FORMS:
        said = form.format("0", junk)
        if form == "{1} = {0}" and junk not in ("not", "wrong"):
            continue  # names the value, as in x = 0
        assert not verify(said, "0", kind), said
    for said in (f"1^{{{junk}}}", f"({junk})^0", f"1 + 0 {junk}", f"\\frac{{{junk}}}{{{junk}}}"):
        assert not verify(said, "1", kind), said


@pytest.mark.parametrize(
    ("first", "second"),
    [(r"\pi R^2", r"\pi r^2"), ("y=2X", "y=2x"), ("X<3", "x<3"), ("2+3I", "2+3i"), ("N!", "n!"),
     (r"\Theta", r"\theta"), ("x+X", "2x"),
     ("2X+x", "2x+X"), ("[X,2]", "[x,2]"), ("(X,x)", "(x,X)"),
     (r"\{X, 2\}", r"\{x, 2\}"), ("X^2+x=1", "x^2+X=1"), ("x>X", "X>x"),
     (r"\frac{1}{X-x}", r"\frac{1}{x-X}"), ("A_1", "a_1")],
)  # fmt: skip
def test_case_tells_symbols_apart(first, second):
    for gold, answer in ((first, second), (second, first)):
        assert verify(gold, parse_gold(gold, "latex"), "latex")
        assert not verify(answer, parse_gold(gold, "latex"), "latex")


@pytest.mark.parametrize("gold", GOLDS)
def test_these_golds_are_right_for_themselves(gold):
    assert verify(gold, parse_gold(gold, "latex"), "latex")


@pytest.mark.parametrize(
    "gold", [*TAUTOLOGIES, "0/0", r"\frac{1}{0}", "", "?", r"\text{answer}", "..."]
)
def test_what_says_nothing_is_no_gold_answer(gold):
    with pytest.raises(ValueError, match="gold answer"):
        parse_gold(gold, "latex")


@pytest.mark.parametrize("gold", ["3", r"\sqrt{2}", "x+1"])
@pytest.mark.parametrize(
    "form",
    [
        "{} or 4",
        "{}, 4",
        "{} and 4",
        r"\{{{}, 4\}}",
        "{}; 4",
        "{}/4",
        "({}, 4)",
        "{} = 4",
        r"4 \approx {}",
    ],
)
def test_two_answers_are_never_one(gold, form):
    assert not verify(form.format(gold), gold, "latex")
