"""Products, worked out by partial products: `23 * 40 = 920; 23 * 5 = 115; 920 + 115 = 1035.`."""

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
    """Multiply by one factor after another, by each of its digits apart."""
    first, *rest = (int(term) for term in expression.split(" * "))
    total, equations = first, []
    for term in rest:
        sum_so_far = None
        for part in parts(term):
            product = note(total * part)
            equations.append(f"{total} * {part} = {product}")
            if sum_so_far is None:
                sum_so_far = product
                continue
            before, sum_so_far = sum_so_far, note(sum_so_far + product)
            equations.append(f"{before} + {product} = {sum_so_far}")
        assert sum_so_far is not None
        total = sum_so_far
    return Derivation("; ".join(equations) + ".", total)


def _of(terms: int, digits: int) -> dict[str, int]:
    return {"min_terms": terms, "max_terms": terms, "min_digits": digits, "max_digits": digits}


FAMILY = Family(
    generator="products",
    start=_of(terms=2, digits=1),
    bands={"easy": _of(2, 2), "hard": _of(2, 3), "longer": _of(3, 2)},
    expression=expression,
    derive=derive,
    slips=(-200, -100, -30, -20, -10, -10, -2, -1, 1, 2, 10, 10, 20, 30, 100, 200),
)
