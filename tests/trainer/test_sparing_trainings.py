"""Whole trainings without padding and needless work: stock TRL's gradients, weights and metrics."""

import pytest
import torch
import trl.trainer.utils
from peft import LoraConfig
from trainers import ALWAYS, TAUGHT, ScriptedTeacher, build, logps_of, vowel_share
from trl import GRPOTrainer
from unpadded import Gradients, relative

from thinktuning.trainer.trainer import ThinkTuningTrainer

if not hasattr(trl.trainer.utils, "add_fused_lm_head"):
    pytest.skip("needs TRL's fused LM head", allow_module_level=True)


def sometimes(completions, prompts, **_):
    """A reward that is the same for every completion of half of the prompts."""
    shares = vowel_share(completions)
    same = [int(prompt[-1]["content"].split("+")[1].rstrip("?")) % 2 for prompt in prompts]
    return [0.5 if s else share for s, share in zip(same, shares, strict=True)]


def trained(directory, kind, output, **settings):
    """Train; return the change of the weights, each step's gradients and what was logged."""
    gradients = Gradients()
    plain = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 1.0}
    plain |= {"reward_funcs": sometimes, "callbacks": [gradients], "max_steps": 4} | settings
    trainer = build(directory, kind, output, **plain)
    trainer.model.double()  # so that rounding does not hide a difference
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    before = [weight.detach().clone() for weight in weights]
    trainer.train()
    change = [new.detach() - old for new, old in zip(weights, before, strict=True)]
    return change, gradients.found, trainer


def assert_same_training(stock, ours):
    (change, gradients, of_stock), (our_change, our_gradients, of_ours) = stock, ours
    assert len(gradients) == len(our_gradients) > 1
    largest = max(norm(step) for step in gradients)
    for found, wanted in zip(our_gradients, gradients, strict=True):
        assert norm([f - w for f, w in zip(found, wanted, strict=True)]) < 1e-6 * largest
    assert relative(our_change, change) < 1e-6
    kinds = ("loss", "grad", "kl", "reward")
    if of_ours.args.gradient_accumulation_steps == 1:  # else TRL averages over micro-batches
        kinds += ("clip",)
    for found, wanted in zip(of_ours.state.log_history, of_stock.state.log_history, strict=True):
        names = [name for name in wanted if name.startswith(kinds)]
        assert [found[n] for n in names] == pytest.approx([wanted[n] for n in names], abs=1e-5)


def norm(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors]).norm().item()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_iterations": 2, "max_steps": 8},
        {"num_iterations": 2, "gradient_accumulation_steps": 2},
        {"gradient_accumulation_steps": 2, "steps_per_generation": 4, "loss_type": "bnpo"},
        {"gradient_accumulation_steps": 2, "steps_per_generation": 3, "loss_type": "grpo"},
        {"gradient_accumulation_steps": 4, "steps_per_generation": 8, "loss_type": "dapo"}
        | {"per_device_train_batch_size": 2},
        {"mask_truncated_completions": True},
        {"scale_rewards": "none"},
        {"beta": 0.1},
        {"top_entropy_quantile": 0.5},
        {"entropy_coef": 0.01},
        {"gradient_checkpointing": True},
    ],
    ids=lambda settings: "-".join(f"{k}={v}" for k, v in settings.items()) or "default",
)
def test_training_equals_stock_trls(likely_eos, tmp_path, settings):
    stock = trained(likely_eos, GRPOTrainer, tmp_path / "stock", **settings)
    ours = trained(likely_eos, ThinkTuningTrainer, tmp_path / "ours", **settings)
    assert_same_training(stock, ours)


def test_training_an_adapter_equals_stock_trls(likely_eos, tmp_path):
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    for beta in (0.0, 0.1):
        torch.manual_seed(0)
        stock = trained(likely_eos, GRPOTrainer, tmp_path / "stock", peft_config=lora, beta=beta)
        torch.manual_seed(0)
        ours = trained(
            likely_eos, ThinkTuningTrainer, tmp_path / "ours", peft_config=lora, beta=beta
        )
        assert_same_training(stock, ours)


@pytest.mark.parametrize("kind", TAUGHT)
@pytest.mark.parametrize(("mask", "accumulation"), [("trajectory", 1), ("teacher", 2)])
def test_guided_training_equals_the_padded_one(likely_eos, tmp_path, kind, mask, accumulation):
    own = {"mask": mask, "keep": "all", "min_reward": 0.4}  # `sometimes` seldom gives 1
    keys = {name: value for name, value in own.items() if name in kind.model_fields}
    runs = [
        trained(
            likely_eos,
            ThinkTuningTrainer,
            tmp_path / str(skip),
            teacher=ScriptedTeacher(),
            algorithm=kind(schedule=ALWAYS, **keys),
            skip_padding=skip,
            loss_type="dapo",
            max_completion_length=40,
            gradient_accumulation_steps=accumulation,
            steps_per_generation=2 * accumulation,
        )
        for skip in (False, True)
    ]
    assert any(rollout.taught for rollout in runs[1][2].rollouts)
    assert_same_training(*runs)


def test_old_log_probabilities_are_computed_only_for_later_steps(likely_eos, tmp_path):
    seen = []
    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, steps_per_generation=3, max_steps=3)
    compute = trainer._compute_loss

    def recorded(model, inputs):
        if not seen:
            whole = [dict(batch) for batch in trainer._buffered_inputs]
            assert ["old_per_token_logps" in batch for batch in whole] == [False, True, True]
            for batch in whole[1:]:
                with torch.no_grad():
                    wanted = logps_of(model, batch)
                used = batch["completion_mask"].bool() & batch["advantages"].ne(0)[:, None]
                old = batch["old_per_token_logps"]
                torch.testing.assert_close(old[used], wanted[used], rtol=0, atol=1e-5)
        seen.append(inputs)
        return compute(model, inputs)

    trainer._compute_loss = recorded
    trainer.train()
    assert len(seen) == 3


@pytest.mark.parametrize(
    ("iterations", "accumulated", "sampled"),
    [(1, 1, 2), (2, 2, 1)],  # for two passes within an optimizer step TRL takes those of the update
)
def test_with_dropout_a_ratio_is_1_only_where_it_is_in_trl(
    likely_eos, tmp_path, iterations, accumulated, sampled
):
    """Two passes differ then: TRL's old log-probabilities are not those of the update."""
    kept = []
    for kind in (GRPOTrainer, ThinkTuningTrainer):
        trainer = build(
            likely_eos,
            kind,
            tmp_path / kind.__name__,
            peft_config=LoraConfig(
                lora_dropout=0.5, target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            num_iterations=iterations,
            gradient_accumulation_steps=accumulated,
            steps_per_generation=sampled,
            max_steps=2,
        )
        seen, compute = [], trainer._compute_loss
        trainer._compute_loss = lambda model, batch, seen=seen, compute=compute: (
            seen.append("old_per_token_logps" in batch) or compute(model, batch)
        )
        trainer.train()
        kept.append(seen)
    assert kept[0] == kept[1] == [iterations == 1] * len(kept[0])
    assert len(kept[0]) == 2 * accumulated


def test_a_batch_without_effect_changes_nothing(likely_eos, tmp_path):
    change, gradients, trainer = trained(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        reward_funcs=lambda completions, **_: [1.0] * len(completions),
    )
    assert len(gradients) == 4 and not any(g.any() for step in gradients for g in step)
    assert not any(c.any() for c in change)
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 4 and not any("entropy" in row for row in rows)


@pytest.mark.parametrize("loss_type", ["dapo", "bnpo"])
def test_completions_of_a_prompt_are_trained_together(likely_eos, tmp_path, loss_type):
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        steps_per_generation=4,
        max_steps=2,
        loss_type=loss_type,
    )
    prompts, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, i: prompts.append(i["prompt_ids"]) or compute(model, i)
    trainer.train()
    assert len(prompts) == 8
    together = [len(rows.unique(dim=0)) for rows in prompts]
    assert together == [1] * 8 if loss_type == "dapo" else sum(together) > 20
