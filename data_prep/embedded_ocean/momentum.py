"""Step 3: the flow of a given density field, by linear frictional geostrophy under a rigid lid.

On a C grid (eastward velocity u on eastern faces, northward v on northern faces), in every layer,

    -f v = -(p + p_s)_x / rho_0 + A_h lap(u) - r u + tau_x / (rho_0 H)
     f u = -(p + p_s)_y / rho_0 + A_h lap(v) - r v + tau_y / (rho_0 H)

with the hydrostatic pressure p of the density, the wind stress tau spread over the top H (two layers), friction r and
viscosity A_h. The surface pressure p_s is what makes the depth-integrated flow free of divergence: with M_k the
matrix of layer k, G_k the gradient and D_k the divergence of transports, sum_k dz_k D_k M_k^-1 (b_k - G_k p_s) = 0,
so that p_s follows from one two-dimensional system S = sum_k dz_k D_k M_k^-1 G_k, factored once. Steady models of
this kind are reviewed by Colin de Verdiere (1988) and Edwards and Marsh (2005).
"""

import logging
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from scipy.linalg import lu_factor, lu_solve
from scipy.sparse.linalg import SuperLU, splu

from invbgc.circulation.assembly import DENSITY, FaceMetrics
from invbgc.grid import OceanGrid

LOGGER = logging.getLogger("invbgc.data_prep")

ROTATION_RATE = 7.2921e-5
"""s-1, of the Earth."""

GRAVITY = 9.81
"""m s-2."""

VISCOSITY = 1.2e6
"""A_h, m2 s-1; a western boundary layer of (A_h / beta)^(1/3) = 400 km, one cell."""

FRICTION = 1e-6
"""r, s-1, everywhere."""

BOTTOM_FRICTION = 2e-6
"""s-1, added in the lowest layer of each face."""

POLAR_FRICTION, POLAR_LATITUDE = 2e-5, 79.0
"""s-1, added poleward of this latitude (degrees), where meridians crowd."""

BLOCK = 4
"""Right-hand sides solved at once; SuperLU is ten times slower per column on hundreds."""

WIND_LAYERS = 2
"""Layers over which the wind stress is spread."""


@dataclass(frozen=True, eq=False)
class LayerEquations:
    """Factored momentum equations of one layer; unknowns are u at open eastern, then v at open northern faces."""

    factor: SuperLU
    gradient: sparse.csr_array
    divergence: sparse.csr_array
    open_east: np.ndarray
    open_north: np.ndarray


class Momentum:
    """The momentum equations of a grid, factored once and solved for any density and wind."""

    def __init__(self, grid: OceanGrid):
        """Factor the layers and the surface-pressure system, [n_columns, n_columns]."""
        self.metrics = FaceMetrics(grid)
        self.layers = [_layer_equations(self.metrics, k) for k in range(grid.n_layers)]
        schur = np.zeros((grid.n_columns, grid.n_columns))
        for thickness, layer in zip(grid.thickness, self.layers, strict=True):
            wet = np.unique(layer.gradient.indices)
            for block in np.array_split(wet, max(1, wet.size // BLOCK)):
                response = layer.factor.solve(layer.gradient[:, block].toarray())
                schur[:, block] += thickness * (layer.divergence @ response)
        schur[0] += np.trace(schur) / grid.n_columns**2  # the mean of the surface pressure is free: set it to zero
        self.surface_pressure = lu_factor(schur)
        LOGGER.info("momentum: %d layers and the surface pressure factored", grid.n_layers)

    def solve(
        self, density: np.ndarray, stress_east: np.ndarray, stress_north: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The velocity that belongs to a density field and a wind stress.

        Args:
            density: in-situ density, any reference per layer taken off, zero on land, [nz, ny, nx] kg m-3.
            stress_east: [ny, nx] N m-2.
            stress_north: [ny, nx] N m-2.

        Returns:
            eastward velocity on eastern faces and northward velocity on northern faces, [nz, ny, nx] m s-1.
        """
        grid = self.metrics.grid
        weight = GRAVITY * density * grid.thickness[:, None, None]
        pressure = np.cumsum(weight, axis=0) - 0.5 * weight
        east_face = 0.5 * (stress_east + np.roll(stress_east, -1, axis=1))
        north_face = 0.5 * (stress_north + np.roll(stress_north, -1, axis=0))
        divergence, velocities = np.zeros(grid.n_columns), []
        for k, layer in enumerate(self.layers):
            force = -(layer.gradient @ pressure[k][grid.wet[0]])
            if k < WIND_LAYERS:
                wind = np.concatenate([east_face[layer.open_east], north_face[layer.open_north]])
                force += wind / (DENSITY * grid.depth_edges[WIND_LAYERS])
            velocities.append(layer.factor.solve(force))
            divergence += grid.thickness[k] * (layer.divergence @ velocities[-1])
        surface = lu_solve(self.surface_pressure, divergence)
        east, north = np.zeros(grid.shape), np.zeros(grid.shape)
        for k, layer in enumerate(self.layers):
            velocity = velocities[k] - layer.factor.solve(layer.gradient @ surface)
            n_east = int(layer.open_east.sum())
            east[k][layer.open_east], north[k][layer.open_north] = velocity[:n_east], velocity[n_east:]
        return east, north


def volume_transports(metrics: FaceMetrics, east: np.ndarray, north: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transports m3 s-1 through eastern and northern faces from their velocities m s-1, [nz, ny, nx]."""
    thickness = metrics.grid.thickness[:, None, None]
    return east * metrics.length_east * thickness, north * metrics.length_north * thickness


def _layer_equations(metrics: FaceMetrics, k: int) -> LayerEquations:
    """Matrix, gradient and divergence of layer k; columns of the gradient are surface boxes."""
    grid = metrics.grid
    n_rows, n_cells = grid.shape[1:]
    open_east, open_north = metrics.open_east[k], metrics.open_north[k]
    n_east, n_north = int(open_east.sum()), int(open_north.sum())
    u = np.full((n_rows, n_cells), -1)
    u[open_east] = np.arange(n_east)
    v = np.full((n_rows, n_cells), -1)
    v[open_north] = n_east + np.arange(n_north)
    entries = _Entries()
    _friction(entries, metrics, k, u, v)
    _coriolis(entries, grid, u, v)
    _viscosity(entries, u, metrics.distance_east, metrics.distance_north, walls=(True, False))
    _viscosity(entries, v, metrics.length_north, metrics.distance_north, walls=(False, True))
    matrix = entries.matrix((n_east + n_north, n_east + n_north))

    box = np.full((n_rows, n_cells), -1)
    box[grid.wet[0]] = np.arange(grid.n_columns)
    low = np.concatenate([box[open_east], box[open_north]])
    high = np.concatenate([np.roll(box, -1, axis=1)[open_east], np.roll(box, -1, axis=0)[open_north]])
    distances = np.broadcast_arrays(metrics.distance_east, metrics.distance_north, box)[:2]
    distance = np.concatenate([distances[0][open_east], distances[1][open_north]])
    lengths = np.broadcast_arrays(metrics.length_east, metrics.length_north, box)[:2]
    length = np.concatenate([lengths[0][open_east], lengths[1][open_north]])
    face = np.arange(n_east + n_north)
    shape = (face.size, grid.n_columns)
    difference = sparse.csr_array(
        (np.repeat([1.0, -1.0], face.size), (np.tile(face, 2), np.concatenate([high, low]))), shape=shape
    )
    gradient = sparse.csr_array(sparse.diags_array(1.0 / (DENSITY * distance)) @ difference)
    divergence = sparse.csr_array(-difference.T @ sparse.diags_array(length))
    return LayerEquations(splu(sparse.csc_array(matrix)), gradient, divergence, open_east, open_north)


class _Entries:
    """Matrix entries collected term by term; those whose row or column is closed (-1) are dropped."""

    def __init__(self):
        self.rows, self.columns, self.values = [], [], []

    def add(self, row: np.ndarray, column: np.ndarray, value: np.ndarray | float) -> None:
        row, column, value = np.broadcast_arrays(row, column, value)
        present = (row >= 0) & (column >= 0)
        self.rows.append(row[present])
        self.columns.append(column[present])
        self.values.append(value[present])

    def matrix(self, shape: tuple[int, int]) -> sparse.coo_array:
        parts = np.concatenate(self.values), (np.concatenate(self.rows), np.concatenate(self.columns))
        return sparse.coo_array(parts, shape=shape)


def _friction(entries: _Entries, metrics: FaceMetrics, k: int, u: np.ndarray, v: np.ndarray) -> None:
    """Linear friction r, larger at the bottom of a face and near the pole."""
    below = metrics.grid.n_layers - 1 if k == metrics.grid.n_layers - 1 else k + 1
    last = k == below
    bottom_u = metrics.open_east[k] & (last | ~metrics.open_east[below])
    bottom_v = metrics.open_north[k] & (last | ~metrics.open_north[below])
    polar_u = np.abs(metrics.grid.latitude)[:, None] > POLAR_LATITUDE
    polar_v = np.abs(metrics.grid.latitude_edges[1:])[:, None] > POLAR_LATITUDE
    entries.add(u, u, FRICTION + BOTTOM_FRICTION * bottom_u + POLAR_FRICTION * polar_u)
    entries.add(v, v, FRICTION + BOTTOM_FRICTION * bottom_v + POLAR_FRICTION * polar_v)


def _coriolis(entries: _Entries, grid: OceanGrid, u: np.ndarray, v: np.ndarray) -> None:
    """-f v and +f u, each the mean of four neighbours with f at v, so that the force does no work."""
    parameter = 2.0 * ROTATION_RATE * np.sin(np.deg2rad(grid.latitude_edges[1:]))[:, None]
    south_v, south_f = np.full_like(v, -1), np.zeros_like(parameter)
    south_v[1:], south_f[1:] = v[:-1], parameter[:-1]
    for neighbour, f in ((v, parameter), (south_v, south_f)):
        for shift in (0, -1):
            other = np.roll(neighbour, shift, axis=1)
            entries.add(u, other, -0.25 * f)
            entries.add(other, u, 0.25 * f)


def _viscosity(
    entries: _Entries, number: np.ndarray, width: np.ndarray, height: np.ndarray, walls: tuple[bool, bool]
) -> None:
    """-A_h lap of a velocity component, weaker in longitude where meridians crowd.

    Args:
        entries: where to add.
        number: unknown of each face, -1 where closed, [ny, nx].
        width: distance of neighbours in longitude, [ny, nx] m.
        height: distance of neighbours in latitude, [ny, 1] m.
        walls: whether a closed neighbour in longitude, in latitude, counts as a face at rest (normal flow) or not
            (free slip).
    """
    along = VISCOSITY / width**2 * np.minimum(1.0, width / height)
    across = VISCOSITY / height**2 * np.ones_like(width)
    north, south = np.full_like(number, -1), np.full_like(number, -1)
    north[:-1], south[1:] = number[1:], number[:-1]
    for neighbour, rate, at_rest in (
        (np.roll(number, -1, axis=1), along, walls[0]),
        (np.roll(number, 1, axis=1), along, walls[0]),
        (north, across, walls[1]),
        (south, across, walls[1]),
    ):
        entries.add(number, number, np.where((neighbour >= 0) | at_rest, rate, 0.0))
        entries.add(number, neighbour, -rate)
