"""Rewards in training: each completion is scored once, logged once, and summed as in TRL."""

from collections import Counter

import pytest
import torch
from trainers import ALWAYS, FEEDBACK, EveryOther, build, build_taught, scored_batches, vowel_share
from trl import GRPOTrainer
from trl.chat_template_utils import qwen3_template

from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer


class Watched:
    """A reward function that logs, and records its calls."""

    __name__ = "watched"

    def __init__(self):
        self.calls = []

    def __call__(self, completions, completion_ids, question, log_extra, log_metric, **_):
        self.calls.append(
            [(q, tuple(ids)) for q, ids in zip(question, completion_ids, strict=True)]
        )
        texts = [completion[-1]["content"] for completion in completions]
        log_extra("text", texts)
        log_metric("asked_about", len(texts))
        return [float("So 4" in text) for text in texts]


class Loud:
    """An async reward function, which is called with every row each time."""

    __name__ = "loud"

    async def __call__(self, completions, log_extra, log_metric, **_):
        log_extra("length", [len(completion[-1]["content"]) for completion in completions])
        log_metric("loudness", 0.25)
        return vowel_share(completions)


@pytest.mark.parametrize("keep", ["all", "right", "wrong"])
def test_each_completion_of_a_row_is_scored_once(likely_eos, tmp_path, keep):
    reward = Watched()
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=EveryOther(),
        algorithm=ThinkTuningAlgorithmConfig(schedule=ALWAYS, keep=keep),
        reward_funcs=[reward, Loud()],
        reward_weights=[1.0, 0.0],
        max_completion_length=40,
        max_steps=4,
    )
    seen, scored = [], trainer._generate_and_score_completions

    def generate_and_score(inputs):
        trainer._logs["extra"].clear()
        reward.calls.clear()
        output = scored(inputs)
        extra = {name: list(values) for name, values in trainer._logs["extra"].items()}
        seen.append((trainer.batch, trainer.rollouts, list(reward.calls), extra))
        return output

    trainer._generate_and_score_completions = generate_and_score
    trainer.train()
    assert len(seen) == 2
    for batch, rollouts, calls, extra in seen:
        expected = []
        spliced = 0
        for i, (row, ids) in enumerate(zip(batch.rows, batch.student_ids, strict=True)):
            distinct = {tuple(ids)}
            if lesson := batch.lessons.get(i):
                said = batch.extend(ids[:-1], lesson.feedback.text)
                distinct.add((*ids[:-1], *said, ids[-1])[:40])
                spliced += 1
            expected += [(row["question"], each) for each in distinct]
        assert spliced > 1
        # one call with all student completions, one with all spliced ones, and no third
        assert [len(call) for call in calls] == [16, spliced]
        assert Counter(pair for call in calls for pair in call) == Counter(expected)
        # one value per row, of the completion that is trained on
        texts = [rollout.text for rollout in rollouts]
        assert extra == {"text": texts, "length": [len(text) for text in texts]}
        rewards = [rollout.reward for rollout in rollouts]
        assert rewards == [float("So 4" in text) for text in texts]
        kept = [r for r in rollouts if r.asked and r.taught]
        assert kept and (keep == "all") == (len(kept) == spliced)
        assert all(r.text.endswith(("So 4", "So 5")) for r in kept)
    logged = [row for row in trainer.state.log_history if "loudness" in row]
    assert [row["loudness"] for row in logged] == [0.25, 0.25]
    assert [row["asked_about"] for row in logged] == [
        (16 + len(batch.lessons)) / 2 for batch, *_ in seen
    ]


def test_scoring_for_the_teacher_keeps_what_was_logged_before(likely_eos, tmp_path, monkeypatch):
    """For example, an environment may log during sampling."""
    sample = GRPOTrainer._generate_single_turn

    def logs(self, prompt_ids, *args, **kwargs):
        self._log_metric("turns", 3.0)
        self._log_completion_extra("turn", list(range(len(prompt_ids))))
        return sample(self, prompt_ids, *args, **kwargs)

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", logs)
    trainer = build_taught(
        likely_eos,
        tmp_path,
        reward_funcs=Watched(),
        max_completion_length=40,
        max_steps=1,
    )
    trainer.train()
    assert trainer.state.log_history[0]["turns"] == 3.0
    extra = {name: list(values) for name, values in trainer._logs["extra"].items()}
    texts = [rollout.text for rollout in trainer.rollouts]
    assert extra == {"turn": list(range(16)), "text": texts}
    assert any(text.endswith(FEEDBACK) for text in texts)


def test_vanilla_grpo_does_not_wrap_the_reward_functions(tiny_model_dir, tmp_path):
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path)
    assert trainer.reward_funcs == [vowel_share]


def test_rewards_are_summed_as_in_trl(likely_eos, tmp_path):
    """If one function gives no verdict on a rollout, the other one's reward counts."""

    def sometimes(completions, **_):
        return [1.0 if i % 3 == 0 else None for i, _ in enumerate(completions)]

    def rarely(completions, **_):
        return [2.0 if i % 2 == 0 else None for i, _ in enumerate(completions)]

    trainer = build(likely_eos, ThinkTuningTrainer, tmp_path, max_steps=2, num_generations=4)
    trainer.reward_funcs = [sometimes, rarely]
    trainer.reward_func_names = ["sometimes", "rarely"]
    trainer.reward_processing_classes = [None, None]
    trainer.reward_weights = torch.tensor([1.0, 0.5])
    trainer.train()
    expected = [
        None if i % 3 and i % 2 else (i % 3 == 0) * 1.0 + (i % 2 == 0) * 0.5 * 2.0
        for i in range(16)
    ]
    assert [rollout.reward for rollout in trainer.rollouts] == expected


def test_thoughts_are_not_rewarded_if_the_tokenizer_tells_them_apart(
    likely_eos, tmp_path, monkeypatch
):
    """TRL parses completions then, and so must scoring outside TRL's own: the two are compared."""

    def generate(self, prompt_ids, *_, **__):
        text = "<think>\nhm\n</think>\n\n4<|im_end|>"
        return [
            self.processing_class.encode(text, add_special_tokens=False) for _ in prompt_ids
        ], None

    monkeypatch.setattr(GRPOTrainer, "_generate_single_turn", generate)
    seen = []

    def reward(completions, **_):
        seen.extend(completion[-1]["content"] for completion in completions)
        return [0.0 for _ in completions]

    trainer = build_taught(
        likely_eos,
        tmp_path,
        reward_funcs=reward,
        max_completion_length=60,
        max_steps=2,
    )
    trainer._tokenizer.response_template = qwen3_template
    trainer.train()
    assert Counter(seen) == {"4": 16, f"4{FEEDBACK}": 8}


def test_equal_rewards_that_float32_rounds_give_no_signal(likely_eos, tmp_path):
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        reward_funcs=lambda completions, **_: [0.6] * len(completions),
        num_generations=6,
        per_device_train_batch_size=6,
        max_steps=1,
    )
    batches = scored_batches(trainer)
    trainer.train()
    assert 0 < batches[0]["advantages"].abs().max() < 1e-3  # TRL's, of which nothing is taken away
    row = next(row for row in trainer.state.log_history if "num_rollouts" in row)
    assert row["num_zero_advantage"] == row["num_rollouts"] == 12
