r"""Compare two values: exactly where both are exact, within a relative 1e-6 otherwise.

Numbers in plain notation (`7`, `-0.50`, `3/4`, `2\frac{1}{2}`, `1.5\times10^{3}`) are compared as
fractions, here and at once. Everything else is read by math-verify and compared by sympy, which may
take any time and memory below the bounds in `expressions`: only in a process with a limit.

A decimal means the number that it shows: 0.5 is 1/2, and 4.0000001 is not 4. Only where one side
is written with a decimal point and the other one has no finite decimal form (1/3, \sqrt{2}), they
are equal within `TOLERANCE` of the larger magnitude.
"""

import re
from fractions import Fraction
from typing import Any

from thinktuning.grading.expressions import MAX_DEPTH, SYMPY_ERRORS, depth, read
from thinktuning.grading.rationals import (
    PLAIN,
    TOLERANCE,
    has_finite_decimals,
    is_decimal,
    near,
    rational,
)


class Undecided(Exception):
    """Only sympy can decide."""


def equal(gold: str, answer: str, *, literally: bool) -> bool:
    """Return whether two normalized values are the same.

    Args:
        gold: the gold answer; it counts as the true value.
        answer: the value to compare.
        literally: only decide what plain numbers decide.

    Raises:
        Undecided: `literally`, and sympy is needed.
        Unreadable: the gold answer is not one value.
    """
    first, second = rational(gold), rational(answer)
    if first is not None and second is not None:
        if first == second:
            return True
        inexact = is_decimal(gold) != is_decimal(answer)
        return (
            inexact
            and not (has_finite_decimals(first) and has_finite_decimals(second))
            and near(first, second)
        )
    if literally:
        raise Undecided
    return _equal(read(gold), answer, inexact=is_decimal(gold) != is_decimal(answer))


def means_something(text: str) -> bool:
    r"""Return whether a value is one that math-verify reads, and defined (unlike `0/0`).

    What holds words (`3 \text{ Fridays}`) is a text, which only equals itself.
    """
    import sympy

    if rational(text) is not None:
        return True
    if r"\text" in text or r"\ldots" in text:
        return depth(text) <= MAX_DEPTH and text.count("{") == text.count("}")
    try:
        expression = read(text)
        return not _cheap(expression) or not expression.doit().has(sympy.nan, sympy.zoo)
    except SYMPY_ERRORS:
        return False


def relation_has_meaning(left: str, right: str, operator: str) -> bool:
    """Return whether an equation or inequality depends on its variables and has solutions."""
    import sympy

    try:
        difference = read(left) - read(right)
        if not _cheap(difference):
            return bool(difference.free_symbols)
        difference = sympy.simplify(difference)
        if not difference.free_symbols:
            return False
        if operator:
            return True
        symbols = sorted(difference.free_symbols, key=lambda s: s.name)
        return len(symbols) > 1 or bool(sympy.solveset(difference, symbols[0], sympy.S.Complexes))
    except SYMPY_ERRORS:
        return False


def _cheap(expression: Any) -> bool:
    """Return whether an expression is small enough to be worked on without a time limit."""
    import sympy

    endless = (sympy.Sum, sympy.Product, sympy.Integral, sympy.Limit)
    return (
        not expression.has(*endless) and sum(1 for _ in sympy.preorder_traversal(expression)) < 80
    )


def rounds_to(exact: str, rounded: str, *, literally: bool) -> bool:
    """Return whether a decimal is the exact value, rounded to the places that it shows.

    It has to be within 2% of it, too: 0.5 is not 0, rounded.

    Raises:
        Undecided: `literally`, and sympy is needed.
    """
    shown = rational(rounded)
    if shown is None:
        return equal(exact, rounded, literally=literally)
    places = len(rounded.partition(".")[2]) if PLAIN.fullmatch(rounded) else 0
    value = rational(exact)
    if value is None:
        if literally:
            raise Undecided
        number = read(exact).doit().evalf(30)
        if not (number.is_Float or number.is_Integer or number.is_Rational):
            return False
        value = Fraction(str(number))
    return abs(value - shown) <= min(Fraction(1, 2 * 10**places), abs(value) / 50)


def relations_equal(gold: list[str], answer: list[str], operator: str) -> bool:
    """Return whether two equations or inequalities in the same variables have the same solutions.

    The difference of the sides is the same but for a factor (positive for an inequality), or both
    equations have solutions for one of their variables, and the same ones.

    Args:
        gold: the two sides of the gold relation.
        answer: the two sides of the other one.
        operator: that of an inequality, "" for equations.
    """
    import sympy

    try:
        first, second = (read(left) - read(right) for left, right in (gold, answer))
        first, second = sympy.simplify(first), sympy.simplify(second)
        if not first.free_symbols or first.free_symbols != second.free_symbols:
            return False
        ratio = sympy.simplify(first / second)
        if ratio.is_number and ratio.is_finite and ratio != 0:
            return operator in ("", r"\ne") or bool(ratio > 0)
        if operator:
            return False
        symbol = min(first.free_symbols, key=lambda s: s.name)
        solutions = [sympy.solve(expression, symbol) for expression in (first, second)]
        return (
            bool(solutions[0])
            and len(solutions[0]) == len(solutions[1])
            and all(any(sympy.simplify(a - b) == 0 for b in solutions[1]) for a in solutions[0])
        )
    except SYMPY_ERRORS:
        return False


def squeezed(text: str) -> str:
    """Return a text without the spaces that mean nothing; `4 2` is not 42, nor `3 1/2` 31/2."""
    return re.sub(r"\s+(?![\w.\\])|(?<![\w}.])\s+", "", text)


def _equal(gold: Any, answer: str, *, inexact: bool) -> bool:
    """Compare a gold expression; whatever sympy cannot compare is not equal."""
    import sympy

    try:
        found = read(answer)
        if isinstance(gold, sympy.MatrixBase) or isinstance(found, sympy.MatrixBase):
            same_shape = getattr(gold, "shape", None) == getattr(found, "shape", None)
            return same_shape and all(
                _expressions_equal(a, b, inexact) for a, b in zip(gold, found, strict=True)
            )
        if isinstance(gold, sympy.Set) or isinstance(found, sympy.Set):
            return isinstance(gold, sympy.Set) and _sets_equal(gold, found)
        return _expressions_equal(gold, found, inexact)
    except SYMPY_ERRORS:  # two answers that both parse, and that sympy cannot compare
        return False


def _sets_equal(gold: Any, found: Any) -> bool:
    import sympy

    if not isinstance(found, sympy.Set):
        return False
    return bool(gold == found or gold.symmetric_difference(found) is sympy.S.EmptySet)


def _expressions_equal(gold: Any, found: Any, inexact: bool) -> bool:
    """Compare numerically, which refutes at once, and then prove by simplification."""
    import sympy

    if not (isinstance(gold, sympy.Expr) and isinstance(found, sympy.Expr)):
        return bool(gold == found)
    gold, found = gold.doit(), found.doit()
    if gold.has(sympy.nan, sympy.zoo) or found.has(sympy.nan, sympy.zoo):
        return False
    if gold == found:
        return True
    if gold.has(sympy.oo, -sympy.oo) or found.has(sympy.oo, -sympy.oo):
        return False
    symbols = gold.free_symbols | found.free_symbols
    if gold.is_Rational and found.is_Rational:
        return _rationals_equal(gold, found, inexact)
    agree = [_agree(gold, found, point, inexact) for point in _points(symbols)]
    if False in agree:
        return False
    if inexact and not symbols:
        return True
    difference = gold - found
    if None in agree:  # not real where a variable is negative: it is meant to be positive
        difference = difference.xreplace({s: sympy.Symbol(s.name, positive=True) for s in symbols})
    difference = sympy.simplify(difference)
    return bool(difference == 0 or difference.equals(0))


def _rationals_equal(gold: Any, found: Any, inexact: bool) -> bool:
    first, second = Fraction(int(gold.p), int(gold.q)), Fraction(int(found.p), int(found.q))
    either = has_finite_decimals(first) and has_finite_decimals(second)
    return first == second or (inexact and not either and near(first, second))


def _points(symbols: set[Any]) -> list[dict[Any, Any]]:
    """Return fixed points at which expressions are compared, one without symbols."""
    import sympy

    if not symbols:
        return [{}]
    ordered = sorted(symbols, key=lambda symbol: symbol.name)
    return [
        {
            symbol: sympy.Rational(sign * (97 + 30 * i + k), 89 + 7 * k)
            for i, symbol in enumerate(ordered)
        }
        for k, sign in ((0, 1), (1, -1), (2, 1))
    ]


def _agree(gold: Any, found: Any, point: dict[Any, Any], inexact: bool) -> bool | None:
    """Return whether two expressions are equal at a point, None if they are not real there."""
    first, second = (e.xreplace(point).evalf(40) for e in (gold, found))
    if not (first.is_number and second.is_number and first.is_finite and second.is_finite):
        return None if point else False
    if point and not (first.is_real and second.is_real):
        return None
    scale = max(abs(first), abs(second))
    tolerance = TOLERANCE if inexact and not point else Fraction(1, 10**30)
    return bool(abs(first - second) <= scale * float(tolerance))
