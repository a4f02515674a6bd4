r"""Read the structure of a normalized answer: lists, pairs, intervals, chains, units, bases.

Nothing is computed here, so reading takes milliseconds; what may equal what is in `policy`.
"""

import functools
import re
from collections.abc import Sequence

from thinktuning.grading.names import has_variable, is_name, is_variable, letters, usual_order
from thinktuning.grading.nodes import Node, is_named
from thinktuning.grading.normalize import normalize
from thinktuning.grading.units import split_unit, without_remark

MAX_ITEMS = 40

_WORDS = re.compile(
    r"(?:\\text\{[^{}]*\}\s*)+|[A-Za-z]{4,}(?:[ -][A-Za-z]+)*|[A-Za-z]+(?:[ -][A-Za-z]{2,})+"
)
_HEXADECIMAL = re.compile(r"(?=.*\d)[0-9A-Za-z]+")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_RATIO = re.compile(r"([^:]+(?::[^:]+?)+)\s*(?:\\text\{)?\s*([ap]\.?\s?m\.?)?\s*\}?", re.I)
_RELATION = re.compile(
    r"\\(?:le|ge|ne|approx|in|equiv(?=.*\\pmod))(?![A-Za-z])|(?<![\\!<>])=|<|>", re.DOTALL
)
_FLIPPED = {"<": ">", ">": "<", r"\le": r"\ge", r"\ge": r"\le", r"\ne": r"\ne"}
_COMMA = re.compile(r",|;|(?<![A-Za-z\\])(?:,\s*)?(?:and|or)(?![A-Za-z])")
_AND = re.compile(r"(?<![A-Za-z])and(?![A-Za-z])")
_OR = re.compile(r"(?<![A-Za-z])or(?![A-Za-z])")
_CUP = re.compile(r"\\cup(?![A-Za-z])|(?<=[)\]} ])U(?=\s*(?:[(\[]|\\\{))")
_FRENCH = re.compile(r"\]([^\[\],]+,[^\[\],]+)([\[\]])|\[([^\[\],]+,[^\[\],]+)\[")
_BUILDER = re.compile(
    r"\s*([a-z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\\mid(?![A-Za-z])|[|:])(.*)", re.DOTALL
)


def split(text: str, separators: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """Split where a separator stands outside of all brackets; return parts and separators."""
    parts, found, start, depth, position = [], [], 0, 0, 0
    while position < len(text):
        c = text[position]
        if c == "\\" and text[position + 1 : position + 2] in ("{", "}"):
            depth += 1 if text[position + 1] == "{" else -1
            position += 2
            continue
        match = separators.match(text, position) if depth <= 0 else None
        if match:
            parts.append(text[start:position])
            found.append(match[0])
            position = start = match.end()
            continue
        depth += (c in "([{") - (c in ")]}")
        position += 1
    return [*parts, text[start:]], found


@functools.lru_cache(maxsize=4096)
def read(text: str) -> Node:
    """Return the structure of a normalized answer."""
    text = normalize(text)
    if _WORDS.fullmatch(text) and not re.search(r"(?<![A-Za-z])(?:and|or)(?![A-Za-z])", text):
        words = " ".join(re.findall(r"[^\W_]+", text.replace(r"\text", " ")))
        return Node("words", words.lower(), mark=words)
    text = _FRENCH.sub(_english, text)
    parts = [part for part in split(text, _COMMA)[0] if part.strip()]
    if len(parts) > MAX_ITEMS:
        return Node("text", text)
    if len(parts) > 1:
        return _list(text, parts)
    if text.startswith(r"\{") and (enclosed := _bracketed(text)):
        return enclosed
    sides, operators = split(text, _RELATION)
    in_set = bool(operators) and sides[-1].lstrip().startswith(r"\{")
    if re.search(r"\\(?:pm|mp)(?![A-Za-z])", text) and not in_set:
        both = _flattened([read(_signed(text, "+", "-")), read(_signed(text, "-", "+"))])
        return both._replace(mark=r"\pm")
    if operators:
        return _relation(sides, operators)
    intervals = split(text, _CUP)[0]
    if len(intervals) > 1:
        items = tuple(map(read, intervals))
        kinds = {item.kind for item in items}
        return Node("union", text, items) if kinds <= {"tuple", "set"} else Node("value", text)
    return _bracketed(text) or _special(text) or _value(text)


def _english(interval: re.Match[str]) -> str:
    """Write `]2, 4[` as `(2, 4)`."""
    if interval[3]:
        return f"[{interval[3]})"
    return f"({interval[1]}{')' if interval[2] == '[' else ']'}"


def _signed(text: str, plus: str, minus: str) -> str:
    return re.sub(r"\\pm(?![A-Za-z])", plus, re.sub(r"\\mp(?![A-Za-z])", minus, text))


def _list(text: str, parts: list[str]) -> Node:
    """Read a list; in `x = 1, 2` the name is that of all items.

    Inequalities are joined by `and` or `or`; a comma is `or` where only one of them can hold.
    """
    items = [read(part) for part in parts]
    joined = "" if _OR.search(text) else ","
    if items[0].kind == "chain" and all(i.kind not in ("chain", "inequality") for i in items[1:]):
        items[0] = items[0].items[-1] if len(items[0].items) == 1 else items[0]
    if all(item.mark.startswith("<") for item in items):
        return (
            _intersection(text, items)
            if _AND.search(text)
            else Node("union", text, tuple(items), joined)
        )
    if all(item.kind == "tuple" and r"\infty" in item.text for item in items):
        return Node("text" if _AND.search(text) else "union", text, tuple(items), joined)
    return _flattened(items)._replace(mark="" if joined else "or")


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
    r"""Read `(a, b)`, `[a, b)`, `\{a, b\}` and `\{x \mid x > a\}`, None for anything else."""
    if text.startswith(r"\{") and text.endswith(r"\}") and text.count(r"\{") == 1:
        inner = text[2:-2].strip()
        if built := _BUILDER.fullmatch(inner):
            return _condition(read(built[2]), built[1]) or Node("text", text)
        if not inner or r"\mid" in inner or "|" in inner or ":" in inner:
            return Node("text", text) if inner else Node("set")
        return Node("set", items=_flattened([read(inner)]).items)
    if text == r"\emptyset":
        return Node("set")
    if text[:1] not in "([" or text[-1:] not in ")]" or len(text) < 3:
        return None
    if len(split(text[1:-1], re.compile(r"[\])]"))[0]) > 1:
        return None
    parts = split(text[1:-1], re.compile(r"[,;]"))[0]
    if len(parts) < 2 or len(parts) > MAX_ITEMS:
        return None
    pair = Node("tuple", text, tuple(map(read, parts)), text[0] + text[-1])
    if not all(map(is_named, pair.items)):
        return pair
    names = [item.text for item in pair.items]  # (y = 3, x = 2)
    return _ordered(pair, names) if len(set(names)) == len(names) else Node("text", text)


def _ordered(pair: Node, names: Sequence[str]) -> Node:
    """Return a pair in the usual order of the names of its parts."""
    return pair._replace(items=tuple(pair.items[i] for i in usual_order(names)))


def _condition(node: Node, variable: str) -> Node | None:
    """Return the numbers that a condition holds for, without its variable's name."""
    if node.kind == "tuple" and (node.mark, node.text) == (f"<{node.mark[-2:]}", variable):
        return node._replace(text="")
    if node.kind == "union":
        items = [_condition(item, variable) for item in node.items]
        return Node("union", node.text, tuple(filter(None, items))) if all(items) else None
    known = node.kind == "inequality" and letters(node.text) - {"i", "e"} == {variable}
    return node if known else None


def _special(text: str) -> Node | None:
    """Read a number with a base, a time or a ratio."""
    digits, _, base = (re.sub(r"\\text|[{}() ]", "", part) for part in text.rpartition("_"))
    base_number = _BASES.get(base) or (int(base) if re.fullmatch(r"\d{1,2}", base) else 0)
    if _HEXADECIMAL.fullmatch(digits) and 2 <= base_number <= 36:
        if not re.match(r"\d|[A-Fa-f][0-9A-Fa-f]*$", digits):
            return None
        if base_number == 10:
            return _value(digits) if digits.isdigit() else None
        return Node("base", digits.lower().lstrip("0") or "0", mark=str(base_number))
    if ":" in text and (match := _RATIO.fullmatch(text)):
        parts = split(match[1], re.compile(":"))[0]
        half = (match[2] or "").lower().replace(".", "").replace(" ", "")
        if len(parts) > 1 and all(map(str.strip, parts)):
            minutes = [part.strip() for part in parts[1:]]  # 3:02 is not 3:2
            clock = "clock" if any(re.fullmatch(r"0\d", part) for part in minutes) else ""
            return Node("ratio", clock, tuple(map(read, parts)), half)
    return None


def _value(text: str) -> Node:
    """Read one value; `items` holds it without its unit or percent sign."""
    text = without_remark(text)
    number, unit = (text[:-2], "%") if text.endswith(r"\%") else split_unit(text)
    if not unit:
        return Node("value", text)
    mark = "%" if unit == "percent" else unit
    return Node("value", text, (Node("value", normalize(number)),), mark)


def _without_unit(text: str) -> str:
    value = _value(text)
    return value.items[0].text if value.items else text


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
        variable = is_variable(sides[0]) or (sides[0][0] == "(" and is_name(sides[0]))
        return _within(sides[0], read(sides[1])) if variable else Node("text", text)
    if set(operators) <= {"=", r"\approx", r"\equiv"}:
        return _chain(text, sides, operators)
    if set(operators) <= {">", r"\ge"}:
        sides, operators = sides[::-1], [_FLIPPED[op] for op in operators[::-1]]
    if set(operators) <= {"<", r"\le"}:
        return _inequality(sides, operators)
    if operators == [r"\ne"]:
        return Node("inequality", text, tuple(map(_value, sides)), r"\ne")
    return Node("text", text)


def _within(variable: str, numbers: Node) -> Node:
    r"""Return an interval or a union of some with the variable of `x \in (2, 4)`."""
    if numbers.kind == "union":
        items = tuple(_within(variable, item) for item in numbers.items)
        return numbers._replace(text=f"{variable} {numbers.text}", items=items)
    if numbers.kind != "tuple" or numbers.mark.startswith("<"):
        return numbers
    return numbers._replace(text=variable, mark=f"<{numbers.mark}")


def _chain(text: str, sides: list[str], operators: list[str]) -> Node:
    """Read `x = 6/2 = 3`; `mark` is the number of values before the first approximation."""
    names = [side for side in sides if is_name(side)]
    values = [side for side in sides if not is_name(side)]
    if not values and len(sides) == 2 and is_variable(sides[0]) and not is_variable(sides[1]):
        names, values = sides[:1], sides[1:]  # z = a - b
    about_itself = {name for name in names if len(name) == 1} & set().union(*map(letters, values))
    unknown = any(has_variable(_without_unit(side)) for side in values)
    if not values or about_itself or (not names and unknown):
        equation = len(sides) == 2 and operators == ["="]
        return Node("equation" if equation else "text", text, tuple(map(_value, sides)))
    if len(values) > 1 and sides[0] not in names and unknown:
        return Node("text", text)  # x/2 = y/3 = z
    if len(set(values)) < len(values) and not names:  # 3 = 3 says nothing
        return Node("nothing", text)
    exact = operators.index(r"\approx") + 1 if r"\approx" in operators else len(sides)
    before = sum(not is_name(side) for side in sides[:exact])
    name = "" if not names or r"\text" in names[0] else names[0]
    name = re.sub(r"(?<![A-Za-z])\s+|\s+(?![A-Za-z])", "", name)
    items = tuple(map(read, values))
    if name.startswith("("):  # (y, x) = (3, 2)
        parts = split(name[1:-1], _COMMA)[0]
        items = tuple(
            _ordered(item, parts)
            if item.kind == "tuple" and len(item.items) == len(parts)
            else item
            for item in items
        )
        name = f"({','.join(parts[i] for i in usual_order(parts))})"
    return Node("chain", name, items, str(max(before, 1)))


def _inequality(sides: list[str], operators: list[str]) -> Node:
    """Read `a < x`, `x < b` and `a < x < b` as intervals; others stay inequalities."""
    variables = [is_variable(side) for side in sides]
    ends = None
    if len(sides) == 3 and variables[1]:
        ends = sides[0], sides[1], sides[2], operators[0], operators[1]
    elif len(sides) == 2 and variables[0] and not has_variable(sides[1]):
        ends = r"-\infty", sides[0], sides[1], "<", operators[0]
    elif len(sides) == 2 and variables[1] and not has_variable(sides[0]):
        ends = sides[0], sides[1], r"\infty", operators[0], "<"
    if ends is None:
        return Node("inequality", " ".join(sides), tuple(map(_value, sides)), " ".join(operators))
    low, name, high, left, right = ends
    brackets = ("(" if left == "<" else "[") + (")" if right == "<" else "]")
    return Node("tuple", name, (read(low), read(high)), f"<{brackets}")
