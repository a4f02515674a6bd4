"""Write the study's page: `thinktuning report --config results/tables/config.json ...`

One HTML file that needs nothing else: the tables and plots that `thinktuning compare` wrote, where
they come from, and a viewer of the kept rollouts. It is the same for the same results.

What a model wrote is untrusted. It is in the page as JSON alone, which the page's script puts into
the document as text; the page's content security policy lets run that script and no other, and
loads nothing.
"""

import base64
import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktuning import tables
from thinktuning.behaviours import FLIPS, PATTERNS
from thinktuning.compare import COST, evaluations, read_json
from thinktuning.comparison import MEAN_OF_TASKS
from thinktuning.config import CompareRun
from thinktuning.errors import StudyError
from thinktuning.files import write_text_atomic
from thinktuning.rollouts import read_rollouts
from thinktuning.viewer import viewer_json

Row = dict[str, Any]

SIZE = 4_800_000  # bytes of plots and rollouts together: the page stays under 5 MB
TEMPLATES = Path(__file__).parent / "report"
PLOTS = {
    "differences": "Differences in accuracy to each baseline, paired by question. An interval "
    "across the dashed line is compatible with no difference.",
    "accuracy": "Accuracy and reflection rate. Dots are single training seeds.",
    "flips": "What became of an answer's first committed result by its last, which is graded.",
    "learning_curves": "Training, by rollout batch.",
}
COMPARISON = ("method", "label", "task", "n", "mean", "ci_low", "ci_high", "mean_tokens")


@dataclass(frozen=True)
class Table:
    """A table of the page; the first `num_names` columns are words, the others numbers."""

    title: str
    head: Sequence[str]
    body: Sequence[Sequence[str]]
    num_names: int = 1


def report(run: CompareRun, results: Path, output: Path) -> None:
    """Write the page of a study whose tables and plots are there.

    Raises:
        StudyError: a file is missing or broken.
    """
    rollouts = {
        (method, seed): read_rollouts(results / f"runs/{method}/seed{seed}/rollouts.jsonl")
        for method, seeds in run.seeds.items()
        for seed in seeds
    }
    columns = [*COMPARISON, *(f"diff_{name}" for name in run.comparison.baselines)]
    comparison = read_table(results / "tables/comparison.csv", columns)
    flips = read_table(results / "tables/flips.csv", FLIPS.values())
    rates = [f"{name}_rate" for name in PATTERNS]
    behaviours = read_table(results / "tables/behaviours.csv", rates)
    scopes = list(dict.fromkeys(row["task"] for row in comparison))
    headline, *others = sorted(scopes, key=lambda scope: scope != MEAN_OF_TASKS)
    plots = {name: (svg_uri(results / f"plots/{name}.svg"), PLOTS[name]) for name in PLOTS}
    left = SIZE - sum(len(uri) for uri, _ in plots.values())
    page = render(
        study=run.study,
        confidence=run.comparison.confidence,
        seeds=next((seeds for seeds in run.seeds.values() if seeds), []),
        headline=accuracy_table(run, comparison, headline),
        per_task=[accuracy_table(run, comparison, scope) for scope in others],
        plots=plots,
        behaviours=behaviours_table([row for row in behaviours if row["task"] == headline]),
        flips=flips_table(flips),
        cost=cost_table(read_table(results / "tables/cost.csv", ("stage", *COST))),
        provenance=provenance_table(run, results),
        num_rollouts=sum(map(len, rollouts.values())),
        rollouts=viewer_json(rollouts, run.methods, left),
    )
    write_text_atomic(output, page)


def render(**values: Any) -> str:
    """Fill the page's template; everything but our own script, style and JSON is escaped."""
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
    return environment.get_template("page.html").render(
        values,
        style=style,
        script=script,
        style_hash=content_hash(style),
        script_hash=content_hash(script),
    )


def content_hash(text: str) -> str:
    """Return the source expression that allows one inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def svg_uri(path: Path) -> str:
    """Return a plot as a data URI: as an image it has its own style and can run nothing."""
    try:
        return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise unreadable(path, error) from None


def read_table(path: Path, columns: Iterable[str]) -> list[Row]:
    """Read a CSV file of `thinktuning compare`: numbers as numbers, None for what is empty."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            found = reader.fieldnames or []
            rows = [{key: cell(text) for key, text in row.items()} for row in reader]
    except OSError as error:
        raise unreadable(path, error) from None
    if absent := [column for column in columns if column not in found]:
        raise StudyError(
            f"{path}: has no column {', '.join(absent)}; `snakemake -R compare` writes it again"
        )
    return rows


def unreadable(path: Path, error: OSError) -> StudyError:
    return StudyError(f"{path}: cannot be read ({error.strerror}); `snakemake {path}` writes it")


def cell(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None


def accuracy_table(run: CompareRun, rows: Sequence[Row], scope: str) -> Table:
    """Return what each method did on a task, or on the mean of tasks."""
    baselines = {name: run.methods[name] for name in run.comparison.baselines}
    head = ["method", "accuracy, %"]
    head += [part for label in baselines.values() for part in (f"minus {label}, points", "p")]
    head += ["reflects, %", "tokens"]
    found = [row for row in rows if row["task"] == scope]
    body = []
    for row in found:
        line = [row["label"], tables.interval_text(row["mean"], row["ci_low"], row["ci_high"])]
        for name in baselines:
            absent = row[f"diff_{name}"] is None
            line += (
                ["", ""]
                if absent
                else [
                    tables.difference_text(row, f"diff_{name}"),
                    tables.p_value_text(row[f"diff_{name}_p"]),
                ]
            )
        reflects = (row[f"reflection_{key}"] for key in ("rate", "ci_low", "ci_high"))
        body.append([*line, tables.interval_text(*reflects), f"{row['mean_tokens']:.0f}"])
    title = scope[0].upper() + scope[1:] if scope == MEAN_OF_TASKS else scope
    return Table(f"{title} ({found[0]['n']:.0f} questions)", head, body)


def behaviours_table(rows: Sequence[Row]) -> Table:
    """Return how many answers show each behaviour, on the headline's task or mean of tasks."""
    head = ["method", *(f"{name.replace('_', '-')}, %" for name in PATTERNS), "words"]
    body = [
        [
            row["label"],
            *(per_cent(row[f"{name}_rate"]) for name in PATTERNS),
            f"{row['mean_words']:.0f}",
        ]
        for row in rows
    ]
    return Table(f"Behaviours ({rows[0]['task']})", head, body)


def flips_table(rows: Sequence[Row]) -> Table:
    """Return what reflection did to the answers."""
    head = ["method", "task", *(f"{name.replace('_', ' ')}, %" for name in FLIPS.values())]
    body = [
        [row["label"], row["task"], *(per_cent(row[name]) for name in FLIPS.values())]
        for row in rows
    ]
    return Table("Answer flips", head, body, num_names=2)


def per_cent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def cost_table(rows: Sequence[Row]) -> Table:
    """Return what training and evaluation took."""
    head = [
        "method",
        "stage",
        "seed",
        "minutes",
        "student tokens",
        "teacher tokens",
        "peak memory, MiB",
    ]
    body = [
        [
            row["label"],
            row["stage"],
            row["seed"] if isinstance(row["seed"], str) else f"{row['seed']:.0f}",
            f"{row['wall_seconds'] / 60:.1f}",
            f"{row['num_generated_tokens']:,.0f}",
            f"{row['num_teacher_tokens']:,.0f}",
            f"{row['peak_memory_mb']:,.0f}",
        ]
        for row in rows
    ]
    return Table("Cost", head, body, num_names=3)


def provenance_table(run: CompareRun, results: Path) -> Table:
    """Return the code, versions and machines that made the results, each once."""
    paths = [
        results / f"runs/{method}/seed{seed}/provenance.json"
        for method, seeds in run.seeds.items()
        for seed in seeds
    ]
    paths += [
        directory / "results.json"
        for method in run.methods
        for task in run.tasks
        for directory in evaluations(run, results, method, task)
    ]
    found: dict[str, list[str]] = {}
    for path in paths:
        made = read_json(path, ["commit"])
        facts = {key: made.get(key) for key in ("commit", "python", "platform")}
        for name, value in (facts | made.get("versions", {})).items():
            found.setdefault(name, []).append(str(value or "unknown"))
    body = [[name, ", ".join(unique(values))] for name, values in found.items()]
    return Table("Provenance", ["what", "value"], body, num_names=2)


def unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
