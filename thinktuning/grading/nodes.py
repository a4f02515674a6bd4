"""The parts of an answer, as `structure` reads them, and other ways to see them."""

from typing import NamedTuple

from thinktuning.grading.expressions import is_decimal


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
    """Return the pair `(2, 3)` for the list `x = 2, y = 3`, anything else as it is."""
    names = [
        item.text if item.kind == "chain" and len(item.items) == 1 else "" for item in values.items
    ]
    if values.mark == "or" or not all(names) or len(set(names)) < len(names):
        return values
    in_order = sorted(  # Greek letters last
        zip(names, values.items, strict=True), key=lambda pair: (pair[0].startswith("\\"), pair[0])
    )
    return Node("tuple", items=tuple(item.items[0] for _, item in in_order), mark="()")


def as_equation(node: Node) -> Node | None:
    """Return `y = 2x` as an equation, None for what is none."""
    if node.kind == "equation":
        return node
    if node.kind != "chain" or not node.text or len(node.items) != 1:
        return None
    return Node("equation", items=(Node("value", node.text), Node("value", node.items[0].text)))


def chain_values(node: Node, other: Node) -> list[Node]:
    r"""Return what a chain can stand for: its exact value, or the decimal that it ends in.

    In `\frac{1}{3} \approx 0.333`, 0.333 counts for a gold answer that is a decimal.
    """
    if node.kind != "chain":
        return [node]
    last, exact = node.items[-1], node.items[: int(node.mark)]
    decimal = is_decimal(last.text) and not is_decimal(exact[0].text)
    return [exact[-1], last] if decimal and is_decimal(other.text) else [exact[-1]]
