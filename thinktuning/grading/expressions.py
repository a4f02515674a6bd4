r"""Read single values: plain numbers as fractions, everything else with math-verify, within bounds.

Plain numbers are `-0.50`, `3/4`, `2\frac{1}{2}` and `1.5\times10^{3}`. Reading anything takes
milliseconds; what sympy does with an expression afterwards is bounded by `magnitude`, but may
still take long.
"""

import functools
import logging
import re
from fractions import Fraction
from typing import Any

from thinktuning.grading.dialect import DECIMAL, for_math_verify
from thinktuning.grading.normalize import closing

# It warns that its own time limit is off; the bounds here and the grader's limit replace it.
logging.getLogger("math_verify").setLevel(logging.ERROR)

MAX_DIGITS = 1000  # of a literal number
MAX_EXPONENT = 1000  # of 10 in scientific notation
MAX_MAGNITUDE = 20_000  # decimal digits of a number inside an expression
MAX_POWER = 500  # exponent over an expression with variables
MAX_FACTORIAL = 5000
MAX_NODES = 400
MAX_DEPTH = 30
MAX_CHARACTERS = 600

_UNSIGNED = r"(?:\d+(?:\.\d*)?|\.\d+)"
_SIGN = r"(?P<sign>(?:[+-]\s*)?)"
PLAIN = re.compile(rf"{_SIGN}(?P<number>{_UNSIGNED})")
_POWER_OF_TEN = re.compile(
    rf"{_SIGN}(?:(?P<number>{_UNSIGNED})\s*(?:\\times|\\cdot)\s*)?\{{?10\}}?\s*\^\s*"
    r"(?:\{\s*(?P<braced>[+-]?\s*\d{1,6})\s*\}|(?P<digit>[+-]?\d))"
)
_FRACTION = re.compile(
    rf"{_SIGN}(?:(?P<whole>\d+)\s*)?\\frac\s*"
    rf"(?:\{{\s*(?P<up>-?\s*{_UNSIGNED})\s*\}}|(?P<up1>\d))\s*"
    rf"(?:\{{\s*(?P<low>-?\s*{_UNSIGNED})\s*\}}|(?P<low1>\d))"
)
SLASH = re.compile(rf"{_SIGN}(?:(?P<whole>\d+)\s+)?(?P<up>{_UNSIGNED})\s*/\s*(?P<low>{_UNSIGNED})")

# The commands that math-verify reads; it leaves out or misreads others (\mod, \to, \hat).
_COMMANDS_TEXT = """
frac sqrt binom cdot times pi infty circ sum prod int lim to log ln exp sin cos tan cot sec csc
arcsin arccos arctan sinh cosh tanh lfloor rfloor lceil rceil gcd max min det overline begin
end mathbb cup cap setminus emptyset alpha beta gamma delta epsilon varepsilon zeta eta theta
vartheta kappa lambda mu nu xi rho sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta
Lambda Xi Sigma Phi Psi Omega ell in le ge ne
"""
_COMMANDS = frozenset(_COMMANDS_TEXT.split())
# An index of a number, two numbers side by side, a point that is no decimal one, quotes, a
# transposed number, and others.
_LEFT_OUT = re.compile(
    r"[\d})]\s*_|\d\s+\d*\.?\d|\.(?!\d)|\"|(?<![A-Za-z'])'|\^\s*\{?\s*T|[^\x20-\x7e]"
    r"|[@#$~`?:;]|(?<![\^_\d.])[\d.]+\s*\{|(?:^|[^\w}\]^_])\{\s*[\d.]+\s*\}\s*[\d({\[]"
    r"|(?<!\\)\\[^A-Za-z{}|\\ ]|(?<!\\)&(?!.*\\end)|\\overline(?!\s?\{\s?[A-Za-z])"
)
# Of a function: an index, a prime, and 0 as its exponent.
_FUNCTION = r"\\(?:(?:arc)?(?:sin|cos|tan)h?|cot|sec|csc|ln|exp|gcd|max|min|det)"
_LEFT_OUT_OF_FUNCTION = re.compile(
    rf"{_FUNCTION}\s?[_']|\\log\s?'|(?:{_FUNCTION}|\\log(?:\s?_\s?(?:\{{[^{{}}]*\}}|\w))?)"
    r"\s?\^\s?(?:\{\s?[+-]?\s?0+\s?\}|0)"
)
_ZERO_TO_ZERO = re.compile(
    r"(?<![\d.])(?:0++(?:\.0*+)?|\.0++)\s?[)}\]]?\s?\^\s?(?:\{\s?[+-]?\s?0+(?:\.0*)?\s?\}|0(?![\d.]))"
)
_SMALL_BINOMIAL = re.compile(r"\\binom\s?(?:\{(?:(?!\d{5})[\w +-])*\}\s?){2}")
_FROM_ABOVE = re.compile(r"\\lim\s?_\s?\{[^{}]*\^\s?(?:\{\s?)?\+")
_INFINITY = re.compile(r"[+-]?\s?\\infty\s*")
# Where infinity is no number to compute with: limits of an operator, and ends of intervals.
_LIMITS = re.compile(
    r"(\\(?:sum|prod|int|lim)(?![A-Za-z]))((?>\s?[_^]\s?(?:\{[^{}]*\}|-?\s?\\infty|\w)){1,2})"
)
_END = re.compile(r"(?<=[(\[])\s?-?\s?\\infty\s?(?=,)|(?<=,)\s?\+?\s?\\infty\s?(?=[)\]])")


class Unreadable(Exception):
    """The text is no value that math-verify reads within the bounds."""


class Undefined(Unreadable):
    """The text is read, but has no value: `0/0`."""


# What sympy and math-verify raise on expressions that they cannot read or compare.
SYMPY_ERRORS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NotImplementedError,
    RecursionError, RuntimeError, TypeError, Unreadable, ValueError,
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def rational(text: str) -> Fraction | None:
    """Return the value of a number in plain notation, None for any other text."""
    text = text.strip()
    if not text or len(text) > 2 * MAX_DIGITS or text[0] not in "+-.0123456789\\{":
        return None
    if match := PLAIN.fullmatch(text):
        value = Fraction(match["number"])
    elif match := _POWER_OF_TEN.fullmatch(text):
        exponent = int((match["braced"] or match["digit"]).replace(" ", ""))
        if abs(exponent) > MAX_EXPONENT:
            return None
        value = Fraction(match["number"] or 1) * Fraction(10) ** exponent
    elif match := _FRACTION.fullmatch(text) or SLASH.fullmatch(text):
        parts = match.groupdict()
        up, low = (
            Fraction((parts[name] or parts[f"{name}1"]).replace(" ", "")) for name in ("up", "low")
        )
        if not low or (match["whole"] and not 0 <= up < low):  # 16 4/2 is not 18
            return None
        value = Fraction(match["whole"] or 0) + up / low
    else:
        return None
    return -value if "-" in match["sign"] else value


def is_decimal(text: str) -> bool:
    """Return whether a value is written with a decimal point."""
    return DECIMAL.search(text) is not None


@functools.lru_cache(maxsize=1024)
def read(text: str) -> Any:
    r"""Return the sympy object that math-verify reads; decimals become exact fractions.

    Raises:
        Unreadable: it reads nothing, or something undefined (`0/0`) or beyond the bounds.
    """
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import LatexExtractionConfig, parse

    text = re.sub(r"\s+(?=[{}])", "", text)
    if not _readable(text):
        raise Unreadable(text)
    if _is_undefined(text):
        raise Undefined(text)
    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="all"
    )
    try:
        expressions = parse(
            rf"\boxed{{{for_math_verify(text)}}}",
            [LatexExtractionConfig(boxed_match_priority=0, normalization_config=config)],
            fallback_mode="no_fallback",
            extraction_mode="first_match",
            parsing_timeout=None,
            raise_on_error=True,
        )
    except SYMPY_ERRORS:
        expressions = []
    if not expressions:
        raise Unreadable(text)
    return _checked(expressions[0], one_sided=_FROM_ABOVE.search(text) is not None)


def _readable(text: str) -> bool:
    """Return whether a text is within the bounds, and holds nothing that math-verify leaves out."""
    commands = set(re.findall(r"\\([A-Za-z]+)", text))
    return (
        0 < len(text) <= MAX_CHARACTERS
        and is_balanced(text)
        and commands <= _COMMANDS
        and not _LEFT_OUT.search(text)
        and not _LEFT_OUT_OF_FUNCTION.search(text)
        and not any(len(digits) > MAX_DIGITS for digits in re.findall(r"\d+", text))
        and not _has_power_of_logarithm(text)
        and not _has_large_binomial(text)
    )


def _has_large_binomial(text: str) -> bool:
    """Return whether a text holds a binomial that can be large; they are computed while read."""
    if not re.search(r"\d{5}|\^|!", text):
        return False
    return text.count(r"\binom") > len(_SMALL_BINOMIAL.findall(text))


def _has_power_of_logarithm(text: str) -> bool:
    r"""Return whether a text holds `e^{\log_2 x}`, which sympy takes for x in any base."""
    return any(
        re.search(r"\\log\s?_", text[power.end() : closing(text, power.end() - 1)])
        for power in re.finditer(r"(?<![A-Za-z\\])e\s?[)}\]]*\s?\^\s?\{", text)
    )


def _is_undefined(text: str) -> bool:
    r"""Return whether a text computes with infinity, or is `0^0`; it would be read as a number."""
    if _ZERO_TO_ZERO.search(text):
        return True
    if r"\infty" not in text or _INFINITY.fullmatch(text):
        return False
    text = _LIMITS.sub(r"\1", text)
    if re.search(r"\\(?:cup|cap|setminus)(?![A-Za-z])", text):
        text = _END.sub("", text)
    return r"\infty" in text


def is_balanced(text: str) -> bool:
    """Return whether braces are opened and closed, and brackets not nested too deeply."""
    depth = deepest = braces = 0
    for token in re.findall(r"\\.|[(){}\[\]]", text):
        braces += (token == "{") - (token == "}")
        depth += (token[-1] in "({[") - (token[-1] in ")}]")
        deepest = max(deepest, depth)
        if braces < 0:
            return False
    return deepest <= MAX_DEPTH and braces == 0


def _checked(expression: Any, *, one_sided: bool) -> Any:
    """Bound an expression's size, and give its symbols one meaning: `i` and `e` are constants."""
    import sympy

    if not isinstance(expression, sympy.Basic | sympy.MatrixBase):
        raise Unreadable
    if isinstance(expression, sympy.MatMul):  # a number times a matrix, not a product left undone
        scalar, *matrices = expression.args
        if scalar.is_Matrix or len(matrices) != 1:
            raise Unreadable
        expression = scalar * matrices[0]
    entries = list(expression) if isinstance(expression, sympy.MatrixBase) else [expression]
    if sum(sum(1 for _ in sympy.preorder_traversal(e)) for e in entries) > MAX_NODES:
        raise Unreadable
    for entry in entries:
        magnitude(entry)
    constants = {"i": sympy.I, "e": sympy.E}
    symbols = {
        s: constants.get(s.name) or sympy.Symbol(s.name, real=True)
        for s in expression.atoms(sympy.Symbol)
        if s.name not in ("+", "-")  # the side of a limit
    }
    expression = expression.xreplace({old: new for old, new in symbols.items() if old != new})
    # Else sympy takes e^{2\log_3 x}, when it is computed, for x^2.
    expression = expression.replace(lambda e: e.func == sympy.log, lambda e: sympy.log(*e.args))
    if not one_sided:  # sympy takes limits from above
        expression = expression.replace(
            lambda e: e.func == sympy.Limit and e.args[2].is_finite and str(e.args[3]) == "+",
            lambda e: sympy.Limit(*e.args[:3], "+-"),
        )
    if expression.has(sympy.nan, sympy.zoo):
        raise Undefined
    return expression.replace(_is_odd_root, lambda root: -((-root.base) ** root.exp))


def _is_odd_root(expression: Any) -> bool:
    """Return whether an expression is an odd root of a negative number; in answers it is real."""
    if not expression.is_Pow or not expression.exp.is_Rational or not expression.base.is_number:
        return False
    return bool(expression.exp.p == 1 and expression.exp.q % 2 and expression.base.is_negative)


def magnitude(expression: Any) -> float:
    """Return how many decimal digits an expression can have, variables counted as 1; refuse towers.

    An upper bound of |log10| of the expression and of all its parts.

    Raises:
        Unreadable: a power, factorial or product within it has too many digits to compute.
    """
    import sympy
    from sympy.functions.combinatorial.factorials import CombinatorialFunction

    if expression.is_Integer or expression.is_Rational:
        sizes = len(str(abs(expression.p))), len(str(expression.q))
        return float(max(sizes))
    sizes_of_args = [magnitude(arg) for arg in expression.args]
    size = sum(sizes_of_args) + 1.0
    if isinstance(expression, sympy.Pow | sympy.exp):
        base = 1.0 if isinstance(expression, sympy.exp) else sizes_of_args[0]
        exponent = _number(expression.exp)
        if exponent is None or expression.free_symbols & expression.exp.free_symbols:
            exponent = 1.0
        if expression.free_symbols and exponent > MAX_POWER:
            raise Unreadable
        size = max(size, base * exponent + 1)
    elif isinstance(expression, CombinatorialFunction) and expression.args:
        number = _number(expression.args[0])
        if number is not None and number > MAX_FACTORIAL:
            raise Unreadable
        size = max(size, 0.0 if number is None else 4 * number + 1)
    if size > MAX_MAGNITUDE:
        raise Unreadable
    return size


def _number(expression: Any) -> float | None:
    """Return |expression| if it is a number below 1e6, infinity if larger, None if not a number."""
    if expression.free_symbols:
        return None
    if magnitude(expression) > 6:
        return float("inf")
    value = expression.evalf(6)
    return float(abs(value)) if value.is_number and value.is_finite else float("inf")
