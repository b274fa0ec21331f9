"""Smooth fields: a squared-exponential correlation on a grid, as a product of low rank.

    C_ij = exp(-(d_ij/L_h)^2/2 - (dz_ij/L_z)^2/2)  ~  Phi Phi^T,

with the chord d between two boxes and their difference in depth dz. Phi is a pivoted Cholesky factor: each further
column is the field of that box, of a sample, whose variance the columns before it hold least.
"""

from dataclasses import dataclass, field

import numpy as np
import scipy.linalg

from invbgc.constants import EARTH_RADIUS
from invbgc.grid import OceanGrid, unit_vectors

FIELDS = 1000
"""Columns of Phi. With fewer, error bars come out too small. On an 8-degree ocean, beside those of the full C: by 0.3 %
(worst parameter 0.7 %) where smooth and independent errors are alike, 800 m deep, by 4 % (12 %) where smooth ones are
twice as large and 400 m deep; with 600 columns by 2 % (6 %) and 19 % (39 %)."""

CANDIDATES = 3000
"""Boxes among which the pivots are sought; drawn with a fixed seed."""


@dataclass
class SmoothFields:
    """Smooth fields that make up a squared-exponential correlation on a grid.

    Attributes:
        grid: the grid.
        kept: boxes up to which the fields are kept for the next data set.
    """

    grid: OceanGrid
    kept: int = 20_000
    _known: dict[tuple[float, float], np.ndarray] = field(default_factory=dict, repr=False)

    def basis(self, horizontal: float, vertical: float) -> np.ndarray:
        """Phi [n_wet, k], with Phi Phi^T close to exp(-(d/L_h)^2/2 - (dz/L_z)^2/2), d the chord between boxes.

        Args:
            horizontal: L_h, m.
            vertical: L_z, m.
        """
        key = (horizontal, vertical)
        if key in self._known:
            return self._known[key]
        made = self._make(horizontal, vertical)
        if self.grid.n_wet <= self.kept:
            self._known[key] = made
        return made

    def _make(self, horizontal: float, vertical: float) -> np.ndarray:
        grid = self.grid
        sphere = EARTH_RADIUS / horizontal * unit_vectors(grid.wet_latitude, grid.wet_longitude)
        place = np.column_stack([sphere, grid.wet_depth / vertical])
        # By number, not by volume: the thin boxes near the surface are observed like the others.
        sample = np.random.default_rng(0).choice(grid.n_wet, min(CANDIDATES, grid.n_wet), replace=False)
        inner = _correlation(place[sample], place[sample])
        (pivoted_cholesky,) = scipy.linalg.get_lapack_funcs(("pstrf",), (inner,))
        factor, order, rank, _ = pivoted_cholesky(inner, tol=1e-8, lower=1)
        size = min(FIELDS, rank)
        root, pivots = factor[:size, :size], place[sample[order[:size] - 1]]
        # A fixed number of columns, so that data sets of one ocean share compiled programs.
        basis = np.zeros((grid.n_wet, FIELDS))
        for part in np.array_split(np.arange(grid.n_wet), max(1, grid.n_wet // 4096)):
            across = _correlation(pivots, place[part])
            basis[part, :size] = scipy.linalg.solve_triangular(root, across, lower=True).T
        return basis


def _correlation(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """exp(-|a - b|^2/2) for scaled positions [m, 4] and [k, 4]."""
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2.0 * one @ others.T
    return np.exp(-0.5 * np.maximum(squares, 0.0))
