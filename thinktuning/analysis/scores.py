"""Scores of questions: avg@k, pass@k and maj@k.

Shapes: N questions, K samples per question. Source of pass@k: Chen et al. 2021 (arXiv 2107.03374),
equation 1.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def avg_at_k(correct_N_K: ArrayLike) -> NDArray[np.float64]:
    """Return each question's share of correct samples, c/K, shape (N,)."""
    scores: NDArray[np.float64] = finite(correct_N_K, ndim=2).mean(axis=1)
    return scores


def pass_at_k(correct_N_K: ArrayLike, k: int) -> NDArray[np.float64]:
    """Return each question's unbiased probability that one of k samples is correct, shape (N,).

        pass@k = 1 - C(K-c, k) / C(K, k)

    which is one minus the probability that none of k drawn samples is correct:

        C(K-c, k) / C(K, k) = prod_{i<k} (K-c-i) / (K-i)
    """
    correct = finite(correct_N_K, ndim=2)
    num_samples = correct.shape[1]
    if not 1 <= k <= num_samples:
        raise ValueError(f"pass@{k} needs k between 1 and the {num_samples} samples per question")
    drawn = np.arange(k)
    wrong = np.maximum(num_samples - correct.sum(axis=1)[:, None] - drawn, 0)
    none_correct: NDArray[np.float64] = np.prod(wrong / (num_samples - drawn), axis=1)
    return 1 - none_correct


def maj_at_k(
    votes_N_K: Sequence[Sequence[Hashable | None]], correct_N_K: ArrayLike
) -> NDArray[np.float64]:
    """Return each question's score under majority voting, shape (N,).

    Equal votes are for the same answer, which scores the mean of their verdicts; `None` does not
    vote. A tie scores the mean over the tied answers, the expectation of breaking it at random. A
    question without any vote scores 0.
    """
    scores = []
    for votes, correct in zip(votes_N_K, finite(correct_N_K, ndim=2), strict=True):
        verdicts: dict[Hashable, list[float]] = {}
        for vote, right in zip(votes, correct, strict=True):
            if vote is not None:
                verdicts.setdefault(vote, []).append(right)
        top = max(map(len, verdicts.values()), default=0)
        winners = [np.mean(found) for found in verdicts.values() if len(found) == top]
        scores.append(float(np.mean(winners)) if winners else 0.0)
    return np.array(scores)


def finite(values: ArrayLike, ndim: int, min_length: int = 1) -> NDArray[np.float64]:
    """Return scores as an array; raise ValueError for another shape, NaN or infinity."""
    array = np.asarray(values, dtype=float)
    if array.ndim != ndim or min(array.shape) < min_length:
        raise ValueError(
            f"expected finite scores with {ndim} dimensions of at least {min_length}, got shape"
            f" {array.shape}"
        )
    if not np.isfinite(array).all():
        where = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        raise ValueError(f"expected finite scores, got {array[where]} at {where}")
    return array
