"""The jobs of a running workflow: which run, how far they are, and which are done or failed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thinktuning.io.bars import Bar, last_bar

if TYPE_CHECKING:
    from rich.console import Group

WIDTH = 24  # characters of a bar
FIGURES = {"student_reward": "reward", "reflection_rate": "reflects"}  # of a bar: -> as shown
UNSHOWN = ("resolve_", "total")  # rules that write a configuration in no time; not a rule


@dataclass
class Job:
    """A running job."""

    rule: str
    name: str
    log: Path | None
    pages: list[Path]
    started: float = field(default_factory=time.monotonic)

    def line(self) -> tuple[Bar | None, str]:
        """Return how far the job is: its bar, and its figures and time as text."""
        bar = last_bar(self.log) if self.log else None
        parts = [duration(time.monotonic() - self.started)]
        if bar:
            parts = [f"{bar.done}/{bar.total}", *shown(bar), *parts]
        return bar, "  ".join(parts)


class JobsView:
    """The state of all jobs; one thread changes it, another one may draw it."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.total = 0  # of the jobs that are shown
        self.done = 0
        self.running: dict[int, Job] = {}
        self.failed: dict[int, Job] = {}
        self.made: list[tuple[str, Path]] = []  # rule and page

    def expect(self, stats: Mapping[str, int]) -> int:
        """Set and return how many jobs there will be, from Snakemake's number of each rule."""
        self.total = sum(number for rule, number in stats.items() if is_shown(rule))
        return self.total

    def add(self, fields: Mapping[str, Any], directory: Path) -> str | None:
        """Add a job that starts, or starts again; return its name, None if it is not shown.

        Args:
            fields: those of Snakemake's record.
            directory: the one that its paths are relative to.
        """
        rule = str(fields["rule_name"])
        if not is_shown(rule):
            return None
        name = describe(rule, fields.get("wildcards") or {})
        log = next((directory / path for path in fields.get("log") or ()), None)
        made = [directory / path for path in fields.get("output") or ()]
        pages = [path for path in made if path.parts[-2:] == ("report", "index.html")]
        self.failed.pop(fields["jobid"], None)
        self.running[fields["jobid"]] = Job(rule, name, log, pages)
        return name

    def finish(self, jobid: int) -> str | None:
        """Remove a job that is done; return its name, last figures and time."""
        if not (job := self.running.pop(jobid, None)):
            return None
        self.done += 1
        self.made += [(job.rule, page) for page in job.pages]
        bar, _ = job.line()
        took = duration(time.monotonic() - job.started)
        return "  ".join([f"{job.name:32}", took, *(shown(bar) if bar else [])])

    def fail(self, jobid: int) -> None:
        """Note that a job has failed; it may start again."""
        if job := self.running.pop(jobid, None):
            self.failed[jobid] = job

    @property
    def pages(self) -> list[Path]:
        """The pages that were made; if a sweep's is among them, that one instead of its points'."""
        of_sweep = [page for rule, page in self.made if rule == "sweep"]
        return of_sweep or [page for _, page in self.made]

    def lines(self) -> list[str]:
        """Return a line per running job."""
        return [f"{job.name:32}  {job.line()[1]}" for job in list(self.running.values())]

    def render(self) -> "Group":
        """Draw the running jobs, and how many are done."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        for job in list(self.running.values()):
            bar, text = job.line()
            drawn = (
                ProgressBar(bar.total, bar.done, width=WIDTH)
                if bar
                else ProgressBar(None, width=WIDTH, pulse=True)
            )
            table.add_row(Text(job.name, no_wrap=True), drawn, Text(text, no_wrap=True))
        return Group(table, Text(self.counts(), style="dim"))

    def counts(self) -> str:
        """Say how many jobs are done, how many failed, and since when they run."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        took = duration(time.monotonic() - self.started)
        return f"{self.done} of {self.total} jobs done{failed}, {took}"

    def failures(self) -> list[str]:
        """Name each failed job and its log."""
        return [f"{job.name} failed: {job.log or 'it has no log'}" for job in self.failed.values()]


def is_shown(rule: str) -> bool:
    """Tell whether jobs of a rule are shown: not those that are done at once."""
    return rule != "all" and not rule.startswith(UNSHOWN)


def describe(rule: str, wildcards: Mapping[str, Any]) -> str:
    """Name a job: `train grpo seed 0`; at a point of a sweep `steps-250: train grpo seed 0`."""
    values = {str(name): str(value) for name, value in wildcards.items()}
    point = values.pop("point", "")
    seed = [f"seed {values.pop('seed')}"] if "seed" in values else []
    return f"{point}: " * bool(point) + " ".join([rule, *values.values(), *seed])


def shown(bar: Bar) -> list[str]:
    """Return the figures behind a bar that are shown."""
    return [
        f"{label} {bar.figures[name]:.2f}" for name, label in FIGURES.items() if name in bar.figures
    ]


def duration(seconds: float) -> str:
    """Format a time as `4:40`, or `1:04:40`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
