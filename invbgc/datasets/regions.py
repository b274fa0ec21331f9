"""Regions of the ocean as integer labels, and their way onto another grid: basins, and the 12 of Teng et al. (2014)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from invbgc.circulation.ocim import BASINS, read_ocim2_grid
from invbgc.datasets.binning import Binning
from invbgc.datasets.wang2023 import GRID_FILE, SourceFiles, find_file
from invbgc.errors import InputError
from invbgc.grid import OceanGrid

REGION_FILE = "teng_region_91x180.mat"
"""File of the authors of Wang et al. (2023) with the 12 regions, variable R."""

REGION_CITATION = (
    "Teng, Y.-C., Primeau, F. W., Moore, J. K., Lomas, M. W., Martiny, A. C. (2014), Global-scale variations of the "
    "ratios of carbon to phosphorus in exported marine organic matter, Nat. Geosci., 7, 895-898, doi 10.1038/ngeo2303"
)
"""What to cite for the 12 regions."""

N_REGIONS = 12


def basin_labels(grid: OceanGrid) -> np.ndarray:
    """Basin of each wet box, from the masks of the grid.

    Args:
        grid: a grid with the masks named in `BASINS`.

    Returns:
        [n_wet] 1 to 5 in the order of `BASINS`, 0 in none.

    Raises:
        InputError: a mask is missing.
    """
    labels = np.zeros(grid.n_wet, dtype=np.int64)
    for label, name in enumerate(BASINS, start=1):
        labels[grid.mask(name)] = label
    return labels


def ocim2_basins(path: str | Path, target: OceanGrid) -> np.ndarray:
    """Basins of the OCIM2 grid file on any grid.

    Args:
        path: GRID.mat.
        target: the grid.

    Returns:
        [n_wet] 1 to 5 in the order of `BASINS`.

    Raises:
        InputError: the file is not sound.
    """
    source = read_ocim2_grid(path)
    return Binning(source, target).labels(basin_labels(source))


def teng_regions(folder: str | Path, target: OceanGrid) -> np.ndarray:
    """The 12 regions on any grid.

    Args:
        folder: folder with the authors' files of Wang et al. (2023): `REGION_FILE` and GRID.mat.
        target: the grid.

    Returns:
        [n_wet] 1 to 12.

    Raises:
        InputError: a file is missing, or a box of the file has another label.
    """
    files = SourceFiles(Path(folder))
    values = files.field(REGION_FILE, "R")
    if not np.isin(values, np.arange(1, N_REGIONS + 1)).all():
        raise InputError(
            f"Regions {Path(folder) / REGION_FILE}, variable 'R': found {np.unique(values)[:20]}; expected 1 to "
            f"{N_REGIONS} in every wet box."
        )
    return Binning(files.grid, target).labels(values.astype(np.int64))


def region_variables(folder: str | Path, grid: OceanGrid) -> dict[str, xr.DataArray]:
    """The variables `basin` and `region` of a dataset file, as far as their files are in a folder.

    Args:
        folder: folder with the authors' files of Wang et al. (2023).
        grid: the grid of the dataset.

    Returns:
        name -> integer field, 0 on land.

    Raises:
        InputError: a file is not sound.
    """
    result = {"basin": label_field(ocim2_basins(find_file(folder, GRID_FILE), grid), grid, "basin", BASINS)}
    if (Path(folder) / REGION_FILE).is_file():
        names = [f"region_{number}" for number in range(1, N_REGIONS + 1)]
        result["region"] = label_field(teng_regions(folder, grid), grid, "region", names)
        result["region"].attrs["citation"] = REGION_CITATION
    return result


def label_field(labels: np.ndarray, grid: OceanGrid, name: str, meanings: tuple[str, ...] | list[str]) -> xr.DataArray:
    """Labels [n_wet] as an integer field [depth, latitude, longitude] with CF flags, 0 on land."""
    field = np.zeros(grid.shape, dtype=np.int8)
    field[grid.wet] = labels
    attrs: Mapping[str, object] = {
        "long_name": f"{name} of the box, 0 on land",
        "flag_values": np.arange(1, len(meanings) + 1, dtype=np.int8),
        "flag_meanings": " ".join(meanings),
    }
    return xr.DataArray(field, dims=("depth", "latitude", "longitude"), name=name, attrs=dict(attrs))
