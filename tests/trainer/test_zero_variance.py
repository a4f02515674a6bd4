"""Groups with equal rewards are sampled again: which, how often, and what is counted."""

import math

import pytest
from hand_made import letters
from trainers import TEXTS, ScriptedTeacher, build, vowel_share
from trl import GRPOTrainer

import thinktuning.trainer.zero_variance as zero_variance
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer
from thinktuning.trainer.zero_variance import all_equal, resample_equal

PROMPTS = [[i // 2] for i in range(6)]  # three groups of two


class Sampler:
    """Gives these texts to the rows that it is asked about, one call after another."""

    def __init__(self, *calls):
        self.calls = list(calls)
        self.asked = []

    def __call__(self, prompt_ids):
        self.asked.append([ids[0] for ids in prompt_ids])
        texts = self.calls.pop(0)
        return [list(text.encode()) for text in texts], [[-1.0] * len(text) for text in texts]


def texts(batch):
    return [bytes(ids).decode() for ids in batch.completion_ids]


def test_only_groups_with_equal_rewards_are_sampled_again():
    """The second group has a right answer; the third gets one in the second round."""
    batch = letters(["1E", "2E", "3E", "4E", "44E", "14E"])
    sampler = Sampler(["xE", "4E", "4yE", "4zE"], ["5E", "4E"])
    resample_equal(batch, PROMPTS, 3, sampler)
    assert sampler.asked == [[0, 0, 2, 2], [2, 2]] and not sampler.calls
    assert texts(batch) == ["xE", "4E", "3E", "4E", "5E", "4E"]
    assert batch.student_ids == batch.completion_ids
    assert batch.metrics["num_resampled"] == 3
    # 1E 2E 44E 14E, then 4yE 4zE
    assert batch.metrics["resampled_tokens"] == 2 + 2 + 3 + 3 + 3 + 3


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_a_group_that_stays_equal_is_given_up(rounds):
    batch = letters(["1E", "2E"])
    sampler = Sampler(*[["aE", "bE"]] * rounds)
    resample_equal(batch, PROMPTS, rounds, sampler)
    assert len(sampler.asked) == rounds == batch.metrics["num_resampled"]


def test_log_probabilities_of_the_engine_go_along():
    batch = letters(["1E", "2E", "3E", "4E"])
    batch.logprobs = [[-0.1, -0.2]] * 4
    resample_equal(batch, PROMPTS, 1, Sampler(["4E", "567E"]))
    assert batch.logprobs == [[-1.0] * 2, [-1.0] * 4, [-0.1, -0.2], [-0.1, -0.2]]


@pytest.mark.parametrize(
    ("rewards", "equal"),
    [([1, 1], True), ([1, 0], False), ([math.nan, 1], True), ([math.nan, 1, 0], False)],
)
def test_rewards_without_a_verdict_do_not_count(rewards, equal):
    assert all_equal([float(reward) for reward in rewards]) == equal


def test_a_process_without_such_groups_samples_along(monkeypatch):
    monkeypatch.setattr(zero_variance, "gather_object", lambda counts: [*counts, 1])
    batch = letters(["1E", "4E", "2E", "4E"])
    sampler = Sampler(["xE", "yE"])
    resample_equal(batch, PROMPTS, 1, sampler)
    assert sampler.asked == [[0, 0]] and texts(batch) == ["1E", "4E", "2E", "4E"]
    assert batch.metrics["resampled_tokens"] == batch.metrics["num_resampled"] == 0


def one_right(completions, **_):
    """A reward that is 1 for the text with two b's."""
    return [float(completion[-1]["content"] == TEXTS[2]) for completion in completions]


@pytest.mark.filterwarnings("ignore:.*did not sample by the model")
@pytest.mark.parametrize("guided", [False, True])
def test_a_training_trains_on_what_was_sampled_again(likely_eos, tmp_path, monkeypatch, guided):
    """First all four answers of each prompt are TEXTS[0]; sampled again they differ."""

    def generate(self, prompt_ids, images, fields, num_generations):
        first = not turns
        turns.append(len(prompt_ids))
        chosen = [TEXTS[0 if first else i % 4] for i in range(len(prompt_ids))]
        end = self.processing_class.eos_token
        return [self.processing_class.encode(text + end) for text in chosen], None

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", generate)
    turns = []
    settings = dict(max_resamplings=2, reward_funcs=one_right, max_steps=2)
    if guided:
        settings |= {"teacher": ScriptedTeacher(), "algorithm": ThinkTuningAlgorithmConfig()}
    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, **settings)
    trainer.train()
    assert turns == [16, 16]
    assert [rollout.student_text for rollout in trainer.rollouts] == TEXTS * 4
    row = trainer.state.log_history[0]
    assert row["num_resampled"] == 4 and row["resampled_tokens"] == 16 * 2
    assert row["student_tokens"] == 16 * 2 + 4 * (2 + 3 + 4 + 5)
    if not guided:
        assert row["num_zero_advantage"] == 0 and row["reward"] == 0.25


def test_without_it_nothing_is_sampled_again(likely_eos, tmp_path):
    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, max_steps=2, reward_funcs=vowel_share)
    trainer.train()
    row = trainer.state.log_history[0]
    assert row["num_resampled"] == row["resampled_tokens"] == 0 and "time_resampling" not in row


def test_rollouts_that_trl_does_not_sample_are_refused(likely_eos, tmp_path, monkeypatch):
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    with pytest.raises(ValueError, match="max_resamplings = 1 samples answers of one turn again"):
        build(
            likely_eos,
            ThinkTuningTrainer,
            tmp_path,
            max_resamplings=1,
            rollout_func=lambda prompts, trainer: {},
        )


def test_sums_of_rewards_that_are_normalized_first_are_refused(likely_eos, tmp_path):
    """With weights 2 and 1, equal sums of rewards may be unequal sums of normalized ones."""
    settings = {"max_resamplings": 1, "multi_objective_aggregation": "normalize_then_sum"}
    build(likely_eos, ThinkTuningTrainer, tmp_path, **settings)  # with one reward there is no sum
    with pytest.raises(ValueError, match=r"max_resamplings = 1 .* whose summed rewards are equal"):
        build(likely_eos, ThinkTuningTrainer, tmp_path, reward_funcs=[vowel_share] * 2, **settings)
