"""Connect to the teacher or judge that a study section describes."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from thinktuning.teachers.config import BackendConfig
from thinktuning.teachers.protocol import Teacher

HOMES = {"self": "local", "model": "local"}  # backend -> file, where the names differ


def connect(
    spec: BackendConfig,
    directory: Path | None,
    option: str,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> Teacher:
    """Return the teacher of a section, from `connect` in the file that has its backend.

    Args:
        spec: the section.
        directory: of the model, for `backend: model`.
        option: the command-line option that sets `directory`, for the message.
        chat_template_kwargs: variables of the model's chat template.

    Raises:
        StudyError: `backend: model` without a directory.
    """
    module = import_module(f"thinktuning.teachers.{HOMES.get(spec.backend, spec.backend)}")
    # only where there are any: a backend without a chat template need not take them
    options = {"chat_template_kwargs": chat_template_kwargs} if chat_template_kwargs else {}
    teacher: Teacher = module.connect(spec, directory, option, **options)
    return teacher
