"""Smooth fields: the correlation of smooth errors on a grid, and its factor of low rank.

    C_ij = exp(-|x_i - x_j|^2 / 2)  ~  Phi Phi^T

for the `places` x of boxes, in which one is a correlation length. Errors of an ocean model reach further along a circle
of latitude than across, and the deeper the further down: residuals of two neighbouring layers go together as well
where these are 40 m apart, near the surface, as where they are 700 m apart.

Phi is a pivoted Cholesky factor: each further column is the field of that box, of a sample, whose variance the columns
before it hold least.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from invbgc.constants import EARTH_RADIUS
from invbgc.grid import OceanGrid, unit_vectors

HORIZONTAL_SCALE = 2.0e6
"""Correlation length along circles of latitude, m, where none is given; errors fall by exp(-1/2) over one."""

VERTICAL_SCALE = 0.5
"""Correlation depth over z + 100 m, where none is given."""

MERIDIONAL = 2.0
"""How many times shorter the correlation is across circles of latitude."""

STRETCH_DEPTH = 100.0
"""z_0, m: correlation depths grow as z_0 + z."""

FIELDS = 1000
"""Columns of Phi. With fewer, error bars come out too small. On an 8-degree ocean, beside those of the full C: by 1 %
(worst parameter 3 %) where smooth and independent errors are alike, over 2,000 km, by 4 % (12 %) where smooth ones are
twice as large; with 600 columns by 4 % (11 %) and 12 % (28 %)."""

CANDIDATES = 3000
"""Boxes among which the pivots are sought; drawn with a fixed seed."""


def stretched(depth: np.ndarray | float) -> np.ndarray:
    """Depth in which correlation depths are the same everywhere, zeta = ln(1 + z/z_0), of z in m."""
    return np.log1p(np.asarray(depth) / STRETCH_DEPTH)


def places(grid: OceanGrid, horizontal: float = HORIZONTAL_SCALE, vertical: float = VERTICAL_SCALE) -> np.ndarray:
    """Places of boxes in units of a correlation length.

        |x_i - x_j|^2 = (chord^2 + (A^2 - 1) (R dphi)^2) / L^2 + (dzeta / lambda)^2

    with latitude phi, A = `MERIDIONAL` and zeta of `stretched`: about A R dphi/L apart along a meridian.

    Args:
        grid: the grid.
        horizontal: L, m, along circles of latitude.
        vertical: lambda, correlation depth over z_0 + z.

    Returns:
        [n_wet, 5].
    """
    radius = EARTH_RADIUS / horizontal
    sphere = radius * unit_vectors(grid.wet_latitude, grid.wet_longitude)
    north = radius * np.sqrt(MERIDIONAL**2 - 1.0) * np.deg2rad(grid.wet_latitude)
    return np.column_stack([sphere, north, stretched(grid.wet_depth) / vertical])


@dataclass
class SmoothFields:
    """Smooth fields that make up the correlation of smooth errors on a grid.

    Attributes:
        grid: the grid.
        kept: boxes up to which the fields are kept for the next data set.
    """

    grid: OceanGrid
    kept: int = 20_000
    _pivots: dict[tuple[float, float], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict, repr=False)
    _fields: dict[tuple[float, float], np.ndarray] = field(default_factory=dict, repr=False)

    def basis(self, boxes: np.ndarray, horizontal: float, vertical: float) -> np.ndarray:
        """Rows of Phi [m, k], with Phi Phi^T close to the correlation of errors at `places` of these scales.

        Args:
            boxes: [m] wet index.
            horizontal: L, m.
            vertical: lambda.
        """
        key = (horizontal, vertical)
        if self.grid.n_wet > self.kept:
            return self._rows(boxes, *key)
        if key not in self._fields:
            self._fields[key] = self._rows(np.arange(self.grid.n_wet), *key)
        return self._fields[key][boxes]

    def _rows(self, boxes: np.ndarray, horizontal: float, vertical: float) -> np.ndarray:
        place, key = places(self.grid, horizontal, vertical), (horizontal, vertical)
        if key not in self._pivots:
            self._pivots[key] = self._factor(place)
        pivots, root = self._pivots[key]
        # A fixed number of columns, so that data sets of one ocean share compiled programs.
        rows = np.zeros((boxes.size, FIELDS))
        for part in np.array_split(np.arange(boxes.size), max(1, boxes.size // 4096)):
            across = correlation(place[pivots], place[boxes[part]])
            rows[part, : pivots.size] = scipy.linalg.solve_triangular(root, across, lower=True).T
        return rows

    def _factor(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes [k] of the fields, and the Cholesky factor of their correlation."""
        number = self.grid.n_wet
        # By number, not by volume: the thin boxes near the surface are observed like the others.
        sample = np.random.default_rng(0).choice(number, min(CANDIDATES, number), replace=False)
        inner = correlation(place[sample], place[sample])
        (pivoted_cholesky,) = scipy.linalg.get_lapack_funcs(("pstrf",), (inner,))
        factor, order, rank, _ = pivoted_cholesky(inner, tol=1e-8, lower=1)
        size = min(FIELDS, rank)
        return sample[order[:size] - 1], factor[:size, :size].copy()


def correlation(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """exp(-|a - b|^2/2) for places [m, d] and [k, d]."""
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2.0 * one @ others.T
    return np.exp(-0.5 * np.maximum(squares, 0.0))
