"""Step 5: the smallest change of the flow that keeps the water masses in place.

The diagnosed flow x_0 (volume transports through all faces) would change temperature and salinity within years. Two
passes of generalised least squares, each with the operator of the flow so far, find the correction dx that minimises

    sum_f (dx_f / sigma_f)^2 + sum_rows ((B dx - b) / error)^2,

where the rows are continuity (almost exact), the tendencies of the model's own temperature and salinity in every box
below the surface (an error of 0.3 degC and 0.05 g/kg over the age of the water, but never less than a third of the
present tendency: without this cap a few poor boxes call for currents of hundreds of Sverdrups), the upper branch of
the Atlantic overturning, and the transport through Drake Passage. Wunsch (1996), chapter 3, gives the method; a
potential flow restores exact continuity afterwards.
"""

import logging

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

from data_prep.embedded_ocean.forcing import Forcing
from data_prep.embedded_ocean.momentum import volume_transports
from data_prep.embedded_ocean.spin_up import JULIAN_YEAR, Hydrography, expansion_and_contraction
from invbgc.circulation.assembly import (
    CONVECTIVE_DIFFUSIVITY,
    EDDY_DIFFUSIVITY,
    FaceFlow,
    FaceMetrics,
    FaceMixing,
    assemble,
    background_diffusivity,
    close_continuity,
    isopycnal_slopes,
)
from invbgc.grid import OceanGrid

LOGGER = logging.getLogger("invbgc.data_prep")

PASSES = 2
"""Corrections, each with the ages and exchanges of the flow before."""

RELATIVE_ERROR = 0.2
"""Error of a transport relative to its size."""

LATERAL_ERROR, VERTICAL_ERROR = 1e-3, 8.0 / JULIAN_YEAR
"""m s-1; error of lateral and vertical velocities, added to the relative one."""

SURFACE_ERROR_FACTOR, SURFACE_ERROR_DEPTH = 4.0, 500.0
"""Lateral errors are 1 + 4 exp(-z / 500 m) times larger towards the surface."""

TEMPERATURE_ERROR, SALINITY_ERROR = 0.3, 0.05
"""degC and g kg-1 that a tendency may amount to over the age of the water."""

LEAST_AGE, LARGEST_AGE = 20.0, 1500.0
"""Years."""

TENDENCY_CAP = 3.0
"""A tendency row is never more than so many errors off."""

CONTINUITY_SCALE, CONTINUITY_ERROR = 1e3, 1e-7
"""m3 s-1 by which continuity rows are divided, and their squared error after it."""

OVERTURNING, OVERTURNING_ERROR = 17e6, 0.3e6
"""m3 s-1 carried northward by the Atlantic above 1040 m north of 2 S; 15 % less at 32 S."""

OVERTURNING_LATITUDES, OVERTURNING_DEPTH = (-33.0, 47.0), 1041.0
"""Degrees north; m."""

DRAKE_TRANSPORT, DRAKE_ERROR = 145e6, 0.5e6
"""m3 s-1 through Drake Passage."""

DRAKE_LONGITUDE, DRAKE_LATITUDE = 294.0, -52.0
"""Degrees east of the section, and its northern end."""


def mixing_fields(grid: OceanGrid, forcing: Forcing, state: Hydrography) -> FaceMixing:
    """Slopes and total vertical diffusivity at upper faces, of the operator.

    Args:
        grid: the grid.
        forcing: mixed layers and shelves.
        state: mean temperature, salinity and convection of the spin-up.

    Returns:
        slopes and vertical diffusivity with convection and eddies.
    """
    metrics = FaceMetrics(grid)
    expansion, contraction = expansion_and_contraction(grid, state.temperature, state.salinity)
    east, north, squared = isopycnal_slopes(metrics, state.temperature, state.salinity, expansion, contraction)
    diffusivity = background_diffusivity(grid, forcing.winter_mixed_layer_depth, forcing.shelf)
    diffusivity = diffusivity + CONVECTIVE_DIFFUSIVITY * state.convecting + EDDY_DIFFUSIVITY * squared
    return FaceMixing(east, north, np.where(metrics.open_up, diffusivity, 0.0))


def correct_flow(grid: OceanGrid, state: Hydrography, mixing: FaceMixing) -> FaceFlow:
    """The corrected flow, free of divergence.

    Args:
        grid: the grid.
        state: mean velocity, temperature and salinity of the spin-up.
        mixing: of `mixing_fields`.

    Returns:
        volume transports, m3 s-1.
    """
    metrics = FaceMetrics(grid)
    flow = close_continuity(metrics, *volume_transports(metrics, state.east, state.north))
    tracers = grid.pack(state.temperature), grid.pack(state.salinity)
    for number in range(PASSES):
        transport = assemble(metrics, flow, mixing)
        east, north = _corrected(metrics, flow, transport, tracers)
        flow = close_continuity(metrics, east, north)
        LOGGER.info("flow correction: pass %d done", number + 1)
    return flow


def ideal_age(grid: OceanGrid, transport: sparse.csr_array) -> np.ndarray:
    """Time since water was in the first layer, where age is restored to zero within a day, [n_wet] years."""
    surface = grid.layer_mask(1).astype(np.float64)
    system = JULIAN_YEAR * transport + sparse.diags_array(365.0 * surface)
    return splu(sparse.csc_array(system)).solve(np.ones(grid.n_wet))


def _corrected(
    metrics: FaceMetrics, flow: FaceFlow, transport: sparse.csr_array, tracers: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Eastward and northward transports after one pass, [nz, ny, nx] m3 s-1."""
    grid = metrics.grid
    low, high, transports, error = _faces(metrics, flow)
    face = np.arange(low.size)
    ones = np.ones(low.size)
    gain = sparse.csr_array(
        (np.concatenate([-ones, ones]), (np.concatenate([low, high]), np.tile(face, 2))), shape=(grid.n_wet, low.size)
    )
    interior = np.flatnonzero(~grid.layer_mask(1))
    age = np.clip(ideal_age(grid, transport), 0.0, LARGEST_AGE) + LEAST_AGE
    rows, misfits = [gain / CONTINUITY_SCALE], [np.zeros(grid.n_wet)]
    for tracer, allowed in zip(tracers, (TEMPERATURE_ERROR, SALINITY_ERROR), strict=True):
        face_value = 0.5 * (tracer[low] + tracer[high])
        response = gain @ sparse.diags_array(face_value) - sparse.diags_array(tracer) @ gain
        tendency = grid.volume * (transport @ tracer)
        tolerance = np.maximum(grid.volume * allowed / (age * JULIAN_YEAR), np.abs(tendency) / TENDENCY_CAP)
        rows.append((sparse.diags_array(1.0 / tolerance) @ response)[interior])
        misfits.append((tendency / tolerance)[interior])
    sections, wanted = _sections(metrics, transports)
    rows.append(sections)
    misfits.append(wanted)
    matrix, misfit = sparse.csr_array(sparse.vstack(rows)), np.concatenate(misfits)
    squared_error = np.ones(misfit.size)
    squared_error[: grid.n_wet] = CONTINUITY_ERROR
    normal = sparse.csc_array(matrix @ sparse.diags_array(error**2) @ matrix.T + sparse.diags_array(squared_error))
    factor = splu(normal, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    multiplier = factor.solve(misfit)
    multiplier += factor.solve(misfit - normal @ multiplier)
    change = error**2 * (matrix.T @ multiplier)
    LOGGER.info(
        "flow correction: misfit %.2f before, %.2f after; change %.2f errors",
        np.sqrt(np.mean(misfit[grid.n_wet :] ** 2)),
        np.sqrt(np.mean((misfit - matrix @ change)[grid.n_wet :] ** 2)),
        np.sqrt(np.mean((change / error) ** 2)),
    )
    east, north = flow.east.copy(), flow.north.copy()
    n_east, n_north = int(metrics.open_east.sum()), int(metrics.open_north.sum())
    east[metrics.open_east] += change[:n_east]
    north[metrics.open_north] += change[n_east : n_east + n_north]
    return east, north


def _faces(metrics: FaceMetrics, flow: FaceFlow) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Box before, box behind, transport and its error of all open faces: eastern, northern, upper."""
    grid = metrics.grid
    number = np.full(grid.shape, -1)
    number[grid.wet] = np.arange(grid.n_wet)
    depth = np.broadcast_to(grid.depth[:, None, None], grid.shape)
    lateral = LATERAL_ERROR * grid.thickness[:, None, None]
    near_surface = 1.0 + SURFACE_ERROR_FACTOR * np.exp(-depth / SURFACE_ERROR_DEPTH)
    low, high, transports, errors = [], [], [], []
    for is_open, behind, transport, absolute, factor in (
        (metrics.open_east, np.roll(number, -1, axis=2), flow.east, lateral * metrics.length_east, near_surface),
        (metrics.open_north, np.roll(number, -1, axis=1), flow.north, lateral * metrics.length_north, near_surface),
        (metrics.open_up, np.roll(number, 1, axis=0), flow.up, VERTICAL_ERROR * grid.area, np.ones(grid.shape)),
    ):
        error = factor * (np.broadcast_to(absolute, grid.shape) + RELATIVE_ERROR * np.abs(transport))
        low.append(number[is_open])
        high.append(behind[is_open])
        transports.append(transport[is_open])
        errors.append(error[is_open])
    return np.concatenate(low), np.concatenate(high), np.concatenate(transports), np.concatenate(errors)


def _sections(metrics: FaceMetrics, transports: np.ndarray) -> tuple[sparse.csr_array, np.ndarray]:
    """Rows and misfits, both over their errors, of the Atlantic overturning and of Drake Passage."""
    grid = metrics.grid
    atlantic = grid.masks["atlantic"] | grid.masks["arctic"]
    n_east = int(metrics.open_east.sum())
    n_north = int(metrics.open_north.sum())
    layer, row, column = np.nonzero(metrics.open_north)
    inside = atlantic[row, column] & (grid.depth_edges[1:][layer] <= OVERTURNING_DEPTH)
    rows, misfits = [], []
    for j, latitude in enumerate(grid.latitude_edges[1:]):
        if OVERTURNING_LATITUDES[0] < latitude <= OVERTURNING_LATITUDES[1]:
            faces = n_east + np.flatnonzero(inside & (row == j))
            target = OVERTURNING * min(1.0, 0.85 + 0.005 * (latitude + 32.0))
            rows.append((faces, 1.0 / OVERTURNING_ERROR))
            misfits.append((target - transports[faces].sum()) / OVERTURNING_ERROR)
    layer, row, column = np.nonzero(metrics.open_east)
    section = np.searchsorted(grid.longitude_edges, DRAKE_LONGITUDE, side="right") - 1
    faces = np.flatnonzero((column == section) & (grid.latitude[row] < DRAKE_LATITUDE))
    rows.append((faces, 1.0 / DRAKE_ERROR))
    misfits.append((DRAKE_TRANSPORT - transports[faces].sum()) / DRAKE_ERROR)
    matrix = sparse.lil_array((len(rows), n_east + n_north + int(metrics.open_up.sum())))
    for number, (faces, value) in enumerate(rows):
        matrix[number, faces] = value
    return sparse.csr_array(matrix), np.array(misfits)
