"""How a question becomes the student's chat."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from thinktuning.data.config import PromptConfig
from thinktuning.models.chat import Chat, encode_chats

PROBES = ("What is 17 + 4?", "Calculate 4 - 1 - 7.")


def student_chat(question: str, prompt: PromptConfig) -> Chat:
    """Return the student's chat, the same in training and in evaluation."""
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, {"role": "user", "content": question + prompt.suffix}]


def prompt_sha256(prompt: PromptConfig, tokenizer: Any, template_kwargs: Mapping[str, Any]) -> str:
    """Return a hash of how questions are asked: the tokens of two fixed ones, `PROBES`.

    Training and evaluation both record it. They have different questions, so each also checks that
    what TRL and lm-eval ask is what `encode_chats` makes of `student_chat`.
    """
    chats = [student_chat(question, prompt) for question in PROBES]
    ids = encode_chats(chats, tokenizer, template_kwargs)
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()
