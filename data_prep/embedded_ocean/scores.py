"""How good the ocean is: transports, ages, radiocarbon, temperature and salinity, beside textbook values."""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu

from data_prep.embedded_ocean.flow_correction import DRAKE_LATITUDE, DRAKE_LONGITUDE, ideal_age
from data_prep.embedded_ocean.forcing import Forcing
from data_prep.embedded_ocean.spin_up import JULIAN_YEAR, SURFACE_RESTORING
from invbgc.circulation.assembly import FaceFlow
from invbgc.grid import OceanGrid

RADIOCARBON_MEAN_LIFE = 8267.0
"""Years."""

RADIOCARBON_EXCHANGE = 4.2
"""Years in which the first layer (36 m) takes the atmospheric ratio: about 8.6 m per year."""


@dataclass(frozen=True)
class Region:
    """A mean over a basin between latitudes (degrees north) and centre depths (m)."""

    basin: str
    south: float
    north: float
    upper: float
    lower: float


REGIONS = {
    "North Pacific, 2 to 3.5 km": Region("pacific", 20, 60, 1800, 3500),
    "South Pacific, deep": Region("pacific", -35, 0, 2500, 4500),
    "Indian, deep": Region("indian", -35, 20, 2500, 4500),
    "North Atlantic, 2 to 3.5 km": Region("atlantic", 20, 60, 1800, 3500),
    "South Atlantic, deep": Region("atlantic", -36, 0, 2500, 4500),
    "Southern Ocean, deep": Region("southern", -80, -50, 2000, 5000),
}
"""Where ages and radiocarbon are averaged."""


def drake_transport(grid: OceanGrid, flow: FaceFlow) -> float:
    """Eastward transport through Drake Passage, Sv."""
    section = int(np.searchsorted(grid.longitude_edges, DRAKE_LONGITUDE, side="right") - 1)
    return float(flow.east[:, grid.latitude < DRAKE_LATITUDE, section].sum() / 1e6)


def overturning(grid: OceanGrid, flow: FaceFlow, basin: np.ndarray) -> np.ndarray:
    """Northward transport above each upper face, which is minus that below, [nz, ny] Sv, on northern faces."""
    meridional = (flow.north * basin).sum(axis=2) / 1e6
    return -np.cumsum(meridional[::-1], axis=0)[::-1]


def transport_scores(grid: OceanGrid, flow: FaceFlow) -> dict[str, float]:
    """Drake Passage, Atlantic overturning (maximum 20 to 60 N, and at 32 S, below 400 m), abyssal cell; all in Sv."""
    latitude, depth = grid.latitude_edges[1:], grid.depth_edges[:-1]
    atlantic = overturning(grid, flow, grid.masks["atlantic"] | grid.masks["arctic"])
    world = overturning(grid, flow, grid.wet[0])
    north = (latitude >= 20.0) & (latitude < 60.0)
    return {
        "Drake Passage transport (Sv)": drake_transport(grid, flow),
        "Atlantic overturning, maximum (Sv)": float(atlantic[np.ix_(depth > 400.0, north)].max()),
        "Atlantic overturning, 32 S (Sv)": float(atlantic[np.ix_(depth > 400.0, latitude == -32.0)].max()),
        "abyssal cell (Sv)": float(world[np.ix_(depth > 2000.0, (latitude > -60.0) & (latitude < 20.0))].min()),
    }


def region_mean(grid: OceanGrid, values: np.ndarray, region: Region) -> float:
    """Volume mean of a wet vector over a region, in its unit."""
    inside = (
        grid.mask(region.basin)
        & (grid.wet_latitude > region.south)
        & (grid.wet_latitude < region.north)
        & (grid.wet_depth > region.upper)
        & (grid.wet_depth < region.lower)
    )
    return float(np.average(values[inside], weights=grid.volume[inside]))


def radiocarbon(grid: OceanGrid, transport: sparse.csr_array) -> np.ndarray:
    """Natural radiocarbon as a ratio R: T R = (1 - R) / tau in the first layer - R / 8267 yr; [n_wet] permil."""
    exchange = grid.layer_mask(1) / RADIOCARBON_EXCHANGE
    system = JULIAN_YEAR * transport + sparse.diags_array(exchange + 1.0 / RADIOCARBON_MEAN_LIFE)
    return 1000.0 * (splu(sparse.csc_array(system)).solve(exchange) - 1.0)


def tracer_scores(grid: OceanGrid, transport: sparse.csr_array, forcing: Forcing) -> dict[str, float]:
    """Ages (years), radiocarbon (permil) and the steady temperature and salinity of surface restoring alone."""
    age, carbon = ideal_age(grid, transport), radiocarbon(grid, transport)
    scores = {f"ideal age, {name} (yr)": region_mean(grid, age, region) for name, region in REGIONS.items()}
    scores |= {"ideal age, maximum (yr)": float(age.max()), "ideal age, minimum (yr)": float(age.min())}
    scores |= {f"D14C, {name} (permil)": region_mean(grid, carbon, region) for name, region in REGIONS.items()}
    scores["D14C, global mean (permil)"] = grid.volume_mean(carbon)
    restoring = grid.layer_mask(1) / SURFACE_RESTORING
    factor = splu(sparse.csc_array(transport + sparse.diags_array(restoring)))
    for name, target, observed in (
        ("temperature", forcing.target_temperature, forcing.conservative_temperature),
        ("salinity", forcing.target_salinity, forcing.absolute_salinity),
    ):
        error = factor.solve(restoring * grid.pack(target)) - grid.pack(observed)
        spread = grid.pack(observed) - grid.volume_mean(grid.pack(observed))
        scores[f"steady {name}, RMS error"] = grid.volume_mean(error**2) ** 0.5
        scores[f"steady {name}, bias"] = grid.volume_mean(error)
        scores[f"steady {name}, variance explained"] = 1.0 - grid.volume_mean(error**2) / grid.volume_mean(spread**2)
    return scores
