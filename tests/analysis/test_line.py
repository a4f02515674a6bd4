"""The line through points with errors in both variables, against independent statements of it."""

import numpy as np
import pytest
from scipy import optimize

from thinktuning.analysis.line import Points, fit_line, solve

# Pearson's data with York's weights, the usual test: York et al. 2004, table II and section V.
X = [0.0, 0.9, 1.8, 2.6, 3.3, 4.4, 5.2, 6.1, 6.5, 7.4]
Y = [5.9, 5.4, 4.4, 4.6, 3.5, 3.7, 2.8, 2.8, 2.4, 1.5]
WEIGHTS_X = [1000, 1000, 500, 800, 200, 80, 60, 20, 1.8, 1]
WEIGHTS_Y = [1, 1.8, 4, 8, 20, 20, 70, 70, 100, 500]


def points(x, y, var_x, var_y, cov=0.0):
    columns = np.broadcast_arrays(*(np.asarray(c, dtype=float) for c in (x, y, var_x, var_y, cov)))
    return Points(*columns)


PEARSON = points(X, Y, 1 / np.array(WEIGHTS_X), 1 / np.array(WEIGHTS_Y))


def chi2(line, found, scatter=0.0):
    """The sum of squared distances in y, over their variances: what the best line minimizes."""
    intercept, slope = line
    variance = found.var_y + scatter**2 + slope**2 * found.var_x - 2 * slope * found.cov
    return float(np.sum((found.y - intercept - slope * found.x) ** 2 / variance))


def test_the_published_line_through_pearsons_data():
    line, distance = solve(PEARSON, 0.0)
    assert line.slope == pytest.approx(-0.480533407, abs=1e-8)
    assert line.intercept == pytest.approx(5.47991022, abs=1e-7)
    assert distance == pytest.approx(11.8663532, abs=1e-6)


def test_points_of_one_x_up_to_rounding_have_no_line():
    x = np.array([0.3, np.nextafter(0.3, 1), 0.1 + 0.2])
    for scale in (1.0, 1e-5):
        assert fit_line(points(scale * x, [0.1, 0.2, 0.3], 0.0, 0.01)) is None


@pytest.mark.parametrize("correlation", [-0.7, 0.0, 0.9])
def test_the_line_minimizes_the_distances(correlation):
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 7)
    var_x, var_y = rng.uniform(0.001, 0.01, (2, 7))
    cov = correlation * np.sqrt(var_x * var_y)
    y = 0.2 + 1.5 * x + rng.normal(0, 0.1, 7)
    found = points(x, y, var_x, var_y, cov)
    line, distance = solve(found, 0.0)
    best = optimize.minimize(chi2, [0, 1], args=(found,), method="Nelder-Mead", tol=1e-12)
    assert [line.intercept, line.slope] == pytest.approx(best.x, abs=1e-5)
    assert distance == pytest.approx(best.fun)


def test_a_slope_that_jumps_to_and_fro_is_found():
    """Undamped, it ends at 0.7 and 2.3 in turn, and chi^2 seems to need no scatter."""
    x = [0.101, 0.030, 0.139, 0.180, 0.167, 0.258]
    y = [0.119, 0.006, 0.095, 0.262, 0.118, 0.151]
    var_x = np.array([22.90, 6.87, 7.54, 23.18, 3.75, 1.92]) / 1e4
    var_y = np.array([34.87, 47.37, 7.78, 1.99, 32.88, 51.44]) / 1e4
    cov = np.array([22.09, 14.10, 5.99, 5.30, 8.68, 7.78]) / 1e4
    found = points(x, y, var_x, var_y, cov)
    line, distance = solve(found, 0.0)
    assert chi2((line.intercept, line.slope), found) == pytest.approx(distance)
    best = optimize.minimize(chi2, [0, 1], args=(found,), method="Nelder-Mead", tol=1e-12)
    assert [line.intercept, line.slope] == pytest.approx(best.x, abs=1e-5)
    assert distance > 4 and fit_line(found).scatter > 0


def test_equal_errors_give_demings_regression():
    """b = (s_yy - d s_xx + sqrt((s_yy - d s_xx)^2 + 4 d s_xy^2)) / (2 s_xy), d = var_y / var_x."""
    x, y = np.array(X), np.array(Y)
    d = 2.0
    (s_xx, s_xy), (_, s_yy) = np.cov(x, y)
    slope = (s_yy - d * s_xx + np.sqrt((s_yy - d * s_xx) ** 2 + 4 * d * s_xy**2)) / (2 * s_xy)
    line, _ = solve(points(x, y, 0.1, 0.1 * d), 0.0)
    assert line.slope == pytest.approx(slope)
    assert line.intercept == pytest.approx(y.mean() - slope * x.mean())


def test_without_errors_in_x_it_is_least_squares_with_its_interval():
    """Scatter takes the place of the unknown variance: the t interval of ordinary regression."""
    import statsmodels.api as sm

    x, y = np.array(X), np.array(Y)
    line = fit_line(points(x, y, 0.0, 1e-8))
    usual = sm.OLS(y, sm.add_constant(x)).fit()
    assert [line.intercept, line.slope] == pytest.approx(usual.params, rel=1e-5)
    low, high = usual.conf_int(0.05)[1]
    assert line.slope_interval(0.95) == pytest.approx((low, high), rel=1e-4)
    assert line.intercept_interval(0.95) == pytest.approx(usual.conf_int(0.05)[0], rel=1e-4)
    band = usual.get_prediction(np.array([[1.0, 3.0]])).conf_int(alpha=0.05)[0]
    middle, half = line.at(3.0), line.half_width(3.0, 0.95)
    assert [middle - half, middle + half] == pytest.approx(band, rel=1e-4)


def test_scatter_makes_the_distances_their_degrees_of_freedom():
    line = fit_line(PEARSON)
    assert line.scatter > 0
    assert chi2((line.intercept, line.slope), PEARSON, line.scatter) == pytest.approx(8)
    wide = points(X, Y, 1.0, 1.0)
    assert fit_line(wide).scatter == 0 and solve(wide, 0.0)[1] < 8


@pytest.mark.parametrize("x", [[1.0, 2.0], [1.0, 1.0, 1.0]])
def test_too_few_points_have_no_line(x):
    assert fit_line(points(x, x, 0.1, 0.1)) is None


@pytest.mark.parametrize(("scatter", "num_points"), [(0.0, 8), (0.08, 8), (0.08, 5)])
def test_intervals_cover_the_true_line(scatter, num_points):
    """Correlated errors in both variables, as gap and gain have; 95% within Monte-Carlo error."""
    rng = np.random.default_rng(1)
    x = np.linspace(0, 0.7, num_points)
    sd_x, sd_y, correlation, studies = 0.02, 0.03, 0.6, 400
    mixed = np.array([[1, 0], [correlation, np.sqrt(1 - correlation**2)]])
    slopes = bands = 0
    for _ in range(studies):
        errors = mixed @ rng.standard_normal((2, num_points))
        y = 0.05 + 0.9 * x + scatter * rng.standard_normal(num_points)
        seen = (x + sd_x * errors[0], y + sd_y * errors[1])
        line = fit_line(points(*seen, sd_x**2, sd_y**2, correlation * sd_x * sd_y))
        low, high = line.slope_interval(0.95)
        slopes += low <= 0.9 <= high
        bands += abs(line.at(0.5) - 0.5) <= line.half_width(0.5, 0.95)
    assert slopes / studies > 0.92 and bands / studies > 0.92
