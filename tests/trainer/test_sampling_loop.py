"""The trainer samples by our decoding loop, and gets the rollouts of stock TRL."""

import warnings
from collections import Counter
from contextlib import contextmanager

import pytest
import torch
from peft import LoraConfig
from torch.utils._python_dispatch import TorchDispatchMode
from trainers import build, vowel_share
from trl import GRPOTrainer

from thinktuning.models import decoding, generation
from thinktuning.trainer.trainer import ThinkTuningTrainer

LONGER = {"max_completion_length": 32, "per_device_train_batch_size": 16, "max_steps": 4}


@pytest.fixture
def ran(monkeypatch):
    """How many rows each forward of our loop had, one list per batch."""
    batches = []
    prefill, step = decoding.prefill, decoding.Rows.step

    def watched_prefill(*args):
        batches.append([])
        return prefill(*args)

    def watched_step(rows, *args):
        batches[-1].append(len(rows.places))
        return step(rows, *args)

    monkeypatch.setattr(decoding, "prefill", watched_prefill)
    monkeypatch.setattr(decoding.Rows, "step", watched_step)
    return batches


def rollouts_of(directory, kind, output, **settings):
    """Train; return the completions and the trainer."""
    said = []

    def watched(completions, completion_ids, **_):
        said.append(completion_ids)
        return vowel_share(completions)

    trainer = build(directory, kind, output, reward_funcs=watched, **(LONGER | settings))
    trainer.train()
    return said, trainer


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("temperature", [1.0, 0.8])
def test_rollouts_are_those_of_stock_trl(likely_eos, tmp_path, tuning, temperature, ran):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    settings = {"temperature": temperature, "peft_config": lora if tuning == "lora" else None}
    expected, stock = rollouts_of(likely_eos, GRPOTrainer, tmp_path / "stock", **settings)
    assert not ran
    found, ours = rollouts_of(likely_eos, ThinkTuningTrainer, tmp_path / "ours", **settings)
    assert found == expected and len(found) == 2
    assert len({len(ids) for ids in found[0]}) > 5
    assert len(ran) == 2 and min(ran[0]) < 16 < max(ran[0])
    for name, weight in stock.model.named_parameters():
        torch.testing.assert_close(ours.model.get_parameter(name), weight, rtol=1e-4, atol=1e-5)
    assert "generate" not in vars(generation.inner_model(ours.model))


class Casts(TorchDispatchMode):
    """Counts how often each weight is copied to another dtype."""

    def __init__(self, model):
        super().__init__()
        self.names = {w.data_ptr(): name for name, w in model.named_parameters() if w.ndim == 2}
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._to_copy.default and args[0].data_ptr() in self.names:
            self.counts[self.names[args[0].data_ptr()]] += 1
        return func(*args, **(kwargs or {}))


def test_in_mixed_precision_weights_are_cast_once_for_all_tokens(likely_eos, tmp_path, ran):
    settings = LONGER | {"max_steps": 1, "bf16": True}
    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, **settings)
    sampling, casts = trainer._open_rows_only, Casts(trainer.model)

    @contextmanager
    def watched():
        with casts, sampling():
            yield

    trainer._open_rows_only = watched
    trainer.train()
    assert len(ran) == 1 and len(ran[0]) > 5  # tokens
    assert len(casts.counts) >= 14  # matrices of two layers
    assert set(casts.counts.values()) == {1}


def test_without_skip_padding_it_samples_as_stock_trl(likely_eos, tmp_path, ran):
    rollouts_of(likely_eos, ThinkTuningTrainer, tmp_path, skip_padding=False)
    assert not ran


def test_a_trl_that_samples_otherwise_is_not_slow_without_a_word(
    tiny_model_dir, tmp_path, monkeypatch
):
    def otherwise(trainer, prompt_ids, *_, **__):
        return [[5, trainer.eos_token_ids[0]] for _ in prompt_ids], None

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", otherwise)
    with pytest.warns(UserWarning, match="did not sample by the model's `generate`"):
        build(tiny_model_dir, ThinkTuningTrainer, tmp_path / "ours").train()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*did not sample")
        build(tiny_model_dir, ThinkTuningTrainer, tmp_path / "off", skip_padding=False).train()
