"""Compare the methods: `thinktuning compare --config results/tables/config.json ...`.

Reads samples.jsonl and results.json of every evaluation, and metrics.jsonl and provenance.json of
every run; needs no model. Writes comparison.csv, .md and .tex (one row per method and task),
subsets.csv (the same for parts of a task), behaviors.csv, flips.csv (answer changes), training.csv
(what was taught, and how often there was nothing to learn), cost.csv (what training and evaluation
took) and the plots.
"""

from pathlib import Path

from thinktuning.analysis import tables
from thinktuning.analysis.comparison import (
    SUBSET_FIGURES,
    comparison_rows,
    reflection_rows,
    seed_points,
    subset_rows,
)
from thinktuning.analysis.gallery import GALLERY, Material
from thinktuning.analysis.inputs import check_inputs
from thinktuning.analysis.reflection import BEHAVIORS, FLIP_FIGURES, JUDGED
from thinktuning.analysis.results import commits, cost_columns, cost_rows, read_answers
from thinktuning.analysis.training import (
    TRAINING,
    marked,
    read_training,
    training_rows,
    training_runs,
    training_section,
)
from thinktuning.io.files import write_text_atomic
from thinktuning.study.jobs import CompareJob


def compare(job: CompareJob, results: Path, tables_dir: Path, plots_dir: Path) -> None:
    """Write all tables and plots of a study.

    Raises:
        StudyError: a file is missing or broken, or does not match the others.
    """
    check_inputs(job, results)
    answers = read_answers(job, results)
    metrics = read_training(job, results)
    runs = training_runs(metrics)
    job = marked(job, runs)
    rows = comparison_rows(job, answers)
    baselines = {name: job.methods[name] for name in job.comparison.baselines}
    costs = cost_rows(job, results)
    reflection = reflection_rows(job, answers)
    names, judged = ["method", "label", "task"], JUDGED if job.judged else []
    parts = [*names, "subset", "seeds", *SUBSET_FIGURES]
    parts += [f"diff_{b}{end}" for b in baselines for end in ("", "_ci_low", "_ci_high")]
    texts = {
        tables_dir / "comparison.md": tables.markdown(
            job, rows, training_section(job, runs), commits(job, results)
        ),
        tables_dir / "comparison.csv": tables.csv_text(rows, list(rows[0])),
        tables_dir / "comparison.tex": tables.latex(job, rows),
        tables_dir / "subsets.csv": tables.csv_text(subset_rows(job, answers), parts),
        tables_dir / "behaviors.csv": tables.csv_text(reflection, [*names, *BEHAVIORS, *judged]),
        tables_dir / "flips.csv": tables.csv_text(reflection, [*names, *FLIP_FIGURES]),
        tables_dir / "training.csv": tables.csv_text(
            training_rows(job, runs), ["method", "label", "seed", *TRAINING]
        ),
        tables_dir / "cost.csv": tables.csv_text(costs, cost_columns(costs)),
    }
    curves = {method: list(seeds.values()) for method, seeds in metrics.items()}
    material = Material(rows, reflection, curves, seed_points(answers), baselines, job.methods)
    texts |= {plots_dir / f"{name}.svg": entry.draw(material) for name, entry in GALLERY.items()}
    for path, text in texts.items():
        write_text_atomic(path, text)
