r"""What may equal what: the structure of two normalized answers, compared part by part.

The choices, each with its tests in `tests/grading/corpus.jsonl` (docs/evaluation.md, "The grader"):

1. A list (`2, 4`, `2 and 4`) and a set have no order; a pair, point or interval has. A pair is
   never a list, and two answers are never one: `3 or 4`, `\pm 3` and `\{3, 4\}` are not 3.
2. An interval is its inequality, `(2, 4)` is `2 < x < 4`, in both directions.
3. `x = 3` is 3, and a chain counts if all its values are equal: `x = 6/2 = 3`, not `4 = 3`.
   Equations equal equations in the same variables with the same solutions, of which there are some.
4. `52_8` equals only 52 in base 8, neither 52 nor 42.
5. A unit may be missing on either side, but `5` cm is not `5` m. 50% is 50, and it is 0.5; 180
   degrees are 180, and they are \pi.
6. Values are compared by `scalars.equal`; words by their letters; what nothing reads, by its text.
7. Two values have the same symbols: `x^0` is not 1, `not 0` not 0, `\pi R^2` not `\pi r^2`.
8. Arithmetic left undone is no answer where the gold answer is a plain number (`left_undone`).
"""

import re
from dataclasses import dataclass, replace

from thinktuning.grading import scalars, solutions
from thinktuning.grading.expressions import (
    SYMPY_ERRORS,
    Unreadable,
    is_balanced,
    rational,
)
from thinktuning.grading.names import has_variable, is_expression, is_no_answer
from thinktuning.grading.nodes import Node, as_equation, chain_values, clock, is_solved, point
from thinktuning.grading.normalize import normalize
from thinktuning.grading.numerals import without_separators
from thinktuning.grading.scalars import Undecided, left_undone
from thinktuning.grading.structure import read
from thinktuning.grading.units import ends_in_variable

MAX_LENGTH = 2_000  # characters of an answer that is more than a plain number
MAX_CHAIN = 100  # characters of a gold answer's chain that is checked without a time limit

_ENDLESS = re.compile(r"\\(?:sum|prod|o?int|lim)")  # so is what may take as long as it likes
_NUMBER = re.compile(r"[\d.]+")
_CHOICE = re.compile(
    r"(?:\(?\s*(?:\\text\{\s*)?[A-J]\s*\}?\s*(?:\)|\.(?=\s)|:)\s*\}?|\([a-j]\)(?=\s))\s*"
    r"(?=[-+\d\\(.])(?!\\text)"
)
_AROUND_WORDS = re.compile(r"\\text|[\s{}()\[\].,:;\"'*_]")  # not a sign or another command
_CAPITALS = re.compile(r"[A-Z](?: ?[A-Z]){1,2}")
# Units that are also a factor.
_FACTORS = {"%": r"\frac{%s}{100}", "degree": r"\frac{(%s)\pi}{180}"}


def equal(gold: str, answer: str, *, literally: bool = False, number: bool = False) -> bool:
    """Return whether an answer equals a gold answer; both are as they were written.

    Args:
        gold: the gold answer.
        answer: the answer.
        literally: decide only what needs no sympy, in milliseconds.
        number: the answer has to be a number, with nothing left to add or multiply.

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
    readings = [(without_separators(gold), without_separators(answer))]
    # 100,200 is also a list of two numbers, beside one of the same numbers in the same order.
    if readings != [(gold, answer)] and _NUMBER.findall(gold) == _NUMBER.findall(answer):
        readings.append((gold, answer))
    comparison = Comparison(literally, number)
    return any(_same_reading(*reading, comparison) for reading in readings)


def flaw(gold: str) -> str | None:
    """Return why no answer can be compared with a normalized gold answer, None if it can."""
    if is_no_answer(gold):
        return "empty or a placeholder"
    try:
        return _flaw(read(without_separators(gold)))
    except SYMPY_ERRORS:
        return "not LaTeX with a value"


def _flaw(node: Node) -> str | None:
    match node.kind:
        case "words" | "base":
            return None
        case "nothing":
            return "no solutions, or a tautology"
        case "text":
            return None if is_balanced(node.text) else "not LaTeX with a value"
        case "value":
            readable = scalars.means_something(_bare(node))
            return None if readable else "not LaTeX with a value"
        case "equation" | "inequality" if len(node.items) == 2:
            sides = node.items[0].text, node.items[1].text
            meaning = solutions.relation_has_meaning(*sides, node.mark)
            return None if meaning else "no solutions, or a tautology"
    found = next(filter(None, map(_flaw, node.items)), None)
    text = "".join(item.text for item in node.items)
    short = len(text) < MAX_CHAIN and not _ENDLESS.search(text)
    if found is None and short and not Comparison().consistent(node):
        return "a chain of different values"
    return found


def _same_reading(gold: str, answer: str, comparison: "Comparison") -> bool:
    first = read(gold)
    if first.kind != "words" and answer != gold and (label := _CHOICE.match(answer)):
        answer = answer[label.end() :]
    return comparison.same(first, read(answer))


def _bare(node: Node) -> str:
    return (node.items[0] if node.items else node).text


@dataclass(frozen=True)
class Comparison:
    """How to compare: `literally` and `number` are those of `equal`; see the numbered choices."""

    literally: bool = False
    number: bool = False
    undone: bool = False  # whether arithmetic may be left undone

    def same(self, gold: Node, answer: Node) -> bool:
        """Return whether two parts are the same."""
        kinds = {gold.kind, answer.kind}
        if "chain" in kinds:
            return self._chains(gold, answer)
        if kinds <= {"list", "set"}:
            return self._unordered(gold, answer)
        if "set" in kinds and kinds != {"set", "union"}:  # {3} is 3
            sets = [node for node in (gold, answer) if node.kind == "set"]
            if len(sets[0].items) == 1:
                only = sets[0].items[0]
                return self.same(only, answer) if gold.kind == "set" else self.same(gold, only)
        if len(kinds) > 1:
            return self._different_kinds(gold, answer)
        match gold.kind:
            case "value":
                return self._values(gold, answer)
            case "words":
                return gold.text == answer.text
            case "text":
                return scalars.squeezed(gold.text) == scalars.squeezed(answer.text)
            case "nothing":
                return False
            case "base":
                return (gold.text, gold.mark) == (answer.text, answer.mark)
            case "union":
                return self._cover(gold, answer)
            case "ratio":
                halves = {gold.mark, answer.mark} - {""}
                if "clock" in (gold.text, answer.text) and clock(gold) != clock(answer):
                    return False
                return len(halves) < 2 and self._in_order(gold, answer)
            case "tuple":
                names = [n.text for n in (gold, answer) if n.mark.startswith("<")]
                brackets = gold.mark.lstrip("<") == answer.mark.lstrip("<")
                return brackets and len(set(names) - {""}) < 2 and self._in_order(gold, answer)
            case _:
                return self._relations(gold, answer)

    def consistent(self, node: Node) -> bool:
        """Return whether all values of a chain are equal, those after an approximation rounded."""
        if node.kind != "chain":
            return all(self.consistent(item) for item in node.items)
        within = replace(self, undone=True)
        exact, rounded = node.items[: int(node.mark)], node.items[int(node.mark) :]
        return all(within.same(exact[0], item) for item in exact[1:]) and all(
            item.kind == exact[0].kind == "value"
            and scalars.rounds_to(_bare(exact[0]), _bare(item), literally=self.literally)
            for item in rounded
        )

    def _in_order(self, gold: Node, answer: Node) -> bool:
        return len(gold.items) == len(answer.items) and all(
            self.same(a, b) for a, b in zip(gold.items, answer.items, strict=True)
        )

    def _cover(self, gold: Node, answer: Node) -> bool:
        """Return whether each part of one answer is a part of the other."""
        return all(any(self.same(a, b) for b in answer.items) for a in gold.items) and all(
            any(self.same(a, b) for a in gold.items) for b in answer.items
        )

    def _unordered(self, gold: Node, answer: Node) -> bool:
        """Compare lists and sets; values without names have the order of the gold answer's."""
        if answer.mark == r"\pm" and not self.undone:  # 3 \pm 1
            return replace(self, undone=True)._unordered(gold, answer)
        names = {item.text.partition("_")[0] for item in gold.items if item.kind == "chain"}
        if len(names) > 1 and not any(item.kind == "chain" for item in answer.items):
            return self._in_order(gold, answer)
        if "set" in (gold.kind, answer.kind):
            return self._cover(gold, answer)
        left = list(answer.items)
        if len(left) != len(gold.items):
            return False
        for item in gold.items:
            match = next((other for other in left if self.same(item, other)), None)
            if match is None:
                return False
            left.remove(match)
        return True

    def _different_kinds(self, gold: Node, answer: Node) -> bool:
        r"""Compare words with a letter, `(2, 3)` with `x = 2, y = 3`, and sets of numbers."""
        kinds = {gold.kind, answer.kind}
        if kinds == {"words", "value"}:
            first, second = (
                _AROUND_WORDS.sub("", node.mark if node.kind == "words" else node.text)
                for node in (gold, answer)
            )
            if gold.kind == "words":  # the letter of a choice, not a variable
                first, second = first.lower(), second.lower()
            return first == second and first != ""
        if kinds == {"tuple", "list"}:
            pairs = [point(node) if node.kind == "list" else node for node in (gold, answer)]
            interval = gold.mark.startswith("<") or answer.mark.startswith("<")
            return pairs[0].kind == pairs[1].kind and not interval and self.same(*pairs)
        if kinds <= {"union", "tuple", "set", "inequality", "value"}:
            return solutions.sets_equal(gold, answer, literally=self.literally)
        return False

    def _chains(self, gold: Node, answer: Node) -> bool:
        """Compare where at least one side is a chain; its values must all be equal.

        With names that differ both are equations; so is a gold answer such as `x + y = 4`. The
        equation of a question (`2x + 3 = 13`) is not `x = 5`.
        """
        renamed = gold.kind == answer.kind and gold.text and answer.text
        equated = gold.kind == "chain" and is_expression(gold.text)
        if "equation" in (gold.kind, answer.kind) or (
            gold.text != answer.text and (renamed or equated)
        ):
            first, second = as_equation(gold), as_equation(answer)
            if first is None or second is None or (renamed and "(" in gold.text + answer.text):
                return False
            if is_solved(gold) and not is_solved(answer):
                return False
            return self._relations(first, second)
        values = chain_values(answer, gold, answer=True)
        found = any(self.same(a, b) for a in chain_values(gold, answer) for b in values)
        return found and self.consistent(gold) and self.consistent(answer)

    def _relations(self, gold: Node, answer: Node) -> bool:
        """Compare equations or inequalities."""
        if gold.mark != answer.mark or len(gold.items) != len(answer.items):
            return False
        if self.literally:
            raise Undecided
        if len(gold.items) != 2:
            return self._in_order(gold, answer)
        sides = [item.text for item in (*gold.items, *answer.items)]
        return solutions.relations_equal(sides[:2], sides[2:], gold.mark)

    def _values(self, gold: Node, answer: Node) -> bool:
        """Compare two values with or without units."""
        spelled_out = r"\text" in answer.text and answer.mark == gold.mark
        if ends_in_variable(gold.text) and not spelled_out:
            gold = Node("value", gold.text)
        if has_variable(_bare(gold)) and not gold.items and r"\text" not in answer.text:
            answer = Node("value", answer.text)
        any_form = self.undone or rational(_bare(gold)) is None
        if not any_form and left_undone(_bare(answer), number=self.number):
            return False
        units = {gold.mark, answer.mark} - {""}
        if len(units) > 1:
            return False
        first, second = _bare(gold), _bare(answer)
        if self._scalars(first, second):
            return True
        factor = _FACTORS.get(next(iter(units), "")) if gold.mark != answer.mark else None
        if factor is None:
            return False
        scaled = [factor % n if node.mark else n for n, node in ((first, gold), (second, answer))]
        return self._scalars(scaled[0], scaled[1])

    def _scalars(self, gold: str, answer: str) -> bool:
        r"""Compare two texts: the same text is the same value; what holds words is only itself.

        So are two or three capitals, an order or a segment: CBA is not ABC.
        """
        if scalars.squeezed(gold) == scalars.squeezed(answer):
            return True
        if all(map(_CAPITALS.fullmatch, (gold, answer))):
            return gold.replace(" ", "") == answer.replace(" ", "")
        if any(sign in gold + answer for sign in (r"\text{", r"\ldots")):
            return False
        return scalars.equal(gold, answer, literally=self.literally)
