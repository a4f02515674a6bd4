"""lm-eval's models as they are used here: special tokens, and settings that are refused."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from evaluate_job import evaluation
from transformers import AutoTokenizer

from thinktuning.data.config import PromptConfig
from thinktuning.data.prompt import student_chat
from thinktuning.evaluation.lm import recording_model
from thinktuning.io.errors import StudyError


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
    ids, _ = recording_model(directory, evaluation()).tok_batch_encode([rendered])
    assert ids.tolist() == [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    ]


def test_vllm_that_is_not_installed_is_refused(tiny_model_dir):
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed; tests/integration/test_vllm.py uses it")
    changed = evaluation().model_copy(update={"backend": "vllm"})
    with pytest.raises(StudyError, match="is vllm, which is not installed"):
        recording_model(tiny_model_dir, changed)


def test_removing_thoughts_from_answers_is_refused(tiny_model_dir):
    """The recorded length would be that of another text."""
    changed = evaluation().model_copy(update={"model_args": {"think_end_token": "</think>"}})
    with pytest.raises(StudyError, match=r"evaluation\.model_args\.think_end_token: .*remove it"):
        recording_model(tiny_model_dir, changed)
