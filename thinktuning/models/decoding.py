"""The loop that decodes: see `thinktuning.models.generation`."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation import logits_process as processors

from thinktuning.models.decodable import OPTIONS, check_inputs, check_model, endings

ENDED = 1 / 8  # the share of ended rows at which they leave the batch
# Processors that treat each row alone. Others may keep something for each row of the batch, so they
# see the whole batch, as in transformers' loop.
ROW_WISE = {
    processors.InfNanRemoveLogitsProcessor,
    processors.LogitNormalization,
    processors.MinLengthLogitsProcessor,
    processors.MinNewTokensLengthLogitsProcessor,
    processors.MinPLogitsWarper,
    processors.SuppressTokensLogitsProcessor,
    processors.TemperatureLogitsWarper,
    processors.TopKLogitsWarper,
    processors.TopPLogitsWarper,
    processors.TypicalLogitsWarper,
}


def decode(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Tensor:
    """Complete a batch; arguments and result are those of `GenerationMixin._sample`.

    Args:
        model: the model.
        input_ids: (B, P), padded on the left.
        logits_processor: transformers' list of them.
        stopping_criteria: transformers' list: tokens that end a row, and the maximum length.
        generation_config: the complete one.
        model_kwargs: inputs of the model's forward.

    Returns:
        (B, T), prompts included; padding after the end of a row.

    Raises:
        UnsupportedError: before anything was computed or drawn.
        RuntimeError: a probability is not finite; the message is `torch.multinomial`'s.
    """
    check_model(model, input_ids.device)
    check_inputs(input_ids, generation_config, model_kwargs)
    ends, max_length = endings(stopping_criteria, input_ids.device)
    pad = int(generation_config._pad_token_tensor) if len(ends) else 0
    length = input_ids.shape[1]
    shape = len(input_ids), max(max_length, length + 1)
    tokens = torch.full(shape, pad, device=input_ids.device)
    tokens[:, :length] = input_ids
    rows, logits = prefill(model, input_ids, generation_config, model_kwargs, tokens.shape[1])
    with model._optimize_model_for_decode():
        while True:
            scores = process(logits_processor, tokens[:, :length], logits, rows.places)
            chosen, valid = choose(scores, rows.places, len(tokens), generation_config.do_sample)
            chosen = chosen.masked_fill(rows.ended, pad)
            tokens[rows.places, length] = chosen
            length += 1
            rows.ended |= torch.isin(chosen, ends)
            *ended, holds = torch.cat([rows.ended, valid]).tolist()  # the step's only wait
            if not holds:
                raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
            if all(ended) or length >= max_length:
                return tokens[:, :length]
            if sum(ended) >= ENDED * len(ended):
                rows.keep([i for i, over in enumerate(ended) if not over])
            logits = rows.step(model, tokens[:, :length])


@dataclass
class Rows:
    """R rows of a batch that are computed.

    Attributes:
        places: (R,), where they are in the batch.
        ended: (R,), whether they have ended.
        cache: of their keys and values.
        mask: (R, max_length), 1 for tokens and 0 for padding; None without padding.
        positions: (R, 1), of the last token; None for a model that takes no positions.
        options: further arguments of the model's forward.
    """

    places: Tensor
    ended: Tensor
    cache: Any
    mask: Tensor | None
    positions: Tensor | None
    options: dict[str, Any]

    def keep(self, indices: list[int]) -> None:
        """Drop all rows but some."""
        kept = torch.tensor(indices, device=self.places.device)
        self.places, self.ended = self.places[kept], self.ended[kept]
        self.mask = None if self.mask is None else self.mask[kept]
        self.positions = None if self.positions is None else self.positions[kept]
        self.cache.batch_select_indices(kept)

    def step(self, model: Any, tokens: Tensor) -> Tensor:
        """Run the model on the last tokens.

        Args:
            model: the model.
            tokens: (B, T), of the whole batch.

        Returns:
            (R, V) logits of the next tokens, float32.
        """
        inputs: dict[str, Any] = {"input_ids": tokens[self.places, -1:]}
        if self.mask is not None:
            inputs["attention_mask"] = self.mask[:, : tokens.shape[1]]
        if self.positions is not None:
            inputs["position_ids"] = self.positions = self.positions + 1
        outputs = model(**inputs, past_key_values=self.cache, **self.options, return_dict=True)
        logits: Tensor = outputs.logits[:, -1].float()
        return logits


def prefill(
    model: Any, input_ids: Tensor, generation_config: Any, model_kwargs: dict[str, Any], room: int
) -> tuple[Rows, Tensor]:
    """Run the model on each distinct prompt, and share out what it computed.

    Args:
        model: the model.
        input_ids: (B, P), with the tokens whose cache is given, if one is.
        generation_config: the complete one.
        model_kwargs: inputs of the model's forward.
        room: the most tokens a row can get.

    Returns:
        All rows, and the (B, V) logits of their first tokens, float32.
    """
    mask, positions = model_kwargs.get("attention_mask"), model_kwargs.get("position_ids")
    cache = model_kwargs["past_key_values"]
    first, source = distinct(input_ids if mask is None else torch.cat([input_ids, mask], dim=1))
    if cache.get_seq_length():
        cache.batch_select_indices(first)
    inputs = {
        name: x if x is None else x[first]
        for name, x in (("attention_mask", mask), ("position_ids", positions))
    }
    outputs = model._prefill(input_ids[first], generation_config, model_kwargs | inputs)
    logits = outputs.logits[:, -1].float()
    if len(first) < len(source):
        cache.batch_select_indices(source)
        logits = logits[source]
    if mask is not None:
        mask = torch.nn.functional.pad(mask, (0, room - mask.shape[1]), value=1)
    rows = Rows(
        places=torch.arange(len(source), device=input_ids.device),
        ended=torch.zeros_like(source, dtype=torch.bool),
        cache=cache,
        mask=mask,
        positions=None if positions is None else positions[:, -1:],
        options={name: model_kwargs[name] for name in OPTIONS if name in model_kwargs},
    )
    return rows, logits


def distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first place of each distinct row, and for each row which distinct row it is."""
    number: dict[tuple[int, ...], int] = {}
    first: list[int] = []
    source: list[int] = []
    for place, row in enumerate(map(tuple, rows.tolist())):
        if row not in number:
            number[row] = len(first)
            first.append(place)
        source.append(number[row])
    return torch.tensor(first, device=rows.device), torch.tensor(source, device=rows.device)


def process(logits_processor: Any, tokens: Tensor, logits: Tensor, places: Tensor) -> Tensor:
    """Return the scores that the logits processors make.

    Args:
        logits_processor: transformers' list of them.
        tokens: (B, T), of the whole batch.
        logits: (R, V), of the rows at `places`.
        places: (R,).
    """
    if not logits_processor:
        return logits
    if all(type(one) in ROW_WISE for one in logits_processor):
        scores: Tensor = logits_processor(tokens[places], logits)
        return scores
    whole = logits.new_zeros(len(tokens), logits.shape[1])
    whole[places] = logits
    scores = logits_processor(tokens, whole)[places]
    return scores


def choose(
    scores: Tensor, places: Tensor, batch_size: int, do_sample: bool
) -> tuple[Tensor, Tensor]:
    """Choose the next tokens as `torch.multinomial` would for the whole batch, or greedily.

    `torch.multinomial` chooses the largest p / q, where q is exponential noise.

    Args:
        scores: (R, V), of the rows at `places`.
        places: (R,).
        batch_size: B, the rows of the whole batch.
        do_sample: whether to sample.

    Returns:
        (R,) tokens, and a (1,) bool: whether the probabilities are finite.
    """
    if not do_sample:
        return scores.argmax(-1), scores.new_ones(1, dtype=torch.bool)
    probabilities = scores.softmax(-1)
    chosen = (probabilities / noise(probabilities, places, batch_size)).argmax(-1)
    # a row with an entry that is not finite has only such entries after the softmax
    valid = probabilities.gather(1, chosen[:, None]).isfinite().all()
    return chosen, valid[None]


def noise(like: Tensor, places: Tensor, batch_size: int) -> Tensor:
    """Draw (B, V) exponential noise, of which the rows at `places` are returned.

    All of it is drawn, so that a row's noise and the generator's state do not depend on which rows
    are still open. On a CPU it takes most of its time to turn uniform numbers into exponential
    ones, so there only the rows asked for are: as torch does it, in double precision.
    """
    shape = batch_size, like.shape[1]
    if like.device.type != "cpu":
        return torch.empty(shape, dtype=like.dtype, device=like.device).exponential_()[places]
    uniform = torch.empty(shape, dtype=torch.float64).uniform_()
    if len(places) < batch_size:  # else they are all rows, in order
        uniform = uniform[places]
    return uniform.neg_().log1p_().neg_().to(like.dtype)
