"""Advantage-aware shaping (AAS): the loss of guided tokens (ThinkTuning, section on guided GRPO).

A token that the teacher wrote, or a student token of a trajectory that the teacher continued, is
off-policy text. Its loss replaces GRPO's clipped ratio by

    ratio_guided = pi / (sg(pi) + gamma(A))          sg: stop-gradient
    loss_guided = -A * ratio_guided                  no clipping

with the gradient  -A * pi / (pi + gamma(A)) * grad log pi:  a weight that amplifies or damps rare
tokens. `AASConfig` has the constants and their defaults.

Departures from the paper and its released code:

1. `gamma(A)` has three variants (`shaping_gamma`); the released code computes a constant where the
   paper has a linear function.
2. The guided loss is written as an advantage, A * pi / (pi + gamma), with a ratio of exactly 1:
   value and gradient are the same, and any GRPO surrogate can be used unchanged.

`policy_shaping` is LUFFY's shaping of off-policy tokens, which Critique-GRPO uses too.

Shapes: B completions, T tokens.
"""

import math

import torch
from torch import Tensor

from thinktuning.algorithms.config import AASConfig


def shaping_gamma(advantages: Tensor, aas: AASConfig) -> Tensor:
    """Return gamma(A), with the shape of `advantages`.

    paper:    clamp(A * bound / advantage_range, -bound, bound): linear over +-advantage_range
    released: -bound for every A: the released code clamps with min = bound > max = -bound, and
              torch returns the max
    constant: `constant` for every A, 0.1 in LUFFY's policy shaping (arXiv 2504.14945), whose
              gradient has another weight, since it has no stop-gradient: see `policy_shaping`
    """
    if aas.variant == "paper":
        slope = aas.bound / aas.advantage_range
        return (advantages * slope).clamp(-aas.bound, aas.bound)
    constants = {"released": -aas.bound, "constant": aas.constant}
    return torch.full_like(advantages, constants[aas.variant])


def shaping_weight(probabilities: Tensor, gamma: Tensor) -> Tensor:
    """Return pi / (pi + gamma); a denominator up to 0 becomes pi/1.0001, one above 1 pi/0.9999.

    A probability that underflows to 0 gets the limit of the weight as pi -> 0, not 0 / 0: 1.0001
    for gamma < 0, 1 for gamma = 0, 0 for gamma > 0. So every weight is finite.

    Args:
        probabilities: (B, T), pi of each token, detached.
        gamma: (B, T) or broadcastable.
    """
    denominator = probabilities + gamma
    denominator = torch.where(denominator <= 0, probabilities / 1.0001, denominator)
    denominator = torch.where(denominator > 1, probabilities / 0.9999, denominator)
    limit = torch.where(gamma < 0, 1.0001, torch.where(gamma > 0, 0.0, 1.0))
    return torch.where(probabilities > 0, probabilities / denominator, limit)


def guided_advantages(
    logps: Tensor, advantages: Tensor, guidance_mask: Tensor, aas: AASConfig
) -> tuple[Tensor, Tensor]:
    """Return the shaped advantages (B, T), and which tokens they shape (B, T), bool.

    A shaped token's loss is -A' * ratio with A' = A * pi / (pi + gamma(A)) and ratio = pi / sg(pi)
    = 1. A guided token with A < 0 and pi < probability_floor is not shaped: it keeps A and the
    usual clipped ratio, since there is no point in pushing down a token that the student would
    hardly sample anyway.

    Args:
        logps: (B, T), log pi of each completion token; no gradient flows through them here.
        advantages: (B,) or (B, T).
        guidance_mask: (B, T), true where the token is trained as guided.
        aas: the variant of gamma(A) and its constants.
    """
    if advantages.dim() == 1:
        advantages = advantages.unsqueeze(1)
    advantages = advantages.expand_as(logps)
    probabilities = logps.detach().exp()
    spared = (advantages < 0) & (probabilities < aas.probability_floor)
    shaped = guidance_mask.bool() & ~spared
    weight = shaping_weight(probabilities, shaping_gamma(advantages, aas))
    return torch.where(shaped, advantages * weight, advantages), shaped


def policy_shaping(logps: Tensor, gamma: float) -> Tensor:
    """Return f(pi) = pi / (pi + gamma) of each token, with its gradient (LUFFY, policy shaping).

    The gradient is gamma * pi / (pi + gamma)^2 * grad log pi: its weight is largest, 1/4, at
    pi = gamma, and small for tokens that are likely already and for those much rarer than gamma.
    It is computed as f = sigmoid(log pi - log gamma).

    Args:
        logps: (B, T), log pi of each token.
        gamma: the constant, above 0.
    """
    return torch.sigmoid(logps - math.log(gamma))


def off_policy_terms(
    logps: Tensor, advantages: Tensor, old_logps: Tensor | None, mask: Tensor, gamma: float
) -> tuple[Tensor, Tensor]:
    """Return advantages and old log-probabilities with which off-policy tokens lose -A * f(pi).

    The clipped surrogate -min(ratio * A', clip(ratio) * A') of such a token has the ratio
    pi / pi = 1, without a gradient, and A' = A * f(pi), with one. Clipping has no effect on it.

    Args:
        logps: (B, T), log pi of each completion token, with its graph.
        advantages: (B,) or (B, T).
        old_logps: (B, T); None where they are those of `logps`.
        mask: (B, T), true where a token is off-policy.
        gamma: that of `policy_shaping`.

    Returns:
        Both (B, T); where `mask` is false they are what was given.
    """
    if advantages.dim() == 1:
        advantages = advantages.unsqueeze(1)
    advantages = advantages.expand_as(logps)
    shaped = advantages * policy_shaping(logps, gamma)
    old = logps.detach() if old_logps is None else old_logps
    return torch.where(mask, shaped, advantages), torch.where(mask, logps, old)
