"""Rollouts from an engine with other weights than the trainer's: logged, and refused."""

import copy

import pytest
import torch
from trainers import ALWAYS, ScriptedTeacher, build
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.io.errors import StudyError
from thinktuning.trainer.sampling import differences, refuse_other_weights
from thinktuning.trainer.trainer import ThinkTuningTrainer

SETTINGS = {"learning_rate": 1e-2, "max_steps": 4, "temperature": 0.7}


@pytest.fixture
def engine(monkeypatch):
    """Return a function that lets a second copy of the model stand in for vLLM.

    The trainer samples, and the second copy gives the log-probabilities, at the training's
    temperature as vLLM does. `sync` runs before each generation.
    """
    generate = GRPOTrainer._generate_single_turn

    def attach(trainer, directory, sync):
        served = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
        trainer.use_vllm, trainer.vllm_importance_sampling_correction = True, False

        def sampled(self, prompt_ids, *args, **kwargs):
            self.use_vllm = False
            completion_ids, _ = generate(self, prompt_ids, *args, **kwargs)
            self.use_vllm = True
            sync(served)
            pairs = zip(prompt_ids, completion_ids, strict=True)
            return completion_ids, [scored(served, *pair, self.temperature) for pair in pairs]

        monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", sampled)
        return trainer

    return attach


@torch.no_grad()
def scored(model, prompt, completion, temperature):
    """Return the log-probability of each token of a completion."""
    ids = torch.tensor([list(prompt) + list(completion)])
    logps = (model(ids).logits[0, len(prompt) - 1 : -1] / temperature).log_softmax(-1)
    return logps.gather(1, ids[0, len(prompt) :, None]).squeeze(1).tolist()


def perturb(model):
    """Change a model's weights: another model than the trainer's."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for weight in model.parameters():
            weight += 0.1 * torch.randn(weight.shape, generator=generator)


def logged(trainer):
    """Return the differences that were logged."""
    rows = trainer.state.log_history
    return [r["sampling_logp_difference"] for r in rows if "sampling_logp_difference" in r]


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("num_iterations", [1, 2])
def test_the_same_weights_agree(lively, tmp_path, engine, accumulation, num_iterations):
    """Also when a batch is used for several optimizer steps, after which the weights differ."""
    trainer = build(
        lively,
        ThinkTuningTrainer,
        tmp_path,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=2,
        num_iterations=num_iterations,
        **SETTINGS,
    )
    engine(trainer, lively, lambda served: served.load_state_dict(trainer.model.state_dict()))
    trainer.train()
    steps = 2 * num_iterations // accumulation  # for one batch
    assert len(logged(trainer)) == 4 // steps
    assert 0 <= max(logged(trainer)) < 1e-5


@pytest.mark.parametrize("taught", [False, True])
def test_stale_weights_stop_the_training(tiny_model_dir, tmp_path, engine, taught):
    """The first batch agrees; then the engine keeps the weights that it had."""
    config = ThinkTuningAlgorithmConfig(schedule=ALWAYS) if taught else None
    teacher = ScriptedTeacher() if taught else None
    steps = SETTINGS | {"max_steps": 30}
    trainer = build(
        tiny_model_dir, ThinkTuningTrainer, tmp_path, algorithm=config, teacher=teacher, **steps
    )
    engine(trainer, tiny_model_dir, lambda served: None)
    with pytest.raises(StudyError, match=r"other log-probabilities.*over max_logp_difference"):
        trainer.train()
    assert 0 < trainer.state.global_step < 30
    assert logged(trainer)[0] < 1e-5


def test_another_model_stops_the_training_before_its_first_step(lively, tmp_path, engine):
    initial = build(lively, ThinkTuningTrainer, tmp_path / "a", **SETTINGS)
    before = copy.deepcopy(initial.model.state_dict())
    engine(initial, lively, perturb)
    with pytest.raises(StudyError, match="other log-probabilities"):
        initial.train()
    after = initial.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    tolerant = build(
        lively, ThinkTuningTrainer, tmp_path / "b", max_logp_difference=None, **SETTINGS
    )
    engine(tolerant, lively, perturb)
    tolerant.train()
    assert min(logged(tolerant)) > 0.1


def test_another_model_is_noticed_where_no_advantage_is_trained(lively, tmp_path, engine):
    """Equal rewards need no forward pass; a served model that is always wrong has only those."""
    never = [lambda completions, **_: [0.0] * len(completions)]
    trainer = build(lively, ThinkTuningTrainer, tmp_path, reward_funcs=never, **SETTINGS)
    engine(trainer, lively, perturb)
    with pytest.raises(StudyError, match="other log-probabilities"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_row_that_the_engine_sampled_is_computed(lively, tmp_path):
    """Of a text that took a rollout's place, vLLM has no log-probability to compare."""
    trainer = build(lively, ThinkTuningTrainer, tmp_path, **SETTINGS)
    if not trainer.skips_padding:
        pytest.skip("this TRL computes every row")
    trainer._layout = lambda model: "packed"
    batch = {
        "advantages": torch.tensor([0.0, 1.0, 0.0]),
        "completion_mask": torch.tensor([[1, 1], [1, 1], [1, 0]]),
        "sampling_per_token_logps": torch.tensor([[torch.nan] * 2, [torch.nan] * 2, [-1.0, 0.0]]),
    }
    assert trainer._with_effect(batch).tolist() == [False, True, True]
    batch["sampling_per_token_logps"][1, 0] = -2.0
    assert trainer._with_effect(batch).tolist() == [False, True, False]


def test_evaluation_in_between_does_not_count(lively, tmp_path, engine):
    """Its batches have no optimizer step, and another number of tokens than the next ones."""
    trainer = build(lively, ThinkTuningTrainer, tmp_path, **SETTINGS)
    trainer.eval_dataset = trainer.train_dataset.select(range(2))
    trainer.args.eval_strategy, trainer.args.eval_steps = "steps", 1
    trainer.args.per_device_eval_batch_size = 4
    engine(trainer, lively, lambda served: served.load_state_dict(trainer.model.state_dict()))
    trainer.train()
    assert sum("eval_loss" in row for row in trainer.state.log_history) == 4
    assert len(logged(trainer)) == 2 and max(logged(trainer)) < 1e-5


def test_only_sampled_tokens_count():
    """Spliced tokens are NaN, a tool's and padding are masked; the others differ by 1 and 3."""
    logps = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -9.0, -9.0]])
    sampled = torch.tensor([[-2.0, -5.0, torch.nan], [-7.0, 0.0, 0.0]])
    masks = {"completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0]])}
    masks["tool_mask"] = torch.tensor([[1, 1, 1], [0, 1, 1]])
    found = differences(logps, {"sampling_per_token_logps": sampled} | masks)
    assert found.tolist() == [4.0, 2.0]


def test_truncation_by_top_p_is_allowed_for():
    refuse_other_weights(0.3, 0.1, 0.8)  # up to -log 0.8 = 0.22 more
    refuse_other_weights(float("nan"), 0.1, 1.0)  # the recorder stops a training that diverged
    refuse_other_weights(9.0, None, 1.0)
    for mean, top_p in ((0.4, 0.8), (0.11, 1.0), (float("inf"), 1.0)):
        with pytest.raises(StudyError):
            refuse_other_weights(mean, 0.1, top_p)
