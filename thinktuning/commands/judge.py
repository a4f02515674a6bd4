"""Have a language model label the behaviors in answers: `thinktuning judge --config ...`.

A second opinion on the lexical detector, through the teachers' backends. A missing or malformed
reply is recorded as missing, not as "none".
"""

import logging
import re
from pathlib import Path
from typing import Any

from thinktuning.commands.inputs import fingerprint
from thinktuning.data.formats import digest
from thinktuning.data.questions import read_questions
from thinktuning.grading.behaviors import PATTERNS
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, sha256, write_jsonl
from thinktuning.io.kept import forget, recover
from thinktuning.models.chat import Chat, without_thoughts
from thinktuning.models.checks import check, required
from thinktuning.models.config import model_sha256
from thinktuning.study.jobs import JudgeJob
from thinktuning.teachers.connect import connect
from thinktuning.teachers.prompts import load

logger = logging.getLogger(__name__)

_REPLY = re.compile(r"<behaviors>([a-z_,\s]*)</behaviors>")


def judge(
    job: JudgeJob, samples: Path, data: Path, output: Path, model_dir: Path | None = None
) -> None:
    """Write one row per judged answer: id, sample, the detector's behaviors, the judge's.

    If the same judge has judged the same answers, its judgments stay.

    Raises:
        StudyError: the answers or questions cannot be read, or the judge does not respond.
    """
    questions = {row["id"]: row["question"] for row in read_questions(data, job.answer_kind)}
    rows = list(read_jsonl(samples))
    if absent := [row for row in rows if row.get("id") not in questions or "text" not in row]:
        raise StudyError(
            f"{samples}: {len(absent)} answers to questions that are not in {data};"
            " evaluate again: `snakemake -R evaluate`"
        )
    inputs: dict[str, str | None] = {"samples": sha256(samples), "data": sha256(data)}
    if model_dir:
        list(required(model_dir, f"--model {model_dir}"))
        inputs["model"] = model_sha256(model_dir)
    made_from = fingerprint(job, inputs)
    names = [output.name]
    if recover(output.parent, names, lambda place: is_valid(place / output.name, made_from)):
        print(f"{output}: has these judgments already; delete it to judge again")
    else:
        judged = judgments(job, questions, rows, model_dir)
        write_jsonl(output, [row | {"fingerprint": made_from} for row in judged])
    forget(output.parent, names)


def is_valid(path: Path, made_from: str) -> bool:
    """Return whether a file has judgments with this fingerprint."""
    try:
        rows = list(read_jsonl(path)) if path.is_file() else []
    except StudyError:
        return False
    return bool(rows) and all(row.get("fingerprint") == made_from for row in rows)


def judgments(
    job: JudgeJob, questions: dict[str, str], rows: list[dict[str, Any]], model_dir: Path | None
) -> list[dict[str, Any]]:
    """Choose answers and ask the judge; return the rows to write."""
    chosen = sorted(rows, key=lambda row: digest(row["id"], str(row["sample"])))
    chosen = chosen[: job.judge.num_samples]
    prompt = load(job.judge.prompt, "judge.prompt")
    chats = [prompt.chat(questions[row["id"]], row["text"]) for row in chosen]
    replies = ask(job, chats, model_dir)
    judged = [parse(reply) for reply in replies]
    if judged and all(names is None for names in judged):
        logger.warning(
            "None of the judge's %d replies can be used: %d are missing, and the first of the"
            " others is %.200r. behaviors.csv counts them as missing. Likely causes:"
            " judge.max_completion_length, judge.prompt, a judge that does not keep to the form",
            len(replies),
            sum(reply is None for reply in replies),
            next((reply for reply in replies if reply is not None), None),
        )
    return [
        {"id": row["id"], "sample": row["sample"], "lexical": row["behaviors"], "judge": named}
        for row, named in zip(chosen, judged, strict=True)
    ]


def ask(job: JudgeJob, chats: list[Chat], model_dir: Path | None) -> list[str | None]:
    """Ask the configured model, with a progress bar."""
    from tqdm import tqdm

    if model_dir:
        check(model_dir, f"--model {model_dir}", system=True)
    teacher = connect(job.judge, model_dir, "--model")
    replies: list[str | None] = []
    size = job.judge.batch_size
    for start in tqdm(range(0, len(chats), size), desc="judge", unit="batch"):
        replies += teacher.generate(chats[start : start + size])
    teacher.close()
    return replies


def parse(reply: str | None) -> list[str] | None:
    """Return the behaviors that a reply names, in the order of `PATTERNS`; None if malformed."""
    found = _REPLY.findall(without_thoughts(reply or ""))
    if len(found) != 1:
        return None
    names = {name.strip() for name in found[0].split(",")}
    if names == {"none"}:
        return []
    if not names <= PATTERNS.keys():
        return None
    return [name for name in PATTERNS if name in names]
