"""What is trained: models, questions and arguments for the three trainers."""

import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from parts import lengths
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from thinktuning import SelfTeacher, ThinkTuningConfig, ThinkTuningTrainer
from thinktuning.algorithms.config import ScheduleConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.commands.train import trainer_settings
from thinktuning.data.prompt import student_chat
from thinktuning.data.sources import load_rows
from thinktuning.grading.grader import Grader
from thinktuning.grading.reward import BoxedReward
from thinktuning.io.files import read_jsonl
from thinktuning.models.chat import eos_ids
from thinktuning.models.emulated import is_emulated
from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]
KINDS = ("stock", "ours", "thinktuning")  # trl.GRPOTrainer; ours without and with a teacher
TUTOR = "<opinion>incorrect</opinion><reason>{}</reason><phrase>So it is 4.</phrase>"


class Tutor(SelfTeacher):
    """A random model's teacher: its words, cut to `num_words`, in the form of feedback."""

    num_words = 120

    def generate(self, chats):
        """Answer each chat in the form of feedback."""
        said = [(reply or "Wait.").replace("<", "") for reply in super().generate(chats)]
        return [TUTOR.format(" ".join(text.split()[: self.num_words]) or "Wait.") for text in said]


@dataclass
class Setting:
    """A model and its training.

    Attributes:
        name: of the setting.
        load: returns the model, in float32, and its tokenizer.
        rows: questions, each with `prompt`.
        training: arguments of `trl.GRPOConfig`.
        algorithm: ThinkTuning's section.
        teacher: the teacher's class, and its arguments.
        reward: makes a reward function of a model and its tokenizer.
        extra: arguments of `ThinkTuningConfig` only.
    """

    name: str
    load: Callable[[], tuple[Any, Any]]
    rows: list[dict[str, Any]]
    training: dict[str, Any]
    reward: Callable[[Any, Any], Any]
    teacher: tuple[type, dict[str, Any]] = (SelfTeacher, {})
    init: float = 0.4
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def steps_per_batch(self):
        """The optimizer steps of a rollout batch."""
        accumulation = self.training.get("gradient_accumulation_steps", 1)
        return max(1, self.training["steps_per_generation"] // accumulation)

    def trainer(self, kind, batches, output, **overrides):
        """Build a trainer of a kind for some rollout batches, from the setting's weights."""
        training = self.training | {
            "max_steps": batches * self.steps_per_batch,
            "save_strategy": "no",
            "warmup_steps": 0,
            "output_dir": str(output),
            "use_cpu": not torch.cuda.is_available(),
            "report_to": "none",
            "disable_tqdm": True,
            "logging_steps": 1000,
        }
        guided: dict[str, Any] = {}
        if kind == "stock":
            known = {option.name for option in fields(GRPOConfig)}
            training = {k: v for k, v in (training | overrides).items() if k in known}
            trainer_class, config = GRPOTrainer, GRPOConfig(**training)
        else:
            algorithm: dict[str, Any] = {"type": "grpo"}
            if kind == "thinktuning":
                schedule = ScheduleConfig(kind="constant", init=self.init, min=0.0, cutoff=None)
                algorithm = ThinkTuningAlgorithmConfig(schedule=schedule).model_dump()
                teacher, arguments = self.teacher
                guided["teacher"] = teacher(**arguments)
            settings = training | self.extra | {"algorithm": algorithm} | overrides
            trainer_class, config = ThinkTuningTrainer, ThinkTuningConfig(**settings)
        model, tokenizer = self.load()
        trainer = trainer_class(
            model=model,
            args=config,
            train_dataset=Dataset.from_list(self.rows),
            processing_class=tokenizer,
            reward_funcs=self.reward(model, tokenizer),
            **guided,
        )
        trainer.remove_callback(PrinterCallback)  # it would flood the output
        return trainer


def saved(directory):
    """Return what loads a saved model."""

    def load():
        model = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
        return model, AutoTokenizer.from_pretrained(directory)

    return load


def of_study(name, path, directory, rows, grader, **changes):
    """Return the setting of a study's training, its teacher always on."""
    job = load_study(path).train_job("thinktuning", 0)
    settings = trainer_settings(job) | changes
    extra = {key: settings.pop(key) for key in ("teacher_prompt", "teacher_behaviors")}
    settings.pop("algorithm")
    extra["reseed_each_epoch"] = settings.pop("reseed_each_epoch")
    prompts = [{"prompt": student_chat(row["question"], job.prompt)} | row for row in rows]
    budget, batch_size = job.teacher.max_completion_length, job.teacher.batch_size
    return Setting(
        name=name,
        load=saved(directory),
        rows=prompts,
        training=settings,
        reward=lambda model, tok: BoxedReward(grader, job.answer_kind, eos_ids(model, tok)),
        teacher=(SelfTeacher, {"max_completion_length": budget, "batch_size": batch_size}),
        init=job.algorithm.schedule.init,
        extra=extra,
    )


def toy(results, grader):
    """Return the default study's setting, on the model and the questions in its results."""
    rows = list(read_jsonl(results / "data" / "train.jsonl"))
    return of_study("toy", ROOT / "config.yaml", results / "models" / "base", rows, grader)


def smollm2(directory, grader):
    """Return the setting of studies/smollm2.yaml with half of its batch, without its warm-up.

    In float32 on a CPU without instructions for bfloat16: TRL would multiply number by number.
    """
    from thinktuning.commands.model import materialize

    path = ROOT / "studies" / "smollm2.yaml"
    study = load_study(path)
    if not (directory / "config.json").exists():
        materialize(study.model, directory, directory)
    source = study.data.train.parts["gsm"].model_copy(update={"size": 64})
    rows = load_rows(source, study.data.answer_kind, "train", "data.train")
    changes: dict[str, Any] = {"steps_per_generation": 2, "gradient_accumulation_steps": 2}
    changes["bf16"] = torch.cuda.is_available() or not is_emulated()
    return of_study("smollm2", path, directory, rows, grader, **changes)


def first_token_reward(completion_ids, **_):
    """Reward half of the answers, by their first token: a random model cannot solve anything."""
    return [float(ids[0] % 2) for ids in completion_ids]


def forced(directory, *, mean, longest, size, name="gsm8k", rollouts=32, group=8, **changes):
    """Return the setting of a random Llama whose answers have lognormal lengths.

    Args:
        directory: where to save the model; None: it is made anew for each trainer.
        mean: of the answers' lengths, in tokens.
        longest: the longest answer.
        size: arguments of `lengths.build`.
        name: of the setting.
        rollouts: completions of a rollout batch; an optimizer step takes half of them.
        group: completions of a prompt.
        changes: to the arguments of `trl.GRPOConfig`.
    """
    made = partial(lengths.build, mean=mean, longest=longest, **size)
    if directory is not None:
        lengths.save(directory, *made())
        made = saved(directory)
    rows = [
        {"prompt": [{"role": "user", "content": row["question"]}]} | row
        for row in lengths.questions(256)
    ]
    training = {
        "per_device_train_batch_size": rollouts // 2,
        "steps_per_generation": 2,
        "gradient_accumulation_steps": 1,
        "num_generations": group,
        "max_completion_length": longest,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "loss_type": "bnpo",
        "delta": 3.0,
        "temperature": 1.0,
        "bf16": False,
        "gradient_checkpointing": False,
        "chat_template_kwargs": {"sanitize_control_tokens": True},
        "seed": 0,
    }
    return Setting(
        name=name,
        load=made,
        rows=rows,
        training=training | changes,
        reward=lambda model, tok: first_token_reward,
        teacher=(Tutor, {"max_completion_length": longest, "batch_size": 64}),
        extra={"teacher_prompt": "paper"},
    )


LLAMA_20M = {
    "hidden_size": 384,
    "intermediate_size": 1024,
    "num_hidden_layers": 10,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
}
LLAMA_3M = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
}


@contextmanager
def workspace():
    """Yield a temporary directory and a grader."""
    with Grader() as grader, tempfile.TemporaryDirectory() as directory:
        yield Path(directory), grader
