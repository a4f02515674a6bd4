"""Algorithms that score further texts: a scorer by hand, rollouts, and texts as TRL pads them."""

from collections.abc import Callable
from typing import ClassVar

import torch
from trainers import logps_of

from thinktuning.algorithms.batch import RolloutBatch
from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.protocol import Algorithm
from thinktuning.algorithms.scoring import Texts


class ScriptedScorer:
    """Gives each text the log-probabilities of a function of (text, who)."""

    num_iterations = 2

    def __init__(self, score: Callable):
        self.score = score
        self.asked = []

    def logps(self, texts, who):
        self.asked.append((texts, who))
        return self.score(texts, who) * texts.completion_mask

    def encode(self, prompts):
        """A prompt's tokens are the lengths of its words."""
        rows = [[len(word) for word in prompt[-1]["content"].split()] for prompt in prompts]
        longest = max(map(len, rows))
        ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
        return ids, (ids > 0).long()


class ScoringConfig(AlgorithmConfig):
    """An algorithm that scores texts, and otherwise is GRPO."""

    scores_texts: ClassVar[bool] = True
    type: str = "scoring"

    def build(self, teacher, prompt):
        return Scoring(self, teacher, prompt)


class Scoring(Algorithm[ScoringConfig]):
    """Has a scorer."""


def rollouts(student_ids, completion_ids=None, prompt="1 + 1 =", **settings):
    """Return a rollout batch of one group; token 2 ends a completion, and texts are its tokens."""
    batch = RolloutBatch(
        rows=[{"prompt": [{"role": "user", "content": prompt}]}] * len(student_ids),
        num_generations=len(student_ids),
        t=0,
        num_batches=1,
        seed=0,
        first_group=0,
        eos_token_ids=[2],
        max_completion_length=9,
        decode=lambda completions: [" ".join(map(str, ids)) for ids in completions],
        extend=lambda ids, text: [7, 8],
        grade=lambda completions: [0.0 for _ in completions],
    )
    batch.sampled(student_ids, None)
    batch.completion_ids = completion_ids or batch.completion_ids
    for name, value in settings.items():
        setattr(batch, name, value)
    return batch


def output_of(batch, prompt_ids=((1, 3),)):
    """Return TRL's batch of these completions."""
    longest = max(map(len, batch.completion_ids))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in batch.completion_ids])
    mask = torch.tensor([[i < len(row) for i in range(longest)] for row in batch.completion_ids])
    prompts = torch.tensor(prompt_ids).expand(len(ids), -1)
    return {
        "prompt_ids": prompts,
        "prompt_mask": torch.ones_like(prompts),
        "completion_ids": ids,
        "completion_mask": mask.long(),
    }


def texts_of(batch):
    """Return the texts of a micro-batch, with a prompt and some completion in each row."""
    rows = batch["completion_mask"].any(1)
    return Texts.of(batch).rows(rows)


def plain_logps(model, texts, temperature=1.0):
    """Return log-probabilities computed in one padded forward, 0 at padding."""
    found = logps_of(Tempered(model, temperature), vars(texts))
    return found * texts.completion_mask


class Tempered:
    """A model whose logits are divided by a temperature."""

    def __init__(self, model, temperature):
        self.model, self.temperature = model, temperature

    def __call__(self, **inputs):
        output = self.model(**inputs)
        output.logits = output.logits / self.temperature
        return output
