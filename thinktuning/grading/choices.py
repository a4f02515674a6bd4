r"""Answers that choose: the letter of an option, and yes or no.

A letter may stand alone (`(B)`, `\textit{B}`, `The answer is B`) or before its option (`B -
Paris`). Where the options are known, their texts decide: `Paris` is B if exactly one option says
so, and `B. London` is none if London is option C. What contradicts itself (`A or B`, `(B) is
incorrect`, `Yes, but actually it is not`) is no choice.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import islice

from thinktuning.grading import vocabulary
from thinktuning.grading.expressions import rational
from thinktuning.grading.normalize import UNSEEN, normalize

MAX_LENGTH = 2_000  # characters
MAX_PLACES = 20  # of a letter in an answer
_LETTERS = "ABCDEFGHIJ"  # of options; further ones have none

_NEGATIONS = re.compile(
    r"\\(?:neg?|neq|lnot|not|[xbh]?cancel(?:to)?|sout|st|overline|bar)(?![A-Za-z])|[¬≠]|!=|~~|^\s*~"
)
_COMMANDS = re.compile(
    rf"{UNSEEN}|\\(?:text)?color\s*\{{[A-Za-z]{{1,20}}\}}"
    r"|\\(?:[a-zA-Z]+\*?(?=[^a-zA-Z]|$)|[,;:! ()\[\]]|$)"
    r"|[{}$*~`\"\u201c\u201d\u200b-\u200d\ufeff\u2713\u2714\u2705]"
)
_BRACKETED = re.compile(r"\(((?:option|choice|answer|letter)\b[^()]*)\)", re.IGNORECASE)
_INTRODUCED = re.compile(
    r"(?:(?:so|thus|therefore|hence|and)\b,?\s*)?"
    r"(?:(?:the|my|is|it\s+is|it's|i\s+(?:choose|pick|select))\s+)*"
    r"(?:(?:final|correct|right|best)\s+)*"
    r"(?:(?:answer|ans|option|choice|letter)\b\s*)*(?:is\b|[:=])?\s*:?\s*"
    r"(?:(?:option|choice|letter)\b\s*)?",
    re.IGNORECASE,
)
_LETTER = re.compile(
    r"[(\[]\s*([A-J])\s*[)\]]\s*[.:,-]?"
    r"|([A-J])(?:\s*[.:;!),]|\s+-|\s+(?=because\b|since\b)|\s*$|(?=\s+is\b))",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    r"is\s+(?:(?:the\s+)?(?:correct|right|best)(?:\s+(?:answer|option|choice))?"
    r"|(?:the|my)\s+(?:final\s+)?(?:answer|option|choice))\W*",
    re.IGNORECASE,
)
_FIRST = re.compile(r"[(\[]?\s*([A-J])\b\s*[)\]]?(.+)", re.IGNORECASE | re.DOTALL)
_LAST = re.compile(r"(.+?)\s?[(\[]\s?([A-J])\s?[)\]]\W*", re.IGNORECASE | re.DOTALL)
_MATHEMATICS = re.compile(r"\\(?!text(?![A-Za-z]))[A-Za-z]")
# Between a letter and its option, where a minus sign is a part of the option.
_BETWEEN = re.compile(
    r"(?:[\s.:;,=|)\]*~$]|\\[()\[\]]|[-\N{EN DASH}\N{EM DASH}]+(?=\s|[A-Za-z]{2}))*"
)
_OTHER_LETTER = re.compile(
    r"[(\[]\s*[A-J]\s*[)\]]|(?<![A-Za-z'])[B-HJ](?![A-Za-z'])|(?<![A-Za-z'])[AI][.:)](?=\s|$)"
)
_STARTS_LIST = re.compile(r"\s*(?:and\b|or\b|[,;/&+|])\s*[A-J]\b", re.IGNORECASE)
_REASON = re.compile(r"\b(?:because|since|as)\b", re.IGNORECASE)
# What says of a letter that another one is better, but for `at least`.
_UNFAVORED = re.compile(
    r"^\W*(?:is|was|seems|looks|appears)\b(?:\s+\w+){0,3}?\s+(?<!at )(?:least|less)\b"
    r"|\b(?:least|less)\s+(?:likely|plausible|probable|correct|accurate|appropriate|suitable"
    r"|convincing|reasonable|relevant|true)\b",
    re.IGNORECASE,
)
_OPINION = re.compile(r"(yes|no|true|false)\b\s*[.,;:!(-]*\s*(.*)", re.IGNORECASE | re.DOTALL)
_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}
_CONTRADICTIONS = vocabulary.words("contradictions")
_AFFIRMATIONS = vocabulary.words("affirmations")


def letter(text: str, options: Sequence[str] = ()) -> str | None:
    r"""Return `B` for `\text{(b)}`, `Option B` and `B. Paris`, None for what names no one option.

    Args:
        text: the answer.
        options: the texts of options A, B, ...; none if they are not known.
    """
    if len(text) > MAX_LENGTH:
        return None
    bare = _bare(text)
    if bracketed := _BRACKETED.fullmatch(bare):
        bare = bracketed[1]
    bare = _INTRODUCED.sub("", bare, count=1)
    only_letter = re.fullmatch(r"\(?[A-J]\)?\.?", bare, re.IGNORECASE)
    plain = bare if not _MATHEMATICS.search(normalize(text)) else ""
    if not only_letter and (named := _named(text, options) or _named(plain, options)):
        return named
    if beside := _beside(bare, text, options):
        return beside
    found = _LETTER.match(bare)
    if found is None:
        return None
    chosen: str = (found[1] or found[2]).upper()
    if options and ord(chosen) - ord("A") >= len(options):
        return None
    rest = found.string[found.end() :].strip().removeprefix("-").strip()
    return chosen if _agrees(rest, text, found, options) else None


def _named(text: str, options: Sequence[str]) -> str | None:
    """Return the letter of the only option with this text."""
    named = _options(text, options)
    return _LETTERS[named[0]] if len(named) == 1 and named[0] < len(_LETTERS) else None


def _options(text: str, options: Sequence[str]) -> list[int]:
    """Return the places of the options with this text or this number."""
    words, value = _words(text), rational(normalize(text)) if options else None
    return [
        i
        for i, option in enumerate(options)
        if (words and _words(option) == words)
        or (value is not None and rational(normalize(option)) == value)
    ]


def _beside(bare: str, text: str, options: Sequence[str]) -> str | None:
    """Return the letter that stands before or after exactly its option."""
    beside = []
    if options and (found := _FIRST.fullmatch(bare)):
        beside.append((found[1].upper(), _written(text, found[1], found[2])))
    if options and (found := _LAST.fullmatch(text) or _LAST.fullmatch(bare)):
        beside.append((found[2].upper(), found[1]))
    return next((letter for letter, said in beside if _named(said, options) == letter), None)


def _written(text: str, letter: str, rest: str) -> str:
    """Return what follows a letter as it is written, with its LaTeX; `rest` is that without it."""
    plain = re.sub(r"^\W+", "", rest)
    for found in islice(re.finditer(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", text), MAX_PLACES):
        after = text[found.end() :]
        if re.sub(r"^\W+", "", _bare(after)) == plain:
            return _closed(after)
    return rest


def _closed(text: str) -> str:
    """Return a text without the braces that close nothing, and what leads to it."""
    depth, kept = 0, []
    for c in text:
        depth += (c == "{") - (c == "}")
        if depth >= 0:
            kept.append(c)
        depth = max(depth, 0)
    return _BETWEEN.sub("", "".join(kept), count=1)


def _agrees(rest: str, text: str, found: re.Match[str], options: Sequence[str]) -> bool:
    """Return whether what follows a letter is its option or at least contradicts nothing."""
    letter = found[1] or found[2]
    chosen = ord(letter.upper()) - ord("A")
    written = _written(text, letter, found.string[found.end() :])
    if said := _options(written, options):
        return chosen in said
    if not _words(rest) or _CONFIRMED.fullmatch(rest):
        return True
    separator = found[0].rstrip()[-1]
    if separator.isalpha() and not _REASON.match(rest):  # "B is ..."
        return False
    if _STARTS_LIST.match((separator if separator in ",;" else "") + " " + rest):
        return False
    claimed = f" {_words(_REASON.split(written)[0])} "
    own = _words(options[chosen]) if options else ""
    others = (_words(option) for i, option in enumerate(options) if i != chosen)
    if any(other and other not in own and f" {other} " in claimed for other in others):
        return False
    if _UNFAVORED.search(_REASON.split(rest)[0]):
        return False
    return not (_OTHER_LETTER.search(rest) or _CONTRADICTIONS & set(_tokens(rest)))


def yes_no(text: str) -> str | None:
    """Return `yes` for `True` and for `Yes, it did`, None for `yes and no`."""
    if len(text) > MAX_LENGTH:
        return None
    opinion = _OPINION.fullmatch(_INTRODUCED.sub("", _bare(text).strip(" .!()'"), count=1))
    if opinion is None:
        return None
    said = _YES_NO[opinion[1].lower()]
    denied = re.sub(r"\bnot (?:true|correct|right)\b", "false", " ".join(_tokens(opinion[2])))
    rest = set(denied.split())
    against = _CONTRADICTIONS if said == "yes" else _AFFIRMATIONS
    separated = re.match(r"\w+\s*(?:[.,;:!(-]|\s(?:it|this|there|they|he|she|we)\b)", opinion[0])
    return None if against & rest or (opinion[2] and not separated) else said


def _bare(text: str) -> str:
    text = re.sub("[\u2018\u2019]", "'", unicodedata.normalize("NFKC", text))
    text = re.sub("[\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}]", " - ", text)
    text = _COMMANDS.sub(" ", _NEGATIONS.sub(" not ", text))
    text = re.sub(r"\s+", " ", text).strip(" .")
    return re.sub(r"^'([^']*)'$", r"\1", text)


def _words(text: str) -> str:
    r"""Return a text as options are compared: words, signs and numbers, without case.

    LaTeX counts as it is read, so that `\frac{1}{2}` is neither `1 2` nor `\frac{1}{3}`.
    """
    if re.search(r"[\\^]|[^\x00-\x7f]", text):
        text = re.sub(r"\\text\{([^{}]*)\}", r" \1 ", normalize(text))
        text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text)
    else:
        text = _bare(text)
    return " ".join(re.findall(r"\\?\w+|[^\w\s.,;:()\[\]'\"]", text.lower()))


def _tokens(text: str) -> list[str]:
    """Return the words of a text; a contraction such as `couldn't` is `not`."""
    return ["not" if word.endswith("n't") else word for word in re.findall("[a-z']+", text.lower())]
