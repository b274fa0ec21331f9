"""The ocean grid: wet mask, metrics, and the packing between labelled fields, wet vectors and water columns.

Three shapes of one field appear in the toolkit:

* a labelled array on (depth, latitude, longitude), NaN on land: what users read and write;
* a *wet vector* [n_wet]: the wet boxes in C order over (depth, latitude, longitude), on which operators act;
* a *column array* [nz, n_columns]: one water column per surface box, zero below the sea floor, for sinking.

Layers are contiguous in the wet vector, and its first n_columns entries are the surface layer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.errors import InputError

DIMENSIONS = ("depth", "latitude", "longitude")
"""Order of the axes of every three-dimensional field."""

COORDINATE_TOLERANCE = 1e-3
"""Degrees, or metres, by which coordinates of a field may differ from those of the grid (float32 files)."""


@dataclass(frozen=True, eq=False)
class OceanGrid:
    """A latitude-longitude-depth grid of wet and dry cells.

    The volume of a wet box is ``area * thickness * wet_fraction``. Ordinary grids have full cells (no
    `wet_fraction`). A coarsened grid is made of unions of wet fine boxes: there `area` is the sea surface of
    a column and `wet_fraction` the part of the cell that is water, one at the surface and never increasing
    with depth, so that fluxes from box to box below use `area_below`, the area of the wet face between them.

    Args:
        wet: [nz, ny, nx], true where the cell is ocean; columns are contiguous from the surface.
        depth_edges: [nz + 1] m, increasing from 0.
        latitude: [ny] degrees north, centres.
        latitude_edges: [ny + 1] degrees north, increasing.
        longitude: [nx] degrees east, centres.
        longitude_edges: [nx + 1] degrees east, increasing.
        area: [ny, nx] m2.
        name: a word for messages and files.
        masks: named regions (basins), each [ny, nx] or [nz, ny, nx], true inside.
        wet_fraction: [nz, ny, nx] between 0 and 1, or None for full cells.

    Raises:
        InputError: a shape does not fit, edges do not increase, a column has a gap, or no box is wet.
    """

    wet: np.ndarray
    depth_edges: np.ndarray
    latitude: np.ndarray
    latitude_edges: np.ndarray
    longitude: np.ndarray
    longitude_edges: np.ndarray
    area: np.ndarray
    name: str = ""
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    wet_fraction: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Bring every array to its type, then check the geometry."""
        object.__setattr__(self, "wet", np.array(self.wet, dtype=bool))
        for item in ("depth_edges", "latitude", "latitude_edges", "longitude", "longitude_edges", "area"):
            object.__setattr__(self, item, np.array(getattr(self, item), dtype=np.float64))
        masks = {key: np.array(value, dtype=bool) for key, value in self.masks.items()}
        object.__setattr__(self, "masks", masks)
        if self.wet_fraction is not None:
            object.__setattr__(self, "wet_fraction", np.array(self.wet_fraction, dtype=np.float64))
        self._check()

    def _fail(self, text: str) -> None:
        raise InputError(f"Grid '{self.name or 'unnamed'}': {text}")

    def _check(self) -> None:
        if self.wet.ndim != 3:
            self._fail(f"wet has {self.wet.ndim} dimensions; expected 3: (depth, latitude, longitude).")
        nz, ny, nx = self.wet.shape
        shapes = {
            "depth_edges": (nz + 1,),
            "latitude": (ny,),
            "latitude_edges": (ny + 1,),
            "longitude": (nx,),
            "longitude_edges": (nx + 1,),
            "area": (ny, nx),
        }
        if self.wet_fraction is not None:
            shapes["wet_fraction"] = (nz, ny, nx)
        for item, shape in shapes.items():
            found = getattr(self, item)
            if found.shape != shape:
                self._fail(f"{item} has shape {found.shape}; expected {shape}, from wet {self.wet.shape}.")
            if not np.all(np.isfinite(found)):
                self._fail(f"{item} holds {np.sum(~np.isfinite(found))} values that are not finite.")
        for item in ("depth_edges", "latitude_edges", "longitude_edges", "latitude", "longitude"):
            if np.any(np.diff(getattr(self, item)) <= 0.0):
                self._fail(f"{item} does not increase strictly; sort it and every field along it.")
        if self.depth_edges[0] != 0.0:
            self._fail(f"depth_edges starts at {self.depth_edges[0]} m; expected 0, positive downward.")
        if not self.wet.any():
            self._fail("no box is wet; expected true (or 1) in wet where the cell is ocean.")
        gaps = np.argwhere(self.wet[1:] & ~self.wet[:-1])
        if gaps.size:
            k, j, i = gaps[0]
            self._fail(
                f"{len(gaps)} wet boxes lie under a dry one, first at latitude {self.latitude[j]:.2f}, "
                f"longitude {self.longitude[i]:.2f}, layer {k + 2} counted from one; expected columns that "
                "are wet from the surface down."
            )
        if np.any(self.area[self.wet.any(axis=0)] <= 0.0):
            self._fail("area is zero or negative over the ocean; expected m2.")
        for key, mask in self.masks.items():
            if mask.shape not in ((ny, nx), (nz, ny, nx)):
                self._fail(f"mask '{key}' has shape {mask.shape}; expected {(ny, nx)} or {(nz, ny, nx)}.")
        if self.wet_fraction is not None:
            inside = self.wet_fraction[self.wet]
            if np.any(inside <= 0.0) or np.any(inside > 1.0):
                self._fail("wet_fraction of a wet box is outside (0, 1].")
            if np.any(self.wet[1:] & (self.wet_fraction[1:] > self.wet_fraction[:-1] * (1.0 + 1e-12))):
                self._fail("wet_fraction increases with depth in a column; expected it only to shrink.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of layers, latitudes and longitudes."""
        nz, ny, nx = self.wet.shape
        return nz, ny, nx

    @cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Layer, latitude and longitude index of each wet box, three arrays [n_wet]."""
        layer, row, cell = np.nonzero(self.wet)
        return layer, row, cell

    @cached_property
    def n_wet(self) -> int:
        """Number of wet boxes."""
        return int(self.wet.sum())

    @property
    def n_layers(self) -> int:
        """Number of layers, wet or not."""
        return self.wet.shape[0]

    @cached_property
    def n_columns(self) -> int:
        """Number of water columns, which is the number of wet surface boxes."""
        return int(self.wet[0].sum())

    @cached_property
    def depth(self) -> np.ndarray:
        """Depth of the layer centres, [nz] m."""
        return 0.5 * (self.depth_edges[:-1] + self.depth_edges[1:])

    @cached_property
    def thickness(self) -> np.ndarray:
        """Layer thickness, [nz] m."""
        return np.diff(self.depth_edges)

    @cached_property
    def layer(self) -> np.ndarray:
        """Layer of each wet box, counted from zero, [n_wet]."""
        return self._index[0]

    @cached_property
    def column(self) -> np.ndarray:
        """Water column of each wet box: the wet index of the surface box above it, [n_wet]."""
        number = np.full(self.shape[1:], -1, dtype=np.int64)
        number[self.wet[0]] = np.arange(self.n_columns)
        return number[self._index[1], self._index[2]]

    @cached_property
    def volume(self) -> np.ndarray:
        """Volume of the wet boxes, [n_wet] m3."""
        volume = self.pack(self.area[None] * self.thickness[:, None, None])
        return volume if self.wet_fraction is None else volume * self.pack(self.wet_fraction)

    @cached_property
    def top(self) -> np.ndarray:
        """Depth of the upper face of the wet boxes, [n_wet] m."""
        return self.depth_edges[self.layer]

    @cached_property
    def surface_area(self) -> np.ndarray:
        """Sea surface of each column, [n_columns] m2."""
        return self.area[self.wet[0]]

    @cached_property
    def box_area(self) -> np.ndarray:
        """Mean horizontal area of the wet boxes, volume over thickness, [n_wet] m2."""
        return self.volume / self.thickness[self.layer]

    @cached_property
    def below(self) -> np.ndarray:
        """Wet index of the box below each box, -1 where the box rests on the sea floor, [n_wet]."""
        number = np.full((self.n_layers + 1, *self.shape[1:]), -1, dtype=np.int64)
        number[:-1][self.wet] = np.arange(self.n_wet)
        return number[self.layer + 1, self._index[1], self._index[2]]

    @cached_property
    def area_below(self) -> np.ndarray:
        """Area of the wet face under each box, 0 on the sea floor, [n_wet] m2.

        With full cells this is the area of the column; in a coarsened grid it is the area of the box below,
        and the rest of the box rests on the floor. A flux w C through this face conserves mass.
        """
        return np.where(self.below >= 0, self.box_area[self.below], 0.0)

    @cached_property
    def column_box(self) -> np.ndarray:
        """Wet index of each layer of each column, 0 where dry, [nz, n_columns]."""
        number = np.zeros(self.shape, dtype=np.int64)
        number[self.wet] = np.arange(self.n_wet)
        return number[:, self.wet[0]]

    @cached_property
    def column_wet(self) -> np.ndarray:
        """True where a layer of a column is water, [nz, n_columns]."""
        return self.wet[:, self.wet[0]]

    @cached_property
    def column_depth_index(self) -> np.ndarray:
        """Number of wet layers of each column, [n_columns]."""
        return self.column_wet.sum(axis=0)

    @cached_property
    def wet_latitude(self) -> np.ndarray:
        """Latitude of the wet boxes, [n_wet] degrees north."""
        return self.latitude[self._index[1]]

    @cached_property
    def wet_longitude(self) -> np.ndarray:
        """Longitude of the wet boxes, [n_wet] degrees east."""
        return self.longitude[self._index[2]]

    @cached_property
    def wet_depth(self) -> np.ndarray:
        """Depth of the centres of the wet boxes, [n_wet] m."""
        return self.depth[self.layer]

    def layer_mask(self, n: int) -> np.ndarray:
        """True for the wet boxes of the first n layers, [n_wet]."""
        return self.layer < n

    def mask(self, name: str) -> np.ndarray:
        """A named region as a wet vector.

        Args:
            name: a key of `masks`.

        Returns:
            [n_wet], true inside the region.

        Raises:
            InputError: the grid has no such mask.
        """
        if name not in self.masks:
            self._fail(f"no mask named '{name}'; it has {sorted(self.masks) or 'none'}.")
        return self.pack(np.broadcast_to(self.masks[name], self.shape))

    def describe(self, box: int) -> str:
        """Position of a wet box in words, for messages."""
        return (
            f"box {box} (latitude {self.wet_latitude[box]:.2f}, longitude {self.wet_longitude[box]:.2f}, "
            f"depth {self.wet_depth[box]:.0f} m)"
        )

    def pack(self, field: Any) -> np.ndarray:
        """Wet boxes of a field.

        Args:
            field: array [..., nz, ny, nx], or a DataArray, whose dimensions are transposed by name and whose
                coordinates must be those of the grid.

        Returns:
            [..., n_wet], in the unit of the field.

        Raises:
            InputError: the shape or a coordinate does not fit.
        """
        return self._values(field, DIMENSIONS, self.shape)[..., *self._index]

    def pack_surface(self, field: Any) -> np.ndarray:
        """Surface boxes of a horizontal field [..., ny, nx] or DataArray: [..., n_columns], as `pack`."""
        return self._values(field, DIMENSIONS[1:], self.shape[1:])[..., self.wet[0]]

    def _values(self, field: Any, dimensions: tuple[str, ...], shape: tuple[int, ...]) -> np.ndarray:
        if isinstance(field, xr.DataArray):
            label = f"field '{field.name or 'unnamed'}'"
            missing = [dimension for dimension in dimensions if dimension not in field.dims]
            if missing:
                self._fail(f"{label} has dimensions {field.dims}; expected {dimensions}.")
            for dimension in dimensions:
                expected = getattr(self, dimension)
                if dimension not in field.coords or field.sizes[dimension] != expected.size:
                    continue
                difference = np.max(np.abs(field[dimension].values - expected))
                if not difference <= COORDINATE_TOLERANCE:
                    self._fail(f"{label} has another {dimension}: it differs by up to {difference:.4g}.")
            values = field.transpose(..., *dimensions).values
        else:
            label, values = "field", np.asarray(field)
        if values.shape[-len(shape) :] != shape:
            self._fail(f"{label} has shape {values.shape}; expected [..., {', '.join(map(str, shape))}].")
        return values

    def unpack(self, vector: Any, name: str | None = None, attrs: Mapping | None = None) -> xr.DataArray:
        """A labelled field from a wet vector.

        Args:
            vector: [n_wet], any unit.
            name: name of the result.
            attrs: attributes of the result (units, long_name).

        Returns:
            DataArray (depth, latitude, longitude), NaN on land.

        Raises:
            InputError: the vector has another length.
        """
        return self._label(vector, self.wet, DIMENSIONS, name, attrs)

    def unpack_surface(self, vector: Any, name: str | None = None, attrs: Mapping | None = None) -> xr.DataArray:
        """A labelled field (latitude, longitude) from a vector [n_columns], NaN on land, as `unpack`."""
        return self._label(vector, self.wet[0], DIMENSIONS[1:], name, attrs)

    def _label(self, vector: Any, wet: np.ndarray, dimensions: tuple, name: Any, attrs: Any) -> xr.DataArray:
        values = np.asarray(vector, dtype=np.float64)
        expected = (int(wet.sum()),)
        if values.shape != expected:
            self._fail(f"vector '{name or 'unnamed'}' has shape {values.shape}; expected {expected}.")
        full = np.full(wet.shape, np.nan)
        full[wet] = values
        coordinates = {key: value for key, value in self.coordinates().items() if key in dimensions}
        return xr.DataArray(full, coordinates, dimensions, name=name, attrs=dict(attrs or {}))

    def to_columns(self, x: Any) -> Any:
        """Water columns of a wet vector: a gather, for NumPy arrays and for traced JAX arrays.

        Args:
            x: [..., n_wet], the wet boxes on the last axis.

        Returns:
            [..., nz, n_columns], 0 below the sea floor, of the same array kind.
        """
        if isinstance(x, np.ndarray):
            return np.where(self.column_wet, x[..., self.column_box], 0)
        wet, box = self._on_device[:2]
        return jnp.where(wet, x[..., box], 0)

    def from_columns(self, columns: Any) -> Any:
        """Wet vector of water columns, the inverse of `to_columns`.

        Args:
            columns: [..., nz, n_columns]; values below the sea floor are ignored.

        Returns:
            [..., n_wet], of the same array kind.
        """
        if isinstance(columns, np.ndarray):
            return columns[..., self.layer, self.column]
        return columns[..., *self._on_device[2:]]

    @cached_property
    def _on_device(self) -> tuple[Any, ...]:
        """`column_wet`, `column_box`, `layer` and `column` as JAX arrays, of which compiled programs share one copy."""
        with jax.ensure_compile_time_eval():  # never tracers of the program that asks first
            return jax.device_put((self.column_wet, self.column_box, self.layer, self.column))

    def volume_mean(self, x: Any) -> float:
        """Volume-weighted mean of a wet vector [n_wet], in its unit."""
        return float(np.dot(self.volume, np.asarray(x)) / self.volume.sum())

    def coordinates(self) -> dict[str, xr.Variable]:
        """Coordinates with CF attributes: the centres, and `<name>_bounds` ([.., 2]) as further variables."""
        attributes = {
            "depth": {"units": "m", "positive": "down", "standard_name": "depth", "axis": "Z"},
            "latitude": {"units": "degrees_north", "standard_name": "latitude", "axis": "Y"},
            "longitude": {"units": "degrees_east", "standard_name": "longitude", "axis": "X"},
        }
        result = {}
        for key, entry in attributes.items():
            edges = getattr(self, f"{key}_edges")
            result[key] = xr.Variable(key, getattr(self, key), entry | {"bounds": f"{key}_bounds"})
            bounds = np.stack([edges[:-1], edges[1:]], axis=1)
            result[f"{key}_bounds"] = xr.Variable((key, "bound"), bounds, {"units": entry["units"]})
        return result

    def to_dataset(self) -> xr.Dataset:
        """The cells as other packages want them: `wet`, `area` m2 of sea surface, `volume` m3, centres and bounds.

        `area` and `volume` are NaN on land. `invbgc.metrics.xgcm_arguments` makes the axes and metrics of xgcm of it.
        """
        return xr.Dataset(
            {
                "wet": (DIMENSIONS, self.wet.astype(np.int8), {"units": "1", "long_name": "ocean mask"}),
                "area": self.unpack_surface(self.surface_area, attrs={"units": "m2", "standard_name": "cell_area"}),
                "volume": self.unpack(self.volume, attrs={"units": "m3", "standard_name": "ocean_volume"}),
            },
            self.coordinates(),
            {"grid": self.name},
        )


def regular_edges(centres: Any, name: str) -> np.ndarray:
    """Edges of equally spaced cells: e_j = x_1 + (j - 1/2) (x_n - x_1) / (n - 1).

    Args:
        centres: [n] cell centres, two at least, any unit.
        name: what they are, for the message.

    Returns:
        [n + 1], same unit.

    Raises:
        InputError: the centres are fewer than two or not equally spaced, so that edges must be given.
    """
    centres = np.asarray(centres, dtype=np.float64)
    if centres.ndim != 1 or centres.size < 2:
        raise InputError(f"{name}: edges of {centres.shape} centres cannot be inferred; give them.")
    spacing = (centres[-1] - centres[0]) / (centres.size - 1)
    if np.max(np.abs(np.diff(centres) - spacing)) > 1e-4 * abs(spacing):
        raise InputError(f"{name}: centres are not equally spaced, so edges cannot be inferred; give them.")
    return centres[0] + spacing * (np.arange(centres.size + 1) - 0.5)


def unit_vectors(latitude: Any, longitude: Any) -> np.ndarray:
    """Places on the unit sphere, (cos phi cos lambda, cos phi sin lambda, sin phi); distances between them are chords.

    Args:
        latitude: phi, degrees, any shape.
        longitude: lambda, degrees, a shape that goes with it.

    Returns:
        [..., 3].
    """
    phi, lam = np.radians(latitude), np.radians(longitude)
    return np.stack(np.broadcast_arrays(np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)), axis=-1)
