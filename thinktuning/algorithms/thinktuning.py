"""ThinkTuning (EMNLP 2025, arXiv 2508.07616): GRPO with rollouts that a teacher corrects.

1. In each group some of the rollouts that ended by themselves are selected. The teacher reads
   question and answer and replies with feedback, which is spliced onto the student's text
   (`guided`). The spliced text is what is rewarded.
2. In the loss, the tokens of taught rollouts are guided: advantage-aware shaping replaces the
   clipped ratio (`shaping`).

docs/method.md lists where this departs from the paper and its released code.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from thinktuning.algorithms.config import AASConfig
from thinktuning.algorithms.guided import Guided, GuidedConfig
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from torch import Tensor

# variant of the shaping -> the keys of the section that it does not read
UNREAD: Mapping[str, tuple[str, ...]] = {
    "paper": ("aas.constant",),
    "released": ("aas.constant", "aas.advantage_range"),
    "constant": ("aas.bound", "aas.advantage_range"),
    "off": (
        *("aas.constant", "aas.bound", "aas.advantage_range", "aas.probability_floor"),
        "mask",
    ),
}


class ThinkTuningAlgorithmConfig(GuidedConfig):
    """`algorithm: {type: thinktuning}`."""

    type: Literal["thinktuning"] = "thinktuning"
    aas: AASConfig = AASConfig()

    def unread(self, training: Any) -> Iterator[tuple[str, str]]:
        """Yield also what the variant of the shaping does not read."""
        yield from super().unread(training)
        for key in UNREAD[self.aas.variant]:
            yield f"algorithm.{key}", f"aas.variant {self.aas.variant} does not read it"

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "ThinkTuning":
        """Return the algorithm."""
        return ThinkTuning(self, teacher, prompt)


class ThinkTuning(Guided[ThinkTuningAlgorithmConfig]):
    """Spliced feedback, with advantage-aware shaping of the guided tokens."""

    @property
    def separable(self) -> bool:
        """Whether the loss is this class's own.

        It is separable: shaping multiplies each advantage by a finite weight of its own token.
        """
        return type(self).shape is ThinkTuning.shape and not self.replaces_loss

    def shape(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "dict[str, Tensor]":
        """Give guided tokens the shaped advantage and the ratio 1.

        With the old log-probability sg(log pi) clipping has no effect, and TRL's surrogate has the
        value and the gradient of the guided loss.
        """
        import torch

        from thinktuning.algorithms.shaping import guided_advantages

        mask = inputs["guidance_mask"]
        if self.config.aas.variant == "off" or not mask.any():
            return {}
        advantages, shaped = guided_advantages(logps, inputs["advantages"], mask, self.config.aas)
        replaced = {"advantages": advantages}
        if (old_logps := inputs.get("old_per_token_logps")) is not None:
            replaced["old_per_token_logps"] = torch.where(shaped, logps.detach(), old_logps)
        return replaced
