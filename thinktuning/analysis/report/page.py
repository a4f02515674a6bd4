"""The study's report: one self-contained HTML page.

It shows the tables and plots that `thinktuning compare` wrote, their provenance, and a viewer of
the stored rollouts. The same results give the same page, byte for byte.

Model output is untrusted. It enters the page as JSON only, which the page's script inserts into the
document as text; the content security policy allows that one script and loads nothing.
"""

import base64
import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning.algorithms.rollout import read_rollouts
from thinktuning.analysis.cells import interval_text, p_value_text
from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.gallery import GALLERY
from thinktuning.analysis.report.viewer import viewer_json
from thinktuning.analysis.results import COST, evaluations, read_json, runs, unreadable
from thinktuning.analysis.training import NOTES, TRAINING
from thinktuning.grading.behaviors import FLIPS, PATTERNS
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import CompareJob

CsvRow = dict[str, Any]

SIZE = 4_800_000  # bytes of plots and rollouts together, to keep the page under 5 MB
TEMPLATES = Path(__file__).parent
COMPARISON = ("method", "label", "task", "n", "mean", "ci_low", "ci_high", "mean_tokens")


@dataclass(frozen=True)
class Table:
    """A table of the page; the first `num_names` columns hold text, the others numbers."""

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    num_names: int = 1


def page(job: CompareJob, results: Path) -> str:
    """Return the report of a study from its tables, plots and rollouts.

    Raises:
        StudyError: a file is missing or broken.
    """
    rollouts = {
        run: read_rollouts(directory / "rollouts.jsonl")
        for run, directory in runs(job, results).items()
    }
    columns = [*COMPARISON, *(f"diff_{name}" for name in job.comparison.baselines)]
    comparison = read_table(results / "tables/comparison.csv", columns)
    flips = read_table(results / "tables/flips.csv", FLIPS.values())
    rates = [f"{name}_rate" for name in PATTERNS]
    behaviors = read_table(results / "tables/behaviors.csv", rates)
    scopes = list(dict.fromkeys(row["task"] for row in comparison))
    headline, *others = sorted(scopes, key=lambda scope: scope != MEAN_OF_TASKS)
    plots = {
        name: (read_svg(results / f"plots/{name}.svg"), entry.caption)
        for name, entry in GALLERY.items()
    }
    left = SIZE - sum(len(uri) for uri, _ in plots.values())
    return render(
        "page.html",
        study=job.study,
        confidence=job.comparison.confidence,
        seeds=next((seeds for seeds in job.seeds.values() if seeds), []),
        headline=accuracy_table(job, comparison, headline),
        per_task=[accuracy_table(job, comparison, scope) for scope in others],
        plots=plots,
        behaviors=behaviors_table([row for row in behaviors if row["task"] == headline]),
        flips=flips_table(flips),
        training=training_table(
            read_table(results / "tables/training.csv", ("label", "seed", *TRAINING))
        ),
        training_notes=NOTES,
        cost=cost_table(read_table(results / "tables/cost.csv", ("stage", *COST))),
        provenance=provenance_table(job, results),
        num_rollouts=sum(map(len, rollouts.values())),
        rollouts=viewer_json(rollouts, job.methods, left),
    )


def render(template: str, **values: Any) -> str:
    """Fill a page's template; everything except our script, style and JSON is escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = (
        (TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js")
    )
    return environment.get_template(template).render(
        values,
        style=style,
        script=script,
        style_hash=content_hash(style),
        script_hash=content_hash(script),
    )


def content_hash(text: str) -> str:
    """Return the CSP source expression that allows one inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def read_svg(path: Path) -> str:
    """Return a plot's file as a data URI."""
    try:
        return svg_uri(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from None


def svg_uri(svg: bytes) -> str:
    """Return a plot as a data URI: an image has its own style and cannot run scripts."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def read_table(path: Path, columns: Iterable[str]) -> list[CsvRow]:
    """Read a CSV file of `thinktuning compare`; numbers become floats, empty cells None."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            found = reader.fieldnames or []
            rows = [{key: cell(text) for key, text in row.items()} for row in reader]
    except OSError as error:
        raise unreadable(path, error) from None
    if absent := [column for column in columns if column not in found]:
        raise StudyError(
            f"{path}: has no column {', '.join(absent)}; write it again: `snakemake -R compare`"
        )
    return rows


def cell(text: str) -> float | str | None:
    """Parse a cell: a number, text, or None if empty."""
    try:
        return float(text)
    except ValueError:
        return text or None


def accuracy_table(job: CompareJob, rows: Sequence[CsvRow], scope: str) -> Table:
    """Return the accuracies and differences of all methods in one scope."""
    baselines = {name: job.methods[name] for name in job.comparison.baselines}
    head = ["method", "accuracy, %"]
    head += [part for label in baselines.values() for part in (f"minus {label}, points", "p")]
    head += ["reflects, %", "tokens", "cut off, %", "no answer, %"]
    found = [row for row in rows if row["task"] == scope]
    body = []
    for row in found:
        line = [row["label"], estimate(row, "mean", "")]
        for name in baselines:
            absent = row[f"diff_{name}"] is None
            line += (
                ["", ""]
                if absent
                else [
                    estimate(row, f"diff_{name}", f"diff_{name}_", sign="+"),
                    p_value_text(row[f"diff_{name}_p"]),
                ]
            )
        line.append(estimate(row, "reflection_rate", "reflection_"))
        unanswered = [percent(row.get(f"{name}_rate")) for name in ("truncation", "no_answer")]
        body.append([*line, f"{row['mean_tokens']:.0f}", *unanswered])
    title = scope[0].upper() + scope[1:] if scope == MEAN_OF_TASKS else scope
    return Table(f"{title} ({found[0]['n']:.0f} questions)", head, body)


def estimate(row: CsvRow, key: str, prefix: str, sign: str = "") -> str:
    """Return a share with its interval or, if it has none, with its seeds' values."""
    seeds = str(row.get(f"{prefix}seed_values") or "").split()
    ends = (row[f"{prefix}ci_low"], row[f"{prefix}ci_high"])
    return interval_text(row[key], *ends, [float(value) for value in seeds], sign)


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
