"""`training.extra` reaches TRL, and does what it says."""

import pytest
import torch
from killed_run import killed_at
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import thinktuning.commands.train as stage
from thinktuning.commands.train import train
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl
from thinktuning.study.jobs import TrainJob

GRPO = {"type": "grpo"}


@pytest.fixture
def trained(training, tmp_path, monkeypatch):
    """Return a function that trains with options, and returns trainer, metrics and rollouts."""
    resolve, model, data = training
    built = stage.build_trainer
    kept = []

    def build(*given):
        kept.append(built(*given))
        return kept[-1]

    monkeypatch.setattr(stage, "build_trainer", build)

    def run(extra, algorithm=GRPO, **settings):
        settings = {"max_steps": 4, "rollouts_per_step": 16} | settings
        output = tmp_path / str(len(kept))
        train(resolve(algorithm=algorithm, extra=extra, **settings), model, data, output)
        rows = [list(read_jsonl(output / f"{name}.jsonl")) for name in ("metrics", "rollouts")]
        return kept[-1], *rows

    return run


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_model_is_loaded_as_asked(trained, monkeypatch, implementation):
    seen = []
    load = AutoModelForCausalLM.from_pretrained

    def loading(*args, **kwargs):
        seen.append(load(*args, **kwargs))
        return seen[-1]

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loading)
    extra = {"model_init_kwargs": {"attn_implementation": implementation}}
    always = {"schedule": {"kind": "constant"}}  # so that the teacher is not closed
    trainer, *_ = trained(extra, always, beta=0.1)  # a teacher's copy, and a reference model
    models = [seen[0], trainer.ref_model, trainer.algorithm.teacher.model]
    assert {each.config._attn_implementation for each in models} == {implementation}
    assert trainer._layout(trainer.model) == {"eager": "trimmed", "sdpa": "packed"}[implementation]


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"optim": "sgd", "optim_args": "momentum=0.9"}, torch.optim.SGD),
        ({"optim": "adamw_torch", "adam_epsilon": 1e-4}, torch.optim.AdamW),
    ],
)
def test_another_optimizer(trained, extra, expected):
    trainer, *_ = trained(extra)
    optimizer = trainer.optimizer.optimizer
    assert type(optimizer) is expected
    (group, *_) = optimizer.param_groups
    assert group.get("momentum", 0.9) == 0.9 and group.get("eps", 1e-4) == 1e-4


@pytest.mark.parametrize("algorithm", [GRPO, {}], ids=["grpo", "thinktuning"])
def test_completions_that_were_cut_off_are_masked(trained, algorithm):
    """They count in the advantages, and not in the loss."""
    settings = {"max_completion_length": 6}
    trainer, rows, _ = trained({"mask_truncated_completions": True}, algorithm, **settings)
    assert trainer.mask_truncated_completions
    masks = [batch["completion_mask"].sum(1) for batch in trainer._buffered_inputs]
    kept = [int(length) for mask in masks for length in mask]
    assert 0 < kept.count(0) == rows[-1]["num_cut_off"] < len(kept)
    lengths = {rollout.completion_length for rollout in trainer.rollouts}
    assert set(kept) - {0} <= lengths


def test_sampling_options_reach_the_decoding_loop(trained):
    _, _, rollouts = trained({"generation_kwargs": {"min_new_tokens": 9}})
    assert min(rollout["student_length"] for rollout in rollouts) >= 10  # and the end
    for extra in ({"top_k": 1}, {"min_p": 1.0}):
        _, _, rollouts = trained(extra)
        texts = {}
        for rollout in rollouts:
            texts.setdefault(rollout["question"], set()).add(rollout["student_text"])
        assert all(len(each) == 1 for each in texts.values())  # the most likely token each time


@pytest.mark.parametrize("loss_type", ["cispo", "luspo", "sapo", "vespo"])
def test_other_losses_train(trained, loss_type):
    extra = {"luspo": {"importance_sampling_level": "sequence"}, "cispo": {"epsilon_high": 5.0}}
    trainer, rows, _ = trained(extra.get(loss_type), loss_type=loss_type, **delta(loss_type))
    assert trainer.loss_type == loss_type and len(rows) == 2


def delta(loss_type):
    return {} if loss_type == "luspo" else {"delta": None}


def test_what_transformers_refuses_names_the_key(training, tmp_path):
    resolve, model, data = training
    for extra, reason in (
        ({"optim": "adamw_8bit"}, "bitsandbytes"),
        ({"optim": "sgd", "optim_args": "nesterov=true"}, "Nesterov momentum requires"),
        ({"model_init_kwargs": {"attn_implementation": "nonsense"}}, "nonsense"),
        ({"router_aux_loss_coef": 0.1}, "not a Mixture-of-Experts model"),
    ):
        with pytest.raises(
            StudyError, match=rf"training\.extra \({', '.join(extra)}\): .*{reason}"
        ):
            train(resolve(extra=extra), model, data, tmp_path / "run")


def test_a_token_that_the_model_does_not_have_is_refused(training, tmp_path):
    resolve, model, data = training
    for name, value in (("suppress_tokens", [7, 99999]), ("sequence_bias", [[[99999], 5.0]])):
        with pytest.raises(StudyError, match=rf"generation_kwargs\.{name}: .* no token 99999"):
            job = resolve(extra={"generation_kwargs": {name: value}})
            train(job, model, data, tmp_path / "run")


def test_an_option_of_a_newer_trl_is_refused(training, tmp_path):
    resolve, model, data = training
    job = resolve()
    future = job.training.model_copy(update={"extra": {"of_the_future": 1}})
    job = TrainJob.model_construct(**(dict(job) | {"training": future}))
    with pytest.raises(StudyError, match=r"training\.extra\.of_the_future: trl \S+ has no such"):
        train(job, model, data, tmp_path / "run")


def test_an_adaptive_entropy_bonus_resumes(training, tmp_path, monkeypatch):
    """TRL keeps its coefficient in the checkpoint; other options hold no state."""
    resolve, model, data = training
    extra = {"use_adaptive_entropy": True, "entropy_target": 9.0, "entropy_coef_delta": 0.01}
    job = resolve(algorithm=GRPO, extra=extra)
    train(job, model, data, tmp_path / "whole")
    killed_at(7, monkeypatch, job, model, data, tmp_path / "run")
    train(job, model, data, tmp_path / "run")
    coefficients = [row["entropy_coef"] for row in read_jsonl(tmp_path / "run/metrics.jsonl")]
    assert coefficients == sorted(set(coefficients))
    weights = [load_file(tmp_path / f"{name}/model/model.safetensors") for name in ("run", "whole")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


@pytest.mark.slow
def test_a_compiled_model_trains_as_it_would_have(trained):
    _, rows, _ = trained({"torch_compile_backend": "aot_eager"})
    _, expected, _ = trained({})
    assert [r["loss"] for r in rows] == pytest.approx([r["loss"] for r in expected], abs=1e-4)
