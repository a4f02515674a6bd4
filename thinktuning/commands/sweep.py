"""Put a sweep together: `thinktuning sweep --config results/tables/config.json ...`.

Reads the answers of all points, their trainings' costs and the provenance of their bases; needs no
model. Writes sweep.csv (one row per point, method and task), sweep_fit.csv (the fitted lines),
sweep.md, the figure and the page that links to the points' reports.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from thinktuning.analysis.comparison import mean_figures
from thinktuning.analysis.report.sweep_page import sweep_markdown, sweep_page
from thinktuning.analysis.results import read_answers, read_cost, read_json, runs
from thinktuning.analysis.sweep import Place, Row, fit_rows, fits, places, point_rows
from thinktuning.analysis.sweep_figure import draw
from thinktuning.analysis.tables import csv_text
from thinktuning.analysis.training import marked, read_training, training_runs
from thinktuning.io.files import write_text_atomic
from thinktuning.study.jobs import CompareJob, SweepJob
from thinktuning.study.sweep import is_number

TOKENS = {"student": "num_generated_tokens", "teacher": "num_teacher_tokens"}


def sweep(job: SweepJob, results: Path, tables_dir: Path, plots_dir: Path, output: Path) -> None:
    """Write the tables, the figure and the page of a sweep.

    Raises:
        StudyError: a file is missing or broken.
    """
    rows: list[Row] = []
    found: list[Place] = []
    marked_at: dict[str, list[str]] = {}
    for point in job.points:
        compared, directory = job.at(point), results / point
        # votes are no part of sweep.csv: by text they are counted without a grader
        answers = read_answers(compared.model_copy(update={"answer_kinds": {}}), directory)
        measured = measured_of_base(compared, directory)
        of_point = point_rows(job, point, answers, trained_tokens(compared, directory), measured)
        labels = marked(compared, training_runs(read_training(compared, directory))).methods
        rows += [row | {"label": labels[row["method"]]} for row in of_point]
        for method, label in labels.items():
            if label != compared.methods[method]:
                marked_at.setdefault(method, []).append(point)
        found += places(job, point, answers, measured)
    job = with_marks(job, marked_at)
    lines = fits(job, found)
    fitted = fit_rows(job, lines)
    figure = draw(job, found, lines)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    texts = {
        tables_dir / "sweep.csv": csv_text(rows, columns),
        tables_dir / "sweep_fit.csv": csv_text(fitted, list(fitted[0]) if fitted else ["task"]),
        tables_dir / "sweep.md": sweep_markdown(job, rows, fitted),
        plots_dir / "sweep.svg": figure,
        output: sweep_page(job, rows, fitted, figure),
    }
    for path, text in texts.items():
        write_text_atomic(path, text)


def with_marks(job: SweepJob, marked_at: Mapping[str, Sequence[str]]) -> SweepJob:
    """Return the job with the points at which a method's runs are marked, in its label."""
    labels = {
        method: f"{label} (marked at {', '.join(points)})"
        if (points := marked_at.get(method))
        else label
        for method, label in job.labels.items()
    }
    return job.model_copy(
        update={
            "comparison": job.comparison.model_copy(update={"methods": labels}),
            "labels_at": {},
        }
    )


def trained_tokens(job: CompareJob, results: Path) -> dict[str, dict[str, float]]:
    """Return trained method -> the tokens that student and teacher generate, means over seeds."""
    costs: dict[str, list[dict[str, float]]] = {}
    for (method, _), directory in runs(job, results).items():
        cost = read_cost(directory / "provenance.json")
        tokens = {f"train_{who}_tokens": cost[key] for who, key in TOKENS.items()}
        costs.setdefault(method, []).append(tokens)
    return {method: mean_figures(of_seeds) for method, of_seeds in costs.items()}


def measured_of_base(job: CompareJob, results: Path) -> dict[str, float]:
    """Return the numbers that the base's provenance has under `measured`: the toy model's skills.

    Any other base has none.
    """
    record = read_json(job.place(results, "models/base") / "provenance.json", [])
    found = record.get("measured") or {}
    return {name: value for name, value in found.items() if is_number(value)}
