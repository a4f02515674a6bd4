"""Write the study's report: `thinktuning report --config results/tables/config.json ...`.

A self-contained HTML page, built by `thinktuning.analysis.report`.
"""

from pathlib import Path

from thinktuning.analysis.inputs import check_records
from thinktuning.analysis.report.page import page
from thinktuning.analysis.training import marked, marks, read_training, training_runs
from thinktuning.io.files import write_text_atomic
from thinktuning.study.jobs import CompareJob


def report(job: CompareJob, results: Path, output: Path) -> None:
    """Write the report of a study from its tables, plots, metrics and rollouts.

    Raises:
        StudyError: a file is missing or broken, or is not that of its run.
    """
    check_records(job, results)
    runs = training_runs(read_training(job, results))
    found = {method: marks(seeds, method in job.unguided) for method, seeds in runs.items()}
    write_text_atomic(output, page(marked(job, runs), results, found))
