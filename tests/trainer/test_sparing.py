"""The update without work that cannot change it: stock TRL's losses, gradients and weights."""

import warnings

import pytest
import torch
import trl.trainer.utils
from trainers import TAUGHT, ScriptedTeacher, build, logps_of
from trl import GRPOTrainer
from unpadded import Positions, grouped_batch, relative, with_other_inputs

from thinktuning.algorithms.config import AASConfig
from thinktuning.algorithms.grpo import GRPOAlgorithmConfig
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuning, ThinkTuningAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer

if not hasattr(trl.trainer.utils, "add_fused_lm_head"):
    pytest.skip("needs TRL's fused LM head", allow_module_level=True)

LOSSES = ["grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo"]
VARIANTS = ("paper", "released", "constant", "off")
LENGTHS = [(7, [9, 3, 1, 6]), (16, [2, 2, 7, 4]), (1, [5, 8, 0, 3]), (3, [4, 12])]
ADVANTAGES = [1.5, -1.0, 0.3, -0.8, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 2.0, -2.0, 5.0, -1.0]


def double(directory, kind, output, **settings):
    """Build a trainer in double precision, so that rounding does not hide a difference."""
    trainer = build(directory, kind, output, **settings)
    trainer.model.double()
    return trainer


@pytest.fixture(scope="module")
def pair(lively, tmp_path_factory):
    """Return stock TRL's trainer and ours."""
    root = tmp_path_factory.mktemp("pair")
    kinds = (GRPOTrainer, ThinkTuningTrainer)
    return [double(lively, kind, root / kind.__name__) for kind in kinds]


def loss_of(trainer, batch, **options):
    """Return the loss in training, and its gradients."""
    for name, value in options.items():
        owner = trainer if hasattr(trainer, name) else trainer.args
        assert hasattr(owner, name)
        setattr(owner, name, value)
        setattr(trainer.args, name, value)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    loss = trainer._compute_loss(trainer.model, dict(batch))
    trainer._micro_batch = None
    return loss, torch.autograd.grad(loss, list(trainer.model.parameters()))


def a_batch(trainer, old_logps=True, reference=False, lengths=LENGTHS, advantages=ADVANTAGES):
    batch = grouped_batch(lengths, advantages)
    with torch.no_grad():
        logps = logps_of(trainer.model, batch)
    return with_other_inputs(batch, logps, old_logps, reference)


def assert_same_loss(pair, batch, **options):
    (stock, wanted), (ours, found) = (loss_of(trainer, batch, **options) for trainer in pair)
    torch.testing.assert_close(ours, stock, rtol=1e-6, atol=1e-7)
    assert relative(found, wanted) < 1e-6


PLAIN = {
    "loss_type": "grpo",
    "importance_sampling_level": "token",
    "beta": 0.0,
    "delta": 3.0,
    "epsilon_high": 0.2,
    "top_entropy_quantile": 1.0,
    "off_policy_mask_threshold": None,
    "entropy_coef": 0.0,
    "_entropy_bonus_enabled": False,
    "use_bias_correction_kl": False,
}


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize("level", ["token", "sequence"])
@pytest.mark.parametrize("old_logps", [True, False])
def test_every_loss_equals_stock_trls(pair, loss_type, level, old_logps):
    options = {"loss_type": loss_type, "importance_sampling_level": level}
    options["epsilon_high"] = 2.0 if loss_type == "cispo" else 0.2
    assert_same_loss(pair, a_batch(pair[0], old_logps), **PLAIN | options)


@pytest.mark.parametrize("loss_type", LOSSES)
@pytest.mark.parametrize(
    "options",
    [
        {"beta": 0.1},
        {"beta": 0.1, "use_bias_correction_kl": True},
        {"delta": None},
        {"top_entropy_quantile": 0.4},
        {"off_policy_mask_threshold": 0.2},
        {"entropy_coef": 0.1, "_entropy_bonus_enabled": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_every_term_equals_stock_trls(pair, loss_type, options):
    batch = a_batch(pair[0], reference="beta" in options)
    options["epsilon_high"] = 2.0 if loss_type == "cispo" else 0.2
    assert_same_loss(pair, batch, **PLAIN | {"loss_type": loss_type} | options)


@pytest.mark.parametrize(
    "config",
    [
        *(ThinkTuningAlgorithmConfig(aas=AASConfig(variant=variant)) for variant in VARIANTS),
        *(kind() for kind in TAUGHT[1:]),
    ],
    ids=lambda config: getattr(config, "aas", config).model_dump().get("variant", config.type),
)
@pytest.mark.parametrize("guided", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("old_logps", [True, False])
def test_an_algorithms_loss_is_the_padded_one(lively, tmp_path, config, guided, old_logps):
    teacher = ScriptedTeacher()
    trainer = double(lively, ThinkTuningTrainer, tmp_path, teacher=teacher, algorithm=config)
    batch = a_batch(trainer, old_logps)
    drawn = torch.rand(batch["completion_mask"].shape, generator=torch.Generator().manual_seed(2))
    mask = (drawn < guided) & batch["completion_mask"].bool()
    if config.build(teacher, "prompt").replaces_loss and guided == 0.0:
        mask[0, 0] = True
    batch |= dict.fromkeys(("guidance_mask", "imitated_mask", "off_policy_mask"), mask)
    wanted, gradients = loss_of(trainer, batch, skip_padding=False)
    loss, found = loss_of(trainer, batch, skip_padding=True)
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-7)
    assert relative(found, gradients) < 1e-6


def test_completions_without_effect_are_not_computed(pair):
    """Advantage 0 or no token; neither is the entropy theirs, and the clip ratios stay."""
    stock, ours = pair
    batch = a_batch(stock)
    loss_of(stock, batch, **PLAIN)
    ours._metrics["train"].clear()
    assert ours._layout(ours.model) == "packed"
    positions = Positions(ours.model)
    loss_of(ours, batch, **PLAIN)
    computed = batch["advantages"].ne(0) & batch["completion_mask"].any(1)
    assert 0 < computed.sum() < len(computed)
    rows = batch["completion_mask"][computed].sum() + (7 + 1 + 3)  # each prompt once
    assert rows <= positions.count < 1.2 * rows
    names = [name for name in stock._metrics["train"] if name.startswith("clip_ratio")]
    assert len(names) == 5
    for name in names:
        assert ours._metrics["train"][name][-1] == stock._metrics["train"][name][-1]
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    with torch.no_grad():
        logits = stock.model(input_ids=ids, attention_mask=mask).logits
    entropies = torch.distributions.Categorical(logits=logits).entropy()
    entropies = entropies[:, batch["prompt_ids"].size(1) - 1 : -1]
    expected = entropies[computed][batch["completion_mask"][computed].bool()].mean()
    assert ours._metrics["train"]["entropy"] == [pytest.approx(expected.item(), rel=1e-5)]


@pytest.mark.parametrize("options", [{"beta": 0.1}, {"loss_type": "vespo"}], ids=str)
def test_what_all_completions_contribute_to_is_computed_for_all(pair, options):
    positions = Positions(pair[1].model)
    batch = a_batch(pair[0], reference=True)
    loss_of(pair[1], batch, **PLAIN | options)
    assert positions.count >= batch["completion_mask"].sum() + 7 + 16 + 1 + 3


@pytest.mark.parametrize("loss_type", LOSSES)
def test_other_micro_batches_have_the_same_sum_of_losses(pair, loss_type, monkeypatch):
    stock, ours = pair
    lengths = [(7, [9, 3, 1, 6]), (16, [2, 2, 7, 4]), (1, [5, 8, 0, 3]), (3, [4, 12, 2, 30])]
    whole = a_batch(stock, lengths=lengths, advantages=[*ADVANTAGES, 0.5, 0.0])
    halves = [{k: v[i : i + 8] if v.dim() else v for k, v in whole.items()} for i in (0, 8)]
    monkeypatch.setattr(ours.args, "gradient_accumulation_steps", 2)
    options = PLAIN | {"loss_type": loss_type}
    wanted = [loss_of(stock, half, **options)[1] for half in halves]
    loss_of(ours, halves[0], **options)
    dealt = ours._regrouped(halves)
    assert (dealt is halves) == (loss_type in ("bnpo", "vespo"))
    found = [loss_of(ours, half, **options)[1] for half in dealt]
    sums = [[a + b for a, b in zip(*pairs, strict=True)] for pairs in (found, wanted)]
    assert relative(*sums) < 1e-6


def test_a_model_whose_tokens_meet_outside_of_attention_is_not_packed(lively, tmp_path):
    """As in a state space model, whose configuration may say nothing about it."""
    trainer = double(lively, ThinkTuningTrainer, tmp_path)
    embeddings = trainer.model.get_input_embeddings()
    embeddings.register_forward_hook(lambda module, args, output: output + output.cumsum(1))
    batch = a_batch(trainer)
    wanted, gradients = loss_of(trainer, batch, skip_padding=False)
    with pytest.warns(UserWarning, match="`packed` changes what LlamaForCausalLM computes"):
        loss, found = loss_of(trainer, batch, skip_padding=True)
    assert trainer._layout(trainer.model) == "right"
    torch.testing.assert_close(loss, wanted, rtol=1e-6, atol=1e-7)
    assert relative(found, gradients) < 1e-6


def test_rounding_to_bf16_is_not_taken_for_another_computation(lively, tmp_path):
    """As of a pretrained model in mixed precision, whose logits are large."""
    trainer = build(lively, ThinkTuningTrainer, tmp_path, bf16=True)
    with torch.no_grad():
        trainer.model.get_output_embeddings().weight.mul_(30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trainer._layout(trainer.model) == "packed"
    hook = lambda module, args, output: output + output.roll(1, 1)  # noqa: E731
    trainer.model.get_input_embeddings().register_forward_hook(hook)
    trainer._layouts.clear()
    with pytest.warns(UserWarning, match="`packed` changes what LlamaForCausalLM computes"):
        assert trainer._layout(trainer.model) == "right"


@pytest.mark.parametrize("kind", ["virtual tokens", "invocation", "noise"])
def test_what_depends_on_the_rows_of_a_batch_stays_padded(tiny_model_dir, tmp_path, kind):
    from peft import LoraConfig, PromptTuningConfig

    task = {"task_type": "CAUSAL_LM"}
    lora = LoraConfig(target_modules="all-linear", alora_invocation_tokens=[5], **task)
    settings = {
        "virtual tokens": {"peft_config": PromptTuningConfig(num_virtual_tokens=2, **task)},
        "invocation": {"peft_config": lora},
        "noise": {"neftune_noise_alpha": 5},
    }[kind]
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, **settings)
    assert trainer._layout(trainer.model) == "padded"


def test_an_algorithm_with_hooks_must_say_that_advantage_zero_has_no_effect():
    assert GRPOAlgorithmConfig().build(None, None).separable
    config = ThinkTuningAlgorithmConfig()
    assert config.build(ScriptedTeacher(), "prompt").separable

    class Other(ThinkTuning):
        def loss(self, logps, inputs):
            return logps.sum()

    assert not Other(config, ScriptedTeacher(), "prompt").separable
    assert not SFTAlgorithmConfig().build(ScriptedTeacher(), "prompt").separable
