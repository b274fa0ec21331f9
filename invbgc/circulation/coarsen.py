"""Conservative coarsening: every coarse box is the union of the wet fine boxes in it.

With R the volume-weighted mean over the fine boxes of each coarse box and P the copy of a coarse value to its
fine boxes, T_c = R T P. Since P 1 = 1 and V^T R = v^T, both T_c 1 = 0 and V^T T_c = 0 follow from the fine
operator, to round-off. Coarse boxes are well mixed, so the coarse ocean is more diffusive than the fine one, and
water passes land that is thinner than a coarse cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import Circulation
from invbgc.errors import InputError
from invbgc.grid import OceanGrid


@dataclass(frozen=True, eq=False)
class Coarsening:
    """The relation between a fine grid and a coarse one made of its boxes.

    Args:
        fine: the fine grid.
        coarse: the coarse grid; its `area` is the wet sea surface, its `wet_fraction` what is water.
        box: coarse wet index of every fine wet box, [fine.n_wet].
    """

    fine: OceanGrid
    coarse: OceanGrid
    box: np.ndarray

    @cached_property
    def average(self) -> sparse.csr_array:
        """R, [coarse.n_wet, fine.n_wet]: the volume-weighted mean over the fine boxes of a coarse box."""
        total = np.bincount(self.box, self.fine.volume)
        entries = (self.fine.volume / total[self.box], (self.box, np.arange(self.fine.n_wet)))
        return sparse.csr_array(entries, shape=(self.coarse.n_wet, self.fine.n_wet))

    @cached_property
    def spread(self) -> sparse.csr_array:
        """P, [fine.n_wet, coarse.n_wet]: every fine box takes the value of its coarse box."""
        entries = (np.ones(self.fine.n_wet), (np.arange(self.fine.n_wet), self.box))
        return sparse.csr_array(entries, shape=(self.fine.n_wet, self.coarse.n_wet))

    def mean(self, x: np.ndarray) -> np.ndarray:
        """Volume-weighted mean of the fine values that are not NaN.

        Args:
            x: [fine.n_wet], any unit.

        Returns:
            [coarse.n_wet], NaN where every fine value is NaN.
        """
        return _mean(x, self.fine.volume, self.box, self.coarse.n_wet)

    def surface_mean(self, x: np.ndarray) -> np.ndarray:
        """Area-weighted mean over the surface of the fine values [fine.n_columns] that are not NaN, as `mean`."""
        return _mean(x, self.fine.surface_area, self.box[: self.fine.n_columns], self.coarse.n_columns)


def _mean(x: np.ndarray, weight: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    if x.shape != weight.shape:
        raise InputError(f"Coarsening: a vector has shape {x.shape}; expected {weight.shape}.")
    valid = np.isfinite(x)
    total = np.bincount(box, weight * valid, minlength=size)
    summed = np.bincount(box, weight * np.where(valid, x, 0.0), minlength=size)
    return np.where(total > 0.0, summed / np.where(total > 0.0, total, 1.0), np.nan)


def coarsening(
    grid: OceanGrid, latitude: int = 2, longitude: int = 2, layers: Sequence[int] | None = None
) -> Coarsening:
    """Group the cells of a grid.

    A coarse cell is wet if any of its fine cells is; its area is that of the wet fine surface cells in it. A
    coarse box is in a named mask if more than half of its volume is.

    Args:
        grid: the fine grid.
        latitude: rows per coarse row; the northernmost coarse row takes what is left.
        longitude: cells per coarse cell; the easternmost coarse cell takes what is left.
        layers: number of fine layers in each coarse layer, surface first; None keeps the layers.

    Returns:
        both grids and the coarse box of each fine box.

    Raises:
        InputError: a factor is below one, or `layers` does not add up to the layers of the grid.
    """
    nz, ny, nx = grid.shape
    if latitude < 1 or longitude < 1:
        raise InputError(f"Coarsening by {latitude} x {longitude}: expected factors of one or more.")
    groups = np.ones(nz, dtype=int) if layers is None else np.asarray(layers, dtype=int)
    if groups.sum() != nz or np.any(groups < 1):
        raise InputError(
            f"Coarsening: the layer groups {groups.tolist()} hold {groups.sum()} layers; the grid "
            f"'{grid.name}' has {nz}, and each group needs at least one."
        )
    of_layer = np.repeat(np.arange(groups.size), groups)
    of_row, of_cell = np.arange(ny) // latitude, np.arange(nx) // longitude
    shape = (groups.size, int(of_row[-1]) + 1, int(of_cell[-1]) + 1)

    layer, row, cell = np.nonzero(grid.wet)
    flat = np.ravel_multi_index((of_layer[layer], of_row[row], of_cell[cell]), shape)
    volume = np.bincount(flat, grid.volume, minlength=np.prod(shape)).reshape(shape)
    wet = volume > 0.0
    number = np.cumsum(wet.ravel()) - 1
    box = number[flat]

    horizontal = np.ravel_multi_index(np.meshgrid(of_row, of_cell, indexing="ij"), shape[1:]).ravel()
    all_area = np.bincount(horizontal, grid.area.ravel()).reshape(shape[1:])
    wet_area = np.bincount(horizontal, (grid.area * grid.wet[0]).ravel()).reshape(shape[1:])
    area = np.where(wet[0], wet_area, all_area)

    depth_edges = grid.depth_edges[np.r_[0, np.cumsum(groups)]]
    latitude_edges = grid.latitude_edges[np.r_[np.arange(0, ny, latitude), ny]]
    longitude_edges = grid.longitude_edges[np.r_[np.arange(0, nx, longitude), nx]]
    fraction = volume / (area * np.diff(depth_edges)[:, None, None])
    fraction = np.where(np.abs(fraction - 1.0) < 1e-12, 1.0, fraction)

    masks = {}
    for name in grid.masks:
        inside = np.bincount(flat, grid.volume * grid.mask(name), minlength=np.prod(shape)).reshape(shape)
        masks[name] = inside > 0.5 * volume
    coarse = OceanGrid(
        wet=wet,
        depth_edges=depth_edges,
        latitude=0.5 * (latitude_edges[1:] + latitude_edges[:-1]),
        latitude_edges=latitude_edges,
        longitude=0.5 * (longitude_edges[1:] + longitude_edges[:-1]),
        longitude_edges=longitude_edges,
        area=area,
        name=f"{grid.name}_{latitude}x{longitude}",
        masks=masks,
        wet_fraction=None if np.all(fraction[wet] == 1.0) else fraction,
    )
    return Coarsening(grid, coarse, box)


def coarsen(
    circulation: Circulation, latitude: int = 2, longitude: int = 2, layers: Sequence[int] | None = None
) -> Circulation:
    """A coarser circulation with the same volume, the same continuity and the same net transports.

    Args:
        circulation: any circulation.
        latitude: rows per coarse row.
        longitude: cells per coarse cell.
        layers: number of fine layers in each coarse layer, or None.

    Returns:
        T_c = R T P on the coarse grid, s-1.

    Raises:
        InputError: as `coarsening`.
    """
    relation = coarsening(circulation.grid, latitude, longitude, layers)
    transport = sparse.csr_array(relation.average @ circulation.transport @ relation.spread)
    attrs = circulation.attrs | {"coarsened": f"{latitude} x {longitude}, layers {layers or 'kept'}"}
    return Circulation(relation.coarse, transport, f"{circulation.name}_{latitude}x{longitude}", attrs)
