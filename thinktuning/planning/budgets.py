"""How many of a training's steps its token budget allows, by the lengths of its answers.

Lengths that are upper bounds make the number of steps a lower bound: shorter answers allow more of
them, and as many tokens. A budget that refers to another method has the tokens planned for that.
"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path

from thinktuning.planning.pilot import lengths, num_rollouts
from thinktuning.planning.work import resamples_unmeasured
from thinktuning.study.jobs import TrainJob
from thinktuning.study.study import Study


def planned_job(study: Study, method: str, results: Path | None) -> TrainJob:
    """Return a method's training job, with no more steps than its budget allows."""
    job = study.train_job(method, study.seeds[0])
    if not job.training.budget:
        return job
    planned = planned_tokens(study, job, results)
    allowed = min(
        ceil(job.training.num_rollout_batches * number / planned[name])
        for name, number in limits(study, job, results).items()
    )
    steps = allowed * job.training.optimizer_steps_per_rollout_batch
    shorter = {"max_steps": min(job.training.max_steps, steps)}
    return job.model_copy(update={"training": job.training.model_copy(update=shorter)})


def limits(study: Study, job: TrainJob, results: Path | None) -> dict[str, float]:
    """Return currency -> the tokens that end a training; of a method that it refers to, planned."""
    budget = job.training.budget
    assert budget
    found: dict[str, float] = dict(budget.limits())
    for currency, method in budget.references().items():
        other = planned_job(study, method, results)
        found[currency] = planned_tokens(study, other, results)[currency]
    return found


def planned_tokens(study: Study, job: TrainJob, results: Path | None) -> dict[str, float]:
    """Return currency -> the tokens of a training that goes on to `max_steps`.

    Answers to a second request count where no pilot has measured them; of what a loss scores in
    addition, every rollout once by the base, as in `work`.
    """
    training, found = job.training, lengths(job, results)
    rollouts = num_rollouts(job) * study.resources.train.num_processes
    generated = found.student + found.asked * found.teacher
    again = found.asked * found.student if resamples_unmeasured(job, found) else 0
    passes = training.scoring_passes + training.num_iterations * job.algorithm.scores_texts
    trained = training.max_prompt_length + min(generated, training.max_completion_length)
    return {
        "tokens": rollouts * (generated + again),
        "scored_tokens": rollouts * passes * trained,
    }


def budget_remarks(study: Study, results: Path | None) -> Iterator[str]:
    """Say where each budget is planned to end its trainings, and which `max_steps` is too low."""
    for method, budget in study.budgets().items():
        job = study.train_job(method, study.seeds[0])
        most, tokens = job.training.max_steps, planned_tokens(study, job, results)
        ends = limits(study, job, results)
        used = max(tokens[currency] / number for currency, number in ends.items())
        text = f"{method} ends at {budget.text()}, or at step {most}"
        numbers = " or ".join(f"{number:,.0f}" for number in ends.values())
        steps = planned_job(study, method, results).training.max_steps
        known = "" if lengths(job, results).seeds else " or later, if answers are shorter"
        if used < 1:
            yield f"{text}: max_steps ends it at {100 * used:.0f}% of its budget; raise it."
        else:
            yield f"{text}: planned at {numbers} tokens, at step {steps}{known}."
