"""OpenAITeacher: a teacher behind an OpenAI-compatible server."""

import json
import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, cast

import openai

from thinktuning.io.errors import StudyError
from thinktuning.models.chat import Chat
from thinktuning.teachers.config import BackendConfig, OpenAIConfig, TeacherConfig

logger = logging.getLogger(__name__)

# The request itself is wrong: trying again cannot help.
MISTAKES = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


class OpenAITeacher:
    """Queries a server with greedy decoding, `concurrency` chats at a time.

    Args:
        base_url: the server's URL, e.g. http://localhost:8000/v1.
        model: the name under which it serves the teacher.
        max_completion_length: in the server's tokens; a longer reply is None.
        api_key: by default the environment's OPENAI_API_KEY.
        chat_template_kwargs: variables of the model's chat template; sent only if there are any,
            since not every server takes them (vLLM and SGLang do).
        section: the study's section that describes the server, for messages: teacher or judge.
        settings: fields of `OpenAIConfig`: concurrency; timeout, in seconds per request;
            max_retries of a failed request, with increasing waits that respect `Retry-After`;
            on_failure: after the last retry, `stop` raises; `skip` leaves this chat and the rest
            of the batch without a reply.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        max_completion_length: int = TeacherConfig().max_completion_length,
        api_key: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        section: str = TeacherConfig.section,
        **settings: Any,
    ) -> None:
        endpoint = OpenAIConfig(base_url=base_url, model=model, **settings)
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"  # a local server takes any
        self.client = openai.OpenAI(
            base_url=base_url,
            api_key=key,
            timeout=endpoint.timeout,
            max_retries=endpoint.max_retries,
        )
        self.model = model
        options = dict(chat_template_kwargs or {})
        self.extra_body = {"chat_template_kwargs": options} if options else None
        self.max_completion_length = max_completion_length
        self.concurrency = endpoint.concurrency
        self.on_failure = endpoint.on_failure
        self.section = section
        self.num_generated_tokens = 0
        self._failing = False  # no chat of the last batch was answered, and the log says why

    def generate(self, chats: list[Chat]) -> list[str | None]:
        """Answer each chat; None where there is no complete reply.

        Raises:
            StudyError: the server stays unavailable and `on_failure` is `stop`, or it refuses the
                key or the model.
        """
        if not chats:
            return []
        away = Event()
        errors: list[openai.OpenAIError] = []
        with ThreadPoolExecutor(self.concurrency) as pool:
            answers = list(pool.map(lambda chat: self._ask(chat, away, errors), chats))
        self._warn(errors, all_failed=bool(errors) and all(answer is None for answer in answers))
        replies = [answer or (None, 0) for answer in answers]
        self.num_generated_tokens += sum(tokens for _, tokens in replies)
        return [reply for reply, _ in replies]

    def _warn(self, errors: list[openai.OpenAIError], all_failed: bool) -> None:
        """Log the server's error if it answers no chat at all: once, until it answers again."""
        if all_failed and not self._failing:
            logger.warning(
                "%s.openai: %s answers none of the chats as model %r: %s. on_failure: skip goes on"
                " without replies",
                self.section,
                self.client.base_url,
                self.model,
                errors[0],
            )
        self._failing = all_failed

    def _ask(
        self, chat: Chat, away: Event, errors: list[openai.OpenAIError]
    ) -> tuple[str | None, int] | None:
        """Return one reply and the number of its tokens; None if the request fails."""
        if away.is_set():
            return None
        try:
            return self._read(self._complete(chat))
        except openai.OpenAIError as error:
            errors.append(error)
            if isinstance(error, openai.BadRequestError) and self.on_failure == "skip":
                return None  # only this chat fails, e.g. longer than the server's context
            away.set()
            if self.on_failure == "skip" and not isinstance(error, MISTAKES):
                return None
            resumes = ": training resumes from its last checkpoint"
            raise StudyError(
                f"{self.section}.openai: {self.client.base_url} does not answer as model"
                f" {self.model!r}: {error}. Check base_url, model and OPENAI_API_KEY, and that the"
                f" server is up; then run again{resumes if self.section == 'teacher' else ''}"
            ) from error

    def _complete(self, chat: Chat) -> Any:
        """Return the server's answer to a chat; text, for example, if it is no JSON object."""
        try:
            return self.client.chat.completions.create(
                model=self.model,
                messages=cast(Any, chat),
                temperature=0,
                max_tokens=self.max_completion_length,
                extra_body=self.extra_body,
            )
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise openai.OpenAIError(f"its answer is not JSON ({error})") from error

    def _read(self, completion: Any) -> tuple[str | None, int]:
        """Return the reply, None if it did not end, and the number of its tokens."""
        try:
            choice = completion.choices[0]
            text = choice.message.content if choice.finish_reason == "stop" else None
            # half a character (a lone surrogate) is no text: it can be neither encoded nor stored
            reply = text if text is None else text.encode(errors="replace").decode()
        except (AttributeError, IndexError, TypeError) as error:
            said = str(completion)[:200]
            raise openai.OpenAIError(f"its answer is not a chat completion: {said}") from error
        tokens = getattr(completion.usage, "completion_tokens", None)
        if tokens is None and self.section == "teacher":
            raise StudyError(
                f"teacher.openai: {self.client.base_url} returns no `usage`, so that the teacher's"
                " tokens cannot be counted, for budgets and costs; take a server that returns it"
            )
        return reply, tokens or 0

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


def connect(
    spec: BackendConfig,
    directory: Path | None,
    option: str,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> OpenAITeacher:
    """Return the teacher of `backend: openai`."""
    if spec.openai is None:
        raise StudyError(f"backend: openai needs the section {spec.section}.openai")
    return OpenAITeacher(
        **spec.openai.model_dump(),
        max_completion_length=spec.max_completion_length,
        chat_template_kwargs=chat_template_kwargs,
        section=spec.section,
    )
