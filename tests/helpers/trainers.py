"""Trainers on a tiny model, scripted teachers, and batches built by hand."""

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import GRPOConfig

from thinktuning.algorithms.config import ScheduleConfig
from thinktuning.algorithms.critique_grpo import CritiqueGRPOAlgorithmConfig
from thinktuning.algorithms.luffy import LUFFYAlgorithmConfig
from thinktuning.algorithms.protocol import Algorithm
from thinktuning.algorithms.rft import RFTAlgorithmConfig
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.trainer.arguments import ThinkTuningConfig
from thinktuning.trainer.trainer import ThinkTuningTrainer

PROMPT = "system: You are a tutor.\nuser: '{question} / {response}'\n"
REPLY = "<opinion>incorrect</opinion><reason>Wait.</reason><phrase>So 4</phrase>"
FEEDBACK = "\n\nWait.\n\nSo 4"
ALWAYS = ScheduleConfig(kind="constant", init=0.5, min=0.0, cutoff=None)
# the algorithms that ask a teacher
TAUGHT = [
    ThinkTuningAlgorithmConfig,
    SFTAlgorithmConfig,
    RFTAlgorithmConfig,
    LUFFYAlgorithmConfig,
    CritiqueGRPOAlgorithmConfig,
]
LENGTH = 9
TEXTS = ["a", "ab", "abb", "abbb"]  # their shares of vowels: 1, 1/2, 1/3, 1/4


class ScriptedTeacher:
    """Gives the same reply to every chat, and records the chats."""

    def __init__(self, reply=REPLY):
        self.reply = reply
        self.chats = []
        self.closed = False
        self.num_generated_tokens = 0

    def generate(self, chats):
        self.chats += chats
        self.num_generated_tokens += 10 * len(chats)
        return [self.reply for _ in chats]

    def close(self):
        self.closed = True


class EveryOther(ScriptedTeacher):
    """Gives a wrong answer in every other reply."""

    def generate(self, chats):
        wrong = REPLY.replace("So 4", "So 5")
        return [wrong if i % 2 else reply for i, reply in enumerate(super().generate(chats))]


def vowel_share(completions, **_):
    """A reward that varies between rollouts of an untrained model."""
    texts = [completion[-1]["content"] for completion in completions]
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def build(directory, kind, output, **overrides):
    """Build a trainer, TRL's or ours; vanilla GRPO unless `algorithm` says otherwise.

    Args:
        directory: the model's directory.
        kind: the trainer's class.
        output: the output directory.
        overrides: arguments of the trainer or of its config. `algorithm` may be a section, which
            goes into the config, or an `Algorithm`.
    """
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
    passed = ("teacher", "peft_config", "reward_funcs", "tools", "rollout_func", "callbacks")
    extra = {k: overrides.pop(k) for k in passed if k in overrides}
    if isinstance(overrides.get("algorithm"), Algorithm):
        extra["algorithm"] = overrides.pop("algorithm")
    config = GRPOConfig
    if kind is ThinkTuningTrainer:
        config = ThinkTuningConfig
        prompt = output.parent / "tutor.yaml"
        prompt.write_text(PROMPT)
        overrides = {"algorithm": None, "teacher_prompt": str(prompt)} | overrides
    settings = dict(
        lr_scheduler_type="linear",
        weight_decay=0.0,
        output_dir=str(output),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        per_device_train_batch_size=8,
        steps_per_generation=2,
        gradient_accumulation_steps=1,
        num_generations=4,
        max_completion_length=12,
        learning_rate=1e-3,
        max_steps=6,
        logging_steps=1,
        save_strategy="no",
        seed=3,
        loss_type="bnpo",
        delta=3.0,
        bf16=False,
        gradient_checkpointing=False,
    )
    questions = [f"What is {i}+{i}?" for i in range(16)]
    dataset = Dataset.from_list(
        [{"prompt": [{"role": "user", "content": q}], "question": q} for q in questions]
    )
    trainer = kind(
        model=model,
        args=config(**(settings | overrides)),
        train_dataset=dataset,
        processing_class=tokenizer,
        **({"reward_funcs": vowel_share} | extra),
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def build_taught(directory, output, **overrides):
    """Build our trainer with ThinkTuning, in which a `ScriptedTeacher` always teaches."""
    algorithm = ThinkTuningAlgorithmConfig(schedule=ALWAYS)
    taught = {"teacher": ScriptedTeacher(), "algorithm": algorithm}
    return build(directory, ThinkTuningTrainer, output, **(taught | overrides))


def batch_of(trainer, mask, with_old_logps):
    """Return a random batch with padding, and its log-probabilities under the trainer's model."""
    trainer.current_gradient_accumulation_steps = 1
    generator = torch.Generator().manual_seed(7)
    B, P, T = 6, 5, LENGTH
    completion_mask = torch.ones(B, T, dtype=torch.long)
    completion_mask[1, 5:] = completion_mask[4, 2:] = 0
    guidance_mask = {
        "none": torch.zeros(B, T, dtype=torch.bool),
        "some": torch.rand(B, T, generator=generator) < 0.5,
        "all": torch.ones(B, T, dtype=torch.bool),
    }[mask]
    inputs = {
        "prompt_ids": torch.randint(0, 250, (B, P), generator=generator),
        "prompt_mask": torch.ones(B, P, dtype=torch.long),
        "completion_ids": torch.randint(0, 250, (B, T), generator=generator),
        "completion_mask": completion_mask,
        "advantages": torch.tensor([1.5, -1.0, 0.3, -2.0, 0.0, 5.0]),
        "guidance_mask": guidance_mask & completion_mask.bool(),
        "num_items_in_batch": completion_mask.sum(),
    }
    logps = logps_of(trainer.model, inputs)
    if with_old_logps:  # ratios on both sides of the clip and past the dual clip
        noise = torch.randn(B, T, generator=generator)
        inputs["old_per_token_logps"] = logps.detach() + noise
    return inputs, logps


def logps_of(model, inputs):
    """Return the log-probability of each completion token under the model: (B, T)."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    num_prompt_tokens = inputs["prompt_ids"].size(1)
    logits = model(input_ids=ids, attention_mask=attention).logits[:, num_prompt_tokens - 1 : -1]
    return logits.log_softmax(-1).gather(-1, inputs["completion_ids"].unsqueeze(-1)).squeeze(-1)


def assert_gradients(gradients, expected, parameters):
    """Compare gradients with those of the scalar `expected`."""
    wanted = torch.autograd.grad(expected, parameters)
    largest = max(gradient.abs().max().item() for gradient in wanted)
    assert largest > 1e-4
    atol = 1e-6 * max(1.0, largest)
    for gradient, want in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-4, atol=atol)


def scored_batches(trainer):
    """Return a list that training fills with the batches that TRL scored."""
    seen, score = [], trainer._generate_and_score_completions
    trainer._generate_and_score_completions = lambda inputs: seen.append(score(inputs)) or seen[-1]
    return seen
