"""Properties: what keeps the value keeps the verdict, what changes it never passes.

Over generated golds (hypothesis and reasoning_gym), and over all of MATH-500 and GSM8K where those
are in ../shared/data.
"""

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from thinktuning.grading.answers import extract_boxed, parse_gold, verify, verify_literally
from thinktuning.grading.normalize import normalize

SHARED = Path(__file__).parents[3] / "shared" / "data"
# Of any answer
KEEP = [
    "${}$", r"\[{}\]", r"\( {} \)", "  {}  ", "{{{}}}", r"\displaystyle {}", "**{}**", "{}.",
    "= {}", "Answer: {}", r"\text{{The answer is }}{}", r"\boldsymbol{{{}}}", r"\underline{{{}}}",
    "\u200b{}\ufeff", r"\,{}\;",
]  # fmt: skip
KEEP_NUMBER = ["+{}", "x = {}", r"{}\text{{ cm}}", "{} dollars", "{} (apples)", "({})", "{}^\\circ",
               r"\textbf{{(B) }}{}", "{} km/h", r"\text{{Total: }}{}"]  # fmt: skip
# Of a positive number
CHANGE = [
    "-{}", "{} squared", "{} halves", "{} millions", "{} dozen", "{} minus two", "{} wrong",
    "not {}", "{} or 0", "{}, 0", r"\{{{}, 0\}}", r"\pm {}", r"{}\mathrm{{e}}", "{}i", "{}x",
    "{}!!", "{}^2", "2\\cdot {}", "{} = 0", "0 = {}", r"{} \ne {}", "x < {}", "x \\ge {}",
    "({},{})", "{}:{}", "{}_7", r"{}\text{{ (or 4)}}", r"\sqrt{{{}}}", r"{} \approx 0",
    "{} + 10^{{-30}}", "2x = {}", "-x = {}", r"\text{{wrong }}{}", "twice: {}", "{} is incorrect",
    "{} % 7", r"{}\cdot 10^{{-1}}", "{}e2", "{}k", "{}\\infty", "[{}, 9)", "{}\0", "e = {}",
    "x^2 = {}", "{}{}1", "{} {} {}",
]  # fmt: skip
positive = st.one_of(
    st.integers(2, 10**9).map(str),
    st.decimals("1.01", "99999", places=2).map(str),
    st.tuples(st.integers(2, 99), st.integers(3, 97))
    .filter(lambda t: t[0] != t[1])
    .map(lambda t: rf"\frac{{{t[0]}}}{{{t[1]}}}"),
)
golds = st.one_of(
    positive,
    positive.map("-{}".format),
    st.tuples(positive, st.integers(2, 30)).map(lambda t: rf"{t[0]}\sqrt{{{t[1]}}}"),
    st.tuples(positive, positive).map(lambda t: f"({t[0]}, {t[1]})"),
    st.lists(positive, min_size=2, max_size=4, unique=True).map(", ".join),
    st.integers(2, 99).map(lambda n: f"{n}x + {n + 1}"),
    st.integers(100, 777).map(lambda n: f"{n}_8".replace("8_", "7_").replace("9_", "7_")),
)
quick = settings(max_examples=60, deadline=None)


@quick
@given(golds, st.sampled_from(KEEP))
def test_a_rewriting_that_keeps_the_value_is_granted(gold, form):
    assert verify(form.format(gold), parse_gold(gold, "latex"), "latex")


@quick
@given(positive, st.sampled_from(KEEP_NUMBER))
def test_units_names_and_labels_keep_a_number(gold, form):
    assert verify(form.format(gold), gold, "latex")


@settings(max_examples=400, deadline=None)
@given(positive, st.sampled_from(CHANGE))
def test_a_change_of_value_never_passes(gold, form):
    assume(not (form == "{}e2" and "frac" in gold))
    assert not verify(form.format(*[gold] * 3), gold, "latex"), form.format(*[gold] * 3)


@quick
@given(positive, positive)
def test_numbers_are_equal_as_fractions_are(first, second):
    def value(text):
        up, _, low = text.removeprefix(r"\frac{").rstrip("}").partition("}{")
        return Fraction(up) / Fraction(low or 1)

    equal = value(first) == value(second)
    near = abs(value(first) - value(second)) <= Fraction(1, 10**6) * max(
        value(first), value(second)
    )
    verdict = verify_literally(first, second, "latex")
    assert verdict == equal or (near and verdict)


@quick
@given(st.text(max_size=60))
def test_any_text_is_normalized_once(text):
    assert normalize(normalize(text)) == normalize(text)


@quick
@given(st.text(alphabet=r"\{}()[],=<>x1.^_ aepi$%+-/|:", max_size=30))
def test_soup_is_decided_and_never_right(text):
    for gold in (r"\sqrt{7919}", "x^2 + 7919", "(7919, 17)", "7919"):
        assert not verify(text, gold, "latex")


def test_numbers_of_generated_problems():
    import reasoning_gym

    for name in (
        "chain_sum",
        "basic_arithmetic",
        "gcd",
        "fraction_simplification",
        "decimal_chain_sum",
    ):
        for row in reasoning_gym.create_dataset(name, size=30, seed=1):
            gold = str(row["answer"]).strip("$")
            canonical = parse_gold(gold, "latex")
            assert verify(gold, canonical, "latex") and verify(f"x = {gold}", canonical, "latex")
            assert not verify(f"{gold} or 1", canonical, "latex")


@pytest.fixture(scope="module")
def math500():
    path = SHARED / "math500" / "test.jsonl"
    if not path.exists():
        pytest.skip("needs MATH-500 in ../shared/data/math500, which is not part of the repository")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_math500_gold_answers_solutions_and_rewritings(math500):
    for row in math500:
        gold = parse_gold(row["answer"], "latex")
        assert parse_gold(gold, "latex") == gold
        answers = [row["answer"], gold, extract_boxed(row["solution"])]
        forms = random.Random(row.get("unique_id", gold)).sample(KEEP, 5)
        for answer in [*answers, *(form.format(row["answer"]) for form in forms)]:
            assert verify(answer, gold, "latex"), (answer, gold)


@pytest.mark.slow
def test_a_change_of_a_number_of_math500_never_passes(math500):
    golds = {
        row["answer"] for row in math500 if row["answer"].isdigit() and row["answer"] not in "01"
    }
    for gold in sorted(golds):
        for form in CHANGE:
            assert not verify(form.format(*[gold] * 3), gold, "number"), (form, gold)


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "test"])
def test_gsm8k_gold_answers_and_rewritings(split):
    path = SHARED / "gsm8k" / f"{split}.jsonl"
    if not path.exists():
        pytest.skip("needs GSM8K in ../shared/data/gsm8k, which is not part of the repository")
    for number, line in enumerate(path.read_text().splitlines()):
        answer = json.loads(line)["answer"]
        gold, written = parse_gold(answer, "number"), answer.rsplit("####", 1)[-1]
        assert verify_literally(written, gold, "number")
        forms = [*KEEP, *(f for f in KEEP_NUMBER if not (f[0] == "+" and gold[0] == "-"))]
        assert verify_literally(forms[number % len(forms)].format(gold), gold, "number")
