"""Gridded climatologies (WOA and the like) onto the boxes of any ocean, with every filled box reported."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.datasets.binning import Binning, fill_gaps
from invbgc.errors import InputError
from invbgc.files import read_netcdf
from invbgc.grid import OceanGrid

LOGGER = logging.getLogger("invbgc")

NAMES = {
    "depth": ("depth", "lev", "level", "z", "deptht"),
    "latitude": ("latitude", "lat", "y"),
    "longitude": ("longitude", "lon", "x"),
}
"""Names under which the coordinates are looked for."""

EDGE_TOLERANCE = 1e-4
"""Degrees, or metres, by which neighbouring bounds may miss each other, and edges of equal cells differ (float32)."""


@dataclass(frozen=True, eq=False)
class Climatology:
    """A field on a regular latitude-longitude grid, with the edges of its cells.

    Attributes:
        name: of the variable.
        units: its unit.
        values: [nz, ny, nx], NaN where unknown (land); nz is 1 for a field of the sea surface.
        grid: its cells, all marked wet.
        surface: true if the field has no depth.
    """

    name: str
    units: str
    values: np.ndarray
    grid: OceanGrid
    surface: bool


@dataclass(frozen=True, eq=False)
class Regridded:
    """A climatology on an ocean.

    Attributes:
        values: [n_wet], or [n_columns] of a surface field, in the unit of the climatology.
        filled: same shape, true where the value came from neighbours in the same layer.
        filled_per_layer: [nz] number of filled boxes.
        layers_copied: layers, counted from one, without any data, which took the values of the layer above.
        units: the unit.
    """

    values: np.ndarray
    filled: np.ndarray
    filled_per_layer: np.ndarray
    layers_copied: tuple[int, ...]
    units: str

    def report(self) -> str:
        """One sentence: how many boxes were filled, and where."""
        layers = ", ".join(f"{n} in layer {k + 1}" for k, n in enumerate(self.filled_per_layer) if n)
        copied = f"; layers without data copied from above: {self.layers_copied}" if self.layers_copied else ""
        return f"{self.filled.sum()} of {self.filled.size} boxes filled from neighbours ({layers or 'none'}){copied}"


def read_climatology(
    source: str | Path | xr.Dataset,
    variable: str,
    select: Mapping[str, int | Literal["mean"]] | None = None,
    missing_is: float | None = None,
) -> Climatology:
    """A climatology from a netCDF file or dataset.

    Cell edges are those of the variable named in the attribute `bounds` of a coordinate, else midpoints between the
    centres (the first depth edge is 0). Latitudes may decrease; longitudes may start anywhere. Dimensions of length one
    besides depth, latitude and longitude are dropped.

    Args:
        source: the file (times are not decoded) or a dataset.
        variable: its name in the file.
        select: further dimension -> the entry taken, counted from 0, or "mean" (of the twelve months).
        missing_is: value of cells without one; None leaves them to be filled from neighbours.

    Returns:
        the field with its grid.

    Raises:
        InputError: the file, the variable or a coordinate is missing, coordinates are not monotonic or bounds have
            gaps, there is a further dimension, or no value is finite.
    """
    if not isinstance(source, xr.Dataset):
        content, label = read_netcdf(source, "Climatology"), f"Climatology {source}"
    else:
        content, label = source, "Climatology"
    if variable not in content:
        raise InputError(f"{label}: no variable '{variable}'; found {', '.join(map(str, content.data_vars))}.")
    label = f"{label}, variable '{variable}'"
    field = _selected(content[variable], select or {}, label)
    found = {
        axis: next((str(dim) for dim in field.dims if str(dim).lower() in names), None) for axis, names in NAMES.items()
    }
    for axis in ("latitude", "longitude"):
        if found[axis] is None:
            raise InputError(f"{label}: dimensions {field.dims}; expected a {axis} named {' or '.join(NAMES[axis])}.")
    others = [dim for dim in field.dims if dim not in found.values()]
    long = [dim for dim in others if field.sizes[dim] > 1]
    if long:
        raise InputError(f"{label}: also has dimension {long[0]} of length {field.sizes[long[0]]}; select one entry.")
    field = field.isel(dict.fromkeys(others, 0))
    surface = found["depth"] is None
    axes = {axis: name for axis, name in found.items() if name is not None}
    edges, order = {}, {}
    for axis, name in axes.items():
        edges[axis], order[name] = _edges(content, name, axis, label)
    values = field.transpose(*axes.values()).isel(order).values.astype(np.float64)
    if not np.isfinite(values).any():
        raise InputError(f"{label}: no finite value; expected numbers in the ocean and missing values on land.")
    if missing_is is not None:
        values = np.where(np.isfinite(values), values, missing_is)
    edges.setdefault("depth", np.array([0.0, 1.0]))
    values = values[None] if surface else values
    grid = _full_grid(values.shape, edges, variable)
    return Climatology(variable, str(field.attrs.get("units", "")), values, grid, surface)


def _selected(field: xr.DataArray, select: Mapping[str, int | Literal["mean"]], label: str) -> xr.DataArray:
    """One entry, or the mean, along some dimensions."""
    for dimension, entry in select.items():
        if dimension not in field.dims:
            raise InputError(f"{label}: no dimension '{dimension}' to select from; found {field.dims}.")
        length = field.sizes[dimension]
        if entry == "mean":
            field = field.mean(dimension, keep_attrs=True)
        elif 0 <= entry < length:
            field = field.isel({dimension: entry})
        else:
            raise InputError(f"{label}: entry {entry} of '{dimension}'; expected 0 to {length - 1}.")
    return field


def _edges(content: xr.Dataset, name: str, axis: str, label: str) -> tuple[np.ndarray, slice]:
    """Increasing cell edges of a coordinate, and the order in which its cells increase."""
    if name not in content.coords and name not in content:
        raise InputError(f"{label}: no coordinate '{name}'; expected its cell centres.")
    centres = np.asarray(content[name].values, dtype=np.float64)
    step = np.diff(centres)
    if centres.size > 1 and not (np.all(step > 0) or np.all(step < 0)):
        raise InputError(f"{label}: coordinate '{name}' does not increase or decrease strictly; sort the file.")
    order = slice(None, None, -1) if centres.size > 1 and step[0] < 0 else slice(None)
    centres = centres[order]
    if axis == "depth" and centres[0] < 0.0:
        raise InputError(f"{label}: '{name}' starts at {centres[0]:g}; expected depths in m, positive down.")
    bounds: Any = content[name].attrs.get("bounds")
    if bounds is not None and bounds in content:
        pairs = np.sort(np.asarray(content[bounds].values, dtype=np.float64).squeeze(), axis=-1)
        if pairs.shape != (centres.size, 2):
            raise InputError(f"{label}: bounds '{bounds}' have shape {pairs.shape}; expected {(centres.size, 2)}.")
        pairs = pairs[order]
        if np.any(np.abs(pairs[1:, 0] - pairs[:-1, 1]) > EDGE_TOLERANCE):
            raise InputError(f"{label}: cells of '{bounds}' have gaps or overlap; expected neighbours that touch.")
        if np.any((centres < pairs[:, 0] - EDGE_TOLERANCE) | (centres > pairs[:, 1] + EDGE_TOLERANCE)):
            raise InputError(f"{label}: cells of '{bounds}' do not contain their centres '{name}'.")
        edges = np.r_[pairs[0, 0], pairs[:, 1]]
    elif centres.size < 2:
        raise InputError(f"{label}: one value of '{name}' and no bounds; expected the attribute bounds.")
    else:
        middle = 0.5 * (centres[1:] + centres[:-1])
        edges = np.r_[1.5 * centres[0] - 0.5 * centres[1], middle, 1.5 * centres[-1] - 0.5 * centres[-2]]
    if axis == "latitude":
        edges = np.clip(edges, -90.0, 90.0)
    if axis == "longitude" and edges[-1] - edges[0] > 360.0 + EDGE_TOLERANCE:
        raise InputError(f"{label}: '{name}' spans {edges[-1] - edges[0]:g} degrees; expected 360 at most.")
    if axis == "depth":
        edges[0] = 0.0 if bounds is None else edges[0]
        if abs(edges[0]) > EDGE_TOLERANCE:
            raise InputError(f"{label}: the first cell of '{name}' starts at {edges[0]:g} m; expected 0.")
        edges[0] = 0.0
    return edges, order


def _full_grid(shape: tuple[int, ...], edges: dict[str, np.ndarray], name: str) -> OceanGrid:
    """The cells of a climatology as a grid that is wet everywhere."""
    latitude, longitude = edges["latitude"], edges["longitude"]
    height = np.diff(np.sin(np.radians(latitude)))
    return OceanGrid(
        wet=np.ones(shape, dtype=bool),
        depth_edges=edges["depth"],
        latitude=0.5 * (latitude[1:] + latitude[:-1]),
        latitude_edges=latitude,
        longitude=0.5 * (longitude[1:] + longitude[:-1]),
        longitude_edges=longitude,
        area=EARTH_RADIUS**2 * height[:, None] * np.radians(np.diff(longitude))[None],
        name=name,
    )


def regrid(climatology: Climatology, grid: OceanGrid) -> Regridded:
    """Overlap-volume means of a climatology in every wet box, gaps filled from neighbours of the same layer.

    The mean of a box is sum_j V_ij x_j / sum_j V_ij over the source cells j that have a value (`Binning`), so that
    v_i x_i summed over the boxes is the integral of the source wherever the boxes are covered; with the spherical areas
    of the overlaps. Boxes of which less than 5 % is covered are filled (`fill_gaps`). Onto equal cells, values pass
    through unchanged.

    Args:
        climatology: the field.
        grid: any ocean.

    Returns:
        the field on the ocean, and which boxes were filled.

    Raises:
        InputError: no box of the first layer overlaps a value.
    """
    source = climatology.grid
    if climatology.surface:
        values, filled = Binning(source, grid).surface_forcing(climatology.values.ravel())
        per_layer = np.array([filled.sum()])
        copied: tuple[int, ...] = ()
    else:
        if _equal_cells(source, grid):
            field = np.where(grid.wet, climatology.values, np.nan)
            values, filled = grid.pack(fill_gaps(field, grid)), ~np.isfinite(grid.pack(field))
        else:
            values, filled = Binning(source, grid).forcing(climatology.values.ravel())
        per_layer = np.bincount(grid.layer, filled, grid.n_layers).astype(np.int64)
        boxes = np.bincount(grid.layer, minlength=grid.n_layers)
        copied = tuple(int(k) + 1 for k in np.flatnonzero((per_layer == boxes) & (boxes > 0)))
    # Means cannot leave the range of the source, but their rounding can.
    values = np.clip(values, np.nanmin(climatology.values), np.nanmax(climatology.values))
    result = Regridded(values, filled, per_layer, copied, climatology.units)
    LOGGER.info("climatology %s on grid %s: %s", climatology.name, grid.name, result.report())
    return result


def _equal_cells(first: OceanGrid, second: OceanGrid) -> bool:
    """True if two grids have the same edges."""
    names = ("depth_edges", "latitude_edges", "longitude_edges")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    return all(a.shape == b.shape and np.abs(a - b).max() <= EDGE_TOLERANCE for a, b in pairs)
