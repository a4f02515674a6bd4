r"""Extract the answer from a response and verify it; rewards and benchmarks share this verifier.

The answer is the content of the last `\boxed{...}`. Letters, yes/no and plain numbers are compared
as text, ignoring formatting (`(B) Paris`, `Yes, it did`, `1\,234`, `\$5`, `50 dollars`); everything
else goes to math-verify. Nothing here uses signals or threads, so on hostile input `verify` may
raise or never return: `thinktuning.grading.grader` runs it in another process with a time limit.

Departures from math-verify's defaults:
1. It only gets the content of the last box, so it never picks a number out of the surrounding text.
2. Text that does not parse as LaTeX is incorrect, even if the gold answer does not parse either:
   such a gold answer raises `ValueError` instead of scoring 1.
3. An exception during the comparison is raised, not turned into "incorrect".
"""

import re
import unicodedata
from typing import Any, Literal, assert_never

AnswerKind = Literal["number", "latex", "letter", "yes_no"]

# An escaped character (`\{`, `\\`) is skipped, except that `\\boxed{`, with a doubled backslash, is
# still a box.
_TOKEN = re.compile(r"(?P<box>\\boxed\s*\{)|\\(?!\\boxed\b).|[{}]", re.DOTALL)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?[0-9]*\.[0-9]+")
_THOUSANDS = re.compile(
    r"[+-]?[0-9]{1,3}(?:(?:,[0-9]{3})+|(?:[ \u00a0\u2009\u202f][0-9]{3})+)(?:\.[0-9]+)?"
)
_SEPARATORS = [("{,}", ","), (r"\!", ""), (r"\,", " "), (r"\ ", " "), ("~", " ")]
_CURRENCY = re.compile(r"\\[$]|[$€£¥₹]")
# math-verify reads "50 dollars" as a product of letters. "5 million" is not 5, so it is left alone.
_UNIT = re.compile(
    r"(?<=[0-9])\s+(?!(?:dozen|hundred|thousand|million|billion)\b)[a-z]{3,}(?: [a-z]+)*$", re.I
)
_OTHER_SCRIPTS = str.maketrans(
    "\N{MINUS SIGN}\N{EN DASH}\N{ARABIC DECIMAL SEPARATOR}\N{ARABIC THOUSANDS SEPARATOR}", "--.,"
)
_FONT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mathsf|boldsymbol)\b|[{}$*]")
_DECORATION = re.compile(_FONT.pattern + r"""|[\s().'"`]""")
_OPTION = re.compile(
    r"(?:(?:option|answer|choice)[:\s]*)?(?:\(([A-J])\)|([A-J])[.:)]|([A-J])$)(.*)", re.I | re.S
)
_OTHER_OPTION = re.compile(r"\([A-J]\)|\b[A-J][.:)](?:\s|$)|^\s*(?:and\b|or\b|[,;/&])", re.I)
_OPINION = re.compile(r"(yes|no|true|false)\b[.,;:!](.*)", re.I | re.S)
_OTHER_OPINION = re.compile(r"\b(?:yes|no|true|false)\b", re.I)
_YES_NO = {"yes": "yes", "true": "yes", "no": "no", "false": "no"}


def all_boxed(text: str) -> list[str]:
    r"""Return the content of every closed `\boxed{...}`, in order; of nested boxes the innermost.

    One pass with a stack, linear in the length of the text. A box that is never closed is ignored.
    """
    contents: list[str] = []
    last_start = -1
    open_braces: list[int | None] = []  # start of a box's content, None for any other brace
    for token in _TOKEN.finditer(text):
        if token["box"]:
            open_braces.append(token.end())
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces:
            start = open_braces.pop()
            if start is not None and start > last_start:
                contents.append(text[start : token.start()].strip())
                last_start = start
    return contents


def extract_boxed(text: str) -> str | None:
    r"""Return the content of the last closed `\boxed{...}`, None if there is none."""
    boxed = all_boxed(text)
    return boxed[-1] if boxed else None


def parse_gold(gold: str, kind: AnswerKind) -> str:
    """Normalize a gold answer to the form that `verify` expects.

    Raises:
        ValueError: the gold answer is not of this kind; its question must not enter a dataset.
    """
    if kind == "latex":
        parsed = gold.strip()
        if not _parse_latex(parsed):
            raise ValueError(f"gold answer {gold!r} is not LaTeX that math-verify can parse")
        return parsed
    text = gold.rsplit("####", 1)[-1] if kind == "number" else gold  # GSM8K: rationale #### answer
    canonical = _canonical(text, kind)
    if canonical is None:
        raise ValueError(f"gold answer {gold!r} is not a {kind}")
    return canonical


def verify_literally(answer: str, gold: str, kind: AnswerKind) -> bool | None:
    """Verify by comparing text, in linear time; None if only math-verify can decide.

    Raises:
        ValueError: the gold answer of a letter or yes/no question is not one.
    """
    if kind == "letter" or kind == "yes_no":
        return _canonical(answer, kind) == parse_gold(gold, kind)
    if kind == "number":
        answer = _UNIT.sub("", answer)
    answer_number, gold_number = _canonical(answer, "number"), _canonical(gold, "number")
    if answer_number is None or gold_number is None:
        return None
    if answer_number == gold_number:
        return True
    both_integers = "." not in answer_number and "." not in gold_number
    return False if both_integers else None


def verify(answer: str | None, gold: str, kind: AnswerKind) -> bool:
    """Return whether the answer equals the gold answer; None (no answer) never does.

    Raises:
        ValueError: the gold answer cannot be parsed.
        Exception: whatever sympy raises on an answer it cannot compare.
    """
    if answer is None:
        return False
    literal = verify_literally(answer, gold, kind)
    if literal is not None:
        return literal
    import math_verify

    gold_expressions = _parse_latex(gold)
    if not gold_expressions:
        raise ValueError(f"gold answer {gold!r} is not LaTeX that math-verify can parse")
    equal: bool = math_verify.verify(
        gold_expressions, _parse_latex(answer), timeout_seconds=None, raise_on_error=True
    )
    return equal


def _canonical(text: str, kind: Literal["number", "letter", "yes_no"]) -> str | None:
    """Return the canonical spelling of a plain answer, None if the text is not one."""
    match kind:
        case "number":
            return _canonical_number(text)
        case "letter":
            return _canonical_letter(unicodedata.normalize("NFKC", text))
        case "yes_no":
            return _canonical_yes_no(text)
        case _:
            assert_never(kind)


def _canonical_letter(text: str) -> str | None:
    r"""Return `B` for `\text{(b)}`, `Option B` and `B. Paris`, None for `A or B` or `Bee`."""
    bare = _DECORATION.sub("", text).upper()
    if re.fullmatch("[A-J]", bare):
        return bare
    option = _OPTION.fullmatch(_FONT.sub("", text).replace("~", " ").strip(" ."))
    if option is None or _OTHER_OPTION.search(option[4]):
        return None
    letter: str = option[1] or option[2] or option[3]
    return letter.upper()


def _canonical_yes_no(text: str) -> str | None:
    """Return `yes` for `True` and for `Yes, it did`, None for `yes and no`."""
    bare = _DECORATION.sub("", text).lower()
    if bare in _YES_NO:
        return _YES_NO[bare]
    opinion = _OPINION.fullmatch(_FONT.sub("", text).strip())
    if opinion is None or _OTHER_OPINION.search(opinion[2]):
        return None
    return _YES_NO[opinion[1].lower()]


def _canonical_number(text: str) -> str | None:
    r"""Return `-1234.5` for `-\$1,234.5.`, None for anything but a plain integer or decimal."""
    number = _CURRENCY.sub("", _in_ascii(text)).strip().strip("*").strip().removesuffix(".")
    for latex, separator in _SEPARATORS:
        number = number.replace(latex, separator)
    if _THOUSANDS.fullmatch(number):
        number = re.sub(r"[^0-9.+-]", "", number)
    if not (_INTEGER.fullmatch(number) or _DECIMAL.fullmatch(number)):
        return None
    sign = "-" if number.startswith("-") else ""
    integer, point, fraction = number.lstrip("+-").partition(".")
    magnitude = (integer.lstrip("0") or "0") + point + fraction
    return magnitude if magnitude == "0" else sign + magnitude


def _in_ascii(text: str) -> str:
    """Convert digits, minus signs and separators to ASCII, e.g. from Arabic-Indic or full width."""
    if text.isascii():
        return text
    text = text.translate(_OTHER_SCRIPTS)
    return re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text)


def _parse_latex(text: str) -> list[Any]:
    """Return the sympy expressions that math-verify parses, [] if the text is not math."""
    from math_verify import LatexExtractionConfig, parse

    text = _in_ascii(text).strip()
    if not text.endswith(r"\right."):
        text = text.removesuffix(".")
    expressions: list[Any] = parse(
        rf"\boxed{{{text}}}",
        [LatexExtractionConfig(boxed_match_priority=0)],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
        raise_on_error=True,
    )
    return expressions
