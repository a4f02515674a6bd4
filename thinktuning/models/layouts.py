"""The layout in which a model may compute a padded batch; see `thinktuning.trainer.padding`."""

import inspect
from typing import Any, Literal

Layout = Literal["packed", "trimmed", "right", "padded"]
LONGEST_ROW = {"dynamic", "longrope"}  # rotary positions that depend on a batch's longest row


def layout_of(base: Any) -> Layout:
    """Return the layout that a model's configuration and class allow.

    Args:
        base: a transformers model without adapters, also one whose weights are sharded or on
            torch's meta device.
    """
    config = base.config
    kinds = rope_kinds(config) if not getattr(config, "alibi", False) else set()
    if config.get_text_config() is not config or kinds & LONGEST_ROW or selects_columns(config):
        return "padded"
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    inputs = inspect.signature(type(base.base_model).forward).parameters
    if (
        not kinds
        or "position_ids" not in inputs
        or layers - {"full_attention", "sliding_attention"}
    ):
        return "right"
    packs = (
        layers == {"full_attention"}
        and not getattr(config, "sliding_window", None)
        and not getattr(config, "output_router_logits", False)  # its loss needs the padding mask
        and config._attn_implementation == "sdpa"
        and _defined_in(base).startswith("transformers.models.")
    )
    return "packed" if packs else "trimmed"


def selects_columns(config: Any) -> bool:
    """Return whether attention is to columns that are selected among all, padding included.

    An indexer selects tokens or blocks of them: `index_topk` (DeepSeek V3.2 and V4, GLM, Hunyuan),
    `index_block_size` (MiniMax M3), `indexer_budget` (Qwen 4); Doge has `keep_window_size`.
    """
    names = [name for name, value in vars(config).items() if value]
    return any(name.startswith("index") or name == "keep_window_size" for name in names)


def rope_kinds(config: Any) -> set[str]:
    """Return the types of rotary positions that a model's configuration names."""
    ropes = getattr(config, "rope_parameters", None) or {}
    each = [ropes, *(rope for rope in ropes.values() if isinstance(rope, dict))]  # a kind of layer
    return {rope["rope_type"] for rope in each if "rope_type" in rope}


def finds_invocations(model: Any) -> bool:
    """Return whether a model has an adapter that is on only after certain tokens of a row (aLoRA).

    PEFT tells its layers where these stand, a number for each row of the batch.
    """
    adapters = getattr(model, "peft_config", None) or {}
    return any(getattr(one, "alora_invocation_tokens", None) for one in adapters.values())


def _defined_in(model: Any) -> str:
    """Return the module of a model's class; FSDP2 derives one of its own from it."""
    modules = (kind.__module__ for kind in type(model).__mro__)
    return next(name for name in modules if not name.startswith("torch."))
