"""Log-probabilities without padding: the same values and gradients, fewer positions."""

import pytest
import torch
import trl.trainer.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModelForCausalLM
from unpadded import Positions, all_inputs, grouped_batch, relative

from thinktuning.models.layouts import layout_of
from thinktuning.trainer.packing import Row, cheapest_bins, fill_bins
from thinktuning.trainer.padding import Unpadded

if not hasattr(trl.trainer.utils, "add_fused_lm_head"):
    pytest.skip("needs TRL's fused LM head", allow_module_level=True)

SMALL = dict(
    vocab_size=250,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    head_dim=16,
    max_position_embeddings=128,
    pad_token_id=0,
    bos_token_id=1,
    eos_token_id=2,
)
SINGLE = ("bloom", "deepseek_v4", "mixtral", "qwen3_moe")  # cannot compute in double precision
LENGTHS = [(5, [9, 3, 1, 6]), (11, [2, 2, 7, 4]), (1, [5, 8]), (3, [0, 12])]


def new_model(name, **options):
    """Return a model of an architecture, with weights for which another attention shows."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **SMALL | options)
    model = AutoModelForCausalLM.from_config(config).eval()  # without dropout
    if name not in SINGLE and config._attn_implementation != "eager":
        model = model.double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(*{2: (0, 0.1), 1: (1, 0.3)}.get(weight.ndim, (0, 0.02)))
    trl.trainer.utils.add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return model


def scored(call, model, batch):
    """Return log-probabilities and entropies, and the gradients of a function of both."""
    ids, mask, length = all_inputs(batch)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-length] = -100
    out = call(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    weights = torch.randn(out.log_probs.shape, generator=torch.Generator().manual_seed(3))
    model.zero_grad()
    (out.log_probs * weights + 0.3 * out.entropy * weights.flip(0)).sum().backward()
    gradients = [w.grad for w in model.parameters() if w.grad is not None]
    return [out.log_probs.detach()], [out.entropy.detach()], gradients


def assert_equal(model, layout, batch):
    """Compare a layout with the padded computation; return how many positions each computes."""
    positions = Positions(model)
    padded = scored(model, model, batch)
    before, positions.count = positions.count, 0
    unpadded = Unpadded(model, model, layout, batch["prompt_ids"].size(1))
    limit = 1e-6 if model.dtype == torch.float64 else 3e-6  # rounding, and larger weights
    for found, wanted in zip(scored(unpadded, model, batch), padded, strict=True):
        assert relative(found, wanted) < limit
    return before, positions.count


@pytest.mark.parametrize("layout", ["packed", "trimmed", "right"])
@pytest.mark.parametrize("tied", [True, False])
def test_values_and_gradients_equal_the_padded_ones(layout, tied):
    model = new_model("llama", tie_word_embeddings=tied)
    assert_equal(model, layout, grouped_batch(LENGTHS))


@pytest.mark.parametrize(
    ("name", "options", "layout"),
    [
        ("llama", {}, "packed"),
        ("llama", {"attn_implementation": "eager"}, "trimmed"),
        ("qwen2", {}, "packed"),
        ("qwen3", {}, "packed"),
        ("mistral", {"sliding_window": None}, "packed"),
        ("mistral", {"sliding_window": 4}, "trimmed"),
        ("gemma", {}, "packed"),
        ("gemma3_text", {"sliding_window": 4}, "trimmed"),
        ("phi3", {}, "packed"),
        ("olmo2", {}, "packed"),
        ("smollm3", {}, "packed"),
        ("granite", {}, "packed"),
        ("gpt_neox", {}, "packed"),
        ("hunyuan_v1_dense", {}, "packed"),  # normalizes queries and keys that are rotated already
        ("hunyuan_v1_dense", {"attn_implementation": "eager"}, "trimmed"),
        ("qwen3_moe", {"num_experts": 4, "num_experts_per_tok": 2}, "packed"),
        ("mixtral", {"num_local_experts": 4, "output_router_logits": True}, "trimmed"),
        ("gpt2", {"n_embd": 32, "n_head": 2, "n_layer": 2, "n_positions": 128}, "right"),
        ("opt", {"ffn_dim": 48, "word_embed_proj_dim": 32}, "right"),
        ("bloom", {"n_head": 2, "n_layer": 2}, "right"),
        ("gpt_neo", {"num_layers": 2, "attention_types": [[["global", "local"], 1]]}, "right"),
    ],
)
def test_the_layout_of_an_architecture_changes_nothing(name, options, layout):
    model = new_model(name, **options)
    assert layout_of(model) == layout
    assert_equal(model, layout, grouped_batch(LENGTHS))


def test_alibi_is_no_rotary_position():
    """Falcon's configuration names a rotary type even then."""
    from transformers import FalconConfig, FalconForCausalLM

    sizes = dict(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    model = FalconForCausalLM(FalconConfig(**sizes, alibi=True, bos_token_id=1, eos_token_id=2))
    assert layout_of(model) == "right"


def test_positions_that_depend_on_the_longest_row_stay_padded():
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert layout_of(new_model("llama", rope_parameters=rope)) == "padded"


def test_attention_to_selected_columns_stays_padded():
    """Padding is among what an indexer selects from, so that its amount changes the rest."""
    options = {"index_topk": 6, "index_n_heads": 2, "index_head_dim": 16, "num_hidden_layers": 4}
    options |= {"qk_rope_head_dim": 8, "q_lora_rank": 8}
    options |= {"n_routed_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2}
    model = new_model("deepseek_v4", **options)
    ids, mask, _ = all_inputs(grouped_batch([(25, [19, 3]), (1, [5, 18]), (13, [22])]))
    found = [
        model(input_ids=pad(ids, (0, more)), attention_mask=pad(mask, (0, more))).logits
        for more in (0, 5)
    ]
    logits, padded = (each[:, : ids.size(1)][mask.bool()] for each in found)
    assert (logits - padded).abs().max() > 0.01
    assert layout_of(model) == "padded"


def test_padding_inside_a_completion_is_computed_as_it_is():
    model, batch = new_model("llama"), grouped_batch(LENGTHS)
    batch["completion_mask"][:, 1] = 0
    before, after = assert_equal(model, "packed", batch)
    assert before == after


groups = st.tuples(st.integers(1, 12), st.lists(st.integers(0, 15), min_size=1, max_size=5))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(groups, min_size=1, max_size=4),
    st.sampled_from(["packed", "trimmed", "right"]),
    st.integers(0, 99),
)
def test_random_batches(lengths, layout, seed):
    if not any(c for _, cs in lengths for c in cs):
        lengths = [*lengths, (2, [1])]
    assert_equal(MODEL, layout, grouped_batch(lengths, seed=seed))


MODEL = new_model("llama")


def test_a_batch_without_labels_has_zero_gradients():
    batch = grouped_batch([(4, [0, 0]), (2, [0])])
    ids, mask, length = all_inputs(batch)
    labels = torch.full_like(ids, -100)
    for layout in ("packed", "trimmed", "right"):
        out = Unpadded(MODEL, MODEL, layout, ids.size(1) - length)(ids, mask, labels)
        assert (out.log_probs == 0).all()
        gradients = torch.autograd.grad(out.log_probs.sum(), list(MODEL.parameters()))
        assert all((g == 0).all() for g in gradients)


def skewed(num_prompts, num_completions, prompt, mean, longest):
    """Return lengths whose completions have about this mean, and a long tail."""
    generator = torch.Generator().manual_seed(0)

    def length():
        drawn = torch.empty(1).exponential_(1 / mean, generator=generator)
        return min(longest, 1 + int(drawn))

    start, end = prompt
    prompts = torch.randint(start, end, (num_prompts,), generator=generator).tolist()
    return [(p, [length() for _ in range(num_completions)]) for p in prompts]


@pytest.mark.parametrize(
    ("layout", "num_completions", "limit"),
    [("packed", 8, 0.75), ("packed", 1, 1.1), ("trimmed", 8, 1.3), ("trimmed", 1, 1.3)],
)
def test_hardly_any_position_is_padding(layout, num_completions, limit):
    """Also without a prompt to share; padded, there are twice as many positions or more."""
    lengths = skewed(64 // num_completions, num_completions, (15, 25), 20, 90)
    batch = grouped_batch(lengths)
    ids, mask, length = all_inputs(batch)
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :-length] = -100
    positions = Positions(model := new_model("llama"))
    with torch.no_grad():
        Unpadded(model, model, layout, ids.size(1) - length)(ids, mask, labels)
    assert ids.numel() > 2 * mask.sum()
    assert positions.count <= limit * mask.sum()


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 40)), min_size=1, max_size=30),
    st.integers(44, 200),
)
def test_bins_hold_each_row_once_and_are_not_overfull(pairs, capacity):
    rows = [Row(i, (p,) * (p + 1), c) for i, (p, c) in enumerate(pairs)]
    by_prompt = [[r for r in rows if r.prompt == (p,) * (p + 1)] for p in {p for p, _ in pairs}]
    for bins, width in (fill_bins(by_prompt, capacity), cheapest_bins(rows, 192)):
        assert sorted(r for b in bins for g in b for r in g) == sorted(rows)
        assert all(len({r.prompt for r in g}) == 1 for b in bins for g in b)
        sizes = [sum(len(g[0].prompt) + sum(r.length for r in g) for g in b) for b in bins]
        assert max(sizes) == width
    assert max(fill_bins(by_prompt, capacity)[1], 0) <= capacity
