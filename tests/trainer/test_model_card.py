"""TRL's model card of a trainer names the algorithm and its paper."""

import pytest
from trainers import ScriptedTeacher, build

from thinktuning.trainer.trainer import ThinkTuningTrainer


@pytest.mark.parametrize(
    ("algorithm", "said"),
    [
        ("grpo", "trained with GRPO, a method introduced in [DeepSeekMath: Pushing the Limits"),
        ("thinktuning", "trained with ThinkTuning, a method introduced in [ThinkTuning: Instilli"),
        ("sft", "trained with SFT on spliced rollouts.\n"),
    ],
)
def test_a_card_names_the_algorithm(tiny_model_dir, tmp_path, algorithm, said):
    teacher = {} if algorithm == "grpo" else {"teacher": ScriptedTeacher()}
    section = {"algorithm": {"type": algorithm}}
    trainer = build(tiny_model_dir, ThinkTuningTrainer, tmp_path, **section, **teacher)
    trainer.create_model_card(model_name="mine")
    text = (tmp_path / "README.md").read_text()
    assert said in text
    assert ("- thinktuning\n" in text) == (algorithm != "grpo")
    assert ThinkTuningTrainer._name == "GRPO"  # another trainer's stays as it is
