"""Step 2: hydrography, winter mixed layer, surface targets and wind stress on the grid of the embedded ocean."""

from dataclasses import dataclass
from pathlib import Path

import gsw
import numpy as np
from scipy.interpolate import RegularGridInterpolator

from data_prep.embedded_ocean.sources import GriddedField, fill_nearest, read_field
from invbgc.grid import OceanGrid

AIR_DENSITY = 1.22
"""kg m-3."""

GUSTINESS = 15.0
"""m2 s-2; mean square of the variations within a month that the monthly Navy winds lack."""

STRESS_FACTOR = 1.3
"""Monthly mean winds underestimate the stress, which is quadratic; this factor restores its size."""

DENSITY_CRITERION = 0.125
"""kg m-3; excess of potential density over the surface at the base of the mixed layer (Levitus 1982)."""

WINTER_PROFILE = (1.0, 1.0, 0.8, 0.5, 0.2, 0.1, 0.05)
"""Weight of the coldest month in the temperature target, by layer."""

SALINITY_SCALE = 35.16504 / 35.0
"""g kg-1 per unit of practical salinity (Millero et al. 2008)."""

SHELF_SALINITY = 0.3
"""Excess of salinity on Antarctic shelves, two layers deep, for the brine that annual means miss."""

SHELF_LATITUDE, SHELF_LAYERS = -60.0, 13
"""Antarctic shelf columns lie south of this latitude and have fewer layers (shallower than about 2300 m)."""

WEDDELL = (-68.0, 15, 280.0, 360.0)
"""Latitude to the north, layers, west and east of the Weddell Sea, whose slope also mixes."""


@dataclass(frozen=True, eq=False)
class Forcing:
    """What drives the circulation, on the grid; land holds the nearest ocean value.

    Args:
        temperature: in-situ, annual mean over the layer, [nz, ny, nx] degC.
        salinity: practical, annual mean over the layer, [nz, ny, nx].
        conservative_temperature: [nz, ny, nx] degC.
        absolute_salinity: [nz, ny, nx] g kg-1.
        target_temperature: conservative temperature biased to winter, [nz, ny, nx] degC.
        target_salinity: absolute salinity with saltier Antarctic shelves, [nz, ny, nx] g kg-1.
        winter_mixed_layer_depth: of the deepest month, [ny, nx] m.
        mean_mixed_layer_depth: mean of the months, [ny, nx] m.
        stress_east: [ny, nx] N m-2.
        stress_north: [ny, nx] N m-2.
        shelf: columns with Antarctic shelf mixing, [ny, nx].
    """

    temperature: np.ndarray
    salinity: np.ndarray
    conservative_temperature: np.ndarray
    absolute_salinity: np.ndarray
    target_temperature: np.ndarray
    target_salinity: np.ndarray
    winter_mixed_layer_depth: np.ndarray
    mean_mixed_layer_depth: np.ndarray
    stress_east: np.ndarray
    stress_north: np.ndarray
    shelf: np.ndarray


def make_forcing(folder: Path, grid: OceanGrid) -> Forcing:
    """Read and bin everything that drives the circulation.

    Args:
        folder: the folder of ferret-datasets.
        grid: the grid.

    Returns:
        the forcing.
    """
    temperature, salinity = (
        layer_means(read_field(folder, "levitus_climatology.cdf", name), grid) for name in ("TEMP", "SALT")
    )
    coldest, deepest, mean_depth = _winter(folder, grid)
    pressure = grid.depth[:, None, None] * np.ones(grid.shape)
    absolute_salinity = SALINITY_SCALE * salinity
    conservative = gsw.CT_from_t(absolute_salinity, temperature, pressure)
    winter = gsw.CT_from_t(absolute_salinity, coldest, pressure)
    weight = np.zeros(grid.shape)
    weight[: len(WINTER_PROFILE)] = np.array(WINTER_PROFILE)[:, None, None]
    weight *= 0.9 * np.clip((np.abs(grid.latitude) - 15.0) / 25.0, 0.0, 1.0)[:, None]
    target_temperature = np.maximum(conservative + weight * np.clip(winter - conservative, -8.0, 0.0), -1.9)
    layers = grid.wet.sum(axis=0)
    south = grid.latitude[:, None]
    shelf = (layers > 0) & (layers < SHELF_LAYERS) & (south < SHELF_LATITUDE)
    target_salinity = absolute_salinity.copy()
    target_salinity[:2] += SHELF_SALINITY * shelf
    north, most_layers, west, east = WEDDELL
    inside = (grid.longitude > west) & (grid.longitude < east)
    weddell = (layers > 0) & (layers < most_layers) & (south < north) & inside
    stress_east, stress_north = _wind_stress(folder, grid)
    return Forcing(
        temperature,
        salinity,
        conservative,
        absolute_salinity,
        target_temperature,
        target_salinity,
        deepest,
        mean_depth,
        stress_east,
        stress_north,
        shelf | weddell,
    )


def cell_means(field: GriddedField, grid: OceanGrid) -> np.ndarray:
    """Plain mean of the values whose position lies in each cell, [..., ny, nx]; NaN where none is valid."""
    row = np.searchsorted(grid.latitude_edges, field.latitude, side="right") - 1
    cell = np.searchsorted(grid.longitude_edges, field.longitude, side="right") - 1
    inside = (row >= 0) & (row < grid.latitude.size)
    values = field.values[..., inside, :]
    target = (row[inside, None] * grid.longitude.size + cell[None]).ravel()
    size = grid.latitude.size * grid.longitude.size
    flat = values.reshape(-1, target.size)
    means = []
    for level in flat:
        valid = np.isfinite(level)
        total = np.bincount(target[valid], level[valid], size)
        count = np.bincount(target[valid], minlength=size)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    return np.array(means).reshape(*values.shape[:-2], grid.latitude.size, grid.longitude.size)


def filled_cell_means(field: GriddedField, grid: OceanGrid) -> np.ndarray:
    """Cell means with gaps filled from the nearest cell of the same level, [..., ny, nx]."""
    means = cell_means(field, grid)
    flat = means.reshape(-1, *means.shape[-2:])
    return np.array([fill_nearest(level) for level in flat]).reshape(means.shape)


def layer_means(field: GriddedField, grid: OceanGrid, deepest: float = np.inf) -> np.ndarray:
    """Means over the layers of the grid, of a profile that is linear between levels and constant below the last.

    Args:
        field: [n_depth, n_latitude, n_longitude] with its depths.
        grid: the grid.
        deepest: m; layers that start deeper are left zero, and the others end there.

    Returns:
        [nz, ny, nx].
    """
    levels = filled_cell_means(field, grid)
    depth = field.depth
    if depth is None:
        raise ValueError("layer means need a field with levels")
    fine = np.arange(0.5, min(grid.depth_edges[-1], deepest), 1.0)
    at = np.minimum(fine, depth[-1])
    above = np.clip(np.searchsorted(depth, at) - 1, 0, depth.size - 2)
    weight = ((at - depth[above]) / (depth[above + 1] - depth[above]))[:, None, None]
    profile = (1.0 - weight) * levels[above] + weight * levels[above + 1]
    layer = np.searchsorted(grid.depth_edges, fine) - 1
    means = np.zeros(grid.shape)
    for k in np.unique(layer):
        means[k] = profile[layer == k].mean(axis=0)
    return means


def _winter(folder: Path, grid: OceanGrid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Layer temperatures of the month with the coldest surface; deepest and mean monthly mixed-layer depth."""
    monthly = read_field(folder, "ocean_atlas_subset.nc", "TEMP")
    annual = read_field(folder, "levitus_climatology.cdf", "SALT")
    depth, levels = monthly.depth, annual.depth
    if depth is None or levels is None:
        raise ValueError("ocean_atlas_subset.nc and levitus_climatology.cdf must have depths")
    above = np.clip(np.searchsorted(levels, depth) - 1, 0, levels.size - 2)
    weight = ((depth - levels[above]) / (levels[above + 1] - levels[above]))[:, None, None]
    coarse = annual.values[:, ::2, ::2]  # the two-degree points of the monthly file
    salinity = (1.0 - weight) * coarse[above] + weight * coarse[above + 1]
    density = gsw.sigma0(salinity, gsw.CT_from_t(salinity, monthly.values, 0.0))
    mixed = np.stack([_mixed_layer_depth(month, depth) for month in density])
    surface = np.where(np.isnan(monthly.values[:, 0]), 99.0, monthly.values[:, 0])
    coldest = np.take_along_axis(monthly.values, surface.argmin(axis=0)[None, None], axis=0)[0]
    profile = GriddedField(coldest, monthly.latitude, monthly.longitude, depth)
    ocean = np.isfinite(mixed).any(axis=0)
    deepest = np.where(ocean, np.nanmax(np.where(ocean, mixed, 0.0), axis=0), np.nan)
    mean = np.where(ocean, np.nanmean(np.where(ocean, mixed, 0.0), axis=0), np.nan)
    return (
        layer_means(profile, grid, depth[-1]),
        filled_cell_means(GriddedField(deepest, monthly.latitude, monthly.longitude, None), grid),
        filled_cell_means(GriddedField(mean, monthly.latitude, monthly.longitude, None), grid),
    )


def _mixed_layer_depth(density: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Depth at which density exceeds its surface value by the criterion, [n_latitude, n_longitude] m.

    The bottom of the profile where it never does; NaN where fewer than two levels are known.
    """
    excess = density - density[:1]
    valid = np.isfinite(excess).cumprod(axis=0).astype(bool)
    dense = valid & (excess > DENSITY_CRITERION)
    first = np.maximum(dense.argmax(axis=0), 1)
    upper, lower = (np.take_along_axis(excess, index[None], axis=0)[0] for index in (first - 1, first))
    with np.errstate(invalid="ignore"):
        crossing = depth[first - 1] + (depth[first] - depth[first - 1]) * (DENSITY_CRITERION - upper) / (lower - upper)
    count = valid.sum(axis=0)
    result = np.where(dense.any(axis=0), crossing, depth[np.maximum(count - 1, 0)])
    return np.where(count >= 2, result, np.nan)


def drag_coefficient(speed: np.ndarray) -> np.ndarray:
    """Drag coefficient of the wind at 10 m (Trenberth et al. 1990), from its speed in m s-1."""
    light = (0.62 + 1.56 / np.maximum(speed, 0.1)) * 1e-3
    strong = (0.49 + 0.065 * speed) * 1e-3
    return np.where(speed < 1.0, 2.18e-3, np.where(speed < 3.0, light, np.where(speed < 10.0, 1.14e-3, strong)))


def _wind_stress(folder: Path, grid: OceanGrid) -> tuple[np.ndarray, np.ndarray]:
    """Eastward and northward stress on the ocean, [ny, nx] N m-2.

    tau = rho c_d(|u|) |u| u: COADS means of speed and components between 40 S and 62 N, where ships sail; Navy
    analyses elsewhere, with a blend ten degrees wide in the south and eight in the north.
    """
    east, north, speed = (read_field(folder, "coads_climatology.cdf", name) for name in ("UWND", "VWND", "WSPD"))
    navy_east, navy_north = (read_field(folder, "monthly_navy_winds.cdf", name) for name in ("UWND", "VWND"))
    navy_speed = np.sqrt(navy_east.values**2 + navy_north.values**2 + GUSTINESS)
    ships = np.clip((grid.latitude + 40.0) / 10.0, 0.0, 1.0) * np.clip((62.0 - grid.latitude) / 8.0, 0.0, 1.0)
    stress = []
    for coads, navy in ((east, navy_east), (north, navy_north)):
        monthly = AIR_DENSITY * drag_coefficient(speed.values) * speed.values * coads.values
        months = np.isfinite(monthly).sum(axis=0)
        mean = np.where(months >= 6, np.nansum(monthly, axis=0) / np.maximum(months, 1), np.nan)
        sailed = cell_means(GriddedField(mean, coads.latitude, coads.longitude, None), grid)
        analysed = AIR_DENSITY * np.nanmean(drag_coefficient(navy_speed) * navy_speed * navy.values, axis=0)
        known = np.isfinite(sailed)
        weight = np.where(known, ships[:, None], 0.0)
        background = interpolate(GriddedField(analysed, navy.latitude, navy.longitude, None), grid)
        blend = np.where(known, sailed, 0.0) * weight + background * (1.0 - weight)
        stress.append(STRESS_FACTOR * smooth(blend))
    return stress[0], stress[1]


def interpolate(field: GriddedField, grid: OceanGrid) -> np.ndarray:
    """Linear interpolation to the cell centres, periodic in longitude, [ny, nx]."""
    longitude = np.append(field.longitude, field.longitude[0] + 360.0)
    values = np.concatenate([field.values, field.values[:, :1]], axis=1)
    points = np.stack(np.meshgrid(grid.latitude, grid.longitude, indexing="ij"), axis=-1)
    return RegularGridInterpolator((field.latitude, longitude), values)(points)


def smooth(field: np.ndarray) -> np.ndarray:
    """One pass of the filter (1, 6, 1) / 8 in latitude, then in longitude, [ny, nx]."""
    padded = np.pad(field, ((1, 1), (0, 0)), "edge")
    field = field + (padded[2:] + padded[:-2] - 2.0 * field) / 8.0
    return field + (np.roll(field, 1, axis=1) + np.roll(field, -1, axis=1) - 2.0 * field) / 8.0
