r"""Names and variables: which sides of `=` and `<` name a value, as `x`, `f(x)` and `AB` do."""

import re

MAX_NAME = 60  # characters

_GREEK_NAME = (
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega|sigma|rho|tau|angle|triangle|ell|Delta"
    r"|Omega)(?![A-Za-z])"
)
_LETTER = (
    rf"(?>(?:(?![eiE])[a-zA-Z]|{_GREEK_NAME}"
    r"|\\(?:overline|vec|overrightarrow)\s?(?:\{[A-Za-z]{1,2}\}|[A-Za-z]))'*+"
    r"(?:\s?_\s?(?:\{[^{}]*\}|\w))?+(?:\s?\^\s?\{\s?-1\s?\}(?=\s?\())?+"
    r"(?:\s?\(\s?-?[\w ,+=-]*\))?+)"
)
_PRODUCT = rf"{_LETTER}(?>\s?(?:(?:\\cdot|[+-])\s?)?{_LETTER})*+"
_NAME = re.compile(
    rf"{_PRODUCT}|\|\s?{_LETTER}{_PRODUCT}\s?\|"
    rf"|\\frac\s?\{{\s?{_PRODUCT}\s?\}}\s?\{{\s?{_PRODUCT}\s?\}}"
    rf"|\\(?:sin|cos|tan|cot|sec|csc)\s?{_PRODUCT}|\(\s?{_LETTER}(?>\s?,\s?{_LETTER})++\s?\)"
    r"|\[[A-Z]{3,}\]|(?>\\text\{[A-Za-z '-]+\}\s?)++|[A-Za-z]{3,}"
)
_VARIABLE = re.compile(_LETTER)
_BAD_WORD = re.compile(
    r"\b(?:not|minus|negative|wrong|incorrect|half|twice|double|except|without|no)\b", re.I
)
_VARIABLE_LETTER = re.compile(r"[a-zA-Z]")
_GREEK_VARIABLE = re.compile(
    r"\\(?:alpha|beta|gamma|delta|theta|lambda|mu|phi|omega|sigma|rho|tau)"
)
_COMMAND = re.compile(r"\\(?:begin|end)\{[a-z]+\}|\\text\{[^{}]*\}|\\[A-Za-z]+")


def is_name(text: str) -> bool:
    r"""Return whether a side of `=` only names a value: `x`, `f(x)`, `\text{Area}`, `a + b`."""
    if len(text) > MAX_NAME or _BAD_WORD.search(text):
        return False
    return _NAME.fullmatch(text.strip()) is not None


def has_variable(text: str) -> bool:
    """Return whether a value has letters other than the constants e and i."""
    letters = _VARIABLE_LETTER.findall(_COMMAND.sub(" ", text))
    return any(letter not in "ei" for letter in letters) or bool(_GREEK_VARIABLE.search(text))


def mentions(value: str, name: str) -> bool:
    """Return whether a name of one letter is a variable of a value, as in `x = x + 1`."""
    return len(name) == 1 and name in _VARIABLE_LETTER.findall(_COMMAND.sub(" ", value))


def is_variable(text: str) -> bool:
    """Return whether a side of an inequality is one variable: `x`, `x_1`, `f(x)`."""
    return _VARIABLE.fullmatch(text.strip()) is not None
