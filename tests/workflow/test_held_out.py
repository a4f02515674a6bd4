"""Training waits for the held-out questions that it asks, and only then."""

import re
from pathlib import Path
from typing import Any

from snakemake_run import snakemake, write_study


def inputs(directory: Path, study: dict[str, Any]) -> str:
    """Return the inputs of the planned training."""
    path = write_study(directory, study)
    done = snakemake(directory, "-n", "results/runs/grpo/seed0/model", "--configfile", path)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.search(r"^rule train:\n    input: (.*)$", done.stdout, re.M)[1]


def test_training_waits_for_the_questions_that_it_asks(
    tmp_path: Path, small: dict[str, Any]
) -> None:
    questions = "results/data/eval/chain_sum.jsonl"
    assert questions not in inputs(tmp_path, small)
    small["training"]["held_out"] = {"task": "chain_sum", "eval_steps": 20}
    assert questions in inputs(tmp_path, small)
