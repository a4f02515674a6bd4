"""In what order a warm-up trains: every step has what comes next, whatever its length."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktuning.commands import warmup
from thinktuning.commands.warmup import in_steps, micro_batch, train
from thinktuning.data.config import PromptConfig
from thinktuning.models.config import WarmupConfig
from thinktuning.study.jobs import WarmupJob

SPEC = {"max_steps": 3, "learning_rate": 1e-2, "batch_size": 6, "max_length": 64}


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=20),
    steps=st.integers(1, 6),
    size=st.integers(1, 8),
)
def test_steps_take_rows_in_order_and_each_as_often(lengths, steps, size):
    rows = [{"input_ids": [i] * n, "completion_mask": [1] * n} for i, n in enumerate(lengths)]
    spec = WarmupConfig(**SPEC | {"max_steps": steps, "batch_size": size})
    found = in_steps(rows, spec)
    assert len(found) == steps * size
    assert found == in_steps(rows, spec)
    numbers = [row["input_ids"][0] for row in found]
    for step in range(steps):
        taken = [len(rows[i]["input_ids"]) for i in numbers[step * size : (step + 1) * size]]
        assert taken == sorted(taken)
    whole = min(len(rows) // size, steps)  # steps with rows of the first round only
    for step in range(whole):
        assert sorted(numbers[step * size : (step + 1) * size]) == list(
            range(step * size, (step + 1) * size)
        )
    counts = [numbers.count(i) for i in range(len(rows))]
    assert max(counts) - min(counts) <= 1 + (len(rows) % size > 0)


def test_micro_batches_divide_a_step():
    assert [micro_batch(n) for n in (1, 7, 8, 13, 24, 32, 36)] == [1, 7, 8, 1, 8, 8, 6]


def test_micro_batches_give_the_gradient_of_the_step(tiny_model_dir, tmp_path, monkeypatch):
    """The mean over the reply tokens of a step, which are unlike in its micro-batches."""
    rows = [
        {"input_ids": [5 + i, *range(7, 7 + n), 2], "completion_mask": [0] + [1] * (n + 1)}
        for i, n in enumerate([1, 9, 2, 7, 3, 8, 1, 5, 20])
    ]
    job = WarmupJob(
        answer_kind="number",
        prompt=PromptConfig(),
        teacher_prompt=None,
        behaviors=None,
        warmup=SPEC,
        chat_template_kwargs={},
    )
    weights = {}
    for at_once in (2, 6):
        monkeypatch.setattr(warmup, "AT_ONCE", at_once)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
        train(job, model, tokenizer, rows, tmp_path / str(at_once))
        weights[at_once] = load_file(tmp_path / str(at_once) / "model.safetensors")
    before = load_file(tiny_model_dir / "model.safetensors")
    for name, value in weights[6].items():
        torch.testing.assert_close(weights[2][name], value, atol=2e-5, rtol=0)
    assert any((before[name] - value).abs().max() > 1e-3 for name, value in weights[6].items())
