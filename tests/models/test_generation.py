"""The decoding loop: one seed gives what transformers' own loop gives, with less work."""

import copy
import inspect
import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria
from transformers.integrations.neftune import activate_neftune

from tests.helpers.tiny_models import CONFIGS, PAD, VOCABULARY, WORDS, batch, tiny
from thinktuning.models import decoding, generation
from thinktuning.models.generation import decoding as ours_inside
from thinktuning.models.generation import generate

PROMPTS = [[7, 8, 9], [7, 8, 9], [4], [5, 6, 7, 8, 9, 10], [7, 8, 9], [4]]
ENDS = [1, 2, 3, 4]
UNSUPPORTED = {  # and why
    "recurrent": "rows of its cache",
    "own inputs": "its own way",
    "own cache": "cache is not dynamic",
    "longest row": "the longest row",
}
SUPPORTED = [name for name in CONFIGS if name not in UNSUPPORTED]
SAMPLED = dict(do_sample=True, max_new_tokens=24, top_k=0, eos_token_id=ENDS, pad_token_id=PAD)


def sampled(generate, prompts=PROMPTS, seed=0, extra=None, **changes):
    """Return the tokens, and the state of the random generator afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = GenerationConfig(**(SAMPLED | changes))
        tokens = generate(**batch(prompts), generation_config=config, **(extra or {}))
        return tokens, torch.get_rng_state()


def assert_as_transformers(model, **how):
    """Check that both loops give the same; return the tokens."""
    expected, state = sampled(model.generate, **how)
    found, state_found = sampled(lambda **inputs: generate(model, **inputs), **how)
    assert torch.equal(found, expected)
    assert torch.equal(state_found, state)
    return found


@pytest.fixture
def reasons(caplog):
    """Why transformers' own loop generated, each time that it did."""
    caplog.set_level(logging.INFO, logger=generation.__name__)
    return lambda: [r.getMessage() for r in caplog.records if r.name == generation.__name__]


@pytest.fixture
def widths(monkeypatch):
    """(model, calls): the shape of the input of each of the model's forwards."""
    model = copy.deepcopy(tiny("llama"))
    shapes = []
    forward = model.forward

    def watched(*args, **kwargs):
        shapes.append(tuple(kwargs["input_ids"].shape))
        return forward(*args, **kwargs)

    watched.__signature__ = inspect.signature(forward)
    model.forward = watched
    return model, shapes


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_seed_gives_the_same_completions(name, seed, reasons):
    tokens = assert_as_transformers(tiny(name), seed=seed)
    assert len({tuple(row) for row in tokens.tolist()}) > 3
    assert not reasons()


@pytest.mark.parametrize("name", SUPPORTED)
def test_greedy_completions_are_the_same(name, reasons):
    assert_as_transformers(tiny(name), do_sample=False, eos_token_id=list(range(1, 20)))
    assert not reasons()


@given(
    prompts=st.lists(
        st.lists(st.sampled_from([4, 5]), min_size=1, max_size=4), min_size=1, max_size=9
    ),
    num_ends=st.integers(0, VOCABULARY - 1),
    budget=st.integers(1, 12),
    ended=st.sampled_from([0.01, 1 / 8, 0.5, 1.0]),
    how=st.sampled_from([{}, {"temperature": 0.7}, {"top_k": 5}, {"do_sample": False}]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_batch_is_completed_as_by_transformers(prompts, num_ends, budget, ended, how, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "ENDED", ended)
        ends = WORDS[:num_ends] or None
        changes = {"eos_token_id": ends, "max_new_tokens": budget} | how
        tokens = assert_as_transformers(tiny("llama"), prompts=prompts, seed=seed, **changes)
    longest = max(map(len, prompts))
    assert longest < tokens.shape[1] <= longest + budget


@pytest.mark.parametrize(
    "how",
    [
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"typical_p": 0.8},
        {"min_new_tokens": 6},
        {"min_length": 9},
        {"suppress_tokens": [8, 41]},
        {"renormalize_logits": True, "temperature": 0.5},
        {"remove_invalid_values": True, "temperature": 0.5},
        # these keep something for each row, or read its tokens
        {"repetition_penalty": 1.5},
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[33], [41, 8]]},
        {"exponential_decay_length_penalty": (3, 1.5)},
        {"forced_eos_token_id": 1},
        {"guidance_scale": 1.5},
        {"top_h": 0.5},
    ],
    ids=lambda how: next(iter(how)),
)
def test_logits_processors_are_transformers(how, reasons):
    plain = sampled(tiny("llama").generate)[0]
    found = [assert_as_transformers(tiny("llama"), seed=seed, **how) for seed in range(3)]
    assert not torch.equal(found[0], plain)
    assert not reasons()


class OfItsRow(LogitsProcessor):
    """Adds a bias that it keeps for each row of the batch, as a user's processor may."""

    def __init__(self, batch_size):
        self.bias = torch.randn(batch_size, VOCABULARY, generator=torch.Generator().manual_seed(0))

    def __call__(self, input_ids, scores):
        return scores + self.bias


def test_a_processor_sees_the_whole_batch():
    extra = {"logits_processor": LogitsProcessorList([OfItsRow(len(PROMPTS))])}
    tokens = assert_as_transformers(tiny("llama"), extra=extra)
    assert not torch.equal(tokens, sampled(tiny("llama").generate)[0])


def test_each_prompt_is_computed_once_and_rows_leave_when_they_end(widths):
    model, shapes = widths
    prompts = [[4, 5], [6, 7, 8]] * 16
    tokens, _ = sampled(lambda **inputs: generate(model, **inputs), prompts=prompts)
    (num_prefilled, length), *steps = shapes
    assert (num_prefilled, length) == (2, 3)
    said = tokens[:, length:]
    ended = torch.isin(said, torch.tensor(ENDS)).cummax(dim=1).values
    still_open = (~ended).sum(dim=0).tolist()[: len(steps)]  # after each token
    assert len(steps) == said.shape[1] - 1 > 10
    for (rows, one), needed in zip(steps, still_open, strict=True):
        assert one == 1 and needed <= rows <= max(needed, needed / (1 - decoding.ENDED))
    assert sum(rows for rows, _ in steps) < 0.7 * len(prompts) * len(steps)


def test_rows_that_all_end_at_once_end_the_batch(widths):
    model, shapes = widths
    tokens, _ = sampled(lambda **inputs: generate(model, **inputs), eos_token_id=WORDS)
    assert tokens.shape[1] == 7 and shapes == [(3, 6)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", ["llama", "bfloat16", "absolute positions"])
def test_on_a_gpu_a_seed_gives_what_multinomial_gives(name):
    model = copy.deepcopy(tiny(name)).cuda()
    inputs = {key: value.cuda() for key, value in batch(PROMPTS).items()}
    config = GenerationConfig(**SAMPLED)
    torch.manual_seed(0)
    expected, state = model.generate(**inputs, generation_config=config), torch.cuda.get_rng_state()
    torch.manual_seed(0)
    assert torch.equal(generate(model, **inputs, generation_config=config), expected)
    assert torch.equal(torch.cuda.get_rng_state(), state)


def test_noise_is_that_of_multinomial():
    for shape in [(3, 7), (50, 20_000)]:
        torch.manual_seed(5)
        expected, state = torch.empty(shape).exponential_(), torch.get_rng_state()
        torch.manual_seed(5)
        places = torch.arange(1, shape[0])
        found = decoding.noise(torch.empty(1, shape[1]), places, shape[0])
        assert torch.equal(torch.get_rng_state(), state)
        torch.testing.assert_close(found, expected[1:], rtol=2e-7, atol=0)
        assert (found == expected[1:]).float().mean() > 0.9999


@pytest.mark.parametrize("loop", [lambda model, **inputs: model.generate(**inputs), generate])
def test_probabilities_that_are_not_finite_are_an_error(loop):
    model = copy.deepcopy(tiny("llama"))
    with torch.no_grad():
        model.lm_head.weight[5] = torch.nan
    with pytest.raises(RuntimeError, match="probability tensor contains"):
        sampled(lambda **inputs: loop(model, **inputs))


class After(StoppingCriteria):
    def __call__(self, input_ids, scores, **_):
        return torch.full((len(input_ids),), input_ids.shape[1] > 10)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"num_beams": 2}, "beam_sample"),
        ({"num_beams": 2, "do_sample": False}, "beam_search"),
        ({"return_dict_in_generate": True, "output_scores": True}, "more than tokens"),
        ({"cache_implementation": "static"}, "cache is not dynamic"),
        ({"use_cache": False}, "cache is not dynamic"),
        ({"max_time": 100.0}, "MaxTimeCriteria"),
        ({"extra": {"stopping_criteria": [After()]}}, "After"),
        ({"extra": {"inputs_embeds": torch.zeros(6, 6, 32)}}, "inputs_embeds"),
    ],
)
def test_transformers_own_loop_where_ours_is_not_valid(how, reason, reasons):
    expected, state = sampled(tiny("llama").generate, **how)
    found, state_found = sampled(lambda **inputs: generate(tiny("llama"), **inputs), **how)
    if how.get("return_dict_in_generate"):
        assert len(found.scores) == len(expected.scores)
        found, expected = found.sequences, expected.sequences
    assert torch.equal(found, expected) and torch.equal(state_found, state)
    (said,) = reasons()
    assert reason in said


def test_with_sharded_weights_all_processes_take_each_step(reasons, monkeypatch):
    monkeypatch.setattr(generation, "is_deepspeed_zero3_enabled", lambda: True)
    assert_as_transformers(tiny("llama"))
    assert "sharded" in reasons()[0]
    assert_as_transformers(tiny("llama"), extra={"synced_gpus": False})  # a teacher that is whole
    assert len(reasons()) == 1


@pytest.mark.parametrize(("name", "reason"), UNSUPPORTED.items())
def test_models_that_ours_does_not_run(name, reason, reasons):
    assert_as_transformers(tiny(name))
    (said,) = reasons()
    assert reason in said


def test_dropout_that_is_on_belongs_to_the_sampling(reasons):
    """TRL samples in training mode."""
    assert_as_transformers(copy.deepcopy(tiny("llama")).train())
    assert not reasons()
    assert_as_transformers(copy.deepcopy(tiny("absolute positions")).train())  # GPT-2's: 0.1
    noisy = copy.deepcopy(tiny("llama")).train()
    activate_neftune(noisy, 5)
    assert_as_transformers(noisy)
    # as Llama, mixtures of experts and DBRX have them
    rates = {"self_attn": "attention_dropout", "mlp": "jitter_noise", "": "resid_pdrop"}
    for place, rate in rates.items():
        model = copy.deepcopy(tiny("llama")).train()
        setattr(model.model.layers[1].get_submodule(place), rate, 0.1)
        assert_as_transformers(model)
    assert ["dropout" in said for said in reasons()] == [True] * 5


@pytest.mark.parametrize("kind", ["lora", "alora", "prompt tuning"])
def test_peft_models(kind, reasons):
    lora = dict(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    config = {
        "lora": LoraConfig(**lora),
        "alora": LoraConfig(**lora, alora_invocation_tokens=PROMPTS[0][-1:]),
        "prompt tuning": PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM"),
    }[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = get_peft_model(copy.deepcopy(tiny("llama")), config).eval()
    tokens = assert_as_transformers(model)
    assert not torch.equal(tokens, sampled(tiny("llama").generate)[0])
    assert bool(reasons()) == (kind != "lora")
    with ours_inside(model) as calls:
        inside, _ = sampled(model.generate)
    assert torch.equal(inside, tokens) and len(calls) == 1
    assert "generate" not in vars(model.get_base_model())


def test_the_models_generate_is_ours_only_inside(widths):
    model, shapes = widths
    for loop in (True, False, True):
        shapes.clear()
        if loop:
            with ours_inside(model) as calls:
                sampled(model.generate)
            assert calls == ["LlamaForCausalLM"]
        else:
            sampled(model.generate)
        assert shapes[0][0] == (3 if loop else len(PROMPTS))
    assert "generate" not in vars(model)
