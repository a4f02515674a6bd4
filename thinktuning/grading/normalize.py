r"""Rewrite an answer in one plain LaTeX: Unicode, fonts, wrappers, words and notations of numbers.

    √2 -> \sqrt{2}        \boldsymbol 5 -> 5       Answer: 5 -> 5
    x² -> x^{2}           \textbf{(073)} -> 073    1.39e-10 -> 1.39\times10^{-10}
    pi/2 -> \pi /2        12^{\text{th}} -> 12     0.\overline3 -> \frac{1}{3}

The value never changes here; what may equal what is in `policy`. What stays of `\text{}` is words:
units, names, and whatever else a policy has to refuse. Normalizing twice is normalizing once.
"""

import functools
import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

from thinktuning.grading.units import UNITS

_SYMBOLS = {
    "\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "-", "\N{HYPHEN}": "-",
    "\N{NON-BREAKING HYPHEN}": "-", "\N{FIGURE DASH}": "-", "\N{MULTIPLICATION SIGN}": r"\times ",
    "\N{DIVISION SIGN}": "/", "\N{FRACTION SLASH}": "/", "\N{DIVISION SLASH}": "/",
    "\N{MIDDLE DOT}": r"\cdot ", "\N{DOT OPERATOR}": r"\cdot ", "\N{ASTERISK OPERATOR}": r"\cdot ",
    "\N{BULLET}": r"\cdot ", "\N{DEGREE SIGN}": r"^\circ ", "\N{INFINITY}": r"\infty ",
    "\N{SQUARE ROOT}": r"\sqrt ", "\N{PLUS-MINUS SIGN}": r"\pm ", "\N{MINUS-OR-PLUS SIGN}": r"\mp ",
    "\N{LESS-THAN OR EQUAL TO}": r"\le ", "\N{GREATER-THAN OR EQUAL TO}": r"\ge ",
    "\N{LESS-THAN OR SLANTED EQUAL TO}": r"\le ", "\N{NOT EQUAL TO}": r"\ne ",
    "\N{GREATER-THAN OR SLANTED EQUAL TO}": r"\ge ", "\N{ALMOST EQUAL TO}": r"\approx ",
    "\N{ELEMENT OF}": r"\in ", "\N{UNION}": r"\cup ", "\N{INTERSECTION}": r"\cap ",
    "\N{EMPTY SET}": r"\emptyset ", "\N{DOUBLE-STRUCK CAPITAL R}": r"\mathbb{R}",
    "\N{PRIME}": "'", "\N{HORIZONTAL ELLIPSIS}": r"\ldots ", "\N{IDEOGRAPHIC FULL STOP}": ".",
    "\N{ARABIC DECIMAL SEPARATOR}": ".", "\N{ARABIC THOUSANDS SEPARATOR}": ",",
    "\N{IDEOGRAPHIC COMMA}": ",", "\N{FULLWIDTH COLON}": ":", "\N{RATIO}": ":",
    "\N{LEFT ANGLE BRACKET}": "(", "\N{RIGHT ANGLE BRACKET}": ")",
    "\N{MATHEMATICAL LEFT ANGLE BRACKET}": "(", "\N{MATHEMATICAL RIGHT ANGLE BRACKET}": ")",
    "\N{IDENTICAL TO}": r"\equiv ", "\N{ANGLE}": r"\angle ", "\N{COMBINING OVERLINE}": "",
}  # fmt: skip
_GREEK_TEXT = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon
phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega
"""
_GREEK = _GREEK_TEXT.split()
for _name in _GREEK:
    _size = "SMALL" if _name.islower() else "CAPITAL"
    _letter = _name.upper().replace("LAMBDA", "LAMDA")
    _SYMBOLS[unicodedata.lookup(f"GREEK {_size} LETTER {_letter}")] = f"\\{_name} "
_TABLE = str.maketrans(_SYMBOLS)
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070\u2074-\u207f]+")
_LOWERED = re.compile("[\u2080-\u208e]+")
_ROOT = re.compile("\N{SQUARE ROOT}\\s*(\\d+(?:\\.\\d+)?)")

# Words in plain text that LaTeX writes as commands.
_FUNCTIONS_TEXT = """
sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp sqrt pi infty gcd max min
det
"""
_FUNCTIONS = frozenset(_FUNCTIONS_TEXT.split()) | {name for name in _GREEK if len(name) > 2}
# `Answer: 5`, `The total is 5`, `\text{Area} = 5`: words that announce a number and keep its value.
_LABELS_WORDS = """
the a an final correct right answer answers ans result results total sum value values solution
solutions number amount of is are be equals option choice cost price area volume perimeter length
width height distance time speed age profit probability average mean median therefore so thus
hence there were was has have we get it x y n
"""
LABELS = frozenset(_LABELS_WORDS.split())

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _rules(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> list[_Rule]:
    return [(re.compile(pattern), replacement) for pattern, replacement in rules]


def _apply(rules: list[_Rule], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


_AMOUNT = r"(-?\s*(?:\d[\d,]*(?:\.\d+)?|\.\d+))"
_CURRENCIES = {"€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_LATEX = _rules(
    (r"\{\s*,\s*\}|,\s*\\!\s*", ","),
    (r"\\!\s*", ""),
    (r"(?<!\\)\\\\(?=(?:boxed|fbox|frac|sqrt|text|pi|left|right|times|cdot|infty)\b)", r"\\"),
    (
        rf"^\s*(-?)\s*(\\\$|[$€£¥₹])\s*{_AMOUNT}\s*$",
        lambda m: f"{m[1]}{m[3]}\\text{{{_CURRENCIES.get(m[2], 'dollar')}}}",
    ),
    (r"(?<=\d)\s*(?:\\\$|[$€£¥₹])\s*(?=\d)", " ; "),
    (r"\\\$|[$€£¥₹]", ""),
    (r"(?<!\\)\\[()\[\]]", ""),
    (r"\\(?:left|right)\s*\.(?!\d)", ""),
    (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![A-Za-z])", ""),
    (r"(?<!\\)\\[,;:>\s]|~|\\(?:q?quad|(?:thin|med|thick|en)?space)(?![A-Za-z])", " "),
    (r"\\(?:displaystyle|textstyle|limits|centering|large|Large|huge)(?![A-Za-z])", ""),
    (r"\\(?:h|v)(?:space|phantom)\*?\s*\{[^{}]*\}|\\phantom\s*\{[^{}]*\}", " "),
    (r"\\(?:text)?color\s*\{[^{}]*\}|(?<!\\)\\$", ""),
    (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
    (r"\\(?:boxed|fbox|boldsymbol|mathbf|mathit|mathsf|mathtt|mathnormal|bm|pmb|underline|emph|bf"
     r"|it|rm)(?![A-Za-z])", ""),
    (r"\\(?:mathrm|text(?:bf|it|rm|sf|tt|sc|sl|md|up|normal)|mbox|hbox|operatorname\*?|textsuperscript)"
     r"(?![A-Za-z])", r"\\text"),
    (r"\\text\s+([A-Za-z0-9])(?![A-Za-z])", r"\\text{\1}"),
    (r"\\lbrace(?![A-Za-z])", r"\\{"),
    (r"\\rbrace(?![A-Za-z])", r"\\}"),
    (r"\\(?:lbrack)(?![A-Za-z])", "["),
    (r"\\(?:rbrack)(?![A-Za-z])", "]"),
    (r"\\langle(?![A-Za-z])", "("),
    (r"\\rangle(?![A-Za-z])", ")"),
    (r"\\(?:l|r)?vert(?![A-Za-z])", "|"),
    (r"\\(?:leq|leqslant|le)(?![A-Za-z])|<=", r"\\le "),
    (r"\\(?:geq|geqslant|ge)(?![A-Za-z])|>=", r"\\ge "),
    (r"\\lt(?![A-Za-z])", "<"),
    (r"\\gt(?![A-Za-z])", ">"),
    (r"\\neq?(?![A-Za-z])|!=", r"\\ne "),
    (r"\\(?:thickapprox|simeq|approxeq|approx|doteq)(?![A-Za-z])|~=", r"\\approx "),
    (r"\\(?:varnothing)(?![A-Za-z])", r"\\emptyset "),
    (r"\\(?:degrees?)(?![A-Za-z])|\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])", r"^\\circ "),
    (r"\\(?:dots|cdots|dotsc|dotsb)(?![A-Za-z])|\.\.\.", r"\\ldots "),
    (r"\\colon(?![A-Za-z])", ":"),
    (r"\\(?:lor|vee)(?![A-Za-z])", " or "),
    (r"\\(?:land|wedge)(?![A-Za-z])", " and "),
    (r"\\div(?![A-Za-z])", "/"),
    (r"\\i(?:math)?(?![A-Za-z])", "i"),
    (r"\\mathbb\s*\{?\s*([A-Z])\s*\}?", r"\\mathbb{\1}"),
    (r"(?<!\\)%", r"\\%"),
    (r"\*\*(?=\s*[-\d({A-Za-z])(?<=[\d)}A-Za-z]\*\*)", "^"),
)  # fmt: skip
_WORDS = re.compile(r"[A-Za-z]+(?:[ '-]+[A-Za-z]+)*")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_PLAIN = re.compile(r"(?<![\\A-Za-z])([A-Za-z]{2,})(?![A-Za-z])")
_SCIENTIFIC = re.compile(
    r"(?<![A-Za-z\d._^])(\d+\.?\d*|\.\d+)\s?[eE]\s?([+-]?)(\d{1,6})(?![\d.A-Za-z])"
)
_REPEATING = re.compile(
    r"(?<![\d.])(\d{0,30})\.(\d{0,30})\s*\\(?:overline|bar|dot)\s*(?:\{\s*(\d{1,30})\s*\}|(\d))"
)
_NUMBERS = _rules(
    (r"(\d)\s*(?:\^\s*\{?\s*\\text\{(?:st|nd|rd|th)\}\s*\}?|\\text\{(?:st|nd|rd|th)\}"
     r"|\^\s*\{\s*(?:st|nd|rd|th)\s*\}|(?:st|nd|rd|th)(?![A-Za-z]))", r"\1"),
    (r"(?<=\d)\s*[xX]\s*(?=10\s*\^)", r"\\times "),
    (r"(?<![\d.)}\w])\.(?=\d)", "0."),
    (r"\^\s*([+-]?\d{2,})", r"^{\1}"),
    (r"_\s*(\d{2,})", r"_{\1}"),
    (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
    (r"\*", r"\\cdot "),
)  # fmt: skip


@functools.lru_cache(maxsize=4096)
def normalize(text: str) -> str:
    """Return the plain form of an answer; whoever calls has capped its length."""
    for _ in range(4):
        before = text
        text = _once(text)
        if text == before:
            break
    return text


def _once(text: str) -> str:
    text = _unwrap(_apply(_LATEX, _in_ascii(text).strip()))
    for _ in range(3):  # \text in \text
        text = _TEXT.sub(lambda match: _in_text(match[1]), text)
    text = _PLAIN.sub(lambda match: _plain_word(match[1]), text)
    text = _calls(text)
    text = _SCIENTIFIC.sub(lambda m: rf"{m[1]}\times10^{{{m[2].strip('+')}{m[3]}}}", text)
    text = _REPEATING.sub(_repeating, text)
    text = _apply(_NUMBERS, text)
    return _unwrap(re.sub(r"\s+", " ", text))


def _in_ascii(text: str) -> str:
    """Convert digits, signs and mathematical symbols of Unicode; remove what has no width."""
    if text.isascii():
        return text
    text = _ROOT.sub(r"\\sqrt{\1}", text)
    text = _RAISED.sub(lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = _LOWERED.sub(lambda m: f"_{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = "".join(_character(c) for c in text)
    text = re.sub(r"(\d)\N{FRACTION SLASH}(\d+)", r"\\frac{\1}{\2}", text)
    return re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text.translate(_TABLE))


def _character(c: str) -> str:
    if c.isascii() or c in _SYMBOLS:
        return c
    return "" if unicodedata.category(c) == "Cf" else unicodedata.normalize("NFKC", c)


def _in_text(content: str) -> str:
    r"""Return what `\text{content}` says, with `\text` only around its words."""
    content = content.strip()
    return f" {_WORDS.sub(lambda match: _words(match[0]), content)} "


def _words(words: str) -> str:
    if words in ("i", "e"):
        return words
    if words in _FUNCTIONS:
        return f"\\{words} "
    parts = re.split(r"(?:^|\s+)(and|or)(?=\s|$)", words)
    return "".join(
        f" {part} " if i % 2 else f"\\text{{{part.strip()}}}" if part.strip() else ""
        for i, part in enumerate(parts)
    )


def _plain_word(word: str) -> str:
    if word in _FUNCTIONS and not (word == "min" or word == "sec"):
        return f"\\{word} "
    if word.lower() in ("infinity", "infty"):
        return r"\infty "
    return word


def _calls(text: str) -> str:
    r"""Write the argument in parentheses of `sqrt`, `exp` and `^` in braces."""
    for pattern, opened in (
        (r"\\sqrt\s*\(", r"\sqrt{"),
        (r"\\exp\s*\(", "e^{"),
        (r"\^\s*\(", "^{"),
    ):
        for _ in range(20):
            match = re.search(pattern, text)
            end = _closing(text, match.end() - 1) if match else -1
            if match is None or end < 0:
                break
            text = f"{text[: match.start()]}{opened}{text[match.end() : end]}}}{text[end + 1 :]}"
    return text


def _closing(text: str, start: int) -> int:
    """Return where the bracket at `start` closes, -1 if it does not."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return -1


def _repeating(match: re.Match[str]) -> str:
    """Write a repeating decimal as the fraction that it is."""
    whole, once, again = match[1] or "0", match[2], match[3] or match[4]
    value = Fraction(
        int(whole + once + again) - int(whole + once), 10 ** len(once) * (10 ** len(again) - 1)
    )
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


_LABEL = re.compile(
    r"\s*((?>\\text\{[A-Za-z '-]+\}|[A-Za-z']{2,}+)"
    r"(?>\s+(?:\\text\{[A-Za-z '-]+\}|[A-Za-z']{2,}+))*+)\s*(:|=)?\s*(?=\S)"
)


def _unwrap(text: str) -> str:
    """Remove what stands around an answer: marks, outer brackets of one value, labels."""
    for _ in range(10):
        before = text
        text = text.strip().strip("`").strip()
        for mark in ("**", "__", "*", '"', "'"):
            if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
                text = text[len(mark) : -len(mark)].strip()
        text = re.sub(r"^(?:=|:)\s*", "", re.sub(r"(?<!\\)[.,;]+$", "", text))
        if text and text[0] in "{(" and text[-1] in "})" and _closing(text, 0) == len(text) - 1:
            inner = text[1:-1]
            if text[0] == "{" or not re.search(r"[,;]|\\ldots", inner):
                text = inner
        text = _without_label(text)
        if text == before:
            break
    return text


def _without_label(text: str) -> str:
    match = _LABEL.match(text)
    if match is None or len(match[1]) > 80:
        return text
    words = re.findall(r"[A-Za-z']+", match[1].replace(r"\text", " "))
    announced = match[2] or words[-1].lower() in (
        "is",
        "are",
        "equals",
        "get",
        "be",
        "option",
        "choice",
    )
    known = all(word.lower() in LABELS or word in UNITS for word in words)
    return text[match.end() :] if announced and known else text
