"""RolloutBatch: what one process sampled in one rollout batch, and how an algorithm changed it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from thinktuning.algorithms.config import Keep
from thinktuning.algorithms.feedback import Feedback
from thinktuning.algorithms.rollout import Rollout, is_right, question_of, reward_or_none
from thinktuning.models.chat import Chat

LogProbs = list[list[float | None]]
# metrics that count something; `resampled_tokens`: what the student generated besides `student_ids`
SUMMED = (
    *("teacher_tokens", "resampled_tokens", "num_resampled"),
    *("scored_tokens", "num_unspliced", "num_cut_off"),
)
EXTRA = "extra_scored_tokens"  # summed too, of an algorithm that scores more than TRL does
UNCORRUPTED = "num_uncorrupted"  # summed too, under `algorithm.corruption`
ROUNDING = 2e-3  # of an advantage, per reward, where TRL divides by a deviation of 0 + 1e-4


@dataclass
class Lesson:
    """The teacher's reply to one rollout.

    `start` is the position of its first token in the spliced completion; `kept` is false if the
    feedback is not in the completion: `algorithm.keep` does not keep it, or it has no tokens.
    `asked` is false for a lesson that needs no reply (`sdpo` with `context: prompt`).
    """

    reply: str | None
    feedback: Feedback | None
    start: int = 0
    kept: bool = True
    asked: bool = True

    @property
    def taught(self) -> bool:
        """Whether the rollout is trained on with what the lesson says."""
        return self.kept and (self.feedback is not None or not self.asked)


def is_kept(reward: float, keep: Keep, right_from: float | None = None) -> bool:
    """Return whether to keep a spliced rollout; one without a verdict (NaN) only if `all` are."""
    right = is_right(reward, right_from)
    return keep == "all" or (not math.isnan(reward) and right == (keep == "right"))


NO_LESSON = Lesson(None, None)


def no_sampling(chats: Sequence[Chat], starts: Sequence[str]) -> list[list[int] | None]:
    """Stand in for `sample` where there is no student to ask.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError("this rollout batch has no student to sample from")


@dataclass
class RolloutBatch:
    """One rollout batch of one process: P prompts with G completions each, P * G rows.

    The trainer creates it, an algorithm's `augment` changes it, and the resulting `completion_ids`
    are rewarded and trained on.

    Attributes:
        rows: (P * G,) the dataset's rows, each repeated G times.
        num_generations: G.
        t: the number of rollout batches before this one.
        num_batches: the number of rollout batches in the whole training.
        seed: the training seed.
        first_group: the index of this process's first group in the global batch.
        eos_token_ids: the tokens that end a completion.
        max_completion_length: in tokens; a longer completion must be cut.
        decode: turns completions into texts, without special tokens.
        extend: returns tokens that continue a completion with exactly a text, None if there are
            none; a special token that the text spells out stays text.
        grade: returns the rewards of (P * G,) completions; NaN where there is no verdict. Every
            process must call it the same number of times.
        sample: returns replies of the current student to chats, sampled as rollouts are: token IDs
            that begin with those of the given texts and end with an EOS, cut to the maximum length;
            None where a text has no tokens. Every process must call it the same number of times.
        student_ids: (P * G,) token IDs that were sampled; never changed.
        completion_ids: (P * G,) token IDs to reward and train on.
        logprobs: log-probabilities from the engine that sampled, if it returns them; None for a
            token that was not sampled.
        lessons: row -> the teacher's reply to it.
        student_rewards: (P * G,) rewards of `student_ids`, if an algorithm asked for them.
        rewards: (P * G,) rewards of `completion_ids`, set by the trainer.
        metrics: logged for this batch; counts are summed over the processes.
        budget_used: the share of the training's token budget that is used; None without a budget.
        right_from: the least reward of a right completion; None: anything above 0.
    """

    rows: Sequence[Mapping[str, Any]]
    num_generations: int
    t: int
    num_batches: int
    seed: int
    first_group: int
    eos_token_ids: Sequence[int]
    max_completion_length: int
    decode: Callable[[Sequence[Sequence[int]]], list[str]]
    extend: Callable[[Sequence[int], str], list[int] | None]
    grade: Callable[[Sequence[Sequence[int]]], list[float]]
    sample: Callable[[Sequence[Chat], Sequence[str]], list[list[int] | None]] = no_sampling
    student_ids: list[list[int]] = field(default_factory=list)
    completion_ids: list[list[int]] = field(default_factory=list)
    logprobs: LogProbs | None = None
    lessons: dict[int, Lesson] = field(default_factory=dict)
    student_rewards: list[float] | None = None
    rewards: list[float] = field(default_factory=list)
    metrics: dict[str, float] = field(
        default_factory=lambda: {"guidance_rate": 0.0} | dict.fromkeys(SUMMED, 0)
    )
    budget_used: float | None = None
    right_from: float | None = None

    def is_right(self, reward: float) -> bool:
        """Return whether a reward is that of a right completion; NaN, without a verdict, is not."""
        return is_right(reward, self.right_from)

    @property
    def elapsed(self) -> float:
        """How far the training is, in rollout batches: for schedules.

        That is t or, under a token budget, its used share times `num_batches`.
        """
        return self.t if self.budget_used is None else self.budget_used * self.num_batches

    @property
    def taught(self) -> dict[int, Lesson]:
        """Return the lessons with which their rollouts are trained on."""
        return {i: lesson for i, lesson in self.lessons.items() if lesson.taught}

    @property
    def num_cut_off(self) -> int:
        """Return how many of the student's completions the token limit cut off."""
        return sum(not ids or ids[-1] not in self.eos_token_ids for ids in self.student_ids)

    def sampled(self, completion_ids: Sequence[Sequence[int]], logprobs: LogProbs | None) -> None:
        """Store what the student sampled."""
        self.student_ids = [list(ids) for ids in completion_ids]
        self.completion_ids = [list(ids) for ids in completion_ids]
        self.logprobs = logprobs

    def replace(self, i: int, completion_ids: list[int], start: int) -> None:
        """Replace the completion of row i; from token `start` on it was not sampled."""
        self.completion_ids[i] = completion_ids
        if self.logprobs is not None:  # in TRL None becomes the ratio 1; 0.0 would not
            unsampled = [None] * (len(completion_ids) - start)
            self.logprobs[i] = [*self.logprobs[i][:start], *unsampled]

    def records(self, advantages: Sequence[float]) -> list[Rollout]:
        """Return a record of each row; `rewards` must be set.

        Args:
            advantages: (P * G,).
        """
        student_texts = self.decode(self.student_ids)
        pairs = zip(self.completion_ids, self.student_ids, strict=True)
        changed = [i for i, (ids, student_ids) in enumerate(pairs) if ids != student_ids]
        replaced = self.decode([self.completion_ids[i] for i in changed])
        texts = dict(zip(changed, replaced, strict=True))
        lessons = [self.lessons.get(i, NO_LESSON) for i in range(len(self.rows))]
        equal = self._equal(advantages)
        return [
            Rollout(
                question=question_of(row),
                student_text=student_texts[i],
                text=texts.get(i, student_texts[i]),
                student_reward=reward_or_none((self.student_rewards or self.rewards)[i]),
                reward=reward_or_none(self.rewards[i]),
                advantage=0.0 if i in equal else advantages[i],
                student_length=len(self.student_ids[i]),
                completion_length=len(self.completion_ids[i]),
                asked=i in self.lessons and lesson.asked,
                parsed=lesson.feedback is not None,
                taught=lesson.taught,
                teacher_reply=lesson.reply,
            )
            for i, (row, lesson) in enumerate(zip(self.rows, lessons, strict=True))
        ]

    def _equal(self, advantages: Sequence[float]) -> set[int]:
        """Return the rows whose advantages are only the rounding of their group's equal rewards.

        In float32 the mean of six rewards of 0.6 is another number.
        """
        found: set[int] = set()
        for start in range(0, len(self.rewards), self.num_generations):
            group = range(start, start + self.num_generations)
            values = {self.rewards[i] for i in group if not math.isnan(self.rewards[i])}
            if len(values) == 1:
                rounding = ROUNDING * abs(values.pop())
                found |= {i for i in group if abs(advantages[i]) <= rounding}
        return found
