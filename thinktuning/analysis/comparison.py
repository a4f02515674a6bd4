"""Compute the comparison from the answers of all methods to all tasks.

1. A question's score is its mean over samples; a task's score is the mean over its questions.
2. Intervals are over questions; with several training seeds, over seeds crossed with questions.
3. Methods are compared question by question and seed by seed. An untrained method has one set of
   answers, which is compared with every seed of the other method.
4. p-values are Holm-corrected over the tasks of one method and baseline.
5. The mean of tasks weights all tasks equally, whatever their number of questions.

The formulas are in `intervals`. Shapes: S training seeds (1 for an untrained method), N questions,
K samples per question.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thinktuning.analysis import intervals
from thinktuning.analysis.intervals import Estimate
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
            for baseline in job.comparison.baselines:
                others = [answers[baseline, task] for task in tasks]
                pair = (of_method, others) if method != baseline else None
                row |= difference_columns(baseline, pair, confidence)
                row[f"published_{baseline}"] = published(job, method, baseline, scope)
            rows.append(row)
    correct_p_values(job, rows)
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
        | mean_figures([answers[method, task].reflection for task in tasks])
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


def share_interval(outcomes: Sequence[np.ndarray], confidence: float) -> Estimate:
    """Return the mean of a share over tasks, and its interval within [0, 1].

    Args:
        outcomes: for each task, the (S, N, K) outcomes, 0 or 1.
        confidence: of the interval, e.g. 0.95.
    """
    scores_S_N = pooled([outcome.mean(axis=2) for outcome in outcomes])
    num_seeds, n = scores_S_N.shape
    if np.ptp(scores_S_N) == 0 and scores_S_N[0, 0] in (0, 1):
        # All 0 or all 1: no spread to measure, yet n questions do not prove a share of exactly 0.
        return intervals.proportion_interval(round(scores_S_N[0].sum()), n, confidence)
    if num_seeds > 1:
        estimate = intervals.crossed_interval(scores_S_N, confidence)
    elif len(outcomes) == 1:
        estimate = intervals.accuracy_interval(outcomes[0][0], confidence)
    else:
        estimate = intervals.mean_interval(scores_S_N[0], confidence)
    low, high = max(0.0, estimate.ci_low), min(1.0, estimate.ci_high)
    return replace(estimate, ci_low=low, ci_high=high)


def pooled(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return all tasks' questions as one (S, N) array whose mean is the mean of the tasks' means.

        x_sq = M + (N / (T N_t)) (score_sq - m_t),  M = mean_t m_t

    Scores are centered on their task's mean m_t, so differences between tasks do not add to the
    variance. The variance over questions is sum_t var_t / (N_t T^2), that of a stratified sample,
    up to a factor 1 - 1/N_t. A single task is returned unchanged.
    """
    means = [task.mean() for task in scores]
    total = sum(task.shape[1] for task in scores)
    weights = [total / (len(scores) * task.shape[1]) for task in scores]
    parts = [w * (task - m) for w, task, m in zip(weights, scores, means, strict=True)]
    return np.concatenate(parts, axis=1) + np.mean(means) if len(scores) > 1 else scores[0]


def difference_columns(
    baseline: str, pair: tuple[list[Answers], list[Answers]] | None, confidence: float
) -> ComparisonRow:
    """Return the columns of a method minus a baseline; empty for the baseline itself."""
    values: list[float | None] = [None] * 8
    if pair:
        accuracy, p = difference_and_p(
            [[a.correct_S_N_K for a in side] for side in pair], confidence
        )
        reflection, _ = difference_and_p(
            [[a.reflects_S_N_K for a in side] for side in pair], confidence
        )
        values = [accuracy.mean, *ends(accuracy), p]
        values += [intervals.minimum_detectable_effect(accuracy)]
        values += [reflection.mean, *ends(reflection)]
    names = [f"diff_{baseline}{end}" for end in ("", "_ci_low", "_ci_high", "_p")]
    names += [f"mde_{baseline}"]
    names += [f"reflection_diff_{baseline}{end}" for end in ("", "_ci_low", "_ci_high")]
    return dict(zip(names, values, strict=True))


def ends(difference: Estimate) -> tuple[float, float]:
    """Return the interval of a difference of two shares, clipped to [-1, 1]."""
    return max(-1.0, difference.ci_low), min(1.0, difference.ci_high)


def difference_and_p(
    sides: Sequence[Sequence[np.ndarray]], confidence: float
) -> tuple[Estimate, float]:
    """Return the mean over tasks of a - b, paired by question and seed, and its p-value.

    Args:
        sides: for a and for b, the (S, N, K) outcomes on each task.
        confidence: of the interval, e.g. 0.95.
    """
    a, b = ([outcome.mean(axis=2) for outcome in side] for side in sides)
    d_S_N = pooled([x - y for x, y in zip(a, b, strict=True)])
    zeros_N = np.zeros(d_S_N.shape[1])
    if len(d_S_N) > 1:
        return intervals.crossed_difference(d_S_N, zeros_N[None], confidence)
    estimate, p = intervals.paired_difference(d_S_N[0], zeros_N, confidence)
    if len(a) == 1 and sides[0][0].shape[2] == 1:  # one task, one sample per question: exact
        p = intervals.mcnemar_p(a[0][0], b[0][0])
    return estimate, p


def correct_p_values(job: CompareJob, rows: Sequence[ComparisonRow]) -> None:
    """Holm-correct the p-values of each method and baseline over the tasks, in place."""
    for method in job.methods:
        family = [row for row in rows if row["method"] == method and row["task"] in job.tasks]
        for baseline in job.comparison.baselines:
            if method != baseline:
                key = f"diff_{baseline}_p"
                adjusted = intervals.holm([row[key] for row in family])
                for row, p in zip(family, adjusted, strict=True):
                    row[key] = p


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


def mean_figures(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each figure, ignoring NaN; NaN if there is nothing else."""
    means = {}
    for key in figures[0]:
        given = [figure[key] for figure in figures if not math.isnan(figure[key])]
        means[key] = float(np.mean(given)) if given else math.nan
    return means
