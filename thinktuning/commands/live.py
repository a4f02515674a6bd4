"""A calm view of a running workflow: a logger plugin of Snakemake, which `thinktuning run` selects.

On a terminal each running job has a line with the bar of its own log (`bars`), and each finished
job leaves one; elsewhere, e.g. in CI, jobs leave plain lines, and once a minute the running ones.
Errors, warnings and what Snakemake says in dry runs appear as without the plugin. Snakemake writes
its whole log to .snakemake/log/ in any case, and names the file at the end.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from thinktuning.commands.jobs_view import JobsView

if TYPE_CHECKING:
    from rich.live import Live

EVERY = 60.0  # seconds between lines about running jobs, without a terminal
# What Snakemake says without an event, in every run; all else that it says is shown.
CHATTER = (
    *("Assuming unrestricted", "Building DAG", "Using shell", "Rules claiming", "Provided "),
    *("Conda environments:", "Singularity containers:", "Select jobs to execute", "Execute "),
    *("Nothing to be done", "Elapsed time:", "DAG of jobs will be updated"),
)
SILENT = {  # events that the view itself tells, or that tell nothing
    *(LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.PROGRESS, LogEvent.RULEGRAPH),
    *(LogEvent.GROUP_INFO, LogEvent.JOB_STARTED),
}


class LogHandler(LogHandlerBase):
    """Shows jobs as they start, go on and end."""

    def __post_init__(self) -> None:
        """Prepare the console; nothing is shown before there is something to run."""
        from rich.console import Console

        settings = self.common_settings
        self.console: Console = Console(
            stderr=not settings.stdout, no_color=settings.nocolor or None, highlight=False
        )
        self.view = JobsView()
        self.directory = Path.cwd()
        self.live: Live | None = None
        self.reporter: Reporter | None = None
        self.up_to_date = False

    @property
    def writes_to_stream(self) -> bool:
        """Whether it replaces Snakemake's own output."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Whether it writes a file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Whether it has a filter of its own: Snakemake's knows `--quiet`."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Whether it has a formatter of its own: Snakemake's writes the errors."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Whether it needs the graph of rules."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        try:
            self.handle_record(record)
        except Exception:
            self.handleError(record)

    def handle_record(self, record: logging.LogRecord) -> None:
        """Dispatch a record by its event."""
        event = getattr(record, "event", None)
        fields: dict[str, Any] = vars(record)
        if self.common_settings.dryrun or self.common_settings.quiet:  # which hides some events
            self.as_usual(record)
        elif event == LogEvent.WORKFLOW_STARTED:
            self.directory = Path(fields.get("rundir") or self.directory)
        elif event == LogEvent.RUN_INFO:
            self.start(fields["stats"])
        elif event == LogEvent.JOB_INFO:
            if name := self.view.add(fields, self.directory):
                self.tell(f"start  {name}")
        elif event == LogEvent.JOB_FINISHED:
            if text := self.view.finish(fields["job_id"]):
                self.tell(f"done   {text}", terminal=f"[green]\u2713[/] {escaped(text)}")
        elif event == LogEvent.JOB_ERROR:
            self.view.fail(fields["jobid"])
            self.as_usual(record)
        elif record.levelno >= logging.WARNING or event not in {*SILENT, None}:
            self.as_usual(record)
        elif event is None:
            text = record.getMessage()
            self.up_to_date |= text.startswith("Nothing to be done")
            if not text.startswith(CHATTER) or text.startswith("Nothing to be done"):
                self.as_usual(record)

    def as_usual(self, record: logging.LogRecord) -> None:
        """Print a record as Snakemake would; its line breaks stay."""
        from rich.text import Text

        text = self.format(record)
        if text and text != "None":
            style = {logging.WARNING: "yellow", logging.ERROR: "red"}.get(record.levelno)
            # styled as a text of its own: a print's style would also color the running jobs
            self.console.print(Text(text, style=style or ""), soft_wrap=True)

    def tell(self, line: str, terminal: str | None = None) -> None:
        """Print a line about a job; on a terminal another one, or none, above the running jobs."""
        if self.reporter:
            self.console.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False, soft_wrap=True)
        elif terminal:
            self.console.print(terminal, soft_wrap=True)

    def start(self, stats: dict[str, int]) -> None:
        """Begin to show jobs, now that their number is known."""
        if self.view.total:  # said once more where jobs were added
            return
        total = self.view.expect(stats)
        self.console.print(f"{total} job{'s' * (total != 1)} to run", soft_wrap=True)
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.live import Live

            self.live = Live(
                get_renderable=self.view.render,
                console=self.console,
                refresh_per_second=2,
                transient=True,
            )
            self.live.start()
        else:
            self.reporter = Reporter(self.view, lambda line: self.tell(f"       {line}"))
            self.reporter.start()

    def close(self) -> None:
        """Stop the view, and say what came of the run."""
        if self.live:
            self.live.stop()
        if self.reporter:
            self.reporter.stop()
        self.live = self.reporter = None
        if self.view.total:
            for line in [*self.view.failures(), self.view.counts()]:
                self.console.print(line, markup=False, soft_wrap=True)
        if pages := self.pages():
            from thinktuning.analysis.headline import print_headline

            for page in pages:
                print_headline(self.console, page.parents[1])
        self.view, self.up_to_date = JobsView(), False  # logging closes handlers once more
        super().close()

    def pages(self) -> list[Path]:
        """Return the pages that the run made or, if all was there, has; a sweep's instead of all.

        After a failure there is none: what failed is the last that is said.
        """
        if self.view.failed:
            return []
        if self.up_to_date:
            page = self.directory / "results/report/index.html"
            return [page] if page.is_file() else []
        return self.view.pages


class Reporter(threading.Thread):
    """Says from time to time how far the running jobs are."""

    def __init__(self, view: JobsView, tell: Callable[[str], None], every: float = EVERY) -> None:
        super().__init__(daemon=True)
        self.view, self.tell, self.every = view, tell, every
        self.done = threading.Event()

    def run(self) -> None:
        """Tell until it is stopped."""
        while not self.done.wait(self.every):
            for line in self.view.lines():
                self.tell(line)

    def stop(self) -> None:
        """End the thread."""
        self.done.set()
        self.join()


def escaped(text: str) -> str:
    """Return text in which rich finds no markup."""
    from rich.markup import escape

    return escape(text)
