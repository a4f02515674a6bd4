"""The variance of a mean over questions, or over training seeds crossed with questions.

Shapes: S training seeds, N questions of one task or of several.

Sources: Miller 2024, "Adding error bars to evals" (arXiv 2411.00640): standard error over
questions. Searle, Casella & McCulloch 1992, "Variance Components", chapter 4: seeds crossed with
questions. Banerjee 1960 (Sankhya 22:357): an interval from two variances. Satterthwaite 1946
(Biometrics Bulletin 2:110): degrees of freedom of a sum of variances.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from thinktuning.analysis.scores import finite

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean and the two parts of its variance; with one seed, `seed_variance` is 0.

    `question_df` are the degrees of freedom of the variance over questions: of several tasks fewer
    than the questions have, if a small task brings much of it.
    """

    value: float
    seed_variance: float
    question_variance: float
    num_seeds: int
    num_questions: int
    question_df: float

    @property
    def se(self) -> float:
        """The standard error."""
        return math.sqrt(self.seed_variance + self.question_variance)

    def half_width(self, confidence: float) -> float:
        """Return half the width of the interval around the value.

        Banerjee's rule: each variance is scaled by the t quantile of its own degrees of freedom.
        """
        question_t = t_quantile(confidence, self.question_df)
        width = question_t * math.sqrt(self.question_variance)
        if self.seed_variance == 0:
            return width
        seed_t = t_quantile(confidence, self.num_seeds - 1)
        return math.hypot(width, seed_t * math.sqrt(self.seed_variance))

    def p_value(self) -> float:
        """Return one minus the confidence at which the interval just touches 0.

        So p < 0.05 if and only if the 95% interval excludes 0. Without seeds it is the t test's.
        """
        if self.value == 0:
            return 1.0
        if self.seed_variance == 0:
            return float(2 * special.stdtr(self.question_df, -abs(self.value) / self.se))
        most = 1 - 1e-12
        if self.half_width(most) < abs(self.value):
            return 0.0

        def gap(confidence: float) -> float:
            return self.half_width(confidence) - abs(self.value)

        return 1 - float(optimize.brentq(gap, 0.0, most, xtol=1e-15))

    def degrees_of_freedom(self, confidence: float) -> float:
        """Return those of the t distribution whose quantile gives the same half-width."""
        if self.seed_variance == 0:
            return self.question_df
        quantile = self.half_width(confidence) / self.se
        low, high = sorted((self.num_seeds - 1, self.question_df))

        def gap(log_df: float) -> float:
            return t_quantile(confidence, math.exp(log_df)) - quantile

        if gap(math.log(low)) * gap(math.log(high)) >= 0:  # one of the variances is all of it
            return min((low, high), key=lambda df: abs(gap(math.log(df))))
        return math.exp(optimize.brentq(gap, math.log(low), math.log(high)))


def t_quantile(confidence: float, df: float) -> float:
    """Return the quantile of t that a two-sided interval uses."""
    return float(special.stdtrit(df, (1 + confidence) / 2))


def mean_of_tasks(tasks: Sequence[Scores], num_pseudo: int = 0) -> Mean:
    """Return the mean of the tasks' means, from each task's (S, N) scores.

    The last `num_pseudo` questions of each task add to variances and not to degrees of freedom.

        score_sq = mean + seed_s + question_q + error_sq
        var(mean) = var_seed / S + (S var_question + var_error) / (S N)
        E[MS_seed] = N var_seed + var_error,  E[MS_question] = S var_question + var_error

    A negative variance is set to 0.
    """
    scores = pooled([finite(task, ndim=2) for task in tasks])
    S, N = scores.shape
    if min(task.shape[1] for task in tasks) < 2:
        raise ValueError("expected finite scores of at least 2 questions: one has no variance")
    mean = scores.mean()
    seed_S_1 = scores.mean(axis=1, keepdims=True) - mean
    question_1_N = scores.mean(axis=0, keepdims=True) - mean
    ms_question = S * (question_1_N**2).sum() / (N - 1)
    ms_error = ms_seed = 0.0
    if S > 1:
        error_S_N = scores - mean - seed_S_1 - question_1_N
        ms_error = (error_S_N**2).sum() / ((S - 1) * (N - 1))
        ms_seed = N * (seed_S_1**2).sum() / (S - 1)
    sizes = np.array([task.shape[1] for task in tasks])
    firsts = np.cumsum(sizes) - sizes
    return Mean(
        value=float(mean),
        seed_variance=float(max(ms_seed - ms_error, 0)) / (S * N),
        question_variance=float(max(ms_question, ms_error)) / (S * N),
        num_seeds=S,
        num_questions=N - num_pseudo * len(tasks),
        question_df=combined_df(
            np.add.reduceat(question_1_N[0] ** 2, firsts), sizes - num_pseudo - 1
        ),
    )


def combined_df(variances: Scores, dfs: NDArray[np.int64]) -> float:
    """Return the degrees of freedom of a sum of variances, by Satterthwaite's rule.

    Args:
        variances: of each task, up to a common factor.
        dfs: of each task, its questions minus 1.
    """
    if not variances.any():
        return float(dfs.sum())
    return float(variances.sum() ** 2 / (variances**2 / dfs).sum())


def pooled(scores: Sequence[Scores]) -> Scores:
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


def with_pseudo_questions(
    tasks: Sequence[Scores], ends: Sequence[tuple[float, float]], weight: float
) -> Mean:
    """Return the mean of tasks, each with two more questions: one at either of its ends.

    Both count `weight` of a question in the sum of squares; they add no degrees of freedom. A
    sample in which all questions agree, or in which the rare ones that differ are missing, would
    otherwise show too small a variance.
    """
    wider = []
    for scores_S_N, of_task in zip(tasks, ends, strict=True):
        mean = scores_S_N.mean()
        pseudo = mean + math.sqrt(weight) * (np.array(of_task) - mean)
        wide = np.tile(pseudo, (len(scores_S_N), 1))
        wider.append(np.concatenate([scores_S_N, wide], axis=1))
    return mean_of_tasks(wider, num_pseudo=2)
