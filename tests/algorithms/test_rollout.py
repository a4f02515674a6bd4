"""A rollout batch's metrics, counted by hand."""

import math

import pytest
import torch

from thinktuning.algorithms.rollout import Rollout, is_right, sample, summarize


def rollout(student_reward, reward, taught=False, asked=False, text="The answer is 4"):
    return Rollout(
        question="2+2?",
        student_text=text,
        text=text,
        student_reward=student_reward,
        reward=reward,
        advantage=0.0,
        student_length=5,
        completion_length=9 if taught else 5,
        asked=asked or taught,
        parsed=taught,
        taught=taught,
        teacher_reply=None,
    )


BATCH = [
    rollout(1.0, 1.0),
    rollout(0.0, 1.0, taught=True),
    rollout(1.0, 0.0, taught=True, text="Wait, let me check: 4"),
    rollout(0.0, 0.0, asked=True),
    rollout(None, None),
]


def test_metrics():
    metrics = summarize(BATCH)
    assert metrics["student_reward"] == pytest.approx(2 / 4)  # the fifth has no verdict
    assert metrics["spliced_reward"] == pytest.approx(1 / 2)
    assert metrics["reflection_rate"] == pytest.approx(1 / 5)
    assert metrics["num_rollouts"] == 5
    assert (metrics["num_asked"], metrics["num_taught"], metrics["num_unparsed"]) == (3, 2, 1)
    assert (metrics["wrong_to_right"], metrics["right_to_wrong"]) == (1, 1)
    assert metrics["num_zero_advantage"] == 5
    assert metrics["student_tokens"] == 25 and metrics["spliced_length"] == 9


def test_a_batch_without_verdicts_or_teaching():
    metrics = summarize([rollout(None, None)])
    assert metrics["student_reward"] == 0.0
    assert "spliced_reward" not in metrics


def test_taught_rollouts_are_stored_first():
    assert sample(BATCH, 3) == [BATCH[1], BATCH[2], BATCH[0]]


@pytest.mark.parametrize("threshold", [0.1, 0.7, 1 / 3, 1.0, 7.3, -0.7])
def test_a_reward_at_the_threshold_is_right_in_float32_too(threshold):
    assert is_right(torch.tensor(threshold).item(), threshold)
    assert not is_right(threshold - 0.001, threshold)
    assert not is_right(math.nan, threshold) and not is_right(math.nan)
