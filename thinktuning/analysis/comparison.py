"""Compute the comparison from the answers of all methods to all tasks.

1. A question's score is its mean over samples; a task's score is the mean over its questions.
2. Intervals are over questions; with three or more training seeds, over seeds crossed with
   questions. Two seeds, and seeds that succeed or fail, have none: their values are given.
3. Methods are compared question by question and seed by seed. An untrained method has one set of
   answers, which is compared with every seed of the other method.
4. An interval and the p beside it come from one test and are not adjusted. `_p_holm` is adjusted
   for all differences of the study: tasks x pairs of methods, and apart from these for the means of
   tasks.
5. The mean of tasks weights all tasks equally, whatever their number of questions.

The formulas are in `intervals` and `seeds`. Shapes: S training seeds (1 for an untrained method), N
questions, K samples per question.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from thinktuning.analysis import intervals, seeds
from thinktuning.analysis.intervals import Difference, Estimate
from thinktuning.analysis.multiplicity import adjust_p_values
from thinktuning.analysis.variance import Scores
from thinktuning.study.jobs import CompareJob

SUBSET_FIGURES = ("n", "k", "mean", "ci_low", "ci_high")
MEAN_OF_TASKS = "mean of tasks"  # names of tasks have no spaces
ComparisonRow = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """One method's answers on one task.

    Attributes:
        ids: the N questions.
        subsets: each question's part of the task (a subject, a year), "" for none.
        correct_S_N_K: 1 for a correct answer, else 0.
        reflects_S_N_K: 1 for an answer with a reflective behavior, else 0.
        figures: further columns of comparison.csv, means over all answers.
        reflection: the columns of behaviors.csv and flips.csv, means over all answers.
    """

    ids: list[str]
    subsets: list[str]
    correct_S_N_K: np.ndarray
    reflects_S_N_K: np.ndarray
    figures: dict[str, float]
    reflection: dict[str, float]

    def part(self, subset: str) -> "Answers":
        """Return the answers to one subset's questions; `figures` stay those of the whole task."""
        rows = [i for i, name in enumerate(self.subsets) if name == subset]
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            subsets=[subset] * len(rows),
            correct_S_N_K=self.correct_S_N_K[:, rows],
            reflects_S_N_K=self.reflects_S_N_K[:, rows],
        )


def scopes(job: CompareJob) -> dict[str, list[str]]:
    """Return scope -> its tasks: each task alone and, if there are several, their mean."""
    of_tasks = {task: [task] for task in job.tasks}
    return of_tasks | {MEAN_OF_TASKS: job.tasks} if len(job.tasks) > 1 else of_tasks


def comparison_rows(
    job: CompareJob, answers: Mapping[tuple[str, str], Answers]
) -> list[ComparisonRow]:
    """Return the rows of comparison.csv: by task, the mean of tasks last, then by method."""
    confidence = job.comparison.confidence
    rows = []
    for scope, tasks in scopes(job).items():
        for method, label in job.methods.items():
            of_method = [answers[method, task] for task in tasks]
            row: ComparisonRow = {"method": method, "label": label, "task": scope}
            row |= {"seeds": len(job.seeds[method])} | summary(of_method, confidence)
            row |= success_columns(job, answers, method, tasks)
            for baseline in job.comparison.baselines:
                others = [answers[baseline, task] for task in tasks]
                pair = (of_method, others) if method != baseline else None
                row |= difference_columns(baseline, pair, confidence)
                row[f"published_{baseline}"] = published(job, method, baseline, scope)
            rows.append(row)
    adjust_p_values(rows, job.comparison.baselines, MEAN_OF_TASKS)
    return rows


def published(job: CompareJob, method: str, baseline: str, scope: str) -> float | None:
    """Return the difference in the study's `comparison.published`, as a share."""
    points = job.comparison.published.get(method, {}).get(baseline, {})
    found = points.get("mean" if scope == MEAN_OF_TASKS else scope)
    return None if found is None else found / 100


def subset_rows(job: CompareJob, answers: Mapping[tuple[str, str], Answers]) -> list[ComparisonRow]:
    """Return the rows of subsets.csv: accuracy and differences on each part of a task.

    A part with one question has no interval and is left out. There are no p-values: parts are many.
    """
    confidence = job.comparison.confidence
    rows = []
    for task in job.tasks:
        found = answers[next(iter(job.methods)), task]
        sizes = Counter(name for name in found.subsets if name)
        for subset in sorted(name for name, size in sizes.items() if size > 1):
            for method, label in job.methods.items():
                mine = answers[method, task].part(subset)
                row: ComparisonRow = {
                    "method": method,
                    "label": label,
                    "task": task,
                    "subset": subset,
                }
                row |= {"seeds": len(job.seeds[method])}
                row |= {key: summary([mine], confidence)[key] for key in SUBSET_FIGURES}
                for baseline in job.comparison.baselines:
                    other = [answers[baseline, task].part(subset)]
                    pair = ([mine], other) if method != baseline else None
                    columns = difference_columns(baseline, pair, confidence)
                    names = [f"diff_{baseline}{end}" for end in ("", "_ci_low", "_ci_high")]
                    row |= {name: columns[name] for name in names}
                rows.append(row)
    return rows


def reflection_rows(
    job: CompareJob, answers: Mapping[tuple[str, str], Answers]
) -> list[ComparisonRow]:
    """Return each method's behaviors and answer changes, on each task and on the mean of tasks."""
    return [
        {"method": method, "label": label, "task": scope}
        | mean_of_all([answers[method, task].reflection for task in tasks])
        for scope, tasks in scopes(job).items()
        for method, label in job.methods.items()
    ]


def summary(answers: Sequence[Answers], confidence: float) -> ComparisonRow:
    """Return one method's columns on a task, or on the mean of several."""
    correct = share_interval([a.correct_S_N_K for a in answers], confidence)
    reflects = share_interval([a.reflects_S_N_K for a in answers], confidence)
    samples = {a.correct_S_N_K.shape[2] for a in answers}
    return {
        "n": correct.n,
        "k": samples.pop() if len(samples) == 1 else None,
        "mean": correct.mean,
        "ci_low": correct.ci_low,
        "ci_high": correct.ci_high,
        "reflection_rate": reflects.mean,
        "reflection_ci_low": reflects.ci_low,
        "reflection_ci_high": reflects.ci_high,
    } | mean_figures([a.figures for a in answers])


def scores(outcomes: Sequence[np.ndarray]) -> list[Scores]:
    """Return each task's (S, N) scores from its (S, N, K) outcomes, 0 or 1."""
    return [outcome.mean(axis=2) for outcome in outcomes]


def seed_means(tasks: Sequence[Scores]) -> list[float]:
    """Return each seed's mean over the tasks' means."""
    return [float(value) for value in np.mean([task.mean(axis=1) for task in tasks], axis=0)]


def share_interval(outcomes: Sequence[np.ndarray], confidence: float) -> Estimate:
    """Return the mean of a share over tasks, with its interval if the seeds allow one.

    Args:
        outcomes: for each task, the (S, N, K) outcomes, 0 or 1.
        confidence: of the interval, e.g. 0.95.
    """
    tasks = scores(outcomes)
    num_samples = [outcome.shape[2] for outcome in outcomes]
    estimate = intervals.share(tasks, confidence, num_samples)
    held = all(map(seeds.have_interval, tasks))
    return estimate if held else replace(estimate, ci_low=None, ci_high=None)


SUCCESS = ("seeds_above", "seeds_above_ci_low", "seeds_above_ci_high", "seeds_threshold")


def success_columns(
    job: CompareJob, answers: Mapping[tuple[str, str], Answers], method: str, tasks: Sequence[str]
) -> ComparisonRow:
    """Return the seeds' values, and how many seeds succeed where those of some method split.

    A method whose own seeds do not split is measured by the threshold of the first one that does.
    """
    row: ComparisonRow = {}
    for prefix, kind in (("", "correct_S_N_K"), ("reflection_", "reflects_S_N_K")):
        found = {
            m: scores([getattr(answers[m, task], kind) for task in tasks]) for m in job.methods
        }
        values = seed_means(found[method]) if len(job.seeds[method]) > 1 else []
        limits = {
            name: limit
            for name, shares in found.items()
            if len(tasks) == 1 and (limit := seeds.threshold(shares[0])) is not None
        }
        columns = dict.fromkeys((f"{prefix}{name}" for name in SUCCESS), None)
        row |= {f"{prefix}seed_values": tuple(values)} | columns
        if limits and values:
            limit = limits.get(method, next(iter(limits.values())))
            counted = seeds.successes(values, limit, job.comparison.confidence)
            row |= dict(zip(columns, astuple(counted), strict=True))
    return row


def difference_columns(
    baseline: str, pair: tuple[list[Answers], list[Answers]] | None, confidence: float
) -> ComparisonRow:
    """Return the columns of a method minus a baseline; empty for the baseline itself."""
    key = f"diff_{baseline}"
    row: ComparisonRow = {}
    for name, kind in ((key, "correct_S_N_K"), (f"reflection_{key}", "reflects_S_N_K")):
        found: dict[str, Any] = {}
        values: list[float] = []
        if pair:
            a, b = (scores([getattr(answers, kind) for answers in side]) for side in pair)
            difference, values = paired_tasks(a, b, confidence)
            found = vars(difference)
        row |= {name: found.get("mean")}
        row |= {f"{name}_{end}": found.get(end) for end in ("ci_low", "ci_high")}
        if name == key:
            row |= {f"{key}_p": found.get("p"), f"{key}_p_holm": None}
            row |= {f"mde_{baseline}": found.get("detectable")}
        row[f"{name}_seed_values"] = tuple(values)
    return row


def paired_tasks(
    a: Sequence[Scores], b: Sequence[Scores], confidence: float
) -> tuple[Difference, list[float]]:
    """Return the mean over tasks of a - b, and its value for each seed if there are several.

    Args:
        a: for each task, the (S, N) scores; paired by question and seed.
        b: the same for b.
        confidence: of the interval, e.g. 0.95.
    """
    found = intervals.difference(a, b, confidence)
    differences = [x - y for x, y in zip(a, b, strict=True)]
    held = all(seeds.have_interval(task) for task in (*a, *b, *differences))
    if not held:
        found = replace(found, ci_low=None, ci_high=None, p=None, detectable=None)
    values = seed_means(differences)
    return found, values if len(values) > 1 else []


def seed_points(
    answers: Mapping[tuple[str, str], Answers],
) -> dict[tuple[str, str, str], list[float]]:
    """Return (column, method, task) -> the value of each training seed, for the plots."""
    return {
        (column, method, task): list(values)
        for (method, task), found in answers.items()
        for column, values in (
            ("mean", found.correct_S_N_K.mean(axis=(1, 2))),
            ("reflection_rate", found.reflects_S_N_K.mean(axis=(1, 2))),
        )
    }


def mean_of_all(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure; NaN if one is: a mean of fewer tasks is another one."""
    return {key: float(np.mean([figure[key] for figure in figures])) for key in figures[0]}


def mean_figures(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure, ignoring NaN; NaN if there is nothing else."""
    means = {}
    for key in figures[0]:
        given = [figure[key] for figure in figures if not math.isnan(figure[key])]
        means[key] = float(np.mean(given)) if given else math.nan
    return means
