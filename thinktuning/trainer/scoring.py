"""TextScorer: log-probabilities and next-token distributions of further texts, for a loss.

Texts are computed by the model itself, not by its DDP wrapper. The wrapper's forward synchronizes
the processes, and these need not have the same number of texts; gradients are reduced all the same,
since each weight's hook runs once, in the one backward pass, which TRL's own forward through the
wrapper has prepared. Sharded models (FSDP2, DeepSpeed ZeRO-3) gather their weights in the wrapper's
forward, in which all processes must take part: they are refused.

There is one frozen base: TRL's reference model, or the `self` teacher's, or else a `SelfTeacher`
that only scores. With LoRA it is the model itself with its initial adapter.

Shapes: N texts, P and C tokens of prompt and completion, V of the vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import trl.trainer.utils
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.checkpoint import checkpoint
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled

from thinktuning.algorithms.scoring import Measure, Texts, Who
from thinktuning.io.errors import StudyError
from thinktuning.teachers.local import SelfTeacher
from thinktuning.trainer.padding import UnpaddedTrainer

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer

LOGITS = 2**26  # of each model, at once: 256 MiB in float32; at least those of one text


class TextScorer:
    """The scorer of a trainer's algorithm.

    Args:
        trainer: its algorithm has its teacher attached.

    Raises:
        ValueError: the weights will be sharded.
    """

    def __init__(self, trainer: "ThinkTuningTrainer") -> None:
        if trainer.is_fsdp_enabled or is_deepspeed_zero3_enabled():
            raise ValueError(
                f"algorithm {trainer.algorithm.config.type!r} scores texts of its own, and their"
                " number differs between processes, which sharded weights (FSDP, DeepSpeed ZeRO-3)"
                " do not allow; train with DDP"
            )
        self.trainer = trainer
        self.num_iterations = trainer.num_iterations
        # TRL's follows the policy with `sync_ref_model`
        self.reference = None if trainer.args.sync_ref_model else trainer.ref_model
        teacher = trainer.algorithm.teacher
        self.base = teacher if isinstance(teacher, SelfTeacher) else SelfTeacher()
        if self.reference is None:
            if self.base is not teacher:
                self.base.attach(trainer.model, trainer._tokenizer, trainer.accelerator.device)
            if not self.base.initial:
                self._add_head(self.base.model)

    def _add_head(self, model: Any) -> None:
        """Give the copy what TRL gives its models, where TRL has it: log-probabilities in tiles."""
        if add := getattr(trl.trainer.utils, "add_fused_lm_head", None):
            fp32 = self.trainer.args.cast_lm_head_to_fp32
            add(model, temperature=self.trainer.temperature, cast_lm_head_to_fp32=fp32)

    @contextmanager
    def _frozen(self) -> Iterator[Any]:
        """Yield the base, without gradients."""
        with torch.no_grad():
            if self.reference is not None:
                yield self.trainer.accelerator.unwrap_model(self.reference)
                return
            with self.base.with_initial_weights() as model:
                yield model

    def _check(self, texts: Texts) -> None:
        """Refuse texts that do not fit into the context."""
        longest = int((texts.prompt_mask.sum(1) + texts.completion_mask.sum(1)).max().item())
        positions = getattr(self.trainer.model.config, "max_position_embeddings", None)
        if positions and longest > positions:
            raise StudyError(
                f"algorithm {self.trainer.algorithm.config.type!r} scores a text of {longest}"
                f" tokens, over the model's context length of {positions}; shorten its prompt or"
                " training.max_completion_length"
            )

    def encode(self, prompts: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return token IDs and mask (N, P) of prompts; see `Scorer`."""
        tokens, *_ = self.trainer._tokenize_prompts(list(prompts))
        rows = [torch.tensor(ids) for ids in tokens]
        ids, mask = (
            pad_sequence(each, batch_first=True, padding_side="left").to(
                self.trainer.accelerator.device
            )
            for each in (rows, [torch.ones_like(row) for row in rows])
        )
        return ids, mask

    def logps(self, texts: Texts, who: Who) -> Tensor:
        """Return log-probabilities (N, C) of completions; see `Scorer`."""
        if not len(texts.prompt_ids):
            return torch.zeros(texts.completion_ids.shape, device=texts.completion_ids.device)
        self._check(texts)
        if who == "policy":
            return self._logps(self.trainer.model, texts)
        with self._frozen() as base:
            return self._logps(base, texts)

    def _logps(self, model: Any, texts: Texts) -> Tensor:
        ids, mask = joined(texts)
        per_device = self.trainer.args.per_device_train_batch_size
        logps, *_ = UnpaddedTrainer._get_per_token_logps_and_entropies(
            self.trainer,
            model,
            ids,
            mask,
            texts.completion_ids.size(1),
            # texts at a time; with a graph all are kept anyway
            batch_size=None if torch.is_grad_enabled() else per_device,
        )
        scored: Tensor = logps.masked_fill(texts.completion_mask == 0, 0)
        return scored

    def compare(self, texts: Texts, teacher: Texts, measure: Measure) -> Tensor:
        """Return a measure (N, C) of the policy's and the base's distributions; see `Scorer`.

        Chunks of rows are computed again in the backward pass, if there are several.
        """
        N, C = texts.completion_ids.shape
        if not N:
            return torch.zeros((N, C), device=texts.completion_ids.device)
        for each in (texts, teacher):
            self._check(each)

        def part(rows: slice) -> Tensor:
            some, read = texts.rows(rows), teacher.rows(rows)
            with self._frozen() as base:
                wanted = self._logits(base, read)
            values = measure(self._logits(self.trainer.model, some), wanted)
            scored = some.completion_mask.bool()
            return values.new_zeros(scored.shape).masked_scatter(scored, values)

        size = max(1, LOGITS // (C * self.trainer.model.config.get_text_config().vocab_size))
        chunks = [slice(start, start + size) for start in range(0, N, size)]
        if len(chunks) == 1:
            return part(chunks[0])
        return torch.cat([checkpoint(part, rows, use_reentrant=False) for rows in chunks])

    def _logits(self, model: Any, texts: Texts) -> Tensor:
        """Return the logits (M, V) that predict the completions' tokens, over the temperature."""
        ids, mask = joined(texts)
        C = texts.completion_ids.size(1)
        used = mask.any(0).nonzero().flatten()
        cut = slice(int(used[0]), int(used[-1]) + 1)  # columns with a token
        keep = C + 1 - (mask.size(1) - cut.stop)  # from the last of a prompt on
        inputs = {"input_ids": ids[:, cut], "attention_mask": mask[:, cut], "use_cache": False}
        if "logits_to_keep" in signature(type(self.trainer._base(model)).forward).parameters:
            inputs["logits_to_keep"] = keep
        with self.trainer.accelerator.autocast():
            logits = model(**inputs).logits[:, -keep:-1]
        scored = texts.completion_mask[:, : keep - 1].bool()
        return logits[scored].float() / self.trainer.temperature


def joined(texts: Texts) -> tuple[Tensor, Tensor]:
    """Return token IDs and mask (N, P + C) of whole texts."""
    ids = torch.cat([texts.prompt_ids, texts.completion_ids], dim=1)
    return ids, torch.cat([texts.prompt_mask, texts.completion_mask], dim=1)
