r"""Numbers in plain notation, as fractions: `-0.50`, `3/4`, `2\frac{1}{2}`, `1.5\times10^{3}`."""

import functools
import re
from fractions import Fraction
from typing import Any

TOLERANCE = Fraction(1, 10**6)  # relative
MAX_DIGITS = 1000  # of a literal number
MAX_EXPONENT = 1000  # of 10 in scientific notation

_UNSIGNED = r"(?:\d+(?:\.\d*)?|\.\d+)"
_SIGN = r"(?P<sign>(?:[+-]\s*)?)"
PLAIN = re.compile(rf"{_SIGN}(?P<number>{_UNSIGNED})")
_POWER_OF_TEN = re.compile(
    rf"{_SIGN}(?:(?P<number>{_UNSIGNED})\s*(?:\\times|\\cdot)\s*)?10\s*\^\s*"
    r"(?:\{\s*(?P<braced>[+-]?\s*\d{1,6})\s*\}|(?P<digit>[+-]?\d))"
)
_FRACTION = re.compile(
    rf"{_SIGN}(?:(?P<whole>\d+)\s*)?\\frac\s*"
    rf"(?:\{{\s*(?P<up>-?\s*{_UNSIGNED})\s*\}}|(?P<up1>\d))\s*"
    rf"(?:\{{\s*(?P<low>-?\s*{_UNSIGNED})\s*\}}|(?P<low1>\d))"
)
_SLASH = re.compile(rf"{_SIGN}(?:(?P<whole>\d+)\s+)?(?P<up>{_UNSIGNED})\s*/\s*(?P<low>{_UNSIGNED})")
DECIMAL = re.compile(r"\d*\.\d+")


@functools.lru_cache(maxsize=4096)
def rational(text: str) -> Fraction | None:
    """Return the value of a number in plain notation, None for any other text."""
    text = text.strip()
    if not text or len(text) > 2 * MAX_DIGITS or text[0] not in "+-.0123456789\\":
        return None
    if match := PLAIN.fullmatch(text):
        value = Fraction(match["number"])
    elif match := _POWER_OF_TEN.fullmatch(text):
        exponent = int((match["braced"] or match["digit"]).replace(" ", ""))
        if abs(exponent) > MAX_EXPONENT:
            return None
        value = Fraction(match["number"] or 1) * Fraction(10) ** exponent
    elif match := _FRACTION.fullmatch(text) or _SLASH.fullmatch(text):
        parts = match.groupdict()
        up, low = (
            Fraction((parts[name] or parts[f"{name}1"]).replace(" ", "")) for name in ("up", "low")
        )
        if not low or (match["whole"] and (up < 0 or low < 0)):
            return None
        value = Fraction(match["whole"] or 0) + up / low
    else:
        return None
    return -value if "-" in match["sign"] else value


def is_decimal(text: str) -> bool:
    """Return whether a value is written with a decimal point."""
    return DECIMAL.search(text) is not None


def as_decimal(value: Fraction) -> str:
    """Return a number of finitely many decimals in full, without superfluous zeros."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs((value * 10**places).numerator)).rjust(places + 1, "0")
    whole, fraction = digits[: len(digits) - places], digits[len(digits) - places :]
    return ("-" if value < 0 else "") + whole + (f".{fraction}" if fraction else "")


def near(first: Any, second: Any) -> bool:
    """Return whether two numbers are equal within `TOLERANCE`, relative to the larger one."""
    return bool(abs(first - second) <= TOLERANCE * max(abs(first), abs(second)))


def has_finite_decimals(value: Fraction) -> bool:
    """Return whether a fraction has a finite decimal form: only 2 and 5 divide its denominator."""
    denominator = value.denominator
    for factor in (2, 5):
        while denominator % factor == 0:
            denominator //= factor
    return denominator == 1
