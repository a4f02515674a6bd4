"""What prompts begin with, computed once: the same completions, with fewer tokens computed."""

import copy
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.tiny_models import CONFIGS, PAD, WORDS, tiny
from thinktuning.models.chat import generate_ids, padded
from thinktuning.models.prefix import PrefixCache, common_prefix

HOLDS = ["llama", "tied", "grouped queries", "bfloat16", "absolute positions"]
SHARED = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
RESTS = [[15, 16, 17], [18], [19, 20], [18], [21, 22, 23, 24, 25]]
PROMPTS = [SHARED + rest for rest in RESTS]
TOKENIZER = SimpleNamespace(pad_token_id=PAD, eos_token_id=1)  # what `generate_ids` reads of one


def complete(model, prompts, prefix=None, **how):
    return generate_ids(model, TOKENIZER, prompts, 12, prefix=prefix, **how)


@pytest.mark.parametrize("name", HOLDS)
def test_completions_are_those_without_a_prefix(name):
    """For bfloat16 too, on these models; in general, rounding may decide between two tokens."""
    model = tiny(name)
    prefix = PrefixCache(model)
    prefix.share(PROMPTS)
    assert prefix.ids == SHARED
    expected = complete(model, PROMPTS)
    assert len({tuple(ids) for ids in expected}) == 4
    for _ in range(2):  # the cache that is kept does not change
        assert complete(model, PROMPTS, prefix) == expected
        assert prefix.cache.get_seq_length() == len(SHARED)
    torch.manual_seed(0)
    sampled = complete(model, PROMPTS, do_sample=True, top_k=0)
    torch.manual_seed(0)
    assert complete(model, PROMPTS, prefix, do_sample=True, top_k=0) == sampled


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - set(HOLDS)))
def test_models_for_which_columns_count_hold_no_prefix(name):
    model = tiny(name)
    prefix = PrefixCache(model)
    prefix.share(PROMPTS)
    assert not prefix.ids and prefix.rows(3) is None
    assert complete(model, PROMPTS, prefix) == complete(model, PROMPTS)


def test_a_prompt_tuned_model_holds_no_prefix():
    from peft import PromptTuningConfig, get_peft_model

    config = PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = get_peft_model(copy.deepcopy(tiny("llama")), config).eval()
    prefix = PrefixCache(model)
    prefix.share(PROMPTS)
    assert not prefix.ids


@given(
    prompts=st.lists(
        st.lists(st.sampled_from(WORDS[4:7]), min_size=1, max_size=6), min_size=1, max_size=5
    ),
    later=st.lists(
        st.lists(st.sampled_from(WORDS[4:7]), min_size=1, max_size=6), min_size=1, max_size=5
    ),
)
@settings(max_examples=30, deadline=None)
def test_any_prompts_one_call_after_another(prompts, later):
    model = tiny("llama")
    prefix = PrefixCache(model)
    for some in (prompts, later, prompts):
        prefix.share(some)
        assert all(ids[: len(prefix.ids)] == prefix.ids and ids != prefix.ids for ids in some)
        assert complete(model, some, prefix) == complete(model, some)


def test_it_is_computed_once():
    model = copy.deepcopy(tiny("llama"))
    computed = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: computed.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    prefix = PrefixCache(model)

    def prefilled(prompts):
        computed.clear()
        prefix.share(prompts)
        complete(model, prompts, prefix)
        return [shape for shape in computed if shape[1] > 1]

    assert prefilled(PROMPTS) == [(1, len(SHARED)), (4, 5)]
    assert prefilled(PROMPTS) == [(4, 5)]
    # other lengths are computed anew, so that replies do not depend on earlier calls
    longer = [SHARED + rest for rest in ([15, 16, 30], [15, 16, 31, 32])]
    assert prefilled(longer) == [(1, len(SHARED) + 2), (2, 2)]
    assert prefilled([PROMPTS[4]]) == [(1, len(PROMPTS[4]) - 1)]
    assert prefilled(PROMPTS) == [(1, len(SHARED)), (4, 5)] and prefix.ids == SHARED
    # other exemplars
    other = [[ids[0], *reversed(SHARED), *ids[len(SHARED) :]] for ids in PROMPTS]
    assert prefilled(other) == [(1, len(SHARED) + 1), (4, 5)]


def test_what_is_held_does_not_depend_on_earlier_calls():
    """A training that resumes has made none of them."""
    model = tiny("bfloat16")
    some, fresh = PrefixCache(model), PrefixCache(model)
    for prompts in (PROMPTS[:1], [SHARED[:3] + rest for rest in RESTS], PROMPTS):
        some.share(prompts)
    fresh.share(PROMPTS)
    assert some.ids == fresh.ids
    for one, other in zip(some.cache.layers, fresh.cache.layers, strict=True):
        assert torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)


def test_no_prompts():
    prefix = PrefixCache(tiny("llama"))
    prefix.share([])
    assert not prefix.ids


def test_padding_stands_after_what_is_shared():
    ids, mask = padded([[1, 2, 3], [1, 2, 4, 5]], 0, shared=2)
    assert ids.tolist() == [[1, 2, 0, 3], [1, 2, 4, 5]]
    assert mask.tolist() == [[1, 1, 0, 1], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [([[1, 2], [1, 2, 3]], [1, 2]), ([[1, 2], [3]], []), ([[], [1]], []), ([[4, 5]], [4, 5])],
)
def test_common_prefix(rows, expected):
    assert common_prefix(rows) == expected
