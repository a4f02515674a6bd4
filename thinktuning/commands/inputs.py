"""What a training reads: the hash of each input; and the check that TRL asks as the study does."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.hooks import broken_hook
from thinktuning.data.prompt import prompt_sha256
from thinktuning.io import provenance
from thinktuning.io.files import sha256
from thinktuning.models.chat import encode_chats
from thinktuning.models.config import model_sha256
from thinktuning.study.jobs import Job, TrainJob, to_json
from thinktuning.teachers.prompts import locate

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer


def check_tokens(
    trainer: "ThinkTuningTrainer",
    rows: list[dict[str, Any]],
    template_kwargs: Mapping[str, Any],
) -> None:
    """Check that TRL asks questions in the tokens that evaluation uses.

    Raises:
        RuntimeError: it does not.
    """
    chats = [row["prompt"] for row in rows]
    asked, *_ = trainer._tokenize_prompts(chats)
    if list(asked) != encode_chats(chats, trainer.processing_class, template_kwargs):
        raise broken_hook("does not tokenize prompts as evaluation does")


def read_inputs(
    job: TrainJob, tokenizer: Any, model_dir: Path, data: Path, teacher_dir: Path | None
) -> dict[str, str | None]:
    """Return the hash of each input, for provenance.json: `thinktuning compare` compares them."""
    uses_teacher = job.algorithm.uses_teacher
    return {
        "model": model_sha256(model_dir),
        "data": sha256(data),
        "prompt": prompt_sha256(job.prompt, tokenizer, job.chat_template_kwargs),
        "teacher_model": model_sha256(teacher_dir) if teacher_dir else None,
        "teacher_prompt": sha256(locate(job.teacher.prompt)) if uses_teacher else None,
    }


def fingerprint(job: Job, inputs: Mapping[str, str | None], num_processes: int = 1) -> str:
    """Return a hash of a job's configuration and its inputs, see `provenance.fingerprint`."""
    return provenance.fingerprint(to_json(job), inputs, num_processes)
