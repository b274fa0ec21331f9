"""Partly smooth errors: their size, by depth, and their scales, from the residuals of a fit.

The errors of a tracer X have the covariance s (W^-1 + B C B): independent ones, that the weights W of the misfit stand
for, and smooth ones with the correlation C of `invbgc.inference.smooth`. B is diagonal,

    B_i = n^1/2 rho(z_i) min(sd(X), |X_i|),

for the faults of a circulation or of a mapping fade where the tracer does (X as modelled: with X as observed, values
that are low by chance would count for more, and bias the fit). rho is the smooth error over the independent one, in a
box of mean volume, and ln rho linear in ln(z_0 + z) between the depths `KNOTS`, with a random walk from one to the next
for a prior: near the surface, where boxes are thin, the independent error hides the smooth one. Scale, rho and the
lengths of C are those that make the n residuals r most likely. In units of the independent error, and with
Sigma = I + W^1/2 B C B W^1/2,

    -2 ln L = n ln r^T Sigma^-1 r + ln |Sigma|.

The part of C that smooth fields of low rank do not hold is kept as an independent error (Snelson and Ghahramani 2006).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import scipy.linalg
import scipy.optimize

from invbgc.inference.smooth import (
    HORIZONTAL_SCALE,
    VERTICAL_SCALE,
    SmoothFields,
    correlation,
    places,
    stretched,
)
from invbgc.observations import TracerObservations

HORIZONTAL_SCALES = (0.5 * HORIZONTAL_SCALE, HORIZONTAL_SCALE, 2.0 * HORIZONTAL_SCALE)
"""Correlation lengths tried, m."""

VERTICAL_SCALES = (0.5 * VERTICAL_SCALE, VERTICAL_SCALE, 2.0 * VERTICAL_SCALE)
"""Correlation depths over z_0 + z that are tried."""

KNOTS = np.array([0.0, 100.0, 300.0, 1000.0, 3000.0])
"""Depths at which the size of the smooth error is sought, m; the same below the last."""

RATIOS = np.concatenate([[0.0], np.geomspace(0.03, 30.0, 60)])
"""Smooth over independent error, of a box of mean volume, that are tried."""

SCALE_BOXES = 3000
"""Observed boxes from which the scales of a smooth error are chosen."""

WALK = 0.7
"""Standard deviation of the change of ln rho from one knot to the next, of its random walk."""

PROFILE_BOXES = 1000
"""Observed boxes from which its size by depth is found, with the full correlation."""


@dataclass(frozen=True, eq=False)
class StructuredErrors:
    """Independent and smooth errors of one tracer.

    Attributes:
        scale: s; the variance of the independent error of a box is s over its weight.
        size: [n_wet] mmol m-3, standard deviation of the smooth error.
        horizontal: correlation length along circles of latitude, m.
        vertical: correlation depth over z_0 + z.
    """

    scale: float
    size: np.ndarray
    horizontal: float
    vertical: float

    def added_to(self, data: TracerObservations, smooth: SmoothFields) -> TracerObservations:
        """Observations whose weights are the inverse of W^-1 + B C B, up to the scale."""
        amplitude = self.size[data.index] / np.sqrt(self.scale)
        fields = smooth.basis(data.index, self.horizontal, self.vertical)
        missed = np.maximum(0.0, 1.0 - np.sum(fields**2, axis=1))
        return data.with_structure(amplitude[:, None] * fields, amplitude**2 * missed)


def most_likely(
    data: TracerObservations, residual: np.ndarray, modelled: np.ndarray, smooth: SmoothFields
) -> tuple[StructuredErrors, np.ndarray]:
    """The errors that make the residuals of a tracer most likely: size by depth, one scale after the other, size again.

    Args:
        data: observations of the tracer.
        residual: [m] mmol m-3, modelled minus observed.
        modelled: [n_wet] mmol m-3.
        smooth: smooth fields on the grid.

    Returns:
        The errors, and the smooth one over the spread of the tracer at the depths `KNOTS`, where it does not fade.
    """
    grid, index = smooth.grid, data.index
    fading = np.sqrt(data.count) * np.minimum(np.sqrt(data.variance), np.abs(modelled))
    unit, weighted = np.sqrt(data.weight) * fading[index], np.sqrt(data.weight) * residual
    order = np.random.default_rng(0).permutation(data.count)
    shapes = hats(grid.wet_depth)

    def by_depth(start: np.ndarray, horizontal: float, vertical: float) -> np.ndarray:
        boxes = np.sort(order[:PROFILE_BOXES])
        place = places(grid, horizontal, vertical)[index[boxes]]
        covariance = unit[boxes, None] * correlation(place, place) * unit[boxes]
        cost = profile_cost(covariance, weighted[boxes], shapes[index[boxes]])
        limits = [(np.log(RATIOS[1]), np.log(RATIOS[-1]))] * KNOTS.size
        return scipy.optimize.minimize(cost, start, jac=True, method="L-BFGS-B", bounds=limits, tol=1e-5).x

    def scaled(log_profile: np.ndarray, horizontal: float, vertical: float, number: int) -> tuple[float, float]:
        boxes = np.sort(order[:number])
        amplitude = unit[boxes] * np.exp(shapes[index[boxes]] @ log_profile)
        basis = smooth.basis(index[boxes], horizontal, vertical)
        return _likely_size(amplitude[:, None] * basis, weighted[boxes])

    everywhere = np.zeros(KNOTS.size)  # ln rho
    size = scaled(everywhere, HORIZONTAL_SCALE, VERTICAL_SCALE, SCALE_BOXES)[1]
    profile = by_depth(everywhere + np.log(max(size, RATIOS[1])), HORIZONTAL_SCALE, VERTICAL_SCALE)

    @cache
    def cost(horizontal: float, vertical: float) -> float:
        return scaled(profile, horizontal, vertical, SCALE_BOXES)[0]

    horizontal = min(HORIZONTAL_SCALES, key=lambda scale: cost(scale, VERTICAL_SCALE))
    vertical = min(VERTICAL_SCALES, key=lambda scale: cost(horizontal, scale))
    profile = by_depth(profile, horizontal, vertical)
    size = scaled(profile, horizontal, vertical, data.count)[1]
    amplitude = size * np.exp(shapes @ profile) * fading
    unscaled = StructuredErrors(1.0, amplitude, horizontal, vertical)
    scale = float(residual @ unscaled.added_to(data, smooth).weighted(residual)) / data.count
    # 1/w of a box of mean volume is the tracer's variance times the number of boxes.
    over_spread = np.sqrt(scale * data.count) * size * np.exp(profile)
    return StructuredErrors(scale, np.sqrt(scale) * amplitude, horizontal, vertical), over_spread


def hats(depth: np.ndarray) -> np.ndarray:
    """Weights [n, knots] that interpolate linearly in stretched depth."""
    return np.stack([np.interp(stretched(depth), stretched(KNOTS), hat) for hat in np.eye(KNOTS.size)], axis=1)


def profile_cost(
    covariance: np.ndarray, residual: np.ndarray, hats: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """-2 ln of the probability of ln rho [knots] given residuals, and its slope; Sigma = I + diag(rho) K diag(rho).

        d(-2 ln L)/d ln rho_i = 2 (1 - P_ii - n y_i (r_i - y_i) / r^T y),    P = Sigma^-1, y = P r

    Args:
        covariance: K [m, m].
        residual: r [m], in units of the independent error.
        hats: [m, knots] of `hats`.
    """

    def cost(profile: np.ndarray) -> tuple[float, np.ndarray]:
        rho, change = np.exp(hats @ profile), np.diff(profile) / WALK
        root = np.linalg.cholesky(np.eye(residual.size) + rho[:, None] * covariance * rho)
        inverse = scipy.linalg.solve_triangular(root, np.eye(residual.size), lower=True)
        solved = inverse.T @ (inverse @ residual)
        square = residual @ solved
        slope = 1.0 - np.sum(inverse**2, axis=0) - residual.size / square * solved * (residual - solved)
        pull = np.diff(change, prepend=0.0, append=0.0) / WALK
        value = residual.size * np.log(square) + 2.0 * np.sum(np.log(np.diag(root))) + change @ change
        return float(value), 2.0 * (hats.T @ slope - pull)

    return cost


def _likely_size(fields: np.ndarray, residual: np.ndarray) -> tuple[float, float]:
    """The size of a smooth error that makes residuals most likely.

    Args:
        fields: W^1/2 B Phi [m, k], for a size of one.
        residual: W^1/2 r [m].

    Returns:
        -2 ln L, and the size.
    """
    values, vectors = np.linalg.eigh(fields.T @ fields)
    values, along = np.maximum(values, 0.0), (vectors.T @ (fields.T @ residual)) ** 2
    power = RATIOS[:, None] ** 2
    squares = residual @ residual - np.sum(along * power / (1.0 + power * values), axis=1)
    cost = residual.size * np.log(squares) + np.sum(np.log1p(power * values), axis=1)
    least = int(np.argmin(cost))
    return float(cost[least]), float(RATIOS[least])
