"""What ThinkTuning's machinery costs a training step, beside stock TRL in the same run.

    python benchmarks/overhead.py            # after `make all`, whose base model it trains on

It trains the default study's model twice over, taking turns step by step: stock `trl.GRPOTrainer`
and `ThinkTuningTrainer` with its teacher always on. The machinery is the time inside the overridden
methods but outside the methods of TRL that they call and outside the teacher: selection, splicing,
masks, shaping, the extra grading of what the student said, records. What longer completions cost
the update is the method's, not the machinery's, and not counted.
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
    """Exclusive times: while a watched call runs inside another, only the inner clock goes."""

    def __init__(self):
        self.times = defaultdict(float)
        self.stack = []
        self.inside_whole = False

    def switch(self):
        now = time.perf_counter()
        if self.stack:
            self.times[self.stack[-1]] += now - self.since
        self.since = now

    def watch(self, owner, name, label, whole=False):
        """Count a method's calls under `label`; `whole`: with all that they call."""
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
    """Make a trainer of the default study, of TRL's class or of ours."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback

    from thinktuning import SelfTeacher, ThinkTuningConfig, ThinkTuningTrainer
    from thinktuning.config import load_study
    from thinktuning.files import read_jsonl
    from thinktuning.prompts import student_chat
    from thinktuning.rewards import BoxedReward
    from thinktuning.schema import Schedule
    from thinktuning.teacher import eos_ids
    from thinktuning.train import trainer_settings

    run = load_study(ROOT / "config.yaml").run_config("thinktuning", 0)
    always = Schedule(kind="constant", init=run.guidance.schedule.init, min=0.0, cutoff=None)
    guided = kind is ThinkTuningTrainer
    guidance = run.guidance.model_copy(update={"schedule": always}) if guided else None
    settings = trainer_settings(run) | {
        "max_steps": steps,
        "save_strategy": "no",
        "warmup_steps": 0,
        "guidance": guidance,
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
        {"prompt": student_chat(r["question"], run.prompt)} | r
        for r in read_jsonl(model_dir.parents[1] / "data" / "train.jsonl")
    ]
    teacher = SelfTeacher(max_completion_length=run.teacher.max_completion_length, batch_size=128)
    trainer = kind(
        model=model,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        reward_funcs=BoxedReward(grader, run.answer_kind, eos_ids(model, tokenizer)),
        **({"teacher": teacher} if guided else {}),
    )
    trainer.remove_callback(PrinterCallback)  # its lines drown ours
    return trainer


def main():
    from trl import GRPOTrainer

    from thinktuning import ThinkTuningTrainer
    from thinktuning.grading import Grader

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--results", type=Path, default=ROOT / "results", help="of `make all`")
    parser.add_argument("--steps", type=int, default=10, help="optimiser steps of a turn")
    parser.add_argument("--turns", type=int, default=5, help="turns of each trainer")
    arguments = parser.parse_args()
    model_dir = arguments.results / "models" / "base"
    if not model_dir.is_dir():
        sys.exit(
            f"{model_dir} is missing: run `make all` first, or name its results with --results"
        )

    ratios = []
    with Grader() as grader, tempfile.TemporaryDirectory() as directory:
        for turn in range(arguments.turns):
            plain = build(GRPOTrainer, arguments.steps, model_dir, directory, grader)
            started = time.perf_counter()
            plain.train()
            vanilla = time.perf_counter() - started

            guided = build(ThinkTuningTrainer, arguments.steps, model_dir, directory, grader)
            stopwatch = Stopwatch()
            originals = {name: getattr(GRPOTrainer, name) for name in OVERRIDDEN}
            for name in OVERRIDDEN:
                stopwatch.watch(GRPOTrainer, name, "trl")
                stopwatch.watch(guided, name, "machinery")
            stopwatch.watch(guided, "_grade", "machinery", whole=True)
            stopwatch.watch(guided.teacher, "generate", "teacher", whole=True)
            guided.train()
            for name, original in originals.items():
                setattr(GRPOTrainer, name, original)
            times = stopwatch.times
            ratios.append(times["machinery"] / vanilla)
            print(
                f"turn {turn + 1}: vanilla {vanilla:.2f} s; guided: machinery"
                f" {times['machinery']:.3f} s, teacher {times['teacher']:.2f} s,"
                f" TRL's methods {times['trl']:.2f} s; machinery / vanilla {ratios[-1]:.2%}",
                flush=True,
            )
    print(f"machinery / vanilla step, median of {len(ratios)}: {statistics.median(ratios):.2%}")


if __name__ == "__main__":
    main()
