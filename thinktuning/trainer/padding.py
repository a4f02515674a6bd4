"""Log-probabilities without padding, for `trl.GRPOTrainer`; needs TRL >= 1.16.

TRL pads a rollout batch to its longest prompt and its longest completion, each row with a prompt of
its own, also where rows are completions of one prompt (TRL issue 7179). `UnpaddedTrainer` returns
the same log-probabilities and entropies in the same layout, computed from the real tokens only, so
that TRL's losses stay as they are. `Unpadded` wraps the model for this. Its layouts:

packed   Rows are laid out one after another in bins of equal width; completions of one prompt share
         it, each attending to the prompt and itself. For transformers' models with rotary
         positions, full attention and `sdpa`.
trimmed  Other models with rotary positions: rows are sorted by length into chunks, and columns
         without a token cut off.
right    Other models: columns are cut off on the right only.
padded   As TRL does it: multimodal models, prompt tuning, aLoRA, NEFTune, attention to selected
         columns, positions that depend on the longest row (dynamic RoPE), and static shapes
         (`pad_to_multiple_of`, torch.compile).

A token's position is its column in TRL's batch. Before the first two layouts are used, a small
batch is compared with the padded computation. Only positions that predict a completion's token are
projected onto the vocabulary. With dropout, packed completions of one prompt share the dropout of
its tokens.

Shapes: B rows of T columns, the first P of them for prompts. Of this package it needs `packing.py`
and `thinktuning/models/layouts.py`, which import nothing of it.
"""

import warnings
from types import SimpleNamespace
from typing import Any

import torch
import trl.trainer.utils
from accelerate.utils import is_peft_model
from torch import Tensor
from torch.nn.functional import pad
from trl import GRPOTrainer

from thinktuning.models.layouts import Layout, finds_invocations, layout_of
from thinktuning.trainer.packing import Row, cheapest_bins, pieces_of, width_of

ATTENTION = 6  # in bins of 6 * hidden_size, attention costs as much as everything else
MAX_PADDING = 1.3  # padded / real positions above which trimmed rows are split into more chunks


class UnpaddedTrainer(GRPOTrainer):
    """`trl.GRPOTrainer` whose log-probabilities are computed without padding.

    `args.skip_padding = False` (or a TRL without a fused LM head) computes them as TRL does.
    """

    @property
    def skips_padding(self) -> bool:
        """Whether padding is skipped, where the model allows it."""
        fused = hasattr(trl.trainer.utils, "add_fused_lm_head")
        static = self.pad_to_multiple_of is not None or self.args.torch_compile
        return fused and not static and getattr(self.args, "skip_padding", True)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, **kw: Any
    ) -> Any:
        more = [v for k, v in kw.items() if k not in ("batch_size", "compute_entropy")]
        if self.skips_padding and all(value is None or value is False for value in more):
            layout = self._layout(model)
            if layout != "padded":
                one_forward = self.accelerator.num_processes > 1  # in step with other processes
                width = input_ids.size(1) - logits_to_keep
                model = Unpadded(model, self._base(model), layout, width, one_forward)
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, **kw
        )

    def _base(self, model: Any) -> Any:
        """Return a model without the wrappers of accelerate and PEFT."""
        model = self.accelerator.unwrap_model(model)
        return model.get_base_model() if is_peft_model(model) else model

    def _layout(self, model: Any) -> Layout:
        """Return a model's layout, which is decided once."""
        base = self._base(model)
        known: dict[int, Layout] = self.__dict__.setdefault("_layouts", {})
        if id(base) not in known:
            layout = layout_of(base)
            adapter = getattr(self.accelerator.unwrap_model(model), "active_peft_config", None)
            by_length = self.args.neftune_noise_alpha  # its noise depends on the number of columns
            by_row = getattr(adapter, "is_prompt_learning", False) or finds_invocations(base)
            if by_row or by_length:
                layout = "padded"
            if layout in ("packed", "trimmed") and not self._keeps(model, base, layout):
                name = type(base).__name__
                warnings.warn(f"the layout `{layout}` changes what {name} computes", stacklevel=2)
                layout = "right"
            known[id(base)] = layout
        return known[id(base)]

    @torch.no_grad()
    def _keeps(self, model: Any, base: Any, layout: Layout) -> bool:
        """Compare a layout's log-probabilities of a small batch with the padded ones."""
        P, C = 7, 5  # more columns than the longest prompt has tokens
        lengths = ((5, 4), (3, 2), (5, 3), (3, 5))  # of two prompts in turn, and their completions
        mask = torch.tensor([[0] * (P - p) + [1] * (p + c) + [0] * (C - c) for p, c in lengths])
        ids = torch.arange(mask.numel()).view_as(mask) * 7919 % base.config.vocab_size
        ids[2:, :P] = ids[:2, :P]
        labels = ids.masked_fill(mask == 0, -100)
        labels[:, :P] = -100
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        batch = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        training = model.training
        model.eval()  # without dropout
        try:
            with self.accelerator.autocast():
                padded = model(**batch, fused_lm_head=True).log_probs
                found = Unpadded(model, base, layout, P)(**batch).log_probs
                half = base.dtype != torch.float32 or torch.is_autocast_enabled(padded.device.type)
        except (IndexError, TypeError, ValueError):  # it takes no mask of rows x rows
            return False
        finally:
            model.train(training)
        # A wrong mask moves log-probabilities by several nats, rounding to half by 1% at most.
        tolerance = 0.02 * padded.abs().max().item() if half else 1e-3
        return torch.allclose(padded, found, rtol=0, atol=tolerance)


class Unpadded:
    """A model with TRL's fused LM head, called with padded batches, that computes without padding.

    Args:
        model: the model as TRL calls it.
        base: the same, without wrappers.
        layout: `packed`, `trimmed` or `right`.
        num_prompt_columns: P.
        one_forward: trim without splitting, so that each call is one forward.
    """

    def __init__(
        self,
        model: Any,
        base: Any,
        layout: Layout,
        num_prompt_columns: int,
        one_forward: bool = False,
    ) -> None:
        self.model, self.base, self.layout = model, base, layout
        self.num_prompt_columns, self.one_forward = num_prompt_columns, one_forward

    def __call__(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any
    ) -> SimpleNamespace:
        """Return `log_probs` and `entropy` (B, T - 1), 0 where there is no label.

        A row without labels is not computed, but the result always has a graph.

        Args:
            input_ids: (B, T), prompts padded on the left, completions on the right.
            attention_mask: (B, T).
            labels: (B, T), -100 where no log-probability is needed.
        """
        B, T = input_ids.shape
        P = self.num_prompt_columns
        scored = labels != -100
        prompts, lengths = attention_mask[:, :P].sum(1), scored[:, P:].sum(1)
        columns = torch.arange(T, device=input_ids.device)
        kept = (columns >= P - prompts[:, None]) & (columns < P + lengths[:, None])
        tokens = torch.cat([attention_mask[:, :P].bool(), scored[:, P:]], dim=1)
        if not ((kept == tokens).all() and prompts.all()):  # padding elsewhere, or no prompt
            return self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                labels=labels,
                fused_lm_head=True,
            )
        if not lengths.any():  # one position, for the graph
            lengths[0], kept[0, P] = 1, True
        ids, p, c = input_ids[:, :P].tolist(), prompts.tolist(), lengths.tolist()
        rows = [Row(i, tuple(ids[i][P - p[i] :]), c[i]) for i in range(B) if c[i]]
        if self.layout == "packed":
            found = [self._packed(input_ids, rows)]
        else:
            found = [self._trimmed(input_ids, kept, chunk) for chunk in self._chunks(rows)]
        positions = torch.cat([source for source, _ in found])
        where = positions - positions // T - 1  # (row, column) of (B, T) at (row, column - 1)

        def padded(name: str) -> Tensor | None:
            values = [getattr(output, name) for _, output in found]
            if values[0] is None:
                return None
            value = torch.cat([v[0] for v in values])
            full = value.new_zeros(B * (T - 1)).index_put((where,), value).view(B, T - 1)
            return full.masked_fill(~scored[:, 1:], 0)

        return SimpleNamespace(log_probs=padded("log_probs"), entropy=padded("entropy"))

    def _chunks(self, rows: list[Row]) -> list[list[Row]]:
        """Split rows, sorted by length, into the fewest chunks with little padding."""
        rows = sorted(rows, key=lambda row: row.length)
        for number in (1, 2, 4, 8):
            size = -(-len(rows) // number)
            chunks = [rows[i : i + size] for i in range(0, len(rows), size)]
            computed = sum(len(chunk) * width_of(chunk) for chunk in chunks)
            if self.one_forward or computed <= MAX_PADDING * sum(width_of([row]) for row in rows):
                break
        return chunks

    def _trimmed(self, input_ids: Tensor, kept: Tensor, rows: list[Row]) -> tuple[Tensor, Any]:
        """Score a chunk of rows without the columns that none of them uses."""
        T, P = input_ids.size(1), self.num_prompt_columns
        left = 0 if self.layout == "right" else P - max(len(row.prompt) for row in rows)
        cut = slice(left, P + max(row.length for row in rows))
        index = torch.tensor([row.number for row in rows], device=input_ids.device)
        ids, mask = input_ids[index, cut], kept[index, cut]
        row, column = pad(mask[:, P - left :], (P - left, 0)).nonzero(as_tuple=True)
        source = index[row] * T + left + column
        inputs = {"input_ids": ids, "attention_mask": mask.long()}
        if left:
            inputs["position_ids"] = torch.arange(left, left + ids.size(1)).expand_as(ids).to(ids)
        return source, self._score(inputs, row * ids.size(1) + column - 1, ids[row, column])

    def _packed(self, input_ids: Tensor, rows: list[Row]) -> tuple[Tensor, Any]:
        """Score all rows, packed into bins."""
        T, device = input_ids.size(1), input_ids.device
        bins, width = cheapest_bins(rows, ATTENTION * self.base.config.hidden_size)
        pieces = pieces_of(bins, width, T, self.num_prompt_columns)
        source, length, start, parent = torch.tensor(pieces, device=device).unbind(1)
        piece = torch.arange(len(pieces), device=device).repeat_interleave(length)
        offset = torch.arange(len(piece), device=device) - (length.cumsum(0) - length)[piece]
        source, here = source[piece] + offset, start[piece] + offset

        def packed(values: Tensor, empty: int) -> Tensor:
            full = values.new_full((len(bins) * width,), empty)
            return full.index_put((here,), values).view(len(bins), width)

        own, prompt = packed(piece, -1), packed(parent[piece], -1)
        sees = (own[:, :, None] == own[:, None]) | (prompt[:, :, None] == own[:, None])
        inputs = {
            "input_ids": packed(input_ids.flatten()[source], 0),
            "attention_mask": sees.tril().unsqueeze(1),
            "position_ids": packed(source % T, 0),
        }
        last = (start + length - 1)[parent[piece]]  # of the prompt: predicts the first token
        target = parent[piece] != piece
        predictors = torch.where(offset > 0, here - 1, last)[target]
        source = source[target]
        return source, self._score(inputs, predictors, input_ids.flatten()[source])

    def _score(self, inputs: dict[str, Tensor], predictors: Tensor, targets: Tensor) -> Any:
        """Return TRL's output (1, N) for N targets, predicted at flat positions of `inputs`."""

        def select(_module: Any, _args: Any, output: Any) -> Any:
            hidden = output.last_hidden_state.flatten(0, 1)
            output.last_hidden_state = hidden[predictors].unsqueeze(0)
            return output

        hook = self.base.base_model.register_forward_hook(select)
        try:
            return self.model(**inputs, shift_labels=targets.unsqueeze(0), fused_lm_head=True)
        finally:
            hook.remove()
