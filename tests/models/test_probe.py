"""A saved model that predicts something else than the trained one is refused."""

import pytest
import torch
from peft import LoraConfig
from trainers import build
from transformers import AutoModelForCausalLM

from thinktuning.io.errors import StudyError
from thinktuning.models.probe import largest_difference, saved_as_trained
from thinktuning.trainer.trainer import ThinkTuningTrainer


def adapted(directory, output, **lora):
    """Return a trainer whose adapter has random weights, as if it were trained."""
    config = LoraConfig(task_type="CAUSAL_LM", r=4, **lora)
    trainer = build(directory, ThinkTuningTrainer, output, peft_config=config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            if weight.requires_grad:
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
    return trainer


def save(trainer, directory, change=lambda model: model):
    """Save a trainer's model as the train stage does, after a change to it."""
    tokenizer = trainer.processing_class
    with saved_as_trained(trainer, tokenizer, directory):
        model = trainer.model
        model = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
        change(model).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize("name", ["likely_eos", "tiny_model_dir"])
@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": "all-linear"},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
)
def test_a_merged_adapter_is_the_same_model(name, lora, tmp_path, request):
    """Also where the head is tied to the embedding, which PEFT unties if the head is trained."""
    directory = request.getfixturevalue(name)
    save(adapted(directory, tmp_path / "a", **lora), tmp_path / "model")


@pytest.mark.filterwarnings("ignore:Model with:UserWarning")  # PEFT's, of what is tested
def test_an_adapter_on_a_tied_embedding_is_another(tiny_model_dir, tmp_path):
    """Merging changes the head too; `check_adapter` refuses it before training."""
    trainer = adapted(tiny_model_dir, tmp_path / "a", target_modules=["embed_tokens"])
    with pytest.raises(StudyError, match=r"model: is not the model that was trained: .* nats"):
        save(trainer, tmp_path / "model")


def unmerged(model):
    """Add to one weight what an adapter of a small learning rate would."""
    with torch.no_grad():
        model.model.layers[0].self_attn.v_proj.weight += 0.02
    return model


def padded(model):
    """Give the model one more token."""
    model.resize_token_embeddings(model.config.vocab_size + 1)
    return model


def broken(model):
    """Make a weight NaN."""
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (unmerged, "differ by up to"),
        (padded, "differ by up to inf nats"),
        (broken, "weights that are not finite"),
        (lambda model: model.to(torch.bfloat16), "differ by up to"),
    ],
)
def test_other_changes_in_saving_are_refused(likely_eos, tmp_path, change, message):
    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path / "a")
    with pytest.raises(StudyError, match=message):
        save(trainer, tmp_path / "model", change)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_trained_model_is_saved_as_it_is(likely_eos, tmp_path, bf16):
    """In bfloat16 too, as the weights are float32 and so is the comparison."""
    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path / "a", max_steps=2, bf16=bf16)
    trainer.train()
    save(trainer, tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_infinities_are_equal():
    """Of a token that a model's head excludes."""
    a = torch.tensor([[0.0, -torch.inf], [1.0, 2.0]])
    assert largest_difference(a, a) == 0
    assert largest_difference(a, a + torch.tensor([0.0, 3.0])) == 3
    assert largest_difference(a, a[:1]) == float("inf")
    assert not largest_difference(a, a * torch.nan) <= 100
