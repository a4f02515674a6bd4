"""Record a running training: one row of metrics per rollout batch, and some of its rollouts."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.algorithms.rollout import sample
from thinktuning.io.files import read_jsonl, write_jsonl

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer


def recorder(trainer: "ThinkTuningTrainer", directory: Path, started: float, num_kept: int) -> Any:
    """Return a callback that writes metrics and `num_kept` rollouts per batch, with progress."""
    from tqdm import tqdm
    from transformers import TrainerCallback

    metrics, rollouts = directory / "metrics.jsonl", directory / "rollouts.jsonl"
    steps_per_batch = trainer.args.logging_steps

    class Recorder(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Drop rows written after the checkpoint that this run resumes from."""
            for path in (metrics, rollouts):
                rows = list(read_jsonl(path)) if path.exists() else []
                write_jsonl(path, [row for row in rows if row["step"] <= state.global_step])
            done = state.global_step // steps_per_batch
            total = trainer.num_rollout_batches
            self.bar = tqdm(total=total, initial=done, desc="train", unit="batch", miniters=1)
            self.last = started

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            logs = kwargs["logs"]
            if "loss" not in logs:  # the final summary
                return
            now = time.perf_counter()
            row = {"step": state.global_step, "rollout_batch": state.global_step // steps_per_batch}
            row |= logs
            row["completion_length"] = logs["completions/mean_length"]
            row["time_step"] = now - self.last
            row["time_update"] = row["time_step"] - logs["time_rollout"]
            self.last = now
            append(metrics, [row])
            kept = sample(trainer.rollouts, num_kept)
            append(rollouts, [{"step": state.global_step} | asdict(rollout) for rollout in kept])
            figures = ("student_reward", "reflection_rate", "student_length", "guidance_rate")
            self.bar.set_postfix({name: f"{row[name]:.2f}" for name in figures}, refresh=False)
            self.bar.update(row["rollout_batch"] - self.bar.n)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.bar.close()

    return Recorder()


def append(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows to a JSON Lines file."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
