r"""Compare equations, inequalities and sets of numbers by their solutions, with sympy."""

import re
from fractions import Fraction
from itertools import combinations
from typing import Any

from thinktuning.grading.applied import opaque
from thinktuning.grading.expressions import SYMPY_ERRORS, read
from thinktuning.grading.names import symbols as symbols_of
from thinktuning.grading.names import told_apart
from thinktuning.grading.nodes import Node
from thinktuning.grading.scalars import (
    Undecided,
    is_analytic,
    is_cheap,
    needed_digits,
    points,
)

_AND_OR = re.compile(r"(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])")


def relation_has_meaning(left: str, right: str, operator: str) -> bool:
    """Return whether an equation or inequality depends on its variables and has solutions."""
    import sympy

    try:
        left, right = told_apart(*opaque(left, right))
        difference = read(left) - read(right)
        if not _is_quick(difference):
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


def _is_quick(expression: Any) -> bool:
    """Return whether sympy simplifies and solves an expression in no time: there is no limit here.

    It takes minutes for `x^{500}+x^{499}+1`, a sum of seven fractions in seven variables, or a
    product of eight factors beside three roots.
    """
    import sympy

    exponents = [power.exp for power in expression.atoms(sympy.Pow) if power.exp.is_number]
    return (
        is_cheap(expression)
        and len(expression.free_symbols) <= 4
        and all(abs(exponent) <= 20 for exponent in exponents if exponent.is_real)
        and sum(not exponent.is_integer for exponent in exponents) <= 2
    )


def relations_equal(gold: list[str], answer: list[str], operator: str) -> bool:
    """Return whether two equations or inequalities in the same variables have the same solutions.

    The difference of the sides is the same but for a factor (positive for an inequality), or both
    equations have solutions for each of their variables, and the same ones.

    Args:
        gold: the two sides of the gold relation.
        answer: the two sides of the other one.
        operator: that of an inequality, "" for equations.
    """
    import sympy

    if symbols_of(*gold) != symbols_of(*answer):
        return False
    sides = told_apart(*opaque(*gold, *answer))
    try:
        first, second = (read(left) - read(right) for left, right in (sides[:2], sides[2:]))
        if operator not in ("", r"\ne"):
            factor = _factor(first, second)
            return factor is not None and bool(factor > 0)
        first, second = (sympy.fraction(sympy.together(e))[0] for e in (first, second))
        if _factor(first, second) is not None:
            return True
        symbols = first.free_symbols
        if not symbols or symbols != second.free_symbols:
            return False
        if first.is_polynomial(*symbols) and second.is_polynomial(*symbols):
            return _factor(sympy.sqf_part(first), sympy.sqf_part(second)) is not None
        return all(_same_solutions(first, second, symbol) for symbol in symbols)
    except SYMPY_ERRORS:
        return False


def _same_solutions(first: Any, second: Any, symbol: Any) -> bool:
    """Return whether two expressions are 0 for the same values of a variable, if sympy has all."""
    import sympy
    from sympy.functions.elementary.trigonometric import TrigonometricFunction

    if first.has(TrigonometricFunction) or second.has(TrigonometricFunction):  # it has some
        return False
    solutions = [sympy.solve(expression, symbol) for expression in (first, second)]
    return (
        bool(solutions[0])
        and len(solutions[0]) == len(solutions[1])
        and all(any(sympy.simplify(a - b) == 0 for b in solutions[1]) for a in solutions[0])
    )


def _factor(first: Any, second: Any) -> Any:
    """Return the number by which two expressions in the same variables differ, None if by none."""
    import sympy

    if not first.free_symbols or first.free_symbols != second.free_symbols:
        return None
    if is_analytic(first) and is_analytic(second):
        digits = needed_digits(first, second)
        values = [
            first.evalf(digits, subs=at) / second.evalf(digits, subs=at)
            for at in points(first, second)
        ]
        close = Fraction(1, 10 ** (digits - 20))
        same = all(abs(v - values[0]) <= abs(values[0]) * sympy.Rational(close) for v in values)
        ratio = values[0] if same else sympy.nan
    else:
        ratio = sympy.simplify(first / second)
    return ratio if ratio.is_number and ratio.is_finite and ratio != 0 else None


def sets_equal(gold: Node, answer: Node, *, literally: bool) -> bool:
    r"""Return whether intervals, unions, inequalities and `\mathbb{R}` are the same numbers.

    Raises:
        Undecided: `literally`, and sympy is needed.
    """
    import sympy

    intervals = [node for node in (gold, answer) if node.kind == "tuple"]
    names = {node.text for node in intervals if node.mark.startswith("<")} - {""}
    texts = [_AND_OR.sub(" ", node.text) for node in (gold, answer)]
    variables = [found for text in texts if (found := symbols_of(text))]
    if not (_is_set(gold) and _is_set(answer)) or len(names) > 1:
        return False
    if len(variables) == 2 and variables[0] != variables[1]:
        return False
    if literally:
        raise Undecided
    try:
        first, second = (_solutions(node, names) for node in (gold, answer))
        if sympy.S.EmptySet in (first, second):
            return False
        return bool(first == second or first.symmetric_difference(second) is sympy.S.EmptySet)
    except SYMPY_ERRORS:
        return False


def _is_set(node: Node) -> bool:
    in_notation = re.search(r"\\(?:setminus|mathbb|cup|cap)", node.text)
    pair = node.kind == "tuple" and len(node.items) == 2
    return pair or node.kind in ("union", "set", "inequality") or bool(in_notation)


def _solutions(node: Node, names: set[str]) -> Any:
    """Return the sympy set of a node; raises one of `SYMPY_ERRORS` if it has none."""
    import sympy

    match node.kind:
        case "tuple":
            low, high = map(_constant, node.items)
            return sympy.Interval(low, high, node.mark[-2] == "(", node.mark[-1] == ")")
        case "union":
            parts = [_solutions(item, names) for item in node.items]
            if node.mark == "," and any(not a.is_disjoint(b) for a, b in combinations(parts, 2)):
                raise ValueError("neither `and` nor `or`")
            return sympy.Union(*parts)
        case "set":
            return sympy.FiniteSet(*map(_constant, node.items))
        case "inequality":
            difference = read(node.items[0].text) - read(node.items[1].text)
            (symbol,) = difference.free_symbols
            if len(symbols_of(node.text)) > 1:
                raise ValueError("several variables")
            if names - {symbol.name}:
                raise ValueError("another variable")
            sign = {r"\le": "<=", r"\ne": "!="}.get(node.mark, node.mark)
            return sympy.solveset(sympy.Rel(difference, 0, sign), symbol, sympy.S.Reals)
    found = read(node.text)
    if not isinstance(found, sympy.Set):
        raise TypeError("not a set")
    return found


def _constant(node: Node) -> Any:
    """Return the number of an end of an interval or an element of a set."""
    if symbols_of(node.text):
        raise ValueError("not a number")
    return read(node.text)
