"""Changes of a rollout batch by an algorithm, and its records."""

import math

import pytest

from thinktuning.algorithms.batch import Lesson, RolloutBatch, is_kept
from thinktuning.algorithms.feedback import Feedback

FEEDBACK = Feedback("incorrect", "Wait.", "So 4")


@pytest.fixture
def batch():
    """Two rows of one prompt, whose tokens are letters: `abE` and `cE`."""
    batch = RolloutBatch(
        rows=[{"prompt": "1 + 1 =", "question": "1 + 1?"}] * 2,
        num_generations=2,
        t=0,
        num_batches=1,
        seed=0,
        first_group=0,
        eos_token_ids=[ord("E")],
        max_completion_length=6,
        decode=lambda completions: [bytes(ids).decode().rstrip("E") for ids in completions],
        extend=lambda ids, text: list(text.encode()),
        grade=lambda completions: [float(len(ids)) for ids in completions],
    )
    batch.sampled([list(b"abE"), list(b"cE")], [[-0.1, -0.2, -0.3], [-0.4, -0.5]])
    return batch


def test_replaced_tokens_have_no_log_probability(batch):
    batch.replace(0, list(b"abxyE"), start=2)
    batch.replace(1, list(b"zE"), start=0)
    assert batch.logprobs == [[-0.1, -0.2, None, None, None], [None, None]]
    assert batch.student_ids == [list(b"abE"), list(b"cE")]
    assert batch.completion_ids == [list(b"abxyE"), list(b"zE")]


def test_without_log_probabilities_from_the_engine_there_are_none(batch):
    batch.logprobs = None
    batch.replace(0, list(b"abxyE"), start=2)
    assert batch.logprobs is None


def test_records_have_both_the_sampled_and_the_trained_completion(batch):
    batch.lessons[0] = Lesson("...", FEEDBACK, start=2)
    batch.replace(0, list(b"abxyE"), start=2)
    batch.student_rewards, batch.rewards = [0.0, math.nan], [1.0, math.nan]
    taught, other = batch.records([0.5, -0.5])
    assert (taught.question, taught.student_text, taught.text) == ("1 + 1?", "ab", "abxy")
    assert (taught.student_length, taught.completion_length) == (3, 5)
    assert (taught.student_reward, taught.reward, taught.advantage) == (0.0, 1.0, 0.5)
    assert (taught.asked, taught.parsed, taught.taught) == (True, True, True)
    assert (other.student_text, other.text, other.advantage) == ("c", "c", -0.5)
    assert (other.student_reward, other.reward) == (None, None)
    assert (other.asked, other.parsed, other.taught) == (False, False, False)


def test_a_completion_replaced_without_a_lesson_is_recorded_too(batch):
    batch.replace(1, list(b"zE"), start=0)
    batch.rewards = [0.0, 1.0]
    rollout = batch.records([0.0, 0.0])[1]
    assert (rollout.student_text, rollout.text, rollout.taught) == ("c", "z", False)
    assert rollout.student_reward == rollout.reward == 1.0


def test_feedback_that_was_removed_again_is_not_taught(batch):
    batch.lessons[0] = Lesson("...", FEEDBACK, start=2, kept=False)
    batch.rewards = [0.0, 1.0]
    assert not batch.taught
    rollout = batch.records([0.0, 0.0])[0]
    assert (rollout.asked, rollout.parsed, rollout.taught) == (True, True, False)
    assert rollout.text == rollout.student_text == "ab"


def test_completions_without_their_eos_are_cut_off(batch):
    assert batch.num_cut_off == 0
    batch.sampled([list(b"abcdef"), list(b"cE")], None)
    batch.replace(0, list(b"abxyE"), start=2)
    assert batch.num_cut_off == 1  # the student's own, whatever was spliced on


def test_what_keep_keeps():
    rewards = (1.0, 0.0, math.nan)
    assert [is_kept(r, "all") for r in rewards] == [True, True, True]
    assert [is_kept(r, "right") for r in rewards] == [True, False, False]
    assert [is_kept(r, "wrong") for r in rewards] == [False, True, False]


@pytest.mark.parametrize(
    ("rewards", "noise", "recorded"),
    [
        ([0.7, 0.7], 6e-4, 0.0),  # of float32, as TRL has it in groups of six
        ([0.7, 0.7], 0.1, 0.1),  # rewards whose parts are normalized one by one
        ([0.7, math.nan], 6e-4, 0.0),
        ([0.7, 0.8], 6e-4, 6e-4),
        ([math.nan, math.nan], 0.0, 0.0),
    ],
)
def test_the_rounding_of_equal_rewards_is_no_advantage(batch, rewards, noise, recorded):
    batch.rewards = rewards
    assert [row.advantage for row in batch.records([noise, -noise])] == [recorded, -recorded]
