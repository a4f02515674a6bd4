"""Sampling by TRL without padding, and more of it than TRL asks for.

- Where transformers samples, rows that ended leave the batch (`models.generation`).
- `_sample` lets an algorithm ask the current student something else (`replies`).
- `_resample_equal` samples groups whose rewards are all equal again (`zero_variance`).
"""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.models.generation import decoding, is_sharded
from thinktuning.trainer.replies import replies
from thinktuning.trainer.sparing import SparingTrainer
from thinktuning.trainer.zero_variance import resample_equal

ELSEWHERE = (
    "GRPOTrainer did not sample by the model's `generate`, so rows that have ended may still be"
    " computed; this costs time and changes nothing else"
)


class ResamplingTrainer(SparingTrainer):
    """`SparingTrainer` that samples more than TRL asks for; a subclass sets `batch`.

    Raises:
        ValueError: `max_resamplings` is set, and TRL does not sample by itself, or equal rewards
            are not equal advantages.
    """

    batch: RolloutBatch

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        sources = ("tools", "rollout_func", "environment_factories")
        if self.max_resamplings and (found := [s for s in sources if getattr(self, s, None)]):
            raise ValueError(
                f"max_resamplings = {self.max_resamplings} samples answers of one turn again, and"
                f" {found[0]} makes others; remove one of the two"
            )
        normalized = self.multi_objective_aggregation == "normalize_then_sum"
        if self.max_resamplings and normalized and len(self.reward_funcs) > 1:
            raise ValueError(
                f"max_resamplings = {self.max_resamplings} samples groups again whose summed"
                " rewards are equal, and with multi_objective_aggregation = 'normalize_then_sum'"
                " their advantages need not be; remove one of the two"
            )

    @property
    def max_resamplings(self) -> int:
        """How often a group with equal rewards is sampled again; 0 with a plain `GRPOConfig`."""
        return getattr(self.args, "max_resamplings", 0)

    def _sample(self, chats: Any, starts: Any) -> list[list[int] | None]:
        """Sample replies to other chats than the rows', as rollouts are sampled."""
        return replies(self, self._turn, chats, starts)

    def _resample_equal(
        self, prompt_ids: Any, images: Any, fields: Any, num_generations: int, **_: Any
    ) -> None:
        """Sample groups with equal rewards again, if the arguments say so.

        Raises:
            ValueError: the prompts have images.
        """
        if not self.max_resamplings:
            return
        if images:
            raise ValueError("max_resamplings does not sample prompts with images; set it to 0")
        resample_equal(
            self.batch,
            prompt_ids,
            self.max_resamplings,
            lambda ids: self._turn(ids, None, {}, num_generations),
        )

    def _turn(self, *args: Any) -> tuple[Any, Any]:
        """Sample by TRL, without what `_generate_single_turn` does to rollouts here."""
        started, metrics = time.perf_counter(), self.batch.metrics
        with self._open_rows_only():
            found = super()._generate_single_turn(*args)
        spent = time.perf_counter() - started
        metrics["time_resampling"] = metrics.get("time_resampling", 0.0) + spent
        return found

    @contextmanager
    def _open_rows_only(self) -> Iterator[None]:
        """Sample by our decoding loop where transformers samples, unless `skip_padding` is off.

        In mixed precision each weight is cast once, and not at each token: autocast keeps what it
        cast until the outermost of its contexts ends.
        """
        elsewhere = self.use_vllm or self.use_transformers_continuous_batching
        model = self.accelerator.unwrap_model(self.model_wrapped, keep_torch_compile=False)
        if elsewhere or not getattr(self.args, "skip_padding", True) or is_sharded(model):
            yield
            return
        with self.accelerator.autocast(), decoding(model) as calls:
            yield
        if not calls:
            warnings.warn(f"trl {version('trl')}: {ELSEWHERE}", stacklevel=2)
