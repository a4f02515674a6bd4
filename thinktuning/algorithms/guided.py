"""Taught rollouts: a teacher's feedback changes some of a batch's completions.

`Taught` is shared by all algorithms that ask a teacher. `selection` decides which rollouts are
taught, `schedule` how many, and `feedback` parses the reply and splices it on. `Guided`, of
ThinkTuning and its SFT control, also marks which tokens of a spliced completion are guided.
"""

import math
import random
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

from pydantic import Field, PositiveInt, SerializerFunctionWrapHandler, model_serializer

from thinktuning.algorithms import schedule
from thinktuning.algorithms.batch import UNCORRUPTED, Lesson, RolloutBatch, is_kept
from thinktuning.algorithms.config import AlgorithmConfig, Keep, Mask, ScheduleConfig, Selection
from thinktuning.algorithms.corruption import CorruptionConfig, corrupt
from thinktuning.algorithms.feedback import parse_feedback, splice
from thinktuning.algorithms.protocol import Algorithm
from thinktuning.algorithms.rollout import question_of
from thinktuning.algorithms.selection import select_rollouts
from thinktuning.grading.reward import ended
from thinktuning.io.section import absent

if TYPE_CHECKING:
    from torch import Tensor


ORDERED = ("type", "select", "keep", "schedule", "mask")


class TaughtConfig(AlgorithmConfig):
    """The keys shared by algorithms that ask a teacher about rollouts.

    `keep`: which changed rollouts to keep, by their reward. `max_untaught_batches`: training stops
    after this many rollout batches in a row in which no reply of the teacher could be used, unless
    these replies are few beside those that could be used before; null: it never does. `corruption`:
    make the teacher err at known rates; null: its feedback is used as it is.
    """

    select: Selection = "random"
    keep: Keep = "all"
    schedule: ScheduleConfig = ScheduleConfig()
    max_untaught_batches: PositiveInt | None = 5
    corruption: Annotated[CorruptionConfig | None, Field(exclude_if=absent)] = None

    @property
    def uses_teacher(self) -> bool:
        """Whether a teacher gives feedback."""
        return True

    def asks_what_is_right(self) -> list[str]:
        """Return `select` and `keep`, unless they are `random` and `all`, and `corruption`."""
        asked = {"select": self.select != "random", "keep": self.keep != "all"}
        found = [f"{key}: {getattr(self, key)}" for key, asks in asked.items() if asks]
        return [*found, "corruption"] if self.corruption and self.corruption.errs else found

    def unread(self, training: Any) -> Iterator[tuple[str, str]]:
        """Yield also what the schedule, the corruption or a missing teacher leaves unread."""
        yield from super().unread(training)
        if self.schedule.kind == "constant":
            yield "algorithm.schedule.decay_fraction", "schedule.kind is constant"
        texts = {"doubt": "false_alarm_rate", "agreement": "miss_rate"}
        for text, rate in texts.items() if self.corruption else ():
            if not getattr(self.corruption, rate):
                yield f"algorithm.corruption.{text}", f"corruption.{rate} is 0"
        if not self.uses_teacher:
            yield "algorithm.max_untaught_batches", self.untaught

    def plain(self) -> dict[str, Any]:
        """Return the section as what it does: without a corruption that never errs."""
        found = super().plain() | {"schedule": self.schedule.plain()}
        if not (self.corruption and self.corruption.errs):
            found.pop("corruption", None)
        return found

    def guidance_rate(self, t: float, num_batches: int) -> float:
        """Return the share of each group's eligible rollouts that rollout batch t teaches."""
        return schedule.guidance_rate(self.schedule, t, num_batches)


class GuidedConfig(TaughtConfig):
    """The keys of algorithms that train on spliced rollouts; `mask`: which tokens are guided."""

    mask: Mask = "trajectory"

    @model_serializer(mode="wrap")
    def _in_its_order(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Put `mask` before the limit: the text of a resolved job tells whether to train again."""
        found: dict[str, Any] = write(self)
        for key in [key for key in found if key not in ORDERED]:
            found[key] = found.pop(key)
        return found


T = TypeVar("T", bound=TaughtConfig, covariant=True)
G = TypeVar("G", bound=GuidedConfig, covariant=True)


class Taught(Algorithm[T], Generic[T]):
    """Asks the teacher about rollouts, and splices its feedback onto them."""

    def augment(self, batch: RolloutBatch) -> None:
        """Choose rollouts, ask the teacher about them and splice its feedback on."""
        rate = self.config.guidance_rate(batch.elapsed, batch.num_batches)
        batch.metrics["guidance_rate"] = rate
        if rate == 0:
            if self.teacher:
                self.teacher.close()
                self.teacher = None  # frees its memory
            return
        batch.student_rewards = batch.grade(batch.student_ids)
        started = time.perf_counter()
        chosen = select_rollouts(
            self.eligible(batch),
            batch.num_generations,
            rate,
            self.config.select,
            seed=batch.seed,
            t=batch.t,
            first_group=batch.first_group,
            correct=[None if math.isnan(r) else batch.is_right(r) for r in batch.student_rewards],
        )
        self.give_lessons(batch, chosen)
        batch.metrics["time_teacher"] = time.perf_counter() - started

    def eligible(self, batch: RolloutBatch) -> list[bool]:
        """Return (P * G,): the rollouts that may be chosen, those that ended by themselves."""
        return [ended(ids, batch.eos_token_ids) for ids in batch.student_ids]

    def give_lessons(self, batch: RolloutBatch, chosen: list[int]) -> None:
        """Ask the teacher about the chosen rollouts and use its feedback."""
        for i, reply in zip(chosen, self.ask(batch, chosen), strict=True):
            batch.lessons[i] = Lesson(reply, parse_feedback(reply))
        self.corrupt(batch)
        self.teach(batch, [i for i, lesson in batch.lessons.items() if lesson.feedback])
        self.settle(batch)

    def corrupt(self, batch: RolloutBatch) -> None:
        """Make feedback wrong at the rates of `corruption`, drawn from (seed, t, group, row)."""
        if self.config.corruption is None:
            return
        assert batch.student_rewards
        batch.metrics[UNCORRUPTED] = 0
        given = {i: lesson.feedback for i, lesson in batch.lessons.items() if lesson.feedback}
        texts = batch.decode([batch.student_ids[i] for i in given])
        for (i, feedback), said in zip(given.items(), texts, strict=True):
            group, row = divmod(i, batch.num_generations)
            rng = random.Random(f"{batch.seed}/{batch.t}/{batch.first_group + group}/{row}")
            reward = batch.student_rewards[i]
            right = batch.is_right(reward)
            if not math.isnan(reward) and rng.random() < self.config.corruption.rate(right):
                wrong = corrupt(feedback, said, right, self.config.corruption, rng)
                batch.lessons[i].feedback = wrong or feedback
                batch.metrics[UNCORRUPTED] += wrong is None

    def teach(self, batch: RolloutBatch, rows: list[int]) -> None:
        """Change the completions that have feedback, in `completion_ids`; `settle` follows.

        A lesson's `start` becomes the first token that the student did not sample as an answer to
        the question. One that cannot be given is not `kept`.
        """
        for i in rows:
            self.splice(batch, i, batch.lessons[i])

    def splice(self, batch: RolloutBatch, i: int, lesson: Lesson) -> None:
        """Splice feedback onto rollout i, if its tokens decode to exactly the two texts."""
        assert lesson.feedback
        ids = batch.student_ids[i]
        said = batch.extend(ids[:-1], lesson.feedback.text)
        if said is None:
            lesson.kept = False
            batch.metrics["num_unspliced"] += 1
            return
        spliced, lesson.start = splice(ids, said, ids[-1], batch.max_completion_length)
        batch.completion_ids[i] = spliced

    def ask(self, batch: RolloutBatch, chosen: list[int]) -> list[str | None]:
        """Return the teacher's reply to each chosen rollout.

        Raises:
            RuntimeError: an earlier training with the same trainer has closed the teacher.
        """
        if self.teacher is None:
            raise RuntimeError(
                "the teacher was closed when the guidance rate fell to 0; to train again, build"
                " another trainer"
            )
        assert self.prompt
        texts = batch.decode([batch.student_ids[i] for i in chosen])
        questions = [question_of(batch.rows[i]) for i in chosen]
        before = self.teacher.num_generated_tokens
        replies = self.teacher.generate(
            [self.prompt.chat(*pair) for pair in zip(questions, texts, strict=True)]
        )
        batch.metrics["teacher_tokens"] = self.teacher.num_generated_tokens - before
        return replies

    def settle(self, batch: RolloutBatch) -> None:
        """Remove the feedback that `keep` does not keep."""
        if self.config.keep != "all":
            rewards = batch.grade(batch.completion_ids)
            for i, lesson in batch.lessons.items():
                lesson.kept &= is_kept(rewards[i], self.config.keep, batch.right_from)
        for i, lesson in batch.lessons.items():
            if lesson.taught:
                batch.replace(i, batch.completion_ids[i], lesson.start)
            else:
                batch.completion_ids[i] = batch.student_ids[i]


class Guided(Taught[G], Generic[G]):
    """Marks the guided tokens of spliced rollouts: `guidance_mask` (B, T), bool."""

    def loss_inputs(
        self, batch: RolloutBatch, output: Mapping[str, "Tensor"]
    ) -> "dict[str, Tensor]":
        """Return `guidance_mask` (B, T): true where a token is trained as guided."""
        import torch

        mask = torch.zeros_like(output["completion_ids"], dtype=torch.bool)
        for i, lesson in batch.taught.items():
            first = 0 if self.config.mask == "trajectory" else lesson.start
            mask[i, first:] = output["completion_mask"][i, first:].bool()
        return {"guidance_mask": mask}
