"""The order of the questions in each epoch: stock TRL's by default."""

import torch
from trainers import build, vowel_share
from trl import GRPOTrainer

from thinktuning.trainer.trainer import ThinkTuningTrainer


def asked_in_training(directory, kind, output, **settings):
    """Train for two epochs of four rollout batches; return the trainer and each one's questions."""
    asked = []

    def reward(completions, question, **_):
        asked.append(question[::4])
        return vowel_share(completions)

    trainer = build(directory, kind, output, reward_funcs=reward, max_steps=16, **settings)
    trainer.train()
    assert len(asked) == 8
    epochs = [[q for batch in asked[i : i + 4] for q in batch] for i in (0, 4)]
    assert all(len(set(epoch)) == 16 for epoch in epochs)
    return trainer, epochs


def order(trainer, epoch):
    """Return the questions in the order of a run that starts in an epoch."""
    sampler = trainer._get_train_sampler()
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
    rows = dict.fromkeys(sampler)
    return [trainer.train_dataset[row]["question"] for row in rows]


def test_by_default_the_order_is_stock_trls(tiny_model_dir, tmp_path):
    stock, of_stock = asked_in_training(tiny_model_dir, GRPOTrainer, tmp_path / "stock")
    ours, of_ours = asked_in_training(
        tiny_model_dir, ThinkTuningTrainer, tmp_path / "ours", skip_padding=False
    )
    assert of_stock == of_ours
    pairs = zip(stock.model.parameters(), ours.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    # where a run that starts in the second epoch gets another order
    assert order(ours, 0) == of_ours[0] != of_ours[1]
    assert order(ours, 1) == order(stock, 1) != of_ours[1]


def test_on_request_each_epochs_order_is_seeded_separately(tiny_model_dir, tmp_path):
    _, of_stock = asked_in_training(tiny_model_dir, GRPOTrainer, tmp_path / "stock")
    ours, of_ours = asked_in_training(
        tiny_model_dir, ThinkTuningTrainer, tmp_path / "ours", reseed_each_epoch=True
    )
    assert of_ours[0] == of_stock[0]  # the first epoch is stock TRL's
    assert of_ours[1] not in (of_stock[1], of_ours[0])
    assert [order(ours, epoch) for epoch in (0, 1)] == of_ours
