"""Chats as tokens: rendering, counting and completing them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from thinktuning.io.errors import StudyError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from thinktuning.models.prefix import PrefixCache

Chat = list[dict[str, str]]

# Arguments of `apply_chat_template` that are no variables of the template, or not the user's.
RESERVED = frozenset(
    (
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "sanitize_control_tokens",
        "strftime_now",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    )
)


def check_options(template_kwargs: dict[str, Any]) -> dict[str, Any]:
    """Refuse `chat_template_kwargs` that are no variables of a template.

    Raises:
        ValueError: names them.
    """
    if wrong := sorted(RESERVED & template_kwargs.keys()):
        raise ValueError(f"{wrong} are not variables of a chat template; remove them")
    return template_kwargs


def parse_template(template: str) -> Any:
    """Return a chat template's syntax tree, in the environment of transformers, with its tags."""
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return _compile_jinja_template(template).environment.parse(template)


def check_variables(tokenizer: Any, template_kwargs: Mapping[str, Any], label: str) -> None:
    """Refuse `chat_template_kwargs` that a model's template does not read.

    Args:
        tokenizer: the model's.
        template_kwargs: the study's.
        label: how to name the model in messages.

    Raises:
        StudyError: names those without effect, and what the template reads.
    """
    from jinja2 import meta

    tree = parse_template(tokenizer.get_chat_template())
    read = meta.find_undeclared_variables(tree) - RESERVED
    if unread := sorted(template_kwargs.keys() - read):
        raise StudyError(
            f"chat_template_kwargs: {label}: its chat template does not read {unread}, so they"
            f" would have no effect; it reads {sorted(read)}"
        )


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


def encode_chats(
    chats: Sequence[Chat], tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None
) -> list[list[int]]:
    """Return the token IDs of each chat, generation prompt included.

    Only the template writes control tokens: one that is spelled out in a question, an answer or a
    system prompt is encoded as the text that it is.

    Args:
        chats: the chats.
        tokenizer: with a chat template.
        template_kwargs: the study's `chat_template_kwargs`.

    Raises:
        StudyError: the tokenizer makes a control token of plain text.
    """
    if not chats:
        return []
    try:
        ids: list[list[int]] = tokenizer.apply_chat_template(
            list(chats),
            add_generation_prompt=True,
            return_dict=False,
            sanitize_control_tokens=True,
            **(template_kwargs or {}),
        )
    except ValueError as error:
        if "sanitize" not in str(error):
            raise
        raise StudyError(
            f"a question, an answer or a prompt spells out a control token of the model: {error};"
            " reword it"
        ) from error
    return ids


def turn_end(
    tokenizer: Any, ends: Sequence[int], template_kwargs: Mapping[str, Any] | None = None
) -> int:
    """Return the token that the chat template writes at the end of the assistant's turn.

    Args:
        tokenizer: with a chat template that `models.checks` has checked.
        ends: the tokens that end a turn.
        template_kwargs: the study's `chat_template_kwargs`.
    """
    said = "It is 21."
    turns = [{"role": "user", "content": "17 + 4?"}, {"role": "assistant", "content": said}]
    chat = tokenizer.apply_chat_template(turns, tokenize=False, **(template_kwargs or {}))
    rest = chat[chat.rfind(said) + len(said) :]
    after: list[int] = tokenizer(rest, add_special_tokens=False)["input_ids"]
    return next(token for token in after if token in ends)


def encode_text(text: str, tokenizer: Any) -> list[int]:
    """Return the token IDs of plain text, also where it spells out a special token."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    return ids


def continuation(before: Sequence[int], text: str, tokenizer: Any) -> list[int] | None:
    """Return token IDs that continue `before` with exactly `text`; None if none are found.

    A tokenizer may encode a text at its start differently: SentencePiece adds a space there. So the
    text is also encoded after others, and what decodes to the two texts joined is taken.

    Args:
        before: token IDs.
        text: plain text; a special token that it spells out stays text.
        tokenizer: encodes the text, and decodes without special tokens.
    """

    def decode(ids: Sequence[int]) -> str:
        decoded: str = tokenizer.decode(ids, skip_special_tokens=True)
        return decoded

    start = decode(before) if before else ""
    for anchor in ("", start[-16:], "\n", "."):
        alone, joined = encode_text(anchor, tokenizer), encode_text(anchor + text, tokenizer)
        ids = joined[len(alone) :]
        if joined[: len(alone)] == alone and decode([*before, *ids]) == start + text:
            return ids
    return None


def without_thoughts(reply: str) -> str:
    """Return a reply without the closed thinking block that it may begin with.

    The block's `<think>` is missing where the chat template has written it.
    """
    _, closed, answer = reply.partition("</think>")
    return answer if closed else reply


def generate_ids(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompt_ids: Sequence[Sequence[int]],
    max_new_tokens: int,
    prefix: "PrefixCache | None" = None,
    **sampling: Any,
) -> list[list[int]]:
    """Complete encoded chats in one batch, greedily unless `sampling` says otherwise.

    Args:
        model: the model.
        tokenizer: its tokenizer, with a padding token.
        prompt_ids: the chats' token IDs.
        max_new_tokens: the most tokens of a completion.
        prefix: holds what all of them begin with, if that is already computed.
        sampling: further arguments of the model's `generate`.

    Returns:
        For each chat, the token IDs of its completion up to and including the first EOS; without
        an EOS if `max_new_tokens` ran out.
    """
    import torch

    from thinktuning.models.generation import generate

    shared = prefix.ids if prefix else []
    input_ids, mask = padded(prompt_ids, tokenizer.pad_token_id, len(shared))
    ends = eos_ids(model, tokenizer)
    own, model.generation_config = model.generation_config, only_turn_ends(model, tokenizer)
    try:
        with torch.no_grad():
            output = generate(
                model,
                input_ids=input_ids.to(model.device),
                attention_mask=mask.to(model.device),
                past_key_values=prefix.rows(len(prompt_ids)) if prefix else None,
                max_new_tokens=max_new_tokens,
                synced_gpus=False,  # the model is whole: other processes need not take part
                **({"do_sample": False} | sampling),
            )
    finally:
        model.generation_config = own
    completions = output[:, input_ids.shape[1] :].tolist()
    return [ids[: first_end(ids, ends)] for ids in completions]


def padded(
    prompt_ids: Sequence[Sequence[int]], pad_id: int, shared: int = 0
) -> tuple["Tensor", "Tensor"]:
    """Return token IDs and attention mask, both (B, T), padded on the left.

    Args:
        prompt_ids: the rows.
        pad_id: the padding token.
        shared: the number of tokens that all rows begin with; the padding stands after them.
    """
    import torch

    longest = max(map(len, prompt_ids))
    rows, mask = [], []
    for ids in prompt_ids:
        gap = longest - len(ids)
        rows.append([*ids[:shared], *[pad_id] * gap, *ids[shared:]])
        mask.append([1] * shared + [0] * gap + [1] * (len(ids) - shared))
    return torch.tensor(rows), torch.tensor(mask)


def first_end(ids: Sequence[int], ends: Sequence[int]) -> int:
    """Count the tokens up to and including the first EOS, or all if there is none."""
    return next((i + 1 for i, token in enumerate(ids) if token in ends), len(ids))


def num_tokens(
    chats: Sequence[Chat], tokenizer: Any, template_kwargs: Mapping[str, Any] | None = None
) -> list[int]:
    """Count the tokens of each chat, including the generation prompt."""
    return [len(ids) for ids in encode_chats(chats, tokenizer, template_kwargs)]
