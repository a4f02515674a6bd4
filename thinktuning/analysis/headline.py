"""What a finished workflow says on the terminal: the headline table, and where the page is."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.report.page import read_table
from thinktuning.analysis.report.page_tables import Table, accuracy_table
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import CompareJob

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

WIDTH = 140  # characters, without a terminal
LEFT_OUT = ("p", "tokens", "cut off, %", "no answer, %")  # columns that a terminal has no room for


def print_headline(console: "Console", results: Path) -> None:
    """Print the headline of a study, if it has one, and the address of its page.

    A sweep has tables of many points: its page alone is named. So is the page of results whose
    tables another version wrote.
    """
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
        console.print(found.title, style="bold", markup=False)
        if not console.is_terminal:
            console.width = WIDTH
        table = drawn(found)
        unlimited = console.options.update(width=999)
        if console.measure(table, options=unlimited).maximum > console.width:
            table = drawn(found, between="\n")
        console.print(table)
    page = (results / "report/index.html").resolve()
    console.print(f"The page: {page.as_uri()}", markup=False, soft_wrap=True)


def drawn(found: Table, between: str = " ") -> "RichTable":
    """Draw a table of the page.

    Args:
        found: the table.
        between: what stands between a value and its interval, and before a unit.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    shown = [i for i, name in enumerate(found.head) if name not in LEFT_OUT]
    for i in shown:
        name = found.head[i].replace(", ", f",{between}")
        justify: Literal["right", "left"] = "right" if i else "left"
        table.add_column(Text(name), justify=justify, no_wrap=i > 0, overflow="fold")
    for line in found.body:
        cells = [line[0], *(cell.replace(" [", f"{between}[") for cell in line[1:])]
        table.add_row(*(Text(cells[i]) for i in shown))
    return table
