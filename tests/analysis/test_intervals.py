"""Intervals, p-values and power: published and hand-worked values, exact size, simulation."""

import numpy as np
import pytest
from scipy import stats

from thinktuning.analysis.intervals import (
    accuracy,
    clopper_pearson,
    difference,
    holm,
    minimum_detectable_effect,
    paired_difference,
    share,
)
from thinktuning.analysis.variance import mean_of_tasks


@pytest.mark.parametrize(
    ("num_correct", "n", "low", "high"),
    [
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_one_answer_each_has_the_exact_interval(num_correct, n, low, high):
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 5
    estimate = accuracy([[1]] * num_correct + [[0]] * (n - num_correct))
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((low, high), abs=5e-5)
    assert (estimate.mean, estimate.n) == (num_correct / n, n)


def test_an_interval_contains_its_mean_and_stays_within_0_and_1():
    rng = np.random.default_rng(0)
    for seeds, n, k, chance in [(1, 2, 3, 0.9), (3, 2, 2, 0.1), (5, 40, 1, 0.99), (3, 9, 4, 1)]:
        scores = rng.binomial(k, chance, (seeds, n)) / k
        found = share([scores, scores[:, :2]])
        assert 0 <= found.ci_low <= found.mean <= found.ci_high <= 1
        assert found.ci_low < found.ci_high


def test_repeated_answers_add_nothing():
    # k equal answers are one: the interval is nearly the exact one of a single answer
    once = np.array([[1]] * 81 + [[0]] * 182)
    exact, repeated = accuracy(once), accuracy(np.repeat(once, 8, axis=1) * 0.999 + 0.0005)
    assert repeated.ci_low == pytest.approx(exact.ci_low, abs=0.002)
    assert repeated.ci_high == pytest.approx(exact.ci_high, abs=0.002)


def test_independent_answers_count_as_many():
    # k samples of questions that are equally hard: n k independent answers
    rng = np.random.default_rng(0)
    correct = rng.binomial(1, 0.5, (500, 8))
    found = accuracy(correct)
    low, high = clopper_pearson(correct.sum(), 4000)
    assert found.ci_high - found.ci_low == pytest.approx(high - low, rel=0.1)


def test_answers_count_as_no_more_than_there_are():
    # all four questions score 1/2, as if their eight answers were anticorrelated
    found = accuracy([[1, 0]] * 4)
    assert (found.ci_low, found.ci_high) == pytest.approx(clopper_pearson(4, 8))
    # the mean of two tasks with 8 and 24 answers: 1 / (1 / (4 * 8) + 1 / (4 * 24)) = 24
    both = share([np.full((1, 4), 0.5)] * 2, 0.95, [2, 6])
    assert (both.ci_low, both.ci_high) == pytest.approx(clopper_pearson(12, 24))


def test_no_difference_seen_is_not_a_difference_of_exactly_0():
    same = [[1]] * 300
    found = paired_difference(same, same)
    # -1 and 1 in 302: se = sqrt(2 / (302 * 301)), and t with 299 degrees of freedom
    half_width = stats.t.ppf(0.975, 299) * (2 / (302 * 301)) ** 0.5
    assert (found.mean, found.p) == (0, 1)
    assert (found.ci_low, found.ci_high) == pytest.approx((-half_width, half_width))
    assert found.detectable > half_width


def test_a_rare_difference_is_not_bounded_by_the_largest_that_was_seen():
    """One differing answer of 9,600 is no more evidence of equality than none is."""
    alike, almost = np.zeros((300, 32)), np.zeros((300, 32))
    almost[0, 0] = 1
    found = paired_difference(almost, alike)
    # 1/32, -0.7071 and 0.7071 in 302 questions
    values = np.concatenate([[1 / 32], np.zeros(299), [-(0.5**0.5), 0.5**0.5]])
    half_width = stats.t.ppf(0.975, 299) * stats.sem(values)
    assert found.ci_low == pytest.approx(values.mean() - half_width)
    assert 0.006 < half_width < 0.007


def test_seeds_that_never_disagree_are_no_more_evidence_than_one():
    one = np.array([[1.0] * 19 + [0.0]])
    for seeds in (one, np.tile(one, (3, 1))):
        found = share([seeds], 0.95, [1])
        assert (found.ci_low, found.ci_high) == pytest.approx(clopper_pearson(19, 20))
    several = np.tile([[0.5, 1.0, 0.0, 0.75]], (5, 1))
    assert share([several], 0.95, [4]) == share([several[:1]], 0.95, [4])


def test_two_questions_prove_nothing():
    for a, b in [([[1], [1]], [[0], [0]]), ([[1, 1], [1, 1]], [[0, 1], [1, 0]])]:
        found = paired_difference(a, b)
        assert found.p > 0.3 and found.ci_low < 0 < found.mean <= found.ci_high
        assert found.detectable is None  # not even 100 points are


@pytest.mark.parametrize("n", [2, 5, 6, 14, 19, 24, 30])
def test_the_size_of_the_test_of_one_answer_each_is_at_most_5_percent(n):
    """By enumeration, as long as both methods agree on a tenth of the questions."""
    zeros, ones, minus = np.zeros(n), np.ones(n), -np.ones(n)
    rejected = np.zeros((n + 1, n + 1))  # discordant questions x those in favor of a
    for b in range(n + 1):
        for c in range(n + 1 - b):
            d = np.concatenate([ones[:b], minus[:c], zeros[: n - b - c]])
            found = difference([d[None]], [zeros[None]])
            rejected[b + c, b] = found.p < 0.05
            assert rejected[b + c, b] == (not found.ci_low <= 0 <= found.ci_high)
    discordant = np.arange(n + 1)
    in_favor = stats.binom.pmf(discordant[None], discordant[:, None], 0.5)
    size = (rejected * in_favor).sum(axis=1)  # given the number of discordant questions
    for share_discordant in np.linspace(0.02, 0.9, 45):
        assert stats.binom.pmf(discordant, n, share_discordant) @ size <= 0.05


def test_an_untrained_method_is_paired_with_every_seed():
    a, b = np.array([[1.0, 0.5, 1], [0.5, 0.5, 0]]), np.array([[0.0, 0.5, 0]])
    found = difference([a], [b])
    assert found.mean == pytest.approx((a - b).mean())
    assert found == difference([a - b], [np.zeros((1, 3))])


def test_samples_may_differ_in_number():
    found = paired_difference([[1, 0], [1, 1]], [[1, 0, 0, 0], [1, 1, 1, 0]])
    assert found.mean == pytest.approx(0.75 - 0.5)


def test_different_numbers_of_questions_are_not_paired():
    for a, b in [([[1]], [[1], [0], [1]]), ([[1], [0]], [[1], [0], [1]])]:
        with pytest.raises(ValueError, match="same questions, got"):
            paired_difference(a, b)


@pytest.mark.parametrize("scores", [[[5], [3], [4]], [[0], [-1], [1]], [[0.5], [50], [100]]])
def test_scores_beyond_0_and_1_have_no_interval(scores):
    for call in (accuracy, lambda found: paired_difference(found, [[0], [1], [0]])):
        with pytest.raises(ValueError, match="expected scores from 0 to 1"):
            call(scores)


@pytest.mark.parametrize("confidence", [95, 1, 0, -1, float("nan")])
def test_a_confidence_is_a_share(confidence):
    verdicts = [[1], [0], [1]]
    calls = [accuracy, lambda *args: paired_difference(verdicts, *args)]
    calls += [lambda _, c: minimum_detectable_effect(0.01, 10, c)]
    for call in calls:
        with pytest.raises(ValueError, match="confidence: expected a share between 0 and 1"):
            call(verdicts, confidence)


def test_what_was_not_tested_is_no_hypothesis():
    assert holm([None, 0.01, float("nan"), 0.04])[:2] == [None, pytest.approx(0.02)]
    assert holm([None]) == [None]


def test_holm():
    # sorted .005 * 4 = .02, .01 * 3 = .03, .03 * 2 = .06, max(.06, .04 * 1) = .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


# --- power ----------------------------------------------------------------------------------------


def test_with_many_questions_the_detectable_effect_is_millers():
    # Miller 2024, equation 9, with normal quantiles: (1.959964 + 0.841621) * 0.01 = 0.028016
    assert minimum_detectable_effect(0.01, 1e6) == pytest.approx(0.02801585, rel=1e-3)
    assert minimum_detectable_effect(0.01, 1e6, power=0.9) == pytest.approx(0.03241516, rel=1e-3)
    assert minimum_detectable_effect(0.01, 1e6, confidence=0.99) > 0.03


def test_the_detectable_effect_is_never_more_than_100_points_or_0():
    assert minimum_detectable_effect(0.3, 2) is None
    assert minimum_detectable_effect(0.0, 10) is None
    assert 0 < minimum_detectable_effect(1e-6, 2) < 1e-4


@pytest.mark.parametrize("n", [4, 6, 10, 30, 300])
def test_a_second_study_finds_the_detectable_effect_of_a_first_in_80_percent(n):
    rng = np.random.default_rng(0)
    first, second = (rng.normal(0, 0.1, (3000, n)) for _ in range(2))
    factor = 1e4 * minimum_detectable_effect(1e-4, n - 1)
    effects = factor * stats.sem(first, axis=1)
    found = stats.ttest_1samp(second + effects[:, None], 0, axis=1).pvalue < 0.05
    assert np.mean(found) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize("n", [300, 1319])
def test_the_detectable_effect_is_found_where_a_first_study_saw_no_difference(n):
    """A gain of 0/1 answers has a variance that a study without any difference cannot show."""
    rng = np.random.default_rng(0)
    zeros = np.zeros((1, n))
    effect = difference([zeros], [zeros]).detectable
    found = [
        difference([rng.binomial(1, effect, (1, n)) * 1.0], [zeros]).p < 0.05 for _ in range(400)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


# --- coverage of the 95% intervals; perf/coverage.py has more cases and more studies --------------


def coverage(interval, truth, draw, num_studies=600):
    rng = np.random.default_rng(7)
    found = [interval(draw(rng)) for _ in range(num_studies)]
    return np.mean([i.ci_low <= truth <= i.ci_high for i in found])


def beta(rng, a, b, n, k):
    return rng.binomial(k, rng.beta(a, b, (1, n))) / k


def flipped(rng, share_flipped, n, k):
    """One method solves nearly every question, the other one all but a few that it never does."""
    chance = np.where(rng.random((1, n)) < share_flipped, 0.0, 0.99)
    return rng.binomial(k, 0.99, (1, n)) / k - rng.binomial(k, chance) / k


def logits(rng, seeds, n, k, deviation, shift=0.0):
    drawn = 1.5 * rng.standard_normal((1, n)) + deviation * rng.standard_normal((seeds, 1))
    return rng.binomial(k, 1 / (1 + np.exp(-drawn - shift))) / k


@pytest.mark.parametrize(
    ("truth", "draw"),
    [
        (0.99, lambda rng: [rng.binomial(1, 0.99, (1, 300))]),
        (0.1 / 2.1, lambda rng: [beta(rng, 0.1, 2, 30, 32)]),
        (2 / 2.1, lambda rng: [beta(rng, 2, 0.1, 60, 8)]),
        (0.02 / 0.52, lambda rng: [beta(rng, 0.02, 0.5, 30, 32)]),
        (0.5, lambda rng: [beta(rng, 1, 1, 300, 4)]),
        (0.5, lambda rng: [logits(rng, 3, 100, 4, 0.0)]),
        (0.5, lambda rng: [logits(rng, 3, 100, 4, 0.5)]),
        (0.5, lambda rng: [beta(rng, 1, 1, 300, 1), beta(rng, 1, 1, 30, 16)]),
    ],
)
def test_an_accuracys_interval_covers(truth, draw):
    # 600 studies: a coverage of 95% has a standard error of 0.9%
    assert coverage(share, truth, draw) >= 0.93


@pytest.mark.parametrize(
    ("truth", "draw"),
    [
        (0.01, lambda rng: [rng.binomial(1, 0.01, (1, 300))]),
        (0.0, lambda rng: [beta(rng, 0.1, 2, 30, 32) - beta(rng, 0.1, 2, 30, 32)]),
        (2 / 2.1 - 0.5, lambda rng: [beta(rng, 2, 0.1, 30, 4) - beta(rng, 1, 1, 30, 4)]),
        (0.0, lambda rng: [logits(rng, 3, 100, 4, 0.5) - logits(rng, 1, 100, 4, 0)]),
        (0.03 * 0.99, lambda rng: [flipped(rng, 0.03, 30, 32)]),
        (0.01 * 0.99, lambda rng: [flipped(rng, 0.01, 100, 10)]),
    ],
)
def test_a_differences_interval_covers(truth, draw):
    def interval(tasks):
        return difference(tasks, [np.zeros((1, task.shape[1])) for task in tasks])

    assert coverage(interval, truth, draw) >= 0.93


def test_the_mean_of_tasks_weighs_them_equally():
    tasks = [np.array([[1.0, 1, 1, 0]]), np.array([[0.0, 1]])]
    assert share(tasks).mean == (0.75 + 0.5) / 2
    assert mean_of_tasks(tasks).num_questions == 6
