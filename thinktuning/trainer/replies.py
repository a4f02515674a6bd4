"""Replies of the current student: to other chats than the rows', and as messages.

`replies` is what `RolloutBatch.sample` does. TRL's `_generate_single_turn` does the sampling, so
engine, weights and sampling options are those of the rollouts, with vLLM too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils import gather_object
from trl.chat_template_utils import parse_response

from thinktuning.models.chat import Chat, continuation


def replies(
    trainer: Any, turn: Callable[..., Any], chats: Sequence[Chat], starts: Sequence[str]
) -> list[list[int] | None]:
    """Sample a reply to each chat; every process must call this the same number of times.

    The tokens that are generated are counted in the batch's metric `resampled_tokens`.

    Args:
        trainer: a `ThinkTuningTrainer` whose `batch` has been sampled.
        turn: its `_generate_single_turn`, as TRL defines it.
        chats: of this process; others may have another number of them.
        starts: the text that each reply begins with.

    Returns:
        Token IDs that begin with those of the text, and end with an EOS unless they were cut to the
        maximum completion length; None where the text has no exact tokens.
    """
    begun = [continuation([], start, trainer._tokenizer) for start in starts]
    # engines and sharded models need as many prompts in each process: the first row's fill up
    missing = max(gather_object([len(chats)])) - len(chats)
    asked = [*chats, *[trainer.batch.rows[0]["prompt"]] * missing]
    if not asked:
        return []
    prompt_ids, *_ = trainer._tokenize_prompts(asked)
    prefixes = [*(start or [] for start in begun), *[[]] * missing]
    pairs = zip(prompt_ids, prefixes, strict=True)
    sampled, _ = turn([[*ids, *start] for ids, start in pairs], None, {}, 1)
    sampled = sampled[: len(chats)]
    trainer.batch.metrics["resampled_tokens"] += sum(map(len, sampled))
    return [
        None if start is None else [*start, *ids][: trainer.max_completion_length]
        for start, ids in zip(begun, sampled, strict=True)
    ]


def messages(
    tokenizer: Any, prompt_ids: Sequence[list[int]], completion_ids: Sequence[list[int]]
) -> list[list[dict[str, Any]]]:
    """Return completions as TRL passes them to rewards: parsed, if the tokenizer says how.

    Thoughts, for example, are then not part of a message's content.
    """
    if any(getattr(tokenizer, f"response_{how}", None) for how in ("template", "schema")):
        pairs = zip(prompt_ids, completion_ids, strict=True)
        return [[parse_response(tokenizer, ids, prefix=prompt)] for prompt, ids in pairs]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in completion_ids]
    return [[{"role": "assistant", "content": text}] for text in texts]
