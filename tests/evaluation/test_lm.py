"""lm-eval's models as they are used here: special tokens, and settings that are refused."""

import importlib.util
import shutil
from functools import wraps
from pathlib import Path

import pytest
import torch
from evaluate_job import evaluation
from pydantic import ValidationError
from transformers import AutoTokenizer

from thinktuning.data.config import PromptConfig
from thinktuning.data.prompt import student_chat
from thinktuning.evaluation.config import EvaluationConfig
from thinktuning.evaluation.lm import recording_model
from thinktuning.io.errors import StudyError
from thinktuning.models import generation
from thinktuning.models.decodable import UnsupportedError


def test_only_the_chat_template_writes_special_tokens(tiny_model_dir, tmp_path):
    from tokenizers.processors import TemplateProcessing

    directory = Path(shutil.copytree(tiny_model_dir, tmp_path / "model"))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", 256)]
    )
    tokenizer.bos_token = "<|pad|>"
    tokenizer.save_pretrained(directory)
    assert tokenizer("7")["input_ids"] == [256, tokenizer.convert_tokens_to_ids("7")]
    chat = student_chat("7", PromptConfig())
    rendered = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    lm = recording_model(directory, evaluation())
    assert lm.apply_chat_template(chat) == rendered
    assert lm.prompt_ids == {
        rendered: tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    }


def test_samples_of_a_question_are_prefilled_once_and_answers_are_transformers(
    likely_eos, monkeypatch
):
    lm = recording_model(likely_eos, evaluation())
    prompts = [[20, 21], [30, 31, 32, 33]] * 4
    shapes = []
    forward = lm.model.forward
    monkeypatch.setattr(
        lm.model,
        "forward",
        wraps(forward)(
            lambda **inputs: shapes.append(inputs["input_ids"].shape) or forward(**inputs)
        ),
    )

    def answers():
        shapes.clear()
        torch.manual_seed(0)
        how = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_gen_toks": 16, "until": []}
        return lm.complete(prompts, how)

    found = answers()
    assert shapes[0] == (2, 4) and shapes[-1][0] < len(prompts)
    assert len({answer.num_tokens for answer in found}) > 1

    def refuse(*_, **__):
        raise UnsupportedError("for this test")

    monkeypatch.setattr(generation, "decode", refuse)
    assert answers() == found
    assert shapes[0] == (8, 4) and shapes[-1][0] == len(prompts)


def test_vllm_that_is_not_installed_is_refused(tiny_model_dir):
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed; tests/integration/test_vllm.py uses it")
    changed = evaluation().model_copy(update={"backend": "vllm"})
    with pytest.raises(StudyError, match="is vllm, which is not installed"):
        recording_model(tiny_model_dir, changed)


@pytest.mark.parametrize(
    ("backend", "refused"),
    [
        ("hf", {"enable_thinking": False}),
        ("hf", {"chat_template_args": {"enable_thinking": False}}),
        ("hf", {"think_end_token": "</think>"}),  # the recorded length would be of another text
        ("hf", {"add_bos_token": True}),
        ("hf", {"prefix_token_id": 0}),
        ("hf", {"tokenizer": "another"}),
        ("hf", {"truncation": True}),
        ("hf", {"peft": "an/adapter"}),
        ("hf", {"pretrained": "another"}),
        ("vllm", {"enable_thinking": True}),
        ("vllm", {"tokenizer_mode": "slow"}),
        ("vllm", {"lora_local_path": "an/adapter"}),
        ("vllm", {"truncation_side": "right"}),
        ("vllm", {"nobody_knows_this": 1}),
    ],
)
def test_arguments_that_change_the_prompt_or_the_model_are_refused(backend, refused):
    values = evaluation().model_dump() | {"backend": backend}
    allowed = {"dtype": "bfloat16", "max_length": 512}
    EvaluationConfig.model_validate(values | {"model_args": allowed})
    with pytest.raises(ValidationError, match=rf"{next(iter(refused))}.*chat_template_kwargs"):
        EvaluationConfig.model_validate(values | {"model_args": allowed | refused})
