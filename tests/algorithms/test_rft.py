"""RFT: which completions are imitated, and its loss, by hand."""

import math

import pytest
import torch
from hand_made import FEEDBACK, Silent, letters, taught
from pydantic import ValidationError

from thinktuning.algorithms.rft import RFTAlgorithmConfig
from thinktuning.teachers.prompts import TeacherPrompt

PROMPT = TeacherPrompt(system="S", user="{question} {response}")


def build(**keys):
    return RFTAlgorithmConfig(**keys).build(Silent(), PROMPT)


@pytest.mark.parametrize(
    ("keys", "counted"),
    [
        ({}, [True, False, False, False]),
        ({"count": "all"}, [True, False, True, False]),
        ({"count": "all", "min_reward": 0.5}, [True, False, True, True]),
        ({"count": "all", "right_from": 0.5}, [True, False, True, True]),
    ],
)
def test_right_completions_are_imitated_as_a_whole(keys, counted):
    right_from = keys.get("right_from")
    algorithm = build(**{key: value for key, value in keys.items() if key != "right_from"})
    batch = letters(["5E", "6E", "4E", "7E"])
    texts = taught(batch, algorithm, {0: FEEDBACK})
    assert texts == ["5\n\nWait: 2+2=4.\n\nSo 4E", "6E", "4E", "7E"]
    batch.rewards, batch.right_from = [1.0, math.nan, 1.0, 0.5], right_from
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]])
    added = algorithm.loss_inputs(batch, {"completion_ids": mask, "completion_mask": mask})
    expected = mask.bool() & torch.tensor(counted)[:, None]
    assert added.keys() == {"imitated_mask"} and torch.equal(added["imitated_mask"], expected)


def test_a_wrong_spliced_completion_is_not_imitated():
    algorithm = build()
    batch = letters(["5E", "6E"])
    taught(batch, algorithm, {0: FEEDBACK, 1: FEEDBACK})
    batch.rewards = [0.0, 1.0]
    mask = torch.ones(2, 3, dtype=torch.long)
    added = algorithm.loss_inputs(batch, {"completion_ids": mask, "completion_mask": mask})
    assert added["imitated_mask"].tolist() == [[False] * 3, [True] * 3]


def test_the_loss_is_the_mean_over_the_tokens_of_right_completions():
    """-(log 0.5 + log 0.25 + log 0.125) / 3 = 2 log 2; the other row has no part in it."""
    logps = torch.tensor([[0.5, 0.25, 0.125], [0.1, 0.2, 0.3]]).log().requires_grad_()
    mask = torch.tensor([[True, True, True], [False, False, False]])
    loss = build().loss(logps, {"imitated_mask": mask})
    assert loss.item() == pytest.approx(2 * math.log(2))
    (gradient,) = torch.autograd.grad(loss, logps)
    torch.testing.assert_close(gradient, torch.tensor([[-1 / 3] * 3, [0.0] * 3]))
    assert build().loss(logps, {"imitated_mask": torch.zeros(2, 3, dtype=torch.bool)}).item() == 0


def test_advantages_have_no_effect_so_all_completions_are_computed():
    assert not build().separable and build().replaces_loss


def test_keeping_only_wrong_feedback_is_refused():
    with pytest.raises(ValidationError, match="rft imitates right completions only; set keep to"):
        RFTAlgorithmConfig(keep="wrong")
