r"""What may equal what: the structure of two normalized answers, compared part by part.

The choices, each with its tests in `tests/grading/corpus.jsonl` (docs/evaluation.md, "The grader"):

1. A list (`2, 4`, `2 and 4`) and a set have no order; a pair, point or interval has. A pair is
   never a list, and two answers are never one: `3 or 4`, `\pm 3` and `\{3, 4\}` are not 3.
2. An interval is its inequality, `(2, 4)` is `2 < x < 4`, in both directions.
3. `x = 3` is 3, and a chain counts if all its values are equal: `x = 6/2 = 3`, not `4 = 3`.
   Equations equal equations in the same variables with the same solutions, of which there are some.
4. `52_8` equals only 52 in base 8, neither 52 nor 42.
5. A unit may be missing on either side, but `5` cm is not `5` m. 50% is 50, and it is 0.5.
6. Values are compared by `scalars.equal`; words by their letters.
"""

import re

from thinktuning.grading import scalars
from thinktuning.grading.expressions import Unreadable
from thinktuning.grading.names import has_variable
from thinktuning.grading.normalize import normalize
from thinktuning.grading.rationals import is_decimal
from thinktuning.grading.scalars import Undecided
from thinktuning.grading.structure import Node, is_no_answer, read

MAX_LENGTH = 2_000  # characters of an answer that is more than a plain number
MAX_CHAIN = 100  # characters of a gold answer's chain that is checked without a time limit

_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:,\d{3})+|(?: \d{3})+)(?![\d]|,\d)")
_CHOICE = re.compile(
    r"\(?\s*(?:\\text\{\s*)?[A-J]\s*\}?\s*(?:\)|\.(?=\s)|:)\s*\}?\s*(?=[-+\d\\(.])(?!\\text)"
)


def equal(gold: str, answer: str, *, literally: bool = False) -> bool:
    """Return whether an answer equals a gold answer; both are as they were written.

    Args:
        gold: the gold answer.
        answer: the answer.
        literally: decide only what needs no sympy, in milliseconds.

    Raises:
        Undecided: `literally`, and sympy is needed.
        Unreadable: the gold answer means nothing.
    """
    if len(answer) > MAX_LENGTH or len(gold) > MAX_LENGTH:
        return False
    gold, answer = normalize(gold), normalize(answer)
    if is_no_answer(gold):
        raise Unreadable(gold)
    if is_no_answer(answer):
        return False
    readings = [(_joined(gold), _joined(answer))]
    if readings != [(gold, answer)]:  # 100,200 could also be a list of two numbers
        readings.append((gold, answer))
    return any(_same_reading(*reading, literally) for reading in readings)


def flaw(gold: str) -> str | None:
    """Return why no answer can be compared with a normalized gold answer, None if it can."""
    if is_no_answer(gold):
        return "empty or a placeholder"
    return _flaw(read(_joined(gold)))


def _flaw(node: Node) -> str | None:
    match node.kind:
        case "words" | "base":
            return None
        case "nothing":
            return "no solutions, or a tautology"
        case "text":
            readable = scalars.means_something(rf"\text{{}}{node.text}")
            return None if readable else "not LaTeX with a value"
        case "value":
            readable = scalars.means_something(_bare(node))
            return None if readable else "not LaTeX with a value"
        case "equation" | "inequality" if len(node.items) == 2:
            sides = node.items[0].text, node.items[1].text
            meaning = scalars.relation_has_meaning(*sides, node.mark)
            return None if meaning else "no solutions, or a tautology"
    found = next(filter(None, map(_flaw, node.items)), None)
    short = len("".join(item.text for item in node.items)) < MAX_CHAIN
    if found is None and short and not consistent(node, literally=False):
        return "a chain of different values"
    return found


def _same_reading(gold: str, answer: str, literally: bool) -> bool:
    first = read(gold)
    if first.kind != "words" and (label := _CHOICE.match(answer)):
        answer = answer[label.end() :]
    return same(first, read(answer), literally)


def _joined(text: str) -> str:
    """Write 1,234 and 1 234 as 1234, outside of brackets."""
    if text[:1] in "([" or r"\{" in text:
        return text
    return _THOUSANDS.sub(lambda match: re.sub("[, ]", "", match[0]), text)


def same(gold: Node, answer: Node, literally: bool) -> bool:
    """Return whether two parts are the same; see the numbered choices above."""
    if "chain" in (gold.kind, answer.kind):
        return _chains(gold, answer, literally)
    kinds = {gold.kind, answer.kind}
    if kinds <= {"list", "set"}:
        return _unordered(gold, answer, literally)
    if "set" in kinds and (gold if gold.kind == "set" else answer).items[1:] == ():
        only = gold if gold.kind == "set" else answer
        other = answer if only is gold else gold
        if only.items and other.kind != "union":
            first, second = (only.items[0], other) if only is gold else (other, only.items[0])
            return same(first, second, literally)
    if len(kinds) > 1:
        return _different_kinds(gold, answer, literally)
    match gold.kind:
        case "value":
            return _values(gold, answer, literally)
        case "words":
            return gold.text == answer.text
        case "text":
            return scalars.squeezed(gold.text) == scalars.squeezed(answer.text)
        case "nothing":
            return False
        case "base":
            return (gold.text, gold.mark) == (answer.text, answer.mark)
        case "union":
            return _cover(gold, answer, literally)
        case "ratio":
            halves = {gold.mark, answer.mark} - {""}
            return len(halves) < 2 and _in_order(gold, answer, literally)
        case "tuple":
            names = [n.text for n in (gold, answer) if n.mark.startswith("<")]
            brackets = gold.mark.lstrip("<") == answer.mark.lstrip("<")
            return brackets and len(set(names)) < 2 and _in_order(gold, answer, literally)
        case _:
            return _relations(gold, answer, literally)


def _in_order(gold: Node, answer: Node, literally: bool) -> bool:
    return len(gold.items) == len(answer.items) and all(
        same(a, b, literally) for a, b in zip(gold.items, answer.items, strict=True)
    )


def _cover(gold: Node, answer: Node, literally: bool) -> bool:
    """Return whether each part of one answer is a part of the other."""
    return all(any(same(a, b, literally) for b in answer.items) for a in gold.items) and all(
        any(same(a, b, literally) for a in gold.items) for b in answer.items
    )


def _unordered(gold: Node, answer: Node, literally: bool) -> bool:
    """Compare lists and sets; values without names have the order of a gold answer's names."""
    if any(item.kind == "chain" and item.text for item in gold.items) and not any(
        item.kind == "chain" for item in answer.items
    ):
        return _in_order(gold, answer, literally)
    if "set" in (gold.kind, answer.kind):
        return _cover(gold, answer, literally)
    left = list(answer.items)
    if len(left) != len(gold.items):
        return False
    for item in gold.items:
        match = next((other for other in left if same(item, other, literally)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _different_kinds(gold: Node, answer: Node, literally: bool) -> bool:
    r"""Compare words with a letter, and sets in set notation (`\mathbb{R}`, `\setminus`)."""
    kinds = {gold.kind, answer.kind}
    if kinds == {"words", "value"}:
        first, second = (re.sub(r"\\text|[^A-Za-z0-9]", "", n.text).lower() for n in (gold, answer))
        return first == second and first != ""
    if not kinds <= {"union", "tuple", "value", "set"} or any(
        n.mark.startswith("<") or not n.text for n in (gold, answer)
    ):
        return False
    in_notation = re.search(r"\\(?:setminus|mathbb|cup|cap)", gold.text + answer.text)
    return bool(in_notation) and _scalars(gold.text, answer.text, literally)


def _chains(gold: Node, answer: Node, literally: bool) -> bool:
    """Compare where at least one side is a chain; its values must all be equal."""
    if "equation" in (gold.kind, answer.kind):
        first, second = _as_equation(gold), _as_equation(answer)
        return first is not None and second is not None and _relations(first, second, literally)
    if gold.kind == answer.kind and gold.text and answer.text and gold.text != answer.text:
        return False
    values = [_chain_values(gold, answer), _chain_values(answer, gold)]
    found = any(same(a, b, literally) for a in values[0] for b in values[1])
    return found and consistent(gold, literally) and consistent(answer, literally)


def _as_equation(node: Node) -> Node | None:
    if node.kind == "equation":
        return node
    if node.kind != "chain" or not node.text or len(node.items) != 1:
        return None
    return Node("equation", items=(Node("value", node.text), Node("value", node.items[0].text)))


def _chain_values(node: Node, other: Node) -> list[Node]:
    r"""Return what a chain can stand for: its exact value, or the decimal that it ends in.

    In `\frac{1}{3} \approx 0.333`, 0.333 counts for a gold answer that is a decimal.
    """
    if node.kind != "chain":
        return [node]
    last, exact = node.items[-1], node.items[: int(node.mark)]
    decimal = is_decimal(last.text) and not is_decimal(exact[0].text)
    return [exact[-1], last] if decimal and is_decimal(other.text) else [exact[-1]]


def consistent(node: Node, literally: bool) -> bool:
    """Return whether all values of a chain are equal, those after an approximation rounded."""
    if node.kind != "chain":
        return all(consistent(item, literally) for item in node.items)
    exact, rounded = node.items[: int(node.mark)], node.items[int(node.mark) :]
    return all(same(exact[0], item, literally) for item in exact[1:]) and all(
        item.kind == exact[0].kind == "value"
        and scalars.rounds_to(_bare(exact[0]), _bare(item), literally=literally)
        for item in rounded
    )


def _bare(node: Node) -> str:
    return (node.items[0] if node.items else node).text


def _relations(gold: Node, answer: Node, literally: bool) -> bool:
    """Compare equations or inequalities."""
    if gold.mark != answer.mark or len(gold.items) != len(answer.items):
        return False
    if literally:
        raise Undecided
    if len(gold.items) != 2:
        return _in_order(gold, answer, literally)
    sides = [item.text for item in (*gold.items, *answer.items)]
    return scalars.relations_equal(sides[:2], sides[2:], gold.mark)


def _values(gold: Node, answer: Node, literally: bool) -> bool:
    """Compare two values with or without units."""
    if re.search(r"(?<![A-Za-z/{])[A-Za-z]$", gold.text):  # a variable, not a unit in italics
        gold = Node("value", gold.text)
    if has_variable(_bare(gold)) and not gold.items:
        answer = Node("value", answer.text)
    marks = [gold.mark, answer.mark]
    if marks == ["", ""]:
        return _scalars(gold.text, answer.text, literally)
    first, second = _bare(gold), _bare(answer)
    if "%" in marks and marks[0] != marks[1]:
        if set(marks) - {"%", ""}:
            return False
        if _scalars(first, second, literally):
            return True
        hundredth = [
            rf"\frac{{{n}}}{{100}}" if m == "%" else n
            for n, m in zip((first, second), marks, strict=True)
        ]
        return _scalars(hundredth[0], hundredth[1], literally)
    if "" not in marks and marks[0] != marks[1]:
        return False
    return _scalars(first, second, literally)


def _scalars(gold: str, answer: str, literally: bool) -> bool:
    r"""Compare two texts: the same text is the same value, and what holds words is only itself."""
    if scalars.squeezed(gold) == scalars.squeezed(answer):
        return True
    if any(sign in gold + answer for sign in (r"\text{", r"\ldots")):
        return False
    return scalars.equal(gold, answer, literally=literally)
