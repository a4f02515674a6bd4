"""bfloat16 on CPUs without instructions for it."""

from contextlib import nullcontext

import pytest
import torch
from trainers import build

from thinktuning.models import emulated
from thinktuning.models.emulated import InFloat32, products_in_float32
from thinktuning.models.generation import generate
from thinktuning.trainer.trainer import ThinkTuningTrainer


def random(*shape: int) -> torch.Tensor:
    """Return random numbers in bfloat16."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16()


def test_a_product_is_exact_but_for_one_rounding():
    """Rounded once from what float64 gives, to half a unit in the last place of bfloat16."""
    a, b, c = random(40, 60), random(60, 50), random(40, 50)
    with InFloat32():
        product, update = a @ b, torch.addmm(c, a, b, beta=2.0, alpha=-0.5)
    assert product.dtype == update.dtype == torch.bfloat16
    exact = a.double() @ b.double()
    torch.testing.assert_close(product.double(), exact, rtol=2**-8, atol=1e-5)
    torch.testing.assert_close(update.double(), 2 * c - 0.5 * exact, rtol=2**-8, atol=1e-5)


def test_muon_makes_the_same_update_but_for_rounding():
    updates = []
    for context in (InFloat32(), nullcontext()):
        weight = torch.nn.Parameter(torch.zeros(32, 48))
        weight.grad = random(32, 48).float()
        with context:
            torch.optim.Muon([weight], lr=1.0).step()
        updates.append(weight.detach())
    singular = torch.linalg.svdvals(updates[0]) / torch.linalg.svdvals(updates[0]).mean()
    assert singular.std() < 0.2  # orthogonalized
    torch.testing.assert_close(*updates, rtol=0, atol=0.02 * float(updates[1].abs().max()))


def test_other_types_are_as_they_were():
    a = torch.randn(8, 8)
    with InFloat32():
        assert torch.equal(a @ a, torch.mm(a, a))
        assert (a.half() @ a.half()).dtype == torch.float16


@pytest.mark.parametrize(
    ("capability", "emulates"),
    [("DEFAULT", True), ("AVX2", True), ("AVX512", False), ("SVE256", False)],
)
def test_a_cpu_with_instructions_uses_them(capability, emulates, monkeypatch):
    monkeypatch.setattr(emulated.torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert isinstance(products_in_float32(), InFloat32) == emulates


@pytest.mark.parametrize("checkpointing", [False, True])
def test_training_in_bf16_is_the_same_but_for_rounding(likely_eos, tmp_path, checkpointing):
    """Forward, backward and optimizer, and what is computed again; sampled by the same numbers."""
    settings = {"bf16": True, "gradient_checkpointing": checkpointing, "max_steps": 1}
    logged = []
    for context in (InFloat32(), nullcontext()):
        name = type(context).__name__
        trainer = build(likely_eos, ThinkTuningTrainer, tmp_path / name, **settings)
        with context:
            trainer.train()
        logged.append(trainer.state.log_history[0])
    for key in ("reward", "completions/mean_length"):
        assert logged[0][key] == logged[1][key]
    for key in ("loss", "grad_norm", "entropy"):
        assert logged[0][key] == pytest.approx(logged[1][key], rel=0.05, abs=1e-3)
    assert logged[0]["grad_norm"] > 0


def test_a_model_in_bf16_generates_in_float32(likely_eos, monkeypatch):
    """As the hf backend, a warm-up's skills and a teacher do."""
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(emulated, "is_emulated", lambda: True)
    kept, dispatch = [], InFloat32.__torch_dispatch__

    def spied(mode, func, types, args=(), kwargs=None):
        made = dispatch(mode, func, types, args, kwargs)
        if func in emulated.PRODUCTS:
            kept.append((args[0].dtype, made.dtype))
        return made

    monkeypatch.setattr(InFloat32, "__torch_dispatch__", spied)
    prompt = torch.tensor([[5, 6, 7]])
    for dtype in (torch.float32, torch.bfloat16):
        model = AutoModelForCausalLM.from_pretrained(likely_eos, dtype=dtype)
        generate(model, prompt, max_new_tokens=3)
        assert bool(kept) == (dtype == torch.bfloat16)
    assert set(kept) == {(torch.bfloat16, torch.bfloat16)}
