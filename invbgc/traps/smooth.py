"""A smooth curve through scattered values, with its band: local quadratic regression (LOESS).

Cleveland & Devlin (1988, J. Am. Stat. Assoc. 83, 596): at each place a polynomial is fitted to the nearest share of the
points, weighted by (1 - (d/d_max)^3)^3.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from invbgc.errors import InputError

BAND = 1.96
"""Standard errors of the band: 95 % of a normal distribution."""


class Smooth(NamedTuple):
    """A smooth curve.

    Attributes:
        at: [m] places.
        value: [m] the curve.
        error: [m] its standard error.
        residual_sd: standard deviation of the points about the curve.
        freedom: equivalent number of parameters of the curve, the trace of the smoother.
    """

    at: np.ndarray
    value: np.ndarray
    error: np.ndarray
    residual_sd: float
    freedom: float

    @property
    def band(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper edge of the 95 % band of the curve."""
        return self.value - BAND * self.error, self.value + BAND * self.error


def loess(x: ArrayLike, y: ArrayLike, at: ArrayLike | None = None, span: float = 0.75, degree: int = 2) -> Smooth:
    """Local polynomial regression with tricube weights.

    The curve is linear in the values, s = L y. Its error is sigma |l|, with l the row of L at the place and
    sigma^2 = |y - L y|^2 / trace((I - L)' (I - L)).

    Args:
        x: [n] places, such as decimal years.
        y: [n] values.
        at: [m] places of the curve; 200 along the range of x where None.
        span: share of the points that count at each place, at most 1.
        degree: of the polynomial.

    Returns:
        the curve. The defaults are those of R's function of this name.

    Raises:
        InputError: the samples differ in length, the span is not within 0 and 1, or too few points would count.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    if x.ndim != 1 or x.shape != y.shape or not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise InputError(f"Smooth curve: found {x.shape} places and {y.shape} values; expected as many, all finite.")
    near = int(np.floor(len(x) * span + 1e-5))
    if not 0.0 < span <= 1.0 or near < degree + 3:
        raise InputError(
            f"Smooth curve: found a span of {span:g} of {len(x)} points; expected {degree + 3} or more to count."
        )
    places = np.linspace(x.min(), x.max(), 200) if at is None else np.atleast_1d(np.asarray(at, float))
    own, rows = (np.stack([_weights(x, place, near, degree) for place in points]) for points in (x, places))
    left = np.eye(len(x)) - own
    sigma = float(np.sqrt(np.sum((left @ y) ** 2) / np.sum(left**2)))
    return Smooth(places, rows @ y, sigma * np.linalg.norm(rows, axis=1), sigma, float(np.trace(own)))


def _weights(x: np.ndarray, place: float, near: int, degree: int) -> np.ndarray:
    """The row of the smoother [n]: what each value adds to the curve at a place."""
    distance = np.abs(x - place)
    reach = np.partition(distance, near - 1)[near - 1] or 1.0
    root = np.clip(1.0 - (distance / reach) ** 3, 0.0, None) ** 1.5
    basis = ((x - place) / reach)[:, None] ** np.arange(degree + 1)
    return np.linalg.pinv(root[:, None] * basis)[0] * root
