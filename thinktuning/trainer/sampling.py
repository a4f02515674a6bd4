"""Whether vLLM samples with the weights that are trained: its log-probabilities and the trainer's.

If the weights do not reach the engine, or another model is served, rollouts come from another
policy: the curves stay plausible, and the method is no longer the one in its configuration.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thinktuning.io.errors import StudyError


def differences(logps: Tensor, inputs: Mapping[str, Any]) -> Tensor:
    """Compare the two on the tokens of a micro-batch that the engine sampled.

    Args:
        logps: (B, T), log pi of each completion token under the trainer's weights.
        inputs: the micro-batch; (B, T) `sampling_per_token_logps` is NaN for spliced tokens.

    Returns:
        (2,), the sum of the absolute differences in nats, and the number of tokens.
    """
    sampled = inputs["sampling_per_token_logps"]
    mask = inputs["completion_mask"].bool() & ~sampled.isnan()
    if "tool_mask" in inputs:
        mask &= inputs["tool_mask"].bool()
    found = (logps.detach().float() - sampled)[mask].abs()
    return torch.stack([found.sum(), mask.sum().float()])


def refuse_other_weights(mean: float, limit: float | None, top_p: float) -> None:
    """Stop a training whose engine does not have the trainer's weights.

    Args:
        mean: the mean absolute difference in nats.
        limit: the largest that engine and precision explain; None accepts any.
        top_p: the sampling's; vLLM's log-probabilities are those of the truncated distribution, and
            so larger by up to -log(top_p).

    Raises:
        StudyError: the difference is larger.
    """
    if limit is None or not mean > limit - math.log(top_p):  # NaN: the weights diverged
        return
    raise StudyError(
        f"training.vllm: the tokens that vLLM sampled have other log-probabilities in the trainer:"
        f" {mean:.3g} nats on average, over max_logp_difference = {limit}. Its weights are not the"
        " ones that are trained, so the rollouts are another model's. For mode: server, serve"
        " this run's base model, to this run alone, with the options in docs/gpu.md; for mode:"
        " colocate, install the versions in requirements-vllm.lock. If the engine's precision or"
        " sampling options explain the difference, raise max_logp_difference"
    )
