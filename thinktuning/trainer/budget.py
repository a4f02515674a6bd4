"""TokenBudget: counts the tokens of a training, and ends it once its budget is used.

`config` says what is counted. The counts are those of all processes, and part of the trainer's
state: a checkpoint has them, so that a resumed training ends where the whole one does. It ends
after the last optimizer step of the rollout batch that reaches the budget.
"""

import logging
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import ExportableState
from trl import GRPOConfig, GRPOTrainer

from thinktuning.algorithms.batch import EXTRA, RolloutBatch
from thinktuning.trainer.config import CURRENCIES, passes

logger = logging.getLogger(__name__)


class TokenBudget(TrainerCallback, ExportableState):
    """Counts tokens, and ends a training that has a budget.

    Attributes:
        limits: currency -> the tokens that end the training; without any it has no budget.
        spent: currency -> the tokens so far.
    """

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self.limits = {name: n for name, n in (limits or {}).items() if n is not None}
        self.spent = dict.fromkeys(CURRENCIES, 0)

    @property
    def used(self) -> float | None:
        """The used share of the budget, of two limits that of the nearer one; None without any."""
        return max((self.spent[name] / n for name, n in self.limits.items()), default=None)

    def count(self, metrics: Mapping[str, float]) -> None:
        """Count a rollout batch by its metrics, summed over all processes."""
        self.add("tokens", metrics["student_tokens"] + metrics["teacher_tokens"])
        self.add("scored_tokens", metrics["scored_tokens"] + metrics.get(EXTRA, 0))

    def add(self, currency: str, tokens: float) -> None:
        """Count further tokens of all processes."""
        self.spent[currency] += int(tokens)

    def ends(self, args: GRPOConfig, state: TrainerState) -> bool:
        """Whether the budget is used and no rollout batch is half trained."""
        uses = args.steps_per_generation * args.num_iterations
        whole = state.global_step * args.gradient_accumulation_steps % uses == 0
        return whole and self.used is not None and self.used >= 1

    def batches(self, done: int, most: int) -> int:
        """Return how many rollout batches the training will have, at the tokens per batch so far.

        Args:
            done: rollout batches so far.
            most: rollout batches of a training that no budget ends.
        """
        if not self.used or not done:
            return most
        return min(most, max(done, math.ceil(done / self.used)))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint has of this object, in transformers' form."""
        return {"args": {"limits": self.limits}, "attributes": {"spent": dict(self.spent)}}

    def on_train_begin(
        self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Take the counts from the checkpoint that is resumed; else count from 0.

        Raises:
            ValueError: there is a budget, and the checkpoint has no counts.
        """
        states: Any = state.stateful_callbacks  # class -> its state
        saved = states.get(type(self).__name__) if state.global_step else None
        if state.global_step and not saved and self.limits:
            raise ValueError(
                "budget: the checkpoint of an earlier version has no token counts, so that the"
                " training would not end where it should; train anew"
            )
        self.spent = dict.fromkeys(CURRENCIES, 0) | (saved["attributes"]["spent"] if saved else {})
        states[type(self).__name__] = self.state()  # a checkpoint of an earlier version has none

    def on_step_end(
        self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """End the training if the budget is used."""
        if self.ends(args, state):
            control.should_training_stop = True

    def on_train_end(
        self, args: GRPOConfig, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Warn of a budget that is not used: the training matches no other."""
        if self.used is not None and self.used < 1 and state.is_world_process_zero:
            spent = (f"{self.spent[c]:,} of {n:,} {CURRENCIES[c]}" for c, n in self.limits.items())
            logger.warning(
                "budget not used: the training ended at step %d with %d%% of its budget (%s), so it"
                " cannot be compared at matched tokens; raise max_steps",
                state.global_step,
                math.floor(100 * self.used),
                ", ".join(spent),
            )


def scored_tokens(trainer: GRPOTrainer, prompt_mask: Tensor, batch: RolloutBatch) -> int:
    """Return the tokens of a process's rollout batch that stock TRL scores; 0 in evaluation.

    Args:
        trainer: which scores it.
        prompt_mask: of the prompts, one per completion: (B, P).
        batch: its completions are those that are trained on.
    """
    if not trainer.model.training:
        return 0
    times = passes(
        num_iterations=trainer.num_iterations,
        steps_per_generation=trainer.args.steps_per_generation,
        gradient_accumulation_steps=trainer.args.gradient_accumulation_steps,
        corrected=trainer.use_vllm and trainer.vllm_importance_sampling_correction,
        beta=trainer.beta,
    )
    return times * (int(prompt_mask.sum()) + sum(map(len, batch.completion_ids)))
