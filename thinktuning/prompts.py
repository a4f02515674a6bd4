"""Prompts: how a question becomes the student's chat, and how the teacher is asked.

A teacher's prompt is a YAML file with `system`, `user` (a template with {question} and {response})
and `exemplars` (question, response, feedback). The packaged ones are thinktuning/prompts/NAME.yaml;
a user's file replaces them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from thinktuning.behaviours import Behaviour
from thinktuning.errors import StudyError, describe
from thinktuning.files import read_yaml
from thinktuning.schema import Prompt
from thinktuning.section import Section

Chat = list[dict[str, str]]


class Exemplar(Section):
    """A worked example for the teacher; `behaviour` is one of the paper's four."""

    behaviour: Behaviour
    question: str
    response: str
    feedback: str


class TeacherPrompt(Section):
    """A teacher's prompt file."""

    system: str
    user: str
    exemplars: list[Exemplar] = Field(default_factory=list)

    def chat(self, question: str, response: str) -> Chat:
        """Ask for feedback on `response`: system, the exemplars as turns, and the user's turn."""
        turns: Chat = [{"role": "system", "content": self.system}]
        for exemplar in self.exemplars:
            asked = self._ask(exemplar.question, exemplar.response)
            turns += [asked, {"role": "assistant", "content": exemplar.feedback}]
        return [*turns, self._ask(question, response)]

    def select(self, behaviours: Mapping[Behaviour, int] | None) -> "TeacherPrompt":
        """Keep the first so many exemplars of each behaviour, in the file's order.

        Args:
            behaviours: how many of each; none of those that it leaves out. None: one of each that
                the file has.

        Raises:
            StudyError: there are fewer.
        """
        if behaviours is None:
            behaviours = {exemplar.behaviour: 1 for exemplar in self.exemplars}
        kept: list[Exemplar] = []
        left = Counter(behaviours)
        for exemplar in self.exemplars:
            if left[exemplar.behaviour] > 0:
                left[exemplar.behaviour] -= 1
                kept.append(exemplar)
        if missing := {name: count for name, count in left.items() if count > 0}:
            has = dict(Counter(exemplar.behaviour for exemplar in self.exemplars))
            raise StudyError(
                f"teacher.behaviours: {missing} more than the prompt's exemplars, {has}; lower the"
                " numbers or write more into a prompt file of your own"
            )
        return self.model_copy(update={"exemplars": kept})

    def _ask(self, question: str, response: str) -> dict[str, str]:
        # in one pass: a question may itself contain {response}
        values = {"{question}": question, "{response}": response}
        content = re.sub(r"\{question\}|\{response\}", lambda field: values[field[0]], self.user)
        return {"role": "user", "content": content}


def student_chat(question: str, prompt: Prompt) -> Chat:
    """Return the student's chat, the same in training and in evaluation."""
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, {"role": "user", "content": question + prompt.suffix}]


def num_tokens(chats: list[Chat], tokenizer: Any) -> list[int]:
    """Count the tokens of each chat, the opening of the answer's turn included."""
    rendered = tokenizer.apply_chat_template(chats, add_generation_prompt=True, return_dict=False)
    return [len(ids) for ids in rendered]


@cache
def load(name: str, key: str = "teacher.prompt") -> TeacherPrompt:
    """Read a packaged prompt by name, or a user's file by path; `key` is its place in the study.

    Raises:
        StudyError: there is none of that name, or it lacks {question} or {response}, or does not
        fit the schema.
    """
    packaged = resources.files("thinktuning") / "prompts"
    path = Path(name)
    if "/" not in name and not name.endswith(".yaml"):
        path = Path(str(packaged)) / f"{name}.yaml"
        known = sorted(Path(p.name).stem for p in packaged.iterdir())
        known = [each for each in known if (each == "judge") == (key == "judge.prompt")]
        if name not in known:
            raise StudyError(
                f"{key}: no packaged prompt {name!r}; one of {known}, or a path to a .yaml file"
            )
    try:
        prompt = TeacherPrompt.model_validate(read_yaml(path))
    except ValidationError as error:
        raise StudyError(f"{path}:\n{describe(error, TeacherPrompt)}") from None
    for field in ("{question}", "{response}"):
        if field not in prompt.user:
            raise StudyError(f"{path}: `user` must contain {field}")
    return prompt
