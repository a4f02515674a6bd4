"""Print a run's rollouts: `thinktuning show results/runs/thinktuning/seed0 --taught`.

Each rollout is shown as question, student's text, teacher's reply, and the spliced text with the
teacher's part colored. This also works while the run is training.
"""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from thinktuning.algorithms.rollout import RolloutRecord, read_rollouts, teachers_part
from thinktuning.io.errors import StudyError
from thinktuning.io.terminal import console, paragraph

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {"right": "green", "wrong": "red", "not graded": "yellow"}
TAUGHT = "bold cyan"


def show(run: Path, *, step: int | None, taught: bool, wrong: bool, limit: int) -> None:
    """Print a run's rollouts.

    Args:
        run: the run's directory, or a rollouts.jsonl.
        step: only rollouts of this optimizer step.
        taught: only rollouts that feedback was spliced onto.
        wrong: only rollouts whose final text is wrong.
        limit: print at most this many.

    Raises:
        StudyError: rollouts.jsonl is missing or broken.
    """
    path = rollouts_file(run)
    rows = read_rollouts(path)
    found = [
        row
        for row in rows
        if (step is None or row["step"] == step)
        and (row["taught"] or not taught)
        and (not wrong or verdict(row["reward"]) == "wrong")
    ]
    out = console()
    for row in islice(found, limit):
        out.print(heading(row))
        for line in lines(row):
            out.print(line)
        out.print()
    shown = min(limit, len(found))
    more = "; --limit N shows more" if shown < len(found) else ""
    kept = f", of {len(rows)} in {path}" if len(found) < len(rows) else f" in {path}"
    out.print(paragraph("shown", (f"{shown} of {len(found)} rollouts{kept}{more}", "")))


def rollouts_file(run: Path) -> Path:
    """Return a run's rollouts.jsonl; that of an unfinished run is with its checkpoints."""
    if run.is_file():
        return run
    candidates = [run / "rollouts.jsonl", run / "checkpoints/rollouts.jsonl"]
    for path in candidates:
        if path.is_file():
            return path
    raise StudyError(
        f"{run}: has no rollouts.jsonl; pass a run's directory, e.g. results/runs/grpo/seed0"
    )


def verdict(reward: float | None) -> str:
    """Name the verdict behind a reward; a graded one is shown as a number."""
    if reward is None:
        return "not graded"
    return {0.0: "wrong", 1.0: "right"}.get(reward, f"{reward:.3g}")


def heading(row: RolloutRecord) -> "Text":
    """Return the line above a rollout: step, verdicts, advantage and lengths."""
    before, after = verdict(row["student_reward"]), verdict(row["reward"])
    length, spliced = row["student_length"], row["completion_length"]
    parts = [(str(row["step"]), "bold"), ("  ", "")]
    if row["taught"]:
        parts += [(before, STYLES.get(before, "")), (" -> ", ""), (after, STYLES.get(after, ""))]
        parts += [("  taught", TAUGHT)]
    else:
        parts += [(after, STYLES.get(after, ""))]
    tokens = f"{length} tokens, spliced {spliced}" if row["taught"] else f"{length} tokens"
    return paragraph("step", *parts, (f"  advantage {row['advantage']:+.2f}  {tokens}", ""))


def lines(row: RolloutRecord) -> list["Text"]:
    """Return a rollout's texts, each with its label."""
    found = [paragraph("question", (row["question"], ""))]
    found += [paragraph("student", (row["student_text"], ""))]
    if row["asked"]:
        found += [paragraph("teacher", (row["teacher_reply"] or "(no reply)", ""))]
    whole, tail = teachers_part(row["student_text"], row["text"])
    if tail is not None:
        student = "" if whole else row["student_text"]
        found += [paragraph("spliced", (student, ""), (tail, "" if whole else TAUGHT))]
    return found
