r"""Functions that are applied: `f(x - 1)`, which math-verify multiplies out as f times x - 1.

f, g, F and G are always functions; another letter is one where it is also applied to a variable or
a number, as in `T(n) = T(n-1) + T(n-2)`.
"""

import hashlib
import re

from thinktuning.grading.expressions import SYMPY_ERRORS, read
from thinktuning.grading.names import symbols
from thinktuning.grading.normalize import closing

MAX_CALLS = 40

_HEAD = re.compile(
    r"(?<![A-Za-z\\])([A-Za-z])(?:'{1,3}+|\s?_\s?(?:\{\w{1,9}\}|\w))?"
    r"(?:\s?\^\s?(?:\{\s?-\s?1\s?\}|-1))?\s?\("
)
_PLAIN = re.compile(r"(?<![A-Za-z\\])([A-DF-HJ-Za-ce-hj-z])\s?\(\s?(?:\d{1,9}|([a-z]))\s?\)")
_ALWAYS = frozenset("fgFG")


def opaque(*texts: str) -> tuple[str, ...]:
    """Write each applied function as a symbol with an index, the same for equal arguments."""
    functions = _ALWAYS.union(
        match[1] for text in texts for match in _PLAIN.finditer(text) if match[1] != match[2]
    )
    return tuple(_opaque(text, functions) for text in texts)


def _opaque(text: str, functions: frozenset[str]) -> str:
    """Replace from the last one to the first, so that an argument's own functions are replaced."""
    heads = [head for head in _HEAD.finditer(text) if head[1] in functions]
    if len(heads) > MAX_CALLS:
        return ""  # which nothing reads
    for head in reversed(heads):
        start = head.end()
        end = closing(text, start - 1)
        if end < 0:
            continue
        index = _index(head[0], text[start:end])
        text = f"{text[: head.start()]}{head[1]}_{{{index}}}{text[end + 1 :]}"
    return text


def _index(head: str, argument: str) -> int:
    """Return a number for a function and its argument; math-verify reads no case of a symbol."""
    try:
        value = str(read(argument))
    except SYMPY_ERRORS:
        value = argument.replace(" ", "")
    key = f"{head.replace(' ', '')} {value} {sorted(symbols(argument))}"
    return int(hashlib.sha256(key.encode()).hexdigest()[:12], 16)
