"""Regions of the surface ocean by the phosphate contour of a climatology, and statistics of C:P in them.

Water with less phosphate than the contour (0.3 mmol m-3) is subtropical; richer water is tropical where its patch comes
within 20 degrees of the equator, out to 30 degrees, and subpolar elsewhere; beyond 40 S it is the Southern Ocean.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.ndimage import label
from scipy.spatial import KDTree

from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError
from invbgc.grid import OceanGrid, unit_vectors
from invbgc.traps.table import Table
from invbgc.units import require_unit

CONTOUR = 0.3
"""mmol m-3 of surface phosphate that parts subtropical from richer water (Tanioka et al. 2021)."""

TROPICS, UPWELLING_EDGE, SOUTHERN_OCEAN = 20.0, 30.0, -40.0
"""Degrees: a rich patch that comes nearer to the equator is tropical; out to here; rich water beyond is Southern."""

PUBLISHED_MEDIANS = {
    "global": 280.0,
    "tropical Atlantic": 334.0,
    "tropical Pacific": 274.0,
    "subtropical North Atlantic": 274.0,
    "subpolar North Pacific": 142.0,
}
"""Median C:P of the particle flux, 200 to 1000 m, of Tanioka et al. (2021)."""

TWILIGHT = (200.0, 1000.0)
"""m: depths of the paper's statistics."""

MAX_DISTANCE = 1000.0
"""km from a trap to the nearest water of the climatology; beyond, the trap is in no region."""

_BASINS = {"atlantic": "Atlantic", "pacific": "Pacific", "indian": "Indian", "arctic": "Arctic"}


def phosphate_regions(phosphate: xr.DataArray, ocean: OceanGrid, contour: float = CONTOUR) -> xr.DataArray:
    """Name the region of every place of a surface-phosphate climatology.

    Args:
        phosphate: (latitude, longitude), annual mean at the surface, in any unit of a concentration; NaN on land.
        ocean: a grid with the masks atlantic, pacific, indian and arctic, such as that of the embedded ocean; a place
            belongs to the nearest of them.
        contour: mmol m-3.

    Returns:
        (latitude, longitude), names such as "tropical Pacific" or "subtropical North Atlantic"; empty on land.

    Raises:
        InputError: the field lacks a coordinate or a unit, has no water, or the grid lacks a basin.
    """
    missing = [name for name in ("latitude", "longitude") if name not in phosphate.coords]
    if missing or phosphate.ndim != 2:
        raise InputError(f"Phosphate: found the dimensions {phosphate.dims}; expected latitude and longitude alone.")
    phosphate = require_unit(phosphate, "mmol m-3", "Phosphate").transpose("latitude", "longitude")
    values = phosphate.to_numpy()
    water = np.isfinite(values)
    if not water.any():
        raise InputError("Phosphate: found no finite value; expected NaN on land only.")
    latitude, longitude = np.meshgrid(phosphate["latitude"], phosphate["longitude"], indexing="ij")
    basin = np.full(values.shape, "", dtype=object)
    basin[water] = basin_of(ocean, latitude[water], longitude[water])
    rich = water & (values >= contour)
    southern = rich & (latitude < SOUTHERN_OCEAN)
    half = np.where(latitude >= 0.0, "North", "South")
    names = np.full(values.shape, "", dtype=object)
    names[southern] = "Southern Ocean"
    for mask_name, name in _BASINS.items():
        here = (basin == mask_name) & water & ~southern
        if mask_name == "arctic":
            names[here] = name
            continue
        tropical = _touching(here & rich, np.abs(latitude) < TROPICS) & (np.abs(latitude) < UPWELLING_EDGE)
        names[here & tropical] = f"tropical {name}"
        for zone, part in (("subpolar", here & rich & ~tropical), ("subtropical", here & ~rich)):
            names[part] = [f"{zone} {side} {name}" for side in half[part]]
    return xr.DataArray(
        names.astype(str),
        {name: phosphate[name] for name in ("latitude", "longitude")},
        name="region",
        attrs={"long_name": f"region by surface phosphate of {contour:g} mmol m-3"},
    )


def _touching(mask: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """The patches of a mask, joined across the edges of the map in longitude, that reach a goal."""
    found: Any = label(mask, np.ones((3, 3)))
    labels = found[0]
    for row in np.flatnonzero(mask[:, 0] & mask[:, -1]):
        labels[labels == labels[row, -1]] = labels[row, 0]
    return np.isin(labels, np.unique(labels[mask & goal])) & mask


def basin_of(ocean: OceanGrid, latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Name of the basin of the nearest surface water that is in one: Atlantic, Pacific, Indian or Arctic.

    Args:
        ocean: a grid with masks of basins.
        latitude: [n] degrees north.
        longitude: [n] degrees east.

    Returns:
        [n] names of masks.

    Raises:
        InputError: the grid lacks one of the masks.
    """
    if not set(_BASINS) <= set(ocean.masks):
        raise InputError(f"Basins: found the masks {sorted(ocean.masks)}; expected {', '.join(_BASINS)} among them.")
    names = np.full(ocean.wet[0].shape, "", dtype=object)
    for name in _BASINS:
        mask = ocean.masks[name]
        names[mask if mask.ndim == 2 else mask[0]] = name
    surface = ocean.wet[0] & (names != "")
    grid = np.meshgrid(ocean.latitude, ocean.longitude, indexing="ij")
    _, nearest = KDTree(unit_vectors(grid[0][surface], grid[1][surface])).query(unit_vectors(latitude, longitude))
    return names[surface][nearest]


def region_of(regions: xr.DataArray, latitude: Sequence[float], longitude: Sequence[float]) -> np.ndarray:
    """Region of each place: that of the nearest water of the map.

    Args:
        regions: of `phosphate_regions`.
        latitude: [n] degrees north.
        longitude: [n] degrees east.

    Returns:
        [n] names; empty where a position is missing or no water lies within `MAX_DISTANCE`.
    """
    places = np.column_stack([np.asarray(latitude, float), np.asarray(longitude, float)])
    known = np.isfinite(places).all(axis=1)
    names = regions.transpose("latitude", "longitude").to_numpy()
    water = names != ""
    grid = np.meshgrid(regions["latitude"], regions["longitude"], indexing="ij")
    distance, nearest = KDTree(unit_vectors(grid[0][water], grid[1][water])).query(unit_vectors(*places[known].T))
    found = names[water][nearest].astype(object)
    found[2.0 * np.arcsin(np.minimum(0.5 * distance, 1.0)) * EARTH_RADIUS > 1000.0 * MAX_DISTANCE] = ""
    result = np.full(len(places), "", dtype=object)
    result[known] = found
    return result.astype(str)


def region_statistics(
    values: Sequence[float], regions: Sequence[str], depth: Sequence[float], between: tuple[float, float] = TWILIGHT
) -> Table:
    """Median and range of a ratio in every region, and of all.

    Args:
        values: [n] such as C:P of fluxes, mol per mol.
        regions: [n] names; empty for none.
        depth: [n] m.
        between: depths that count, both included, m.

    Returns:
        One row for each region, "global" first: `n`, `median`, `minimum`, `maximum` and the published median, NaN
        where there is none.
    """
    table: Any = pd.DataFrame({"value": np.asarray(values, float), "region": list(regions), "depth": list(depth)})
    table = table[np.isfinite(table["value"]) & table["depth"].between(*between)]
    groups: dict[str, Any] = {"global": table} | {str(name): part for name, part in table.groupby("region") if name}
    rows = [
        {
            **{"region": name, "n": len(part), "median": part["value"].median()},
            **{"minimum": part["value"].min(), "maximum": part["value"].max()},
            "published_median": PUBLISHED_MEDIANS.get(name, np.nan),
        }
        for name, part in groups.items()
    ]
    return pd.DataFrame(rows)
