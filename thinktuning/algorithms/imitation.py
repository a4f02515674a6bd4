"""Imitation: the loss of SFT and RFT, a cross-entropy of chosen tokens.

Advantages have no effect on it, so all completions are computed, and options of TRL's surrogate
that it would ignore are refused.

Shapes: B completions, T tokens.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

REFUSED: Mapping[str, str] = {
    "beta": "its loss is a cross-entropy, without a KL term",
    "entropy_coef": "its loss is a cross-entropy, without an entropy bonus",
    "epsilon_high": "its loss is a cross-entropy, without a clipped ratio",
    "use_adaptive_entropy": "its loss is a cross-entropy, without an entropy bonus",
}


def cross_entropy(logps: "Tensor", mask: "Tensor") -> "Tensor":
    """Return -mean(log pi) over the tokens in the mask; 0 if there are none.

    Args:
        logps: (B, T), log pi of each completion token.
        mask: (B, T), true where a token is imitated.
    """
    return -(logps * mask).sum() / mask.sum().clamp(min=1)
