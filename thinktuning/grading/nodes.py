"""The parts of an answer, as `structure` reads them, and other ways to see them."""

from typing import NamedTuple

from thinktuning.grading.expressions import is_decimal
from thinktuning.grading.names import has_variable, is_expression


class Node(NamedTuple):
    r"""A part of an answer.

    Attributes:
        kind: list, set, tuple, union, chain, equation, inequality, base, ratio, words, value; text
            if it only equals itself, nothing if it says nothing (`3 = 3`).
        text: the part as it is written; of a chain or an interval the name that it gives a value.
        items: the parts.
        mark: brackets of a tuple, operators of relations, a base, a unit, `\pm` and `or` of a list,
            the comma of a union, words with their case.
    """

    kind: str
    text: str = ""
    items: tuple["Node", ...] = ()
    mark: str = ""


def clock(time: Node) -> list[str]:
    """Return hours, minutes and seconds as they are written, but for the zeros of the hours."""
    hours, *rest = (item.text for item in time.items)
    return [hours.lstrip("0"), *rest]


def point(values: Node) -> Node:
    """Return the pair `(2, 3)` for the list `x = 2, y = 3`, anything else as it is.

    Neither are values of one name with indices (`x_1 = 2, x_2 = 3`) a pair, nor of sums of names.
    """
    letters = {item.text.partition("_")[0] for item in values.items if is_named(item)}
    if values.mark == "or" or len(letters) < len(values.items):
        return values
    if any(r"\infty" in v.items[0].text or is_expression(v.text) for v in values.items):
        return values
    in_order = sorted(values.items, key=lambda v: (v.text.startswith("\\"), v.text))  # Greek last
    return Node("tuple", items=tuple(in_order), mark="()")


def is_named(node: Node) -> bool:
    """Return whether a part is a value with a name, as `x = 2`."""
    return node.kind == "chain" and len(node.items) == 1 and node.text != ""


def is_solved(node: Node) -> bool:
    """Return whether a part gives a variable a constant value, as `x = 5` does, not `y = 2x`."""
    constant = is_named(node) and not has_variable(node.items[0].text)
    return constant and not is_expression(node.text)


def as_equation(node: Node) -> Node | None:
    """Return `y = 2x` as an equation, None for what is none."""
    if node.kind == "equation":
        return node
    if not is_named(node):
        return None
    return Node("equation", items=(Node("value", node.text), Node("value", node.items[0].text)))


def chain_values(node: Node, other: Node, *, answer: bool = False) -> list[Node]:
    r"""Return what a chain can stand for: its exact value, or the decimal that it ends in.

    In `\frac{1}{3} \approx 0.333`, 0.333 counts for a gold answer that is a decimal. An answer may
    also begin with its value: `5 = 2 + 3`.
    """
    if node.kind != "chain":
        return [node]
    last, exact = node.items[-1], node.items[: int(node.mark)]
    decimal = is_decimal(last.text) and not is_decimal(exact[0].text)
    values = [exact[-1], last] if decimal and is_decimal(other.text) else [exact[-1]]
    return [exact[0], *values] if answer else values
