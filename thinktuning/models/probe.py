"""Whether a saved model is the one in memory: the log-probabilities of a fixed chat's tokens.

Saving merges adapters, gathers shards and renames weights. A fault there publishes another model
than the one that was trained, in files that are complete and finite.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.io.errors import StudyError
from thinktuning.models.checks import check_finite

if TYPE_CHECKING:
    from torch import Tensor

CHAT = [{"role": "user", "content": "What is 17 + 4? Think step by step."}]

# Largest differences, in nats. A whole model is compared in float32 on the CPU: 0, or 1e-6 where
# an adapter was merged. Shards compute where they are, with bf16 in bfloat16, in which single
# log-probabilities of SmolLM2-135M are up to 1.0 off.
WHOLE, SHARDED, SHARDED_BF16 = 1e-3, 1e-2, 4.0


@contextmanager
def saved_as_trained(trainer: Any, tokenizer: Any, directory: Path) -> Iterator[None]:
    """Check that the model that is saved in the `with` block is the trainer's.

    All processes must enter: a sharded model computes in all. A whole one moves to the CPU, and its
    weights are dropped after saving, to make room for the copy from disk.

    Args:
        trainer: a `transformers.Trainer` after training.
        tokenizer: the model's.
        directory: where the block saves it.

    Raises:
        StudyError: the saved model has weights that are not finite, or predicts something else.
    """
    from transformers import AutoModelForCausalLM
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    model = trainer.model_wrapped
    tolerance = SHARDED_BF16 if trainer.args.bf16 else SHARDED
    if not sharded:  # without accelerate's wrapper, which computes in bfloat16
        model = trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False).to("cpu")
        tolerance = WHOLE
    ids = tokenizer.apply_chat_template(
        CHAT, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    trained = predict(model, ids)
    yield
    if not trainer.accelerator.is_main_process:
        return
    if not sharded:
        for weight in model.parameters():
            weight.data = weight.data.new_empty(0)
    check_finite(directory)
    unset_hf_deepspeed_config()  # or ZeRO-3 would shard the copy, and wait for other processes
    saved = predict(AutoModelForCausalLM.from_pretrained(directory, dtype="float32"), ids)
    difference = largest_difference(saved, trained)
    if not difference <= tolerance:
        raise StudyError(
            f"{directory}: is not the model that was trained: after saving, log-probabilities of"
            f" the {len(saved)} tokens of a probe differ by up to {difference:.3g} nats, over the"
            f" {tolerance:g} that precision explains. Nothing is published, and the checkpoints"
            " stay. With training.lora, try other target_modules; install the versions in"
            " requirements.lock"
        )


def predict(model: Any, ids: "Tensor") -> "Tensor":
    """Return the log-probabilities of each next token.

    Args:
        model: a causal language model; it is in eval mode afterwards.
        ids: (1, T), token IDs.

    Returns:
        (T, V), in float32 on the CPU.
    """
    import torch

    model.eval()
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(input_ids=ids.to(device), use_cache=False).logits
    logps: Tensor = logits[0].float().cpu().log_softmax(-1)
    return logps


def largest_difference(a: "Tensor", b: "Tensor") -> float:
    """Return the largest absolute difference of two tensors; infinity if their shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    unequal = a != b  # two infinities are equal
    return float((a - b)[unequal].abs().max()) if unequal.any() else 0.0
