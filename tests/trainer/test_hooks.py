"""Training stops if a TRL release does not call a hook, or does not use what it returns."""

from types import MethodType

import pytest
import torch
from trainers import build_taught, logps_of
from trl import GRPOTrainer


def without_logps(self, model, inputs, original):
    """Computes log pi by other means."""
    return logps_of(model, inputs).mean()


def reads_advantages_early(self, model, inputs, original):
    assert inputs["advantages"].dim() == 1
    return original(self, model, inputs)


def gets_advantages_early(self, model, inputs, original):
    assert inputs.get("advantages") is not None
    return original(self, model, inputs)


def reads_old_log_probabilities_early(self, model, inputs, original):
    if "old_per_token_logps" in inputs:  # not in the first step after sampling
        inputs["old_per_token_logps"].sum()
    return original(self, model, inputs)


def copies_the_inputs(self, model, inputs, original):
    """`shape` replaces entries of the original, which are never read."""
    return original(self, model, {**inputs})


def computes_logps_twice(self, model, inputs, original):
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    length = inputs["completion_ids"].size(1)
    self._get_per_token_logps_and_entropies(model, ids, attention, length)
    return original(self, model, inputs)


def loss_elsewhere(self, model, inputs, *args, original, **kwargs):
    return GRPOTrainer._compute_loss(self, model, inputs)


def samples_elsewhere(self, prompts, original):
    self._generate_single_turn = MethodType(GRPOTrainer._generate_single_turn, self)
    try:
        return original(self, prompts)
    finally:
        del self._generate_single_turn


def rewards_elsewhere(self, prompts, original):
    """After sampling, where `augment` uses our method, TRL scores the batch with its own."""
    generated = original(self, prompts)
    self._calculate_rewards = MethodType(GRPOTrainer._calculate_rewards, self)
    return generated


@pytest.mark.parametrize(
    ("method", "changed", "problem"),
    [
        ("_compute_loss", without_logps, "did not call _get_per_token_logps_and_entropies"),
        ("_compute_loss", reads_advantages_early, "read advantages before it was shaped"),
        ("_compute_loss", gets_advantages_early, "read advantages before it was shaped"),
        ("_compute_loss", reads_old_log_probabilities_early, "read old_per_token_logps before it"),
        ("_compute_loss", copies_the_inputs, r"did not read \w+ after it was shaped"),
        ("_compute_loss", computes_logps_twice, "computed the log-probabilities of one loss twice"),
        ("compute_loss", loss_elsewhere, "did not call _compute_loss"),
        ("_generate", samples_elsewhere, "did not call _generate_single_turn"),
        ("_generate", rewards_elsewhere, "did not call _calculate_rewards"),
    ],
)
def test_training_stops_if_trl_breaks_a_hook(
    likely_eos, tmp_path, monkeypatch, method, changed, problem
):
    original = getattr(GRPOTrainer, method)
    trainer = build_taught(
        likely_eos,
        tmp_path,
        max_completion_length=40,
        max_steps=2,
    )
    monkeypatch.setattr(GRPOTrainer, method, lambda *a, **kw: changed(*a, original=original, **kw))
    with pytest.raises(RuntimeError, match=rf"^trl [\d.]+: GRPOTrainer {problem}"):
        trainer.train()


def test_the_same_training_runs_with_unchanged_trl(likely_eos, tmp_path):
    trainer = build_taught(
        likely_eos,
        tmp_path,
        max_completion_length=40,
        max_steps=1,
    )
    trainer.train()
    assert any(rollout.taught for rollout in trainer.rollouts)
