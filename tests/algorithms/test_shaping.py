"""Advantage-aware shaping, computed by hand for single tokens."""

import math

import pytest
import torch

from thinktuning.algorithms.config import AASConfig
from thinktuning.algorithms.shaping import guided_advantages, shaping_gamma, shaping_weight


def test_gamma_variants():
    advantages = torch.tensor([-8.0, -2.0, 0.0, 2.0, 8.0])

    def gamma(variant):
        return shaping_gamma(advantages, AASConfig(variant=variant))

    # 0.00025 * A, clamped to +-0.001 outside [-4, 4]
    expected = torch.tensor([-0.001, -0.0005, 0.0, 0.0005, 0.001])
    torch.testing.assert_close(gamma("paper"), expected)
    # torch.clamp with min = 0.001 > max = -0.001 returns the max, as in the released code
    released = (0.00025 * advantages).clamp(min=0.001, max=-0.001)
    torch.testing.assert_close(gamma("released"), released)
    torch.testing.assert_close(gamma("constant"), torch.full((5,), 0.1))


def test_weight_keeps_the_denominator_valid():
    pi = torch.tensor([0.5, 0.0005, 0.9999, 0.3])
    gamma = torch.tensor([0.1, -0.001, 0.001, -0.001])
    # 0.5 / 0.6; 0.0005 - 0.001 < 0 -> 1.0001; 0.9999 + 0.001 > 1 -> 0.9999; 0.3 / 0.299
    expected = torch.tensor([0.5 / 0.6, 1.0001, 0.9999, 0.3 / 0.299])
    torch.testing.assert_close(shaping_weight(pi, gamma), expected)


def test_the_weight_is_finite_at_the_pole():
    # pi = 0.25 and gamma = -0.25 are exact in float32: their sum is 0
    assert shaping_weight(torch.tensor([0.25]), torch.tensor([-0.25])).item() == pytest.approx(
        1.0001
    )


@pytest.mark.parametrize("variant", ["paper", "released", "constant"])
@pytest.mark.parametrize("advantage", [-5.0, -1.0, 0.0, 1.0, 5.0])
def test_no_probability_is_too_small(variant, advantage):
    """exp(-104) is 0 in float32; the weight is that of the smallest number above 0, rounded."""
    aas = AASConfig(variant=variant, probability_floor=0.0)
    logps = torch.tensor([[-1e4, -200.0, -104.0, -103.0, -100.0, -87.0]], requires_grad=True)
    mask = torch.ones_like(logps, dtype=torch.bool)
    shaped, _ = guided_advantages(logps, torch.tensor([advantage]), mask, aas)
    assert shaped.isfinite().all()
    assert (logps.detach().exp() == 0).any() and (logps.detach().exp() > 0).any()
    torch.testing.assert_close(shaped[:, :3], shaped[:, 3:4].expand(1, 3), atol=1e-30, rtol=1e-3)
    loss = -(shaped * torch.exp(logps - logps.detach())).sum()
    (gradient,) = torch.autograd.grad(loss, logps)
    assert gradient.isfinite().all()


def test_guided_advantages_by_hand():
    pi = torch.tensor([[0.5, 0.2, 0.005], [0.5, 0.2, 0.005]])
    mask = torch.tensor([[True, False, True], [True, False, True]])
    shaped_advantages, shaped = guided_advantages(
        pi.log(), torch.tensor([2.0, -2.0]), mask, AASConfig(variant="constant")
    )
    # A > 0: both guided tokens shaped; A < 0: the token at 0.005 < 0.01 is spared and keeps A
    assert shaped.tolist() == [[True, False, True], [True, False, False]]
    expected = [
        [2 * 0.5 / 0.6, 2.0, 2 * 0.005 / 0.105],
        [-2 * 0.5 / 0.6, -2.0, -2.0],
    ]
    torch.testing.assert_close(shaped_advantages, torch.tensor(expected))


@pytest.mark.parametrize("variant", ["paper", "released", "constant"])
def test_surrogate_has_the_gradient_of_the_guided_loss(variant):
    """-A' * exp(logp - sg(logp)) against -A * pi / (sg(pi) + gamma(A)), value and gradient."""
    torch.manual_seed(0)
    advantages = torch.tensor([1.7])
    logps = torch.log(torch.rand(1, 50) * 0.8 + 0.05).requires_grad_()
    shaped_advantages, _ = guided_advantages(
        logps, advantages, torch.ones(1, 50, dtype=torch.bool), AASConfig(variant=variant)
    )
    surrogate = -(shaped_advantages * torch.exp(logps - logps.detach())).sum()
    (gradient,) = torch.autograd.grad(surrogate, logps)

    gamma = {"paper": 0.00025 * 1.7, "released": -0.001, "constant": 0.1}[variant]
    pi = logps.exp()
    denominator = pi.detach() + gamma
    assert ((denominator > 0) & (denominator < 1)).all()
    guided = -(1.7 * pi / denominator).sum()
    (expected,) = torch.autograd.grad(guided, logps)
    torch.testing.assert_close(surrogate, guided)
    torch.testing.assert_close(gradient, expected)


def test_no_gradient_flows_through_the_weight():
    logps = torch.tensor([[math.log(0.3)]], requires_grad=True)
    shaped_advantages, _ = guided_advantages(
        logps, torch.tensor([1.0]), torch.tensor([[True]]), AASConfig(variant="paper")
    )
    assert not shaped_advantages.requires_grad
