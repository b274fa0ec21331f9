"""Step 4: temperature, salinity and flow brought into balance, near the climatology.

Temperature and salinity C are stepped with the flow that the momentum equations diagnose from them in every step,

    dC/dt = -div(flux of advection, eddies and vertical mixing) - (C - C*) / tau,

horizontal and skew fluxes forward in time, the column implicitly. The restoring time tau is 30 days in the first
layer, with targets C* of winter, and years below, so that the interior keeps close to the climatology while the noise
that makes diagnosed vertical velocities useless dies out. The mean of the last quarter of the run is kept.
"""

import logging
from dataclasses import dataclass

import gsw
import numpy as np

from data_prep.embedded_ocean.forcing import Forcing
from data_prep.embedded_ocean.momentum import Momentum, volume_transports
from invbgc.circulation.assembly import (
    EDDY_DIFFUSIVITY,
    FaceFlow,
    FaceMetrics,
    background_diffusivity,
    density_gradient,
    exchange,
    horizontal_divergence,
    isopycnal_slopes,
)
from invbgc.constants import DAY
from invbgc.grid import OceanGrid

LOGGER = logging.getLogger("invbgc.data_prep")

JULIAN_YEAR = 365.25 * DAY
"""s, the year of this recipe."""

SURFACE_RESTORING = 30.0 * DAY
"""s."""

INSTANT_CONVECTION = 1.0
"""m2 s-1 where the column is unstable."""

SPIN_UP_ABYSSAL_DIFFUSIVITY = 1.1e-4
"""m2 s-1 towards the bottom while stepping; the operator has a tenth less."""

PHASES = ((0.5, 1.0, 3.0), (1.0, 1.4, 3.0), (5.0, 1.4, 10.0))
"""Duration (years), step (days), interior restoring time (years); a step of 2.5 days is unstable."""

AVERAGED_FRACTION = 0.25
"""Part of the last phase over which means are taken."""


@dataclass(frozen=True, eq=False)
class Hydrography:
    """Mean state of the end of the spin-up, on the grid.

    Args:
        east: eastward velocity on eastern faces, [nz, ny, nx] m s-1.
        north: northward velocity on northern faces, [nz, ny, nx] m s-1.
        temperature: conservative temperature, [nz, ny, nx] degC, zero on land.
        salinity: absolute salinity, [nz, ny, nx] g kg-1, zero on land.
        convecting: fraction of the steps in which the upper face was unstable, [nz, ny, nx].
    """

    east: np.ndarray
    north: np.ndarray
    temperature: np.ndarray
    salinity: np.ndarray
    convecting: np.ndarray


def spin_up(
    grid: OceanGrid, forcing: Forcing, momentum: Momentum, phases: tuple[tuple[float, float, float], ...] = PHASES
) -> Hydrography:
    """Step temperature, salinity and flow from the climatology.

    Args:
        grid: the grid.
        forcing: targets, winds, mixed layers.
        momentum: factored momentum equations of the grid.
        phases: duration in years, step in days, restoring time in years.

    Returns:
        means over the last quarter of the last phase.

    Raises:
        FloatingPointError: the run became unstable; shorten the step.
    """
    metrics = FaceMetrics(grid)
    mixing = background_diffusivity(grid, forcing.winter_mixed_layer_depth, forcing.shelf, SPIN_UP_ABYSSAL_DIFFUSIVITY)
    targets = np.stack([forcing.target_temperature, forcing.target_salinity]) * grid.wet
    tracers = np.stack([forcing.conservative_temperature, forcing.absolute_salinity]) * grid.wet
    total = Hydrography(*(np.zeros(grid.shape) for _ in range(5)))
    averaged = 0
    for years, days, restoring in phases:
        steps = int(years * JULIAN_YEAR / (days * DAY))
        rate = np.where(grid.wet, 1.0 / (restoring * JULIAN_YEAR), 0.0)
        rate[0] = np.where(grid.wet[0], 1.0 / SURFACE_RESTORING, 0.0)
        averaging = int(AVERAGED_FRACTION * steps) if (years, days, restoring) == phases[-1] else 0
        for step in range(steps):
            east, north = momentum.solve(_density_anomaly(grid, tracers), forcing.stress_east, forcing.stress_north)
            flow = _flow(metrics, east, north)
            slopes = _slopes(metrics, tracers)
            tracers = _step(metrics, tracers, flow, slopes, mixing, rate, targets, days * DAY)
            if step >= steps - averaging:
                sample = Hydrography(east, north, tracers[0], tracers[1], slopes.unstable)
                total = Hydrography(*(getattr(total, key) + value for key, value in vars(sample).items()))
                averaged += 1
        if not np.isfinite(tracers).all():
            raise FloatingPointError(f"spin-up: not finite after a phase with steps of {days} days; shorten them")
        LOGGER.info("spin-up: %.1f years at %.1f days done", years, days)
    return Hydrography(*(value / averaged for value in vars(total).values()))


@dataclass(frozen=True, eq=False)
class _Slopes:
    """Slopes, squared slope times taper, and where upper faces are unstable, each [nz, ny, nx]."""

    east: np.ndarray
    north: np.ndarray
    squared: np.ndarray
    unstable: np.ndarray


def expansion_and_contraction(
    grid: OceanGrid, temperature: np.ndarray, salinity: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Thermal expansion and haline contraction at upper faces (TEOS-10), zero in the first layer.

    Args:
        grid: the grid.
        temperature: conservative, [nz, ny, nx] degC.
        salinity: absolute, [nz, ny, nx] g kg-1.

    Returns:
        alpha 1/degC and beta kg/g, [nz, ny, nx].
    """
    expansion, contraction = np.zeros(grid.shape), np.zeros(grid.shape)
    pressure = np.broadcast_to(grid.depth_edges[1:-1, None, None], (grid.n_layers - 1, *grid.shape[1:]))
    mean_temperature, mean_salinity = ((field[1:] + field[:-1]) / 2.0 for field in (temperature, salinity))
    _, expansion[1:], contraction[1:] = gsw.rho_alpha_beta(mean_salinity, mean_temperature, pressure)
    return expansion, contraction


def _slopes(metrics: FaceMetrics, tracers: np.ndarray) -> _Slopes:
    temperature, salinity = tracers
    fields = (temperature, salinity, *expansion_and_contraction(metrics.grid, temperature, salinity))
    unstable = density_gradient(metrics, *fields) > 0.0
    return _Slopes(*isopycnal_slopes(metrics, *fields), unstable)


def _density_anomaly(grid: OceanGrid, tracers: np.ndarray) -> np.ndarray:
    """In-situ density minus its volume mean in each layer, zero on land, [nz, ny, nx] kg m-3."""
    temperature, salinity = tracers
    pressure = np.broadcast_to(grid.depth[:, None, None], grid.shape)
    density = np.where(grid.wet, gsw.rho(salinity, temperature, pressure), 0.0)
    area = grid.area * grid.wet
    mean = (density * area).sum(axis=(1, 2)) / area.sum(axis=(1, 2))
    return np.where(grid.wet, density - mean[:, None, None], 0.0)


def _flow(metrics: FaceMetrics, east: np.ndarray, north: np.ndarray) -> FaceFlow:
    """Transports of a velocity that the momentum equations made free of depth-integrated divergence."""
    east, north = volume_transports(metrics, east, north)
    up = -np.cumsum(horizontal_divergence(east, north)[::-1], axis=0)[::-1]
    return FaceFlow(east, north, np.where(metrics.open_up, up, 0.0))


def _step(
    metrics: FaceMetrics,
    tracers: np.ndarray,
    flow: FaceFlow,
    slopes: _Slopes,
    mixing: np.ndarray,
    rate: np.ndarray,
    targets: np.ndarray,
    dt: float,
) -> np.ndarray:
    """Both tracers [2, nz, ny, nx] one step of dt seconds later."""
    grid = metrics.grid
    volume = np.where(grid.wet, grid.area * grid.thickness[:, None, None], 1.0)
    east = exchange(flow.east, EDDY_DIFFUSIVITY * metrics.conductance_east) * metrics.open_east
    north = exchange(flow.north, EDDY_DIFFUSIVITY * metrics.conductance_north) * metrics.open_north
    diffusivity = np.where(slopes.unstable, INSTANT_CONVECTION, mixing) + EDDY_DIFFUSIVITY * slopes.squared
    up = exchange(flow.up, diffusivity * metrics.conductance_up) * metrics.open_up

    from_below = dt * (0.5 * flow.up + up)
    from_above = dt * (0.5 * flow.up - up)
    diagonal = 1.0 + dt * rate + from_below / volume
    diagonal[:-1] -= from_above[1:] / volume[:-1]
    above = from_above / volume
    below = np.zeros(grid.shape)
    below[:-1] = -from_below[1:] / volume[:-1]

    explicit = []
    for tracer, target in zip(tracers, targets, strict=True):
        eastern, northern = np.roll(tracer, -1, axis=2), np.roll(tracer, -1, axis=1)
        flux_east = 0.5 * flow.east * (tracer + eastern) - east * (eastern - tracer)
        flux_north = 0.5 * flow.north * (tracer + northern) - north * (northern - tracer)
        gradient_east, gradient_north = (metrics.at_upper_face(part) for part in metrics.gradient(tracer))
        skew = -2.0 * EDDY_DIFFUSIVITY * grid.area * (slopes.east * gradient_east + slopes.north * gradient_north)
        loss = horizontal_divergence(flux_east, flux_north) + skew
        loss[:-1] -= skew[1:]
        explicit.append(np.where(grid.wet, tracer - dt * loss / volume + dt * rate * target, 0.0))
    return solve_tridiagonal(above, diagonal, below, np.stack(explicit))


def solve_tridiagonal(above: np.ndarray, diagonal: np.ndarray, below: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Columns of above_k x_{k-1} + diagonal_k x_k + below_k x_{k+1} = rhs_k, by elimination.

    Args:
        above: [nz, ny, nx], the first layer unused.
        diagonal: [nz, ny, nx].
        below: [nz, ny, nx], the last layer unused.
        rhs: [n, nz, ny, nx].

    Returns:
        x, [n, nz, ny, nx].
    """
    factor, result = np.zeros_like(diagonal), np.zeros_like(rhs)
    factor[0], result[:, 0] = below[0] / diagonal[0], rhs[:, 0] / diagonal[0]
    for k in range(1, diagonal.shape[0]):
        pivot = diagonal[k] - above[k] * factor[k - 1]
        factor[k] = below[k] / pivot
        result[:, k] = (rhs[:, k] - above[k] * result[:, k - 1]) / pivot
    for k in range(diagonal.shape[0] - 2, -1, -1):
        result[:, k] -= factor[k] * result[:, k + 1]
    return result
