"""Beginnings of answers: where they are cut, what is planted in them, and that nothing is lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktuning.evaluation.interventions import KINDS, Parts, beginning, parts, usable
from thinktuning.grading.answers import extract_boxed

WORDS = ("Wait: ", "Again: ")


def sample(name: str, text: str, first: str | None, answer: str, gold: str, number: int = 0):
    return {"id": name, "sample": number, "text": text, "first_answer": first} | {
        "answer": answer,
        "gold": gold,
        "first_correct": first == gold,
    }


REFLECTING = sample("a", "It is \\boxed{1}\n\nWait, 1 + 1 = 2.\n\nSo \\boxed{2}", "1", "2", "2")
OTHER = sample("b", "So \\boxed{7}\n\nHmm, 3 + 3 = 6.\n\nThus \\boxed{6}", "7", "6", "6")
TERSE = sample("c", "I guess \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "\\frac{1}{2}", "5")
ALL = [REFLECTING, OTHER, TERSE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            REFLECTING["text"],
            Parts("It is \\boxed{1}", "\n\nWait, 1 + 1 = 2.\n\n", "So \\boxed{2}"),
        ),
        (TERSE["text"], Parts(TERSE["text"], "", "")),
        ("\\boxed{1} Done. So I said.", Parts("\\boxed{1}", " Done. So I said.", "")),
        ("\\boxed{1}, no: \\boxed{2}", Parts("\\boxed{1}", "", ", no: \\boxed{2}")),
        (
            "A \\boxed{1}\nB \\boxed{3}\nC \\boxed{2}.",
            Parts("A \\boxed{1}", "\nB \\boxed{3}\n", "C \\boxed{2}."),
        ),
        ("no box", None),
    ],
)
def test_an_answer_has_three_parts(text, expected):
    assert parts(text) == expected


@given(st.text(st.sampled_from("ab {}\n\\"), max_size=20), st.integers(0, 3))
def test_the_parts_are_the_text(text, count):
    whole = text + "".join(f"\\boxed{{{i}}} {text}\n" for i in range(count))
    found = parts(whole)
    assert found is None or "".join(found) == whole


@pytest.mark.parametrize(
    ("kind", "text", "planted"),
    [
        ("cut", "It is \\boxed{1}", "1"),
        ("doubt", "It is \\boxed{1}\n\nWait: ", "1"),
        ("agree", "It is \\boxed{1}\n\nAgain: ", "1"),
        ("right_first", "It is \\boxed{2}", "2"),
        ("wrong_first", "It is \\boxed{1}", "1"),  # its own, the only wrong one to this question
        ("swap", "It is \\boxed{1}\n\nHmm, 3 + 3 = 6.\n\n", "6"),
    ],
)
def test_what_each_intervention_begins_with(kind, text, planted):
    assert beginning(kind, REFLECTING, ALL, *WORDS) == (text, planted)


def test_a_planted_answer_takes_the_place_of_a_box_with_braces():
    found = beginning("right_first", TERSE, ALL, *WORDS)
    assert found == ("I guess \\boxed{5}", "5") and extract_boxed(found.text) == "5"


def test_a_wrong_answer_is_another_sample_s_or_another_question_s():
    right = sample("a", "It is \\boxed{2}", "2", "2", "2", 1)
    assert beginning("wrong_first", right, [*ALL, right], *WORDS).planted == "1"
    assert beginning("wrong_first", right, [OTHER, TERSE, right], *WORDS).planted in ("6", "5")
    assert beginning("wrong_first", right, [right], *WORDS) is None


def test_a_reflection_is_only_swapped_for_one_that_comes_to_something_else():
    same = OTHER | {"answer": "2"}
    unfinished = OTHER | {"text": "So \\boxed{7}\n\nHmm, I wonder."}
    for other in (same, unfinished, TERSE):
        assert beginning("swap", REFLECTING, [REFLECTING, other], *WORDS) is None
    few = [OTHER, *(sample(f"q{i}", TERSE["text"], "1", "1", "5") for i in range(10))]
    assert beginning("swap", few[1], few, *WORDS) is None
    assert beginning("swap", few[1], few[:-1], *WORDS).planted == "6"


def test_only_committed_answers_are_used():
    assert usable([REFLECTING, sample("d", "\\boxed{1", None, "", "1")]) == [REFLECTING]


def test_the_draw_does_not_depend_on_anything_else():
    many = [sample(f"q{i}", OTHER["text"], "7", "6", "6") for i in range(20)]
    drawn = [beginning("swap", REFLECTING, [*many, REFLECTING], *WORDS) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert all(beginning(kind, REFLECTING, ALL, *WORDS) for kind in KINDS)
