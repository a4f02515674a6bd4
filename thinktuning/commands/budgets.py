"""The token budget of a run: the numbers behind a reference, and what provenance.json says of it.

`training.budget: {as: thinktuning}` is as many tokens as that method's run of the same seed took.
The workflow names its provenance.json: `thinktuning train --budget-runs PATH ...`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktuning.algorithms.batch import EXTRA
from thinktuning.analysis.results import read_json
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import TrainJob
from thinktuning.trainer.config import CURRENCIES

SPENT = {  # currency -> the numbers in provenance.json that add up to it
    "tokens": ("num_generated_tokens", "num_teacher_tokens"),
    "scored_tokens": ("num_scored_tokens",),
}


def with_budget(job: TrainJob, runs: Sequence[Path]) -> TrainJob:
    """Return a job with the tokens of the runs that its budget refers to.

    Args:
        job: the resolved configuration.
        runs: the provenance.json of each of these runs.

    Raises:
        StudyError: a run is missing, of another seed, or did not record these tokens.
    """
    budget = job.training.budget
    if not budget or not budget.references():
        return job
    made = {path: read_json(path, ("method", "seed")) for path in runs}
    found = {run["method"]: path for path, run in made.items() if run["seed"] == job.seed}
    tokens = {}
    for currency, method in budget.references().items():
        if method not in found:
            raise StudyError(
                f"training.budget: refers to {method}, but --budget-runs names no run of it with"
                f" seed {job.seed}; add its provenance.json"
            )
        numbers: list[Any] = [made[found[method]].get(key) for key in SPENT[currency]]
        if None in numbers:
            raise StudyError(
                f"{found[method]}: does not say how many {CURRENCIES[currency]} the run took, which"
                " an earlier version did not count; train it again"
            )
        tokens[currency] = sum(numbers)
    training = job.training.model_copy(update={"budget": budget.resolved(tokens)})
    return job.model_copy(update={"training": training})


def spent(job: TrainJob, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the entries of provenance.json on tokens and the budget.

    Args:
        job: with the numbers of its budget.
        rows: of metrics.jsonl.
    """
    counted = all("scored_tokens" in row for row in rows)  # not by earlier versions
    found: dict[str, Any] = {
        "num_generated_tokens": int(sum(row["student_tokens"] for row in rows)),
        "num_teacher_tokens": int(sum(row["teacher_tokens"] for row in rows)),
        "num_scored_tokens": int(sum(row["scored_tokens"] + row.get(EXTRA, 0) for row in rows))
        if counted
        else None,
    }
    if budget := job.training.budget:
        limits = budget.limits()
        taken = {currency: sum(found[key] for key in SPENT[currency]) for currency in limits}
        found["budget"] = budget.model_dump() | {
            "used": max(taken[currency] / n for currency, n in limits.items()),
            "overshoot": {c: taken[c] - n for c, n in limits.items() if taken[c] >= n},
        }
    return found
