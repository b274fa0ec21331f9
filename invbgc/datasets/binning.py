"""Averaging of a field from one grid onto another by the volume in which boxes overlap."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial import KDTree

from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError
from invbgc.grid import OceanGrid, unit_vectors

MINIMUM_FRACTION = 0.05
"""Part of a target box that valid source boxes must fill for their mean to be kept."""


def overlap(source_edges: np.ndarray, target_edges: np.ndarray) -> np.ndarray:
    """Length that each target cell shares with each source cell.

    Args:
        source_edges: [n_source + 1], increasing.
        target_edges: [n_target + 1], increasing, same unit.

    Returns:
        [n_target, n_source], same unit.
    """
    low = np.maximum(target_edges[:-1, None], source_edges[None, :-1])
    high = np.minimum(target_edges[1:, None], source_edges[None, 1:])
    return np.maximum(high - low, 0.0)


def same_cells(first: OceanGrid, second: OceanGrid) -> bool:
    """True if two grids have the same cells and the same mask."""
    names = ("depth_edges", "latitude_edges", "longitude_edges")
    pairs = [(getattr(first, name), getattr(second, name)) for name in names]
    equal = all(a.shape == b.shape and np.allclose(a, b, rtol=1e-6, atol=1e-6) for a, b in pairs)
    return equal and np.array_equal(first.wet, second.wet)


@dataclass(frozen=True, eq=False)
class Binning:
    """Overlap-volume averages from the boxes of one grid to those of another.

    With V_ij the volume that target box i shares with valid source box j, the mean is sum_j V_ij x_j / sum_j V_ij and
    the filled fraction of the box sum_j V_ij / v_i. Volumes are products of the overlaps in longitude, in the sine of
    latitude and in depth. Between grids with the same cells every value is passed through unchanged.

    Args:
        source: grid of the data, of full cells.
        target: grid of the model.

    Raises:
        InputError: the source has partly wet cells.
    """

    source: OceanGrid
    target: OceanGrid

    def __post_init__(self) -> None:
        """Refuse sources whose boxes are smaller than their cells."""
        if self.source.wet_fraction is not None:
            raise InputError(f"Binning from grid '{self.source.name}': it has partly wet cells; expected full ones.")

    @cached_property
    def same(self) -> bool:
        """True if both grids have the same cells and mask."""
        return same_cells(self.source, self.target)

    @cached_property
    def _depth(self) -> np.ndarray:
        return overlap(self.source.depth_edges, self.target.depth_edges)

    @cached_property
    def _latitude(self) -> np.ndarray:
        edges = [np.sin(np.radians(grid.latitude_edges)) for grid in (self.source, self.target)]
        return overlap(*edges)

    @cached_property
    def _longitude(self) -> np.ndarray:
        edges = [np.radians(grid.longitude_edges) for grid in (self.source, self.target)]
        turns = (-2.0 * np.pi, 0.0, 2.0 * np.pi)
        return np.sum([overlap(edges[0] + turn, edges[1]) for turn in turns], axis=0)

    @cached_property
    def _target_volume(self) -> np.ndarray:
        """Water volume of the target boxes in the unit of the overlaps (m, on a sphere of radius 1), [nz, ny, nx]."""
        volume = np.zeros(self.target.shape)
        volume[self.target.wet] = self.target.volume / EARTH_RADIUS**2
        return volume

    def _sum(self, field: np.ndarray) -> np.ndarray:
        """Integral of a source field [nz, ny, nx] over each target cell."""
        result = np.tensordot(self._depth, field, axes=(1, 0))
        result = np.tensordot(result, self._latitude, axes=(1, 1))
        return np.tensordot(result, self._longitude, axes=(1, 1))

    def _mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of the valid boxes, [nz, ny, nx], NaN where they fill less than `MINIMUM_FRACTION` of a wet box."""
        if np.shape(values) != (self.source.n_wet,):
            raise InputError(
                f"Binning from grid '{self.source.name}': shape {np.shape(values)}; expected {(self.source.n_wet,)}."
            )
        valid = np.isfinite(values)
        weight, product = np.zeros(self.source.shape), np.zeros(self.source.shape)
        weight[self.source.wet] = valid
        product[self.source.wet] = np.where(valid, values, 0.0)
        volume = self._sum(weight)
        keep = self.target.wet & (volume >= MINIMUM_FRACTION * self._target_volume) & (volume > 0.0)
        return np.where(keep, self._sum(product) / np.where(keep, volume, 1.0), np.nan)

    def observations(self, values: np.ndarray) -> np.ndarray:
        """Observations on the target grid.

        Args:
            values: [n_wet of the source], NaN where unobserved.

        Returns:
            [n_wet of the target], same unit, NaN where less than 5 % of the box is observed.
        """
        return values.copy() if self.same else self.target.pack(self._mean(values))

    def forcing(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forcing on the target grid, with gaps filled from neighbours (`fill_gaps`).

        Args:
            values: [n_wet of the source], NaN where unknown.

        Returns:
            [n_wet of the target] in the same unit, and [n_wet] true where the value came from neighbours.

        Raises:
            InputError: no target box of the first layer overlaps a valid source box.
        """
        if self.same and np.isfinite(values).all():
            return values.copy(), np.zeros(values.shape, dtype=bool)
        mean = self._mean(values)
        return self.target.pack(fill_gaps(mean, self.target)), ~np.isfinite(self.target.pack(mean))

    def labels(self, values: np.ndarray) -> np.ndarray:
        """Regions on the target grid: the label that fills the largest volume of each box.

        A box that overlaps no labelled box takes the label of the nearest one in its layer, or, in a layer without
        any, of the box above.

        Args:
            values: [n_wet of the source] integers, 0 for no label.

        Returns:
            [n_wet of the target] integers.

        Raises:
            InputError: no labelled box overlaps the first layer.
        """
        if self.same:
            return np.array(values)
        best, largest = np.zeros(self.target.shape, dtype=np.int64), np.zeros(self.target.shape)
        for label in np.unique(values[values != 0]):
            inside = np.zeros(self.source.shape)
            inside[self.source.wet] = values == label
            volume = self._sum(inside)
            best, largest = np.where(volume > largest, label, best), np.maximum(volume, largest)
        return self.target.pack(_nearest_labels(best, self.target))

    def surface_forcing(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Forcing of the sea surface: as `forcing`, from and to vectors [n_columns].

        The first layers are taken to reach equally deep, so that means are weighted by area.
        """
        return Binning(_first_layer(self.source), _first_layer(self.target)).forcing(values)


def _first_layer(grid: OceanGrid) -> OceanGrid:
    """The grid cut to its first layer, one metre thick."""
    return OceanGrid(
        wet=grid.wet[:1],
        depth_edges=np.array([0.0, 1.0]),
        latitude=grid.latitude,
        latitude_edges=grid.latitude_edges,
        longitude=grid.longitude,
        longitude_edges=grid.longitude_edges,
        area=grid.area,
        name=grid.name,
    )


def fill_gaps(field: np.ndarray, grid: OceanGrid) -> np.ndarray:
    """Fill the NaN of a field layer by layer with repeated means of the eight horizontal neighbours.

    Each pass gives every empty cell, on land too, the mean of its neighbours that had a value before the pass, until
    no wet cell is empty; longitude is periodic if the grid goes around the Earth. A layer without any value takes that
    of the layer above.

    Args:
        field: [nz, ny, nx], NaN where unknown.
        grid: its grid.

    Returns:
        [nz, ny, nx], finite in every wet cell; cells that had a value keep it.

    Raises:
        InputError: the first layer has no value.
    """
    filled = np.array(field, dtype=np.float64)
    for k in range(filled.shape[0]):
        if not np.isfinite(filled[k]).any():
            if k == 0:
                raise InputError(f"Grid '{grid.name}': no overlap of its first layer with the data to be binned.")
            filled[k] = filled[k - 1]
        while np.isnan(filled[k][grid.wet[k]]).any():
            filled[k] = np.where(np.isnan(filled[k]), _neighbour_mean(filled[k], is_periodic(grid)), filled[k])
    return filled


def _nearest_labels(labels: np.ndarray, grid: OceanGrid) -> np.ndarray:
    """Labels [nz, ny, nx] with the unlabelled wet cells of each layer given that of the nearest labelled cell."""
    position = unit_vectors(grid.latitude[:, None], grid.longitude[None])
    filled = np.array(labels)
    for k, layer in enumerate(filled):
        known, wanted = layer != 0, grid.wet[k] & (layer == 0)
        if not known.any():
            if k == 0:
                raise InputError(f"Grid '{grid.name}': no overlap of its first layer with the regions to be binned.")
            filled[k] = filled[k - 1]
        elif wanted.any():
            _, nearest = KDTree(position[known]).query(position[wanted])
            layer[wanted] = layer[known][nearest]
    return filled


def is_periodic(grid: OceanGrid) -> bool:
    """True if the grid goes around the Earth."""
    return bool(abs(grid.longitude_edges[-1] - grid.longitude_edges[0] - 360.0) < 1e-6)


def _neighbour_mean(layer: np.ndarray, periodic: bool) -> np.ndarray:
    """Mean over the valid ones of the eight neighbours of each cell [ny, nx], NaN where there is none."""
    padded = np.pad(layer, ((1, 1), (0, 0)), constant_values=np.nan)
    padded = (
        np.pad(padded, ((0, 0), (1, 1)), mode="wrap")
        if periodic
        else np.pad(padded, ((0, 0), (1, 1)), constant_values=np.nan)
    )
    ny, nx = layer.shape
    total, count = np.zeros(layer.shape), np.zeros(layer.shape)
    for down in range(3):
        for right in range(3):
            if (down, right) == (1, 1):
                continue
            neighbour = padded[down : down + ny, right : right + nx]
            valid = np.isfinite(neighbour)
            total += np.where(valid, neighbour, 0.0)
            count += valid
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
