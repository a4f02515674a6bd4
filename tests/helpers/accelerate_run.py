"""A short training that does not depend on the number of processes; `test_accelerate` launches it.

The student's rollouts are derived from the prompt and the position in the group, since each process
has its own random numbers. The rest is real: teacher, selection, rewards, loss and optimizer.

    accelerate launch --num_processes 2 accelerate_run.py MODEL OUTPUT 8 dapo full
"""

import json
import os
import random
import sys
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset
from torch.distributed.tensor import DTensor
from trainers import vowel_share
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOTrainer

from thinktuning import (
    CritiqueGRPOAlgorithmConfig,
    DPOAlgorithmConfig,
    ScheduleConfig,
    SDPOAlgorithmConfig,
    SelfTeacher,
    ThinkTuningAlgorithmConfig,
    ThinkTuningConfig,
    ThinkTuningTrainer,
)
from thinktuning.algorithms.feedback import Feedback
from thinktuning.commands.train import keep_loss_in_float32

ALGORITHMS = {"dpo": DPOAlgorithmConfig, "sdpo": SDPOAlgorithmConfig}
TUTOR = "system: You are a tutor.\nuser: '{question} / {response}'\n"


class Tutor(SelfTeacher):
    """The student's frozen copy, with its words put into the teacher's format."""

    def generate(self, chats):
        said = [reply or "cut" for reply in super().generate(chats)]
        feedback = Feedback("incorrect", "Wait.", "So 4")
        return [
            f"<opinion>{feedback.opinion}</opinion><reason>{feedback.reason} {len(text)}</reason>"
            f"<phrase>{feedback.phrase}</phrase>"
            for text in said
        ]


def generate(self, prompt_ids, images, fields, num_generations, **_):
    """Return completions that depend on prompt, position in the group and step only."""
    completions = []
    for n, prompt in enumerate(prompt_ids):
        rng = random.Random(f"{prompt}/{n % num_generations}/{self.state.global_step}")
        ids = [rng.randrange(97, 123) for _ in range(rng.randrange(1, 12))]
        completions.append([*ids, self.eos_token_ids[0]] if rng.random() < 0.7 else ids)
    return completions, None


def section(tuning, output):
    """Return the algorithm that `tuning` names; Critique-GRPO's refinements begin alike."""
    schedule = ScheduleConfig(kind="constant", init=0.5, min=0.0, cutoff=None)
    if tuning != "critique_grpo":
        return ALGORITHMS.get(tuning, ThinkTuningAlgorithmConfig)(schedule=schedule)
    path = Path(output).with_suffix(".refine.yaml")
    path.write_text("user: '{question} / {response}'\nreply: '{critique} '\n")
    return CritiqueGRPOAlgorithmConfig(schedule=schedule, refinement=str(path))


def num_held(weight):
    """Return the number of a weight's elements in this process, which may hold only a shard."""
    weight = getattr(weight, "ds_tensor", weight)
    return (weight.to_local() if isinstance(weight, DTensor) else weight).numel()


def main():
    directory, output, batch, loss_type, tuning = sys.argv[1:]
    GRPOTrainer._generate_single_turn = generate
    tutor = Path(output).with_suffix(".yaml")
    tutor.write_text(TUTOR)
    peft_config = None
    if tuning == "lora":
        from peft import LoraConfig

        peft_config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    algorithm = section(tuning, output)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    questions = [f"What is {i}+{i}?" for i in range(16)]
    trainer = ThinkTuningTrainer(
        model=AutoModelForCausalLM.from_pretrained(directory, dtype="float32"),
        args=ThinkTuningConfig(
            output_dir=f"{output}.checkpoints",
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            bf16=tuning == "bf16",
            gradient_checkpointing=False,
            save_strategy="no",
            per_device_train_batch_size=int(batch),
            steps_per_generation=1,
            num_generations=4,
            max_completion_length=40,
            max_steps=4,
            logging_steps=1,
            learning_rate=1e-3,
            seed=3,
            loss_type=loss_type,
            algorithm=algorithm,
            teacher_prompt=str(tutor),
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": [{"role": "user", "content": q}], "question": q} for q in questions]
        ),
        processing_class=tokenizer,
        reward_funcs=vowel_share,
        teacher=Tutor(max_completion_length=4) if algorithm.uses_teacher else None,
        peft_config=peft_config,
    )
    keep_loss_in_float32(trainer)
    log_probabilities = trainer._get_per_token_logps_and_entropies
    dtypes = set()

    def recorded(*args, **kwargs):
        result = log_probabilities(*args, **kwargs)
        dtypes.add(str(result[0].dtype))
        return result

    trainer._get_per_token_logps_and_entropies = recorded
    trainer.train()
    weights = trainer.accelerator.get_state_dict(trainer.model_wrapped)  # of all shards
    if trainer.accelerator.is_main_process:
        result = {
            "weights": {name: weight.tolist() for name, weight in weights.items()},
            "log": [row for row in trainer.state.log_history if "loss" in row],
            "rollouts": [asdict(rollout) for rollout in trainer.rollouts],
            "dtypes": sorted(dtypes),
            "layout": trainer._layout(trainer.model),
            "num_processes": trainer.accelerator.num_processes,
            "backend": trainer.accelerator.distributed_type.value,
            "num_held": sum(num_held(weight) for weight in trainer.model.parameters()),
        }
        Path(output).write_text(json.dumps(result))
    trainer.accelerator.wait_for_everyone()
    os._exit(0)  # as in the stage: DeepSpeed's threads can abort an interpreter that shuts down


if __name__ == "__main__":
    main()
