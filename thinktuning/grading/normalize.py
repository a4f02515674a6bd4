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

from thinktuning.grading import numerals, vocabulary
from thinktuning.grading.units import UNITS

_GREEK_TEXT = """
alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon
phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega
"""
_GREEK = _GREEK_TEXT.split()
_SYMBOLS = vocabulary.symbols()
for _name in _GREEK:
    _size = "SMALL" if _name.islower() else "CAPITAL"
    _letter = _name.upper().replace("LAMBDA", "LAMDA")
    _SYMBOLS[unicodedata.lookup(f"GREEK {_size} LETTER {_letter}")] = f"\\{_name} "
_TABLE = str.maketrans(_SYMBOLS)
_RAISED = "[\u00b2\u00b3\u00b9\u2070\u2074-\u207f]+"
_LOWERED = "[\u2080-\u208e]+"
# Words in plain text that LaTeX writes as commands.
_FUNCTIONS = vocabulary.words("functions") | {name for name in _GREEK if len(name) > 2}
LABELS = vocabulary.words("labels")
# What LaTeX does not show as a part of the answer.
UNSEEN = r"\\(?:label|tag|[hv]space\*?|[hv]?phantom)\s*\{[^{}]*\}"
_ANNOUNCE = frozenset(["is", "are", "equals", "get", "be", "option", "choice", "therefore"])

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _rules(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> list[_Rule]:
    return [(re.compile(pattern), replacement) for pattern, replacement in rules]


def _apply(rules: list[_Rule], text: str) -> str:
    for pattern, replacement in rules:
        text = pattern.sub(replacement, text)
    return text


_AMOUNT = r"(-?\s*(?:\d[\d,]*(?:\.\d+)?|\.\d+))"
_CURRENCIES = {"€": "euro", "£": "pound", "¥": "yen", "₹": "rupee", "EUR": "euro", "GBP": "pound",
               "INR": "rupee", "Rs": "rupee", "Rs.": "rupee"}  # fmt: skip
_RENAMED = vocabulary.commands()
_SPACES = re.compile(r"\s+")
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_LATEX = _rules(
    (r"(?<=\d)(?:(?:\\(?:text|mathrm|mbox)\s?)?\{\s?,\s?\}|,\s?(?:\\!\s?)+)(?=\d{3}(?!\d))", ""),
    (r"(?:\\(?:text|mathrm|mbox)\s*)?\{\s*\\?,\s*\}|,\s*\\!\s*",
     lambda m: "" if "\\," in m[0] else ","),
    (r"\{\s*:\s*\}", ":"),
    (r"\\!\s*", ""),
    (r"(?<!\\)\\\\(?=(?:boxed|fbox|frac|sqrt|text|pi|left|right|times|cdot|infty)\b)", r"\\"),
    (
        rf"^\s*(-?)\s*(?:US)?(\\\$|[$€£¥₹]|USD|EUR|GBP|INR|Rs\.?)\s*{_AMOUNT}\s*$",
        lambda m: f"{m[1]}{m[3]}\\text{{{_CURRENCIES.get(m[2], 'dollar')}}}",
    ),
    (r"(?<=\d)\s*¢", r"\\text{cents}"),
    (r"(?<=\d)\s*(?:\\\$|[$€£¥₹])\s*(?=\d)", " ; "),
    (r"\\\$|[$€£¥₹]", ""),
    (r"(?<!\\)\\[()\[\]]", ""),
    (r"\\(?:left|right)\s*\.", ""),
    (r"\\(?:(?:text)?color|colorbox|fcolorbox\s*\{[^{}]*\})\s*\{[^{}]*\}|\\operatorname\*",
     lambda m: r"\text" if m[0].endswith("*") else ""),
    (UNSEEN, " "),
    (r"(?<!\\)\\[,;:>\s]|~", " "),
    (r"</?(?:b|i|em|strong|u|p)>", ""),
    (r"\*\*([A-Za-z ]+:?)\*\*", r"\1"),
    (r"(?<!\\)((?:\\\\)*)\\$", r"\1"),
    (r"\\\\\[[\d.]+\s*[a-z]{2}\]|\\cr(?![A-Za-z])", r"\\\\"),
    (r"(?<=\{)(?:smallmatrix|array)(?=\})(?:\}\s*\{[lcr|\s]*(?=\}))?", "matrix"),
    (r"\\([A-Za-z]+)\s*\{(\w)\}", lambda m: m[2] if _RENAMED.get(m[1]) == "" else m[0]),
)  # fmt: skip
_MORE_LATEX = _rules(
    (r"\\text\s+([A-Za-z0-9])(?![A-Za-z])", r"\\text{\1}"),
    (r"[(\[]\s*(\\begin\{matrix\}(?:(?!\\begin).)*?\\end\{matrix\})\s*[)\]]", r"\1"),
    (r"<=", r"\\le "),
    (r">=", r"\\ge "),
    (r"!=|\\not\s*=|\\not\s*\{\s*=\s*\}", r"\\ne "),
    (r"\.\.\.", r"\\ldots "),
    (r"\^\s*(?:\{\s*(?:\\circ|\\text\{o\}|o)\s*\}|\\circ(?![A-Za-z])|\\text\{o\}|(?<=\d\^)o(?![A-Za-z]))",
     r"^\\circ "),
    (r"\\mathbb\s*\{?\s*([A-Z])\s*\}?", r"\\mathbb{\1}"),
    (r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}|^([^{}]*)\\over(?![A-Za-z])([^{}]*)$",
     lambda m: rf"\frac{{{m[1] or m[3] or ''}}}{{{m[2] or m[4] or ''}}}"),
    (r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
    (r"\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r"\\overline{\1\2\3}"),
    (r"(?<=\d)(\s*(?:\\text\{)?\s*[aApP])\.\s*[mM]\.?", r"\1m"),
    (r"(?<!\\)%", r"\\%"),
    (r"(?<=\d)(\s*)per cent(?![A-Za-z])", r"\1percent"),
    (r"\*\*(?=\s*[-\d({A-Za-z])(?<=[\d)}A-Za-z]\*\*)", "^"),
)  # fmt: skip
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+(?:[ '-]+[A-Za-z]+)*")
_INNER_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_TEXT = re.compile(r"\\text\s*\{((?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*+\})*+)\}")
_FORMULA = re.compile(r"[\d=+^]|\\[A-Za-z]")
_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}")
_PLAIN = re.compile(r"(?<![\\A-Za-z])([A-Za-z]{2,})(?![A-Za-z])")
_UNIT = r"(\\text\{[A-Za-z ]+\}(?:\s*\^\s*(?:\d|\{\d\}))?)"
_BASE = r"\d{1,2}|two|three|four|five|six|seven|eight|nine|ten|twelve|sixteen"
_BOUND = r"(\{[^{}]*\}|\\infty|\w)"  # of a sum
_NUMBERS = _rules(
    (r"(\d)\s*(?:\^\s*\{?\s*\\text\{(?:st|nd|rd|th)\}\s*\}?|\\text\{(?:st|nd|rd|th)\}"
     r"|\^\s*\{\s*(?:st|nd|rd|th)\s*\}|(?:st|nd|rd|th)(?![A-Za-z]))", r"\1"),
    (r"(?<=\d)\s*(?:[xX]|\\text\{[xX]\})\s*(?=10\s*\^)", r"\\times "),
    (r"(?<![\d.)}\w])\.(?=\d)", "0."),
    (r"\^\s*([+-]?(?:\d{2,}|\d*\.\d+)|[+-](?:\d|[A-Za-z](?![A-Za-z])))", r"^{\1}"),
    (r"\^\s*(\\frac\{[^{}]*\}\{[^{}]*\})", r"^{\1}"),
    (r"\\log\s?_\s?(?:\{\s?(\w+)\s?\}|(1\d+|\w))\s*", r"\\log_{\1\2} "),  # there is no base 1
    (r"_\s*(\d{2,})", r"_{\1}"),
    (rf"(\\(?:sum|prod|int)\s?)\^\s?{_BOUND}\s?_\s?{_BOUND}", r"\1_\3^\2"),
    (r"\\sqrt\s?(\[[^\[\]]*\])\s?(\d|[A-Za-z](?![A-Za-z]))", r"\\sqrt\1{\2}"),
    (r"\\(frac|binom|sqrt)(?:\s*(\d)|\s+([A-Za-z]))", r"\\\1{\2\3}"),
    (r"\\(frac|binom)\s*(\{[^{}]*\})\s*(\w)", r"\\\1\2{\3}"),
    (r"(\\(?:sin|cos|tan|cot|sec|csc))\s*\^\s*(\d)\s*", r"\1^{\2} "),
    (rf"\\frac\s*\{{\s*{_UNIT}\s*\}}\s*\{{\s*{_UNIT}\s*\}}", r"\1/\2"),
    (r"(?<=\d)\s*(?:\\text\{to\}|to)\s*(?=\d)", ":"),
    (rf"(?<=[\dA-F])\s*\(?\s*(?:\\text\{{)?(?:in\s+)?base\s*\}}?\s*({_BASE})\s*\}}?\s*\)?",
     r"_{\1}"),
    (r"\(?\s*(?:\\[pb]?mod|\\text\{mod\}|(?<![A-Za-z\\])mod)(?![A-Za-z])\s*\{?\s*(\w+)\s*\}?\s*\)?",
     r" \\pmod{\1}"),
    (r"^\((\d+)\)\s*/\s*\((\d+)\)$", r"\1/\2"),
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
    text = _SPACES.sub(" ", _in_ascii(text)).strip()  # in a long run `\s*` takes quadratic time
    text = _SPACES.sub(" ", _apply(_LATEX, text))
    text = _COMMAND.sub(lambda match: _RENAMED.get(match[1], match[0]), text)
    text = _unwrap(_apply(_MORE_LATEX, text))
    for _ in range(3):  # \text in \text
        text = _TEXT.sub(lambda match: _in_text(match[1]), text)
    text = _PLAIN.sub(lambda match: _plain_word(match[1]), text)
    text = _calls(text)
    text = numerals.plain(text)
    text = _apply(_NUMBERS, text)
    return _unwrap(_SPACES.sub(" ", text))


def _in_ascii(text: str) -> str:
    """Convert digits, signs and mathematical symbols of Unicode; remove what has no width."""
    if text.isascii():
        return text
    text = re.sub("\N{SQUARE ROOT}\\s*(\\d+(?:\\.\\d+)?)", r"\\sqrt{\1}", text)
    text = re.sub("\N{CUBE ROOT}\\s*(\\d+(?:\\.\\d+)?|[a-z])", r"\\sqrt[3]{\1}", text)
    text = re.sub("(?:\\d[\u0304\u0305])+", lambda m: rf"\overline{{{m[0][::2]}}}", text)
    text = re.sub("(\\d)\u0307", r"\\dot{\1}", text)
    text = re.sub(f"{_RAISED}\N{FRACTION SLASH}{_LOWERED}", _compatible, text)
    text = re.sub(_RAISED, lambda m: f"^{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = re.sub(_LOWERED, lambda m: f"_{{{unicodedata.normalize('NFKC', m[0])}}}", text)
    text = "".join(_character(c) for c in text)
    text = re.sub(r"(\d)\N{FRACTION SLASH}(\d+)", r"\\frac{\1}{\2}", text)
    return re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text.translate(_TABLE))


def _compatible(match: re.Match[str]) -> str:
    return unicodedata.normalize("NFKC", match[0])


def _character(c: str) -> str:
    if c.isascii() or c in _SYMBOLS:
        return c
    return "" if unicodedata.category(c) == "Cf" else unicodedata.normalize("NFKC", c)


def _in_text(content: str) -> str:
    r"""Return what `\text{content}` says, with `\text` only around its words."""
    content = _INNER_TEXT.sub(r"\1", content).strip()
    if _FORMULA.search(content) and not _LONG_WORD.search(content):  # \text{2k}
        return f" {content} "
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
    name = word if word in _FUNCTIONS else word.lower()
    if name in _FUNCTIONS and not (name == "min" or name == "sec"):
        return f"\\{name} "
    return r"\infty " if name == "infinity" else word


def _calls(text: str) -> str:
    r"""Write the argument in parentheses of `sqrt`, `exp` and `^` in braces."""
    for pattern, opened in (
        (r"\\sqrt\s*\(", r"\sqrt{"),
        (r"\\exp\s*\(", "e^{"),
        (r"\^\s*\(", "^{"),
    ):
        for _ in range(20):
            match = re.search(pattern, text)
            end = closing(text, match.end() - 1) if match else -1
            if match is None or end < 0:
                break
            text = f"{text[: match.start()]}{opened}{text[match.end() : end]}}}{text[end + 1 :]}"
    return text


def closing(text: str, start: int) -> int:
    """Return where the bracket at `start` closes, -1 if it does not."""
    depth = 0
    for i in range(start, len(text)):
        depth += (text[i] in "([{") - (text[i] in ")]}")
        if depth == 0:
            return i
    return -1


_LABEL = re.compile(
    r"\s*((?>\\text\{[A-Za-z '-]+\}|[A-Za-z']{2,}+)"
    r"(?>\s+(?:\\text\{[A-Za-z '-]+\}|[A-Za-z']{2,}+))*+)\s*(:|=)?\s*(?=\S)"
)
_AROUND = re.compile(  # what leads to an answer or ends it: `= 5`, `\therefore 5`, `5 \blacksquare`
    r"^(?:=|:|,|\\(?:therefore|Rightarrow|implies|checkmark)(?![A-Za-z]))\s*"
    r"|(?<=\S)\s*(?:\\(?:blacksquare|square|checkmark|qed|newline)|(?<![A-Za-z])QED|\\\\)$"
    r"|(?<!\\)[.,;]+$"
)


def _unwrap(text: str) -> str:
    """Remove what stands around an answer: marks, outer brackets of one value, labels."""
    for _ in range(10):
        before = text
        text = text.strip().strip("`").strip()
        for mark in ("**", "__", "*", '"', "'"):
            if text.startswith(mark) and text.endswith(mark) and len(text) > 2 * len(mark):
                text = text[len(mark) : -len(mark)].strip()
        text = _AROUND.sub("", text)
        if text and text[0] in "{(" and text[-1] in "})" and closing(text, 0) == len(text) - 1:
            inner = text[1:-1]
            if text[0] == "{" or not re.search(r"[,;]|\\ldots", inner):
                text = inner
        text = _without_label(text)
        if text == before:
            break
    return text


def _without_label(text: str) -> str:
    match = _LABEL.match(text)
    words = re.findall(r"[A-Za-z][a-zA-Z']*", match[1].replace(r"\text", " ")) if match else []
    if match is None or not words or len(match[1]) > 80:
        return text
    announced = match[2] or words[-1].lower() in _ANNOUNCE
    known = all(word.lower() in LABELS or (word in UNITS and len(word) > 2) for word in words)
    return text[match.end() :] if announced and known else text
