"""What xgcm needs to integrate and to differentiate a result: cell edges, lengths, areas and volumes.

The toolkit does not import xgcm: the arguments of its `Grid` are plain data, made from the bounds, `area` and
`volume` that results carry.
"""

from collections.abc import Hashable
from typing import Any

import numpy as np
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError
from invbgc.grid import OceanGrid

FULL_CIRCLE = 1e-6
"""Degrees by which the longitudes of a periodic ocean may miss 360."""

AXES = {"X": "longitude", "Y": "latitude", "Z": "depth"}
"""Axis of xgcm -> dimension of the toolkit."""

INTERFACE = "depth_interface"
"""Dimension of the layer faces in results that have fluxes on them."""


def xgcm_arguments(dataset: xr.Dataset, grid: OceanGrid | None = None) -> dict[str, Any]:
    """Arguments with which `xgcm.Grid` opens a result: the dataset with edges and metrics, axes, metrics, padding.

    With R the Earth's radius, A the area of the sea surface, V the volume and phi the latitude,

        dy = R dphi,    dx = A/dy,    dz = V/A,

    so that dx dy = A and dx dy dz = V; partly wet cells count as the water they hold, land counts as nothing. Between
    centres, on the edges, the distances are R dphi, R cos(phi) dlambda and dz of full cells. The X axis is periodic
    where the longitudes close the circle; elsewhere the axes end without a gradient (`extend`).

    Args:
        dataset: variables on (depth, latitude, longitude) or (latitude, longitude). `State.to_dataset`,
            `OceanGrid.to_dataset`, the file of a fit and that of a circulation carry their cells: `area` m2, `volume`
            m3 where there are layers, and bounds.
        grid: the grid of other results, such as exports, whose cells are then taken from it.

    Returns:
        Keyword arguments for `xgcm.Grid` (0.10 or later). The dataset among them holds the edges as coordinates (outer
        `depth_edge`, or `depth_interface` where that is there, and `latitude_edge`; left `longitude_edge` of a periodic
        ocean, outer of others) and the metrics `cell_dx`, `cell_dy`, `cell_dz`, `edge_dx`, `edge_dy`, `edge_dz` in m,
        `cell_area` m2 and `cell_volume` m3.

    Raises:
        InputError: bounds, `area` or `volume` are missing.

    Example:
        >>> from invbgc.circulation.toys import few_box
        >>> xgcm_arguments(few_box().grid.to_dataset())["padding"]
        {'X': 'periodic', 'Y': 'extend', 'Z': 'extend'}
    """
    if grid is not None:
        dataset = dataset.assign(grid.to_dataset().drop_vars("wet").variables)
    axes = {axis: name for axis, name in AXES.items() if name in dataset.dims}
    _require(dataset, [*(f"{name}_bounds" for name in axes.values()), "area", *(["volume"] if "Z" in axes else [])])
    edges = {axis: _edges(dataset[f"{name}_bounds"]) for axis, name in axes.items()}
    closed = bool(abs(np.ptp(edges["X"]) - 360.0) < FULL_CIRCLE)
    names = {axis: f"{name}_edge" for axis, name in axes.items()}
    names["Z"] = INTERFACE if INTERFACE in dataset.dims else "depth_edge"
    position = {axis: "left" if axis == "X" and closed else "outer" for axis in axes}
    points = {axis: edges[axis][:-1] if position[axis] == "left" else edges[axis] for axis in axes}
    metrics = _metrics(dataset, axes, edges, names, closed)
    coordinates = {names[axis]: (names[axis], points[axis], dict(dataset[axes[axis]].attrs)) for axis in axes}
    for _, _, attributes in coordinates.values():
        attributes.pop("bounds", None)
    groups = {(axis,): [f"cell_d{axis.lower()}", f"edge_d{axis.lower()}"] for axis in axes}
    groups |= {("X", "Y"): ["cell_area"]} | ({("X", "Y", "Z"): ["cell_volume"]} if "Z" in axes else {})
    return {
        "ds": dataset.assign_coords(coordinates).assign(metrics),
        "coords": {axis: {"center": axes[axis], position[axis]: names[axis]} for axis in axes},
        "metrics": groups,
        "padding": {axis: "periodic" if axis == "X" and closed else "extend" for axis in axes},
        "autoparse_metadata": False,
    }


def _require(dataset: xr.Dataset, names: list[str]) -> None:
    missing = [name for name in names if name not in dataset.variables]
    if missing or not {"latitude", "longitude"} <= set(dataset.dims):
        raise InputError(
            f"Dataset '{dataset.attrs.get('title', 'unnamed')}' on {', '.join(map(str, dataset.dims)) or 'nothing'}: "
            f"no {', '.join(missing) or 'latitude and longitude'}; expected fields on latitude and longitude with "
            "area, volume where there are layers, and the bounds of the cells; or give the grid."
        )


def _edges(bounds: xr.DataArray) -> np.ndarray:
    """Faces of contiguous cells, [n + 1], from their bounds [n, 2]."""
    values = np.asarray(bounds.values, dtype=np.float64)
    return np.r_[values[:, 0], values[-1, 1]]


def _between(edges: np.ndarray, closed: bool) -> np.ndarray:
    """Distances of neighbouring centres, on the edges; from the outermost centres to their edges, or round a circle."""
    width = np.diff(edges)
    inner = 0.5 * (width[1:] + width[:-1])
    if closed:
        return np.r_[0.5 * (width[0] + width[-1]), inner]
    return np.r_[0.5 * width[0], inner, 0.5 * width[-1]]


def _metrics(
    dataset: xr.Dataset, axes: dict[str, str], edges: dict[str, np.ndarray], names: dict[str, str], closed: bool
) -> dict[Hashable, xr.DataArray]:
    """Lengths, areas and volumes of cells, zero on land, and distances of centres."""
    area = dataset["area"].reset_coords(drop=True).fillna(0.0)
    metre = EARTH_RADIUS * np.pi / 180.0
    dy = metre * xr.DataArray(np.diff(edges["Y"]), dims="latitude")
    cosine = xr.DataArray(np.cos(np.radians(dataset["latitude"].values)), dims="latitude")
    between = {axis: _between(edges[axis], closed and axis == "X") for axis in axes}
    result: dict[Hashable, xr.DataArray] = {
        "cell_area": area,
        "cell_dy": dy,
        "cell_dx": area / dy,
        "edge_dy": metre * xr.DataArray(between["Y"], dims=names["Y"]),
        "edge_dx": metre * cosine * xr.DataArray(between["X"], dims=names["X"]),
    }
    if "Z" in axes:
        volume = dataset["volume"].reset_coords(drop=True).fillna(0.0)
        result |= {
            "cell_volume": volume,
            "cell_dz": (volume / area.where(area > 0.0)).fillna(0.0),
            "edge_dz": xr.DataArray(between["Z"], dims=names["Z"]),
        }
    units = {"cell_area": "m2", "cell_volume": "m3"}
    return {
        name: part.drop_vars(list(part.coords)).assign_attrs(units=units.get(str(name), "m"))
        for name, part in result.items()
    }
