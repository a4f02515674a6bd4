"""Properties of intervals and p-values that hold for any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from thinktuning.analysis.intervals import difference, share

CONFIDENCES = st.sampled_from([0.8, 0.9, 0.95, 0.99])


@st.composite
def studies(draw, num_sides):
    """For each side, the (S, N) scores of one to three tasks; seeds from 1 to 5, or 1 untrained."""
    k = draw(st.sampled_from([1, 2, 4, 32]))
    num_seeds = draw(st.sampled_from([1, 3, 5]))
    sizes = draw(st.lists(st.integers(2, 12), min_size=1, max_size=3))
    sides = []
    for side in range(num_sides):
        seeds = 1 if side and draw(st.booleans()) else num_seeds
        counts = st.integers(0, k)
        sides.append([draw(arrays(np.int64, (seeds, n), elements=counts)) / k for n in sizes])
    return sides


@settings(max_examples=300, deadline=None)
@given(studies(2), CONFIDENCES)
def test_p_is_below_alpha_if_and_only_if_the_interval_excludes_0(sides, confidence):
    found = difference(*sides, confidence)
    if found.p != pytest.approx(1 - confidence, abs=1e-6):  # on the edge, rounding decides
        assert (found.p < 1 - confidence) == (not found.ci_low <= 0 <= found.ci_high)
    assert 0 <= found.p <= 1


@settings(max_examples=300, deadline=None)
@given(studies(2), CONFIDENCES)
def test_a_difference_lies_in_its_interval_and_that_within_100_points(sides, confidence):
    found = difference(*sides, confidence)
    assert -1 <= found.ci_low <= found.mean <= found.ci_high <= 1
    assert found.ci_low < found.ci_high  # nothing proves a difference of exactly anything
    assert found.detectable is None or 0 < found.detectable <= 1


@settings(max_examples=200, deadline=None)
@given(studies(2))
def test_the_other_way_round_signs_change_and_nothing_else(sides):
    ab, ba = difference(*sides), difference(*sides[::-1])
    assert ba.mean == pytest.approx(-ab.mean)
    assert (ba.ci_low, ba.ci_high) == pytest.approx((-ab.ci_high, -ab.ci_low), abs=1e-6)
    assert ba.p == pytest.approx(ab.p, abs=1e-6)


@settings(max_examples=200, deadline=None)
@given(studies(1))
def test_no_difference_from_itself(sides):
    found = difference(sides[0], sides[0])
    assert (found.mean, found.p) == (0, pytest.approx(1))
    assert found.ci_low == pytest.approx(-found.ci_high)


@settings(max_examples=300, deadline=None)
@given(studies(1), CONFIDENCES)
def test_a_share_lies_in_its_interval_and_that_within_0_and_1(sides, confidence):
    (tasks,) = sides
    found, wrong = share(tasks, confidence), share([1 - task for task in tasks], confidence)
    assert 0 <= found.ci_low <= found.mean + 1e-9 and found.mean <= found.ci_high + 1e-9 <= 1 + 1e-9
    assert found.ci_low < found.ci_high
    assert (wrong.ci_low, wrong.ci_high) == pytest.approx(
        (1 - found.ci_high, 1 - found.ci_low), abs=1e-6
    )
    assert share(tasks, 0.999).ci_high >= found.ci_high
