"""The studies at the paper's scale have the numbers of the released recipe, and TRL takes them."""

import pytest
from edited_study import ROOT

from thinktuning.commands.train import trainer_settings
from thinktuning.study.reading import load_study

GPUS = 2


@pytest.fixture(params=["llama3", "qwen"])
def study(request):
    return load_study(ROOT / "studies" / f"{request.param}.yaml")


def test_batches_on_two_gpus(study):
    assert study.resources.train.num_processes == GPUS
    training = study.training
    micro = training.per_device_train_batch_size
    assert micro == 8  # ppo_micro_batch_size_per_gpu
    assert GPUS * training.generation_batch_size == 128 * training.num_generations == 128 * 5
    assert GPUS * micro * training.gradient_accumulation_steps == 32 * 5  # ppo_mini_batch_size
    assert training.optimizer_steps_per_rollout_batch == 4
    assert training.num_rollout_batches == 7473 // 128 == 58


def test_loss_and_reward(study):
    for method in ("grpo", "thinktuning"):
        training = study.train_job(method, 0).training
        assert training.loss_type == "bnpo"  # loss_agg_mode: token-mean, of each micro-batch
        assert training.reward == "whole_text"
        assert training.scale_rewards == "group" and training.beta == 0
        assert training.vllm and not training.vllm.importance_sampling_correction


def test_the_teacher_teaches_one_of_five_in_eight_batches(study):
    job = study.train_job("thinktuning", 0)
    rates = [job.algorithm.guidance_rate(t, 58) for t in range(58)]
    released = [0.1 - (0.1 - 0.01) * t / (50 // 3) for t in range(58)]
    assert [rate > 0 for rate in rates] == [rate > 0.05 + 0.01 for rate in released]
    assert rates[:8] == pytest.approx(released[:8], rel=1e-2) and not any(rates[8:])


def test_trl_takes_the_settings(study, tmp_path):
    from thinktuning.trainer.arguments import ThinkTuningConfig

    settings = trainer_settings(study.train_job("thinktuning", 0))
    args = ThinkTuningConfig(output_dir=str(tmp_path), use_cpu=True, **settings)
    assert args.generation_batch_size == 640 // GPUS  # of this process
    assert args.generation_batch_size % args.num_generations == 0
    assert args.weight_decay == 0.01 and args.max_grad_norm == 1.0
