"""DPO (Rafailov et al. 2023, arXiv 2305.18290, equation 7) on the student's corrected answers.

Rollouts are sampled and spliced as for ThinkTuning. Where the student's own text was wrong and the
spliced text is right, the two are a pair, both as answers to the bare question: the spliced
completion is chosen, the student's own rejected. With sequence log-probabilities, summed over
tokens, and the frozen base as reference,

    loss = -log sigmoid(beta * ((log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected)))

averaged over the pairs of the micro-batch; a micro-batch without pairs has the loss 0. The chosen
text begins with the rejected one up to its end, and the terms of the tokens in common cancel: what
is compared is going on, as the teacher did, with ending there.

Departures from the paper:
1. Pairs are sampled from the current policy in each rollout batch, not given: online DPO. The
   preference is the verifier's, of one text of the student and its continuation by the teacher.
2. The teacher's tokens, and so the chosen texts, were not sampled by the policy or the reference.
3. Probabilities are those at `training.temperature`, as everywhere in TRL's GRPO.

No other completion is trained on, whatever its reward. The loss is not separable: it does not use
the advantages.

Shapes: B completions of a (micro-)batch, T and R tokens of a chosen and a rejected completion.
"""

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from thinktuning.algorithms.batch import EXTRA, RolloutBatch
from thinktuning.algorithms.guided import Guided, GuidedConfig
from thinktuning.algorithms.scoring import Texts
from thinktuning.io.section import Positive
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

if TYPE_CHECKING:
    from torch import Tensor


class DPOAlgorithmConfig(GuidedConfig):
    """`algorithm: {type: dpo}`; `beta`: how strongly the policy is held to the reference."""

    has_kl_term: ClassVar[bool] = False
    scores_texts: ClassVar[bool] = True
    type: Literal["dpo"] = "dpo"
    beta: Positive = 0.1

    @field_validator("keep")
    @classmethod
    def _keep(cls, keep: str) -> str:
        if keep == "wrong":
            raise ValueError("the spliced text of a pair is right; set keep to all")
        return keep

    @field_validator("mask")
    @classmethod
    def _mask(cls, mask: str) -> str:
        if mask == "teacher":
            raise ValueError("it compares whole texts; set mask to trajectory")
        return mask

    def unread(self, training: Any) -> Iterator[tuple[str, str]]:
        """Yield also `keep`: the spliced text of a pair is right.

        A budget counts the tokens of texts that are no pair, too.
        """
        yield from super().unread(training)
        if training.budget is None:
            yield "algorithm.keep", "the spliced text of a pair is right, whatever is kept"

    def asks_what_is_right(self) -> list[str]:
        """Return the type as well: a pair is a wrong and a right text."""
        return ["type: dpo", *super().asks_what_is_right()]

    def build(self, teacher: Teacher | None, prompt: TeacherPrompt | None) -> "DPO":
        """Return the algorithm."""
        return DPO(self, teacher, prompt)


class DPO(Guided[DPOAlgorithmConfig]):
    """Prefers corrected answers to the student's own."""

    refused: ClassVar[Mapping[str, str]] = {
        "beta": "its loss has a reference of its own (algorithm.beta), and no KL term",
        "entropy_coef": "its loss has no entropy bonus",
        "epsilon_high": "its loss has no clipped ratio",
        "mask_truncated_completions": "a pair needs both of its texts",
        "use_adaptive_entropy": "its loss has no entropy bonus",
    }

    def loss_inputs(
        self, batch: RolloutBatch, output: Mapping[str, "Tensor"]
    ) -> "dict[str, Tensor]":
        """Return the rejected completions (B, R), and the reference's margin of each pair (B,).

        A row that is no pair has an empty mask. The margin is log pi_ref of the chosen completion
        minus that of the rejected one; the reference does not change, so once a batch is enough.
        """
        import torch

        rows = pairs(batch)
        longest = max((len(batch.student_ids[i]) for i in rows), default=1)
        ids = output["completion_ids"].new_zeros(len(batch.rows), longest)
        mask, margin = torch.zeros_like(ids), ids.new_zeros(len(ids), dtype=torch.float32)
        for i in rows:
            own = batch.student_ids[i]
            ids[i, : len(own)], mask[i, : len(own)] = torch.tensor(own), 1
        batch.metrics[EXTRA] = 0
        if rows:
            chosen = Texts.of(output).rows(rows)
            rejected = Texts(chosen.prompt_ids, chosen.prompt_mask, ids[rows], mask[rows])
            found = [self.scorer.logps(each, "base") for each in (chosen, rejected)]
            margin[rows] = found[0].sum(1) - found[1].sum(1)
            by_policy = self.scorer.num_iterations * rejected.num_tokens  # in the loss
            batch.metrics[EXTRA] = chosen.num_tokens + rejected.num_tokens + by_policy
        return {"rejected_ids": ids, "rejected_mask": mask, "reference_margin": margin}

    def reads(self, inputs: Mapping[str, "Tensor"]) -> "Tensor":
        """Return (B,), true for the chosen completions."""
        return inputs["rejected_mask"].any(1)

    def loss(self, logps: "Tensor", inputs: Mapping[str, "Tensor"]) -> "Tensor":
        """Return the mean over the pairs of -log sigmoid(beta * difference of the margins)."""
        from torch.nn.functional import logsigmoid

        pair = self.reads(inputs)
        rejected = Texts(
            inputs["prompt_ids"],
            inputs["prompt_mask"],
            inputs["rejected_ids"],
            inputs["rejected_mask"],
        )
        chosen_logps = (logps * inputs["completion_mask"] * pair[:, None]).sum(1)
        margin = chosen_logps[pair] - self.scorer.logps(rejected.rows(pair), "policy").sum(1)
        losses = -logsigmoid(self.config.beta * (margin - inputs["reference_margin"][pair]))
        return losses.sum() / max(1, len(losses)) + 0 * logps.sum()


def pairs(batch: RolloutBatch) -> list[int]:
    """Return the taught rows whose own text was wrong and whose spliced text is right.

    One without a verdict (NaN) is neither.
    """
    before, after = batch.student_rewards or batch.rewards, batch.rewards
    wrong = [not math.isnan(reward) and not batch.is_right(reward) for reward in before]
    return [i for i in batch.taught if wrong[i] and batch.is_right(after[i])]
