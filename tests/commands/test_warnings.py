"""The stages warn of nothing that a user's study does not cause, e.g. of names that are going."""

import warnings

import pytest

from thinktuning.commands.evaluate import evaluate
from thinktuning.commands.train import train
from thinktuning.commands.warmup import warm_up
from thinktuning.data.config import PromptConfig
from thinktuning.models.config import WarmupConfig
from thinktuning.study.jobs import WarmupJob
from thinktuning.study.reading import load_study


@pytest.fixture
def seen():
    """Record all warnings, those that Python hides by default too."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


LORA = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}


@pytest.mark.parametrize(
    "settings", [{}, {"bf16": True, "gradient_checkpointing": True, "lora": LORA}]
)
def test_training_warns_of_nothing(training, tmp_path, seen, settings):
    resolve, model, data = training
    train(resolve(max_steps=4, **settings), model, data, tmp_path / "run")
    assert [str(warning.message) for warning in seen] == []


@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointing_is_what_the_study_says(training, tmp_path, seen, checkpointing):
    """Under its new name, which transformers reads."""
    from thinktuning.commands.train import trainer_settings
    from thinktuning.trainer.arguments import ThinkTuningConfig

    resolve, _, _ = training
    settings = trainer_settings(resolve(gradient_checkpointing=checkpointing))
    args = ThinkTuningConfig(output_dir=str(tmp_path), use_cpu=True, **settings)
    assert args.activation_checkpointing is args.gradient_checkpointing is checkpointing
    assert [str(warning.message) for warning in seen] == []


def test_the_warm_up_warns_of_nothing(training, tmp_path, seen):
    _, model, _ = training
    spec = WarmupConfig(max_steps=2, learning_rate=1e-3, batch_size=2, max_length=400, bf16=True)
    job = WarmupJob(
        answer_kind="number",
        prompt=PromptConfig(),
        teacher_prompt=None,
        behaviors=None,
        warmup=spec,
    )
    warm_up(job, model, tmp_path, tmp_path / "warm")
    assert [str(warning.message) for warning in seen] == []


def test_evaluation_warns_of_nothing(training, tmp_path, seen, request):
    _, model, data = training
    study = load_study(request.config.rootpath / "config.yaml")
    job = study.evaluate_job("zero_shot", None, "chain_sum")
    short = job.evaluation.model_copy(update={"max_gen_toks": 8})
    evaluate(job.model_copy(update={"evaluation": short}), model, data, tmp_path / "evaluated")
    assert [str(warning.message) for warning in seen] == []
