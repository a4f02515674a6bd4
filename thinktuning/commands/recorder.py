"""Record a running training: one row of metrics per rollout batch, and some of its rollouts."""

import json
import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.rollout import sample
from thinktuning.commands.watchdog import Watchdog
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer

logger = logging.getLogger(__name__)

CRITICAL = ("loss", "grad_norm")  # of TRL's metrics: what must be finite for training to go on


def recorder(trainer: "ThinkTuningTrainer", directory: Path, started: float, num_kept: int) -> Any:
    """Return a callback that writes metrics and `num_kept` rollouts per batch, with progress.

    It stops a run that diverges, and warns of a run that nobody teaches or that cannot learn. Its
    attribute `row` is the row that was written last.
    """
    from tqdm import tqdm
    from transformers import TrainerCallback

    metrics, rollouts = directory / "metrics.jsonl", directory / "rollouts.jsonl"
    steps_per_batch = trainer.args.logging_steps
    watchdog = Watchdog(trainer.algorithm)

    class Recorder(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Drop rows written after the checkpoint that this run resumes from; count the rest."""
            for path in (rollouts, metrics):
                kept = [row for row in whole_rows(path) if row["step"] <= state.global_step]
                if path == metrics or num_kept:
                    refuse_lost_rows(path, kept, state.global_step)
                write_jsonl(path, kept)
            for row in kept:
                watchdog.watch(row)
            done = state.global_step // steps_per_batch
            total = trainer.budget.batches(done, trainer.num_rollout_batches)
            self.bar = tqdm(total=total, initial=done, desc="train", unit="batch", miniters=1)
            self.last = started

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logs = kwargs["logs"]
            if "loss" not in logs:  # the final summary
                return
            self.refuse_divergence(state.global_step, logs)
            now = time.perf_counter()
            row = {"step": state.global_step, "rollout_batch": state.global_step // steps_per_batch}
            row |= logs
            row["completion_length"] = logs["completions/mean_length"]
            row["time_step"] = now - self.last
            besides = logs["time_rollout"] + logs.get("time_eval", 0.0)
            row["time_update"] = row["time_step"] - besides
            row["no_signal"] = int(watchdog.without_signal(row) is not None)
            self.last = now
            self.row = finite(row)
            append(metrics, [self.row])
            kept = sample(trainer.rollouts, num_kept)
            append(rollouts, [{"step": state.global_step} | asdict(rollout) for rollout in kept])
            figures = ("student_reward", "reflection_rate", "student_length", "guidance_rate")
            self.bar.set_postfix({name: f"{row[name]:.2f}" for name in figures}, refresh=False)
            done = row["rollout_batch"]
            self.bar.total = trainer.budget.batches(done, trainer.num_rollout_batches)
            self.bar.update(done - self.bar.n)
            self.warn(watchdog.watch(row, trainer.rollouts))

        def warn(self, texts: list[str]) -> None:
            if texts:
                with self.bar.external_write_mode(file=sys.stderr):  # on lines of their own
                    for text in texts:
                        logger.warning(text)

        def refuse_divergence(self, step: int, logs: Mapping[str, float]) -> None:
            """Stop, before the next checkpoint, if the loss or the gradients are not finite."""
            bad = {name: logs[name] for name in CRITICAL if not math.isfinite(logs.get(name, 0.0))}
            if not bad:
                return
            what = ", ".join(f"{name} is {value}" for name, value in bad.items())
            raise diverged(trainer, directory, f"at optimizer step {step} {what}")

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()
            for text in watchdog.summary():
                logger.warning(text)

    return Recorder()


def diverged(trainer: "ThinkTuningTrainer", directory: Path, what: str) -> StudyError:
    """Keep the last rollouts for inspection; return the error that ends the training."""
    path = directory / "diverged.jsonl"
    step = trainer.state.global_step
    rows = [{"step": step} | asdict(rollout) for rollout in trainer.rollouts]
    write_jsonl(path, [finite(row) for row in rows])
    return StudyError(
        f"training diverged: {what}. The last rollouts are in {path}, and the last checkpoint is"
        " older than they are. Lower training.learning_rate or training.max_grad_norm, or raise"
        " training.temperature"
    )


def finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with None for NaN and infinities, which JSON does not have."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
    }


def append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a JSON Lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def whole_rows(path: Path) -> list[dict[str, Any]]:
    """Return a file's rows up to the first that a kill or a full disk cut short."""
    rows: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def refuse_lost_rows(path: Path, rows: list[dict[str, Any]], step: int) -> None:
    """Refuse to resume from the checkpoint of a step whose row, written before it, is lost."""
    if step and not any(row["step"] == step for row in rows):
        raise StudyError(
            f"{path}: has no row of optimizer step {step}, whose checkpoint this run resumes from;"
            f" remove {path.parent} to train anew"
        )
