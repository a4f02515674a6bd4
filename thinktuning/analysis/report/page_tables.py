"""The tables on a study's page, from the rows of its CSV files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning.analysis.cells import estimate_text, p_value_text
from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.methods import described
from thinktuning.analysis.results import evaluations, read_json, runs
from thinktuning.grading.behaviors import FLIPS, PATTERNS
from thinktuning.study.jobs import CompareJob

CsvRow = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of the page; the first `num_names` columns hold text, the others numbers."""

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    num_names: int = 1


def methods_table(job: CompareJob, results: Path) -> Table:
    """Return what each method is, as far as its configuration is at hand."""
    body = [[job.methods[name], text] for name, text in described(job, results).items()]
    return Table("Methods", ["method", "what it is"], body, num_names=2)


def accuracy_table(job: CompareJob, rows: Sequence[CsvRow], scope: str) -> Table:
    """Return the accuracies and differences of all methods in one scope."""
    baselines = {name: job.methods[name] for name in job.comparison.baselines}
    head = ["method", "accuracy, %"]
    head += [part for label in baselines.values() for part in (f"minus {label}, points", "p")]
    head += ["reflects, %", "tokens", "cut off, %", "no answer, %"]
    found = [row for row in rows if row["task"] == scope]
    body = []
    for row in found:
        line = [row["label"], estimate_text(row, "mean", "")]
        for name in baselines:
            absent = row[f"diff_{name}"] is None
            line += (
                ["", ""]
                if absent
                else [
                    estimate_text(row, f"diff_{name}", sign="+"),
                    p_value_text(row[f"diff_{name}_p"]),
                ]
            )
        line.append(estimate_text(row, "reflection_rate", "reflection_"))
        unanswered = [percent(row.get(f"{name}_rate")) for name in ("truncation", "no_answer")]
        body.append([*line, f"{row['mean_tokens']:.0f}", *unanswered])
    title = scope[0].upper() + scope[1:] if scope == MEAN_OF_TASKS else scope
    return Table(f"{title} ({found[0]['n']:.0f} questions)", head, body)


def behaviors_table(rows: Sequence[CsvRow]) -> Table:
    """Return the share of answers with each behavior, in the headline's scope."""
    head = ["method", *(f"{name.replace('_', '-')}, %" for name in PATTERNS), "words"]
    body = [
        [
            row["label"],
            *(percent(row[f"{name}_rate"]) for name in PATTERNS),
            f"{row['mean_words']:.0f}",
        ]
        for row in rows
    ]
    return Table(f"Behaviors ({rows[0]['task']})", head, body)


def flips_table(rows: Sequence[CsvRow]) -> Table:
    """Return how answers changed from the first committed one to the last."""
    head = ["method", "task", *(f"{name.replace('_', ' ')}, %" for name in FLIPS.values())]
    body = [
        [row["label"], row["task"], *(percent(row[name]) for name in FLIPS.values())]
        for row in rows
    ]
    return Table("Answer changes", head, body, num_names=2)


def percent(share: float | None) -> str:
    """Format a share in percent, "" for None."""
    return "" if share is None else f"{100 * share:.1f}"


def training_table(rows: Sequence[CsvRow]) -> Table:
    """Return what each run was taught, and how often it had something to learn."""
    head = ["method", "seed", "batches", "asked", "parsed, %", "taught", "no signal, %"]
    head += ["cut off, %", "reflects at the end, %"]
    body = []
    for row in rows:
        asked, taught = (count(row[key]) for key in ("num_asked", "num_taught"))
        guided = [asked, percent(row["parsed_rate"]), taught] if row["num_guided"] else ["-"] * 3
        shares = ("no_signal_rate", "cut_off_rate", "last_reflection_rate")
        body.append(
            [row["label"], seed_text(row["seed"]), count(row["num_batches"])]
            + guided
            + [percent(row[key]) for key in shares]
        )
    return Table("Training", head, body, num_names=2)


def count(number: float) -> str:
    """Format a count; the mean of several may have a decimal."""
    return f"{number:,.1f}".removesuffix(".0")


def seed_text(seed: float | str) -> str:
    """Format a seed, or `mean`."""
    return seed if isinstance(seed, str) else f"{seed:.0f}"


def cost_table(rows: Sequence[CsvRow]) -> Table:
    """Return the cost of training and evaluation; tokens and budget as far as they are counted."""
    head = ["method", "stage", "seed", "minutes", "student tokens", "teacher tokens"]
    body = [
        [
            row["label"],
            row["stage"],
            seed_text(row["seed"]),
            f"{row['wall_seconds'] / 60:.1f}",
            f"{row['num_generated_tokens']:,.0f}",
            f"{row['num_teacher_tokens']:,.0f}",
        ]
        for row in rows
    ]
    scored, used = ([row.get(key) for row in rows] for key in ("num_scored_tokens", "budget_used"))
    columns = {
        "scored tokens": ["" if number is None else f"{number:,.0f}" for number in scored],
        "budget used, %": [percent(share) for share in used],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    columns["peak memory, MiB"] = [f"{row['peak_memory_mb']:,.0f}" for row in rows]
    for cells in columns.values():
        for line, text in zip(body, cells, strict=True):
            line.append(text)
    return Table("Cost", [*head, *columns], body, num_names=3)


def provenance_table(job: CompareJob, results: Path) -> Table:
    """Return the distinct commits, versions and machines that produced the results."""
    paths = [directory / "provenance.json" for directory in runs(job, results).values()]
    paths += [
        directory / "results.json"
        for method in job.methods
        for task in job.tasks
        for directory in evaluations(job, results, method, task)
    ]
    found: dict[str, list[str]] = {}
    for path in paths:
        made = read_json(path, ["commit"])
        facts = {key: made.get(key) for key in ("commit", "python", "platform")}
        for name, value in (facts | made.get("versions", {})).items():
            found.setdefault(name, []).append(str(value or "unknown"))
    body = [[name, ", ".join(dict.fromkeys(values))] for name, values in found.items()]
    return Table("Provenance", ["item", "value"], body, num_names=2)
