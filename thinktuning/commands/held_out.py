"""Ask held-out questions while a training runs: `training.held_out`.

After every `eval_steps` optimizer steps the student answers the same questions greedily, and the
training's reward verifies the answers. The metrics of that rollout batch get `eval_reward`,
`eval_reflection_rate`, `eval_completion_length` (tokens) and `time_eval` (seconds).

TRL's own evaluation (`eval_strategy`) samples, so it would change the random numbers of the
training. Here none is drawn, and the generators are put back: the weights are those of the training
without these questions, also in a run that resumes.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.rollout import mean
from thinktuning.data.prompt import student_chat
from thinktuning.data.questions import read_questions
from thinktuning.grading.behaviors import reflects
from thinktuning.grading.grader import Grader
from thinktuning.grading.reward import FUNCTIONS
from thinktuning.io.errors import StudyError
from thinktuning.models.chat import encode_chats, eos_ids, generate_ids
from thinktuning.study.jobs import TrainJob

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer


def held_out(job: TrainJob, trainer: "ThinkTuningTrainer", grader: Grader, data: Path) -> Any:
    """Return the callback that asks the questions.

    Args:
        job: with `training.held_out`.
        trainer: trains the student, in one process.
        grader: verifies the answers.
        data: the training questions; those of tasks are in eval/ beside them.

    Raises:
        StudyError: there are several processes, or the questions are missing.
    """
    from transformers import TrainerCallback

    section = job.training.held_out
    assert section
    if trainer.accelerator.num_processes > 1:
        raise StudyError("training.held_out: train in one process, or remove it")
    rows = read_questions(data.parent / f"eval/{section.task}.jsonl", job.answer_kind)
    rows = random.Random(0).sample(rows, min(section.size, len(rows)))
    tokenizer, every = trainer.processing_class, section.eval_steps
    ends = eos_ids(trainer.model, tokenizer)
    reward = FUNCTIONS[job.training.rewards[0]](grader, job.answer_kind, ends)
    chats = [student_chat(row["question"], job.prompt) for row in rows]
    prompts = encode_chats(chats, tokenizer, job.chat_template_kwargs)
    gold = {
        "answer": [row["answer"] for row in rows],
        "options": [row.get("options") for row in rows],
    }

    class HeldOut(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Ask, before TRL logs the metrics of the rollout batch that ends with this step."""
            if state.global_step % every:
                return
            started = time.perf_counter()
            with answering(trainer.model):
                ids = answers(trainer.model, tokenizer, prompts, job)
            texts = tokenizer.batch_decode(ids, skip_special_tokens=True)
            figures = {
                "eval_reward": mean(reward(texts, ids, **gold)),
                "eval_reflection_rate": fmean(map(reflects, texts)),
                "eval_completion_length": fmean(map(len, ids)),
                "time_eval": time.perf_counter() - started,
            }
            for name, value in figures.items():
                trainer._metric(name, value)  # TRL logs it with those of the batch

    return HeldOut()


def answers(model: Any, tokenizer: Any, prompts: list[list[int]], job: TrainJob) -> list[list[int]]:
    """Answer encoded questions greedily, as many at a time as a rollout batch has completions."""
    size = job.training.generation_batch_size
    longest = job.training.max_completion_length
    return [
        completion
        for start in range(0, len(prompts), size)
        for completion in generate_ids(model, tokenizer, prompts[start : start + size], longest)
    ]


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode, and the mode and all random numbers back afterwards."""
    import numpy as np
    import torch

    mode, states = model.training, (random.getstate(), np.random.get_state())
    model.eval()
    try:
        with torch.random.fork_rng(range(torch.cuda.device_count())):
            yield
    finally:
        model.train(mode)
        random.setstate(states[0])
        np.random.set_state(states[1])
