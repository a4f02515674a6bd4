"""The corpus: public reports of wrong verdicts, rows of data sets, and cases of our own.

Each line of corpus.jsonl has its `source`: a repository and the number of an issue or pull request,
a data set, or `ours`. `note` says where our verdict is a choice.
"""

import json
from pathlib import Path

import pytest

from thinktuning.grading.answers import extract_boxed, parse_gold, verify

CORPUS = [
    json.loads(line) for line in (Path(__file__).parent / "corpus.jsonl").read_text().splitlines()
]


@pytest.mark.parametrize(
    "case",
    CORPUS,
    ids=lambda c: f"{c['source']}: {c.get('answer', c.get('response'))} for {c['gold']}",
)
def test_the_corpus(case):
    answer = case["answer"] if "answer" in case else extract_boxed(case["response"])
    verdict = verify(answer, case["gold"], case["kind"], case.get("options", ()))
    assert verdict is case["correct"]


GOLDS = sorted({(case["gold"], case["kind"]) for case in CORPUS})
MEANINGLESS = {"x=x+1", "x+1=x"}  # golds of the corpus that `parse_gold` refuses


@pytest.mark.parametrize(("gold", "kind"), GOLDS)
def test_every_gold_answer_equals_itself_and_its_canonical_form(gold, kind):
    if gold in MEANINGLESS:
        with pytest.raises(ValueError, match="gold answer"):
            parse_gold(gold, kind)
        return
    canonical = parse_gold(gold, kind)
    assert parse_gold(canonical, kind) == canonical
    assert verify(gold, canonical, kind) and verify(canonical, canonical, kind)


def test_nothing_in_the_corpus_is_said_twice():
    keys = [json.dumps(case | {"source": "", "note": ""}) for case in CORPUS]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("case", [c for c in CORPUS if c["kind"] == "latex" and "answer" in c])
def test_a_wrong_answer_is_wrong_in_the_other_direction_too(case):
    """What two answers mean does not depend on which of them is the gold answer."""
    if case["correct"] or case.get("note", "").startswith("arithmetic left undone"):
        return
    try:
        gold = parse_gold(case["answer"], "latex")
    except ValueError:
        return
    assert not verify(case["gold"], gold, "latex")
