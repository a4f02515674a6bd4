"""Nothing of a model's generation config but the ends of a turn reaches those who sample."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from thinktuning.commands.model import materialize
from thinktuning.evaluation.config import EvaluationConfig
from thinktuning.evaluation.lm import recording_model
from thinktuning.models.chat import encode_chats, generate_ids, only_turn_ends
from thinktuning.models.config import PathModelConfig
from thinktuning.teachers.local import LocalTeacher

OWN = {
    "do_sample": True,
    "min_p": 0.9,
    "min_new_tokens": 12,
    "repetition_penalty": 1.7,
    "no_repeat_ngram_size": 1,
    "suppress_tokens": [65, 66, 67],
    "forced_bos_token_id": 70,
    "begin_suppress_tokens": [68],
    "stop_strings": ["e"],
    "top_k": 3,
    "max_time": 0.001,
    "num_beams": 2,
}
CHATS = [[{"role": "user", "content": f"What is {i}+1?"}] for i in range(6)]


@pytest.fixture(scope="module")
def opinionated(lively, tmp_path_factory):
    """A model whose generation config wants a lot."""
    directory = tmp_path_factory.mktemp("models") / "opinionated"
    shutil.copytree(lively, directory)
    path = directory / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | OWN))
    return directory


def load(directory):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
    return model, AutoTokenizer.from_pretrained(directory)


def test_every_other_field_is_at_its_default(opinionated):
    model, tokenizer = load(opinionated)
    ours = only_turn_ends(model, tokenizer).to_diff_dict()
    assert ours.keys() <= {"eos_token_id", "pad_token_id", "transformers_version"}
    assert ours["eos_token_id"] == [tokenizer.eos_token_id]


def test_a_teacher_replies_as_its_weights_say(lively, opinionated):
    replies = [
        LocalTeacher.from_pretrained(directory, max_completion_length=8).generate(CHATS)
        for directory in (lively, opinionated)
    ]
    assert replies[0] == replies[1]


def test_greedy_and_sampled_completions(lively, opinionated):
    said = []
    for directory in (lively, opinionated):
        model, tokenizer = load(directory)
        own = model.generation_config
        prompts = encode_chats(CHATS, tokenizer)
        torch.manual_seed(0)
        sampled = generate_ids(
            model, tokenizer, prompts, 8, do_sample=True, temperature=1.0, top_k=0
        )
        said.append((generate_ids(model, tokenizer, prompts, 8), sampled))
        assert model.generation_config is own  # the caller's model is as it was
    assert said[0] == said[1]


def test_a_materialized_model_keeps_the_ends_alone(opinionated, tmp_path):
    materialize(PathModelConfig(source="path", path=str(opinionated)), tmp_path, tmp_path / "base")
    kept = GenerationConfig.from_pretrained(tmp_path / "base").to_diff_dict()
    names = {"bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}
    assert kept.keys() <= names and "eos_token_id" in kept
    assert "min_p" in (opinionated / "generation_config.json").read_text()  # the user's own stays


def test_evaluation(opinionated):
    spec = EvaluationConfig(temperature=1.0, max_gen_toks=8, batch_size=2)
    lm = recording_model(opinionated, spec)
    diff = lm.model.generation_config.to_diff_dict()
    assert diff.keys() <= {"eos_token_id", "pad_token_id", "transformers_version"}
