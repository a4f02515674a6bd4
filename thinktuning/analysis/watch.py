"""Follow trainings while they run: `thinktuning watch results/runs/thinktuning/seed0`.

On a terminal it draws the curves of a run and its latest rollout, or the two main curves of each
run of a study; elsewhere it prints a line per rollout batch. It reads the files that a training
writes beside its checkpoints, and ends when every run has published its results or has diverged. A
run that fails in another way or is killed leaves no sign: it is quiet, which is said with its log.
"""

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.analysis.show import heading, lines
from thinktuning.io.bars import last_bar
from thinktuning.io.errors import StudyError
from thinktuning.io.terminal import console

if TYPE_CHECKING:
    from rich.console import Console, Group

Row = Mapping[str, Any]

FILES = ("metrics.jsonl", "checkpoints")  # a run's directory has one of them when it has begun
CURVES = {  # column of metrics.jsonl -> its name here
    "student_reward": "reward of the student",
    "reward": "reward after splicing",
    "reflection_rate": "reflects",
    "eval_reward": "held-out reward",
    "guidance_rate": "share to teach",
    "completion_length": "tokens",
}
SHORT = ("student_reward", "reflection_rate")  # the curves of each of several runs
BLOCKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
WIDTH = 40  # characters of a curve
QUIET = 60.0  # seconds without a batch from which on it is said


class Tail:
    """The complete rows of a JSON Lines file that grows; a resumed training writes it anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        self.inode = 0

    def read(self) -> tuple[bool, list[Row]]:
        """Return whether the file began anew, and the rows since the last call."""
        try:
            with self.path.open("rb") as file:
                found = self.path.stat()
                anew = found.st_ino != self.inode or found.st_size < self.offset
                self.offset, self.inode = (0 if anew else self.offset), found.st_ino
                file.seek(self.offset)
                whole = file.read().rpartition(b"\n")[0]
        except OSError:  # not yet there, or just published
            return False, []
        self.offset += len(whole) + bool(whole)
        return anew, [row for line in whole.splitlines() if (row := parsed(line))]


def parsed(line: bytes) -> Row | None:
    """Return a row; None of a line that a kill cut short, which a resumed training drops."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("step"), int | float) else None


@dataclass
class Run:
    """A training that is followed."""

    name: str
    directory: Path
    metrics: list[Row] = field(default_factory=list)
    rollout: Row | None = None
    changed: float = field(default_factory=time.monotonic)
    told: bool = False  # whether it has been said that it is quiet

    def __post_init__(self) -> None:
        """Open the files of the run, wherever it has them by now."""
        self.tails = {
            (kind, place): Tail(place / f"{kind}.jsonl")
            for kind in ("metrics", "rollouts")
            for place in (self.directory / "checkpoints", self.directory)
        }

    @property
    def diverged(self) -> bool:
        """Whether it has stopped because its loss or its gradients were not finite."""
        mark = self.directory / "checkpoints/diverged.jsonl"
        newer = self.directory / "checkpoints/metrics.jsonl"  # of another start
        return mark.is_file() and (
            not newer.is_file() or newer.stat().st_mtime <= mark.stat().st_mtime
        )

    @property
    def ended(self) -> bool:
        """Whether its results are published, or it has diverged."""
        return (self.directory / "provenance.json").is_file() or self.diverged

    @property
    def log(self) -> Path:
        """Its log, if the workflow started it."""
        method = self.directory.parent
        return method.parent.parent / "logs/train" / method.name / f"{self.directory.name}.log"

    @property
    def quiet(self) -> float:
        """Seconds since its last batch or, without one, since its log was written; 0 if waiting."""
        metrics = [tail.path for (kind, _), tail in self.tails.items() if kind == "metrics"]
        for path in (*metrics, self.log):
            if path.is_file():
                return time.time() - path.stat().st_mtime
        return 0.0

    def update(self) -> list[Row]:
        """Read what is new; return the new rows of metrics."""
        last = self.metrics[-1]["step"] if self.metrics else 0
        for (kind, _), tail in self.tails.items():
            anew, rows = tail.read()
            if kind == "rollouts":
                self.rollout = latest(rows) or self.rollout
            elif rows:
                if anew:  # from its first row: published, or resumed from a checkpoint
                    self.metrics = []
                self.metrics += rows
        fresh = [row for row in self.metrics if row["step"] > last]
        if fresh:
            self.changed, self.told = time.monotonic(), False
        return fresh

    def state(self) -> str:
        """Say how far the run is."""
        done = f"{len(self.metrics)} batches"
        if self.ended:
            return (
                f"diverged after {done}: see {self.log}" if self.diverged else f"ended after {done}"
            )
        if bar := last_bar(self.log):
            done = f"batch {len(self.metrics)} of {bar.total}"
        if not self.metrics:
            done = "waiting for the first batch"
        if self.quiet <= QUIET:
            return done
        return f"{done}, none for {self.quiet:.0f} s: see {self.log}"


def watch(path: Path, every: float = 1.0, once: bool = False) -> None:
    """Follow the trainings in a directory until all have ended.

    Args:
        path: a run's directory, or the results of a study.
        every: seconds between looks.
        once: print how far they are, and end.

    Raises:
        StudyError: there is no training.
    """
    path = Path(os.path.abspath(path))  # a run's name and log are those of the folders above it
    out = console()
    runs = find_runs(path)
    try:
        if out.is_terminal and not once:
            follow_on_terminal(out, path, runs, every)
        else:
            follow(out, path, runs, every, once)
    except KeyboardInterrupt:  # the usual way to leave; the training goes on
        return
    for run in runs.values():
        out.print(f"{run.name}: {run.state()}", markup=False)


def find_runs(path: Path) -> dict[Path, Run]:
    """Return the runs in a directory, by their own.

    Raises:
        StudyError: there are none.
    """
    resolved = path.parent.parent.name == "runs" and (path / "config.json").is_file()
    if resolved or any((path / name).exists() for name in FILES):
        return {path: Run(f"{path.parent.name}/{path.name}", path)}
    kinds = ("runs/*/seed*", "*/runs/*/seed*")  # the latter of a sweep's points
    found = sorted(p for kind in kinds for p in path.glob(kind) if p.is_dir())
    if not found:
        raise StudyError(
            f"{path}: has no training, neither running nor finished; pass a run's directory, e.g."
            " results/runs/grpo/seed0, or results; `thinktuning run` starts the trainings"
        )
    return {p: Run(str(p.relative_to(path)).replace("runs/", ""), p) for p in found}


def refresh(path: Path, runs: dict[Path, Run]) -> dict[Path, list[Row]]:
    """Add the runs that appeared, read what is new, and return the new rows of each run."""
    for place, run in find_runs(path).items():
        runs.setdefault(place, run)
    return {place: run.update() for place, run in runs.items()}


def follow(out: "Console", path: Path, runs: dict[Path, Run], every: float, once: bool) -> None:
    """Print a line per rollout batch of the runs that have not ended yet."""
    over = {place for place, run in runs.items() if run.ended}
    while True:
        ended = all(run.ended for run in runs.values())  # before reading, so that nothing is lost
        for place, rows in refresh(path, runs).items():
            for row in () if once or place in over else rows:
                out.print(f"{runs[place].name}  {batch_text(row)}", markup=False)
        if ended or once:
            return
        for run in runs.values():
            if not run.told and not run.ended and run.quiet > QUIET:
                run.told = True
                out.print(f"{run.name}: {run.state()}", markup=False)
        time.sleep(every)


def batch_text(row: Row) -> str:
    """Return a row of metrics as a line."""
    figures = (f"{CURVES[key]} {row[key]:.2f}" for key in given(row, CURVES))
    return "  ".join([f"batch {row.get('rollout_batch')}", *figures])


def follow_on_terminal(out: "Console", path: Path, runs: dict[Path, Run], every: float) -> None:
    """Draw the curves until all runs have ended."""
    from rich.live import Live

    with Live(console=out, auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            ended = all(run.ended for run in runs.values())
            refresh(path, runs)
            live.update(drawing(list(runs.values())), refresh=True)
            if ended:
                return
            time.sleep(every)


def drawing(runs: Sequence[Run]) -> "Group":
    """Draw one run with all its curves, or several with two each, and the latest rollout."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for run in runs:
        table.add_row(Text(run.name, style="bold"), Text(run.state(), style="dim"))
        last = run.metrics[-1] if run.metrics else {}
        for key in given(last, CURVES if len(runs) == 1 else SHORT):
            values = [row[key] for row in run.metrics if row.get(key) is not None]
            curve = Text(f"{sparkline(values)} {last[key]:.2f}", no_wrap=True)
            table.add_row(Text(f"  {CURVES[key]}"), curve)
    active = max(runs, key=lambda run: run.changed if run.rollout and not run.ended else 0.0)
    parts: list[Any] = [table]
    if row := active.rollout:
        parts += [Text(), Text(f"{active.name}, latest rollout", style="bold"), heading(dict(row))]
        parts += lines(dict(row))
    return Group(*parts)


def given(row: Row, keys: Iterable[str]) -> list[str]:
    """Return the keys that a row of metrics has a number for."""
    return [key for key in keys if row.get(key) is not None]


def latest(rows: Sequence[Row]) -> Row | None:
    """Return a rollout of the last batch: a taught one if there is one."""
    if not rows:
        return None
    batch = [row for row in rows if row["step"] == rows[-1]["step"]]
    return next((row for row in batch if row.get("taught")), batch[-1])


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """Draw a curve of blocks from 0 to 1, or to its highest value if that is above 1.

    Of more values than fit, each block is the mean of its share of them.
    """
    count = min(width, len(values))
    edges = [round(i * len(values) / count) for i in range(count + 1)] if count else [0]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    top = max([1.0, *means])
    return "".join(BLOCKS[max(0, min(7, int(8 * value / top)))] for value in means)
