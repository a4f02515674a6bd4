"""Chats as tokens: rendering, counting and completing them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

Chat = list[dict[str, str]]


def eos_ids(model: Any, tokenizer: Any) -> list[int]:
    """Return every token ID that ends a turn: the generation config's and the tokenizer's EOS."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return sorted({token for token in [*listed, tokenizer.eos_token_id] if token is not None})


def only_turn_ends(model: Any, tokenizer: Any) -> "GenerationConfig":
    """Return a generation config with the tokens that end a turn, and nothing else.

    A model's own one may hold anything (`min_p`, `min_new_tokens`, `stop_strings`,
    `repetition_penalty`, ...), and transformers applies what a caller leaves open. Student,
    teacher, judge and evaluation sample as the study says, so all of them use this one.
    """
    from transformers import GenerationConfig

    return GenerationConfig(
        eos_token_id=eos_ids(model, tokenizer), pad_token_id=tokenizer.pad_token_id
    )


def generate_ids(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rendered: Sequence[str],
    max_new_tokens: int,
    **sampling: Any,
) -> list[list[int]]:
    """Complete rendered chats in one batch, greedily unless `sampling` says otherwise.

    Returns:
        For each chat, the token IDs of its completion up to and including the first EOS; without
        an EOS if `max_new_tokens` ran out.
    """
    import torch

    generate: Any = model.generate  # from a mixin that transformers' types omit
    inputs = tokenizer(
        list(rendered),
        return_tensors="pt",
        padding=True,
        padding_side="left",
        add_special_tokens=False,
    ).to(model.device)
    ends = eos_ids(model, tokenizer)
    own, model.generation_config = model.generation_config, only_turn_ends(model, tokenizer)
    try:
        with torch.no_grad():
            output = generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=max_new_tokens,
                synced_gpus=False,  # the model is whole: other processes need not take part
                **({"do_sample": False} | sampling),
            )
    finally:
        model.generation_config = own
    completions = output[:, inputs["input_ids"].shape[1] :].tolist()
    return [ids[: first_end(ids, ends)] for ids in completions]


def first_end(ids: Sequence[int], ends: Sequence[int]) -> int:
    """Count the tokens up to and including the first EOS, or all if there is none."""
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))


def num_tokens(chats: list[Chat], tokenizer: Any) -> list[int]:
    """Count the tokens of each chat, including the generation prompt."""
    rendered = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=False)
    return [len(ids) for ids in rendered]
