"""Write the study's report: `thinktuning report --config results/tables/config.json ...`.

A self-contained HTML page, built by `thinktuning.analysis.report`.
"""

from pathlib import Path

from thinktuning.analysis.report.page import page
from thinktuning.io.files import write_text_atomic
from thinktuning.study.jobs import CompareJob


def report(job: CompareJob, results: Path, output: Path) -> None:
    """Write the report of a study from its tables, plots and rollouts.

    Raises:
        StudyError: a file is missing or broken.
    """
    write_text_atomic(output, page(job, results))
