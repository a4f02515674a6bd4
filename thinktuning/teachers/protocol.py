"""Teacher: reads a question and the student's answer, and replies with feedback.

- `SelfTeacher`, as in the paper: the student as it was before training, prompted differently.
- `LocalTeacher`: any other model, with its own tokenizer (chats are exchanged as text).
- `OpenAITeacher`: any OpenAI-compatible server, e.g. `vllm serve`.
"""

from typing import Protocol

from thinktuning.models.chat import Chat


class Teacher(Protocol):
    """Anything that answers chats; a subclass only needs `generate`.

    Attributes:
        num_generated_tokens: tokens of all replies so far, if the teacher counts them.
    """

    num_generated_tokens: int = 0

    def generate(self, chats: list[Chat]) -> list[str | None]:
        """Answer each chat; None for a reply that is missing or exceeds the budget."""

    def close(self) -> None:
        """Free the teacher's resources; `generate` is not called afterwards."""
        return None  # a teacher that holds none need not say so
