"""Extracting the answer from a response, and verifying it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from effort import measured

from thinktuning.grading.answers import (
    all_boxed,
    committed,
    extract_boxed,
    parse_gold,
    verify,
    verify_literally,
)

SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.parametrize(
    ("text", "boxes"),
    [
        (r"So \boxed{7}.", ["7"]),
        (r"\boxed{7} Wait, no: \boxed{9}", ["7", "9"]),
        (r"\boxed{\frac{1}{2}}", [r"\frac{1}{2}"]),
        (r"\boxed { 7 }", ["7"]),
        (r"\\boxed{7}", ["7"]),
        (r"a line break\\\boxed{7}", ["7"]),
        (r"\boxed{\{1, 2\}}", [r"\{1, 2\}"]),
        (r"\boxed{\left\{ x \right.}", [r"\left\{ x \right."]),
        (r"\boxed{\boxed{7}}", ["7"]),
        (r"\boxed{\mathbf{\boxed{7}}}", ["7"]),
        (r"\boxed{\text{So it is }\boxed{7}}", ["7"]),
        (r"\boxed{-\boxed{7}} \boxed{8}", [r"-\boxed{7}", "8"]),
        (r"\boxed{\boxed{7}, \boxed{8}}", [r"\boxed{7}, \boxed{8}"]),
        (r"\boxed{7} and then \boxed{8", ["7"]),
        (r"\boxed{8 \boxed{7}", ["7"]),
        (r"} { \boxed{7}", ["7"]),
        (r"\boxed{}", [""]),
        (r"\boxed 7, \fbox{8}, boxed{9}, \{9\}", ["7", "8"]),
        (r"a \boxed with words, \boxed B", ["B"]),
        (r"\boxed{7", []),
        ("", []),
    ],
)
def test_boxes_are_found_in_order(text, boxes):
    assert all_boxed(text) == boxes


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (r"\boxed{7} Wait, no: \boxed{9}", ["7", "9"]),
        (r"\boxed{7}, inside \boxed{} notation: \boxed{...}", ["7"]),
        (r"\boxed{\text{your answer}} \boxed{7} \boxed{\text{answer}}", ["7"]),
        (r"$\boxed{7}$ and $\boxed{9}$", ["7, 9"]),
        (r"\(\boxed{7}\), \(\boxed{8}\) or \(\boxed{9}\)", ["7, 8, 9"]),
        (r"\boxed{7} \boxed{9}", ["7", "9"]),
        (r"x = \boxed{7} and y = \boxed{9}", ["7", "9"]),
        (r"\boxed{} \boxed{?}", []),
        ("", []),
    ],
)
def test_a_response_commits_to_the_boxes_that_hold_an_answer(text, answers):
    assert committed(text) == answers
    assert extract_boxed(text) == (answers[-1] if answers else None)


@pytest.mark.parametrize("unit", ["{", "}", "{}", r"\boxed{", "\\", r"\boxed ", r"\{"])
def test_finding_boxes_takes_linear_time(unit):
    text = unit * (100_000 // len(unit))
    with measured() as effort:
        all_boxed(text)
    assert effort.units < 40  # quadratic: thousands


@pytest.mark.parametrize(
    ("gold", "kind", "parsed"),
    [
        ("She sold 48+24 = 72 clips.\n#### 72", "number", "72"),
        ("#### 1,234", "number", "1234"),
        ("$18.50", "number", "18.50"),
        ("-7.", "number", "-7"),
        ("025", "number", "25"),
        (".5", "number", "0.5"),
        ("-0", "number", "0"),
        ("1.39e-10", "number", "0.000000000139"),
        ("2.5e3", "number", "2500"),
        (r" \frac{1}{2} ", "latex", r"\frac{1}{2}"),
        (r"\left( 3, \dfrac{\pi}{2} \right)", "latex", r"( 3, \frac{\pi}{2} )"),
        ("1.39e-10", "latex", r"1.39\times10^{-10}"),
        (r"\textbf{(073)}", "latex", "073"),
        (r"\text{Total: }5 \mathrm{cm}", "latex", r"5 \text{cm}"),
        ("(c)", "letter", "C"),
        ("J", "letter", "J"),
        ("True", "yes_no", "yes"),
        ("no", "yes_no", "no"),
    ],
)
def test_a_gold_answer_is_normalized(gold, kind, parsed):
    assert parse_gold(gold, kind) == parsed


@pytest.mark.parametrize(
    ("gold", "kind"),
    [
        ("", "number"),
        ("7 apples", "number"),
        ("1,2", "number"),  # not a thousands separator: a pair, or a decimal comma
        ("1/2", "number"),
        ("seven", "number"),
        ("", "latex"),
        ("???", "latex"),
        (r"\frac{1}{", "latex"),
        ("1=1", "latex"),
        ("4=3", "latex"),
        (r"\frac{0}{0}", "latex"),
        ("9" * 20_001, "number"),
        ("x" * 2_001, "latex"),
        ("K", "letter"),
        ("AB", "letter"),
        ("maybe", "yes_no"),
    ],
)
def test_an_unparsable_gold_answer_is_refused(gold, kind):
    with pytest.raises(ValueError, match="gold answer"):
        parse_gold(gold, kind)


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "expected"),
    [
        ("18", "18", "number", True),
        (r"\$1,018.", "1018", "number", True),
        ("+18", "18", "number", True),
        ("-18", "18", "number", False),
        ("18", "180", "number", False),
        ("9" * 10_000, "9" * 10_000, "number", True),  # int() refuses more than 4,300 digits
        ("18.50", "18.50", "number", True),
        ("7.0", "7", "number", True),
        (r"\frac{14}{2}", "7", "number", True),
        ("x = 7", "7", "number", True),
        (r"7\text{ cm}", "7", "number", True),
        ("7.5", "7", "number", False),
        ("", "7", "number", False),
        ("7\0", "7", "number", False),
        ("0.5", r"\frac{1}{2}", "latex", True),
        (r"\dfrac12.", r"\frac{1}{2}", "latex", True),
        ("2, 1", "1, 2", "latex", True),
        (r"\left(3, \tfrac{\pi}{2}\right)", r"\left( 3, \frac{\pi}{2} \right)", "latex", True),
        ("033", "33", "latex", True),
        ("B", "B", "letter", True),
        ("(b)", "B", "letter", True),
        (r"\text{(B)}.", "B", "letter", True),
        ("C", "B", "letter", False),
        ("Beta", "B", "letter", False),
        (r"\textbf{Yes}", "yes", "yes_no", True),
        ("false", "no", "yes_no", True),
        ("nope", "no", "yes_no", False),
    ],
)
def test_plain_answers_are_verified_as_text(answer, gold, kind, expected):
    assert verify_literally(answer, gold, kind) is expected
    assert verify(answer, gold, kind) is expected


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "expected"),
    [
        (r"\sqrt{48}", "7", "number", False),
        ("(x+1)^2", "x^2+2x+1", "latex", True),
        (r"\sqrt{49}", "7", "number", True),
        (r"\left(\tfrac{\pi}{2}, 3\right)", r"\left( 3, \frac{\pi}{2} \right)", "latex", False),
        (r"\left(3, \tfrac{\pi}{2}\right)", r"(3, \frac{2\pi}{4})", "latex", True),
        (r"\frac{1}{", r"\frac{1}{2}", "latex", False),
    ],
)
def test_other_answers_are_verified_by_math_verify(answer, gold, kind, expected):
    assert verify_literally(answer, gold, kind) is None
    assert verify(answer, gold, kind) is expected


@pytest.mark.parametrize(
    ("gold", "value"), [("x+y=4", "4"), ("x+y=4", r"\{4\}"), ("xy=12", "12"), ("x-y=0", "0")]
)
def test_a_sum_or_product_names_a_value_only_in_an_answer(gold, value):
    """The line `x + y = 4` is not 4, but who asks for x + y is told `x + y = 4`."""
    assert not verify(value, parse_gold(gold, "latex"), "latex")
    assert verify(gold, parse_gold(gold, "latex"), "latex") and verify(gold, value, "latex")


@pytest.mark.parametrize("kind", ["number", "latex", "letter", "yes_no"])
def test_no_answer_is_not_correct(kind):
    assert verify(None, "anything", kind) is False


def test_an_unparsable_gold_answer_never_scores():
    with pytest.raises(ValueError, match="gold answer"):
        verify("???", "???", "latex")
    with pytest.raises(ValueError, match="gold answer"):
        verify("K", "K", "letter")


def test_importing_the_module_is_cheap():
    code = "import sys, thinktuning.grading.answers; sys.exit('sympy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_math500_solutions_verify_against_their_gold_answers():
    path = SHARED / "data" / "math500" / "test.jsonl"
    if not path.exists():
        pytest.skip("needs MATH-500 in ../shared/data/math500, which is not part of the repository")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    golds = [parse_gold(row["answer"], "latex") for row in rows]
    answers = [extract_boxed(row["solution"]) for row in rows]
    wrong = [
        gold
        for answer, gold in zip(answers, golds, strict=True)
        if not verify(answer, gold, "latex")
    ]
    assert wrong == []
    neighbors = zip(golds[1:], golds[:-1], strict=True)
    equal = [(a, b) for a, b in neighbors if a != b and verify(a, b, "latex")]
    assert equal == [("x=5", "5")]


@pytest.mark.slow
def test_math500_gold_answers_verify_as_in_math_verify():
    import math_verify

    path = SHARED / "data" / "math500" / "test.jsonl"
    if not path.exists():
        pytest.skip("needs MATH-500 in ../shared/data/math500, which is not part of the repository")
    golds = [json.loads(line)["answer"] for line in path.read_text().splitlines()]
    for gold in golds:
        parsed = math_verify.parse(f"\\boxed{{{gold}}}", parsing_timeout=None)
        theirs = math_verify.verify(parsed, parsed, timeout_seconds=None)
        assert theirs and verify(gold, gold, "latex"), gold
