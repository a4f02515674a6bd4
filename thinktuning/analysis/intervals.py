"""Confidence intervals of shares and of paired differences, their p-values and power.

Shapes: N questions, K samples per question, S training seeds (1 for an untrained method). A task's
scores are the (S, N) shares of correct samples; several tasks give the mean of their means.

Sources: Korn & Graubard 1998 (Survey Methodology 24:193) and Clopper & Pearson 1934: shares from
clustered samples. Bonett & Price 2012 (J. Educ. Behav. Stat. 37:479): paired proportions. Bowyer et
al. 2025 (arXiv 2503.01747): why not the central limit theorem below a few hundred questions.
Coverage and power of everything here are simulated by perf/coverage.py.

Quantiles are from scipy.special: scipy.stats has the same ones, and takes longer to import.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

from thinktuning.analysis.scores import finite
from thinktuning.analysis.variance import (
    Scores,
    mean_of_tasks,
    t_quantile,
    with_pseudo_questions,
)

# Of a pseudo-question in a difference: with several answers a question, those that differ by more
# may be missing from the sample. Two of this size have the variance of one that is won outright.
LEAST_PSEUDO = math.sqrt(1 / 2)


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval and standard error.

    Attributes:
        mean: the mean.
        ci_low: lower end of the interval; None if there is none.
        ci_high: upper end.
        se: the standard error.
        n: the number of questions.
    """

    mean: float
    ci_low: float | None
    ci_high: float | None
    se: float
    n: int


@dataclass(frozen=True)
class Difference(Estimate):
    """A paired difference, with what the same test says about it.

    Attributes:
        p: one minus the confidence at which the interval touches 0; None if there is none.
        detectable: the true difference that such a comparison finds four times in five; None if
            not even a difference of 1 is found as often.
    """

    p: float | None
    detectable: float | None


def accuracy(correct_N_K: ArrayLike, confidence: float = 0.95) -> Estimate:
    """Return avg@k with its interval over questions.

    Args:
        correct_N_K: 1 for a correct sample, else 0; or shares of an unknown number of samples.
        confidence: of the interval.

    Raises:
        ValueError: a value or the confidence is not between 0 and 1, or there are fewer than two
            questions.
    """
    check_confidence(confidence)
    correct = shares(correct_N_K)
    num_samples = [correct.shape[1]] if np.isin(correct, (0, 1)).all() else []
    return share([correct.mean(axis=1)[None]], confidence, num_samples)


def paired_difference(a_N_K: ArrayLike, b_N_K: ArrayLike, confidence: float = 0.95) -> Difference:
    """Return avg@k of a minus avg@k of b on the same questions, in the same order.

    Args:
        a_N_K: 1 for a correct sample of a, else 0.
        b_N_K: the same for b, whose number of samples may differ.
        confidence: of the interval.

    Raises:
        ValueError: as in `accuracy`, or a and b have different numbers of questions.
    """
    check_confidence(confidence)
    a, b = (shares(side).mean(axis=1)[None] for side in (a_N_K, b_N_K))
    if a.shape != b.shape:
        raise ValueError(f"expected the same questions, got {a.shape[1]} and {b.shape[1]}")
    return difference([a], [b], confidence)


def shares(values_N_K: ArrayLike) -> NDArray[np.float64]:
    """Return verdicts or shares as an array; raise ValueError for one that is not in [0, 1]."""
    values = finite(values_N_K, ndim=2)
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"expected scores from 0 to 1, got {values.min():g} to {values.max():g}")
    return values


def share(
    tasks: Sequence[Scores], confidence: float = 0.95, num_samples: Sequence[int] = ()
) -> Estimate:
    """Return the mean share over tasks, and its interval, which lies within [0, 1].

    One answer to each question of one task: the exact interval of Clopper and Pearson. Otherwise
    Korn and Graubard's, the same interval for the number n* of independent answers that would have
    the same variance:

        n* = p (1 - p) / var(p) * (z / t)^2

    n* is estimated with two more questions, one all wrong and one all right, that weigh half each,
    and is at most the number of answers. Seeds that never disagree count as one.

    Args:
        tasks: for each task the (S, N) scores, in [0, 1].
        confidence: of the interval.
        num_samples: for each task the answers per question and seed, if they are known.
    """
    if all((task == task[:1]).all() for task in tasks):
        tasks = [task[:1] for task in tasks]
    plain = mean_of_tasks(tasks)
    p, n = plain.value, sum(task.shape[1] for task in tasks)
    if len(tasks) == len(tasks[0]) == 1 and np.isin(tasks[0], (0, 1)).all():
        effective = float(n)
    else:
        wide = with_pseudo_questions(tasks, [(0, 1)] * len(tasks), weight=0.5)
        z = float(special.ndtri((1 + confidence) / 2))
        bernoulli = wide.value * (1 - wide.value)
        effective = bernoulli * (z / wide.half_width(confidence)) ** 2
        if num_samples:
            answers = [k * task.size for k, task in zip(num_samples, tasks, strict=True)]
            most = len(tasks) ** 2 / sum(1 / count for count in answers)
            effective = min(effective, most)
    return Estimate(p, *clopper_pearson(p * effective, effective, confidence), plain.se, n)


def clopper_pearson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a binomial share; counts need not be whole."""
    tail = (1 - confidence) / 2
    failures = n - successes
    low = float(special.betaincinv(successes, failures + 1, tail)) if successes > 0 else 0.0
    high = float(special.betainccinv(successes + 1, failures, tail)) if failures > 0 else 1.0
    return low, high


def difference(a: Sequence[Scores], b: Sequence[Scores], confidence: float = 0.95) -> Difference:
    """Return the mean over tasks of a - b, paired by question and seed.

    The interval and p are those of one t test, on the differences of the questions (and seeds) and
    two more questions, one that a wins and one that b does, by the largest difference that was seen
    and by at least `LEAST_PSEUDO`. For one answer per question this is Bonett and Price's interval,
    with a quantile of t for the normal one. `detectable` is `minimum_detectable_effect`'s.

    Args:
        a: for each task the (S, N) scores in [0, 1]; of shape (1, N) for an untrained method, which
            is paired with every seed of the other.
        b: the same for b.
        confidence: of the interval.
    """
    tasks = [x - y for x, y in zip(a, b, strict=True)]
    plain = mean_of_tasks(tasks)
    largest = [float(np.abs(d).max()) for d in tasks]
    sizes = [max(size, LEAST_PSEUDO) if size else 1.0 for size in largest]
    test = with_pseudo_questions(tasks, [(-size, size) for size in sizes], weight=1)
    half_width = test.half_width(confidence)
    df = test.degrees_of_freedom(confidence)
    return Difference(
        mean=plain.value,
        ci_low=max(-1.0, min(plain.value, test.value - half_width)),
        ci_high=min(1.0, max(plain.value, test.value + half_width)),
        se=test.se,
        n=plain.num_questions,
        p=test.p_value(),
        detectable=minimum_detectable_effect(
            test.se, df, confidence, questions=len(tasks) ** 2 / sum(1 / d.shape[1] for d in tasks)
        ),
    )


def minimum_detectable_effect(
    se: float,
    df: float,
    confidence: float = 0.95,
    power: float = 0.8,
    questions: float = math.inf,
) -> float | None:
    """Return the true difference that a t test finds with this power; None if it exceeds 1.

    None, too, for a standard error of 0, which is no estimate: any difference would be found.

    At a difference d the test statistic has a noncentral t distribution with parameter d / se. The
    standard error is itself an estimate, with the same degrees of freedom, so the power is the mean
    over what it may be:

        power = E[P(Z + (d / se) s_1 > t s_2)],  s_1^2, s_2^2 ~ chi^2_df / df

    A difference has a variance of its own, which a sample in which little differs does not show: if
    a share d of the questions is won outright, it is d (1 - d) / questions, and `se` is no less.

    Args:
        se: the standard error of such a difference.
        df: its degrees of freedom.
        confidence: of the interval that has to exclude 0.
        power: the share of comparisons in which it does.
        questions: how many there are; of several tasks the number with the same variance.
    """
    check_confidence(confidence)
    critical = t_quantile(confidence, df)
    chi2 = 2 * special.gammaincinv(df / 2, (np.arange(64) + 0.5) / 64)  # of equal probability
    s = np.sqrt(chi2 / df)

    def surplus(shift: float) -> float:
        return float(special.ndtr(shift * s[:, None] - critical * s).mean()) - power

    shift = float(optimize.brentq(surplus, 0.0, 1000 * critical))
    effect = max(se * shift, shift**2 / (questions + shift**2))  # d = shift se, for either se
    return effect if 0 < effect <= 1 else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p-values, in the given order; None and NaN are no hypotheses."""
    from statsmodels.stats.multitest import multipletests

    tested = [i for i, p in enumerate(p_values) if p is not None and not math.isnan(p)]
    adjusted = list(p_values)
    if tested:
        found = multipletests([p_values[i] for i in tested], method="holm")[1]
        for i, p in zip(tested, found, strict=True):
            adjusted[i] = float(p)
    return adjusted


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is no share, such as 95 for 0.95."""
    if not 0 < confidence < 1:
        raise ValueError(
            f"confidence: expected a share between 0 and 1, such as 0.95, got {confidence}"
        )
