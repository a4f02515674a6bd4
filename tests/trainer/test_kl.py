"""The KL term (`beta`): the same for every algorithm with TRL's surrogate, on guided tokens too."""

import pytest
import torch
from trainers import ALWAYS, ScriptedTeacher, batch_of, build, logps_of
from transformers import AutoModelForCausalLM

from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer

BETA = 0.3


def guided():
    algorithm = ThinkTuningAlgorithmConfig(schedule=ALWAYS)
    return {"algorithm": algorithm, "teacher": ScriptedTeacher(), "max_completion_length": 40}


@pytest.mark.parametrize("mask", ["none", "some", "all"])
def test_it_adds_the_mean_kl_of_all_tokens_to_the_loss(likely_eos, tmp_path, mask):
    found = {}  # without old log-probabilities all ratios, by which TRL weighs it, are 1
    for beta in (0.0, BETA):
        trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, beta=beta, **guided())
        inputs, logps = batch_of(trainer, mask, with_old_logps=False)
        noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(5))
        inputs["ref_per_token_logps"] = logps.detach() + 0.5 * noise
        found[beta] = trainer._compute_loss(trainer.model, inputs).item()
    apart = inputs["ref_per_token_logps"] - logps.detach()
    kl = (apart.exp() - apart - 1)[inputs["completion_mask"].bool()].mean().item()
    assert kl > 0.05
    assert found[BETA] - found[0.0] == pytest.approx(BETA * kl, rel=1e-3)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("adapter", [False, True])
def test_the_reference_is_the_base_throughout(likely_eos, tmp_path, taught, adapter):
    from peft import LoraConfig

    settings = guided() if taught else {}
    if adapter:
        settings["peft_config"] = LoraConfig(
            r=4, target_modules="all-linear", task_type="CAUSAL_LM"
        )
    trainer = build(
        likely_eos, ThinkTuningTrainer, tmp_path, beta=BETA, learning_rate=1e-2, **settings
    )
    seen, compute = [], trainer._compute_loss
    trainer._compute_loss = lambda model, inputs: seen.append(inputs) or compute(model, inputs)
    trainer.train()
    base = AutoModelForCausalLM.from_pretrained(likely_eos, dtype="float32")
    inputs = seen[-1]
    used = inputs["completion_mask"].bool()
    with torch.no_grad():
        wanted, now = logps_of(base, inputs), logps_of(trainer.model, inputs)
    reference = inputs["ref_per_token_logps"]
    torch.testing.assert_close(reference[used], wanted[used], rtol=0, atol=1e-4)
    assert (reference - now)[used].abs().max() > 1e-2
    assert ("guidance_mask" in inputs) == taught
    kl = [row["kl"] for row in trainer.state.log_history if "kl" in row]
    assert kl[0] == pytest.approx(0, abs=1e-6) and kl[-1] > 1e-4
