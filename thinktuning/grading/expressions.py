r"""Read single values with math-verify, within bounds, as exact sympy expressions.

Parsing takes milliseconds on what `_readable` admits; what is done with an expression afterwards is
bounded by `_check_size`, but may still take long.
"""

import functools
import logging
import re
from fractions import Fraction
from typing import Any

from thinktuning.grading.rationals import DECIMAL, MAX_DIGITS

# It warns that its own time limit is off; the bounds here and the grader's limit replace it.
logging.getLogger("math_verify").setLevel(logging.ERROR)

MAX_MAGNITUDE = 20_000  # decimal digits of a number inside an expression
MAX_POWER = 500  # exponent over an expression with variables
MAX_FACTORIAL = 5000
MAX_NODES = 400
MAX_DEPTH = 30
MAX_CHARACTERS = 600

# The commands that math-verify reads; it leaves out or misreads others (\mod, \to, \hat).
_COMMANDS_TEXT = """
frac sqrt binom cdot times pi infty circ sum prod int lim to log ln exp sin cos tan cot sec csc
arcsin arccos arctan sinh cosh tanh lfloor rfloor lceil rceil gcd max min det overline angle begin
end mathbb cup cap setminus emptyset alpha beta gamma delta epsilon varepsilon zeta eta theta
vartheta kappa lambda mu nu xi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta
Lambda Xi Sigma Phi Psi Omega ell in le ge ne
"""
_COMMANDS = frozenset(_COMMANDS_TEXT.split())
# An index of a number, two numbers side by side, a point that is no decimal one, quotes, a
# transposed number, and others.
_LEFT_OUT = re.compile(
    r"[\d})]\s*_|\d\s+\d*\.?\d|\.(?!\d)|\"|(?<![A-Za-z'])'|\^\s*\{?\s*T|[^\x20-\x7e]"
    r"|[@#$~`?:;]"
    r"|(?<!\\)\\[^A-Za-z{}|\\ ]|(?<!\\)&(?!.*\\end)"
)


class Unreadable(Exception):
    """The text is no value that math-verify reads within the bounds."""


# What sympy and math-verify raise on expressions that they cannot read or compare.
SYMPY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotImplementedError,
    RecursionError, RuntimeError, TypeError, Unreadable, ValueError,
)  # fmt: skip


@functools.lru_cache(maxsize=1024)
def read(text: str) -> Any:
    r"""Return the sympy object that math-verify reads; decimals become exact fractions.

    Raises:
        Unreadable: it reads nothing, or something undefined (`0/0`) or beyond the bounds.
    """
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    if not _readable(text):
        raise Unreadable(text)
    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
    )
    expressions = parse(
        rf"\boxed{{{_for_math_verify(text)}}}",
        [LatexExtractionConfig(boxed_match_priority=0, normalization_config=config)],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
        raise_on_error=True,
    )
    if not expressions:
        raise Unreadable(text)
    return _checked(expressions[0])


def _readable(text: str) -> bool:
    """Return whether a text is within the bounds, and holds nothing that math-verify leaves out."""
    commands = set(re.findall(r"\\([A-Za-z]+)", text))
    return (
        0 < len(text) <= MAX_CHARACTERS
        and depth(text) <= MAX_DEPTH
        and text.count("{") == text.count("}")
        and commands <= _COMMANDS
        and not _LEFT_OUT.search(text)
        and not any(len(digits) > MAX_DIGITS for digits in re.findall(r"\d+", text))
        # computed while it is read
        and not ("binom" in commands and re.search(r"\d{5}|\^|!", text))
    )


def _for_math_verify(text: str) -> str:
    text = re.sub(r"([A-Za-z])('+)", lambda m: f"{m[1]}_{{{'q' * len(m[2])}}}", text)
    text = re.sub(r"\^\s*\\circ", r"\\cdot\\frac{\\pi}{180} ", text)
    text = re.sub(r"\\sqrt\s+", r"\\sqrt", text)
    return DECIMAL.sub(_as_fraction, text)


def _as_fraction(match: re.Match[str]) -> str:
    value = Fraction(match[0])
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def depth(text: str) -> int:
    """Return how deeply brackets are nested."""
    depth = deepest = 0
    for c in text:
        depth += (c in "({[") - (c in ")}]")
        deepest = max(deepest, depth)
    return deepest


def _checked(expression: Any) -> Any:
    """Bound an expression's size, and give its symbols one meaning: `i` and `e` are constants."""
    import sympy

    if not isinstance(expression, sympy.Basic | sympy.MatrixBase):
        raise Unreadable
    entries = list(expression) if isinstance(expression, sympy.MatrixBase) else [expression]
    if sum(sum(1 for _ in sympy.preorder_traversal(e)) for e in entries) > MAX_NODES:
        raise Unreadable
    for entry in entries:
        if entry.has(sympy.nan, sympy.zoo):
            raise Unreadable
        _check_size(entry)
    constants = {"i": sympy.I, "e": sympy.E}
    symbols = {
        s: constants.get(s.name) or sympy.Symbol(s.name, real=True) for s in _symbols(expression)
    }
    return expression.xreplace({old: new for old, new in symbols.items() if old != new})


def _symbols(expression: Any) -> set[Any]:
    import sympy

    return set(expression.atoms(sympy.Symbol))


def _check_size(expression: Any) -> float:
    """Return an upper bound of log10 |expression|, variables counted as 1; refuse towers.

    Raises:
        Unreadable: a power, factorial or product within it has too many digits to compute.
    """
    import sympy
    from sympy.functions.combinatorial.factorials import CombinatorialFunction

    if expression.is_Integer or expression.is_Rational:
        sizes = len(str(abs(expression.p))), len(str(expression.q))
        return float(max(sizes))
    sizes_of_args = [_check_size(arg) for arg in expression.args]
    size = sum(sizes_of_args) + 1.0
    if isinstance(expression, sympy.Pow | sympy.exp):
        base = 1.0 if isinstance(expression, sympy.exp) else sizes_of_args[0]
        exponent = _number(expression.exp)
        if exponent is None or expression.free_symbols & expression.exp.free_symbols:
            exponent = 1.0
        if expression.free_symbols and exponent > MAX_POWER:
            raise Unreadable
        size = base * exponent + 1
    elif isinstance(expression, CombinatorialFunction) and expression.args:
        number = _number(expression.args[0])
        if number is not None and number > MAX_FACTORIAL:
            raise Unreadable
        size = 1.0 if number is None else 4 * number + 1
    if size > MAX_MAGNITUDE:
        raise Unreadable
    return size


def _number(expression: Any) -> float | None:
    """Return |expression| if it is a number below 1e6, infinity if larger, None if not a number."""
    if expression.free_symbols:
        return None
    if _check_size(expression) > 6:
        return float("inf")
    value = expression.evalf(6)
    return float(abs(value)) if value.is_number and value.is_finite else float("inf")
