"""Values that sympy compares: exactly, whatever hides a difference, and without long proofs."""

import pytest
from effort import measured
from hypothesis import given, settings
from hypothesis import strategies as st

from thinktuning.grading.answers import parse_gold, verify

IDENTITIES = [
    (r"\sqrt{2+\sqrt{2+\sqrt{2}}}", r"2\cos\frac{\pi}{16}"),
    (r"\sqrt{5+2\sqrt{6}}", r"\sqrt2+\sqrt3"),
    (r"\frac{1}{\sqrt2+\sqrt3+\sqrt5}", r"\frac{2\sqrt3+3\sqrt2-\sqrt{30}}{12}"),
    (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", r"\frac{2}{2}"),
    (r"\sin 15^\circ", r"\frac{\sqrt6-\sqrt2}{4}"),
    (r"\log_2 3\cdot\log_3 4", r"\log_2 4"),
    (r"\cos\frac{2\pi}{7}+\cos\frac{4\pi}{7}+\cos\frac{6\pi}{7}", r"-\frac12"),
    (r"\sin^4 x+\cos^4 x", r"1-\frac12\sin^2 2x"),
    (r"\frac{\sin 2x}{1+\cos 2x}", r"\tan x"),
    (r"\frac{1-\cos x}{\sin x}", r"\tan\frac x2"),
    ("(x+y)^5", "x^5+5x^4y+10x^3y^2+10x^2y^3+5xy^4+y^5"),
    (r"\sum_{i=1}^{n} i", r"\frac{n(n+1)}{2}"),
    (r"\sum_{k=1}^{100} k^2", "338350"),
    (r"\int_0^1 x^2 dx", r"\frac13"),
    (r"\frac{(n+2)!}{n!}", "(n+1)(n+2)"),
    (r"4\arctan\frac15-\arctan\frac1{239}", r"\frac{\pi}{4}"),
    (r"\left(\frac{1+i}{\sqrt2}\right)^{8}", "1"),
    (r"y=\frac{2x+3}{x-1}", "xy-y-2x-3=0"),
    ("x^2+y^2-4x+6y=12", "(x-2)^2+(y+3)^2=25"),
    ("x>5", "2x>10"),
    ("-3<x<3", "x^2<9"),
    (r"\mathbb{R}\setminus\{2\}", r"x \ne 2"),
    (r"2\frac12x", r"\frac{5x}{2}"),
]
DIFFERENT = [
    ("1", r"\sqrt{1+10^{-60}}"), ("7", r"\sqrt[19]{7^{19}+10^{-300}}"), ("1", r"\cos(10^{-100})"),
    ("2", r"\cos(10^{-90})+\cosh(10^{-90})"), ("0", "e^{-1000}"), ("1", "2^{10^{-300}}"),
    ("3", r"3+((\sqrt2+10^{-200})-\sqrt2)"), ("x", "x+10^{-90}"), ("x", r"\sqrt{x^2}"),
    ("100-x", r"\sqrt{(x-100)^2}"), (r"\lfloor x\rfloor", r"\lfloor x+10^{-9}\rfloor"),
    (r"e^{\pi\sqrt{163}}", "262537412640768744"), ("x-y", "|x-y|"), (r"\ln(x^2)", r"\ln x"),
    ("x^2+y^2=1", "(x^2+y^2-1)(x-y)=0"), ("x>5", "2x<10"), ("-3<x<3", "x<3"),
    (r"\emptyset", "(4,2)"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "second"), IDENTITIES)
def test_what_is_equal_is_so_in_both_directions_and_soon(first, second):
    verify(r"\sqrt{8}", r"2\sqrt{2}", "latex")  # imports sympy
    for answer, gold in ((first, second), (second, first)):
        with measured() as effort:
            assert verify(answer, parse_gold(gold, "latex"), "latex"), (answer, gold)
        assert effort.units < 20


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_a_small_or_rare_difference_is_found(first, second):
    assert not verify(second, first, "latex")
    assert not verify(first, second, "latex")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 900), st.integers(2, 9), st.sampled_from(["{}", r"{}+\sqrt2", "{}x", "x+{}"]))
def test_no_power_of_ten_is_too_small(exponent, root, form):
    gold = form.format("1")
    near = rf"\sqrt[{root}]{{1+10^{{-{exponent}}}}}"
    assert not verify(form.format(near), gold, "latex")


@pytest.mark.parametrize(
    "gold", [r"f\circ g", r"a\mid b", r"3 \pmod 7", r"\{(x,y):x>y\}", r"\vec{v}", "12:30 p.m."]
)
def test_what_nothing_reads_equals_itself_and_nothing_else(gold):
    canonical = parse_gold(gold, "latex")
    assert verify(gold, canonical, "latex") and verify(f"${gold}$.", canonical, "latex")
    for other in ("0", "3", "x", "", "f g", "12:30 a.m.", r"\emptyset", "0=0"):
        assert not verify(other, canonical, "latex")


def test_the_letter_of_a_choice_is_no_variable():
    assert verify("e", r"\text{(E)}", "latex") and verify("E", r"\text{(E)}", "latex")
    assert not verify(r"\text{(E)}", "e", "latex") and not verify(r"\text{X}", "x", "latex")
