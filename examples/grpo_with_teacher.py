"""GRPO as in TRL's quick start, with a teacher.

    python examples/grpo_with_teacher.py --model Qwen/Qwen2.5-0.5B-Instruct --output out

What differs from the same script with stock TRL: the import that is marked `# changed`, the names
ThinkTuningConfig and ThinkTuningTrainer for TRL's GRPOConfig and GRPOTrainer, and the lines with
`# new`. A test runs both scripts.

All arguments of `GRPOConfig` and `GRPOTrainer` stay what they are. The defaults of
ThinkTuningConfig are the paper's recipe, of which `loss_type`, `delta`, `weight_decay` and
`lr_scheduler_type` differ from TRL's: set them if you compare the two.
"""

import argparse
from typing import Any

import reasoning_gym
import torch
from datasets import Dataset

from thinktuning import SelfTeacher, ThinkTuningConfig, ThinkTuningTrainer  # changed


def questions(size: int) -> Dataset:
    """Return sums of three or four one-digit numbers, as chats, with their answers."""
    terms = {"min_terms": 3, "max_terms": 4, "min_digits": 1, "max_digits": 1}
    rows = [
        {
            "prompt": [
                {"role": "user", "content": f"{item['question']} Put the answer in \\boxed{{}}."}
            ],
            "question": item["question"],  # new: what the teacher reads; without it, the prompt
            "answer": item["answer"],
        }
        for item in reasoning_gym.create_dataset("chain_sum", size=size, seed=0, **terms)
    ]
    return Dataset.from_list(rows)


def boxed_answer(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    """Return 1 for a completion whose last box has the answer, else 0."""
    texts = [completion[-1]["content"] for completion in completions]
    boxes = [text.rpartition("\\boxed{")[2].partition("}")[0] for text in texts]
    return [float(box.strip() == right) for box, right in zip(boxes, answer, strict=True)]


def main() -> None:
    """Train a model, and save it."""
    parser = argparse.ArgumentParser(description="GRPO with a teacher.")
    parser.add_argument("--model", required=True, help="a chat model: its name on the hub or path")
    parser.add_argument("--output", required=True, help="the directory of the trained model")
    parser.add_argument("--max-steps", type=int, default=100)
    given = parser.parse_args()
    args = ThinkTuningConfig(
        given.output,
        # At first 40% of the rollouts are taught, and none in the last two thirds of the training.
        algorithm={"type": "thinktuning", "schedule": {"init": 0.4}},  # new
        max_steps=given.max_steps,
        per_device_train_batch_size=16,
        num_generations=8,
        max_completion_length=128,
        logging_steps=1,
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
    )
    trainer = ThinkTuningTrainer(
        model=given.model,
        reward_funcs=boxed_answer,
        args=args,
        train_dataset=questions(1000),
        teacher=SelfTeacher(),  # new: the model as it is before training
    )
    trainer.train()
    trainer.save_model(given.output)


if __name__ == "__main__":
    main()
