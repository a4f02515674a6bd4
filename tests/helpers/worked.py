"""The steps of a worked derivation, read from its text alone."""

import re

EQUATION = re.compile(r"(?=(?<![\d-])(-?\d+) ([-+*]) (-?\d+) = (-?\d+))")


def equations(text: str) -> list[tuple[str, int, bool]]:
    """Return each equation's left side, its stated result, and whether Python agrees."""
    return [
        (f"{a} {sign} {b}", int(result), eval(f"{a} {sign} ({b})") == int(result))
        for a, sign, b, result in EQUATION.findall(text)
    ]


def last_result(text: str) -> int:
    """Return the result of the last equation."""
    return equations(text)[-1][1]


def num_wrong(text: str) -> int:
    """Return the number of equations that do not hold."""
    return sum(not holds for _, _, holds in equations(text))
