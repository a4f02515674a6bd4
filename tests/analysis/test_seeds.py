"""Seeds that are too few for an interval, and seeds that succeed or fail."""

import numpy as np
import pytest
from scipy import stats

from thinktuning.analysis.seeds import have_interval, successes, threshold


def scores(*means, num_questions=300):
    """Scores of seeds, (S, N), without noise over questions."""
    return np.tile(np.array(means)[:, None], (1, num_questions))


@pytest.mark.parametrize(
    ("means", "middle"),
    [
        ((0.9, 0.1, 0.92), 0.5),
        ((0.05, 0.04, 0.06, 0.9, 0.92), 0.48),
        ((1.0, 0.0, 0.0, 0.0), 0.5),
        ((0.55, 0.3, 0.56), 0.425),
        ((0.9, 0.88, 0.92), None),
        ((0.5, 0.4, 0.3), None),  # even steps
        ((0.1, 0.2, 0.45), None),  # a gap of 25 points, but seeds 10 points apart below it
        ((0.10, 0.11, 0.25), None),  # 14 points
        ((0.1, 0.9), None),  # two seeds show no groups
        ((0.4,), None),
    ],
)
def test_a_wide_gap_between_tight_groups_is_a_split(means, middle):
    found = threshold(scores(*means))
    assert found == (middle if middle is None else pytest.approx(middle))


def test_noise_over_few_questions_is_no_split():
    few = np.array([[1, 1, 0, 0, 0, 1], [1, 1, 1, 0, 1, 1], [1, 0, 1, 1, 1, 1.0]])
    assert threshold(few) is None  # 33 points, with standard errors of 15 to 20
    assert threshold(np.repeat(few, 100, axis=1)) == pytest.approx(2 / 3)


def test_which_seeds_have_an_interval():
    assert have_interval(scores(0.4))
    assert not have_interval(scores(0.4, 0.5))
    assert have_interval(scores(0.4, 0.5, 0.45))
    assert not have_interval(scores(0.1, 0.12, 0.9))


@pytest.mark.parametrize(("above", "of"), [(3, 3), (1, 3), (3, 5), (0, 4)])
def test_successes_have_the_exact_interval(above, of):
    found = successes([0.9] * above + [0.1] * (of - above), 0.5, 0.95)
    exact = stats.binomtest(above, of).proportion_ci(0.95, "exact")
    assert (found.above, found.threshold) == (above, 0.5)
    assert (found.ci_low, found.ci_high) == pytest.approx((exact.low, exact.high))
    if (above, of) == (3, 3):
        assert found.ci_low == pytest.approx(0.2924, abs=1e-4)  # 0.025 ** (1 / 3)
