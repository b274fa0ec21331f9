"""Circulations in netCDF: the documented file format through which any ocean can be brought.

Dimensions: depth, latitude, longitude; depth_edge, latitude_edge, longitude_edge (one longer); nnz, row.

==================  ============================  =============  ===================================================
variable            dimensions                    units          meaning
==================  ============================  =============  ===================================================
depth               depth                         m              layer centres
latitude            latitude                      degrees_north  centres, increasing
longitude           longitude                     degrees_east   centres, increasing
depth_edge          depth_edge                    m              layer faces, from 0 down
latitude_edge       latitude_edge                 degrees_north  may be left out if regular
longitude_edge      longitude_edge                degrees_east   may be left out if regular
wet                 depth, latitude, longitude    1              1 in the ocean, 0 on land
area                latitude, longitude           m2             cell area (of the sea surface if partly land)
volume              depth, latitude, longitude    m3             optional; needed for partly wet cells
mask_<name>         [depth,] latitude, longitude  1              optional regions, 1 inside
T_data              nnz                           s-1            CSR values of T, dC/dt + T C = sources
T_indices           nnz                           1              CSR column indices, from 0
T_indptr            row                           1              CSR row pointers, n_wet + 1
==================  ============================  =============  ===================================================

Global attributes: `name`, `source`, `licence`, `source_order` (the order in which the source held the wet boxes,
for the record) and `wet_order` (the order of rows and columns of T in this file, slowest dimension first; without
it "depth latitude longitude"). "depth longitude latitude" is the column-major scan of a MATLAB array (latitude,
longitude, depth). Every other variable is ignored.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sparse
import xarray as xr

from invbgc.circulation.core import Circulation, to_house_order
from invbgc.errors import InputError, InvbgcError
from invbgc.grid import DIMENSIONS, OceanGrid, regular_edges

UNITS = {
    "s-1": ("s-1", "1/s", "s^-1", "s**-1"),
    "m": ("m", "metre", "metres", "meter", "meters"),
    "m2": ("m2", "m^2", "m**2"),
    "m3": ("m3", "m^3", "m**3"),
    "degrees_north": ("degrees_north", "degree_north", "degrees_N"),
    "degrees_east": ("degrees_east", "degree_east", "degrees_E"),
    "1": None,
}
"""Unit -> accepted spellings; None accepts any, for counts and flags."""

VARIABLES = {
    "depth_edge": (("depth_edge",), "m"),
    "latitude": (("latitude",), "degrees_north"),
    "longitude": (("longitude",), "degrees_east"),
    "wet": (DIMENSIONS, "1"),
    "area": (DIMENSIONS[1:], "m2"),
    "T_data": (("nnz",), "s-1"),
    "T_indices": (("nnz",), "1"),
    "T_indptr": (("row",), "1"),
}
"""Required variable -> dimensions, unit."""

OPTIONAL = {
    "latitude_edge": (("latitude_edge",), "degrees_north"),
    "longitude_edge": (("longitude_edge",), "degrees_east"),
    "volume": (DIMENSIONS, "m3"),
}
"""Optional variable -> dimensions, unit."""

VOLUME_TOLERANCE = 1e-6
"""Relative difference between volume and area times thickness below which a cell counts as full."""

MASK_PREFIX = "mask_"
"""Prefix of the region variables."""

FILE_ATTRIBUTES = ("Conventions", "convention", "name", "wet_order")
"""Global attributes that describe the file, not the circulation."""


def read_circulation(path: str | Path) -> Circulation:
    """A circulation from a netCDF file in the format of this module.

    Args:
        path: the file.

    Returns:
        the audited circulation in house order.

    Raises:
        InputError: the file or a variable is missing, or has a wrong shape, unit or value.
        ConservationError: the operator failed the audit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Circulation file {path}: no such file; check the path, or fetch the file first.")
    try:
        with xr.open_dataset(path, decode_times=False) as file:
            names = [*VARIABLES, *OPTIONAL, *(str(v) for v in file if str(v).startswith(MASK_PREFIX))]
            dataset = file[[name for name in names if name in file.variables]].load()
    except (OSError, ValueError) as error:
        raise InputError(f"Circulation file {path}: not a readable netCDF file ({error}).") from error
    try:
        return _build(dataset, path.stem)
    except InvbgcError as error:
        raise type(error)(f"Circulation file {path}: {error}") from error


def _build(dataset: xr.Dataset, default_name: str) -> Circulation:
    """Check everything, then assemble grid and operator; the caller adds the path to the messages."""
    for name, (dimensions, unit) in VARIABLES.items():
        if name not in dataset.variables:
            raise InputError(
                f"no variable '{name}'; expected it on {dimensions} in {unit}. Required are {', '.join(VARIABLES)}."
            )
        _check_variable(dataset[name], dimensions, unit)
    for name, (dimensions, unit) in OPTIONAL.items():
        if name in dataset.variables:
            _check_variable(dataset[name], dimensions, unit)
    grid = _grid(dataset, default_name)
    order = tuple(str(dataset.attrs.get("wet_order", " ".join(DIMENSIONS))).split())
    transport = to_house_order(_operator(dataset, grid), grid.wet, order)
    attrs = {"source_order": " ".join(order)} | {
        key: value for key, value in dataset.attrs.items() if key not in FILE_ATTRIBUTES
    }
    return Circulation(grid, transport, grid.name, attrs)


def _check_variable(variable: xr.DataArray, dimensions: tuple[str, ...], unit: str) -> None:
    label = f"variable '{variable.name}'"
    if variable.dims != dimensions:
        raise InputError(f"{label}: dimensions {variable.dims}; expected {dimensions}.")
    accepted = UNITS[unit]
    found = variable.attrs.get("units")
    if accepted is not None and found is None:
        raise InputError(f"{label}: no attribute 'units'; expected '{unit}'.")
    if accepted is not None and str(found).strip() not in accepted:
        raise InputError(f"{label}: units '{found}'; expected '{unit}'. Convert the values and the attribute.")
    bad = int(np.sum(~np.isfinite(variable.values)))
    if bad and variable.name != "volume":
        raise InputError(f"{label}: {bad} of {variable.size} values are NaN or infinite; expected none.")


def _grid(dataset: xr.Dataset, default_name: str) -> OceanGrid:
    def edges(name: str) -> np.ndarray:
        if f"{name}_edge" in dataset.variables:
            return dataset[f"{name}_edge"].values
        return regular_edges(dataset[name].values, f"variable '{name}'")

    wet = dataset["wet"].values
    if not np.isin(wet, (0, 1)).all():
        raise InputError("variable 'wet': values other than 0 and 1.")
    parts = {
        "wet": wet == 1,
        "depth_edges": dataset["depth_edge"].values,
        "latitude": dataset["latitude"].values,
        "latitude_edges": edges("latitude"),
        "longitude": dataset["longitude"].values,
        "longitude_edges": edges("longitude"),
        "area": dataset["area"].values,
        "name": str(dataset.attrs.get("name", default_name)),
        "masks": _masks(dataset),
    }
    grid = OceanGrid(**parts)
    if "volume" not in dataset.variables:
        return grid
    volume = dataset["volume"].values
    if not np.all(volume[wet == 1] > 0.0):
        raise InputError("variable 'volume': a wet box has no volume.")
    fraction = np.zeros(grid.shape)
    fraction[grid.wet] = grid.pack(volume) / grid.volume
    if np.all(np.abs(fraction[grid.wet] - 1.0) < VOLUME_TOLERANCE):
        return grid
    return OceanGrid(**parts, wet_fraction=np.where(np.abs(fraction - 1.0) < 1e-12, 1.0, fraction))


def _masks(dataset: xr.Dataset) -> dict[str, np.ndarray]:
    masks = {}
    for name in dataset.data_vars:
        if not str(name).startswith(MASK_PREFIX):
            continue
        variable = dataset[name]
        if variable.dims not in (DIMENSIONS, DIMENSIONS[1:]):
            raise InputError(
                f"variable '{name}': dimensions {variable.dims}; expected {DIMENSIONS} or {DIMENSIONS[1:]}."
            )
        masks[str(name).removeprefix(MASK_PREFIX)] = variable.values == 1
    return masks


def _operator(dataset: xr.Dataset, grid: OceanGrid) -> sparse.csr_array:
    data, indices, pointer = (dataset[name].values for name in ("T_data", "T_indices", "T_indptr"))
    if pointer.size != grid.n_wet + 1:
        raise InputError(
            f"variable 'T_indptr': {pointer.size} values; expected {grid.n_wet + 1}, one more than "
            "there are wet boxes in 'wet'."
        )
    if pointer[0] != 0 or pointer[-1] != data.size or np.any(np.diff(pointer) < 0):
        raise InputError(
            f"variable 'T_indptr': runs from {pointer[0]} to {pointer[-1]}; expected row pointers that "
            f"never decrease, from 0 to {data.size}."
        )
    if indices.size and (indices.min() < 0 or indices.max() >= grid.n_wet):
        raise InputError(
            f"variable 'T_indices': values from {indices.min()} to {indices.max()}; expected column "
            f"indices counted from 0, below {grid.n_wet}."
        )
    return sparse.csr_array((data, indices, pointer), shape=(grid.n_wet, grid.n_wet))


def write_circulation(circulation: Circulation, path: str | Path) -> None:
    """Write a circulation in the format of this module, with CF metadata, exactly as `read_circulation` reads it.

    Args:
        circulation: any circulation.
        path: the file, overwritten if it exists.

    Raises:
        InputError: the folder does not exist.
    """
    path, grid = Path(path), circulation.grid
    if not path.parent.is_dir():
        raise InputError(f"Circulation file {path}: the folder {path.parent} does not exist.")
    volume = np.zeros(grid.shape)
    volume[grid.wet] = grid.volume
    matrix = circulation.transport
    flag = {"flag_values": np.array([0, 1], dtype=np.int8), "flag_meanings": "outside inside"}
    variables = {
        "depth_edge": ("depth_edge", grid.depth_edges, {"units": "m"}),
        "latitude_edge": ("latitude_edge", grid.latitude_edges, {"units": "degrees_north"}),
        "longitude_edge": ("longitude_edge", grid.longitude_edges, {"units": "degrees_east"}),
        "wet": (DIMENSIONS, grid.wet.astype(np.int8), {"units": "1", "long_name": "ocean mask"}),
        "area": (DIMENSIONS[1:], grid.area, {"units": "m2", "standard_name": "cell_area"}),
        "volume": (DIMENSIONS, volume, {"units": "m3", "long_name": "water volume, zero on land"}),
        "T_data": ("nnz", matrix.data, {"units": "s-1", "long_name": "transport operator, CSR values"}),
        "T_indices": ("nnz", matrix.indices.astype(np.int32), {"units": "1", "long_name": "CSR column indices"}),
        "T_indptr": ("row", matrix.indptr.astype(np.int32), {"units": "1", "long_name": "CSR row pointers"}),
    }
    for name, mask in grid.masks.items():
        dimensions = DIMENSIONS if mask.ndim == 3 else DIMENSIONS[1:]
        variables[f"{MASK_PREFIX}{name}"] = (dimensions, mask.astype(np.int8), {"units": "1"} | flag)
    attrs = {"source": "", "licence": "", "source_order": " ".join(DIMENSIONS)} | circulation.attrs
    attrs |= {
        "Conventions": "CF-1.10",
        "name": circulation.name,
        "wet_order": " ".join(DIMENSIONS),
        "convention": "dC/dt + T C = sources; T 1 = 0; sum over boxes of volume times (T C) = 0",
    }
    dataset = xr.Dataset(variables, grid.coordinates(), attrs)
    encoding = {name: {"_FillValue": None, "zlib": True} for name in dataset.variables}
    dataset.to_netcdf(path, encoding=encoding)
