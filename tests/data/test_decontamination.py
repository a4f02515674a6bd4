"""Decontamination, on examples computed by hand."""

import pytest

from thinktuning.data.decontamination import (
    EvaluationIndex,
    Overlap,
    check_exemplars,
    decontaminate,
    drop_duplicates,
    ngrams,
    normalize,
    own_ngrams,
)
from thinktuning.data.sources import QuestionRow
from thinktuning.io.errors import StudyError


def rows(*questions: str) -> list[QuestionRow]:
    return [
        {"id": f"t-{i}", "question": question, "answer": "1", "source": "test"}
        for i, question in enumerate(questions)
    ]


def test_tokens_are_words_and_single_symbols():
    assert normalize("Is 4-1*7 = -3.5?") == "is 4 - 1 * 7 = - 3 . 5 ?"
    assert normalize(" WHAT  is\n1+1 ?") == normalize("What is 1 + 1?")
    assert ngrams("a b c d", 3) == ["a b c", "b c d"]
    assert ngrams("a b", 3) == []


def test_own_ngrams_do_not_overlap_the_wording():
    """`what is` is wording, so the 2-gram `is 4` is dropped too; `4 +` and `+ 1` stay."""
    assert own_ngrams("what is 4 + 1", 2, {"what is"}) == ["4 +", "+ 1"]


def test_drop_duplicates_keeps_the_first():
    kept, repeats = drop_duplicates(rows("1 + 1 =", "2 + 2 =", "1+1="), "number", "data.train")
    assert [row["id"] for row in kept] == ["t-0", "t-1"]
    assert repeats == [Overlap("t-2", "t-0")]


def test_two_gold_answers_for_one_question_are_a_contradiction():
    first, again = rows("1/2 =", "1 / 2 =")

    def answers(a, b, kind):
        both = [{**first, "answer": a}, {**again, "answer": b}]
        return drop_duplicates(both, kind, "tasks.halves.data")

    kept, repeats = answers("0.5", "0.50", "number")
    assert len(kept) == len(repeats) == 1
    assert len(answers(r"\frac12", r"\frac{1}{2}", "latex")[1]) == 1
    for a, b, kind in (("5", "6", "number"), ("A", "B", "letter"), ("x", "y", "latex")):
        with pytest.raises(StudyError, match=rf"halves.data: t-0 and t-1 .* '{a}' and '{b}'; corr"):
            answers(a, b, kind)


def test_training_rows_that_are_or_share_an_ngram_with_evaluation_questions():
    """With n = 3: `b c d` is shared; `x y z`, in 4 of the 6 questions, is wording (more than 3)."""
    train = rows("A B!", "q b c d", "x y z e", "x y z f", "x y z g", "u v")
    index = EvaluationIndex(train, {"task": rows("a b !", "b c d x y z")}, 3, 3)
    assert index.wording == {"x y z"}
    clean, equal, sharing = decontaminate(train, index, "drop")
    assert [row["question"] for row in clean] == ["x y z e", "x y z f", "x y z g", "u v"]
    assert equal == [Overlap("t-0", "task/t-0")]
    assert sharing == [Overlap("t-1", "task/t-1", "b c d")]
    with pytest.raises(StudyError, match=r"1 training questions are .*: t-0 = task/t-0;"):
        decontaminate(train, index, "fail")


def test_an_ngram_of_at_most_max_ngram_count_questions_is_not_wording():
    """The same `x y z` in 4 questions, with 4 allowed: every row that has it is dropped."""
    train = rows("x y z e", "x y z f", "x y z g", "u v")
    index = EvaluationIndex(train, {"task": rows("b c d x y z")}, 3, 4)
    clean, _, sharing = decontaminate(train, index, "fail")
    assert [row["question"] for row in clean] == ["u v"]
    assert [overlap.shared for overlap in sharing] == ["x y z"] * 3


def test_an_8gram_of_sums_is_four_terms():
    """Sums that begin alike are kept; those with four terms in common are not."""
    wording = "State the final answer to the following arithmetic problem: "
    other = [f"{wording}{10 + i} - {20 + i} =" for i in range(11)]
    task = rows(f"{wording}4 - 1 - 7 =", "Calculate 5 + 6 + 7 + 8 + 9.")
    train = rows(*other, f"{wording}4 - 1 + 2 =", f"{wording}3 - 5 + 6 + 7 + 8 + 9 =")
    index = EvaluationIndex(train, {"task": task}, 8, 10)
    _, _, sharing = decontaminate(train, index, "drop")
    assert sharing == [Overlap("t-12", "task/t-1", "5 + 6 + 7 + 8 +")]


def test_questions_in_two_tasks_are_reported_and_kept():
    index = EvaluationIndex([], {"a": rows("1 + 1"), "b": rows("1+1", "2")}, 8, 10)
    assert index.repeated == [Overlap("b/t-0", "a/t-0")]


@pytest.mark.parametrize("exemplar", ["A b c d!", "So: b c d"])
def test_an_exemplar_that_overlaps_an_evaluation_question_is_refused(exemplar):
    index = EvaluationIndex([], {"gsm8k": rows("f", "a b c d !")}, 3, 10)
    check_exemplars("paper", ["b c", "x y z"], index)
    with pytest.raises(StudyError, match=r"paper shows .*: exemplar 2 [=~] gsm8k/t-1"):
        check_exemplars("paper", ["x y z", exemplar], index)
