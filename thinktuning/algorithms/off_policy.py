"""Off-policy completions in a group: another text takes a rollout's place, and GRPO trains on both.

This is shared by LUFFY (the teacher's solution) and Critique-GRPO (the student's refinement under
another prompt). An off-policy token loses -A * f(pi) with f(pi) = pi / (pi + gamma), without
clipping; other tokens take TRL's surrogate. Advantages are TRL's, over the whole group.

Departures from both papers' released code:
1. There advantages are not divided by the group's standard deviation, and the sum over tokens is
   divided by a constant. Here the study says so: `training.scale_rewards: none` and
   `training.loss_type: dr_grpo`.
2. There the student's own rollouts are not clipped either. Here they are clipped as in every other
   method: `training.epsilon` and `training.delta`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.algorithms.guided import Taught, TaughtConfig
from thinktuning.io.section import Positive

if TYPE_CHECKING:
    from torch import Tensor


class OffPolicyConfig(TaughtConfig):
    """The keys shared by algorithms with off-policy completions; `gamma` shapes their tokens."""

    gamma: Positive = 0.1


P = TypeVar("P", bound=OffPolicyConfig, covariant=True)


class OffPolicy(Taught[P], Generic[P]):
    """Shapes the tokens of off-policy completions: `off_policy_mask` (B, T), bool."""

    @property
    def separable(self) -> bool:
        """Whether the loss is this class's own: its terms are A * f(pi) of their own token."""
        return type(self).shape is OffPolicy.shape and not self.replaces_loss

    def loss_inputs(
        self, batch: RolloutBatch, output: Mapping[str, "Tensor"]
    ) -> "dict[str, Tensor]":
        """Return `off_policy_mask` (B, T): true where another text took the rollout's place."""
        import torch

        mask = torch.zeros_like(output["completion_ids"], dtype=torch.bool)
        for i in batch.taught:
            mask[i] = output["completion_mask"][i].bool()
        return {"off_policy_mask": mask}

    def shape(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "dict[str, Tensor]":
        """Give off-policy tokens the advantage A * f(pi) and the ratio 1."""
        from thinktuning.algorithms.shaping import off_policy_terms

        mask = inputs["off_policy_mask"]
        if not mask.any():
            return {}
        advantages, old_logps = off_policy_terms(
            logps,
            inputs["advantages"],
            inputs.get("old_per_token_logps"),
            mask,
            self.config.gamma,
        )
        return {"advantages": advantages, "old_per_token_logps": old_logps}
