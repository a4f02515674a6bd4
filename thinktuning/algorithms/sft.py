"""SFT on the guided rollouts: the control for whether ThinkTuning's gain needs RL.

Rollouts are spliced as for ThinkTuning; the loss is the cross-entropy of the guided tokens,
averaged over the micro-batch, and 0 once the guidance rate is 0. Rewards and advantages have no
effect.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from thinktuning.algorithms.guided import Guided, GuidedConfig
from thinktuning.algorithms.imitation import REFUSED, cross_entropy
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from torch import Tensor


class SFTAlgorithmConfig(GuidedConfig):
    """`algorithm: {type: sft}`."""

    has_kl_term: ClassVar[bool] = False
    uses_rewards: ClassVar[bool] = False
    type: Literal["sft"] = "sft"

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "SFT":
        """Return the algorithm."""
        return SFT(self, teacher, prompt)


class SFT(Guided[SFTAlgorithmConfig]):
    """The guided rollouts as supervised text."""

    refused: ClassVar[Mapping[str, str]] = REFUSED

    def loss(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "Tensor":
        """Return -mean(log pi) over the guided tokens."""
        return cross_entropy(logps, inputs["guidance_mask"])
