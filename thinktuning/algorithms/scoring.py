"""Scoring of further texts in an algorithm's loss, by the policy and by the frozen base.

TRL computes log pi of the completions that were rewarded. An algorithm that compares other texts
(`dpo`) or whole next-token distributions (`sdpo`), or either with the model before training, sets
`scores_texts` in its config; the trainer then sets its `scorer`. The base is the model as it was
when training began: the `self` teacher's copy if there is one.

Shapes: N texts, P and C tokens of prompt and completion, M tokens of all completions together,
V of the vocabulary.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    from torch import Tensor

Who = Literal["policy", "base"]
Measure = Callable[["Tensor", "Tensor"], "Tensor"]


@dataclass(frozen=True)
class Texts:
    """N prompts, padded on the left, and their completions, padded on the right, as in TRL."""

    prompt_ids: "Tensor"  # (N, P)
    prompt_mask: "Tensor"  # (N, P)
    completion_ids: "Tensor"  # (N, C)
    completion_mask: "Tensor"  # (N, C)

    @classmethod
    def of(cls, inputs: Mapping[str, "Tensor"]) -> Self:
        """Return those of a (micro-)batch of TRL."""
        return cls(*(inputs[field.name] for field in fields(cls)))

    @property
    def num_tokens(self) -> int:
        """Count the tokens that a model reads to score the texts."""
        return int((self.prompt_mask.sum() + self.completion_mask.sum()).item())

    def rows(self, index: Any) -> "Texts":
        """Return some of the texts; `index` selects rows of a tensor."""
        return Texts(*(tensor[index] for tensor in vars(self).values()))


class Scorer(Protocol):
    """Scores texts for `Algorithm.loss` and `Algorithm.loss_inputs`; the trainer supplies it.

    Logits are divided by the sampling temperature, as in TRL.

    Attributes:
        num_iterations: how often `Algorithm.loss` is computed on each completion.
    """

    num_iterations: int

    def encode(self, prompts: Sequence[Any]) -> tuple["Tensor", "Tensor"]:
        """Return token IDs and mask (N, P) of prompts, tokenized as the student's."""

    def logps(self, texts: Texts, who: Who) -> "Tensor":
        """Return the log-probability (N, C) of each completion token; 0 at padding.

        The policy's have their graph, the base's none.
        """

    def compare(self, texts: Texts, teacher: Texts, measure: Measure) -> "Tensor":
        """Return a measure (N, C) of two next-token distributions, at each completion token.

        Args:
            texts: what the policy reads.
            teacher: what the base reads: other prompts with the same completions.
            measure: makes (M,) of the logits (M, V) of the policy, with their graph, and of the
                base. It is called for a few texts at a time, so that no more logits exist at once.
        """
