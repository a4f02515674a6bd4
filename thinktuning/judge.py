"""Have a language model name the behaviours of kept answers: `thinktuning judge --config ...`

The second opinion beside the lexical detector. It is asked like a teacher, through the same
backends; what it does not answer, or not in the form asked for, is missing and not "none".
"""

import re
from pathlib import Path

from thinktuning import base, prompts
from thinktuning.behaviours import PATTERNS
from thinktuning.benchmarks import digest
from thinktuning.config import JudgeRun
from thinktuning.errors import StudyError
from thinktuning.files import read_jsonl, write_jsonl
from thinktuning.questions import read_questions
from thinktuning.teacher import connect

_REPLY = re.compile(r"<behaviours>([a-z_,\s]*)</behaviours>")


def judge(
    run: JudgeRun, samples: Path, data: Path, output: Path, model_dir: Path | None = None
) -> None:
    """Write a row for each judged answer: id, sample, the detector's behaviours, the judge's.

    Raises:
        StudyError: the answers or questions cannot be read, or the judge stays away.
    """
    questions = {row["id"]: row["question"] for row in read_questions(data, run.answer_kind)}
    rows = list(read_jsonl(samples))
    if absent := [row for row in rows if row.get("id") not in questions or "text" not in row]:
        raise StudyError(
            f"{samples}: {len(absent)} answers to questions that are not in {data};"
            " `snakemake -R evaluate` asks them again"
        )
    chosen = sorted(rows, key=lambda row: digest(row["id"], str(row["sample"])))
    chosen = chosen[: run.judge.num_samples]
    prompt = prompts.load(run.judge.prompt, "judge.prompt")
    chats = [prompt.chat(questions[row["id"]], row["text"]) for row in chosen]
    judged = [parse(reply) for reply in ask(run, chats, model_dir)]
    write_jsonl(
        output,
        [
            {"id": row["id"], "sample": row["sample"], "lexical": row["behaviours"], "judge": named}
            for row, named in zip(chosen, judged, strict=True)
        ],
    )


def ask(run: JudgeRun, chats: list[prompts.Chat], model_dir: Path | None) -> list[str | None]:
    """Ask the configured model, with a progress bar."""
    from tqdm import tqdm

    if model_dir:
        base.check(model_dir, f"--model {model_dir}")
    teacher = connect(run.judge, model_dir, "--model")
    replies: list[str | None] = []
    size = run.judge.batch_size
    for start in tqdm(range(0, len(chats), size), desc="judge", unit="batch"):
        replies += teacher.generate(chats[start : start + size])
    teacher.close()
    return replies


def parse(reply: str | None) -> list[str] | None:
    """Return the behaviours that a reply names, in order; None if it is not of the form."""
    found = _REPLY.findall(reply or "")
    if len(found) != 1:
        return None
    names = {name.strip() for name in found[0].split(",")}
    if names == {"none"}:
        return []
    if not names <= PATTERNS.keys():
        return None
    return [name for name in PATTERNS if name in names]
