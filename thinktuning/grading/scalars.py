r"""Compare two values: exactly where both are exact, within a relative 1e-6 otherwise.

Numbers in plain notation (`7`, `-0.50`, `3/4`, `2\frac{1}{2}`, `1.5\times10^{3}`) are compared as
fractions, here and at once. Everything else is read by math-verify and compared by sympy, which may
take any time and memory below the bounds in `expressions`: only in a process with a limit.

A decimal means the number that it shows: 0.5 is 1/2, and 4.0000001 is not 4. Only where one side
is written with a decimal point and the other one has no finite decimal form (1/3, \sqrt{2}), they
are equal within `TOLERANCE` of the larger magnitude.
"""

import random
import re
from fractions import Fraction
from typing import Any

from thinktuning.grading.applied import opaque
from thinktuning.grading.expressions import (
    PLAIN,
    SLASH,
    SYMPY_ERRORS,
    Undefined,
    is_balanced,
    is_decimal,
    magnitude,
    rational,
    read,
)
from thinktuning.grading.names import symbols as symbols_of
from thinktuning.grading.names import told_apart

TOLERANCE = Fraction(1, 10**6)  # relative, of decimals


_OPERATION = re.compile(
    r"(?<=[\w)}!.\]])\s*(?:[+-]|\\(?:cdot|times)(?![A-Za-z]))|(?<=[\d)}\]])\s*[(\[]|[)}\]]\s*\d"
    r"|(?<=\d)\s*\\frac"
)
_ARITHMETIC = re.compile(r"(?:[\d\s.+\-/(){}\[\]|]|\\(?:frac|cdot|times)(?![A-Za-z]))+")
# What a question asks for by its name.
_NAMED = re.compile(r"\\(?:gcd|max|min|sum|prod|int|lim|det)(?![A-Za-z])")


class Undecided(Exception):
    """Only sympy can decide."""


def equal(gold: str, answer: str, *, literally: bool) -> bool:
    """Return whether two normalized values are the same; they have the same symbols.

    To math-verify `not 0` is 0 (n times o times t times 0), and `x^0` is 1.

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
        exact = _exact_side(gold, answer)
        return (
            exact is not None
            and not _has_finite_decimals((first, second)[exact])
            and _near(first, second)
        )
    if symbols_of(gold) != symbols_of(answer):
        return False
    if literally:
        raise Undecided
    gold, answer = told_apart(*opaque(gold, answer))
    return _equal(read(gold), answer, exact=_exact_side(gold, answer))


def means_something(text: str) -> bool:
    r"""Return whether a value is defined (unlike `0/0`), or is a text, which only equals itself."""
    import sympy

    if rational(text) is not None:
        return True
    try:
        expression = read(*told_apart(*opaque(text)))
        return not is_cheap(expression) or not expression.doit().has(sympy.nan, sympy.zoo)
    except Undefined:
        return False
    except SYMPY_ERRORS:  # words, or a notation that math-verify does not know
        return is_balanced(text)


def is_cheap(expression: Any) -> bool:
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


def left_undone(text: str, *, number: bool) -> bool:
    r"""Return whether a value is a sum, difference, product or division that is not carried out.

    So that the expression of a question (`4 - 1 - 7`) is not its answer. As a number, none may be
    left, nor a `\gcd`, `\max` or `\sum`, nor a slash that comes out even: `6/2`, but `\frac{6}{2}`,
    `2^{10}`, `\sqrt{9}`, `2e3` and `3 1/2` are ways to write one. In LaTeX only those of plain
    numbers count (`|7 - 1|` too), since `2^{10} - 1` and `3\sqrt{2}` are answers.
    """
    value = rational(text)
    if value is not None:
        return number and SLASH.fullmatch(text) is not None and value.denominator == 1
    if number and ("/" in text or _NAMED.search(text)):
        return True
    return bool(_OPERATION.search(text) and (number or _ARITHMETIC.fullmatch(text)))


def squeezed(text: str) -> str:
    """Return a text without the spaces that mean nothing; `4 2` is not 42, nor `3 1/2` 31/2."""
    return re.sub(r"\s+(?![\w.\\])|(?<![\w}.])\s+", "", text)


def _exact_side(gold: str, answer: str) -> int | None:
    """Return which side has no decimal beside one that has, 0 or 1, None if there is no such."""
    decimal = is_decimal(gold), is_decimal(answer)
    return decimal.index(False) if decimal[0] != decimal[1] else None


def _equal(gold: Any, answer: str, *, exact: int | None) -> bool:
    """Compare a gold expression; whatever sympy cannot compare is not equal."""
    import sympy

    try:
        found = read(answer)
        if isinstance(gold, sympy.MatrixBase) or isinstance(found, sympy.MatrixBase):
            same_shape = getattr(gold, "shape", None) == getattr(found, "shape", None)
            return same_shape and all(
                _expressions_equal(a, b, exact) for a, b in zip(gold, found, strict=True)
            )
        if isinstance(gold, sympy.Set) or isinstance(found, sympy.Set):
            both = isinstance(gold, sympy.Set) and isinstance(found, sympy.Set)
            return both and gold.symmetric_difference(found) is sympy.S.EmptySet
        return _expressions_equal(gold, found, exact)
    except SYMPY_ERRORS:  # two answers that both parse, and that sympy cannot compare
        return False


def _expressions_equal(gold: Any, found: Any, exact: int | None) -> bool:
    """Compare at points, with more digits than a difference can hide behind, or by simplification.

    Numbers, and analytic functions at random points, need no simplification.
    """
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
    inexact = exact is not None and _is_rounded((gold, found)[exact])
    if gold.is_Rational and found.is_Rational:
        return inexact and _near(_fraction(gold), _fraction(found))
    digits = needed_digits(gold, found)
    agree = []
    for point in points(gold, found):
        if inexact and not symbols:
            return bool(_agree(gold, found, point, 40, TOLERANCE))
        agree.append(_agree(gold, found, point, 40) and _agree(gold, found, point, digits))
        if agree[-1] is False:
            return False
    if True in agree and is_analytic(gold) and is_analytic(found):
        return True
    difference = gold - found
    if None in agree:  # not real where a variable is negative: it is meant to be positive
        difference = difference.xreplace({s: sympy.Symbol(s.name, positive=True) for s in symbols})
    difference = sympy.simplify(difference)
    return bool(difference == 0 or difference.equals(0))


def needed_digits(*expressions: Any) -> int:
    """Return a number of digits in which expressions of this size differ, unless they are equal."""
    return 100 + 4 * int(sum(map(magnitude, expressions)))


def is_analytic(expression: Any) -> bool:
    """Return whether an expression is one function wherever it is defined, unlike `|x|`."""
    import sympy
    from sympy.functions.combinatorial.factorials import factorial
    from sympy.functions.elementary.hyperbolic import HyperbolicFunction
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    if not expression.free_symbols or expression.is_Symbol:
        return True
    if isinstance(expression, sympy.Pow) and expression.base.free_symbols:
        return bool(expression.exp.is_Integer) and is_analytic(expression.base)
    known = sympy.Add, sympy.Mul, sympy.Pow, sympy.exp, factorial
    return isinstance(expression, (*known, TrigonometricFunction, HyperbolicFunction)) and all(
        map(is_analytic, expression.args)
    )


def _is_rounded(number: Any) -> bool:
    """Return whether decimals can only come near a number of sympy's."""
    return not (number.is_Rational and _has_finite_decimals(_fraction(number)))


def _fraction(number: Any) -> Fraction:
    return Fraction(int(number.p), int(number.q))


def _near(first: Fraction, second: Fraction) -> bool:
    return abs(first - second) <= TOLERANCE * max(abs(first), abs(second))


def _has_finite_decimals(value: Fraction) -> bool:
    """Return whether only 2 and 5 divide the denominator."""
    denominator = value.denominator
    for factor in (2, 5):
        while denominator % factor == 0:
            denominator //= factor
    return denominator == 1


def points(first: Any, second: Any) -> list[dict[Any, Any]]:
    """Return points to compare at; they depend on the expressions, so that none can aim at them."""
    import sympy

    symbols = sorted(first.free_symbols | second.free_symbols, key=lambda symbol: symbol.name)
    draw = random.Random(f"{first} {second}").randrange
    return [
        {symbol: sympy.Rational(sign * draw(low, high), 10**6 + 3) for symbol in symbols}
        for low, high, sign in (
            [(1, 10**6, 1), (10**6, 10**7, 1), (10**6, 10**7, -1)] if symbols else [(0, 1, 1)]
        )
    ]


def _agree(
    first: Any, second: Any, point: dict[Any, Any], digits: int, tolerance: Fraction | None = None
) -> bool | None:
    """Return whether two expressions are equal at a point, None if they are not real there."""
    import sympy

    values = [e.evalf(digits, subs=point, maxn=4 * digits) for e in (first, second)]
    if not all(value.is_number and value.is_finite for value in values):
        return None if point else False
    if point and not all(value.is_real for value in values):
        return None
    scale = max(abs(values[0]), abs(values[1]))
    if tolerance is None:
        scale, tolerance = max(scale, 1), Fraction(1, 10 ** (digits - 10))
    return bool(abs(values[0] - values[1]) <= scale * sympy.Rational(tolerance))
