"""`RolloutBatch.sample`: the current student's replies to other chats than the rows'."""

import pytest
import torch
from trainers import ALWAYS, REPLY, ScriptedTeacher, build

import thinktuning.trainer.replies as replies
from thinktuning.algorithms.critique_grpo import CritiqueGRPOAlgorithmConfig
from thinktuning.models.chat import encode_chats, generate_ids
from thinktuning.teachers.local import frozen_copy
from thinktuning.trainer.trainer import ThinkTuningTrainer

REFINE = "user: 'again: {question} {response} {critique}'\nreply: '{opening}so '\n"


@pytest.fixture
def refine(tmp_path):
    path = tmp_path / "refine.yaml"
    path.write_text(REFINE)
    return CritiqueGRPOAlgorithmConfig(schedule=ALWAYS, refinement=str(path), num_refinements=None)


def trained(directory, output, algorithm, top_k=0, **settings):
    """Train for a rollout batch; return the trainer and what it was asked and has replied."""
    trainer = build(
        directory,
        ThinkTuningTrainer,
        output,
        teacher=ScriptedTeacher(REPLY.replace("Wait.", "No: wait.")),
        algorithm=algorithm,
        **dict(max_completion_length=40, max_steps=2) | settings,
    )
    calls, sample = [], trainer._sample

    def recorded(chats, starts):
        if calls:  # as if training had changed much
            trainer.model.lm_head.weight.data.neg_()
        weights = frozen_copy(trainer.model)
        trainer.generation_config.top_k = top_k
        calls.append((list(chats), list(starts), sample(chats, starts), weights))
        trainer.generation_config.top_k = 0
        return calls[-1][2]

    trainer._sample = recorded
    trainer.train()
    return trainer, calls


def test_refinements_are_sampled_rewarded_and_counted(likely_eos, tmp_path, refine):
    trainer, ((chats, starts, found, _),) = trained(likely_eos, tmp_path, refine)
    rollouts = [rollout for rollout in trainer.rollouts if rollout.taught]
    assert 0 < len(rollouts) == len(chats) < len(trainer.rollouts)
    tokenizer = trainer.processing_class
    for rollout, chat, start, ids in zip(rollouts, chats, starts, found, strict=True):
        said = f"again: {rollout.question} {rollout.student_text} No: wait."
        assert chat == [{"role": "user", "content": said}] and start == "No: so "
        assert rollout.text == tokenizer.decode(ids, skip_special_tokens=True)
        assert rollout.text.startswith("No: so ") and rollout.text != rollout.student_text
        assert rollout.completion_length == len(ids) <= 40
        ends = [i for i, token in enumerate(ids) if token == tokenizer.eos_token_id]
        assert ends in ([], [len(ids) - 1])
    row = trainer.state.log_history[0]
    cut = [len(ids) == 40 and ids[-1] != tokenizer.eos_token_id for ids in found]
    generated = sum(len(ids) - len("No: so ") for ids in found)
    assert row["resampled_tokens"] >= generated
    assert any(cut) or row["resampled_tokens"] == generated
    own = sum(rollout.student_length for rollout in trainer.rollouts)
    assert row["student_tokens"] == own + row["resampled_tokens"]
    assert row["time_resampling"] > 0


def test_replies_are_those_of_the_current_weights_to_the_whole_prompt(likely_eos, tmp_path, refine):
    """With `top_k` 1 they are the greedy ones, in the second rollout batch too."""
    settings = dict(top_k=1, max_steps=4, learning_rate=1e-3)
    trainer, calls = trained(likely_eos, tmp_path, refine, **settings)
    assert len(calls) == 2
    weights = [next(call[3].parameters()) for call in calls]
    assert not torch.equal(*weights)
    tokenizer = trainer.processing_class

    def greedy(model, chats, starts):
        begun = [tokenizer.encode(start) for start in starts]
        asked = encode_chats(chats, tokenizer)
        prompts = [[*ids, *start] for ids, start in zip(asked, begun, strict=True)]
        said = generate_ids(model, tokenizer, prompts, 40)
        return [[*start, *ids][:40] for start, ids in zip(begun, said, strict=True)]

    for chats, starts, found, model in calls:
        assert found == greedy(model, chats, starts)
    chats, starts, found, _ = calls[1]
    assert found != greedy(calls[0][3], chats, starts)


class Engine:
    """A trainer of one process among several, and its engine."""

    max_completion_length = 6

    def __init__(self, tokenizer, rows):
        self._tokenizer = tokenizer
        self.batch = type("Batch", (), {"rows": rows, "metrics": {"resampled_tokens": 0}})
        self.prompts = []

    def _tokenize_prompts(self, chats):
        return [list(chat[-1]["content"].encode()) for chat in chats], None, {}

    def turn(self, prompt_ids, images, fields, num_generations):
        assert (images, fields, num_generations) == (None, {}, 1)
        self.prompts.append([bytes(ids).decode() for ids in prompt_ids])
        return [[65, 66, 67]] * len(prompt_ids), [[-1.0]] * len(prompt_ids)


@pytest.mark.parametrize("most", [0, 2, 3])
def test_every_process_asks_as_many_prompts(tiny_model_dir, monkeypatch, most):
    from transformers import AutoTokenizer

    monkeypatch.setattr(replies, "gather_object", lambda counts: [*counts, most])
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    engine = Engine(tokenizer, [{"prompt": [{"role": "user", "content": "first"}]}])
    chats = [[{"role": "user", "content": text}] for text in ("one", "two")]
    found = replies.replies(engine, engine.turn, chats, ["", "abcd"])
    assert [tokenizer.decode(ids) for ids in found] == [
        tokenizer.decode([65, 66, 67]),
        "abcd" + tokenizer.decode([65, 66]),
    ]
    assert engine.batch.metrics["resampled_tokens"] == 6
    filled = ["first"] * max(0, most - 2)
    (asked,) = engine.prompts
    assert len(asked) == 2 + len(filled) and asked[0] == "one" and asked[2:] == filled

    engine.prompts.clear()
    assert replies.replies(engine, engine.turn, [], []) == []
    assert engine.prompts == ([["first"] * most] if most else [])
