"""The reward, on answers with known verdicts."""

import pytest

from thinktuning.grading.grader import Grader
from thinktuning.grading.reward import BoxedReward, completion_text, ended

EOS, OTHER_EOS = 2, 3
ENDED = [7, 8, EOS]


@pytest.fixture
def grader():
    with Grader() as grader:
        yield grader


@pytest.fixture
def logged():
    """The metrics passed to TRL's `log_metric`."""
    return {}


def score(grader, logged, texts, ids, golds, kind="number"):
    reward = BoxedReward(grader, kind, [EOS, OTHER_EOS])
    return reward(
        prompts=["a question"] * len(texts),  # TRL also passes what the reward does not need
        completions=texts,
        completion_ids=ids,
        answer=golds,
        log_metric=logged.__setitem__,
    )


def test_ended_means_exactly_one_eos_at_the_end():
    assert ended([5, 6, 2], [2])
    assert ended([5, 6, 3], [2, 3])
    assert not ended([5, 6], [2])
    assert not ended([5, 2, 2], [2])
    assert not ended([], [2])


def test_right_and_wrong_answers_and_no_box(grader, logged):
    texts = [r"So \boxed{-4}", r"So \boxed{4}", "So -4", "", r"\boxed{3}, no: \boxed{-4}"]
    assert score(grader, logged, texts, [ENDED] * 5, ["-4"] * 5) == [1.0, 0.0, 0.0, 0.0, 1.0]
    assert logged == {"verifier_failures": 0.0}


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([7, 8, EOS], 1.0),
        ([7, 8, OTHER_EOS], 1.0),
        ([EOS], 1.0),
        ([7, 8], 0.0),  # the budget ran out
        ([7, EOS, EOS], 0.0),
        ([7, OTHER_EOS, EOS], 0.0),
        ([7, EOS, 8], 0.0),
        ([], 0.0),
    ],
)
def test_a_right_answer_only_counts_if_the_completion_ended(grader, logged, ids, expected):
    assert score(grader, logged, [r"\boxed{7}"], [ids], ["7"]) == [expected]


def test_each_completion_has_its_own_gold_answer(grader, logged):
    texts = [r"\boxed{1}", r"\boxed{1}", r"\boxed{\frac{1}{2}}"]
    golds = ["1", "2", "0.5"]
    assert score(grader, logged, texts, [ENDED] * 3, golds) == [1.0, 0.0, 1.0]


def test_the_kind_of_answer_counts(grader, logged):
    assert score(grader, logged, [r"\boxed{b}"], [ENDED], ["B"], "letter") == [1.0]
    assert score(grader, logged, [r"\boxed{true}"], [ENDED], ["yes"], "yes_no") == [1.0]


def test_the_texts_of_options_count(grader, logged):
    options = [["Rome", "Paris"], None]
    reward = BoxedReward(grader, "letter", [EOS])
    texts = [r"\boxed{Paris}", r"\boxed{Paris}"]
    assert reward(texts, [ENDED] * 2, ["B"] * 2, options=options) == [1.0, 0.0]


def test_messages_are_scored_like_text(grader, logged):
    messages = [[{"role": "assistant", "content": r"\boxed{7}"}]]
    assert completion_text(messages[0]) == completion_text(r"\boxed{7}") == r"\boxed{7}"
    assert score(grader, logged, messages, [ENDED], ["7"]) == [1.0]


def test_a_verifier_that_fails_gives_no_verdict(logged):
    """An unparsable gold answer raises, and a long sum, which is no number, times out."""
    long_sum = r"\boxed{\sum_{k=1}^{1000000000} \sin(k^2)}"
    texts = [r"\boxed{7}", r"\boxed{x}", long_sum, r"\boxed{8}"]
    with Grader(time_limit=2.0) as grader:
        rewards = score(grader, logged, texts, [ENDED] * 4, ["7", "?", "7", "7"], "latex")
    assert rewards == [1.0, None, None, 0.0]
    assert logged == {"verifier_failures": 0.5}


def test_without_a_logger(grader):
    reward = BoxedReward(grader, "number", [EOS])
    assert reward([r"\boxed{7}"], [ENDED], ["7"]) == [1.0]


def test_a_shorter_column_is_refused(grader, logged):
    with pytest.raises(ValueError, match="zip"):
        score(grader, logged, [r"\boxed{7}"] * 2, [ENDED], ["7"] * 2)
    with pytest.raises(ValueError, match="zip"):
        score(grader, logged, [r"\boxed{7}"] * 2, [ENDED] * 2, ["7"])
