"""Horizontal smoothing of forcing climatologies."""

import numpy as np
import scipy.sparse as sparse
import scipy.sparse.linalg

from invbgc.constants import EARTH_RADIUS
from invbgc.datasets.binning import is_periodic
from invbgc.grid import OceanGrid

SMOOTHING_RADIUS = 1e5
"""Length r of the smoother, m (Wang et al. 2023)."""

SMOOTHING_PASSES = 3
"""Number of successive solves (Wang et al. 2023)."""


def smooth_horizontally(values: np.ndarray, grid: OceanGrid) -> np.ndarray:
    """Three successive solves of (I - r^2 L) y_new = y_old in each layer, with r = 100 km.

    L y is the sum of the second differences along the parallel and along the meridian, in metres; there is no flux
    into the land of the same layer, and longitude is periodic if the grid goes around the Earth. The convergence of
    the meridians enters through the distance along the parallel only, as in the data processing of Wang et al. (2023),
    whose range of temperature, 31.9124 degC, depends on it.

    Args:
        values: [n_wet], any unit.
        grid: the grid.

    Returns:
        [n_wet], same unit.
    """
    smoothed = np.array(values, dtype=np.float64)
    for k in range(grid.n_layers):
        boxes = grid.layer == k
        if not boxes.any():
            continue
        matrix = sparse.eye_array(int(boxes.sum())) - SMOOTHING_RADIUS**2 * _second_differences(grid, k)
        factor = scipy.sparse.linalg.splu(sparse.csc_array(matrix))
        for _ in range(SMOOTHING_PASSES):
            smoothed[boxes] = factor.solve(smoothed[boxes])
    return smoothed


def _second_differences(grid: OceanGrid, k: int) -> sparse.csr_array:
    """The operator L of one layer, [n, n] m-2, n its number of wet boxes."""
    wet = grid.wet[k]
    ny, nx = wet.shape
    number = np.full(wet.shape, -1)
    number[wet] = np.arange(wet.sum())
    width = np.broadcast_to(np.radians(np.diff(grid.longitude_edges)), (ny, nx))
    width = EARTH_RADIUS * np.cos(np.radians(grid.latitude))[:, None] * width
    height = np.broadcast_to(EARTH_RADIUS * np.radians(np.diff(grid.latitude_edges))[:, None], (ny, nx))
    east = (number[:, :-1], number[:, 1:], width[:, :-1], width[:, 1:])
    north = (number[:-1], number[1:], height[:-1], height[1:])
    faces = [east, north]
    if is_periodic(grid) and nx > 2:
        faces.append((number[:, -1], number[:, 0], width[:, -1], width[:, 0]))
    rows, columns, rates = [], [], []
    for first, second, length_first, length_second in faces:
        open_face = (first >= 0) & (second >= 0)
        distance = 0.5 * (length_first + length_second)
        rows += [first[open_face], second[open_face]]
        columns += [second[open_face], first[open_face]]
        rates += [(1.0 / (length_first * distance))[open_face], (1.0 / (length_second * distance))[open_face]]
    shape = (int(wet.sum()),) * 2
    exchange = sparse.csr_array((np.concatenate(rates), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    return sparse.csr_array(exchange - sparse.diags_array(exchange.sum(axis=1)))
