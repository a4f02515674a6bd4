"""A straight line through points that have errors in both variables.

    y_i = a + b x_i,  with errors of known variances var_x, var_y and covariance cov at each point

The variance of y_i - a - b x_i is 1 / W_i, and the best line has

    1 / W_i = var_y + scatter^2 + b^2 var_x - 2 b cov
    beta_i  = W_i (U_i (var_y + scatter^2) + b V_i var_x - (b U_i + V_i) cov)
    b       = sum W beta V / sum W beta U,   a = Y - b X

with U, V the distances of x, y from their means X, Y, weighted with W. So York et al. 2004 (Am. J.
Phys. 72:367, equations 13), who also give the standard errors. With equal variances and no
covariance this is Deming's regression, with var_x = cov = 0 weighted least squares.

Points need not lie on a line as exactly as they are measured. `scatter` is what they deviate by in
addition, in y and alike for all points: 0 or such that chi^2 equals its degrees of freedom, n - 2
(Tremaine et al. 2002, ApJ 574:740, section 3.1; in meta-regression, Paule and Mandel's estimator).
Intervals use the t quantile for n - 2. Points are taken as independent.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from thinktuning.analysis.variance import t_quantile

FEWEST = 3  # points: two have a line, and no interval
ROUNDING = 1e-9  # relative: means of the same answers in another order differ by less
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Points with the variances and the covariance of their errors, all of shape (n,)."""

    x: Array
    y: Array
    var_x: Array
    var_y: Array
    cov: Array


@dataclass(frozen=True)
class Line:
    """A fitted line.

    Attributes:
        slope: b.
        intercept: a.
        slope_se: the standard error of the slope.
        center: where the line is known best.
        center_se: its standard error there.
        scatter: standard deviation of the points around the line, without their errors.
        num_points: n.
        has_interval: whether the points' errors are known well enough for one.
    """

    slope: float
    intercept: float
    slope_se: float
    center: float
    center_se: float
    scatter: float
    num_points: int
    has_interval: bool = True

    def at(self, x: ArrayLike) -> Array:
        """Return the line's y."""
        values: Array = self.intercept + self.slope * np.asarray(x, dtype=float)
        return values

    def half_width(self, x: ArrayLike, confidence: float) -> Array:
        """Return half the width of the line's confidence band at x, pointwise."""
        away = np.asarray(x, dtype=float) - self.center
        widths: Array = np.hypot(self.center_se, away * self.slope_se)
        return t_quantile(confidence, self.num_points - 2) * widths

    def slope_interval(self, confidence: float) -> tuple[float, float]:
        """Return the confidence interval of the slope."""
        half = t_quantile(confidence, self.num_points - 2) * self.slope_se
        return self.slope - half, self.slope + half

    def intercept_interval(self, confidence: float) -> tuple[float, float]:
        """Return the confidence interval of the intercept."""
        half = float(self.half_width(0.0, confidence))
        return self.intercept - half, self.intercept + half


def fit_line(points: Points) -> Line | None:
    """Return the best line; None for fewer than three points, or for points of one x.

    Args:
        points: at least one of a point's variances must be above 0.
    """
    n = len(points.x)
    if n < FEWEST or np.ptp(points.x) <= ROUNDING * np.abs(points.x).max():
        return None

    def surplus(scatter: float) -> float:
        return solve(points, scatter)[1] - (n - 2)

    scatter, most = 0.0, 4 * float(np.std(points.y)) + 1e-12
    if surplus(0.0) > 0:
        scatter = float(optimize.brentq(surplus, 0.0, most)) if surplus(most) < 0 else most
    return solve(points, scatter)[0]


def solve(points: Points, scatter: float) -> tuple[Line, float]:
    """Return the line for a given scatter, and its chi^2."""
    x, y, var_x, cov = points.x, points.y, points.var_x, points.cov
    var_y = points.var_y + scatter**2
    slope, step, damping = float(np.polyfit(x, y, 1)[0]), 0.0, 1.0
    for _ in range(200):
        weight = 1 / (var_y + slope**2 * var_x - 2 * slope * cov)
        mean_x, mean_y = (float(weight @ each / weight.sum()) for each in (x, y))
        u, v = x - mean_x, y - mean_y
        beta = weight * (u * var_y + slope * v * var_x - (slope * u + v) * cov)
        before, step = step, float((weight * beta) @ v / ((weight * beta) @ u)) - slope
        if step * before < -0.9 * before**2:  # it jumps to and fro around the best slope
            damping /= 2
        slope += damping * step
        if abs(step) <= 1e-12 * (1 + abs(slope)):
            break
    intercept = mean_y - slope * mean_x
    adjusted = mean_x + beta
    center = float(weight @ adjusted / weight.sum())
    line = Line(
        slope=slope,
        intercept=intercept,
        slope_se=1 / math.sqrt(weight @ (adjusted - center) ** 2),
        center=center,
        center_se=1 / math.sqrt(weight.sum()),
        scatter=scatter,
        num_points=len(x),
    )
    return line, float(weight @ (y - line.at(x)) ** 2)
