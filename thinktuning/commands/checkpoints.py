"""When a training writes a checkpoint, and what it resumes from.

A checkpoint has the weights and AdamW's two moments in float32, the scheduler, the state of each
process's random numbers, and the position in the data: 12 bytes per weight. Under FSDP2 each
process writes its own shard, under ZeRO-3 too, with 4 bytes more for copies in bfloat16. A run has
one checkpoint, and a second one while that is written.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.io.files import write_text_atomic
from thinktuning.study.training import TrainingConfig

if TYPE_CHECKING:
    from thinktuning.trainer.trainer import ThinkTuningTrainer

LAST = "trainer_state.json"  # what transformers writes at the end of a checkpoint
ENTROPY = "entropy_ctrl_state.json"  # what TRL adds to it with `use_adaptive_entropy`


def checkpointer(training: TrainingConfig, clock: Callable[[], float] = time.monotonic) -> Any:
    """Return the callback that decides after which rollout batches to write a checkpoint.

    That is after `save_steps` optimizer steps and after `save_minutes` minutes without a
    checkpoint, by the first process's clock.

    Args:
        training: the study's section.
        clock: returns seconds.
    """
    from accelerate.utils import broadcast_object_list
    from transformers import TrainerCallback

    steps_per_batch = training.optimizer_steps_per_rollout_batch

    class Checkpointer(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved_at = clock()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % steps_per_batch:
                return
            if training.save_steps and state.global_step % training.save_steps == 0:
                control.should_save = True
            elif training.save_minutes:
                due = [clock() - self.saved_at >= 60 * training.save_minutes]
                broadcast_object_list(due)  # all processes must write, or none
                control.should_save = due[0]

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.saved_at = clock()

    return Checkpointer()


def prepare_checkpoints(directory: Path, job: str, adaptive: bool = False) -> str | None:
    """Return this job's last complete checkpoint; remove incomplete and other jobs' checkpoints.

    Args:
        directory: of the checkpoints.
        job: its fingerprint.
        adaptive: its entropy coefficient adapts, and is part of each checkpoint.
    """
    mark = directory / "job"
    if directory.exists() and (not mark.exists() or mark.read_text() != job):
        remove_checkpoints(directory)
    if not mark.exists():
        write_text_atomic(mark, job)
    found = sorted(directory.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    needed = [LAST, ENTROPY] if adaptive else [LAST]
    complete = [path for path in found if is_complete(path, needed)]
    for path in found:
        if path not in complete:
            shutil.rmtree(path)
    return str(complete[-1]) if complete else None


def is_complete(checkpoint: Path, needed: Sequence[str]) -> bool:
    """Return whether all of a checkpoint was written: it has these files, which are its last."""
    try:
        for name in needed:
            json.loads((checkpoint / name).read_bytes())
    except (FileNotFoundError, ValueError):  # a full disk cuts one short
        return False
    return True


def remove_checkpoints(directory: Path) -> None:
    """Remove a run's checkpoints, the mark first: what a kill leaves is of no job."""
    (directory / "job").unlink(missing_ok=True)
    shutil.rmtree(directory)


def gather_when_saving(trainer: "ThinkTuningTrainer") -> None:
    """Under FSDP2, let `save_model` write the whole model; checkpoints are written in shards."""
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
