r"""The reward of the whole text, as in the released code, next to that of the last box."""

import json
from pathlib import Path

import pytest

from thinktuning.grading.answers import parse_gold
from thinktuning.grading.grader import Grader, Verdict
from thinktuning.grading.reward import BoxedReward, WholeTextReward
from thinktuning.grading.whole_text import verify_whole_text

DATA = Path(__file__).parents[3] / "shared" / "data"
EOS = 2
ENDED = [7, 8, EOS]
FAR = "\n\nNo, something does not add up here: one of the apples was counted twice, so it is "

# (text, gold, reward of the whole text, reward of the last box)
CASES = [
    (r"So \boxed{7}.", "7", 1, 1),
    (r"So \boxed{6}.", "7", 0, 0),
    ("3 + 4 = 7, so she has 7 apples.", "7", 1, 0),  # an unboxed right answer
    ("So the answer is $7.", "7", 1, 0),
    ("The final answer is 1,234.", "1234", 1, 0),
    ("3 + 4 = 8, so she has 8 apples.", "7", 0, 0),
    (r"\boxed{6}. Wait, no: \boxed{7}", "7", 0, 1),  # boxes close together are one set
    (r"\boxed{6} or \boxed{7}", "7", 0, 0),  # two answers are none
    (r"\boxed{7}, that is \boxed{7}", "7", 1, 1),  # the same box twice is not
    (rf"\boxed{{6}}.{FAR}\boxed{{7}}", "7", 1, 1),  # boxes far apart: the last one
    (rf"\boxed{{7}}.{FAR}\boxed{{6}}", "7", 0, 0),
    (r"\boxed{7}. The final answer is 6.", "7", 0, 1),  # a later "final answer is" beats the box
    ("", "7", 0, 0),
    ("I do not know.", "7", 0, 0),
    (r"Half of it: $\frac{1}{2}$", "0.5", 1, 0),
    (r"Half of it: 0.5", r"\frac{1}{2}", 1, 0),
    (r"So $x^2 + 2x + 1 = \boxed{(x+1)^2}$", "x^2+2x+1", 1, 1),
]


def rewards(of, texts, golds, kind, ids=None):
    with Grader(num_workers=2) as grader:
        reward = of(grader, kind, [EOS])
        return reward(texts, ids or [ENDED] * len(texts), golds)


@pytest.mark.parametrize("kind", ["number", "latex"])
@pytest.mark.parametrize(("of", "column"), [(WholeTextReward, 2), (BoxedReward, 3)])
def test_what_counts(of, column, kind):
    cases = [case for case in CASES if kind == "latex" or "x" not in case[1]]
    texts, golds = [case[0] for case in cases], [case[1] for case in cases]
    expected = [float(case[column]) for case in cases]
    assert rewards(of, texts, golds, kind) == expected


@pytest.mark.parametrize(
    ("between", "is_a_set"),
    [
        ("x" * 9, True),
        ("x" * 10, False),
        (", " + "x" * 67, True),
        (", " + "x" * 68, False),
        (" and " + "x" * 64, True),
        ("x" * 69, False),
    ],
)
def test_how_close_boxes_are_read_as_a_set(between, is_a_set):
    assert verify_whole_text(rf"\boxed{{6}}{between}\boxed{{7}}", "7") is not is_a_set


@pytest.mark.parametrize("ids", [[7, 8], [7, EOS, EOS], [EOS, 7], []])
def test_a_completion_that_did_not_end_is_wrong(ids):
    assert rewards(WholeTextReward, ["It is 7."], ["7"], "number", [ids]) == [0.0]


def test_a_verifier_that_fails_gives_no_verdict():
    logged = {}
    with Grader(time_limit=2.0) as grader:
        reward = WholeTextReward(grader, "number", [EOS])
        texts = ["It is 7.", r"\boxed{9^{9^{9^{9}}}}"]
        given = reward(texts, [ENDED] * 2, ["7", "7"], log_metric=logged.__setitem__)
    assert given == [1.0, None]
    assert logged == {"verifier_failures": 0.5}


def test_a_gold_answer_without_an_answer_is_an_error():
    with pytest.raises(ValueError, match="finds no answer in the gold answer ''"):
        verify_whole_text("7", "")


def test_the_grader_takes_whole_texts_and_answers_together():
    with Grader() as grader:
        verdicts = grader.grade(
            ["so 7", "so 7", None], ["7"] * 3, ["whole_text", "number", "latex"]
        )
    assert verdicts == [Verdict.correct, Verdict.incorrect, Verdict.no_answer]


@pytest.mark.skipif(not DATA.is_dir(), reason="not checked: no data in ../shared/data")
def test_worked_solutions_are_right():
    """With a box for MATH-500, without one for GSM8K: `The answer is 18.`."""
    texts, golds = [], []
    for line in (DATA / "gsm8k" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:200]:
        solution = json.loads(line)["answer"]
        golds.append(parse_gold(solution, "number"))
        texts.append(solution.replace("####", "The answer is") + ".")
    for line in (DATA / "math500" / "test.jsonl").read_text(encoding="utf-8").splitlines()[:200]:
        row = json.loads(line)
        golds.append(parse_gold(row["answer"], "latex"))
        texts.append(row["solution"])
    given = rewards(WholeTextReward, texts, golds, "latex")
    assert given == [1.0] * 400
