"""The study section `teacher`, and the backends that it shares with `judge`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from thinktuning.grading.behaviors import Behavior
from thinktuning.io.section import Positive, Section
from thinktuning.models.config import Model
from thinktuning.teachers import prompts

Backend = Literal["self", "model", "openai"]


class OpenAIConfig(Section):
    """An OpenAI-compatible server, e.g. `vllm serve`; its key is read from OPENAI_API_KEY.

    A request is tried `1 + max_retries` times, with increasing waits. If the server stays
    unavailable, `on_failure: stop` ends the run, which can be resumed; `skip` continues without
    feedback.
    """

    base_url: Annotated[str, Field(pattern=r"^https?://")]
    model: str
    concurrency: PositiveInt = 32
    timeout: Positive = 120.0  # seconds per request
    max_retries: Annotated[int, Field(ge=0)] = 5
    on_failure: Literal["stop", "skip"] = "stop"


class BackendConfig(Section):
    """What `teacher` and `judge` share: the backend that answers chats, the prompt, the budget.

    `prompt`: the name of a packaged prompt, or a path. Backends: `model`, a local model with its
    own tokenizer; `openai`, a server.
    """

    section: ClassVar[str]
    backend: Backend
    model: Model | None = None
    openai: OpenAIConfig | None = None
    prompt: str
    max_completion_length: PositiveInt
    batch_size: PositiveInt = 64

    def files(self) -> dict[str, Path]:
        """Return the prompt's file, and the model's."""
        return super().files() | {self.prompt: prompts.locate(self.prompt)}

    def unread(self) -> Iterator[tuple[str, str]]:
        """Yield the keys of this section that its backend does not read, and why."""
        if self.backend == "openai":
            yield f"{self.section}.batch_size", "backend openai asks openai.concurrency at a time"

    @model_validator(mode="after")
    def _backend(self) -> Self:
        """Refuse a backend without its section, and the section of another backend."""
        for name in ("model", "openai"):
            given = getattr(self, name) is not None
            if self.backend == name and not given:
                raise ValueError(f"backend: {name} needs the section {self.section}.{name}")
            if given and self.backend != name:
                in_method = f" (in a method: {name}: null)" if self.section == "teacher" else ""
                raise ValueError(
                    f"the section {self.section}.{name} is for backend: {name}, but the backend is"
                    f" {self.backend}; change the backend or remove the section{in_method}"
                )
        return self


class TeacherConfig(BackendConfig):
    """The teacher; the backend `self` is the frozen base model.

    `behaviors`: the number of exemplars to show of each behavior; null shows one of each.
    """

    section: ClassVar[str] = "teacher"
    backend: Backend = "self"
    prompt: str = "paper"
    behaviors: dict[Behavior, Annotated[int, Field(ge=0)]] | None = None
    max_completion_length: PositiveInt = 512
