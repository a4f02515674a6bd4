"""Experiment trackers: the rows of metrics.jsonl, as they are written, in other tools as well.

    training: {report_to: [tensorboard, trackio]}

A metric is called `train/NAME`, with its name in metrics.jsonl; MLflow's have no prefix. The run's
configuration is the job's. A run that resumes from a checkpoint continues its record: rows that it
makes again stay as they were recorded, or TensorBoard is told to forget them. A run that starts
anew has a new record.

The files are next to the run's other results, in a directory of the tracker's name, and nothing is
sent elsewhere, unless the environment says so: TRACKIO_DIR, TRACKIO_SPACE_ID,
TENSORBOARD_LOGGING_DIR, WANDB_DIR, WANDB_MODE (default: offline), MLFLOW_TRACKING_URI. Such a
place may have the records of other runs, and nothing in it is deleted. Other trackers are
transformers' own callbacks, with their own environment variables.
"""

import itertools
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_text_atomic
from thinktuning.io.section import flattened
from thinktuning.io.trackers import TrackedSection

Row = Mapping[str, Any]
Config = dict[str, Any]


class Tracker(Protocol):
    """The record of a run, in one tool."""

    def start(self, resumed: int) -> int:
        """Open the record.

        Args:
            resumed: the optimizer step of the checkpoint that the run resumes from; 0: it is new.

        Returns:
            The last step whose row need not be recorded again.
        """

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record a row's numbers."""

    def end(self) -> None:
        """Close the record."""


class Named:
    """What every tracker here is given: the section's names, the resolved job, a directory."""

    def __init__(self, names: TrackedSection, config: Config, directory: Path) -> None:
        self.names, self.config, self.directory = names, config, directory


class TensorBoard(Named):
    """Event files; a resumed run adds one, and tells TensorBoard from which step on it holds."""

    def start(self, resumed: int) -> int:
        """Open an event file; see `Tracker`."""
        from torch.utils.tensorboard import SummaryWriter

        if shared := os.environ.get("TENSORBOARD_LOGGING_DIR"):
            folder = str(self.names.project).replace("/", "_")
            wanted = Path(shared).absolute() / folder / str(self.names.run_name)
            self.directory = Path(run_id(self.directory, resumed, lambda: unused(wanted)))
        elif not resumed:
            shutil.rmtree(self.directory, ignore_errors=True)
        purge = resumed + 1 if resumed else None
        self.writer: Any = SummaryWriter(str(self.directory), purge_step=purge)
        indented = json.dumps(self.config, indent=2).replace("\n", "\n    ")
        self.writer.add_text("config", f"    {indented}", resumed)  # Markdown, so a code block
        return resumed

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record a row's numbers."""
        for name, value in metrics.items():
            self.writer.add_scalar(f"train/{name}", value, step)
        self.writer.flush()

    def end(self) -> None:
        """Close the event file."""
        self.writer.close()


class Trackio(Named):
    """A local SQLite database, which `TRACKIO_DIR=RUN/trackio trackio show` opens."""

    def start(self, resumed: int) -> int:
        """Open the run, by its name if it is resumed; see `Tracker`."""
        import trackio
        from trackio import sqlite_storage, utils

        if "TRACKIO_DIR" not in os.environ:
            if not resumed:
                shutil.rmtree(self.directory, ignore_errors=True)
            for module in (trackio, sqlite_storage, utils):  # read when TRL imported it
                module.TRACKIO_DIR = self.directory.absolute()
        self.trackio: Any = trackio
        project = str(self.names.project)
        run = trackio.init(
            project,
            name=self.names.run_name,
            config=self.config,
            resume="allow" if resumed else "never",
            embed=False,
        )
        last = sqlite_storage.SQLiteStorage.get_max_step_for_run(project, run.name, run_id=run.id)
        return int(last or 0) if resumed else 0

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record a row's numbers."""
        self.trackio.log({f"train/{name}": value for name, value in metrics.items()}, step=step)

    def end(self) -> None:
        """Write what is left, and close the run."""
        self.trackio.finish()


class WandB(Named):
    """Weights & Biases, offline unless WANDB_MODE says otherwise; `wandb sync` sends it later."""

    def start(self, resumed: int) -> int:
        """Open the run, by its ID if it is resumed; see `Tracker`."""
        import wandb

        self.directory.mkdir(parents=True, exist_ok=True)
        self.run: Any = wandb.init(
            project=self.names.project,
            name=self.names.run_name,
            id=run_id(self.directory, resumed, lambda: uuid.uuid4().hex),
            resume="allow" if resumed else None,
            dir=os.environ.get("WANDB_DIR", str(self.directory)),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=self.config,
        )
        self.run.define_metric("train/global_step")
        self.run.define_metric("*", step_metric="train/global_step", step_sync=True)
        last = self.run.summary.get("train/global_step") if resumed else None
        return int(last or 0)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record a row's numbers."""
        named = {f"train/{name}": value for name, value in metrics.items()}
        self.run.log(named | {"train/global_step": step})

    def end(self) -> None:
        """Close the run."""
        self.run.finish()


class MLflow(Named):
    """MLflow, in a local SQLite database unless MLFLOW_TRACKING_URI says otherwise."""

    def start(self, resumed: int) -> int:
        """Open the run, by its ID if it is resumed; see `Tracker`."""
        self.directory.mkdir(parents=True, exist_ok=True)
        import mlflow

        local = f"sqlite:///{self.directory.absolute()}/mlflow.db"
        mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", local))
        self.client: Any = mlflow.MlflowClient()
        experiment = mlflow.set_experiment(str(self.names.project))

        def new() -> str:
            run = self.client.create_run(experiment.experiment_id, run_name=self.names.run_name)
            return str(run.info.run_id)

        self.id = run_id(self.directory, resumed, new)
        named = [(clean(name), str(value)[:500]) for name, value in flattened(self.config).items()]
        for start in range(0, len(named), 100):  # as many as it takes at once
            some = named[start : start + 100]
            self.client.log_batch(self.id, params=[mlflow.entities.Param(*each) for each in some])
        history = self.client.get_metric_history(self.id, "loss") if resumed else []
        return max((metric.step for metric in history), default=0)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record a row's numbers."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        logged = [Metric(clean(name), value, now, step) for name, value in metrics.items()]
        self.client.log_batch(self.id, metrics=logged)

    def end(self) -> None:
        """Mark the run as finished."""
        self.client.set_terminated(self.id)


OWN: Mapping[str, Callable[[TrackedSection, Config, Path], Tracker]] = {
    "mlflow": MLflow,
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WandB,
}


def run_id(directory: Path, resumed: int, new: Callable[[], str]) -> str:
    """Return the ID of a resumed run's record, or that of a new one, which is kept in a file."""
    kept = directory / "run_id"
    if not (resumed and kept.exists()):
        write_text_atomic(kept, new())
    return kept.read_text(encoding="utf-8")


def unused(wanted: Path) -> str:
    """Make a folder and return its path: the one that is wanted, or NAME-2, NAME-3, ..."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        with suppress(FileExistsError):
            folder.mkdir()
            return str(folder)
    raise AssertionError


def clean(name: str) -> str:
    """Return a name without the characters that MLflow refuses."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def numbers(row: Row) -> dict[str, float]:
    """Return the numbers of a row."""
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}


def tracking(
    names: TrackedSection,
    config: Config,
    directory: Path,
    row: Callable[[], Row] | None = None,
    metrics: Path | None = None,
) -> Any:
    """Return the callback that sends rows to a section's trackers.

    Args:
        names: the section.
        config: the resolved job, which is attached to each record.
        directory: the run's; each tracker has a directory in it.
        row: returns the row that the callback before this one has just written; None: what TRL
            logs is the row.
        metrics: the rows so far, a metrics.jsonl: of a run that was killed, a tracker that writes
            in the background may lack some, which are recorded when it resumes.

    Raises:
        StudyError: a tracker cannot be set up.
    """
    from transformers import TrainerCallback
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    own = [OWN[name](names, config, directory / name) for name in names.trackers if name in OWN]
    others = [name for name in names.trackers if name not in OWN]
    try:
        stock = [kind() for kind in get_reporting_integration_callbacks(others)]
    except (ImportError, RuntimeError) as error:
        raise StudyError(f"report_to: {', '.join(others)}: {error}") from error

    class Tracking(TrainerCallback):
        def __init__(self) -> None:
            self.recorded: list[int] = []

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.recorded = [each.start(state.global_step) for each in own]
            written = list(read_jsonl(metrics)) if metrics and metrics.is_file() else []
            for each, last in zip(own, self.recorded, strict=True):
                for old in written:
                    if last < old["step"] <= state.global_step:
                        each.log(numbers(old), old["step"])
            for each in stock:
                each.on_init_end(args, state, control)
                each.on_train_begin(args, state, control, **more)

        def on_log(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            logs = more.pop("logs")
            if "loss" not in logs:  # the final summary
                return
            found = numbers(row() if row else logs)
            for each, last in zip(own, self.recorded, strict=True):
                if state.global_step > last:
                    each.log(found, state.global_step)
            for each in stock:
                each.on_log(args, state, control, logs=found, **more)

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            for each in own:
                each.end()
            for callback in stock:
                callback.on_train_end(args, state, control, **more)

    return Tracking()
