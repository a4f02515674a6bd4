"""Rollout records: their fields, the metrics of a batch, and reading rollouts.jsonl."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_type_hints

from thinktuning.grading.behaviors import reflects
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl

ROUNDING = 1e-6  # of rewards, relative: TRL keeps them in float32, in which 0.7 is below 0.7
RolloutRecord = Mapping[str, Any]  # a `Rollout` and its `step`, as read from rollouts.jsonl


@dataclass(frozen=True)
class Rollout:
    """One rollout of a batch, as stored in `rollouts.jsonl`; lengths are in tokens, EOS included.

    A reward is None if the verifier gave no verdict.
    """

    question: str
    student_text: str
    text: str
    student_reward: float | None
    reward: float | None
    advantage: float
    student_length: int
    completion_length: int
    asked: bool
    parsed: bool
    taught: bool
    teacher_reply: str | None


def question_of(row: Mapping[str, Any]) -> str:
    """Return the question as the teacher sees it: column `question`, else the last turn."""
    prompt = row["prompt"]
    return row.get("question") or (prompt if isinstance(prompt, str) else prompt[-1]["content"])


def reward_or_none(reward: float) -> float | None:
    """Return a reward, or None for TRL's NaN."""
    return None if math.isnan(reward) else reward


def summarize(rollouts: Sequence[Rollout], right_from: float | None = None) -> dict[str, float]:
    """Return a batch's metrics, with the names in `metrics.jsonl`.

    Args:
        rollouts: of the batch.
        right_from: the least reward of a right completion; None: right is 1, and wrong is 0.
    """
    asked = [r for r in rollouts if r.asked]
    taught = [r for r in rollouts if r.taught]
    verdicts = [
        tuple(verdict(reward, right_from) for reward in (r.student_reward, r.reward))
        for r in taught
    ]
    metrics = {
        "student_reward": mean([r.student_reward for r in rollouts]),
        "student_length": fmean(r.student_length for r in rollouts),
        "reflection_rate": fmean(reflects(r.student_text) for r in rollouts),
        "student_tokens": sum(r.student_length for r in rollouts),
        "num_rollouts": len(rollouts),
        "num_asked": len(asked),
        "num_taught": len(taught),
        "num_unanswered": sum(r.teacher_reply is None for r in asked),
        "num_unparsed": sum(not r.parsed for r in asked),
        "num_zero_advantage": sum(math.isclose(r.advantage, 0, abs_tol=1e-6) for r in rollouts),
        "wrong_to_right": verdicts.count((False, True)),
        "right_to_wrong": verdicts.count((True, False)),
    }
    if taught:
        metrics["spliced_reward"] = mean([r.reward for r in taught])
        metrics["spliced_length"] = fmean(r.completion_length for r in taught)
    return metrics


def is_right(reward: float, right_from: float | None = None) -> bool:
    """Return whether a reward is that of a right completion; NaN, without a verdict, is not.

    Args:
        reward: of the completion.
        right_from: the least reward of a right one; None: anything above 0.
    """
    if right_from is None:
        return reward > 0
    return reward > right_from or math.isclose(reward, right_from, rel_tol=ROUNDING)


def verdict(reward: float | None, right_from: float | None) -> bool | None:
    """Return whether a completion is right; None without a verdict, or between wrong and right."""
    if reward is None:
        return None
    if right_from is None:
        return {0.0: False, 1.0: True}.get(reward)
    return is_right(reward, right_from)


def mean(rewards: Sequence[float | None]) -> float:
    """Average the rewards that are not None; 0 if all are (`verifier_failures` counts them)."""
    given = [reward for reward in rewards if reward is not None]
    return fmean(given) if given else 0.0


def sample(rollouts: Sequence[Rollout], size: int) -> list[Rollout]:
    """Return `size` rollouts to store, taught ones first."""
    return sorted(rollouts, key=lambda r: not r.taught)[:size]


def read_rollouts(path: Path) -> list[dict[str, Any]]:
    """Read rollouts.jsonl: the fields of `Rollout`, and `step`.

    Beside the checkpoints it is still written: there a last row that is cut short is left out.

    Raises:
        StudyError: the file cannot be read, or a field of a row is missing or of the wrong type.
    """
    kinds = {"step": int} | get_type_hints(Rollout)
    rows = []
    growing = path.resolve().parent.name == "checkpoints"
    for number, row in enumerate(read_jsonl(path, growing=growing), start=1):
        if bad := sorted(key for key, kind in kinds.items() if not _is(row.get(key, ...), kind)):
            raise StudyError(
                f"{path}: rollout {number}: {', '.join(bad)} missing or of the wrong type; train"
                " this run again"
            )
        rows.append(row)
    return rows


def _is(value: Any, kind: Any) -> bool:
    """Return whether a JSON value has a type; an integer counts as a float too, a bool as none."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (isinstance(value, int) and isinstance(0.0, kind))


def teachers_part(student_text: str, text: str) -> tuple[bool, str | None]:
    """Return what was spliced onto the student's text, None if nothing was.

    If `text` does not begin with the student's, the two cannot be told apart: the flag is true, and
    the whole text is returned.
    """
    if not text.startswith(student_text):
        return True, text
    return False, text.removeprefix(student_text) or None
