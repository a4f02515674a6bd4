"""Prompts of the teacher and the judge: the YAML files of this folder, or a user's own.

A prompt has `system`, `user` (a template with {question} and {response}) and `exemplars` (behavior,
question, response, feedback).
"""

import re
from collections import Counter
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from pydantic import Field, ValidationError

from thinktuning.grading.behaviors import Behavior
from thinktuning.io.errors import StudyError, describe
from thinktuning.io.files import read_yaml
from thinktuning.io.section import Section
from thinktuning.models.chat import Chat


class Exemplar(Section):
    """A worked example for the teacher; `behavior` is one of the paper's four."""

    behavior: Behavior
    question: str
    response: str
    feedback: str


class TeacherPrompt(Section):
    """A prompt file."""

    system: str
    user: str
    exemplars: list[Exemplar] = Field(default_factory=list)

    def chat(self, question: str, response: str) -> Chat:
        """Return the chat that asks about `response`: system, exemplars as turns, user turn."""
        turns: Chat = [{"role": "system", "content": self.system}]
        for exemplar in self.exemplars:
            asked = self._ask(exemplar.question, exemplar.response)
            turns += [asked, {"role": "assistant", "content": exemplar.feedback}]
        return [*turns, self._ask(question, response)]

    def select(self, behaviors: Mapping[Behavior, int] | None) -> "TeacherPrompt":
        """Keep the first exemplars of each behavior, in the file's order.

        Args:
            behaviors: how many to keep of each; 0 of those not named. None keeps one of each
                behavior in the file.

        Raises:
            StudyError: the file has fewer.
        """
        if behaviors is None:
            behaviors = {exemplar.behavior: 1 for exemplar in self.exemplars}
        kept: list[Exemplar] = []
        left = Counter(behaviors)
        for exemplar in self.exemplars:
            if left[exemplar.behavior] > 0:
                left[exemplar.behavior] -= 1
                kept.append(exemplar)
        if missing := {name: count for name, count in left.items() if count > 0}:
            has = dict(Counter(exemplar.behavior for exemplar in self.exemplars))
            raise StudyError(
                f"teacher.behaviors: asks for {missing} more exemplars than the prompt has, {has};"
                " lower the numbers or add exemplars to your own prompt file"
            )
        return self.model_copy(update={"exemplars": kept})

    def _ask(self, question: str, response: str) -> dict[str, str]:
        # in one pass: a question may itself contain {response}
        values = {"{question}": question, "{response}": response}
        content = re.sub(r"\{question\}|\{response\}", lambda field: values[field[0]], self.user)
        return {"role": "user", "content": content}


def locate(name: str) -> Path:
    """Return the file of a packaged prompt, given its name, or of a user's, given its path."""
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    return Path(str(resources.files("thinktuning.teachers.prompts"))) / f"{name}.yaml"


def load(name: str, key: str = "teacher.prompt") -> TeacherPrompt:
    """Read a packaged prompt by name, or a user's file by path.

    Args:
        name: a packaged name, or a path.
        key: the key path of `name` in the study: `teacher.prompt` or `judge.prompt`.

    Raises:
        StudyError: no packaged prompt has that name, the file is not a valid prompt, or `user`
            lacks {question} or {response}.
    """
    path = locate(name)
    if path != Path(name):
        known = sorted(packaged.stem for packaged in path.parent.glob("*.yaml"))
        known = [each for each in known if (each == "judge") == (key == "judge.prompt")]
        if name not in known:
            raise StudyError(
                f"{key}: no packaged prompt {name!r}; use one of {known} or a path to a .yaml file"
            )
    try:
        prompt = TeacherPrompt.model_validate(read_yaml(path))
    except ValidationError as error:
        raise StudyError(f"{path}:\n{describe(error, TeacherPrompt)}") from None
    for field in ("{question}", "{response}"):
        if field not in prompt.user:
            raise StudyError(f"{path}: `user` must contain {field}")
    return prompt
