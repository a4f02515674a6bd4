r"""Answers that choose: the letter of an option, and yes or no.

A letter may stand alone (`(B)`, `\textit{B}`, `The answer is B`) or before its option (`B -
Paris`). Where the options are known, their texts decide: `Paris` is B if exactly one option says
so, and `B. London` is none if London is option C. What contradicts itself (`A or B`, `(B) is
incorrect`, `Yes, but actually it is not`) is no choice.
"""

import re
import unicodedata
from collections.abc import Sequence

MAX_LENGTH = 2_000  # characters

_COMMANDS = re.compile(r"\\(?:[a-zA-Z]+\*?(?=[^a-zA-Z]|$)|[,;:! ])|[{}$*~`\"\u200b-\u200d\ufeff]")
_INTRODUCED = re.compile(
    r"(?:(?:so|thus|therefore|hence|and)\b,?\s*)?"
    r"(?:(?:the|my|is)\s+)?(?:(?:final|correct|right|best)\s+)*"
    r"(?:answer|option|choice)(?:\s+(?:choice|option))?(?:\s+is\b|\s*[:=]|\b)\s*:?\s*"
    r"(?:(?:option|choice|letter)\b\s*)?",
    re.IGNORECASE,
)
_LETTER = re.compile(
    r"[(\[]\s*([A-J])\s*[)\]]\s*[.:,-]?|([A-J])(?:\s*[.:),]|\s+-|\s+(?=because\b|since\b)|\s*$)",
    re.IGNORECASE,
)
_CONTRADICTIONS_TEXT = """
not no nor neither never none or vs versus but however except instead rather actually incorrect
wrong false isn't aren't wasn't doesn't don't didn't cannot can't won't either both maybe perhaps
unless although though unlikely untrue invalid
"""
_CONTRADICTIONS = frozenset(_CONTRADICTIONS_TEXT.split())
_AFFIRMATIONS_TEXT = """
yes true but however actually correct right maybe perhaps or although though
"""
_AFFIRMATIONS = frozenset(_AFFIRMATIONS_TEXT.split())
_OTHER_LETTER = re.compile(
    r"[(\[]\s*[A-J]\s*[)\]]|(?<![A-Za-z'])[B-HJ](?![A-Za-z'])|(?<![A-Za-z'])[AI][.:)](?=\s|$)"
)
_STARTS_LIST = re.compile(r"\s*(?:and\b|or\b|[,;/&+|])\s*[A-J]\b", re.IGNORECASE)
_OPINION = re.compile(r"(yes|no|true|false)\b\s*[.,;:!-]*\s*(.*)", re.IGNORECASE | re.DOTALL)
_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


def letter(text: str, options: Sequence[str] = ()) -> str | None:
    r"""Return `B` for `\text{(b)}`, `Option B` and `B. Paris`, None for what names no one option.

    Args:
        text: the answer.
        options: the texts of options A, B, ...; none if they are not known.
    """
    if len(text) > MAX_LENGTH:
        return None
    bare = _bare(text)
    named = [i for i, option in enumerate(options) if _words(option) == _words(bare) != ""]
    if len(named) == 1 and not re.fullmatch(r"\(?[A-J]\)?\.?", bare, re.IGNORECASE):
        return "ABCDEFGHIJ"[named[0]]
    found = _LETTER.match(_INTRODUCED.sub("", bare, count=1) if _INTRODUCED.match(bare) else bare)
    if found is None:
        return None
    chosen: str = (found[1] or found[2]).upper()
    if options and ord(chosen) - ord("A") >= len(options):
        return None
    rest = found.string[found.end() :].strip().removeprefix("-").strip()
    return chosen if _agrees(rest, found, chosen, options) else None


def _agrees(rest: str, found: re.Match[str], chosen: str, options: Sequence[str]) -> bool:
    """Return whether what follows a letter is its option or at least contradicts nothing."""
    if not _words(rest):
        return True
    said = [i for i, option in enumerate(options) if _words(option) == _words(rest)]
    if said:
        return ord(chosen) - ord("A") in said
    separator = found[0].rstrip()[-1]
    if _STARTS_LIST.match((separator if separator in ",;" else "") + " " + rest):
        return False
    return not (_OTHER_LETTER.search(rest) or _CONTRADICTIONS & set(_tokens(rest)))


def yes_no(text: str) -> str | None:
    """Return `yes` for `True` and for `Yes, it did`, None for `yes and no`."""
    if len(text) > MAX_LENGTH:
        return None
    bare = _bare(text).strip(" .!()'")
    bare = _INTRODUCED.sub("", bare, count=1) if _INTRODUCED.match(bare) else bare
    opinion = _OPINION.fullmatch(bare)
    if opinion is None:
        return None
    said = _YES_NO[opinion[1].lower()]
    rest = set(_tokens(opinion[2]))
    against = _CONTRADICTIONS if said == "yes" else _AFFIRMATIONS
    bare_words = opinion[2] and not re.match(r"\w+\s*[.,;:!-]", bare)
    return None if against & rest or bare_words else said


def _bare(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    text = re.sub("[\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}]", " - ", text)
    return re.sub(r"\s+", " ", _COMMANDS.sub(" ", text)).strip(" .")


def _words(text: str) -> str:
    """Return a text as its options are compared: words, signs and numbers, without case."""
    return " ".join(re.findall(r"\w+|[^\w\s.,;:()\[\]'\"]", _bare(text).lower()))


def _tokens(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())
