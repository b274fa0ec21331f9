"""The climatologies of the Debian package ferret-datasets, on regular grids that start at the Greenwich meridian."""

from dataclasses import dataclass
from pathlib import Path

import netCDF4
import numpy as np
from scipy import ndimage

DEFAULT_FOLDER = Path("/usr/share/ferret-vis/data")
"""Where the Debian package ferret-datasets puts its files."""

FILES = (
    "coads_climatology.cdf",
    "esku_heat_budget.cdf",
    "etopo20.cdf",
    "levitus_climatology.cdf",
    "monthly_navy_winds.cdf",
    "ocean_atlas_subset.nc",
)
"""The files that are read."""


@dataclass(frozen=True, eq=False)
class GriddedField:
    """A variable on a regular global grid.

    Args:
        values: [..., n_latitude, n_longitude], NaN where missing.
        latitude: [n_latitude] degrees north, increasing.
        longitude: [n_longitude] degrees east, increasing within 0 to 360.
        depth: [n_depth] m if the variable has levels, else None.
    """

    values: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    depth: np.ndarray | None


def read_field(folder: Path, file: str, variable: str) -> GriddedField:
    """One variable, its longitudes turned to start at Greenwich and repeated ones dropped.

    Args:
        folder: the folder of the files.
        file: a name of `FILES`.
        variable: name in the file.

    Returns:
        the field, in the unit of the file.

    Raises:
        FileNotFoundError: the file is absent; the message says which package brings it.
    """
    path = Path(folder) / file
    if not path.is_file():
        raise FileNotFoundError(f"{path}: not found; install the Debian package ferret-datasets or give its folder.")
    with netCDF4.Dataset(path) as dataset:
        stored = dataset.variables[variable]
        values = np.ma.filled(np.ma.asarray(stored[:], dtype=np.float64), np.nan)
        names = [dimension.name for dimension in stored.get_dims()]
        axes = {name: np.array(dataset.variables[name][:], dtype=np.float64) for name in names}
        vertical = [name for name in names if getattr(dataset.variables[name], "positive", "") == "down"]
    latitude, longitude = (axes[name] for name in list(axes)[-2:])
    east, order = np.unique(np.round(longitude % 360.0, 3), return_index=True)
    return GriddedField(values[..., order], latitude, east, axes[vertical[0]] if vertical else None)


def fill_nearest(field: np.ndarray) -> np.ndarray:
    """Replace NaN of a horizontal field by the nearest value, distances counted in cells around the globe.

    Args:
        field: [ny, nx], periodic in the second axis.

    Returns:
        [ny, nx]; unchanged if nothing or everything is missing.
    """
    missing = np.isnan(field)
    if not missing.any() or missing.all():
        return field
    thrice = np.concatenate([field] * 3, axis=1)
    nearest = ndimage.distance_transform_edt(np.isnan(thrice), return_distances=False, return_indices=True)
    n_longitude = field.shape[1]
    row, cell = np.asarray(nearest)
    return thrice[row, cell][:, n_longitude : 2 * n_longitude]
