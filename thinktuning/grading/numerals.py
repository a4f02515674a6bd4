r"""Scientific notation, repeating decimals and separators of thousands in one plain LaTeX.

1.39e-10 -> 1.39\times10^{-10}       0.\overline3, 0.333\ldots -> \frac{1}{3}
"""

import re
from fractions import Fraction

_SCIENTIFIC = re.compile(
    r"(?<![A-Za-z\d._^])(\d++(?:\.\d*+)?|\.\d++)(?:\s?[eE]\s?|\s*\\text\{E\}\s*)"
    r"(?:\{\s*([+-]?\s*\d{1,6})\s*\}|([+-]?\d{1,6}))(?![\d.A-Za-z])"
)
_REPEATING = re.compile(
    r"(?<![\d.])(\d{0,30})\.(\d{0,30})"
    r"(?:\s*\\(?:overline|bar|dot)\s*(?:\{\s*(\d{1,30})\s*\}|(\d))|\((\d{1,30})\)(?!\s*[(^!\\A-Za-z]))"
    r"(?!\s*[\d.])"
)
_ENDLESS = re.compile(  # 0.333...
    r"(?<![\d.])(\d{0,30})\.(\d{0,30}?)(?:(\d)\3{2,30}|(\d{2,9}?)\4{1,15})\s*\\ldots"
)
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+|(?: \d{3})+)(?![\d]|,\d)")


def plain(text: str) -> str:
    """Return a text with these numbers in plain LaTeX."""
    text = _SCIENTIFIC.sub(_scientific, text)
    return _ENDLESS.sub(_repeating, _REPEATING.sub(_repeating, text))


def _scientific(match: re.Match[str]) -> str:
    exponent = (match[2] or match[3]).replace(" ", "").strip("+")
    return rf"{match[1]}\times10^{{{exponent}}}"


def _repeating(match: re.Match[str]) -> str:
    """Write a repeating decimal as the fraction that it is."""
    whole, once, *blocks = match.groups()
    again = next(filter(None, blocks))
    value = Fraction(
        int((whole or "0") + once + again) - int((whole or "0") + once),
        10 ** len(once) * (10 ** len(again) - 1),
    )
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def without_separators(text: str) -> str:
    """Write 1,234 and 1 234 as 1234, outside of brackets."""
    depth, end, joined = 0, 0, ""
    for match in _THOUSANDS.finditer(text):
        between = text[end : match.start()]
        depth += len(re.findall(r"\\\{|[(\[]", between)) - len(re.findall(r"\\\}|[)\]]", between))
        joined += between + (match[0] if depth else re.sub("[, ]", "", match[0]))
        end = match.end()
    return joined + text[end:]
