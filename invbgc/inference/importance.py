"""Is the Gaussian good enough? Importance weights of its draws under the true posterior, and third derivatives.

A draw x_i of Laplace's Gaussian q (or of one whose valleys are straightened) has the weight w_i = p(x_i)/q(x_i).
Pareto-smoothed (Vehtari et al. 2024, J. Mach. Learn. Res. 25), the weights correct the moments, and the shape k of
their tail says whether that can be relied on: below 0.7 yes, above no, and then the posterior should be sampled. The
moments of q itself are known, so that only what the weights change is left to chance:

    E_p[h] = sum_i w_i h(x_i) + (E_q[h] - mean_i h(x_i)).

Along an eigen-direction, in units z of its standard deviation, U = z^2/2 + c z^3/6 + ..., so that c, the third
derivative, is minus the skewness of the posterior to first order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import xarray as xr

from invbgc.errors import ConvergenceError
from invbgc.inference.coordinates import Coordinates
from invbgc.inference.laplace import Laplace
from invbgc.inference.posterior import Evaluation, Posterior

GOOD_K = 0.7
"""Shape of the weights' tail above which weighted means are not reliable (Vehtari et al. 2024)."""

EQUAL = 0.1
"""Range of log weights below which they are used as they are: the shape of their tail would be that of small errors of
the coordinates, and would call weights unreliable of which none differs from another by more than a tenth."""

REFERENCE = 100_000
"""Draws of the Gaussian, which cost no model, from which its own moments are known."""

STEP = 0.5
"""Distance, in standard deviations, of the points from which third derivatives are differenced."""


@dataclass(frozen=True, eq=False)
class Importance:
    """Draws of a Gaussian approximation, weighted to the posterior.

    Attributes:
        names: free parameters.
        x: [n, p] draws in optimiser coordinates.
        log_weight: [n] smoothed, normalised to a sum of one after exponentiation.
        k_hat: shape of the tail of the raw weights.
        gaussian_mean: [p] E_q[x].
        gaussian_covariance: [p, p] of q.
    """

    names: tuple[str, ...]
    x: np.ndarray
    log_weight: np.ndarray
    k_hat: float
    gaussian_mean: np.ndarray
    gaussian_covariance: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        """Weights [n], summing to one."""
        return np.exp(self.log_weight)

    @property
    def effective(self) -> float:
        """Draws of the posterior that these are worth, 1 / sum w^2."""
        return float(1.0 / np.sum(self.weight**2))

    @property
    def reliable(self) -> bool:
        """Whether the weighted moments can be relied on."""
        return self.k_hat < GOOD_K

    @property
    def mean(self) -> np.ndarray:
        """Posterior mean [p]."""
        return self.gaussian_mean + self._change(self.x - self.gaussian_mean)

    @property
    def covariance(self) -> np.ndarray:
        """Posterior covariance [p, p]."""
        departure = self.x - self.gaussian_mean
        shift = self._change(departure)
        products = self._change(departure[:, :, None] * departure[:, None, :])
        return self.gaussian_covariance + products - np.outer(shift, shift)

    def _change(self, values: np.ndarray) -> np.ndarray:
        """What the weights do to a mean over the draws."""
        return np.tensordot(self.weight - 1.0 / len(self.weight), values, axes=1)

    @property
    def standard_deviation(self) -> np.ndarray:
        """Posterior standard deviation [p]; NaN where the weights are too poor for one."""
        variance = np.diag(self.covariance)
        return np.sqrt(np.where(variance > 0.0, variance, np.nan))

    def to_dataset(self) -> xr.Dataset:
        """Draws, weights and corrected moments."""
        return xr.Dataset(
            {
                "x": (("draw", "parameter"), self.x, {"long_name": "draw in optimiser coordinates"}),
                "log_weight": ("draw", self.log_weight, {"long_name": "smoothed log importance weight"}),
                "mean": ("parameter", self.mean, {"long_name": "corrected posterior mean"}),
                "standard_deviation": ("parameter", self.standard_deviation),
            },
            {"parameter": list(self.names)},
            {"k_hat": self.k_hat, "effective_draws": self.effective},
        )


def importance(
    objective: Callable[[np.ndarray], float],
    names: tuple[str, ...],
    coordinates: Coordinates,
    key: jax.Array,
    n: int,
    progress: Callable[[int, int], Any] | None = None,
) -> Importance:
    """Weigh draws of a Gaussian by the posterior.

    Args:
        objective: U(x) = -ln p(x | data) up to a constant; infinite where x is not admissible. A `ConvergenceError` of
            it counts as infinite.
        names: of the free parameters.
        coordinates: whose standard normal is drawn from: that of Laplace, or one with straightened valleys.
        key: JAX random key.
        n: number of draws.
        progress: receives the number of draws done and n.

    Returns:
        The weighted draws.

    Raises:
        ConvergenceError: no draw has a finite weight.
    """
    from arviz_stats.base.array import array_stats

    y, x, volume = coordinates.draw(key, n)
    reference = coordinates.draw(jax.random.fold_in(key, n), REFERENCE)[1]
    moments = reference.mean(axis=0), np.cov(reference.T).reshape(2 * reference.shape[1:])
    logs = np.empty(n)
    for i, point in enumerate(x):
        try:
            logs[i] = -objective(point) + 0.5 * y[i] @ y[i] + volume[i]
        except ConvergenceError:
            logs[i] = -np.inf
        if progress is not None:
            progress(i + 1, n)
    logs[~np.isfinite(logs)] = -np.inf
    if not np.any(np.isfinite(logs)):
        raise ConvergenceError("importance weights: none of the draws is admissible; the Gaussian is far too wide.")
    finite = np.maximum(logs - logs.max(), -1e4)
    if np.ptp(finite) < EQUAL:
        return Importance(names, x, finite - np.logaddexp.reduce(finite), -np.inf, *moments)
    smoothed, k_hat = array_stats.psislw(-finite)  # it takes the negative logarithm, as of a leave-one-out likelihood
    smoothed = smoothed - np.logaddexp.reduce(smoothed)
    return Importance(names, x, smoothed, float(k_hat), *moments)


def asymmetry(posterior: Posterior, laplace: Laplace, optimum: Evaluation, step: float = STEP) -> xr.Dataset:
    """Third derivatives of -ln p along the eigen-directions, in units of their standard deviations.

    Args:
        posterior: whose f is -ln p.
        laplace: at its optimum.
        optimum: the posterior there, with sensitivities.
        step: distance of the differenced gradients.

    Returns:
        Dataset on ``direction``: third_derivative c, minus the skewness to first order; NaN where a point has no steady
        state.
    """
    keep = laplace.informed
    scale = np.sqrt(laplace.scale / laplace.eigenvalues[keep])
    base = np.asarray(posterior.value_grad(optimum.x, optimum).gradient)
    third = np.full(len(keep), np.nan)
    for i, deviation in zip(np.flatnonzero(keep), scale, strict=True):
        along = laplace.directions[:, i] * deviation
        ends = [laplace.x + sign * step * along for sign in (1.0, -1.0)]
        if any(posterior.admissible(end) is not None for end in ends):
            continue
        try:
            slopes = [np.asarray(posterior.value_grad(end, optimum).gradient) @ along for end in ends]
        except ConvergenceError:
            continue
        third[i] = (slopes[0] + slopes[1] - 2.0 * base @ along) / step**2 / laplace.scale
    return xr.Dataset(
        {
            "third_derivative": ("direction", third, {"long_name": "third derivative of -ln p, unit variance"}),
            "eigenvalue": ("direction", laplace.eigenvalues / laplace.scale),
            "direction_name": ("direction", list(laplace.direction_names)),
        }
    )
