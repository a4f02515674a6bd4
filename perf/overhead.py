"""Overhead of the trainer's hooks, relative to a step of stock TRL in the same run.

    python perf/overhead.py            # after `make all`, whose base model it trains on

Trains the default study's model with stock `trl.GRPOTrainer` and with `ThinkTuningTrainer`, whose
teacher is always on, in turns. The overhead is the time spent in the overridden methods outside the
methods of TRL that they call and outside the teacher: selection, splicing, masks, shaping, the
extra grading of the student's texts, records. The time that longer completions add to the update
is part of the method and is not counted.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
OVERRIDDEN = (
    "_generate_single_turn",
    "_calculate_rewards",
    "_generate_and_score_completions",
    "_compute_loss",
    "_get_per_token_logps_and_entropies",
)


class Stopwatch:
    """Measures exclusive times: a watched call inside another stops the outer one's clock."""

    def __init__(self):
        self.times = defaultdict(float)
        self.stack = []
        self.inside_whole = False

    def switch(self):
        """Add the time since the last switch to the running call."""
        now = time.perf_counter()
        if self.stack:
            self.times[self.stack[-1]] += now - self.since
        self.since = now

    def watch(self, owner, name, label, whole=False):
        """Time a method under `label`; `whole` includes all that it calls."""
        call = getattr(owner, name)

        def watched(*args, **kwargs):
            if self.inside_whole:
                return call(*args, **kwargs)
            self.switch()
            self.stack.append(label)
            self.inside_whole = whole
            try:
                return call(*args, **kwargs)
            finally:
                self.inside_whole = False
                self.switch()
                self.stack.pop()

        setattr(owner, name, watched)


def build(kind, steps, model_dir, directory, grader):
    """Build a trainer of class `kind` for the default study."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

    from thinktuning import SelfTeacher, ThinkTuningConfig, ThinkTuningTrainer
    from thinktuning.algorithms.config import ScheduleConfig
    from thinktuning.commands.train import trainer_settings
    from thinktuning.data.prompt import student_chat
    from thinktuning.grading.reward import BoxedReward
    from thinktuning.io.files import read_jsonl
    from thinktuning.models.chat import eos_ids
    from thinktuning.study.reading import load_study

    job = load_study(ROOT / "config.yaml").train_job("thinktuning", 0)
    init = job.algorithm.schedule.init
    always = ScheduleConfig(kind="constant", init=init, min=0.0, cutoff=None)
    guided = kind is ThinkTuningTrainer
    algorithm = job.algorithm.model_copy(update={"schedule": always}) if guided else None
    settings = trainer_settings(job) | {
        "max_steps": steps,
        "save_strategy": "no",
        "warmup_steps": 0,
        "algorithm": algorithm,
    }
    config = ThinkTuningConfig(
        output_dir=str(directory),
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1000,
        **settings,
    )
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    rows = [
        {"prompt": student_chat(r["question"], job.prompt)} | r
        for r in read_jsonl(model_dir.parents[1] / "data" / "train.jsonl")
    ]
    teacher = SelfTeacher(max_completion_length=job.teacher.max_completion_length, batch_size=128)
    trainer = kind(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        reward_funcs=BoxedReward(grader, job.answer_kind, eos_ids(model, tokenizer)),
        **({"teacher": teacher} if guided else {}),
    )
    trainer.remove_callback(PrinterCallback)  # it would flood the output
    return trainer


def main():
    from trl import GRPOTrainer

    from thinktuning import ThinkTuningTrainer
    from thinktuning.grading.grader import Grader

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="results of `make all`"
    )
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps per turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each trainer")
    arguments = parser.parse_args()
    model_dir = arguments.results / "models" / "base"
    if not model_dir.is_dir():
        sys.exit(
            f"{model_dir}: is missing; run `make all` first, or pass its results with --results"
        )

    ratios = []
    with Grader() as grader, tempfile.TemporaryDirectory() as directory:
        for turn in range(arguments.turns):
            plain = build(GRPOTrainer, arguments.steps, model_dir, directory, grader)
            started = time.perf_counter()
            plain.train()
            stock = time.perf_counter() - started

            guided = build(ThinkTuningTrainer, arguments.steps, model_dir, directory, grader)
            stopwatch = Stopwatch()
            originals = {name: getattr(GRPOTrainer, name) for name in OVERRIDDEN}
            for name in OVERRIDDEN:
                stopwatch.watch(GRPOTrainer, name, "trl")
                stopwatch.watch(guided, name, "overhead")
            stopwatch.watch(guided, "_grade", "overhead", whole=True)
            stopwatch.watch(guided.algorithm.teacher, "generate", "teacher", whole=True)
            guided.train()
            for name, original in originals.items():
                setattr(GRPOTrainer, name, original)
            times = stopwatch.times
            ratios.append(times["overhead"] / stock)
            print(
                f"turn {turn + 1}: stock TRL {stock:.2f} s; guided: overhead"
                f" {times['overhead']:.3f} s, teacher {times['teacher']:.2f} s,"
                f" TRL's methods {times['trl']:.2f} s; overhead / stock {ratios[-1]:.2%}",
                flush=True,
            )
    print(f"overhead / stock step, median of {len(ratios)}: {statistics.median(ratios):.2%}")


if __name__ == "__main__":
    main()
