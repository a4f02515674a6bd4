"""Products, digit by digit: `20 * 40 = 800; 3 * 40 = 120; 800 + 120 = 920; ...` for `23 * 45`."""

import itertools
from collections.abc import Mapping
from typing import Any

from thinktuning.models.families import Derivation, Family, Note


def expression(metadata: Mapping[str, Any]) -> str:
    """Return the product, e.g. `23 * 45`."""
    return str(metadata["expression"])


def parts(term: int) -> list[int]:
    """Return what a term's digits stand for, without zeros: [400, 5] for 405, and [0] for 0."""
    digits, sign = str(abs(term)), -1 if term < 0 else 1
    places = [sign * int(digit) * 10**i for i, digit in enumerate(reversed(digits))][::-1]
    return [part for part in places if part] or [0]


def derive(expression: str, note: Note) -> Derivation:
    """Multiply by one factor after another, digit by digit, and add up what comes out."""
    first, *rest = (int(term) for term in expression.split(" * "))
    total, equations = first, []
    for term in rest:
        found: int | None = None
        for part, piece in itertools.product(parts(term), parts(total)):
            product = note(piece * part)
            equations.append(f"{piece} * {part} = {product}")
            if found is None:
                found = product
                continue
            before, found = found, note(found + product)
            equations.append(f"{before} + {product} = {found}")
        assert found is not None
        total = found
    return Derivation("; ".join(equations) + ".", total)


def _of(terms: int, digits: int) -> dict[str, int]:
    return {"min_terms": terms, "max_terms": terms, "min_digits": digits, "max_digits": digits}


FAMILY = Family(
    generator="products",
    start=_of(terms=2, digits=1),
    bands={"easy": _of(3, 1), "hard": _of(2, 2), "longer": _of(4, 1)},
    expression=expression,
    derive=derive,
    slips=(-200, -100, -30, -20, -10, -10, -2, -1, 1, 2, 10, 10, 20, 30, 100, 200),
)
