r"""Names and variables: which sides of `=` and `<` name a value, as `x`, `f(x)` and `AB` do.

And placeholders, which name an answer without being one.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from thinktuning.grading import vocabulary

MAX_NAME = 60  # characters

_GREEK = (
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega|sigma|rho|tau|angle|triangle|ell|Delta"
    r"|Omega)(?![A-Za-z])"
)
_LETTER = (
    rf"(?>(?:(?![eiE])[a-zA-Z]|{_GREEK}"
    r"|\\(?:overline|vec|overrightarrow)\s?(?:\{[A-Za-z]{1,2}\}|[A-Za-z]))'*+"
    r"(?:\s?_\s?(?:\{[^{}]*\}|\w))?+(?:\s?\^\s?\{\s?-1\s?\}(?=\s?\())?+"
    r"(?:\s?\(\s?-?[\w ,+=\\-]*\))?+)"
)
_PRODUCT = rf"{_LETTER}(?>\s?(?:(?:\\cdot|[+-])\s?)?{_LETTER})*+"
_NAME = re.compile(
    rf"{_PRODUCT}|\|\s?{_LETTER}{_PRODUCT}\s?\|"
    rf"|\\frac\s?\{{\s?{_PRODUCT}\s?\}}\s?\{{\s?{_PRODUCT}\s?\}}"
    rf"|\\(?:sin|cos|tan|cot|sec|csc)\s?{_PRODUCT}|\(\s?{_LETTER}(?>\s?,\s?{_LETTER})++\s?\)"
    r"|\[[A-Z]{3,}\]|(?>\\text\{[A-Za-z '-]+\}\s?)++|[A-Za-z]{3,}"
)
_VARIABLE = re.compile(_LETTER)
_FUNCTION_OF = re.compile(r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_PART_OF_NAME = re.compile(r"_\s?\{[^{}]*\}|\^\s?\{\s?-1\s?\}|\([^()]*\)")  # {n+1} of x_{n+1}
_ONE_NAME = re.compile(
    r"[(\[].*|.*\\(?:angle|triangle)(?![A-Za-z]).*"
    r"|\\frac\{(?:d|\\Delta)\s?[A-Za-z]\}\{(?:d|\\Delta)\s?[A-Za-z]\}"
)
_NO_FACTOR = re.compile(r"\\(?:frac|cdot|Delta)(?![A-Za-z])")
_CAPITAL = re.compile(r"[A-Z]'*(?:_\w)?")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z][a-z]{2,}")
_CONTRADICTIONS = vocabulary.words("contradictions") - {"or", "both", "either"}  # P(A or B)
_BAD_WORD = re.compile(
    r"\b(?:minus|negative|half|twice|double|without|non(?:-?\w)?(?!-)|[a-z]+n't"
    rf"|{'|'.join(sorted(_CONTRADICTIONS))})\b",
    re.I,
)
_GREEK_VARIABLE = re.compile(
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega|sigma|rho|tau)"
)
_NO_ANSWER = re.compile(
    r"[\s.?\-*()]*|\\(?:ldots|square|Box|bigcirc|cdot)"
    r"|(?:(?:your|the|final|my|insert|correct|put|here|a|an|numeric(?:al)?) )*"
    r"(?:answer|solution|result|number|expression|value|blank|placeholder|content|here|letter)s?"
    r"(?: here)?|nan|null",
    re.IGNORECASE,
)
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z]+\}|\\text\{[^{}]*\}|\\[A-Za-z]+")
_SET = re.compile(r"\\mathbb\{[A-Z]\}")
_GREEK_SYMBOL = re.compile(
    r"\\(?:var)?((?i:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|mu|nu|xi|rho"
    r"|sigma|tau|upsilon|phi|chi|psi|omega|ell))(?![A-Za-z])"
)
_BOUND = re.compile(r"_\s*\{\s*([A-Za-z])\s*(?:=|\\to|\\in(?![A-Za-z]))")
_NO_PRODUCT = re.compile(r"(?<![A-Za-z\\])[ei]{2,}(?!\s*[\^A-Za-z])")  # a word, not e times i
_DIFFERENTIAL = re.compile(r"d\s?([A-Za-z])(?![A-Za-z])")


def has_variable(text: str) -> bool:
    """Return whether a value has letters other than the constants e and i."""
    return bool(letters(text) - {"e", "i"} or _GREEK_VARIABLE.search(text))


def letters(text: str) -> set[str]:
    """Return the letters of a value that belong to no command or word."""
    return set(re.findall("[A-Za-z]", _COMMAND.sub(" ", text)))


def symbols(*texts: str) -> set[str]:
    r"""Return the free symbols of values: letters but e, i and indices, and names of Greek ones."""
    found = set()
    for text in (_SET.sub(" ", text) for text in texts):
        bound = set(_BOUND.findall(text))
        if r"\int" in text:
            bound |= {"d", *_DIFFERENTIAL.findall(text)}
        found |= (letters(text) - bound - {"e", "i"}) | set(_GREEK_SYMBOL.findall(text))
        found |= set(_NO_PRODUCT.findall(_COMMAND.sub(" ", text)))
    return found


def told_apart(*texts: str) -> tuple[str, ...]:
    r"""Rename capitals whose small letter is in one of the texts, since math-verify reads no case.

    So that `\pi(R^2 - r^2)` has two radii, and E is not e.
    """
    used = symbols(*texts) | {"e", "i"}
    free = iter(sorted(set("abcghklmnpqrsuvwxyz") - set().union(*map(letters, texts))))
    for name in sorted(used):
        if name == name.lower() or name.lower() not in used:
            continue
        new = next(free, None)
        if new is None:
            return tuple("" for _ in texts)  # which nothing reads
        if len(name) == 1:
            texts = tuple(_renamed(text, name, new) for text in texts)
        else:
            greek = re.compile(rf"\\{name}(?![A-Za-z])")
            texts = tuple(greek.sub(f" {new} ", text) for text in texts)
    return texts


def _renamed(text: str, letter: str, new: str) -> str:
    """Rename a letter outside of commands and words."""
    parts = re.split(f"({_SET.pattern}|{_COMMAND.pattern})", text)
    return "".join(part if i % 2 else part.replace(letter, new) for i, part in enumerate(parts))


def is_name(text: str) -> bool:
    r"""Return whether a side of `=` only names a value: `x`, `f(x)`, `\text{Area}`, `a + b`."""
    return len(text) <= MAX_NAME and not _BAD_WORD.search(text) and bool(_NAME.fullmatch(text))


def is_variable(text: str) -> bool:
    """Return whether a side of a relation is one variable: `x`, `x_1`, `f(x)`."""
    return _VARIABLE.fullmatch(text) is not None


def is_expression(name: str) -> bool:
    r"""Return whether a name is a sum or product of variables, as in the line `x + y = 4`.

    So is `\cos x`, but not the sine of an angle (`\sin A`, `\cos\theta`), the segment AB, the
    number ABC, `\Delta x`, `\frac{dy}{dx}`, nor a word.
    """
    bare = name if name[:1] == "(" else _PART_OF_NAME.sub("", name)
    if any(map(_is_word, _WORD.findall(bare))):
        return False
    if re.search("[+-]", bare):
        return True
    if _ONE_NAME.fullmatch(bare):
        return False
    if function := _FUNCTION_OF.match(bare):
        return re.search("[a-z]", _COMMAND.sub("", bare[function.end() :])) is not None
    factors = _VARIABLE.findall(_NO_FACTOR.sub(" ", bare))
    capitals = "\\cdot" not in bare and all(map(_CAPITAL.fullmatch, factors))
    return len(factors) > 1 and not capitals


def _is_word(letters: str) -> bool:
    """Return whether letters are a word: they have a vowel, and are no neighbors as a, b, c are."""
    small = set(letters.lower())
    if len(small) == len(letters) and _are_neighbors(small):
        return False
    return letters in ("lcm", "gcf", "hcf") or bool(set("aeiou") & small)


def _are_neighbors(letters: set[str]) -> bool:
    return all(ord(b) - ord(a) == 1 for a, b in pairwise(sorted(letters)))


def usual_order(names: Sequence[str]) -> list[int]:
    r"""Return the places of names in the order that a pair has: that of x, y, z and of x_1, x_2.

    Others, as (m, b) and (r, \theta), have the order in which they are written.
    """
    parts = [re.sub(r"[{} ]", "", name).partition("_") for name in names]
    order = list(range(len(names)))
    if all(len(letter) == 1 for letter, _, _ in parts) and _are_neighbors({p[0] for p in parts}):
        order.sort(key=lambda i: (parts[i][0], len(parts[i][2]), parts[i][2]))
    return order


def is_no_answer(text: str) -> bool:
    """Return whether a normalized text is empty or a placeholder."""
    bare = re.sub(r"\\text|[{}$<>\[\]]", "", text).replace("\\_", " ").replace("_", " ")
    return _NO_ANSWER.fullmatch(bare.strip()) is not None or "\0" in text
