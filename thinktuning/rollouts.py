"""One rollout batch: what each rollout said, what the teacher did to it, and its figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from thinktuning.behaviours import reflects
from thinktuning.feedback import Feedback


@dataclass
class Lesson:
    """What the teacher said to one rollout, and where its tokens begin once spliced on."""

    reply: str | None
    feedback: Feedback | None
    start: int = 0


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
    taught: bool
    teacher_reply: str | None


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
        "num_unparsed": len(asked) - len(taught),
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
