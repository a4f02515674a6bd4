"""RFT: imitation of right completions (rejection sampling, expert iteration).

STaR (Zelikman et al. 2022, arXiv 2203.14465) fine-tunes on its own right answers, and on those that
it finds when it is given a hint; RFT (Yuan et al. 2023, arXiv 2308.01825) and ReST-EM (Singh et al.
2023, arXiv 2312.06585) sample many answers and keep the right ones. Here the hint is the teacher's
feedback: rollouts are spliced as for ThinkTuning, and

    loss = -mean over the tokens of right completions of log pi

A right completion has at least `min_reward`, and is imitated as a whole: the student's tokens and
the teacher's. `count: spliced` imitates spliced rollouts only, so the loss is 0 once the guidance
rate is; `all` also imitates what the student got right by itself. Wrong completions and the
sizes of advantages have no effect.

Departures from the papers:
1. Each rollout batch is sampled by the current student and trained on once (`num_iterations`
   times). The papers alternate between sampling a whole data set and fine-tuning, STaR and ReST-EM
   each time from the base model again.
2. Every right completion counts. STaR keeps one per question; RFT drops repeated derivations, and
   ReST-EM keeps a limited number per question.
3. The mean is over the tokens of the micro-batch, as for `sft`.
4. A right spliced completion may contain the student's wrong first answer, as for ThinkTuning.
   STaR's rationale under a hint has no trace of the hint.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.algorithms.guided import Taught, TaughtConfig
from thinktuning.algorithms.imitation import REFUSED, cross_entropy
from thinktuning.algorithms.rollout import is_right
from thinktuning.io.section import Positive
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from torch import Tensor


class RFTAlgorithmConfig(TaughtConfig):
    """`algorithm: {type: rft}`.

    `count`: which right completions are imitated. `min_reward`: what makes a completion right;
    null: `training.right_from` or, without one, 1.
    """

    has_kl_term: ClassVar[bool] = False
    type: Literal["rft"] = "rft"
    count: Literal["spliced", "all"] = "spliced"
    min_reward: Positive | None = None

    def threshold(self, right_from: float | None) -> float:
        """Return the least reward of a right completion, given `training.right_from`."""
        given = right_from if self.min_reward is None else self.min_reward
        return 1.0 if given is None else given

    @model_validator(mode="after")
    def _right(self) -> Self:
        if self.keep == "wrong":
            raise ValueError(
                "keep = 'wrong' removes the feedback that leads to a right answer, and rft imitates"
                " right completions only; set keep to all or right"
            )
        return self

    def unread(self, training: Any) -> Iterator[tuple[str, str]]:
        """Yield also `keep` with `count: spliced`: it keeps all that is imitated.

        With `count: all` an answer whose wrong correction is not kept is imitated if it is right. A
        budget counts the tokens of what is not imitated, too.
        """
        yield from super().unread(training)
        if self.count == "spliced" and training.budget is None:
            yield "algorithm.keep", "rft with count: spliced imitates right completions only"

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "RFT":
        """Return the algorithm."""
        return RFT(self, teacher, prompt)


class RFT(Taught[RFTAlgorithmConfig]):
    """Right completions as supervised text."""

    refused: ClassVar[Mapping[str, str]] = REFUSED

    @property
    def needs_lessons(self) -> bool:
        """Whether only spliced completions are imitated."""
        return self.config.count == "spliced"

    def loss_inputs(
        self, batch: RolloutBatch, output: Mapping[str, "Tensor"]
    ) -> "dict[str, Tensor]":
        """Return `imitated_mask` (B, T): true in the completions that count."""
        import torch

        taught, threshold = batch.taught, self.config.threshold(batch.right_from)
        counts = [
            is_right(reward, threshold) and (self.config.count == "all" or i in taught)
            for i, reward in enumerate(batch.rewards)
        ]
        mask = output["completion_mask"].bool()
        return {"imitated_mask": mask & torch.tensor(counts, device=mask.device)[:, None]}

    def loss(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "Tensor":
        """Return -mean(log pi) over the tokens of right completions."""
        return cross_entropy(logps, inputs["imitated_mask"])
