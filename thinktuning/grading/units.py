r"""Split a unit from a number: `5\text{ cm}^2`, `5 km/h`, `12 eggs`.

The vocabulary is closed (`vocabulary.yaml`, with its sources): a number with any other word is
another number, or none.
"""

import re
from collections import Counter
from typing import NamedTuple

from thinktuning.grading import vocabulary

_SCALED = re.compile(r"square|sq|cubic|cu")
_RAISED = {"squared": 2, "cubed": 3}
# What stands between a number and its noun in an answer, as in "5 red marbles", and what says
# nothing, as in "5 years old".
_ADJECTIVES = frozenset(["red", "blue", "green", "white", "black", "yellow", "total"])
_EMPTY = frozenset(["of", "the", "old"])


def _vocabulary() -> dict[str, str]:
    names = {word: line[0] for line in vocabulary.lines("measures") for word in line}
    plurals = {f"{word}s": name for word, name in names.items() if len(word) > 2}
    for noun in vocabulary.words("counted"):
        for suffix, singular in (("ies", "y"), ("es", ""), ("s", "")):
            if noun.endswith(suffix):
                names.setdefault(noun.removesuffix(suffix) + singular, noun)
        names.setdefault(noun, noun)
    return plurals | names


UNITS = _vocabulary()
_SPEEDS = dict.fromkeys(("kmh", "kph", "kmph"), "hour^-1 kilometer") | {"mph": "hour^-1 mile"}


class Quantity(NamedTuple):
    """A number's text and its unit in one spelling, "" if it has none."""

    number: str
    unit: str


_ATOM = r"(?:\\text\{[A-Za-z ]+\}(?:\s*\.)?|[A-Za-z]+\.?)"  # in., sq. ft.
_POWER = r"(?:\s*\^\s*(?:\{\s*-?[1-4]\s*\}|-?[1-4]))?"
_PRODUCT = rf"{_ATOM}{_POWER}(?:\s*(?:/|\\cdot|\s)\s*{_ATOM}{_POWER})*"
# 5 cm, 2\pi cm, 5/day; and after a variable, as in 2x\text{ cm}, what is upright
_TAIL = re.compile(
    rf"(?P<number>.*?(?:[\d}})!.]|\\pi(?=\s*(?:\\text|[a-z]{{2}}))))(?P<gap>\s*)"
    rf"(?P<unit>(?:/\s*(?=\\text|[a-z]{{2}}))?{_PRODUCT})",
    re.DOTALL,
)
_UPRIGHT = re.compile(
    rf"(?P<number>.*?[\w}})!.])(?P<gap>\s*)(?P<unit>(?=\\text){_PRODUCT})", re.DOTALL
)
_VARIABLE = re.compile(rf"(?<![A-Za-z/{{])(?<!/ )[A-Za-z]{_POWER}$")  # h^2, not m/s or \text{m}^2
_COMMANDS = re.compile(r"\\(?:text|cdot)(?![A-Za-z])")
_TOKEN = re.compile(r"[A-Za-z]+|/|\^\s*\{?\s*-?[1-4]")
_FUNCTION = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")  # of degrees
_PARENTHESES = re.compile(r"\(\s*(\\text\{[A-Za-z ]+\}|[A-Za-z ]+)\s*\)$")

_REMARK = re.compile(
    r"(?P<number>[-+]?[\d.,]*\d)(?P<noun>\s+(?:[A-Za-z]+\s+)*|\s*\\text\{(?:[A-Za-z]+\s+)*)"
    r"(?:in\s+)?(?:total|left|remaining|altogether)(?P<end>\}?)"
)


def without_remark(text: str) -> str:
    """Return `12 apples` for `12 apples left`, and 12 for `12 total`."""
    match = _REMARK.fullmatch(text)
    if match is None or ("{" in match["noun"]) != bool(match["end"]):
        return text
    noun = re.sub(r"\s+in\s*$|(?<=\{)in\s*$", "", match["noun"]).strip()
    return match["number"] + ("" if noun in ("", r"\text{") else f" {noun}{match['end']}")


def ends_in_variable(text: str) -> bool:
    r"""Return whether a gold answer ends in a letter that is no unit: `\frac{1}{3} h^3`."""
    return _VARIABLE.search(text) is not None


def split_unit(text: str) -> Quantity:
    r"""Split a normalized quantity; the unit is "" unless all its words are in the vocabulary."""
    tail = _PARENTHESES.sub(r"\1", text)
    if tail.endswith(r"^\circ") and not _FUNCTION.search(tail):
        return Quantity(tail.removesuffix(r"^\circ").strip(), "degree")
    degrees = re.fullmatch(r"(.*)\^\\circ\s*(?:\\text\{)?([CF])\}?", tail, re.DOTALL)
    if degrees:
        return Quantity(degrees[1].strip(), "celsius" if degrees[2] == "C" else "fahrenheit")
    for pattern in (_TAIL, _UPRIGHT) if "\\text" in tail else (_TAIL,):
        match = pattern.fullmatch(tail)
        if match and (unit := _unit(match["unit"])):
            break
    else:
        return Quantity(text, "")
    upright = "\\text" in match["unit"] or "/" in match["unit"]
    letter = re.fullmatch(rf"[A-Za-z]{_POWER}", match["unit"])
    plain_number = match["number"].strip("-+")[-1:].isdigit()
    if not upright and not match["gap"] and (letter or not plain_number):  # 5m, x^{2}cm
        return Quantity(text, "")
    return Quantity(match["number"].strip(), unit)


def _unit(text: str) -> str | None:
    r"""Return one spelling, `meter second^-2` for `\text{m/s}^2`; None if it is not a unit."""
    powers: Counter[str] = Counter()
    sign, scale, last = 1, 0, ""
    for token in _TOKEN.findall(_COMMANDS.sub(" ", text)):
        word = token.lower()
        if token == "/" or word in ("per", "a", "an", "each"):
            sign = -1
        elif token.startswith("^"):
            if not last:
                return None
            powers[last] *= int(token.strip("^{ \t\n"))
        elif word in _RAISED and last:
            powers[last] *= _RAISED[word]
        elif _SCALED.fullmatch(word):
            scale = 3 if word.startswith("cu") else 2
        elif word in _EMPTY or (token in _ADJECTIVES and not last):
            continue
        elif token in _SPEEDS and not last:
            return _SPEEDS[token] if len(text.split()) == 1 else None
        else:
            name = UNITS.get(token) or UNITS.get(word if len(token) > 2 else token)
            if name is None or name in powers:
                return None
            last = name
            powers[name] = sign * (scale or 1)
            sign, scale = 1, 0
    spelled = (name if power == 1 else f"{name}^{power}" for name, power in sorted(powers.items()))
    return " ".join(spelled) if last and not scale else None
