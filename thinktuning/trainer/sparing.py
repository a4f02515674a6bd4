"""Work that cannot change a gradient, left out of the update of `trl.GRPOTrainer`.

- A completion with advantage 0 (its group's rewards are equal), without a token, or that a loss of
  the algorithm's own does not read (`Algorithm.reads`) has neither forward nor backward. The sums
  are divided by the same numbers: masks and counts stay. The metric `entropy` is that of the
  completions that are computed; it is missing where there are none. With vLLM at least one is
  computed, since its log-probabilities are compared with the trainer's.
- Old log-probabilities are those of the weights that sampled. In the first optimizer step after
  sampling these are the current weights, whose log-probabilities TRL takes if a batch has no old
  ones. The others are computed right before that step. With `num_iterations` > 1, what the first
  pass over a batch computes is kept for the later ones. With dropout two passes differ, so that
  TRL's ratio is not 1: then all are computed, when TRL does.
- Where it does not matter to the loss in which of an optimizer step's micro-batches a completion is
  trained, completions of one prompt are put together, or those of one length if prompts cannot be
  shared. It does matter for `bnpo`, which averages over the tokens of each micro-batch. Metrics
  that TRL averages over micro-batches then average over these.

Shapes: B completions of a micro-batch, C tokens.
"""

from typing import Any

import torch
from torch import Tensor
from trl.models.utils import disable_gradient_checkpointing

from thinktuning.algorithms.protocol import Algorithm
from thinktuning.models.decodable import is_random
from thinktuning.trainer.padding import UnpaddedTrainer

Batch = dict[str, Any]

# The losses in which each term of a completion is proportional to its advantage, and no metric
# depends on the others. (`vespo` logs a mean over all completions.)
PROPORTIONAL = frozenset({"grpo", "bnpo", "dr_grpo", "dapo", "cispo", "luspo", "sapo"})
# The losses in which the weight of a completion does not depend on its micro-batch.
ADDITIVE = PROPORTIONAL - {"bnpo"}


class SparingTrainer(UnpaddedTrainer):
    """`UnpaddedTrainer` without the work that cannot change a gradient.

    A subclass sets `algorithm`, and `_micro_batch` while TRL computes a loss in training.
    """

    algorithm: Algorithm[Any]
    _buffered_inputs: list[Batch] | None
    _micro_batch: Batch | None = None
    _computed: Tensor | None = None  # (B,), completions of the micro-batch that are computed
    _scoring = False
    _deferred = False  # the old log-probabilities of the batch that was just sampled
    _seen: list[Batch] | None = None  # the micro-batches of the last rollout batch
    _pending: tuple[Batch, ...] = ()  # those that may still need old log-probabilities
    _no_entropy = False

    @property
    def _unpadded(self) -> bool:
        """Whether the model is computed without padding, and so work can be left out."""
        return self.skips_padding and self._layout(self.model) != "padded"

    def _separable(self, losses: frozenset[str]) -> bool:
        """Whether the loss is one of these, and the algorithm and TRL add no other terms."""
        other_terms = self._entropy_bonus_enabled or self.aux_loss_enabled
        other_terms |= self.top_entropy_quantile < 1.0  # its threshold is a micro-batch's
        known = self.algorithm.separable and self.loss_type in losses
        return known and not other_terms and self._unpadded

    def _generate_and_score_completions(self, inputs: Any) -> Batch:
        self._scoring, self._deferred = True, False
        self._micro_batch = None  # of a step that failed
        try:
            return super()._generate_and_score_completions(inputs)
        finally:
            self._scoring = False

    def _defers_old_logps(self, model: Any) -> bool:
        """Whether TRL, which scores a batch, asks for old log-probabilities that can wait."""
        if not self._scoring or model is not self.model:
            return False
        needed = self.use_vllm and self.vllm_importance_sampling_correction
        needed |= self.beta != 0.0 and self.ref_model is None  # or are they the reference's?
        needed |= any(map(is_random, self.model.modules()))
        return not needed and self._unpadded

    def _prepare_inputs(self, generation_batch: Any) -> Batch:
        inputs: Batch = super()._prepare_inputs(generation_batch)
        if not (self.model.training and self._unpadded):
            return inputs
        if self._buffered_inputs and self._buffered_inputs is not self._seen:  # newly sampled
            self._buffered_inputs = self._seen = self._regrouped(self._buffered_inputs)
            self._pending = tuple(self._seen) if self._deferred else ()
            inputs = self._seen[self._step % self.args.steps_per_generation]
        self._pending = tuple(batch for batch in self._pending if batch is not inputs)
        if self.accelerator.sync_gradients:  # an optimizer step follows
            for batch in self._pending:
                batch["old_per_token_logps"] = self._old_logps(batch)
            self._pending = ()
        return inputs

    @torch.no_grad()
    def _old_logps(self, batch: Batch) -> Tensor:
        """Return log pi under the current weights (B, C), 0 where it has no effect."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        attention_mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        length = batch["completion_ids"].size(1)
        mask = _only(attention_mask, self._with_effect(batch), length)
        with disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs):
            logps, *_ = super()._get_per_token_logps_and_entropies(self.model, ids, mask, length)
        return logps

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **kw: Any
    ) -> Any:
        if self._defers_old_logps(model):
            self._deferred = True
            return None, None, None
        score = super()._get_per_token_logps_and_entropies
        batch = self._micro_batch
        if batch is None or not self._unpadded:
            return score(model, input_ids, attention_mask, logits_to_keep, **kw)
        self._computed = computed = self._with_effect(batch)
        mask = _only(attention_mask, computed, logits_to_keep)
        logps, entropies, *rest = score(model, input_ids, mask, logits_to_keep, **kw)
        if computed is not None:
            old = batch.get("old_per_token_logps")  # then the ratio is 1
            logps = logps.where(computed[:, None], torch.zeros_like(logps) if old is None else old)
        if computed is not None and entropies is not None:
            entropies = self._with_mean_entropy(entropies, batch, computed)
        if self._deferred and self.num_iterations > 1 and "old_per_token_logps" not in batch:
            batch["old_per_token_logps"] = logps.detach()
        return logps, entropies, *rest

    def _with_effect(self, batch: Batch) -> Tensor | None:
        """Return (B,), which completions can change the gradient; None if all must be computed."""
        trained = _loss_mask(batch).any(1)
        found = self.algorithm.reads(batch)
        if found is None:
            if self.beta != 0.0 or not self._separable(PROPORTIONAL):
                return None
            advantages = batch["advantages"].view(len(batch["completion_mask"]), -1)
            found = advantages.ne(0).any(1)
        found = found & trained
        if (sampled := batch.get("sampling_per_token_logps")) is not None:
            comparable = (_loss_mask(batch) & ~sampled.isnan()).any(1)
            if not (found & comparable).any():
                found[comparable.nonzero()[:1]] = True
        return found

    def _with_mean_entropy(self, entropies: Tensor, batch: Batch, computed: Tensor) -> Tensor:
        """Give completions that are not computed the mean entropy of those that are."""
        mask = _loss_mask(batch) & computed[:, None]
        local = torch.stack([entropies.detach()[mask].sum(), mask.sum()])
        total, count = self.accelerator.reduce(local, reduction="sum")
        self._no_entropy = count.item() == 0
        return entropies.where(computed[:, None], total / count.clamp(min=1))

    def _compute_loss(self, model: Any, inputs: Any) -> Tensor:
        self._no_entropy = False
        loss: Tensor = super()._compute_loss(model, inputs)
        metrics = self._metrics["train"]
        if self._no_entropy and metrics["entropy"]:
            metrics["entropy"].pop()
        if not metrics["entropy"]:  # TRL averages what is there
            del metrics["entropy"]
        return loss

    def _regrouped(self, batches: list[Batch]) -> list[Batch]:
        """Deal the completions of each optimizer step to its micro-batches anew."""
        steps = self.args.gradient_accumulation_steps
        aligned = len(batches) % steps == 0 and self._step % steps == 0
        if steps == 1 or not aligned or not self._separable(ADDITIVE):
            return batches
        found: list[Batch] = []
        for start in range(0, len(batches), steps):
            window = batches[start : start + steps]
            if any(not isinstance(value, Tensor) for value in window[0].values()):
                return batches
            whole = {
                name: torch.cat([batch[name] for batch in window]) if value.dim() else value
                for name, value in window[0].items()
            }
            key = whole["completion_mask"].sum(1)
            if self._layout(self.model) == "packed":
                _, key = whole["prompt_ids"].unique(dim=0, return_inverse=True)
            found += [
                {name: v[rows] if v.dim() else v for name, v in whole.items()}
                for rows in key.argsort(stable=True).chunk(steps)
            ]
        return found


def _loss_mask(batch: Batch) -> Tensor:
    """Return (B, C), true where a token is part of the loss."""
    mask = batch["completion_mask"].bool()
    return mask & batch["tool_mask"].bool() if "tool_mask" in batch else mask


def _only(attention_mask: Tensor, computed: Tensor | None, length: int) -> Tensor:
    """Return the (B, T) mask without the last `length` columns of rows that are not `computed`."""
    if computed is None:
        return attention_mask
    prompt, completion = attention_mask[:, :-length], attention_mask[:, -length:]
    return torch.cat([prompt, completion * computed[:, None]], dim=1)
