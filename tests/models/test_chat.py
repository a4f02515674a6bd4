"""Chats as tokens: what is spelled out in them stays text, and a text continues another exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thinking import THINKING
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from thinktuning.io.errors import StudyError
from thinktuning.models.chat import (
    check_options,
    check_variables,
    continuation,
    encode_chats,
    encode_text,
    turn_end,
    without_thoughts,
)

CONTROL = ("<|pad|>", "<|im_start|>", "<|im_end|>")
TEXTS = st.lists(
    st.one_of(st.sampled_from([*CONTROL, "\n\n", " ", "user\n"]), st.text(max_size=6)), max_size=5
).map("".join)


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir):
    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="module")
def thinking(tiny_model_dir):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    tokenizer.chat_template = THINKING
    return tokenizer


@pytest.fixture(scope="module")
def sentencepiece():
    """A tokenizer that writes a space before every text: at its start, `\n` decodes to ` \n`."""
    pieces = ["<unk>", "</s>", "\u2581", *map(chr, range(33, 127)), "\n", "\n\n", ".\n"]
    backend = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[("\n", "\n"), (".", "\n")],
            unk_token="<unk>",
        )
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", eos_token="</s>")


@given(system=TEXTS, question=TEXTS, answer=TEXTS)
def test_only_the_template_writes_control_tokens(tokenizer, system, question, answer):
    roles = ["system", "user", "assistant", "user"]
    texts = [system, question, answer, "Why?"]
    chat = [{"role": r, "content": text} for r, text in zip(roles, texts, strict=True)]
    (ids,) = encode_chats([chat], tokenizer)
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert [token for token in ids if token > 255] == [start, end] * 4 + [start]
    assert tokenizer.decode(ids) == tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=False
    )
    if not any(token in text for token in CONTROL for text in texts):
        assert [ids] == tokenizer.apply_chat_template(
            [chat], add_generation_prompt=True, return_dict=False
        )


@given(before=TEXTS, text=TEXTS)
def test_a_continuation_decodes_to_exactly_the_text(tokenizer, before, text):
    start = encode_text(before, tokenizer)
    ids = continuation(start, text, tokenizer)
    assert ids == encode_text(text, tokenizer)
    assert tokenizer.decode([*start, *ids], skip_special_tokens=True) == before + text
    assert all(token < 256 for token in ids)


@pytest.mark.parametrize("before", ["It is 7.", "7", "So:\n", "\\boxed{7}"])
@pytest.mark.parametrize("text", ["\n\nWait, no.\n\nIt is 8.", "\n\n</s> it is", "\n\n\n8"])
def test_a_continuation_under_sentencepiece(sentencepiece, before, text):
    """Encoded alone, the text would begin with a space that nobody wrote."""
    start = sentencepiece.encode(before, add_special_tokens=False)
    alone = encode_text(text, sentencepiece)
    assert sentencepiece.decode([*start, *alone]) == f"{before} {text}"
    ids = continuation(start, text, sentencepiece)
    assert sentencepiece.decode([*start, *ids], skip_special_tokens=True) == before + text
    assert sentencepiece.eos_token_id not in ids


def test_a_text_that_cannot_be_encoded_has_no_continuation(sentencepiece):
    assert continuation([3], "\n\n\u00e9", sentencepiece) is None


def test_the_variables_of_a_template(thinking):
    chat = [{"role": "user", "content": "1 + 1 ="}]
    (plain,), (closed,) = (
        encode_chats([chat], thinking, options) for options in ({}, {"enable_thinking": False})
    )
    assert thinking.decode(closed) == thinking.decode(plain) + "<think>\n\n</think>\n\n"
    check_variables(thinking, {"enable_thinking": False}, "model")
    with pytest.raises(
        StudyError, match=r"model: .* does not read \['enable_thinkin'\].*enable_thinking"
    ):
        check_variables(thinking, {"enable_thinkin": False}, "model")
    with pytest.raises(ValueError, match="add_generation_prompt"):
        check_options({"add_generation_prompt": False, "enable_thinking": True})


def test_the_end_of_a_turn_is_the_templates(tokenizer, thinking):
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert turn_end(tokenizer, [5, end]) == turn_end(thinking, [5, end]) == end


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("It is 7.", "It is 7."),
        ("<think>\n\n</think>\n\nIt is 7.", "\n\nIt is 7."),
        ("Is it 8? No.</think>It is 7.", "It is 7."),  # the template has opened the block
        ("<think>Is it 8?", "<think>Is it 8?"),  # not closed: no answer begins
    ],
)
def test_a_closed_thinking_block_is_skipped(reply, answer):
    assert without_thoughts(reply) == answer
