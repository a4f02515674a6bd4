r"""Read the structure of a normalized answer: lists, pairs, intervals, chains, units, bases.

Nothing is computed here, so reading takes milliseconds; what may equal what is in `policy`.
"""

import functools
import re
from collections.abc import Sequence
from typing import NamedTuple

from thinktuning.grading.names import has_variable, is_name, is_variable, mentions
from thinktuning.grading.normalize import normalize
from thinktuning.grading.units import split_unit

MAX_ITEMS = 40


class Node(NamedTuple):
    """A part of an answer.

    Attributes:
        kind: list, set, tuple, union, chain, equation, inequality, base, ratio, words, value; text
            if it only equals itself, nothing if it says nothing (`3 = 3`).
        text: the part as it is written; of a chain the name that it gives a value.
        items: the parts.
        mark: brackets of a tuple, operators of relations, a base, a unit.
    """

    kind: str
    text: str = ""
    items: tuple["Node", ...] = ()
    mark: str = ""


_NO_ANSWER = re.compile(
    r"[\s.?_\-*]*|\\(?:ldots|square|Box|bigcirc|ast|cdot)"
    r"|(?:(?:your|the|final|my|insert|correct|put|here|a|an|numeric(?:al)?) )*"
    r"(?:answer|solution|result|number|expression|value|blank|placeholder|content|here)s?"
    r"(?: here)?|nan|null",
    re.IGNORECASE,
)
_WORDS = re.compile(
    r"(?:\\text\{[^{}]*\}\s*)+|[A-Za-z]{4,}(?:[ -][A-Za-z]+)*|[A-Za-z]+(?:[ -][A-Za-z]{2,})+"
)
_BASE = re.compile(
    r"\(?\s*(?:\\text\{)?\s*([0-9][0-9A-Za-z ]*|[A-Fa-f][0-9A-Fa-f]*[0-9][0-9A-Fa-f]*)"
    r"\}?\s*\)?\s*_\s*"
    r"(?:\{?\s*\(?\s*(?:\\text\{)?\s*(\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen)\s*\}?\s*\)?\s*\}?)"
)
_BASES = {"two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7",
          "eight": "8", "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16"}  # fmt: skip
_RATIO = re.compile(r"([^:]+(?::[^:]+?)+)\s*(?:\\text\{)?\s*([ap]\.?\s?m\.?)?\s*\}?", re.I)
_RELATION = re.compile(
    r"\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\ne(?![A-Za-z])|\\approx(?![A-Za-z])|\\in(?![A-Za-z])|(?<![\\!<>])=|<|>"
)
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}


def is_no_answer(text: str) -> bool:
    """Return whether a normalized text is empty or a placeholder."""
    bare = re.sub(r"\\text|[{}$]", "", text).strip()
    return _NO_ANSWER.fullmatch(bare) is not None or "\0" in text


def split(text: str, separators: re.Pattern[str]) -> list[str]:
    """Split where a separator stands outside of all brackets."""
    parts, start, depth, position = [], 0, 0, 0
    while position < len(text):
        c = text[position]
        if c == "\\" and text[position + 1 : position + 2] in ("{", "}"):
            depth += 1 if text[position + 1] == "{" else -1
            position += 2
            continue
        match = separators.match(text, position) if depth <= 0 else None
        if match:
            parts.append(text[start:position])
            position = start = match.end()
            continue
        depth += (c in "([{") - (c in ")]}")
        position += 1
    return [*parts, text[start:]]


_COMMA = re.compile(r",|;|(?<![A-Za-z\\])(?:,\s*)?(?:and|or)(?![A-Za-z])")
_CUP = re.compile(r"\\cup(?![A-Za-z])")
_FRENCH = re.compile(r"(\](?=[^\[\]]*[\[\]]$)|\[(?=[^\[\]]*\[$))([^\[\]]*)([\[\]])")
_COLON = re.compile(r":")


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Node:
    """Return the structure of a normalized answer."""
    text = normalize(text)
    if _WORDS.fullmatch(text) and not re.search(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])", text):
        return Node("words", " ".join(re.findall(r"[^\W_]+", text.replace(r"\text", " ").lower())),
                    mark="upright" if "\\text" in text else "")  # fmt: skip
    if french := _FRENCH.fullmatch(text):  # ]2, 4[
        text = f"{french[1].replace(']', '(')}{french[2]}{french[3].replace('[', ')')}"
    parts = [part for part in split(text, _COMMA) if part.strip()]
    if len(parts) > MAX_ITEMS:
        return Node("text", text)
    if len(parts) > 1:
        return _list(text, parts)
    if text.startswith(r"\{") and (enclosed := _bracketed(text)):
        return enclosed
    if re.search(r"\\(?:pm|mp)(?![A-Za-z])", text):
        plus = re.sub(r"\\pm(?![A-Za-z])", "+", re.sub(r"\\mp(?![A-Za-z])", "-", text))
        minus = re.sub(r"\\pm(?![A-Za-z])", "-", re.sub(r"\\mp(?![A-Za-z])", "+", text))
        return _flattened([read(plus), read(minus)])
    operators = [match for match in _operators(text)]
    if operators:
        return _relation(split(text, _RELATION), operators)
    intervals = split(text, _CUP)
    if len(intervals) > 1:
        items = tuple(map(read, intervals))
        kinds = {item.kind for item in items}
        return Node("union", text, items) if kinds <= {"tuple", "set"} else Node("value", text)
    return _bracketed(text) or _special(text) or _value(text)


def _operators(text: str) -> list[str]:
    parts = split(text, _RELATION)
    found, position = [], 0
    for part in parts[:-1]:
        position += len(part)
        match = _RELATION.match(text, position)
        assert match
        found.append(match[0])
        position = match.end()
    return found


def _list(text: str, parts: list[str]) -> Node:
    """Read a list; in `x = 1, 2` the name is that of all items."""
    items = [read(part) for part in parts]
    if items[0].kind == "chain" and all(i.kind not in ("chain", "inequality") for i in items[1:]):
        items[0] = items[0].items[-1] if len(items[0].items) == 1 else items[0]
    if all(item.mark.startswith("<") for item in items):
        if re.search(r"(?<![A-Za-z])and(?![A-Za-z])", text):
            return _intersection(text, items)
        return Node("union", text, tuple(items))
    return _flattened(items)


def _intersection(text: str, items: list[Node]) -> Node:
    """Read `x > 1 and x < 3` as `1 < x < 3`."""
    upper = [item for item in items if item.items[0].text == r"-\infty"]
    lower = [item for item in items if item.items[1].text == r"\infty"]
    if len(items) != 2 or len(upper) != 1 or len(lower) != 1 or upper[0].text != lower[0].text:
        return Node("text", text)
    ends = lower[0].items[0], upper[0].items[1]
    return Node("tuple", lower[0].text, ends, lower[0].mark[:2] + upper[0].mark[2])


def _flattened(items: Sequence[Node]) -> Node:
    flat: list[Node] = []
    for item in items:
        flat += item.items if item.kind == "list" else [item]
    return Node("list", items=tuple(flat))


def _bracketed(text: str) -> Node | None:
    r"""Read `(a, b)`, `[a, b)` and `\{a, b\}`, None for anything else."""
    if text.startswith(r"\{") and text.endswith(r"\}") and text.count(r"\{") == 1:
        inner = text[2:-2].strip()
        if not inner or r"\mid" in inner or "|" in inner or ":" in inner:
            return Node("set") if not inner else None
        return Node("set", items=_flattened([read(inner)]).items)
    if text == r"\emptyset":
        return Node("set")
    if text[:1] not in "([]" or text[-1:] not in ")][" or len(text) < 3:
        return None
    inside = split(text[1:-1], re.compile(r"[\])]"))
    if len(inside) > 1 and text[0] != "]":
        return None
    parts = split(text[1:-1], re.compile(r"[,;]"))
    if len(parts) < 2 or len(parts) > MAX_ITEMS:
        return None
    mark = text[0].replace("]", "(") + text[-1].replace("[", ")")
    return Node("tuple", text, tuple(map(read, parts)), mark)


def _special(text: str) -> Node | None:
    """Read a number with a base, a time or a ratio."""
    if match := _BASE.fullmatch(text):
        base = _BASES.get(match[2], match[2])
        digits = match[1].replace(" ", "").lower().lstrip("0") or "0"
        if 2 <= int(base) <= 36 and base != "10":
            return Node("base", digits, mark=base)
        return _value(digits) if digits.isdigit() else None
    if ":" in text and (match := _RATIO.fullmatch(text)):
        parts = split(match[1], _COLON)
        half = (match[2] or "").lower().replace(".", "").replace(" ", "")
        if len(parts) > 1 and all(map(str.strip, parts)):
            return Node("ratio", text, tuple(map(read, parts)), half)
    return None


def _value(text: str) -> Node:
    """Read one value; `items` holds it without its unit or percent sign."""
    if text.endswith(r"\%"):
        return Node("value", text, (Node("value", normalize(text[:-2])),), "%")
    number, unit = split_unit(text, plain_letters=True)
    if not unit:
        return Node("value", text)
    mark = "%" if unit == "percent" else unit
    return Node("value", text, (Node("value", normalize(number)),), mark)


def _relation(sides: list[str], operators: list[str]) -> Node:
    """Read equations and chains of values, and inequalities."""
    sides = [side.strip() for side in sides]
    if not sides[0] and operators[0] in ("=", r"\approx"):
        sides, operators = sides[1:], operators[1:]
    if not operators:
        return read(sides[0]) if sides else Node("nothing")
    text = "".join(f"{side}{op}" for side, op in zip(sides, [*operators, ""], strict=True))
    if not all(sides):
        return Node("text", text)
    if operators == [r"\in"]:
        return read(sides[1]) if is_name(sides[0]) else Node("text", text)
    if set(operators) <= {"=", r"\approx"}:
        return _chain(text, sides, operators)
    if set(operators) <= {">", r"\ge"}:
        sides, operators = sides[::-1], [_FLIPPED[op] for op in operators[::-1]]
    if set(operators) <= {"<", r"\le"}:
        return _inequality(sides, operators)
    if operators == [r"\ne"]:
        return Node("inequality", text, tuple(map(_value, sides)), r"\ne")
    return Node("text", text)


def _chain(text: str, sides: list[str], operators: list[str]) -> Node:
    """Read `x = 6/2 = 3`; `mark` is the number of values before the first approximation."""
    names = [side for side in sides if is_name(side)]
    values = [side for side in sides if not is_name(side)]
    about_itself = any(mentions(value, name) for value in values for name in names)
    if not values or about_itself or (not names and any(map(has_variable, values))):
        equation = len(sides) == 2 and operators == ["="]
        return Node("equation" if equation else "text", text, tuple(map(_value, sides)))
    if len(set(values)) < len(values) and not names:  # 3 = 3 says nothing
        return Node("nothing", text)
    exact = operators.index(r"\approx") + 1 if r"\approx" in operators else len(sides)
    before = sum(not is_name(side) for side in sides[:exact])
    name = "" if not names or r"\text" in names[0] or len(names[0]) > 30 else names[0]
    return Node("chain", re.sub(r"\s", "", name), tuple(map(read, values)), str(max(before, 1)))


def _inequality(sides: list[str], operators: list[str]) -> Node:
    """Read `a < x`, `x < b` and `a < x < b` as intervals; others stay inequalities."""
    ends = None
    if len(sides) == 3 and is_variable(sides[1]):
        ends = sides[0], sides[1], sides[2], operators[0], operators[1]
    elif len(sides) == 2 and is_variable(sides[0]) and not has_variable(sides[1]):
        ends = r"-\infty", sides[0], sides[1], "<", operators[0]
    elif len(sides) == 2 and is_variable(sides[1]) and not has_variable(sides[0]):
        ends = sides[0], sides[1], r"\infty", operators[0], "<"
    if ends is None:
        return Node("inequality", " ".join(sides), tuple(map(_value, sides)), " ".join(operators))
    low, name, high, left, right = ends
    brackets = ("(" if left == "<" else "[") + (")" if right == "<" else "]")
    return Node("tuple", name, (read(low), read(high)), f"<{brackets}")
