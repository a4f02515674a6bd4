"""Scores and intervals, against values worked by hand, published values, and simulation."""

import math

import numpy as np
import pytest

from thinktuning.analysis.intervals import (
    Estimate,
    accuracy_interval,
    avg_at_k,
    crossed_difference,
    crossed_interval,
    holm,
    maj_at_k,
    mcnemar_p,
    mean_interval,
    minimum_detectable_effect,
    paired_difference,
    pass_at_k,
    proportion_interval,
    standard_error,
)


def test_avg_at_k():
    assert avg_at_k([[1, 0, 0, 1], [1, 1, 1, 1]]).tolist() == [0.5, 1.0]


def test_pass_at_k_is_the_unbiased_estimator():
    # K = 4, k = 2, C(4, 2) = 6: c = 0: 1 - 6/6; c = 1: 1 - 3/6; c = 2: 1 - 1/6; c = 3: 1 - 0/6
    correct = [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 0]]
    assert pass_at_k(correct, 2) == pytest.approx([0, 1 / 2, 5 / 6, 1])
    assert pass_at_k(correct, 1) == pytest.approx([0, 1 / 4, 2 / 4, 3 / 4])
    assert pass_at_k(correct, 4) == pytest.approx([0, 1, 1, 1])
    with pytest.raises(ValueError, match="pass@5"):
        pass_at_k(correct, 5)


def test_maj_at_k():
    answers = [
        ["7", "8", "7", None],  # 7 wins, and is right
        ["8", "8", "7", None],  # 8 wins, and is wrong
        ["7", "8", None, None],  # a tie between right and wrong
        [None, None, None, "7"],  # one vote is a majority: None does not vote
        [None, None, None, None],  # no votes
    ]
    correct = [[1, 0, 1, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0]]
    assert maj_at_k(answers, correct).tolist() == [1, 0, 0.5, 1, 0]


def test_standard_error_and_t_interval():
    # mean 0.375; squared deviations .015625 + .140625 + .140625 + .390625 = .6875; / (4 * 3)
    scores = [0.5, 0, 0, 1]
    se = math.sqrt(0.6875 / 12)
    assert standard_error(scores) == pytest.approx(se)
    estimate = mean_interval(scores)
    half_width = 3.182446 * se  # the tabulated 97.5% quantile of t with 3 degrees of freedom
    assert (estimate.mean, estimate.se, estimate.n) == (0.375, pytest.approx(se), 4)
    assert estimate.ci_low == pytest.approx(0.375 - half_width, abs=1e-6)
    assert estimate.ci_high == pytest.approx(0.375 + half_width, abs=1e-6)


@pytest.mark.parametrize(
    ("num_correct", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_equals_published_values(num_correct, n, low, high):
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    estimate = proportion_interval(num_correct, n)
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx((low, high), abs=5e-5)


def test_accuracy_interval_is_wilsons_only_for_few_questions_with_one_sample():
    few = np.array([[1]] * 81 + [[0]] * 182)  # 81 of 263
    assert accuracy_interval(few) == proportion_interval(81, 263)
    assert accuracy_interval(np.tile(few, (2, 1))) == mean_interval(np.tile(few[:, 0], 2))
    assert accuracy_interval(np.tile(few, (1, 2))) == mean_interval(few[:, 0])


def test_paired_difference():
    # d = [.5, 0, 0, 1] as above: t = .375 / se = 1.566699, and with 3 degrees of freedom
    # p = 1 - 2/pi (atan(t/sqrt 3) + (t/sqrt 3) / (1 + t^2/3)) = 1 - 2/pi (.735314 + .497494)
    difference, p_value = paired_difference([1, 0.5, 0, 1], [0.5, 0.5, 0, 0])
    assert difference == mean_interval([0.5, 0, 0, 1])
    assert p_value == pytest.approx(0.215170, abs=1e-5)


def test_paired_difference_without_variance():
    assert paired_difference([1, 0, 1], [1, 0, 1])[1] == 1
    assert paired_difference([1, 1, 1], [0, 0, 0])[1] == 0


def test_exact_mcnemar():
    # only a is right on 8 questions, only b on 1: 2 * (C(9,0) + C(9,1)) / 2^9 = 20 / 512
    a = [1] * 8 + [0] + [1] * 5
    b = [0] * 8 + [1] + [1] * 5
    assert mcnemar_p(a, b) == pytest.approx(20 / 512)
    assert mcnemar_p(a, a) == 1
    with pytest.raises(ValueError, match="0 or 1"):
        mcnemar_p([0.5, 1], [0, 1])


def test_crossed_interval_worked_by_hand():
    # mean 3.5; seeds -+1.5: MS = 3 (2.25 + 2.25) / 1 = 13.5; questions -1.5, -.5, 2: MS =
    # 2 * 6.5 / 2 = 6.5; errors -+(.5, .5, -1): MS = 3 / 2. Variances (13.5 - 1.5) / 6 and 6.5 / 6
    # with 1 and 2 degrees of freedom, and t quantiles 12.706205 and 4.302653
    estimate = crossed_interval([[1, 2, 3], [3, 4, 8]])
    assert (estimate.mean, estimate.n) == (3.5, 3)
    assert estimate.se == pytest.approx(math.sqrt(18.5 / 6))
    half_width = math.sqrt(12.706205**2 * 2 + 4.302653**2 * 6.5 / 6)
    assert estimate.ci_low == pytest.approx(3.5 - half_width)
    assert estimate.ci_high == pytest.approx(3.5 + half_width)


def test_with_equal_seeds_the_interval_is_that_over_questions():
    # MS_seed = MS_error = 0: only the variance over questions is left, with N - 1 degrees
    scores = [0.0, 0.25, 0.5, 1.0]
    crossed, plain = crossed_interval([scores] * 3), mean_interval(scores)
    assert crossed.se == pytest.approx(plain.se)
    assert crossed.ci_high == pytest.approx(plain.ci_high)


def test_crossed_difference_compares_an_untrained_method_with_every_seed():
    a = np.array([[1.0, 2, 3], [3, 4, 8]])
    difference, p_value = crossed_difference(a, [[1.0, 1, 1]])
    assert difference.mean == 2.5
    assert difference.se == pytest.approx(crossed_interval(a).se)
    # the interval at confidence 1 - p just touches 0
    assert crossed_interval(a - 1, confidence=1 - p_value).ci_low == pytest.approx(0, abs=1e-9)


def test_one_seed_has_no_interval_over_seeds():
    with pytest.raises(ValueError, match="at least 2"):
        crossed_interval([[1, 0, 1]])


def test_p_values_without_variance_are_1_and_0():
    same = np.array([[0.2, 0.4], [0.2, 0.4]])
    assert crossed_difference(same, same)[1] == 1
    assert crossed_difference(same + 0.1, same)[1] == 0


def two_level_bootstrap(scores_S_N, num_resamples, seed):
    """Return the mean with its 95% percentile interval over resampled seeds and questions.

    For comparison with `crossed_interval`: it is too narrow for few seeds that differ much.
    """
    scores = np.asarray(scores_S_N)
    rng = np.random.default_rng(seed)
    seeds_R_S, questions_R_N = (
        rng.multinomial(size, np.full(size, 1 / size), num_resamples) for size in scores.shape
    )
    means = (seeds_R_S @ scores * questions_R_N).sum(axis=1) / scores.size
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(scores.mean(), low, high, means.std(ddof=1), scores.shape[1])


def test_bootstrap_resamples_seeds_with_replacement():
    # seeds of 0 and 1: resampled means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4: variance 1/8
    estimate = two_level_bootstrap([[0.0] * 5, [1.0] * 5], num_resamples=4000, seed=1)
    assert (estimate.mean, estimate.ci_low, estimate.ci_high) == (0.5, 0, 1)
    assert estimate.se == pytest.approx(math.sqrt(1 / 8), rel=0.04)


@pytest.mark.parametrize("deviation", [0.0, 0.2, 0.5])
def test_the_interval_over_three_seeds_covers_93_to_97_percent_and_the_bootstrap_less(deviation):
    # seeds with this standard deviation in logits; by symmetry the true mean is 1/2
    rng = np.random.default_rng(0)
    covered = np.zeros(2)
    num_studies = 2000
    for study in range(num_studies):
        logits = 1.5 * rng.standard_normal((1, 100)) + deviation * rng.standard_normal((3, 1))
        scores = rng.binomial(4, 1 / (1 + np.exp(-logits))) / 4
        intervals = [crossed_interval(scores)]
        if study < 300:
            intervals.append(two_level_bootstrap(scores, 200, study))
        for i, interval in enumerate(intervals):
            covered[i] += interval.ci_low <= 0.5 <= interval.ci_high
    assert 0.93 <= covered[0] / num_studies <= 0.97
    if deviation == 0.5:
        assert covered[1] / 300 < 0.88
    if deviation == 0:
        assert covered[1] / 300 > 0.93


def test_holm():
    # sorted .005 * 4 = .02, .01 * 3 = .03, .03 * 2 = .06, max(.06, .04 * 1) = .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_minimum_detectable_effect():
    # Miller 2024, equation 9, with normal quantiles: (1.959964 + 0.841621) * 0.01 = 0.028016
    normal = Estimate(mean=0.3, ci_low=0.3 - 0.01959964, ci_high=0.3 + 0.01959964, se=0.01, n=1000)
    assert minimum_detectable_effect(normal) == pytest.approx(0.02801585, abs=1e-8)
    assert minimum_detectable_effect(normal, power=0.9) == pytest.approx(0.03241516, abs=1e-8)
    # three seeds: the interval's own quantile, 4.302653 with 2 degrees of freedom
    few = Estimate(0.0, -0.04302653, 0.04302653, se=0.01, n=1000)
    assert minimum_detectable_effect(few) == pytest.approx(0.05144274, abs=1e-8)


def test_minimum_detectable_effect_by_simulation():
    """A true difference of this size is significant in 80% of studies."""
    rng = np.random.default_rng(0)
    d = rng.normal(0, 0.4, 400)
    effect = minimum_detectable_effect(mean_interval(d))
    found = [
        paired_difference(rng.normal(effect, 0.4, 400), np.zeros(400))[1] < 0.05
        for _ in range(1000)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)


# --- coverage of the 95% intervals in 2,000 simulated studies; its standard error is 0.5% -------


def coverage(interval, truth, draw, num_studies=2000):
    rng = np.random.default_rng(7)
    intervals = [interval(draw(rng)) for _ in range(num_studies)]
    return np.mean([i.ci_low <= truth <= i.ci_high for i in intervals])


def samples_of(rng, n, k, seeds=1):
    """Draw S*K verdicts on each of N questions, (N, S*K); by symmetry the true mean is 1/2."""
    chances = 1 / (1 + np.exp(-1.5 * rng.standard_normal((n, 1))))
    return rng.binomial(1, np.broadcast_to(chances, (n, seeds * k)))


@pytest.mark.parametrize(
    ("interval", "truth", "draw"),
    [
        (accuracy_interval, 0.5, lambda rng: samples_of(rng, 200, 4)),
        (accuracy_interval, 0.5, lambda rng: samples_of(rng, 60, 1)),
        (lambda c: proportion_interval(c, 60), 0.3, lambda rng: rng.binomial(60, 0.3)),
        (
            lambda pair: paired_difference(*pair)[0],
            0.0,
            lambda rng: [samples_of(rng, 150, 4).mean(axis=1) for _ in range(2)],
        ),
        (
            crossed_interval,
            0.5,
            lambda rng: samples_of(rng, 120, 4, seeds=3).reshape(120, 3, 4).mean(axis=2).T,
        ),
        (
            crossed_interval,
            0.0,
            lambda rng: (
                rng.normal(0, 0.1, (5, 1))
                + rng.normal(0, 0.4, (1, 100))
                + rng.normal(0, 0.3, (5, 100))
            ),
        ),
    ],
    ids=["avg@4", "Wilson", "Wilson 0.3", "paired", "crossed 3", "crossed 5"],
)
def test_the_95_percent_interval_covers_93_to_97_percent(interval, truth, draw):
    assert 0.93 <= coverage(interval, truth, draw) <= 0.97


@pytest.mark.parametrize("scores", [[], [1.0], [[1.0, 2.0]], [1.0, float("nan")]])
def test_scores_without_an_interval_are_refused(scores):
    with pytest.raises(ValueError, match="expected finite scores"):
        mean_interval(scores)
