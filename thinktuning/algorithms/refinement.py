"""How the student is asked to refine an answer: the YAML files in `refinements`, or a user's own.

A file has `user`, the student's turn, and `reply`, the text that its reply begins with (empty by
default). Both are templates: {question} is the turn that asked the student, {response} its answer,
{critique} the teacher's reason, {opening} the first words of that, up to a colon, and {opinion}
`correct` or `incorrect`.
"""

import re
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from thinktuning.algorithms.feedback import Feedback
from thinktuning.io.errors import StudyError, describe
from thinktuning.io.files import read_yaml
from thinktuning.io.section import Section
from thinktuning.models.chat import Chat

PLACEHOLDER = re.compile(r"\{(question|response|critique|opening|opinion)\}")


class RefinementPrompt(Section):
    """A refinement's prompt file."""

    user: str
    reply: str = ""

    def ask(self, chat: Chat, response: str, feedback: Feedback) -> tuple[Chat, str]:
        """Return the chat that asks for a refinement, and the text that its reply begins with.

        Args:
            chat: the one that asked the student; its last turn is replaced.
            response: the student's answer.
            feedback: the teacher's, on that answer.
        """
        *before, last = chat
        values = {
            "question": last["content"],
            "response": response,
            "critique": feedback.reason,
            "opening": feedback.opening,
            "opinion": feedback.opinion,
        }

        def filled(template: str) -> str:  # in one pass: a question may itself contain {response}
            return PLACEHOLDER.sub(lambda field: values[field[1]], template)

        return [*before, {"role": "user", "content": filled(self.user)}], filled(self.reply)


def locate(name: str) -> Path:
    """Return the file of a packaged prompt, given its name, or of a user's, given its path."""
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    return Path(str(resources.files("thinktuning.algorithms"))) / "refinements" / f"{name}.yaml"


def load(name: str) -> RefinementPrompt:
    """Read a packaged prompt by name, or a user's file by path.

    Raises:
        StudyError: no packaged prompt has that name, the file is not a valid prompt, or it lacks a
            placeholder.
    """
    path = locate(name)
    if path != Path(name) and not path.exists():
        known = sorted(packaged.stem for packaged in path.parent.glob("*.yaml"))
        raise StudyError(
            f"algorithm.refinement: no packaged prompt {name!r}; use one of {known} or a path to a"
            " .yaml file"
        )
    try:
        prompt = RefinementPrompt.model_validate(read_yaml(path))
    except ValidationError as error:
        raise StudyError(f"{path}:\n{describe(error, RefinementPrompt)}") from None
    found = set(PLACEHOLDER.findall(prompt.user + prompt.reply))
    for needed in (("question",), ("response",), ("critique", "opening")):
        if not found & set(needed):
            names = " or ".join(f"{{{field}}}" for field in needed)
            raise StudyError(f"{path}: `user` or `reply` must contain {names}")
    return prompt
