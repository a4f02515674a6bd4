"""OpenAITeacher: a teacher behind a server of OpenAI's chat completions."""

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import openai

from thinktuning import schema
from thinktuning.errors import StudyError
from thinktuning.prompts import Chat

# The request itself is at fault: no later one will fare better.
MISTAKES = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


class OpenAITeacher:
    """Asks a server greedily, `concurrency` chats at a time.

    Args:
        base_url: of the server, e.g. http://localhost:8000/v1.
        model: the name that it serves the teacher under.
        max_completion_length: of a reply, in the server's tokens; a longer one is no answer.
        api_key: the environment's OPENAI_API_KEY by default.
        settings: of `thinktuning.schema.OpenAIEndpoint`: concurrency; timeout of a request, in
            seconds; max_retries of one that failed, with growing waits that heed `Retry-After`;
            on_failure: when a request failed for the last time, `stop` raises; `skip` counts it,
            and what was to be asked after it in the same batch, as not answered.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        max_completion_length: int = schema.Teacher().max_completion_length,
        api_key: str | None = None,
        **settings: Any,
    ) -> None:
        endpoint = schema.OpenAIEndpoint(base_url=base_url, model=model, **settings)
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"  # a local server takes any
        self.client = openai.OpenAI(
            base_url=base_url,
            api_key=key,
            timeout=endpoint.timeout,
            max_retries=endpoint.max_retries,
        )
        self.model = model
        self.max_completion_length = max_completion_length
        self.concurrency = endpoint.concurrency
        self.on_failure = endpoint.on_failure
        self.num_generated_tokens = 0

    def generate(self, chats: list[Chat]) -> list[str | None]:
        """Ask about all chats; None where there is no complete answer.

        Raises:
            StudyError: the server stays away and `on_failure` is `stop`, or it refuses the key or
                the model.
        """
        away = Event()
        with ThreadPoolExecutor(self.concurrency) as pool:
            answers = list(pool.map(lambda chat: self._ask(chat, away), chats))
        self.num_generated_tokens += sum(tokens for _, tokens in answers)
        return [reply for reply, _ in answers]

    def _ask(self, chat: Chat, away: Event) -> tuple[str | None, int]:
        """Return one reply and the number of its tokens."""
        if away.is_set():
            return None, 0
        try:
            completion = self.client.chat.completions.create(
                model=self.model,
                messages=chat,
                temperature=0,
                max_tokens=self.max_completion_length,
            )
        except openai.OpenAIError as error:
            if isinstance(error, openai.BadRequestError) and self.on_failure == "skip":
                return None, 0  # this chat alone, e.g. longer than the server's context
            away.set()
            if self.on_failure == "skip" and not isinstance(error, MISTAKES):
                return None, 0
            raise StudyError(
                f"teacher.openai: {self.client.base_url} does not answer as model {self.model!r}:"
                f" {error}. Check base_url, model and OPENAI_API_KEY and that the server is up,"
                " then run again: training resumes from its last checkpoint"
            ) from error
        tokens = completion.usage.completion_tokens if completion.usage else 0
        choice = completion.choices[0]
        return choice.message.content if choice.finish_reason == "stop" else None, tokens

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
