"""What a finished workflow says on the terminal: the headline table, and where the page is."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.report.page import read_table
from thinktuning.analysis.report.page_tables import accuracy_table
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import CompareJob

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 140  # characters, without a terminal
LEFT_OUT = ("p", "tokens", "cut off, %", "no answer, %")  # columns that a terminal has no room for


def print_headline(console: "Console", results: Path) -> None:
    """Print the headline of a study, if it has one, and the address of its page.

    A sweep has tables of many points: its page alone is named. So is the page of results whose
    tables another version wrote.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    try:
        text = (results / "tables/config.json").read_text(encoding="utf-8")
        job = CompareJob.model_validate_json(text)
        rows = read_table(results / "tables/comparison.csv", ())
        scopes = [row["task"] for row in rows]
        scope = MEAN_OF_TASKS if MEAN_OF_TASKS in scopes else scopes[0]
        found = accuracy_table(job, rows, scope)
    except (OSError, ValidationError, StudyError, KeyError, IndexError):
        found = None
    if found:
        shown = [i for i, name in enumerate(found.head) if name not in LEFT_OUT]
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for i in shown:
            table.add_column(Text(found.head[i]), justify="right" if i else "left")
        for line in found.body:
            table.add_row(*(Text(line[i]) for i in shown))
        console.print(found.title, style="bold", markup=False)
        console.print(table, width=None if console.is_terminal else WIDTH)
    page = (results / "report/index.html").resolve()
    console.print(f"The page: {page.as_uri()}", markup=False, soft_wrap=True)
