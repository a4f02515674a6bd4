"""What a few training seeds can say: too few for an interval, or split into success and failure.

An interval over seeds assumes that they scatter around one mean. Training with RL sometimes does
not: some seeds find a behavior and others never do. Then an interval around the mean describes
values that no seed takes, and what the seeds show is how many succeeded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinktuning.analysis.intervals import clopper_pearson
from thinktuning.analysis.variance import Scores

FEWEST = 3  # seeds with an interval: two have one degree of freedom, and a t quantile of 12.7
GAP = 0.2  # between success and failure, as a share of answers
RATIO = 3  # of the gap to the spread on either side of it
NOISE = 6  # of the gap to a seed's standard error over questions


@dataclass(frozen=True)
class Successes:
    """How many seeds are above a threshold, with the exact interval of their share.

    Attributes:
        above: seeds above the threshold.
        ci_low: lower end of Clopper and Pearson's interval.
        ci_high: its upper end.
        threshold: a share of correct (or reflecting) answers.
    """

    above: int
    ci_low: float
    ci_high: float
    threshold: float


def have_interval(scores_S_N: Scores) -> bool:
    """Tell whether the scores of a task allow an interval: one seed over questions, or several."""
    return len(scores_S_N) == 1 or (len(scores_S_N) >= FEWEST and threshold(scores_S_N) is None)


def threshold(scores_S_N: Scores) -> float | None:
    """Return the middle of the gap between seeds that succeed and seeds that fail, if they do.

    The widest gap between neighboring seeds must be at least 20 points, three times as wide as the
    seeds on either side of it are apart, and six standard errors over questions. Of normally
    distributed seeds this takes 0.1% of triples for split if their standard deviation is 5 points,
    and 10% if it is 10; of five seeds 0.0% and 1.8% (perf/coverage.py). Three that scatter as
    widely as 10 points have an interval of about 50 points, so little is lost.
    """
    if len(scores_S_N) < FEWEST:
        return None
    seeds: NDArray[np.float64] = np.sort(scores_S_N.mean(axis=1))
    gaps = np.diff(seeds)
    i = int(gaps.argmax())
    spread = max(seeds[i] - seeds[0], seeds[-1] - seeds[i + 1])
    noise = float(scores_S_N.std(axis=1).mean()) / math.sqrt(scores_S_N.shape[1])
    if gaps[i] < max(GAP, RATIO * spread, NOISE * noise) - 1e-9:
        return None
    return float(seeds[i] + seeds[i + 1]) / 2


def successes(values: Sequence[float], limit: float, confidence: float) -> Successes:
    """Return how many seeds' values are above a threshold."""
    above = sum(value > limit for value in values)
    return Successes(above, *clopper_pearson(above, len(values), confidence), limit)
