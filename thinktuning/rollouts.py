"""One rollout batch: what each rollout said, what the teacher did to it, and its figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, get_type_hints

from thinktuning.behaviours import reflects
from thinktuning.errors import StudyError
from thinktuning.feedback import Feedback
from thinktuning.files import read_jsonl

Keep = Literal["all", "right", "wrong"]


@dataclass
class Lesson:
    """What the teacher said to one rollout.

    `start` is where its tokens begin in the spliced completion; `kept` is false where they were
    taken off again since the completion was not of the wanted kind (`guidance.keep`).
    """

    reply: str | None
    feedback: Feedback | None
    start: int = 0
    kept: bool = True

    @property
    def taught(self) -> bool:
        return self.feedback is not None and self.kept


def is_kept(reward: float, keep: Keep) -> bool:
    """Tell whether a spliced rollout is of the wanted kind; without a verdict (NaN) of neither."""
    return keep == "all" or (not math.isnan(reward) and (reward > 0) == (keep == "right"))


@dataclass(frozen=True)
class Rollout:
    """One rollout of a batch, as `rollouts.jsonl` keeps it; lengths are in tokens, EOS included.

    A reward is None where the verifier gave no verdict.
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


def records(
    rows: Sequence[Mapping[str, Any]],
    lessons: Mapping[int, Lesson],
    *,
    student_texts: Sequence[str],
    student_lengths: Sequence[int],
    student_rewards: Sequence[float],
    texts: Sequence[str],
    lengths: Sequence[int],
    rewards: Sequence[float],
    advantages: Sequence[float],
) -> list[Rollout]:
    """Put a process's rollouts together: `lessons` by index, all else one a rollout."""
    nobody = Lesson(None, None)
    return [
        Rollout(
            question=question_of(row),
            student_text=student_texts[i],
            text=texts[i],
            student_reward=reward_or_none(student_rewards[i]),
            reward=reward_or_none(rewards[i]),
            advantage=advantages[i],
            student_length=student_lengths[i],
            completion_length=lengths[i],
            asked=i in lessons,
            parsed=lessons.get(i, nobody).feedback is not None,
            taught=lessons.get(i, nobody).taught,
            teacher_reply=lessons.get(i, nobody).reply,
        )
        for i, row in enumerate(rows)
    ]


def question_of(row: Mapping[str, Any]) -> str:
    """Return the question as the teacher sees it: column `question`, else the last turn."""
    prompt = row["prompt"]
    return row.get("question") or (prompt if isinstance(prompt, str) else prompt[-1]["content"])


def reward_or_none(reward: float) -> float | None:
    """Return a reward, None for TRL's NaN."""
    return None if math.isnan(reward) else reward


def summarise(rollouts: Sequence[Rollout]) -> dict[str, float]:
    """Return a batch's figures, in the names of `metrics.jsonl`."""
    asked = [r for r in rollouts if r.asked]
    taught = [r for r in rollouts if r.taught]
    figures = {
        "student_reward": mean([r.student_reward for r in rollouts]),
        "student_length": fmean(r.student_length for r in rollouts),
        "reflection_rate": fmean(reflects(r.student_text) for r in rollouts),
        "student_tokens": sum(r.student_length for r in rollouts),
        "num_rollouts": len(rollouts),
        "num_asked": len(asked),
        "num_taught": len(taught),
        "num_unanswered": sum(r.teacher_reply is None for r in asked),
        "num_unparsed": sum(not r.parsed for r in asked),
        "wrong_to_right": sum(r.student_reward == 0 and r.reward == 1 for r in taught),
        "right_to_wrong": sum(r.student_reward == 1 and r.reward == 0 for r in taught),
    }
    if taught:
        figures["spliced_reward"] = mean([r.reward for r in taught])
        figures["spliced_length"] = fmean(r.completion_length for r in taught)
    return figures


def mean(rewards: Sequence[float | None]) -> float:
    """Average the rewards that there are; 0 if the verifier failed on all, which it counts."""
    given = [reward for reward in rewards if reward is not None]
    return fmean(given) if given else 0.0


def sample(rollouts: Sequence[Rollout], size: int) -> list[Rollout]:
    """Keep `size` rollouts for a look, taught ones first."""
    return sorted(rollouts, key=lambda r: not r.taught)[:size]


def read_rollouts(path: Path) -> list[dict[str, Any]]:
    """Read a rollouts.jsonl: the fields of `Rollout`, and `step`.

    Raises:
        StudyError: the file cannot be read, or a row is not such a record.
    """
    kinds = {"step": int} | get_type_hints(Rollout)
    rows = []
    for number, row in enumerate(read_jsonl(path), start=1):
        if bad := sorted(key for key, kind in kinds.items() if not _is(row.get(key, ...), kind)):
            raise StudyError(
                f"{path}: rollout {number} has no {', '.join(bad)}, or of another type; train this"
                " run again"
            )
        rows.append(row)
    return rows


def _is(value: Any, kind: Any) -> bool:
    """Tell whether JSON's `value` is of a kind; a whole number is a float as well."""
    return isinstance(value, kind) or (isinstance(value, int) and isinstance(0.0, kind))


def teachers_part(student_text: str, text: str) -> tuple[bool, str | None]:
    """Return what was spliced onto the student's text, None if nothing was.

    The flag says that it is the whole text instead: this does not begin with the student's, so that
    nobody can tell who said what.
    """
    if not text.startswith(student_text):
        return True, text
    return False, text.removeprefix(student_text) or None
