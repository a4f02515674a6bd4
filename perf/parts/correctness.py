"""Whether a GPU computes what the CPU's tests establish: losses, gradients, log-probabilities.

Everything is compared with stock TRL on the same device, or with float64 on the CPU.
"""

import os
import re
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

import torch
from parts.checks import SHOWN, relative
from parts.settings import forced
from transformers import set_seed

from thinktuning import ThinkTuningConfig
from thinktuning.algorithms.config import AASConfig
from thinktuning.algorithms.shaping import guided_advantages
from thinktuning.models.emulated import products_in_float32

ROOT = Path(__file__).parents[2]
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "luspo", "cispo", "sapo", "vespo")
TOLERANCE = {False: 1e-5, True: 2e-2}  # relative: of float32, of bfloat16
SIZE = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
ROWS, GROUP = 16, 4


def run(checks):
    """Run the part's checks."""
    torch.backends.cuda.matmul.allow_tf32 = False
    small = {"mean": 20, "longest": 48} if checks.small else {"mean": 80, "longest": 256}
    shape = {"size": SIZE, "rollouts": ROWS, "group": GROUP}
    setting = forced(None, **shape, **small)
    plain = forced(None, **shape, **small | {"mean": None})
    for bf16 in (False, True):
        precision = "bfloat16" if bf16 else "float32"
        with products_in_float32(bf16):  # on a CPU without bfloat16
            checks.run(f"log-probabilities, {precision}", log_probabilities, checks, plain, bf16)
            checks.run(f"losses and gradients, {precision}", gradients, checks, plain, bf16)
            checks.run(f"guided losses, {precision}", guided, checks, plain, bf16)
    checks.run("shaping", shaping, checks)
    checks.run("sampling", sampling, checks, setting)
    checks.run("training", training, checks, setting)
    checks.run("tests", tests, checks)


def variants():
    """Return our trainer's options to compare: with and without padding, where there is that."""
    known = {option.name for option in fields(ThinkTuningConfig)}
    if "skip_padding" not in known:
        return {"ours": {}}
    return {f"skip_padding={value}": {"skip_padding": value} for value in (True, False)}


def batch_of(trainer, seed=0):
    """Return a micro-batch: prompts padded on the left, completions on the right; (ROWS, ...).

    Rows of a group share their prompt; one group's rewards were equal, so its advantages are 0.
    """
    generator = torch.Generator().manual_seed(seed)
    vocabulary = trainer.model.config.vocab_size
    longest, shortest = trainer.max_completion_length, 2
    P, T = 60, longest
    prompt_ids = torch.randint(5, vocabulary, (ROWS // GROUP, P), generator=generator)
    starts = torch.randint(0, P // 2, (ROWS // GROUP, 1), generator=generator)
    prompt_mask = (torch.arange(P) >= starts).long()
    ends = torch.randint(shortest, longest // 2, (ROWS, 1), generator=generator)
    ends[0] = longest
    advantages = torch.randn(ROWS, generator=generator)
    advantages[GROUP : 2 * GROUP] = 0
    batch = {
        "prompt_ids": prompt_ids.repeat_interleave(GROUP, 0),
        "prompt_mask": prompt_mask.repeat_interleave(GROUP, 0),
        "completion_ids": torch.randint(5, vocabulary, (ROWS, T), generator=generator),
        "completion_mask": (torch.arange(T) < ends).long(),
        "advantages": advantages,
        "num_items_in_batch": ends.sum(),
    }
    pad = trainer.processing_class.pad_token_id
    for name in ("prompt", "completion"):
        batch[f"{name}_ids"][batch[f"{name}_mask"] == 0] = pad
    return {name: value.to(trainer.accelerator.device) for name, value in batch.items()}


def logps_of(trainer, batch, **options):
    """Return log-probabilities and entropies of a batch's completions: (ROWS, T) each."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    length = batch["completion_ids"].size(1)
    logps, *rest = trainer._get_per_token_logps_and_entropies(
        trainer.model, ids, mask, length, compute_entropy=True, **options
    )
    return logps, rest[0]


def exact(setting, batch):
    """Return log-probabilities and entropies of a batch in float64 on the CPU, without TRL."""
    model, _ = setting.load()
    model = model.double().eval()
    batch = {name: value.cpu() for name, value in batch.items()}
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    start = batch["prompt_ids"].size(1)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=mask).logits[:, start - 1 : -1]
    logps = logits.log_softmax(-1)
    entropies = -(logps.exp() * logps).sum(-1)
    return logps.gather(-1, ids[:, start:, None])[..., 0], entropies


def log_probabilities(checks, setting, bf16):
    """Compare TRL's fused log-probabilities, and ours, with float64; in nats, and relative."""
    found, ok = {}, True
    for name, kind, options in [
        ("TRL", "stock", {}),
        *((n, "ours", o) for n, o in variants().items()),
    ]:
        trainer = setting.trainer(kind, 1, checks.directory / "t", bf16=bf16, **options)
        batch = batch_of(trainer)
        keep = batch["completion_mask"].bool().cpu()
        with torch.no_grad():
            got = logps_of(trainer, batch)
        want = exact(setting, batch)
        labels = ("log-probabilities", "entropies")
        errors = {
            label: relative(g.cpu()[keep], w[keep])
            for label, g, w in zip(labels, got, want, strict=True)
        }
        nats = float((got[0].double().cpu() - want[0])[keep].abs().max())
        found[name] = errors | {"largest, nats": nats, "dtype": str(got[0].dtype)}
        ok &= max(errors.values()) <= TOLERANCE[bf16]
    return found | {"ok": ok}


def step(trainer, batch):
    """Return the loss of a micro-batch and the gradient of every parameter, as one vector."""
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.zero_grad(set_to_none=True)
    loss = trainer.compute_loss(trainer.model, dict(batch))
    loss.backward()
    flat = [p.grad.flatten().float() for p in trainer.model.parameters() if p.grad is not None]
    return loss.detach(), torch.cat(flat)


def compare(want, got):
    """Return the relative differences of losses, and of gradients (of their norm too)."""
    return {
        "loss": relative(got[0], want[0]),
        "gradient": relative(got[1], want[1]),
        "gradient norm": relative(got[1].norm(), want[1].norm()),
    }


def gradients(checks, setting, bf16):
    """Compare our losses and gradients with stock TRL's for each loss, on and off policy."""
    trainers = {"TRL": setting.trainer("stock", 1, checks.directory / "t", bf16=bf16)}
    for name, options in variants().items():
        trainers[name] = setting.trainer("ours", 1, checks.directory / "t", bf16=bf16, **options)
    batch = batch_of(trainers["TRL"])
    with torch.no_grad():
        logps, _ = logps_of(trainers["TRL"], batch)
    noise = torch.randn(logps.shape, generator=torch.Generator().manual_seed(1)).to(logps)
    batches = {"on policy": batch, "off policy": batch | {"old_per_token_logps": logps + noise}}
    found, ok = {}, True
    for loss_type in LOSSES:
        for policy, each in batches.items():
            steps = {}
            for name, trainer in trainers.items():
                trainer.loss_type = trainer.args.loss_type = loss_type
                steps[name] = step(trainer, each)
            wanted = steps.pop("TRL")
            for name, got in steps.items():
                differences = compare(wanted, got)
                found[f"{loss_type}, {policy}, {name}"] = differences
                ok &= max(differences.values()) <= TOLERANCE[bf16]
    return found | {"ok": ok}


def guided(checks, setting, bf16):
    """Compare the guided loss without padding with that on TRL's padded batch."""
    steps = {}
    for name, options in variants().items():
        trainer = setting.trainer("thinktuning", 1, checks.directory / "t", bf16=bf16, **options)
        batch = batch_of(trainer)
        mask = batch["completion_mask"].bool()
        mask[::2] = False  # every other rollout is taught
        steps[name] = step(trainer, batch | {"guidance_mask": mask})
        trainer.algorithm.teacher.close()
    names = list(steps)
    differences = compare(steps[names[-1]], steps[names[0]])
    return differences | {"ok": max(differences.values()) <= TOLERANCE[bf16]}


def shaping(checks):
    """Compare the shaped advantages with those in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    logps = -torch.rand(64, 200, generator=generator, dtype=torch.float64) * 12
    advantages = torch.randn(64, generator=generator, dtype=torch.float64)
    mask = torch.rand(64, 200, generator=generator) < 0.5
    found = {}
    for variant in ("paper", "released", "constant"):
        aas = AASConfig(variant=variant)
        want, _ = guided_advantages(logps, advantages, mask, aas)
        on_device = [value.float().to(checks.device) for value in (logps, advantages)]
        got, _ = guided_advantages(*on_device, mask.to(checks.device), aas)
        # near a pole, pi = -gamma, the weight amplifies rounding: compare away from it
        steady = (logps.exp() > 5e-3) & ((logps.exp() - 0.999).abs() > 2e-3)
        found[variant] = relative(got.cpu()[steady], want[steady])
    return found | {"ok": max(found.values()) <= TOLERANCE[False]}


def sampling(checks, setting):
    """Compare our completions with stock TRL's from the same seed."""
    made = {}
    for name, kind, options in [
        ("TRL", "stock", {}),
        *((n, "ours", o) for n, o in variants().items()),
    ]:
        trainer = setting.trainer(kind, 1, checks.directory / "t", **options)
        trainer.model.train()
        rows = [row for row in setting.rows[: ROWS // GROUP] for _ in range(GROUP)]
        set_seed(0)
        output = trainer._generate_and_score_completions(rows)
        pairs = zip(output["completion_ids"], output["completion_mask"], strict=True)
        made[name] = [ids[mask.bool()].tolist() for ids, mask in pairs]
    stock = made.pop("TRL")
    found = {
        name: sum(a == b for a, b in zip(stock, ours, strict=True)) / len(stock)
        for name, ours in made.items()
    }
    lengths_of = sorted(map(len, stock))
    return {"rows identical": found, "lengths": lengths_of, "ok": min(found.values()) == 1.0}


def training(checks, setting):
    """Compare two rollout batches of training: the logged losses and gradient norms."""
    logs = {}
    for name, kind, options in [
        ("TRL", "stock", {}),
        *((n, "ours", o) for n, o in variants().items()),
    ]:
        trainer = setting.trainer(kind, 2, checks.directory / "t", logging_steps=1, **options)
        trainer.train()
        keys = ("loss", "grad_norm", "entropy")
        history = [row for row in trainer.state.log_history if "loss" in row]
        logs[name] = torch.tensor([[row[key] for key in keys] for row in history])
    stock = logs.pop("TRL")
    found = {
        name: {
            key: relative(got[:, i], stock[:, i])
            for i, key in enumerate(("loss", "norm", "entropy"))
        }
        for name, got in logs.items()
    }
    worst = max(max(each.values()) for each in found.values())
    return found | {"steps": len(stock), "ok": worst <= 1e-3}  # sampled tokens, from moved weights


def tests(checks):
    """Run the fast tests of the method, the trainer and the models in this environment."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/algorithms"]
    if not checks.small:
        command += ["tests/trainer", "tests/models"]
    if not find_spec("reasoning_gym"):  # of which the toy model's documents are made
        for name in ("test_documents", "test_organism"):
            command += ["--ignore", f"tests/models/{name}.py"]
    if find_spec("xdist"):
        command += ["-n", str(min(8, os.cpu_count() or 1))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path[1:]])}
    limit = 600 if checks.small else 120  # a busy CPU, or a GPU that is paid for
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit
    )
    counts = re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout[-400:])
    found = {kind: int(count) for count, kind in counts}
    return found | {"ok": done.returncode == 0, "output": done.stdout[-SHOWN:]}
