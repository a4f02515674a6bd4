"""Local teachers: order, budgets and token counts, on a tiny model with large weights."""

import copy
import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from thinktuning.models.chat import encode_chats, eos_ids, first_end, generate_ids
from thinktuning.models.prefix import PrefixCache
from thinktuning.teachers.local import LocalTeacher, SelfTeacher, frozen_copy

QUESTIONS = ["Why?", "4 - 1 - 7 =", "A long question, so that others are padded.", "Hm", "abc"]
CHATS = [[{"role": "user", "content": question}] for question in QUESTIONS]
BUDGET = 40


@pytest.fixture(scope="module")
def tokenizer(tiny_model_dir):
    return AutoTokenizer.from_pretrained(tiny_model_dir)


@pytest.fixture(scope="module")
def model(lively):
    return AutoModelForCausalLM.from_pretrained(lively, dtype="float32")


@pytest.fixture(scope="module")
def alone(model, tokenizer):
    """The completion of each chat on its own, token by token, without padding or cache."""
    completions = []
    for chat in CHATS:
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        said = []
        while len(said) < BUDGET and tokenizer.eos_token_id not in said:
            with torch.no_grad():
                logits = model(torch.tensor([ids + said]), use_cache=False).logits
            said.append(logits[0, -1].argmax().item())
        completions.append(said)
    assert len({tuple(said) for said in completions}) == len(CHATS)
    ended = [said[-1] == tokenizer.eos_token_id for said in completions]
    assert any(ended) and not all(ended), "choose other questions: both cases are needed"
    return completions


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_replies_are_in_the_order_of_the_chats(model, tokenizer, alone, batch_size):
    teacher = LocalTeacher(model, tokenizer, max_completion_length=BUDGET, batch_size=batch_size)
    replies = teacher.generate(CHATS)
    for reply, said in zip(replies, alone, strict=True):
        if said[-1] == tokenizer.eos_token_id:
            assert reply == tokenizer.decode([token for token in said if token < 256])
        else:  # the budget ran out
            assert len(said) == BUDGET and reply is None
    assert teacher.num_generated_tokens == sum(map(len, alone))
    teacher.generate(CHATS[:2])
    assert teacher.num_generated_tokens == sum(map(len, alone + alone[:2]))


def test_a_tokenizer_without_padding(lively, tokenizer, tmp_path):
    """For example Llama's: it pads with EOS, which is masked."""
    shutil.copytree(lively, tmp_path / "model")
    path = tmp_path / "model/tokenizer_config.json"
    settings = json.loads(path.read_text())
    del settings["pad_token"]
    path.write_text(json.dumps(settings))
    assert AutoTokenizer.from_pretrained(tmp_path / "model").pad_token is None
    expected = LocalTeacher.from_pretrained(lively, max_completion_length=BUDGET).generate(CHATS)
    teacher = LocalTeacher.from_pretrained(tmp_path / "model", max_completion_length=BUDGET)
    assert teacher.generate(CHATS) == expected


def test_no_chats_no_replies(model, tokenizer):
    teacher = LocalTeacher(model, tokenizer, max_completion_length=BUDGET)
    assert teacher.generate([]) == []
    assert teacher.num_generated_tokens == 0


def test_every_token_that_ends_a_turn_ends_a_reply(model, tokenizer, alone, monkeypatch):
    """Chat models often have two: the end of the turn and the end of the text."""
    cut = next(said for said in alone if said[-1] != tokenizer.eos_token_id)[5]
    monkeypatch.setattr(model.generation_config, "eos_token_id", [tokenizer.eos_token_id, cut])
    teacher = LocalTeacher(model, tokenizer, max_completion_length=BUDGET)
    ends = {cut, tokenizer.eos_token_id}
    lengths = [next((i + 1 for i, t in enumerate(s) if t in ends), BUDGET) for s in alone]
    replies = teacher.generate(CHATS)
    assert [reply is not None for reply in replies] == [length < BUDGET for length in lengths]
    assert teacher.num_generated_tokens == sum(lengths) < sum(map(len, alone))


def test_a_closed_teacher_raises(model, tokenizer):
    teacher = LocalTeacher(model, tokenizer, max_completion_length=BUDGET)
    teacher.close()
    with pytest.raises(RuntimeError, match="closed"):
        teacher.generate(CHATS)
    assert teacher.model is None


def test_the_teacher_is_frozen(tiny_model_dir, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32").train()
    teacher = LocalTeacher(model, tokenizer, max_completion_length=4)
    assert not teacher.model.training
    assert not any(weight.requires_grad for weight in teacher.model.parameters())


def test_left_padding_does_not_change_the_tokenizer(model, tokenizer, alone, monkeypatch):
    monkeypatch.setattr(tokenizer, "padding_side", "right")
    prompts = encode_chats(CHATS, tokenizer)
    assert generate_ids(model, tokenizer, prompts, BUDGET) == alone
    assert tokenizer.padding_side == "right"


def test_sampling_overrides_greedy(model, tokenizer, alone):
    prompts = encode_chats(CHATS, tokenizer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sampled = generate_ids(model, tokenizer, prompts, 10, do_sample=True, top_k=0)
    assert sampled != [said[:10] for said in alone]
    assert all(len(said) <= 10 for said in sampled)


@pytest.mark.parametrize(
    ("configured", "expected"),
    [(7, [7, 258]), ([9, 7], [7, 9, 258]), ([258, 7], [7, 258]), (None, [258])],
)
def test_eos_ids_are_the_models_and_the_tokenizers(
    model, tokenizer, monkeypatch, configured, expected
):
    monkeypatch.setattr(model.generation_config, "eos_token_id", configured)
    assert eos_ids(model, tokenizer) == expected


def test_first_end():
    assert first_end([5, 6, 2, 0, 2], [2]) == 3
    assert first_end([3, 5], [2, 3]) == 1
    assert first_end([5, 6], [2]) == 2
    assert first_end([], [2]) == 0


def shift(model, by=0.05):
    """Change every trainable weight, as training would."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += by


def with_adapter(model, trained):
    """Wrap a copy of the model in LoRA; if `trained`, the adapter changes its output."""
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = get_peft_model(copy.deepcopy(model), lora)
    if trained:
        shift(student)
    return student


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("tied", [True, False])
def test_the_copy_is_in_the_dtype_that_the_base_is_stored_in(lively, tmp_path, stored, tied):
    base = AutoModelForCausalLM.from_pretrained(lively, dtype=stored)
    if not tied:
        base.config.tie_word_embeddings = False
        base.lm_head.weight = torch.nn.Parameter(base.lm_head.weight.detach().clone())
    base.save_pretrained(tmp_path)
    expected = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto").state_dict()
    student = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float32")  # as it is trained
    copied = frozen_copy(student)
    assert str(copied.dtype) == str(copied.config.dtype) == f"torch.{stored}"
    assert all(torch.equal(w, expected[name]) for name, w in copied.state_dict().items())
    assert (copied.lm_head.weight is copied.model.embed_tokens.weight) == tied
    assert student.dtype == student.config.dtype == torch.float32
    own = {w.data_ptr() for w in student.parameters()}
    assert not own & {w.data_ptr() for w in copied.parameters()}
    frequencies = copied.model.rotary_emb.inv_freq  # no weight: computed in float32
    assert torch.equal(frequencies, student.model.rotary_emb.inv_freq)
    trained = student.train()
    shift(trained, 1e-3)  # in no half precision any more
    assert frozen_copy(trained).dtype == torch.float32


def test_the_copy_keeps_weights_in_float32_that_transformers_does(tmp_path):
    sizes = dict(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2)
    heads = dict(num_attention_heads=2, num_key_value_heads=2, moe_num_experts=2, moe_k=1)
    experts = dict(moe_intermediate_size=16, moe_layer_start_index=1)
    config = AutoConfig.for_model("ernie4_5_moe", **sizes, **heads, **experts)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(tmp_path)
    base = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="auto")
    with torch.no_grad():
        for weight in base.parameters():
            if weight.dtype == torch.float32:
                weight.normal_()
    base.save_pretrained(tmp_path)
    student = AutoModelForCausalLM.from_pretrained(tmp_path, dtype="float32")
    copied, expected = frozen_copy(student), base.state_dict()
    assert {w.dtype for w in expected.values()} == {torch.bfloat16, torch.float32}
    for name, weight in copied.state_dict().items():
        assert weight.dtype == expected[name].dtype and torch.equal(weight, expected[name]), name


def test_exemplars_are_computed_once(model, tokenizer, monkeypatch):
    monkeypatch.setattr(model.generation_config, "eos_token_id", list(range(32, 64)))
    shown = [{"role": "system", "content": "Exemplars, which all chats begin with."}]
    chats = [shown + chat for chat in CHATS]
    teacher = LocalTeacher(model, tokenizer, max_completion_length=BUDGET, batch_size=2)
    widths = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    replies = teacher.generate(chats)
    shared = len(teacher.prefix.ids)
    assert shared > len(shown[0]["content"])
    prefilled = [width for width in widths if width[1] > 1]
    assert prefilled[0] == (1, shared) and len(prefilled) == 4
    lengths = [len(ids) - shared for ids in encode_chats(chats, tokenizer)]
    assert prefilled[1][1] == max(lengths)
    widths.clear()
    assert teacher.generate(chats) == replies
    assert [width for width in widths if width[1] > 1] == prefilled[1:]
    hook.remove()
    one_by_one = []
    for chat in chats:
        alone = LocalTeacher(model, tokenizer, max_completion_length=BUDGET)
        alone.prefix = PrefixCache(model)
        alone.prefix.holds = False
        one_by_one += alone.generate([chat])
    assert replies == one_by_one and any(replies)
    teacher.close()
    assert teacher.prefix is None


@pytest.mark.parametrize("kind", ["full", "new adapter", "trained adapter"])
def test_the_self_teacher_keeps_the_students_initial_weights(model, tokenizer, kind):
    student = {
        "full": lambda: copy.deepcopy(model).requires_grad_(True),
        "new adapter": lambda: with_adapter(model, trained=False),
        "trained adapter": lambda: with_adapter(model, trained=True),
    }[kind]()
    prompts = encode_chats(CHATS, tokenizer)
    student.eval()
    # one of the sampled tokens is made an EOS, so that at least one reply ends
    said = generate_ids(student, tokenizer, prompts, 6)[0][-1]
    student.generation_config.eos_token_id = ends = [tokenizer.eos_token_id, said]
    at_the_start = generate_ids(student, tokenizer, prompts, BUDGET)
    unadapted = copy.deepcopy(model)
    unadapted.generation_config.eos_token_id = ends
    base = generate_ids(unadapted, tokenizer, prompts, BUDGET)
    assert (at_the_start != base) == (kind == "trained adapter")

    teacher = SelfTeacher(max_completion_length=BUDGET)
    teacher.attach(student, tokenizer)
    if kind != "full":  # no second copy of the model in memory
        assert sum(w.numel() for w in teacher.initial.values()) < 0.3 * sum(
            w.numel() for w in model.parameters()
        )
    student.train()
    shift(student)
    weights = {name: w.detach().clone() for name, w in student.named_parameters()}
    trained = {name for name, w in student.named_parameters() if w.requires_grad}
    expected = [
        tokenizer.decode(ids, skip_special_tokens=True) if ids[-1] in ends else None
        for ids in at_the_start
    ]
    assert teacher.generate(CHATS) == expected and any(expected)
    assert teacher.prefix.ids  # computed with the initial weights too, and kept
    assert teacher.generate(CHATS) == expected

    # and the student is unchanged
    assert student.training
    assert {name for name, w in student.named_parameters() if w.requires_grad} == trained
    assert all(torch.equal(w, weights[name]) for name, w in student.named_parameters())
    student.eval()
    assert generate_ids(student, tokenizer, prompts, BUDGET) != at_the_start
    teacher.close()
    assert teacher.model is None and not teacher.initial
    with pytest.raises(RuntimeError, match="closed"):
        teacher.generate(CHATS)


def test_a_self_teacher_that_gets_another_student_keeps_nothing_of_the_first(model, tokenizer):
    """As in a loop over seeds: not even the exemplars' keys and values."""
    expected = LocalTeacher(model, tokenizer, max_completion_length=BUDGET).generate(CHATS)
    teacher = SelfTeacher(max_completion_length=BUDGET)
    teacher.attach(with_adapter(model, trained=True), tokenizer)
    assert teacher.generate(CHATS) != expected
    teacher.attach(model, tokenizer)
    assert teacher.generate(CHATS) == expected and not teacher.initial
