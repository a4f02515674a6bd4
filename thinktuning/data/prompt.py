"""How a question becomes the student's chat."""

from thinktuning.data.config import PromptConfig
from thinktuning.models.chat import Chat


def student_chat(question: str, prompt: PromptConfig) -> Chat:
    """Return the student's chat, the same in training and in evaluation."""
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, {"role": "user", "content": question + prompt.suffix}]
