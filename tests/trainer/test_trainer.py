"""The trainer against stock TRL (vanilla GRPO) and against a plain Python guided loss."""

import copy

import pytest
import torch
from trainers import ALWAYS, ScriptedTeacher, assert_gradients, batch_of, build
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from thinktuning.algorithms.config import AASConfig
from thinktuning.algorithms.grpo import GRPOAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer


@pytest.mark.parametrize("algorithm", [None, {"type": "grpo"}, GRPOAlgorithmConfig()])
def test_vanilla_grpo_equals_stock_trl_bit_for_bit(tiny_model_dir, tmp_path, algorithm):
    stock = build(tiny_model_dir, GRPOTrainer, tmp_path / "stock")
    stock.train()
    padded = {"algorithm": algorithm, "skip_padding": False}
    ours = build(tiny_model_dir, ThinkTuningTrainer, tmp_path / "ours", **padded)
    ours.train()
    pairs = zip(stock.model.parameters(), ours.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    initial = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")
    assert not torch.equal(initial.lm_head.weight, ours.model.lm_head.weight)

    def losses(trainer):
        return [row["loss"] for row in trainer.state.log_history if "loss" in row]

    assert losses(stock) == losses(ours) and len(losses(ours)) == 6


def reference_gamma(advantage, aas):
    """Return gamma(A) as in docs/method.md."""
    return {
        "paper": (advantage * aas.bound / aas.advantage_range).clamp(-aas.bound, aas.bound),
        "released": -aas.bound,
        "constant": aas.constant,
    }[aas.variant]


def reference_terms(logps, old_logps, advantages, guidance_mask, aas):
    """Return each token's loss (B, T) as in docs/method.md; clip 0.2 / 0.2, dual clip 3."""
    rows = []
    for b in range(logps.size(0)):
        advantage = advantages[b]
        row = []
        for t in range(logps.size(1)):
            logp = logps[b, t]
            pi = logp.exp()
            guided = guidance_mask[b, t] and aas.variant != "off"
            if guided and not (advantage < 0 and pi < aas.probability_floor):
                denominator = pi.detach() + reference_gamma(advantage, aas)
                if denominator < 0:
                    denominator = pi.detach() / 1.0001
                elif denominator > 1:
                    denominator = pi.detach() / 0.9999
                row.append(-advantage * pi / denominator)
            else:
                ratio = (logp - old_logps[b, t]).exp()
                clipped = ratio.clamp(0.8, 1.2)
                row.append(-torch.min(ratio.clamp(max=3.0) * advantage, clipped * advantage))
        rows.append(torch.stack(row))
    return torch.stack(rows)


def aggregate(terms, mask, loss_type, max_length):
    """Aggregate (B, T) terms as TRL does over a whole rollout batch."""
    if loss_type == "grpo":
        return ((terms * mask).sum(1) / mask.sum(1)).mean()
    if loss_type == "dr_grpo":
        return (terms * mask).sum() / (len(terms) * max_length)
    return (terms * mask).sum() / mask.sum()  # bnpo; dapo only differs over several micro-batches


def guided_trainer(directory, output, aas, loss_type):
    return build(
        directory,
        ThinkTuningTrainer,
        output,
        teacher=ScriptedTeacher(),
        algorithm=ThinkTuningAlgorithmConfig(aas=aas, schedule=ALWAYS),
        loss_type=loss_type,
        steps_per_generation=1,
    )


def assert_equals_the_reference(trainer, inputs, logps):
    """Compare the trainer's loss and gradients on a batch with the plain Python ones."""
    old_logps = inputs.get("old_per_token_logps", logps.detach())
    terms = reference_terms(
        logps,
        old_logps,
        inputs["advantages"],
        inputs["guidance_mask"],
        trainer.algorithm.config.aas,
    )
    mask, length = inputs["completion_mask"], trainer.max_completion_length
    expected = aggregate(terms, mask, trainer.loss_type, length)
    parameters = list(trainer.model.parameters())
    before = copy.deepcopy(inputs)
    loss = trainer._compute_loss(trainer.model, inputs)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    assert_gradients(torch.autograd.grad(loss, parameters), expected, parameters)
    assert inputs.keys() == before.keys()  # the buffer is reused: nothing in it may change
    assert all(torch.equal(inputs[k], before[k]) for k in before)


@pytest.mark.parametrize("variant", ["paper", "released", "constant", "off"])
@pytest.mark.parametrize("with_old_logps", [False, True])
@pytest.mark.parametrize(
    ("mask", "loss_type"),
    [
        ("none", "bnpo"),
        ("all", "bnpo"),
        ("some", "bnpo"),
        ("some", "grpo"),
        ("some", "dr_grpo"),
        ("some", "dapo"),
    ],
)
def test_guided_loss_and_gradients_equal_the_reference(
    tiny_model_dir, tmp_path, variant, with_old_logps, mask, loss_type
):
    trainer = guided_trainer(tiny_model_dir, tmp_path, AASConfig(variant=variant), loss_type)
    assert_equals_the_reference(trainer, *batch_of(trainer, mask, with_old_logps))


@pytest.mark.parametrize("with_old_logps", [False, True])
@pytest.mark.parametrize(
    "aas",
    # pi + gamma is below 0 for some tokens of the first two, and above 1 for some of the third; no
    # pi is close to the bound, where pi / (pi + gamma) is too steep for float32
    [
        AASConfig(variant="paper", probability_floor=0.0002),
        AASConfig(variant="released", probability_floor=0.004, bound=0.0008),
        AASConfig(variant="constant", probability_floor=0.004, constant=0.995),
    ],
)
def test_guided_loss_at_the_floor_and_invalid_denominators(lively, tmp_path, aas, with_old_logps):
    """Probabilities from 2e-5 to 0.06; the tiny model's are all near 0.004, below the floor."""
    trainer = guided_trainer(lively, tmp_path, aas, "bnpo")
    inputs, logps = batch_of(trainer, "all", with_old_logps)
    pi, guided, A = logps.exp(), inputs["guidance_mask"], inputs["advantages"][:, None]
    spared = guided & (A < 0) & (pi < aas.probability_floor)
    denominator = pi + reference_gamma(A, aas)
    assert spared.any() and (guided & (A < 0) & ~spared).any()
    assert (guided & ~spared & ((denominator < 0) | (denominator > 1))).any()
    assert_equals_the_reference(trainer, inputs, logps)


def test_guidance_without_a_teacher_is_refused(tiny_model_dir, tmp_path):
    with pytest.raises(ValueError, match="algorithm 'thinktuning' needs a teacher"):
        build(tiny_model_dir, ThinkTuningTrainer, tmp_path, algorithm=ThinkTuningAlgorithmConfig())


def test_a_teacher_without_guidance_is_refused(tiny_model_dir, tmp_path):
    with pytest.raises(ValueError, match="algorithm 'grpo' takes no teacher"):
        build(tiny_model_dir, ThinkTuningTrainer, tmp_path, teacher=ScriptedTeacher())
