"""Critique-GRPO (Zhang et al. 2025, arXiv 2506.03106): GRPO with refinements among the rollouts.

1. The student answers, and the teacher's feedback is a critique of the answer.
2. The student, with its current weights, answers again, given question, answer and critique: a
   refinement. `refinement` names the prompt (`algorithms.refinement`).
3. In each group the best `num_refinements` take the places of the rollouts that they refine: right
   ones first, then the first ones. They are rewarded and trained as answers to the bare question.
4. A refinement's tokens are off-policy, since they were sampled under another prompt: they lose
   -A * pi / (pi + gamma), without clipping (`off_policy`). pi is that under the bare question.

As in the paper's code a wrong refinement may be the best one; its reward is 0, and it is unlearned.
`keep: right` drops such ones.

Departures from the paper and its released code, in addition to those of `off_policy`:
1. The critique is the `reason` of the teacher's feedback, without the solution in its `phrase`, and
   the teacher does not know the gold answer. There GPT-4o writes it (or the model itself, or a
   template that may state the gold answer).
2. `schedule` says how many of a group's rollouts are critiqued, and only those that ended by
   themselves are. There all are, and one refinement of eight completions is trained on throughout:
   `schedule: {kind: constant, init: 1.0, min: 0.0, cutoff: null}`.
3. A refinement keeps the tokens that were sampled. There it is decoded and tokenized again.
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from thinktuning.algorithms import refinement
from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.algorithms.feedback import Feedback
from thinktuning.algorithms.off_policy import OffPolicy, OffPolicyConfig
from thinktuning.models.chat import Chat
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher


class CritiqueGRPOAlgorithmConfig(OffPolicyConfig):
    """`algorithm: {type: critique_grpo}`.

    `refinement`: the prompt that asks for one. `num_refinements`: how many of a group are kept at
    most; null: all.
    """

    resamples: ClassVar[bool] = True
    type: Literal["critique_grpo"] = "critique_grpo"
    refinement: str = "paper"
    num_refinements: PositiveInt | None = 1

    def files(self) -> dict[str, Path]:
        """Return the refinement's prompt file; the teacher's prompt may have the same name."""
        own = {f"refinement {self.refinement}": refinement.locate(self.refinement)}
        return super().files() | own

    def asks_what_is_right(self) -> list[str]:
        """Return `num_refinements` as well, if right ones are kept first."""
        some = self.num_refinements is not None
        asked = [f"num_refinements: {self.num_refinements}"] if some else []
        return [*asked, *super().asks_what_is_right()]

    def resampling_chat(self, chat: Chat) -> Chat:
        """Return the chat that asks for a refinement, without answer and critique."""
        return refinement.load(self.refinement).ask(chat, "", Feedback("incorrect", "", ""))[0]

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "CritiqueGRPO":
        """Return the algorithm.

        Raises:
            StudyError: the refinement's prompt is missing or invalid.
        """
        return CritiqueGRPO(self, teacher, prompt)


class CritiqueGRPO(OffPolicy[CritiqueGRPOAlgorithmConfig]):
    """The student's refinements take the places of rollouts."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.refinement = refinement.load(self.config.refinement)

    def teach(self, batch: RolloutBatch, rows: list[int]) -> None:
        """Sample a refinement of each answer that has a critique, and keep the best of a group."""
        answers = batch.decode([batch.student_ids[i] for i in rows])
        asked = []
        for i, response in zip(rows, answers, strict=True):
            feedback, chat = batch.lessons[i].feedback, batch.rows[i]["prompt"]
            assert feedback
            if isinstance(chat, str):
                raise ValueError(
                    "algorithm 'critique_grpo' asks the student in chats, but the data set's"
                    " prompts are plain texts; make them lists of turns"
                )
            asked.append(self.refinement.ask(chat, response, feedback))
        refined = batch.sample([chat for chat, _ in asked], [start for _, start in asked])
        for i, ids in zip(rows, refined, strict=True):
            if ids is None:
                batch.lessons[i].kept = False
                batch.metrics["num_unspliced"] += 1
            else:
                batch.completion_ids[i] = ids
        self.keep_best(batch)

    def keep_best(self, batch: RolloutBatch) -> None:
        """Keep the best `num_refinements` of each group."""
        if self.config.num_refinements is None:
            return
        taught, rewards = batch.taught, batch.grade(batch.completion_ids)
        for start in range(0, len(batch.rows), batch.num_generations):
            group = range(start, start + batch.num_generations)
            refined = [i for i in group if i in taught]
            refined.sort(key=lambda i: not batch.is_right(rewards[i]))  # stable
            for i in refined[self.config.num_refinements :]:
                batch.lessons[i].kept = False
