"""Padded batches of grouped completions, and the comparison of two ways to compute on them."""

import torch
from transformers import TrainerCallback


def grouped_batch(lengths, advantages=None, vocabulary=250, seed=7):
    """Return a micro-batch in TRL's layout.

    Args:
        lengths: for each prompt its length, and those of its completions.
        advantages: of each completion; by default random.
        vocabulary: number of tokens, of which 0 is padding.
        seed: of the tokens, the order of the rows and the advantages.
    """
    generator = torch.Generator().manual_seed(seed)

    def tokens(n):
        return torch.randint(1, vocabulary, (n,), generator=generator)

    rows = [(prompt, tokens(c)) for p, cs in lengths for prompt in [tokens(p)] for c in cs]
    order = torch.randperm(len(rows), generator=generator).tolist()
    P, C = max(len(p) for p, _ in rows), max(max(len(c) for _, c in rows), 1)
    batch = {
        "prompt_ids": torch.zeros(len(rows), P, dtype=torch.long),
        "completion_ids": torch.zeros(len(rows), C, dtype=torch.long),
        "advantages": torch.randn(len(rows), generator=generator),
    }
    for row, i in enumerate(order):
        prompt, completion = rows[i]
        batch["prompt_ids"][row, P - len(prompt) :] = prompt
        batch["completion_ids"][row, : len(completion)] = completion
        if advantages is not None:
            batch["advantages"][row] = advantages[i]
    batch["prompt_mask"] = (batch["prompt_ids"] > 0).long()
    batch["completion_mask"] = (batch["completion_ids"] > 0).long()
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    return batch


def with_other_inputs(batch, logps, old_logps, reference):
    """Add old log-probabilities, with ratios on both sides of the clips, and a reference's."""
    generator = torch.Generator().manual_seed(1)

    def near():
        return logps + 0.7 * torch.randn(logps.shape, generator=generator, dtype=logps.dtype)

    if old_logps:
        batch["old_per_token_logps"] = near()
    if reference:
        batch["ref_per_token_logps"] = near()
    return batch


def all_inputs(batch):
    """Return the padded input IDs, their mask and the number of completion columns."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    return ids, mask, batch["completion_ids"].size(1)


def relative(found, wanted):
    """Return the norm of a difference, relative to what is wanted."""
    found, wanted = (torch.cat([t.flatten() for t in ts]) for ts in (found, wanted))
    assert wanted.norm() > 0
    return ((found - wanted).norm() / wanted.norm()).item()


class Positions:
    """Counts the token positions that a model's backbone computes."""

    def __init__(self, model):
        self.count = 0
        model.base_model.register_forward_pre_hook(self.add, with_kwargs=True)

    def add(self, _module, args, kwargs):
        self.count += (args[0] if args else kwargs["input_ids"]).numel()


class Gradients(TrainerCallback):
    """Keeps the gradients of each optimizer step."""

    def __init__(self):
        self.found = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.found.append([w.grad.clone() for w in model.parameters() if w.grad is not None])
