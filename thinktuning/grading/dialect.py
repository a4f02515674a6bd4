r"""Write a normalized value in the LaTeX that math-verify reads as it is meant.

Which texts it reads at all, `expressions` decides.
"""

import re
from fractions import Fraction

from thinktuning.grading.normalize import closing

_MIXED = re.compile(r"(?<![\d.^_}])(\d{1,9})\s*\\frac\{(\d{1,9})\}\{(\d{1,9})\}")
_FUNCTION = r"\\(?:sin|cos|tan|cot|sec|csc|ln|log(?:_\{\w+\})?)"
# What follows `\cdot` or a slash it reads as part of the argument: `\ln 2 \cdot 3`, `\ln 3/\ln 2`.
# After the slash of `\sin \pi/3` it is.
_TOKEN = r"\d*(?:[a-zA-Z]|\\(?:pi|theta|alpha|beta|phi)(?![A-Za-z]))(?:\s?\^\s?(?:\{\d+\}|\d))?"
_POWER = r"(?:\s?\^\s?(?:\{\s?-?\d+\s?\}|\d))?\s?"
_ARGUMENT = (
    rf"(?:{_TOKEN}|\d++|\|[^|]*\||\\sqrt\s?(?:\[\w\]\s?)?\{{[^{{}}]*\}}"
    r"|\\frac\s?\{[^{}]*\}\s?\{[^{}]*\})"
)
_BRACED = re.compile(rf"{_FUNCTION}{_POWER}\{{")
_FACTOR = re.compile(
    rf"({_FUNCTION}{_POWER})({_ARGUMENT})"
    rf"(?=\s?(?:\\cdot|\\times)(?![A-Za-z])|\s?/\s?{_FUNCTION})"
)
_LOGARITHM = re.compile(rf"(\\(?:ln|log(?:_\{{\w+\}})?)\s?)({_ARGUMENT})(?=\s?/)")
# `2/3x` is two thirds of x.
_SLASH = re.compile(
    r"(?<![\w.^/}{)])(?<![\w^/}{)] )(\d{1,9})\s?/\s?(\d{1,9})"
    r"(?=\s?(?:[A-Za-z(]|\\(?:sqrt|pi)(?![A-Za-z])))"
)
_TIMES = re.compile(r"((?<![\d._^])[\d.]++|\\pi)\s*(?=[(\[]|\\binom)|([)!])\s*(?=[(\[\d])")
DECIMAL = re.compile(r"\d*\.\d+")


def for_math_verify(text: str) -> str:
    """Return a readable value in the notation that math-verify reads."""
    text = re.sub(r"([A-Za-z])('+)", lambda m: f"{m[1]}_{{{'q' * len(m[2])}}}", text)
    text = re.sub(r"([\d.]+)\s*\^\s*\\circ", r"(\\frac{\1\\pi}{180})", text)
    text = re.sub(r"\^\s*\\circ", r"\\cdot\\frac{\\pi}{180} ", text)
    text = _LOGARITHM.sub(r"\1(\2)", _FACTOR.sub(r"\1(\2)", _in_brackets(text)))
    text = _SLASH.sub(r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s+", r"\\sqrt", text)
    text = re.sub(r"\^\s?(e(?![A-Za-z])|[+-](?=\s?\}))", r"^{\1}", text)  # x^e, x \to 0^+
    index = re.search(r"\\(?:sum|prod)\s*_\s*\{\s*i\s*=", text)  # i is one, not \sqrt{-1}
    if index and "j" not in text:
        text = re.sub(r"(?<![A-Za-z\\])i(?![A-Za-z])", "j", text)
    # It reads `2(3)` as a mixed number, 5, and `2\frac{1}{2}x` as no mixed number.
    text = _MIXED.sub(_improper, text)
    text = _TIMES.sub(r"\1\2\\cdot ", text)
    return DECIMAL.sub(_as_fraction, text)


def _in_brackets(text: str) -> str:
    r"""Write the argument of `\ln{x}` in brackets."""
    start = 0
    while match := _BRACED.search(text, start):
        start = match.end()
        if (end := closing(text, start - 1)) > 0:
            text = f"{text[: start - 1]}({text[start:end]}){text[end + 1 :]}"
    return text


def _improper(match: re.Match[str]) -> str:
    whole, up, low = map(int, match.groups())
    if up < low:
        return rf"\frac{{{whole * low + up}}}{{{low}}}"
    return rf"{whole}\cdot\frac{{{up}}}{{{low}}}"


def _as_fraction(match: re.Match[str]) -> str:
    value = Fraction(match[0])
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
