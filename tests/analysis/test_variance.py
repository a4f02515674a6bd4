"""The variance of a mean over questions and seeds, against values worked by hand."""

import math

import numpy as np
import pytest

from thinktuning.analysis.variance import combined_df, mean_of_tasks, with_pseudo_questions


def test_one_seed_has_the_t_interval_over_questions():
    # mean 0.375; squared deviations .015625 + .140625 + .140625 + .390625 = .6875; / (4 * 3)
    mean = mean_of_tasks([np.array([[0.5, 0, 0, 1]])])
    assert (mean.value, mean.se) == (0.375, pytest.approx(math.sqrt(0.6875 / 12)))
    # the tabulated 97.5% quantile of t with 3 degrees of freedom
    assert mean.half_width(0.95) == pytest.approx(3.182446 * mean.se, abs=1e-6)
    assert mean.degrees_of_freedom(0.95) == 3
    # t = .375 / se = 1.566699, and with 3 degrees of freedom
    # p = 1 - 2/pi (atan(t/sqrt 3) + (t/sqrt 3) / (1 + t^2/3)) = 1 - 2/pi (.735314 + .497494)
    assert mean.p_value() == pytest.approx(0.215170, abs=1e-5)


def test_crossed_seeds_worked_by_hand():
    # mean 3.5; seeds -+1.5: MS = 3 (2.25 + 2.25) / 1 = 13.5; questions -1.5, -.5, 2: MS =
    # 2 * 6.5 / 2 = 6.5; errors -+(.5, .5, -1): MS = 3 / 2. Variances (13.5 - 1.5) / 6 and 6.5 / 6
    # with 1 and 2 degrees of freedom, and t quantiles 12.706205 and 4.302653
    mean = mean_of_tasks([np.array([[1.0, 2, 3], [3, 4, 8]])])
    assert (mean.value, mean.num_questions) == (3.5, 3)
    assert mean.se == pytest.approx(math.sqrt(18.5 / 6))
    half_width = math.sqrt(12.706205**2 * 2 + 4.302653**2 * 6.5 / 6)
    assert mean.half_width(0.95) == pytest.approx(half_width)
    assert 1 < mean.degrees_of_freedom(0.95) < 2
    assert mean.half_width(1 - mean.p_value()) == pytest.approx(3.5)  # it just touches 0


def test_with_equal_seeds_the_interval_is_that_over_questions():
    # MS_seed = MS_error = 0: only the variance over questions is left, with N - 1 degrees
    scores = np.array([[0.0, 0.25, 0.5, 1.0]])
    crossed, plain = mean_of_tasks([np.tile(scores, (3, 1))]), mean_of_tasks([scores])
    assert crossed.se == pytest.approx(plain.se)
    assert crossed.half_width(0.95) == pytest.approx(plain.half_width(0.95))
    assert crossed.degrees_of_freedom(0.95) == plain.degrees_of_freedom(0.95) == 3


def test_pseudo_questions_add_to_the_variance_and_to_no_degrees_of_freedom():
    # four zeros with -1 and 1: squares 2, / (6 * 5)
    mean = with_pseudo_questions([np.zeros((1, 4))], [(-1, 1)], weight=1)
    assert (mean.value, mean.se, mean.num_questions) == (0, pytest.approx(math.sqrt(2 / 30)), 4)
    half = with_pseudo_questions([np.zeros((1, 4))], [(-1, 1)], weight=0.5)
    assert half.se == pytest.approx(math.sqrt(1 / 30))


@pytest.mark.parametrize("scores", [[[1.0]], [1.0, 2.0], [[1.0, float("nan")]], [[]]])
def test_scores_without_a_variance_are_refused(scores):
    with pytest.raises(ValueError, match="expected finite scores"):
        mean_of_tasks([np.array(scores)])


def test_a_mean_of_tasks_has_satterthwaites_degrees_of_freedom():
    """By hand: variances 1 and 4 of means, with 2 and 4 degrees of freedom."""
    assert combined_df(np.array([1.0, 4.0]), np.array([2, 4])) == 25 / (1 / 2 + 16 / 4)
    assert combined_df(np.zeros(2), np.array([2, 4])) == 6
    small, large = np.array([[0.0, 1, 0, 1, 1]]), np.full((1, 2000), 0.5)
    assert mean_of_tasks([small]).question_df == 4
    large[0, :2] = 0.4, 0.6
    assert mean_of_tasks([small, large]).question_df == pytest.approx(4, abs=0.01)
    alike = mean_of_tasks([np.tile(small, 20), np.tile(small, 20)])
    assert alike.question_df == pytest.approx(198) and alike.num_questions == 200


def test_pseudo_questions_add_no_degrees_of_freedom():
    tasks = [np.array([[0.0, 1, 0, 1, 1]]), np.array([[0.0, 1, 1]])]
    wider = with_pseudo_questions(tasks, [(0.0, 1.0)] * 2, 1.0)
    assert wider.num_questions == 8 and 2 < wider.question_df < 6
    assert with_pseudo_questions(tasks[:1], [(0.0, 1.0)], 1.0).question_df == 4
