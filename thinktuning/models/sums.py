"""Solve sums step by step, as written by reasoning_gym's chain_sum and basic_arithmetic."""

import re
from typing import NamedTuple


class Step(NamedTuple):
    """One operation: `before` `sign` `term` = `after`."""

    before: int
    sign: str
    term: int
    after: int


def steps(expression: str) -> list[Step]:
    """Return the steps of a sum such as `4 - 1 - 7`, from the left; [] if it is not a plain sum."""
    if not re.fullmatch(r"\s*\d+(\s*[+-]\s*\d+)+\s*", expression):
        return []
    first, *rest = re.findall(r"\d+|[+-]", expression)
    done, before = [], int(first)
    for sign, digits in zip(rest[::2], rest[1::2], strict=True):
        term = int(digits)
        after = before + term if sign == "+" else before - term
        done.append(Step(before, sign, term, after))
        before = after
    return done
