"""The token budget of a run: the numbers behind a reference, and what provenance.json says of it.

`training.budget: {as: thinktuning}` is as many tokens as that method's run of the same seed took.
Its provenance.json is read from the directory beside this run's: results/runs/METHOD/seedS.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktuning.analysis.results import read_json
from thinktuning.io.errors import StudyError
from thinktuning.study.jobs import TrainJob

SPENT = {  # currency -> the numbers in provenance.json that add up to it
    "tokens": ("num_generated_tokens", "num_teacher_tokens"),
    "scored_tokens": ("num_scored_tokens",),
}


def with_budget(job: TrainJob, output: Path) -> TrainJob:
    """Return a job with the tokens of the runs that its budget refers to.

    Args:
        job: the resolved configuration.
        output: the run's directory; those that it refers to are beside it.

    Raises:
        StudyError: such a run is not finished, or did not record these tokens.
    """
    budget = job.training.budget
    if not budget or not budget.references():
        return job
    tokens = {}
    for currency, method in budget.references().items():
        run = output.resolve().parents[1] / method / f"seed{job.seed}"
        made = read_json(run / "provenance.json", SPENT[currency])
        numbers = [made[key] for key in SPENT[currency]]
        if None in numbers:
            raise StudyError(
                f"{run}: an earlier version trained a part of this run and counted no {currency};"
                " train it again"
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
        "num_scored_tokens": int(sum(row["scored_tokens"] for row in rows)) if counted else None,
    }
    if budget := job.training.budget:
        limits = budget.limits()
        taken = {currency: sum(found[key] for key in SPENT[currency]) for currency in limits}
        found["budget"] = budget.model_dump() | {
            "used": max(taken[currency] / n for currency, n in limits.items()),
            "overshoot": {c: taken[c] - n for c, n in limits.items() if taken[c] >= n},
        }
    return found
