"""The study's report: one self-contained HTML page.

It opens with what was found, shows the tables and plots that `thinktuning compare` wrote, their
provenance, and a viewer of the stored rollouts. The same results give the same page, byte for byte.

Model output is untrusted. It enters the page as JSON only, which the page's script inserts into the
document as text; the content security policy allows that one script and loads nothing.
"""

import base64
import csv
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktuning.algorithms.rollout import read_rollouts
from thinktuning.analysis.cells import confidence_text
from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.findings import findings
from thinktuning.analysis.gallery import GALLERY
from thinktuning.analysis.looks import Look, looks
from thinktuning.analysis.report.page_tables import (
    CsvRow,
    accuracy_table,
    behaviors_table,
    cost_table,
    flips_table,
    methods_table,
    provenance_table,
    training_table,
)
from thinktuning.analysis.report.viewer import viewer_json
from thinktuning.analysis.results import COST, runs, unreadable
from thinktuning.analysis.tables import surprises
from thinktuning.analysis.training import NOTES, TRAINING
from thinktuning.grading.behaviors import FLIPS, PATTERNS
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import CompareJob

SIZE = 4_800_000  # bytes of plots and rollouts together, to keep the page under 5 MB
TEMPLATES = Path(__file__).parent
NAMES = ("method", "label", "task", "stage")  # columns of text
COMPARISON = ("method", "label", "task", "n", "mean", "ci_low", "ci_high", "mean_tokens")


def page(job: CompareJob, results: Path, marks: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return the report of a study from its tables, plots and rollouts.

    Args:
        job: the comparison, with the marks of its methods in their labels.
        results: the study's directory of results.
        marks: method -> what is wrong with its runs.

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
        confidence=confidence_text(job.comparison.confidence),
        level=f"{1 - job.comparison.confidence:.2g}",
        seeds=next((seeds for seeds in job.seeds.values() if seeds), []),
        found=findings(job, comparison, marks or {}, surprises(job, comparison)),
        methods=methods_table(job, results),
        looks=looks_by_label(job.methods),
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
    """Read a CSV file of `thinktuning compare`; numbers become floats, empty cells None.

    Names stay text: a method's label may be `1e-4`.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            found = reader.fieldnames or []
            rows = [
                {key: text if key in NAMES else cell(text) for key, text in row.items()}
                for row in reader
            ]
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


def looks_by_label(labels: Mapping[str, str]) -> dict[str, Look]:
    """Return the look of each method by its label."""
    return {labels[name]: look for name, look in looks(labels).items()}
