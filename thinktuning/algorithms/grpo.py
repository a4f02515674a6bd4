"""GRPO (Shao et al. 2024, arXiv 2402.03300) as in TRL: the algorithm without hooks.

The baseline is every other algorithm without its hooks; the trainer then has the gradients of stock
`trl.GRPOTrainer`, and with `skip_padding=False` equals it bit for bit.
"""

from typing import Literal

from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.protocol import Algorithm
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher


class GRPOAlgorithmConfig(AlgorithmConfig):
    """`algorithm: {type: grpo}`: vanilla GRPO."""

    type: Literal["grpo"] = "grpo"

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "GRPO":
        """Return the algorithm."""
        return GRPO(self, teacher, prompt)


class GRPO(Algorithm[GRPOAlgorithmConfig]):
    """Vanilla GRPO."""
