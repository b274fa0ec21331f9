"""Step 6: the forcing of the biogeochemical models, from the same climatologies and the finished circulation."""

from dataclasses import dataclass
from pathlib import Path

import gsw
import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

from data_prep.embedded_ocean.forcing import Forcing, filled_cell_means, interpolate
from data_prep.embedded_ocean.sources import GriddedField, fill_nearest, read_field
from invbgc.constants import DAY, PGC_PER_MMOL, SEAWATER_DENSITY_FACTOR, YEAR
from invbgc.grid import OceanGrid

PISTON_VELOCITY = 0.234 * 0.01 / 3600.0
"""m s-1 per m2 s-2 of squared wind: 0.234 cm/h, which gives the radiocarbon uptake of the ocean."""

RAYLEIGH = 4.0 / np.pi
"""Mean square over squared mean of a wind whose components are normal: turns mean speeds into mean squares."""

MILLIBAR_PER_ATMOSPHERE = 1013.25
"""hPa."""

ICE_ONSET, ICE_WIDTH = 1.5, 1.2
"""degC above the freezing point at which monthly sea ice appears, and range over which it closes."""

SILICATE_FACTOR = 74.884
"""g kg-1 of salinity anomaly per mol kg-1 of silicate, south of 30 S (McDougall et al. 2012)."""

SILICATE_SLOPES = {"atlantic": 1.0028, "arctic": 1.0028, "pacific": 0.3622, "indian": 0.3861}
"""Basin -> increase of that factor per 30 degrees of latitude north of 30 S (McDougall et al. 2012)."""

NET_PRODUCTION = 52.0
"""Pg of carbon per year, to which the production pattern is scaled."""

PHOTOSYNTHETIC_FRACTION, ATTENUATION, HALF_LIGHT = 0.43, 0.06, 25.0
"""Usable part of sunlight; its attenuation in m-1; W m-2 at which growth is half of its maximum."""

LEAST_MIXED_LAYER, LEAST_SUNLIGHT, ICE_SHADE = 25.0, 20.0, 0.8
"""m; W m-2; part of the light that ice keeps away."""

WARMING = 0.0633 * 0.55
"""Growth of production per degC: Eppley's exponent, reduced because nutrients limit warm waters."""

HALF_PHOSPHATE, NUTRIENT_FREE = 0.5, 0.12
"""mmol m-3; relative production without phosphate."""

EUPHOTIC_LAYERS = 2
"""Layers with production."""

MARTIN_EXPONENT = 0.858
"""Exponent b of the particle flux z^-b (Martin et al. 1987)."""

UPTAKE_TIME = 1.0 * YEAR
"""s in which phosphate is exported from the euphotic zone where growth is at its mean."""

MEAN_PHOSPHATE = 2.17
"""mmol m-3; inventory of the phosphate proxy."""

HIGHEST_PHOSPHATE = 3.5
"""mmol m-3; the proxy is cut here, in the few coastal boxes where the coarse flow traps nutrients."""

INVENTORY_RATE = 1e-6 / YEAR
"""s-1 of restoring to the mean, which fixes the inventory."""

SALINITY_RESTORING = 30.0 * DAY
"""s, of the salinity problem that defines the virtual freshwater flux."""

NOMINAL_MEANS = {"ALK_mean": 2420.0, "DIC_surface_mean": 2025.0, "ALK_surface_mean": 2365.0}
"""mmol m-3; rounded means of today's ocean, until a data set brings its own."""

COMMENTS = {
    "silicate": "salinity anomaly divided by the basin regressions of McDougall et al. (2012)",
    "phosphate": (
        "not observed: T P = redistribution of an uptake proportional to P, light and warmth in the first two layers, "
        "remineralised along z^-0.858; mean 2.17 mmol m-3, cut at 3.5"
    ),
    "net_primary_production": "not observed: light x warmth x nutrient proxy scaled to 52 Pg C per year; pattern only",
    "wind_speed_squared": "4 / pi times the mean of the squared monthly mean speeds of COADS",
    "ice_fraction": "mean of clip((T_freezing + 1.5 - T) / 1.2, 0, 1) of monthly temperatures at the surface",
    "piston_velocity_660": "0.234 cm/h per m2 s-2 of squared wind, times 1 - ice",
    "freshwater_flux": "T S + (S - S_obs) / 30 d = 0; (S - S_obs) / (30 d x mean surface S), minus its volume mean",
    "slope_east": "zero at closed faces; tapered at a slope of 0.004 and above 150 m",
    "slope_north": "zero at closed faces; tapered at a slope of 0.004 and above 150 m",
}
"""Construction of the fields, for the packaged file."""


@dataclass(frozen=True, eq=False)
class Biogeochemistry:
    """Fields of the dataset schema by name, and its constants."""

    fields: dict[str, np.ndarray]
    constants: dict[str, float]


def make_biogeochemistry(
    folder: Path, grid: OceanGrid, forcing: Forcing, transport: sparse.csr_array
) -> Biogeochemistry:
    """All forcing fields of the dataset schema.

    Args:
        folder: the folder of ferret-datasets.
        grid: the grid.
        forcing: temperature, salinity and mixed layers.
        transport: the operator, [n_wet, n_wet] s-1.

    Returns:
        fields [nz, ny, nx] or [ny, nx] in the units of the packaged file, and constants.
    """
    ice = ice_fraction(folder, grid, forcing.salinity[0])
    wind = mean_squared_wind(folder, grid)
    growth = relative_growth(folder, grid, forcing, ice)
    phosphate = phosphate_proxy(grid, transport, growth)
    silicate = silicate_from_salinity_anomaly(grid)
    surface = phosphate[0]
    production = growth * (NUTRIENT_FREE + surface / (surface + HALF_PHOSPHATE)) * grid.wet[0]
    production *= NET_PRODUCTION / (np.sum(production * grid.area) * PGC_PER_MMOL)
    fields = {
        "temperature": forcing.temperature,
        "salinity": forcing.salinity,
        "silicate": silicate,
        "phosphate": phosphate,
        "net_primary_production": production,
        "wind_speed_squared": wind,
        "ice_fraction": ice,
        "piston_velocity_660": PISTON_VELOCITY * wind * (1.0 - ice),
        "sea_level_pressure": sea_level_pressure(folder, grid),
        "winter_mixed_layer_depth": forcing.winter_mixed_layer_depth,
        "freshwater_flux": freshwater_flux(grid, transport, forcing.salinity),
        "chemistry_temperature": forcing.temperature[0],
        "chemistry_salinity": forcing.salinity[0],
        "chemistry_silicate": silicate[0] / SEAWATER_DENSITY_FACTOR,
        "chemistry_phosphate": phosphate[0] / SEAWATER_DENSITY_FACTOR,
        "chemistry_pressure": gsw.p_from_z(-grid.depth[0], grid.latitude)[:, None] * np.ones(grid.shape[1:]),
    }
    temperature, upper = grid.pack(forcing.temperature), grid.pack(silicate)[grid.layer_mask(EUPHOTIC_LAYERS)]
    constants = NOMINAL_MEANS | {
        "DIP_mean": MEAN_PHOSPHATE,
        "T_min": float(temperature.min()),
        "T_max": float(temperature.max()),
        "Si_min": float(upper.min()),
        "Si_max": float(upper.max()),
    }
    return Biogeochemistry(fields, constants)


def mean_squared_wind(folder: Path, grid: OceanGrid) -> np.ndarray:
    """Mean squared wind speed, [ny, nx] m2 s-2: 4 / pi times the mean of the squared monthly mean speeds."""
    speed = read_field(folder, "coads_climatology.cdf", "WSPD")
    return filled_cell_means(_annual(speed, RAYLEIGH * speed.values**2), grid)


def sea_level_pressure(folder: Path, grid: OceanGrid) -> np.ndarray:
    """Annual mean sea-level pressure of COADS, [ny, nx] atm."""
    pressure = read_field(folder, "coads_climatology.cdf", "SLP")
    return filled_cell_means(_annual(pressure, pressure.values), grid) / MILLIBAR_PER_ATMOSPHERE


def _annual(field: GriddedField, values: np.ndarray) -> GriddedField:
    """Mean over the months with data."""
    months = np.isfinite(values).sum(axis=0)
    mean = np.where(months > 0, np.nansum(values, axis=0) / np.maximum(months, 1), np.nan)
    return GriddedField(mean, field.latitude, field.longitude, None)


def ice_fraction(folder: Path, grid: OceanGrid, salinity: np.ndarray) -> np.ndarray:
    """Annual mean sea-ice cover, [ny, nx]: clip((T_f + 1.5 - T) / 1.2, 0, 1) of monthly surface temperatures.

    The freezing point is that of UNESCO (1983), T_f = -0.0575 S + 1.710523e-3 S^1.5 - 2.154996e-4 S^2.
    """
    monthly = read_field(folder, "ocean_atlas_subset.nc", "TEMP")
    surface = GriddedField(monthly.values[:, 0], monthly.latitude, monthly.longitude, None)
    temperature = filled_cell_means(surface, grid)
    freezing = -0.0575 * salinity + 1.710523e-3 * salinity**1.5 - 2.154996e-4 * salinity**2
    return np.clip((freezing + ICE_ONSET - temperature) / ICE_WIDTH, 0.0, 1.0).mean(axis=0)


def silicate_from_salinity_anomaly(grid: OceanGrid) -> np.ndarray:
    """Silicate from the absolute salinity anomaly, [nz, ny, nx] mmol m-3, floored at zero.

    McDougall et al. (2012) found the anomaly of TEOS-10 proportional to silicate, with a factor that grows northward
    in each basin; their relation is inverted here.
    """
    latitude, longitude = np.meshgrid(grid.latitude, grid.longitude, indexing="ij")
    factor = np.full(grid.shape[1:], SILICATE_FACTOR)
    for basin, slope in SILICATE_SLOPES.items():
        northward = np.where(grid.masks[basin] & (latitude > -30.0), latitude / 30.0 + 1.0, 0.0)
        factor = factor * (1.0 + slope * northward)
    anomaly = np.stack([gsw.deltaSA_from_SP(35.0, depth, longitude, latitude) for depth in grid.depth])
    return 1e6 * SEAWATER_DENSITY_FACTOR * np.maximum(anomaly, 0.0) / factor


def relative_growth(folder: Path, grid: OceanGrid, forcing: Forcing, ice: np.ndarray) -> np.ndarray:
    """Growth of plankton from light and warmth, [ny, nx], one on average over the ocean.

    Light is the mean over the mixed layer of sunlight that decays with depth, I = I_0 (1 - exp(-k h)) / (k h); growth
    is I / (I + I_h) exp(0.035 T).
    """
    radiation = read_field(folder, "esku_heat_budget.cdf", "FSR")
    annual = _annual(radiation, radiation.values)
    filled = GriddedField(fill_nearest(annual.values), annual.latitude, annual.longitude, None)
    sunlight = np.maximum(interpolate(filled, grid), LEAST_SUNLIGHT) * (1.0 - ICE_SHADE * ice)
    optical = ATTENUATION * np.maximum(forcing.mean_mixed_layer_depth, LEAST_MIXED_LAYER)
    light = PHOTOSYNTHETIC_FRACTION * sunlight * (1.0 - np.exp(-optical)) / optical
    growth = light / (light + HALF_LIGHT) * np.exp(WARMING * np.clip(forcing.temperature[0], -2.0, 30.0))
    return growth / np.average(growth, weights=grid.area * grid.wet[0])


def phosphate_proxy(grid: OceanGrid, transport: sparse.csr_array, growth: np.ndarray) -> np.ndarray:
    """Steady phosphate of a linear export model on the circulation, [nz, ny, nx] mmol m-3, zero on land.

    (T + U - R U + k) P = k P_mean: uptake U = growth / 1 yr in the first two layers, whose export R is
    remineralised below along the flux z^-b, the rest of it in the lowest box. Values are cut at 3.5 mmol m-3.
    """
    uptake = grid.layer_mask(EUPHOTIC_LAYERS) * grid.pack_surface(growth)[grid.column] / UPTAKE_TIME
    base = grid.depth_edges[EUPHOTIC_LAYERS]
    upper = np.maximum(grid.top, base)
    lower = np.maximum(grid.depth_edges[grid.layer + 1], base)
    passed = np.where(grid.below < 0, 0.0, (lower / base) ** -MARTIN_EXPONENT)
    share = np.where(grid.layer_mask(EUPHOTIC_LAYERS), 0.0, (upper / base) ** -MARTIN_EXPONENT - passed)
    column = sparse.csr_array((np.ones(grid.n_wet), (np.arange(grid.n_wet), grid.column)))
    gathered = column.T @ sparse.diags_array(grid.volume * uptake)
    remineralised = sparse.diags_array(share / grid.volume) @ column @ gathered
    system = transport + sparse.diags_array(uptake + INVENTORY_RATE) - remineralised
    solution = splu(sparse.csc_array(system)).solve(np.full(grid.n_wet, INVENTORY_RATE * MEAN_PHOSPHATE))
    return np.nan_to_num(grid.unpack(np.clip(solution, 0.0, HIGHEST_PHOSPHATE)).values)


def freshwater_flux(grid: OceanGrid, transport: sparse.csr_array, salinity: np.ndarray) -> np.ndarray:
    """Virtual freshwater loss of the first layer, [ny, nx] s-1, with no net loss (Wang et al. 2023).

    With I the first layer, S solves (T + I / tau) S = I S_obs / tau; the loss is (S - S_obs) / (tau mean S), less its
    volume mean. As a sink of salinity, times the mean surface salinity, it reproduces S.
    """
    surface = grid.layer_mask(1)
    observed = grid.pack(salinity)
    system = transport + sparse.diags_array(surface / SALINITY_RESTORING)
    modelled = splu(sparse.csc_array(system)).solve(surface * observed / SALINITY_RESTORING)
    weights = grid.volume[surface]
    loss = (modelled - observed)[surface] / (SALINITY_RESTORING * np.average(modelled[surface], weights=weights))
    return np.nan_to_num(grid.unpack_surface(loss - np.average(loss, weights=weights)).values)
