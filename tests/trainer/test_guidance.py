"""Guided training: what is spliced, kept and trained on, and what the teacher sees."""

import pytest
from trainers import (
    ALWAYS,
    FEEDBACK,
    REPLY,
    EveryOther,
    ScriptedTeacher,
    build,
    scored_batches,
    vowel_share,
)
from transformers import AutoModelForCausalLM

from thinktuning.algorithms.config import ScheduleConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.models.chat import generate_ids
from thinktuning.teachers.local import SelfTeacher
from thinktuning.teachers.protocol import Teacher
from thinktuning.trainer.trainer import ThinkTuningTrainer


def test_feedback_is_spliced_rewarded_and_masked(likely_eos, tmp_path):
    teacher = ScriptedTeacher()
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        algorithm=ThinkTuningAlgorithmConfig(schedule=ALWAYS, mask="teacher"),
        max_completion_length=40,
        max_steps=2,
    )
    seen = scored_batches(trainer)
    trainer.train()
    batch, rollouts = seen[0], trainer.rollouts
    taught = [i for i, rollout in enumerate(rollouts) if rollout.taught]
    assert taught, "no rollout ended by itself: the fixture's EOS is not likely enough"
    tokenizer = trainer.processing_class
    for i, rollout in enumerate(rollouts):
        length = rollout.completion_length
        guided = batch["guidance_mask"][i].nonzero().flatten().tolist()
        if i not in taught:
            assert rollout.text == rollout.student_text and not guided
            continue
        assert rollout.text == rollout.student_text + FEEDBACK
        assert guided == list(range(rollout.student_length - 1, length))
        assert tokenizer.decode(batch["completion_ids"][i, guided]) == FEEDBACK + "<|im_end|>"
        assert rollout.reward == pytest.approx(
            vowel_share([[{"content": rollout.text}]])[0], rel=1e-5
        )
        assert rollout.student_reward == pytest.approx(
            vowel_share([[{"content": rollout.student_text}]])[0], rel=1e-5
        )
    # half of each group's eligible rollouts, and the teacher saw exactly those
    assert len(teacher.chats) == len([r for r in rollouts if r.asked])
    asked = next(r for r in rollouts if r.asked)
    assert {"role": "user", "content": f"{asked.question} / {asked.student_text}"} in [
        chat[-1] for chat in teacher.chats
    ]


def test_malformed_feedback_leaves_the_rollout_unchanged_and_is_counted(likely_eos, tmp_path):
    teacher = ScriptedTeacher(reply="Looks good to me!")
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        algorithm=ThinkTuningAlgorithmConfig(schedule=ALWAYS),
        max_completion_length=40,
        max_steps=2,
    )
    trainer.train()
    row = trainer.state.log_history[0]
    assert row["num_asked"] == row["num_unparsed"] > 0
    assert row["num_taught"] == 0
    assert all(rollout.text == rollout.student_text for rollout in trainer.rollouts)


@pytest.mark.parametrize("keep", ["right", "wrong"])
def test_feedback_is_kept_by_the_reward_of_the_spliced_rollout(likely_eos, tmp_path, keep):
    def verifies(completions, **_):
        return [float("So 4" in completion[-1]["content"]) for completion in completions]

    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=EveryOther(),
        algorithm=ThinkTuningAlgorithmConfig(schedule=ALWAYS, keep=keep),
        max_completion_length=40,
        max_steps=2,
    )
    trainer.reward_funcs = [verifies]
    batches = []
    scored = trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda i: batches.append(scored(i)) or batches[-1]
    trainer.train()
    asked = [i for i, r in enumerate(trainer.rollouts) if r.asked]
    taught = [i for i in asked if trainer.rollouts[i].taught]
    assert 0 < len(taught) < len(asked)
    for i in asked:
        rollout = trainer.rollouts[i]
        right = "So 4" in rollout.teacher_reply
        assert rollout.parsed and rollout.taught == (right == (keep == "right"))
        assert (rollout.text == rollout.student_text) == (not rollout.taught)
        assert batches[0]["guidance_mask"][i].any() == rollout.taught
        assert rollout.reward == (1.0 if rollout.taught and right else 0.0)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_self_teacher_keeps_the_initial_weights(lively, tmp_path, tuning, monkeypatch):
    """The student changes in training; the teacher always generates like the base model."""
    from peft import LoraConfig

    import thinktuning.teachers.local as teachers

    said = []

    def watched(*args, **kwargs):
        completions = generate_ids(*args, **kwargs)
        assert generate_ids(*args) == completions
        said.append((args[2], completions))
        return completions

    monkeypatch.setattr(teachers, "generate_ids", watched)
    base = AutoModelForCausalLM.from_pretrained(lively, dtype="float32")
    lora = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = build(
        lively,
        ThinkTuningTrainer,
        tmp_path,
        teacher=SelfTeacher(max_completion_length=6),
        algorithm=ThinkTuningAlgorithmConfig(schedule=ALWAYS),
        max_completion_length=64,
        learning_rate=1e-2,
        peft_config=lora if tuning == "lora" else None,
    )
    trainer.train()
    assert len(said) > 1  # of three rollout batches, those in which a completion ended
    for prompts, completions in said:
        assert completions == generate_ids(base, trainer.processing_class, prompts, 6)
    assert completions != generate_ids(trainer.model, trainer.processing_class, prompts, 6)


def test_the_teacher_is_closed_when_the_rate_falls_to_the_cutoff(tiny_model_dir, tmp_path):
    teacher = ScriptedTeacher()
    schedule = ScheduleConfig(kind="linear", init=0.5, min=0.0, decay_fraction=1.0, cutoff=0.2)
    trainer = build(
        tiny_model_dir,
        ThinkTuningTrainer,
        tmp_path,
        teacher=teacher,
        algorithm=ThinkTuningAlgorithmConfig(schedule=schedule),
    )
    trainer.train()
    history = trainer.state.log_history
    rates = [row["guidance_rate"] for row in history if "guidance_rate" in row]
    # 6 optimizer steps are 3 rollout batches: 0.5, 0.5 * 2/3, 0.5 * 1/3 <= 0.2
    assert rates == pytest.approx([0.5, 1 / 3, 0.0])
    assert teacher.closed and trainer.algorithm.teacher is None
    with pytest.raises(RuntimeError, match="to train again, build another trainer"):
        trainer.train()


def test_a_custom_teacher_only_needs_generate(likely_eos, tmp_path):
    class Own(Teacher):
        def generate(self, chats):
            return [REPLY for _ in chats]

    schedule = ScheduleConfig(kind="linear", init=0.5, min=0.0, decay_fraction=1.0, cutoff=0.3)
    trainer = build(
        likely_eos,
        ThinkTuningTrainer,
        tmp_path,
        teacher=Own(),
        algorithm=ThinkTuningAlgorithmConfig(schedule=schedule),
        max_completion_length=40,
    )
    trainer.train()
    rows = [row for row in trainer.state.log_history if "num_taught" in row]
    assert rows[0]["num_taught"] > 0 and rows[0]["teacher_tokens"] == 0
    assert rows[-1]["num_taught"] == 0 and trainer.algorithm.teacher is None
