r"""Extract the answer from a response and verify it; rewards and benchmarks share this verifier.

The answer is the content of the last `\boxed{...}` that holds one. Letters and yes/no are compared
as text (`choices`). Numbers and LaTeX are rewritten in one plain form (`normalize`), read as lists,
pairs, intervals, chains and units (`structure`), and compared by the choices that `policy` states;
their values exactly where possible, else by math-verify's parser and sympy (`scalars`). Nothing
here uses signals or threads, so on hostile input `verify` may take long or never return:
`thinktuning.grading.grader` runs it in another process with a time limit. `verify_literally` and
`parse_gold`'s plain kinds take milliseconds on any input.

Departures from math-verify's defaults:

1. It only reads single values of the last box, and picks no number out of the text around it.
2. A gold answer that means nothing (`1=1`, `0/0`, `???`) raises `ValueError`; it never scores 1.
3. What equals what is not math-verify's comparison, which grants `0=1`, `4=3` and `3 wrong` for 3.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from thinktuning.grading import choices, policy, scalars
from thinktuning.grading.expressions import Unreadable, rational
from thinktuning.grading.names import is_no_answer
from thinktuning.grading.normalize import normalize

# `text` is whatever a function of the user's own compares: it is never looked for in a box
AnswerKind = Literal["number", "latex", "letter", "yes_no", "text"]

MAX_TEXT = 20_000  # characters of an answer or a gold answer that is looked at

MAX_OUTER = 200  # characters of a box with a box in it that may be an answer

# An escaped character (`\{`, `\\`) is skipped, except that `\\boxed{`, with a doubled backslash, is
# still a box. Without braces a box holds a number, a letter or a command: `\boxed 5`.
_BOX = r"\\(?:boxed|fbox|framebox)"
_TOKEN = re.compile(
    rf"(?P<box>{_BOX}\s*\{{)"
    rf"|{_BOX}(?P<bare>\s*-?\d+(?:,\d{{3}})*(?:\.\d+)?|\s+[A-Za-z]\b(?! [a-z])"
    rf"|\s*\\(?:[dt]?frac|text|textbf|mathrm|mathbf)(?:\{{[^{{}}]{{0,80}}\}})+)"
    rf"|\\(?!{_BOX}\b).|[{{}}]",
    re.DOTALL,
)
# `\boxed{1} and \boxed{2}` is one answer, a list, and so is `x = \boxed{1} or x = \boxed{2}`.
_SPACE = r"(?:[\s$*~&]|\\[()\[\],;: ]|\\q?quad(?![A-Za-z]))*"
_CONNECTOR = re.compile(
    rf"{_SPACE}(?:[,;]|(?=[^&]*&[^&]*$)|,?{_SPACE}\\text\{{\s*(?:and|or)\s*\}}|,?{_SPACE}\b(?:and|or)\b)"
    rf"{_SPACE}(?:(?P<name>[A-Za-z])\s*=)?{_SPACE}"
)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_DECIMAL = re.compile(r"[+-]?[0-9]*\.[0-9]+")
_THOUSANDS = re.compile(
    r"[+-]?[0-9]{1,3}(?:(?:,[0-9]{3})+|(?:[ \u00a0\u2009\u202f][0-9]{3})+)(?:\.[0-9]+)?"
)
_CURRENCY = re.compile(r"^([+-]?)\s*(?:\\[$]|[$€£¥₹])\s*(?=[\d.+-])|(?<!\s)\s*(?:\\[$]|[$€£¥₹])$")


class BadGold(ValueError):
    """A gold answer that cannot be graded; `reason` is one of a few, to count by."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Box(NamedTuple):
    """Where a box starts and ends in a text, and what it holds."""

    start: int
    end: int
    content: str


def boxes(text: str) -> list[Box]:
    r"""Return every closed box, in order; of nested boxes the innermost.

    The outer one counts if it computes with the inner one, as `\boxed{-\boxed{5}}` does. One pass
    with a stack, linear in the length of the text. A box that is never closed is ignored.
    """
    boxes: list[Box] = []
    last_start = -1
    open_braces: list[tuple[int, int] | None] = []  # a box's start and content, None for a brace
    for token in _TOKEN.finditer(text):
        if token["box"]:
            open_braces.append((token.start(), token.end()))
        elif token["bare"]:
            boxes.append(Box(token.start(), token.end(), token["bare"].strip()))
        elif token[0] == "{":
            open_braces.append(None)
        elif token[0] == "}" and open_braces and (opened := open_braces.pop()):
            start, inside = opened
            if inside <= last_start:  # it holds the last box
                if token.start() - inside >= MAX_OUTER or not _computes(
                    text[inside : boxes[-1].start] + text[boxes[-1].end : token.start()]
                ):
                    continue
                while boxes and boxes[-1].start > start:
                    boxes.pop()
            last_start = max(last_start, inside)
            boxes.append(Box(start, token.end(), text[inside : token.start()].strip()))
    return boxes


def _computes(around: str) -> bool:
    """Return whether what is around a box in a box is mathematics, and no sentence."""
    around = normalize(re.sub(rf"{_BOX}(?![A-Za-z])", " ", around))
    words = re.search(r"\\text(?![A-Za-z])|(?<![A-Za-z\\])[A-Za-z]{2,}", around)
    return words is None and re.search(r"[\w,;+*/^!<>-]", around) is not None


def all_boxed(text: str) -> list[str]:
    r"""Return the content of every closed box, in order; of nested boxes the innermost."""
    return [content for _, _, content in boxes(text)]


def committed(text: str) -> list[str]:
    r"""Return the answers that a response commits to, in order.

    Boxes without an answer are left out (`\boxed{}`, `\boxed{...}`, `\boxed{\text{answer}}`), and
    boxes that only a comma, `and` or `or` separates are one list.
    """
    answers: list[list[str]] = []  # each a list of boxes
    first = last_end = -1
    for start, end, content in boxes(text):
        if len(content) <= MAX_TEXT and is_no_answer(normalize(content[: policy.MAX_LENGTH])):
            continue
        between = text[last_end:start] if 0 <= last_end <= start <= last_end + 40 else ""
        connector = _CONNECTOR.fullmatch(between) if between else None
        if connector and (not connector["name"] or _is_named(text, first, connector["name"])):
            if len(answers[-1]) > 1 or not _is_restated(answers[-1][0], content):
                answers[-1].append(content)
        else:
            answers.append([content])
            first = start
        last_end = end
    return [", ".join(of_list) for of_list in answers]


def _is_restated(first: str, second: str) -> bool:
    """Return whether two boxes hold the same plain number, as in `1/2 or 0.5`."""
    value = rational(normalize(first[: policy.MAX_LENGTH]))
    return value is not None and value == rational(normalize(second[: policy.MAX_LENGTH]))


def _is_named(text: str, start: int, name: str) -> bool:
    """Return whether `name =` stands before a box."""
    return (
        re.search(rf"(?<![A-Za-z]){name}\s*={_SPACE}$", text[max(start - 40, 0) : start])
        is not None
    )


def extract_boxed(text: str) -> str | None:
    r"""Return the last answer in a closed `\boxed{...}`, None if there is none."""
    answers = committed(text)
    return answers[-1] if answers else None


def parse_gold(gold: str, kind: AnswerKind) -> str:
    r"""Return the canonical form of a gold answer, which equals itself, as `verify` expects it.

    `1.39e-10` becomes `1.39\times10^{-10}`, `**(C)**` C, GSM8K's `... #### 1,234` 1234.

    Raises:
        BadGold: the gold answer is not of this kind; its question must not enter a dataset.
    """
    text = gold.rsplit("####", 1)[-1] if kind == "number" else gold
    shown = f"gold answer {text.strip()[:80]!r}"
    if len(text) > (policy.MAX_LENGTH if kind == "latex" else MAX_TEXT):
        raise BadGold(f"{shown}... has {len(text)} characters", "too long")
    if kind == "text":
        if not text.strip():
            raise BadGold("gold answer is empty", "empty")
        return text.strip()
    if kind == "latex":
        latex = normalize(text.strip())
        if flaw := policy.flaw(latex):
            raise BadGold(f"{shown} cannot be graded: {flaw}", flaw)
        return latex
    canonical = _canonical(text, kind)
    if canonical is None:
        raise BadGold(f"{shown} is not a {kind}", f"not a {kind}")
    return canonical


def verify_literally(
    answer: str, gold: str, kind: AnswerKind, options: Sequence[str] = ()
) -> bool | None:
    """Verify what needs no sympy, in milliseconds; None if only `verify` can decide.

    Args:
        answer: the extracted answer.
        gold: the gold answer, as `parse_gold` returns it.
        kind: their kind.
        options: the texts of a question's options A, B, ..., if they are known.

    Raises:
        ValueError: the gold answer is not of this kind.
    """
    if len(answer) > MAX_TEXT:
        return False
    if kind == "text":
        return answer.strip() == gold
    if kind == "letter":
        return choices.letter(answer, options) == parse_gold(gold, kind)
    if kind == "yes_no":
        return choices.yes_no(answer) == parse_gold(gold, kind)
    number, gold_number = _canonical_number(answer), _canonical_number(gold)
    if number is not None and gold_number is not None:
        short = max(len(number), len(gold_number)) < policy.MAX_LENGTH
        return number == gold_number or (short and Fraction(number) == Fraction(gold_number))
    try:
        return policy.equal(gold, answer, literally=True, number=kind == "number")
    except scalars.Undecided:
        return None
    except Unreadable:  # a placeholder
        raise ValueError(f"gold answer {gold!r:.200} has no meaning") from None


def verify(answer: str | None, gold: str, kind: AnswerKind, options: Sequence[str] = ()) -> bool:
    """Return whether the answer equals the gold answer; None (no answer) never does.

    Args and errors are those of `verify_literally`.
    """
    if answer is None:
        return False
    literal = verify_literally(answer, gold, kind, options)
    if literal is not None:
        return literal
    try:
        return policy.equal(gold, answer, number=kind == "number")
    except Unreadable:
        if policy.flaw(normalize(gold)) is None:
            return False
        raise ValueError(f"gold answer {gold!r:.200} has no meaning") from None


def _canonical(text: str, kind: Literal["number", "letter", "yes_no"]) -> str | None:
    """Return the canonical spelling of a plain answer, None if the text is not one."""
    if kind == "letter":
        return choices.letter(text)
    return choices.yes_no(text) if kind == "yes_no" else _canonical_number(text)


def _canonical_number(text: str) -> str | None:
    r"""Return `-1234.5` for `-\$1,234.5.`, None for any but integers, decimals and `1e-10`."""
    plain = text.strip()
    if plain.isascii() and plain.isdigit():
        return plain.lstrip("0") or "0"
    long = len(plain) > policy.MAX_LENGTH
    number = plain if long else normalize(_CURRENCY.sub(r"\1", plain))
    if _THOUSANDS.fullmatch(number):
        number = re.sub(r"[^0-9.+-]", "", number)
    if r"\times10^" in number and (value := rational(number)) is not None:
        return _as_decimal(value)
    if not (_INTEGER.fullmatch(number) or _DECIMAL.fullmatch(number)):
        return None
    sign = "-" if number.startswith("-") else ""
    integer, point, fraction = number.lstrip("+-").partition(".")
    magnitude = (integer.lstrip("0") or "0") + point + fraction
    return magnitude if magnitude == "0" else sign + magnitude


def _as_decimal(value: Fraction) -> str:
    """Return a number of finitely many decimals in full, without superfluous zeros."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs((value * 10**places).numerator)).rjust(places + 1, "0")
    whole, fraction = digits[: len(digits) - places], digits[len(digits) - places :]
    return ("-" if value < 0 else "") + whole + (f".{fraction}" if fraction else "")
