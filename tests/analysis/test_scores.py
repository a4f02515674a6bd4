"""Scores of questions against values worked by hand, and the votes that a majority counts."""

from collections import Counter

import pytest

from thinktuning.analysis.scores import avg_at_k, maj_at_k, pass_at_k
from thinktuning.analysis.votes import RIGHT, undecided, votes
from thinktuning.grading.grader import Grader


def test_avg_at_k():
    assert avg_at_k([[1, 0, 0, 1], [1, 1, 1, 1]]).tolist() == [0.5, 1.0]


def test_pass_at_k_is_the_unbiased_estimator():
    # K = 4, k = 2, C(4, 2) = 6: c = 0: 1 - 6/6; c = 1: 1 - 3/6; c = 2: 1 - 1/6; c = 3: 1 - 0/6
    correct = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]]
    assert pass_at_k(correct, 2) == pytest.approx([0, 1 / 2, 5 / 6, 1])
    assert pass_at_k(correct, 1) == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4])
    assert pass_at_k(correct, 4) == pytest.approx([0, 1, 1, 1])
    with pytest.raises(ValueError, match="pass@5"):
        pass_at_k(correct, 5)


def test_maj_at_k():
    answers = [
        ["7", "8", "7", None],  # 7 wins, and is right
        ["8", "8", "7", None],  # 8 wins, and is wrong
        ["7", "8", None, None],  # a tie between right and wrong
        [None, None, None, "7"],  # one vote is a majority: None does not vote
        [None, None, None, None],  # no votes
    ]
    correct = [[1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert maj_at_k(answers, correct).tolist() == [1, 0, 0.5, 1, 0]


def test_answers_that_the_grader_holds_equal_vote_together():
    answers = [
        ["0.5", r"\frac12", "3", "3", "3"],  # two ways to write the right answer, against three 3s
        ["7", "7", "1/4", "0.25", r"\frac{1}{4}"],  # three ways to write a wrong one win
        ["7", "7", "1", "2", None],
    ]
    correct = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]
    with Grader() as grader:
        cast = votes(answers, correct, grader, "latex")
    assert cast[0] == [RIGHT, RIGHT, "3", "3", "3"]
    assert cast[1] == [RIGHT, RIGHT, "1/4", "1/4", "1/4"]
    assert cast[2] == [RIGHT, RIGHT, "1", "2", None]
    assert maj_at_k(cast, correct).tolist() == [0, 0, 1]
    by_text = votes(answers, correct, Grader(), None)
    assert maj_at_k(by_text, correct).tolist() == [0, 1, 1]


def test_a_candidates_answers_all_equal_each_other():
    """`5 cm` and `5 m` both equal `5`, not each other: two votes, in whatever order they come."""
    row = ["7", "7", "5", "5 cm", "5 m"]
    with Grader() as grader:
        for order in ([0, 1, 2, 3, 4], [3, 0, 2, 4, 1], [4, 3, 2, 1, 0]):
            answers = [row[i] for i in order]
            correct = [[float(answer == "7") for answer in answers]]
            cast = votes([answers], correct, grader, "number")
            assert sorted(Counter(cast[0]).values()) == [1, 2, 2]
            assert maj_at_k(cast, correct).tolist() == [0.5]


def test_a_candidate_with_two_verdicts_scores_their_mean():
    assert maj_at_k([["a", "a"], ["a", "a"]], [[1, 0], [0, 1]]).tolist() == [0.5, 0.5]


def test_letters_vote_together_however_they_are_written():
    answers = [["B", "(C)", "C. Paris", "none of these", None]]
    with Grader() as grader:
        cast = votes(answers, [[1, 0, 0, 0, 0]], grader, "letter")
        assert cast == [[RIGHT, "C", "C", "none of these", None]]
        assert votes([["Yes", "no", "No."]], [[1, 0, 0]], grader, "yes_no") == [[RIGHT, "no", "no"]]
        assert votes([["7", "8", "8.0"]], [[1, 0, 0]], grader, "number") == [[RIGHT, "8", "8"]]


def test_only_answers_that_may_change_the_majority_are_compared():
    assert undecided([RIGHT, "1", "2"]) == [("1", "2")]
    assert undecided([RIGHT, RIGHT, RIGHT, "1", "2"]) == []  # right, however 1 and 2 compare
    assert undecided([RIGHT, "1", "2", "1"]) == []  # and wrong
    assert undecided(["1", "2", "3"]) == []  # no vote is right
    assert undecided([RIGHT, "1", None]) == []
