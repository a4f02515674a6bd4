"""The numbers of the comparison, from the answers of all methods to all tasks.

1. A question's score is its mean over the samples, a task's the mean over its questions.
2. Intervals are over questions; with several training seeds, over seeds crossed with questions.
3. Two methods are compared question by question and seed by seed. A method without training has
   one set of answers, which meets those of every seed of the other.
4. p-values are Holm-corrected over the tasks of one method and baseline.
5. The mean of tasks weighs every task alike, however many questions each has.

The formulas are in `thinktuning.statistics`. Shapes: S training seeds (1 for a method without
training), N questions, K samples a question.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from thinktuning import statistics
from thinktuning.config import CompareRun
from thinktuning.statistics import Estimate

SUBSET_FIGURES = ("n", "k", "mean", "ci_low", "ci_high")
MEAN_OF_TASKS = "mean of tasks"  # with spaces: no task of a study can be called that
Row = dict[str, Any]


@dataclass(frozen=True)
class Answers:
    """What one method answered on one task; `figures` are means over all of its answers.

    `reflection` holds the figures of behaviours.csv and flips.csv, `subsets` each question's part
    of the task (a subject, a year), "" for none.
    """

    ids: list[str]
    subsets: list[str]
    correct_S_N_K: np.ndarray
    reflects_S_N_K: np.ndarray
    figures: dict[str, float]
    reflection: dict[str, float]

    def part(self, subset: str) -> "Answers":
        """Return the answers to one subset's questions; the figures stay those of all."""
        rows = [i for i, name in enumerate(self.subsets) if name == subset]
        return replace(
            self,
            ids=[self.ids[i] for i in rows],
            subsets=[subset] * len(rows),
            correct_S_N_K=self.correct_S_N_K[:, rows],
            reflects_S_N_K=self.reflects_S_N_K[:, rows],
        )


def scopes(run: CompareRun) -> dict[str, list[str]]:
    """Return what there are rows of, as the tasks in it: each task, and the mean of several."""
    of_tasks = {task: [task] for task in run.tasks}
    return of_tasks | {MEAN_OF_TASKS: run.tasks} if len(run.tasks) > 1 else of_tasks


def comparison_rows(run: CompareRun, answers: Mapping[tuple[str, str], Answers]) -> list[Row]:
    """Return the rows of comparison.csv: each task's methods, then those of the mean of tasks."""
    confidence = run.comparison.confidence
    rows = []
    for scope, tasks in scopes(run).items():
        for method, label in run.methods.items():
            of_method = [answers[method, task] for task in tasks]
            row: Row = {"method": method, "label": label, "task": scope}
            row |= {"seeds": len(run.seeds[method])} | summary(of_method, confidence)
            for baseline in run.comparison.baselines:
                others = [answers[baseline, task] for task in tasks]
                pair = (of_method, others) if method != baseline else None
                row |= difference_columns(baseline, pair, confidence)
                row[f"published_{baseline}"] = published(run, method, baseline, scope)
            rows.append(row)
    correct_p_values(run, rows)
    return rows


def published(run: CompareRun, method: str, baseline: str, scope: str) -> float | None:
    """Return the difference that the study's `comparison.published` gives, as a share."""
    points = run.comparison.published.get(method, {}).get(baseline, {})
    found = points.get("mean" if scope == MEAN_OF_TASKS else scope)
    return None if found is None else found / 100


def subset_rows(run: CompareRun, answers: Mapping[tuple[str, str], Answers]) -> list[Row]:
    """Return the rows of subsets.csv: accuracy and differences in each part of a task.

    A part of one question has no interval and is left out; there are many parts, so no p-values.
    """
    confidence = run.comparison.confidence
    rows = []
    for task in run.tasks:
        found = answers[next(iter(run.methods)), task]
        sizes = Counter(name for name in found.subsets if name)
        for subset in sorted(name for name, size in sizes.items() if size > 1):
            for method, label in run.methods.items():
                mine = answers[method, task].part(subset)
                row: Row = {"method": method, "label": label, "task": task, "subset": subset}
                row |= {"seeds": len(run.seeds[method])}
                row |= {key: summary([mine], confidence)[key] for key in SUBSET_FIGURES}
                for baseline in run.comparison.baselines:
                    other = [answers[baseline, task].part(subset)]
                    pair = ([mine], other) if method != baseline else None
                    columns = difference_columns(baseline, pair, confidence)
                    names = [f"diff_{baseline}{end}" for end in ("", "_ci_low", "_ci_high")]
                    row |= {name: columns[name] for name in names}
                rows.append(row)
    return rows


def reflection_rows(run: CompareRun, answers: Mapping[tuple[str, str], Answers]) -> list[Row]:
    """Return each method's behaviours and flips on each task, and on the mean of tasks."""
    return [
        {"method": method, "label": label, "task": scope}
        | mean_figures([answers[method, task].reflection for task in tasks])
        for scope, tasks in scopes(run).items()
        for method, label in run.methods.items()
    ]


def summary(answers: Sequence[Answers], confidence: float) -> Row:
    """Return what a method did on a task, or on the mean of several."""
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
    """Return a share's mean over tasks and its interval, inside [0, 1].

    Args:
        outcomes: each task's (S, N, K) outcomes, 0 or 1.
    """
    scores_S_N = pooled([outcome.mean(axis=2) for outcome in outcomes])
    num_seeds, n = scores_S_N.shape
    if np.ptp(scores_S_N) == 0 and scores_S_N[0, 0] in (0, 1):
        # Never or always: no spread to measure, but n questions do not prove a share of exactly 0.
        return statistics.proportion_interval(round(scores_S_N[0].sum()), n, confidence)
    if num_seeds > 1:
        estimate = statistics.crossed_interval(scores_S_N, confidence)
    elif len(outcomes) == 1:
        estimate = statistics.accuracy_interval(outcomes[0][0], confidence)
    else:
        estimate = statistics.mean_interval(scores_S_N[0], confidence)
    low, high = max(0.0, estimate.ci_low), min(1.0, estimate.ci_high)
    return replace(estimate, ci_low=low, ci_high=high)


def pooled(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return all tasks' questions as one (S, N) array whose mean is the mean of the tasks' means.

        x_sq = M + (N / (T N_t)) (score_sq - m_t),  M = mean_t m_t

    Centred on its own task's mean m_t, a question adds no difference between tasks to the spread:
    the variance over questions is sum_t var_t / (N_t T^2), that of a stratified sample (but for
    a factor 1 - 1/N_t). One task is returned as it is.
    """
    means = [task.mean() for task in scores]
    total = sum(task.shape[1] for task in scores)
    weights = [total / (len(scores) * task.shape[1]) for task in scores]
    parts = [w * (task - m) for w, task, m in zip(weights, scores, means, strict=True)]
    return np.concatenate(parts, axis=1) + np.mean(means) if len(scores) > 1 else scores[0]


def difference_columns(
    baseline: str, pair: tuple[list[Answers], list[Answers]] | None, confidence: float
) -> Row:
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
        values += [statistics.minimum_detectable_effect(accuracy)]
        values += [reflection.mean, *ends(reflection)]
    names = [f"diff_{baseline}{end}" for end in ("", "_ci_low", "_ci_high", "_p")]
    names += [f"mde_{baseline}"]
    names += [f"reflection_diff_{baseline}{end}" for end in ("", "_ci_low", "_ci_high")]
    return dict(zip(names, values, strict=True))


def ends(difference: Estimate) -> tuple[float, float]:
    """Return the interval of a difference of two shares, inside [-1, 1]."""
    return max(-1.0, difference.ci_low), min(1.0, difference.ci_high)


def difference_and_p(
    sides: Sequence[Sequence[np.ndarray]], confidence: float
) -> tuple[Estimate, float]:
    """Return the mean over tasks of a - b, paired by question and seed, and its p-value.

    Args:
        sides: a's and b's (S, N, K) outcomes of each task.
    """
    a, b = ([outcome.mean(axis=2) for outcome in side] for side in sides)
    d_S_N = pooled([x - y for x, y in zip(a, b, strict=True)])
    nothing_N = np.zeros(d_S_N.shape[1])
    if len(d_S_N) > 1:
        return statistics.crossed_difference(d_S_N, nothing_N[None], confidence)
    estimate, p = statistics.paired_difference(d_S_N[0], nothing_N, confidence)
    if len(a) == 1 and sides[0][0].shape[2] == 1:  # one task, one sample a question: exact
        p = statistics.mcnemar_p(a[0][0], b[0][0])
    return estimate, p


def correct_p_values(run: CompareRun, rows: Sequence[Row]) -> None:
    """Correct the p-values of each method and baseline over the tasks, in place (Holm)."""
    for method in run.methods:
        family = [row for row in rows if row["method"] == method and row["task"] in run.tasks]
        for baseline in run.comparison.baselines:
            if method != baseline:
                key = f"diff_{baseline}_p"
                adjusted = statistics.holm([row[key] for row in family])
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
    """Return the mean of each figure, over those that have it; NaN where none does."""
    means = {}
    for key in figures[0]:
        given = [figure[key] for figure in figures if not math.isnan(figure[key])]
        means[key] = float(np.mean(given)) if given else math.nan
    return means
