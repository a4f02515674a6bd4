"""SFT on guided rollouts: loss and gradients are those of a cross-entropy."""

import pytest
import torch
from trainers import ALWAYS, ScriptedTeacher, assert_gradients, batch_of, build, logps_of
from transformers import AutoModelForCausalLM, TrainerCallback

from thinktuning.algorithms.rft import RFTAlgorithmConfig
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer


@pytest.mark.parametrize(
    ("with_old_logps", "with_vllm"), [(False, False), (True, False), (True, True)]
)
def test_sft_loss_has_the_gradient_of_cross_entropy(
    tiny_model_dir, tmp_path, with_old_logps, with_vllm
):
    trainer = build(
        tiny_model_dir,
        ThinkTuningTrainer,
        tmp_path,
        teacher=ScriptedTeacher(),
        algorithm=SFTAlgorithmConfig(schedule=ALWAYS),
    )
    inputs, logps = batch_of(trainer, "some", with_old_logps)
    if with_vllm:  # the importance ratio of the student's tokens does not apply to the teacher's
        trainer.use_vllm = trainer.vllm_importance_sampling_correction = True
        inputs["importance_sampling_ratio"] = torch.tensor([0.0, 0.5, 1.0, 2.0, 3.0, 0.0])[:, None]
    guided = inputs["guidance_mask"]
    parameters = list(trainer.model.parameters())
    loss = trainer._compute_loss(trainer.model, inputs)
    gradients = torch.autograd.grad(loss, parameters)
    assert_gradients(gradients, -logps[guided].mean(), parameters)
    # once the teacher is off, there is nothing to imitate
    inputs["guidance_mask"] = torch.zeros_like(guided)
    loss = trainer._compute_loss(trainer.model, inputs)
    assert all((g == 0).all() for g in torch.autograd.grad(loss, parameters))


class Gradients(TrainerCallback):
    """Keeps the gradients of the first optimizer step."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **_):
        self.found = [weight.grad.clone() for weight in model.parameters()]


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_sft_steps_follow_the_cross_entropy_of_the_guided_tokens(
    likely_eos, tmp_path, loss_type, accumulation
):
    """Also in size: the normalization of a loss type only applies to GRPO's surrogate."""
    gradients = Gradients()
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=ScriptedTeacher(),
        algorithm=SFTAlgorithmConfig(schedule=ALWAYS, mask="teacher"),
        callbacks=[gradients],
        loss_type=loss_type,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.0,
        max_completion_length=40,
        max_steps=1,
    )
    batches, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, i: batches.append(dict(i)) or compute(model, i)
    trainer.train()
    assert len(batches) == accumulation
    shares = [batch["guidance_mask"].sum().item() for batch in batches]
    assert all(shares) and len(set(shares)) == accumulation  # so that a wrong weighting would show

    before = AutoModelForCausalLM.from_pretrained(likely_eos, dtype="float32")
    entropies = [-logps_of(before, batch)[batch["guidance_mask"]].mean() for batch in batches]
    expected = torch.stack(entropies).mean()
    parameters = list(before.parameters())
    wanted = torch.autograd.grad(expected, parameters, retain_graph=True)
    ours, theirs = (torch.cat([g.flatten() for g in gs]) for gs in (gradients.found, wanted))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 1 - 1e-6
    assert ours.norm().item() == pytest.approx(theirs.norm().item(), rel=1e-4)
    assert_gradients(gradients.found, expected, parameters)
    loss = trainer.state.log_history[0]["loss"]
    assert loss == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("kind", [SFTAlgorithmConfig, RFTAlgorithmConfig])
@pytest.mark.parametrize(
    ("option", "value"),
    [("beta", 0.04), ("entropy_coef", 0.01), ("use_adaptive_entropy", True)],
)
def test_options_of_trls_surrogate_are_refused(tiny_model_dir, tmp_path, kind, option, value):
    name = kind().type
    with pytest.raises(ValueError, match=f"'{name}' cannot honor {option}={value}: its loss is a"):
        build(
            tiny_model_dir,
            ThinkTuningTrainer,
            tmp_path,
            teacher=ScriptedTeacher(),
            algorithm=kind(schedule=ALWAYS),
            **{option: value},
        )
