"""Toy algorithms train through the trainer's hooks; what they add to GRPO is computed by hand."""

import copy
from typing import Literal

import pytest
import torch
from trainers import TEXTS, ScriptedTeacher, batch_of, build
from transformers import AutoModelForCausalLM

from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.protocol import Algorithm
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer

# --- a toy in the loss ----------------------------------------------------------------------------


class DoubleConfig(AlgorithmConfig):
    type: Literal["toy"] = "toy"
    factor: float = 2.0

    def build(self, teacher, prompt):
        return Double(self, teacher, prompt)


class Double(Algorithm[DoubleConfig]):
    """Multiplies the advantages."""

    def shape(self, logps, inputs):
        return {"advantages": self.config.factor * inputs["advantages"]}


def test_a_toy_that_doubles_the_advantages_doubles_loss_and_gradient(tiny_model_dir, tmp_path):
    toy = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, algorithm=Double(DoubleConfig()))
    inputs, _ = batch_of(toy, "none", with_old_logps=False)
    before = copy.deepcopy(inputs)
    loss = toy._compute_loss(toy.model, inputs)
    # all ratios are 1. Tokens: 9, 5, 9, 9, 2, 9; advantages: 1.5, -1, 0.3, -2, 0, 5
    total = 9 * 1.5 - 5 * 1.0 + 9 * 0.3 - 9 * 2.0 + 9 * 5.0
    assert loss.item() == pytest.approx(-2 * total / 43, rel=1e-5)
    assert all(torch.equal(inputs[name], before[name]) for name in before)
    assert inputs.keys() == before.keys()

    plain = build(tiny_model_dir, ThinkTuningTrainer, tmp_path)
    plain.current_gradient_accumulation_steps = 1
    pairs = [(toy, loss), (plain, plain._compute_loss(plain.model, inputs))]
    doubled, single = (torch.autograd.grad(x, list(t.model.parameters())) for t, x in pairs)
    for two, one in zip(doubled, single, strict=True):
        torch.testing.assert_close(two, 2 * one, rtol=1e-5, atol=1e-7)
    assert max(gradient.abs().max() for gradient in single) > 1e-4


def test_a_toy_trains(tiny_model_dir, tmp_path):
    """Under plain SGD without clipping, one step of the doubled loss goes twice as far."""
    settings = dict(optim="sgd", learning_rate=0.1, max_grad_norm=0.0, max_steps=1)
    before = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")

    def step(algorithm):
        trainer = build(
            tiny_model_dir, ThinkTuningTrainer, tmp_path, algorithm=algorithm, **settings
        )
        trainer.train()
        pairs = zip(trainer.model.parameters(), before.parameters(), strict=True)
        return torch.cat([(new - old).flatten() for new, old in pairs])

    single, doubled = step(None), step(Double(DoubleConfig()))
    assert single.norm() > 1e-3
    assert (doubled - 2 * single).norm() < 1e-4 * single.norm()


# --- a toy on the rollouts ------------------------------------------------------------------------


class ReplaceConfig(AlgorithmConfig):
    type: Literal["toy"] = "toy"

    def build(self, teacher, prompt):
        return Replace(self, teacher, prompt)


class Replace(Algorithm[ReplaceConfig]):
    """Replaces the sampled completions, and records what is trained on."""

    def __init__(self, *args):
        super().__init__(*args)
        self.batches = []
        self.trained = []

    def augment(self, batch):
        self.batches.append(batch)
        for i in range(len(batch.rows)):
            text = TEXTS[i % batch.num_generations]
            batch.replace(i, [*batch.extend([], text), batch.eos_token_ids[0]], start=0)
        batch.metrics["num_replaced"] = len(batch.rows)

    def loss_inputs(self, batch, output):
        first = [ids[-2] + 1000 * len(ids) for ids in batch.completion_ids]
        return {"marks": torch.tensor(first)}

    def shape(self, logps, inputs):
        self.trained.append(dict(inputs))
        return {}


def test_completions_that_a_toy_replaces_are_rewarded_and_trained_on(tiny_model_dir, tmp_path):
    toy = Replace(ReplaceConfig())
    trainer = build(
        tiny_model_dir,
        ThinkTuningTrainer,
        tmp_path,
        algorithm=toy,
        scale_rewards="none",
        max_steps=2,
    )
    trainer.train()
    assert len(toy.batches) == 1 and len(toy.trained) == 2  # one rollout batch, in two halves
    rollouts = trainer.rollouts
    assert [rollout.text for rollout in rollouts] == TEXTS * 4
    rewards = [1, 1 / 2, 1 / 3, 1 / 4]
    assert [r.reward for r in rollouts] == pytest.approx(rewards * 4)
    # minus their mean, 25/48
    advantages = [23 / 48, -1 / 48, -9 / 48, -13 / 48]
    assert [r.advantage for r in rollouts] == pytest.approx(advantages * 4, abs=1e-6)
    assert [r.completion_length for r in rollouts] == [2, 3, 4, 5] * 4
    assert all(r.student_length == 12 for r in rollouts)  # this model never ends by itself
    assert all(r.student_text != r.text and not r.taught for r in rollouts)
    first = trainer.state.log_history[0]
    assert first["num_replaced"] == 16 and first["completions/mean_length"] == 3.5
    assert first["reward"] == pytest.approx(25 / 48)

    # TRL shuffled the rows, and what `loss_inputs` added along with them
    tokenizer, found = trainer.processing_class, []
    for inputs in toy.trained:
        rows = zip(inputs["completion_ids"], inputs["completion_mask"], strict=True)
        for row, ((ids, mask), mark) in enumerate(zip(rows, inputs["marks"], strict=True)):
            ids = ids[mask.bool()].tolist()
            assert mark == ids[-2] + 1000 * len(ids)
            text = tokenizer.decode(ids, skip_special_tokens=True)
            found.append((text, round(inputs["advantages"][row].item(), 5)))
    by_hand = [(text, round(a, 5)) for text, a in zip(TEXTS, advantages, strict=True)]
    assert sorted(found) == sorted(by_hand * 4)


# --- teachers -------------------------------------------------------------------------------------


def test_a_missing_or_superfluous_teacher_is_refused():
    with pytest.raises(ValueError, match="algorithm 'toy' takes no teacher"):
        Double(DoubleConfig(), ScriptedTeacher())
    with pytest.raises(ValueError, match="algorithm 'sft' needs a teacher"):
        SFTAlgorithmConfig().build(None, None)
