"""Off-policy tokens lose -A * pi / (pi + gamma): loss and gradient of LUFFY and Critique-GRPO."""

import pytest
import torch
from trainers import (
    ALWAYS,
    ScriptedTeacher,
    assert_gradients,
    batch_of,
    build,
    scored_batches,
    vowel_share,
)

from thinktuning.algorithms.critique_grpo import CritiqueGRPOAlgorithmConfig
from thinktuning.algorithms.luffy import LUFFYAlgorithmConfig
from thinktuning.algorithms.shaping import off_policy_terms, policy_shaping
from thinktuning.trainer.trainer import ThinkTuningTrainer

KINDS = [LUFFYAlgorithmConfig, CritiqueGRPOAlgorithmConfig]


def test_policy_shaping_by_hand():
    """pi / (pi + 0.1) at 0.9, 0.1 and 0.001, and 0.1 pi / (pi + 0.1)^2 as the weight of log pi."""
    logps = torch.tensor([0.9, 0.1, 0.001], dtype=torch.float64).log().requires_grad_()
    shaped = policy_shaping(logps, 0.1)
    expected = torch.tensor([0.9, 0.5, 0.001 / 0.101], dtype=torch.float64)
    torch.testing.assert_close(shaped, expected)
    (weights,) = torch.autograd.grad(shaped.sum(), logps)
    expected = torch.tensor([0.09, 0.25, 0.0001 / 0.101**2], dtype=torch.float64)
    torch.testing.assert_close(weights, expected)


def test_a_probability_of_zero_has_neither_value_nor_gradient():
    logps = torch.tensor([-1e4, -200.0], requires_grad=True)
    shaped = policy_shaping(logps, 0.1)
    (weights,) = torch.autograd.grad(shaped.sum(), logps)
    assert shaped.tolist() == weights.tolist() == [0.0, 0.0]


def test_terms_of_the_surrogate_by_hand():
    """Row 0 is off-policy, row 1 is not; A = 2 and -1, pi = 0.1, old pi = 0.2."""
    logps = torch.full((2, 2), 0.1).log().requires_grad_()
    old = torch.full((2, 2), 0.2).log()
    mask = torch.tensor([[True, True], [False, False]])
    advantages, old_logps = off_policy_terms(logps, torch.tensor([2.0, -1.0]), old, mask, 0.1)
    torch.testing.assert_close(advantages, torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
    ratio = torch.exp(logps - old_logps)
    torch.testing.assert_close(ratio, torch.tensor([[1.0, 1.0], [0.5, 0.5]]))
    # of row 0 d/dlogp 2 f(pi) = 2 / 4 each, and nothing by the ratio; of row 1 A * ratio
    (gradient,) = torch.autograd.grad((ratio * advantages).sum(), logps)
    torch.testing.assert_close(gradient, torch.tensor([[0.5, 0.5], [-0.5, -0.5]]))


def expected_loss(inputs, logps, gamma, loss_type, length):
    """State the loss of the papers, with TRL's clipped surrogate for tokens of the student."""
    advantages = inputs["advantages"][:, None]
    old = inputs.get("old_per_token_logps", logps.detach())
    ratio = torch.exp(logps - old)
    clipped = ratio.clamp(0.8, 1.2)
    surrogate = -torch.minimum(ratio.clamp(max=3.0) * advantages, clipped * advantages)
    pi = logps.exp()
    losses = torch.where(inputs["off_policy_mask"], -advantages * pi / (pi + gamma), surrogate)
    mask = inputs["completion_mask"]
    if loss_type == "grpo":
        return ((losses * mask).sum(1) / mask.sum(1)).mean()
    return (losses * mask).sum() / {
        "bnpo": mask.sum(),
        "dapo": mask.sum(),
        "dr_grpo": len(mask) * length,
    }[loss_type]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("with_old_logps", [True, False])
@pytest.mark.parametrize("mask", ["none", "some", "all"])
def test_the_loss_is_that_of_the_papers(
    tiny_model_dir, tmp_path, kind, loss_type, with_old_logps, mask
):
    trainer = build(
        tiny_model_dir,
        ThinkTuningTrainer,
        tmp_path,
        teacher=ScriptedTeacher(),
        algorithm=kind(schedule=ALWAYS, gamma=0.01),
        loss_type=loss_type,
    )
    inputs, logps = batch_of(trainer, mask, with_old_logps)
    inputs["off_policy_mask"] = inputs.pop("guidance_mask")
    loss = trainer._compute_loss(trainer.model, inputs)
    parameters = list(trainer.model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    expected = expected_loss(inputs, logps, 0.01, loss_type, trainer.max_completion_length)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-7)
    assert_gradients(gradients, expected, parameters)


def test_traces_are_rewarded_and_trained_in_the_places_of_rollouts(likely_eos, tmp_path):
    teacher = ScriptedTeacher()
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        algorithm=LUFFYAlgorithmConfig(schedule=ALWAYS, keep="all"),
        max_completion_length=40,
        max_steps=2,
    )
    seen = scored_batches(trainer)
    trainer.train()
    tokenizer, batch = trainer.processing_class, seen[0]
    taught = [i for i, rollout in enumerate(trainer.rollouts) if rollout.taught]
    assert taught and len(taught) < len(trainer.rollouts)
    for i, rollout in enumerate(trainer.rollouts):
        mask = batch["off_policy_mask"][i]
        assert mask.any() == rollout.taught
        if rollout.taught:
            assert rollout.text == "Wait.\n\nSo 4" and rollout.text != rollout.student_text
            assert torch.equal(mask, batch["completion_mask"][i].bool())
            ids = batch["completion_ids"][i][mask]
            assert tokenizer.decode(ids) == "Wait.\n\nSo 4<|im_end|>"
            share = vowel_share([[{"content": rollout.text}]])[0]
            assert rollout.reward == pytest.approx(share, rel=1e-5)
    # advantages are those of the whole group
    for start in range(0, len(trainer.rollouts), 4):
        group = trainer.rollouts[start : start + 4]
        mean = sum(r.reward for r in group) / 4
        assert all((r.reward > mean) == (r.advantage > 0) for r in group if r.reward != mean)
    row = trainer.state.log_history[0]
    assert row["teacher_tokens"] == 10 * row["num_asked"]
    assert row["resampled_tokens"] == 0
