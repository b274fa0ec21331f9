"""Dated bottles on a grid, as a transient sees them: means over the bottles of one box and one time step."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.transient.integrate import Clock

DATED = {"D14C": "permil", "DIC": "mmol m-3"}
"""Variables that a transient is compared with, and their units."""


@dataclass(frozen=True, eq=False)
class DatedBottles:
    """Bottles of one variable in the boxes of a grid.

    Attributes:
        name: a key of `DATED`.
        box: [m] number of the wet box.
        year: [m] decimal years.
        value: [m] in the unit of `DATED`.
        source: where they come from.
    """

    name: str
    box: np.ndarray
    year: np.ndarray
    value: np.ndarray
    source: str = "bottles"

    def __post_init__(self) -> None:
        if self.name not in DATED:
            raise InputError(f"dated bottles of {self.name!r}: expected {' or '.join(DATED)}")
        sizes = {np.shape(part) for part in (self.box, self.year, self.value)}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1:
            raise InputError(f"dated bottles of {self.name}: shapes {sorted(sizes)}; expected one value per bottle")
        if not (np.isfinite(self.year).all() and np.isfinite(self.value).all()):
            raise InputError(f"dated bottles of {self.name}: times or values that are not finite")


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Means over the bottles of one box and one time step.

    Attributes:
        name: a key of `DATED`.
        box: [m] number of the wet box.
        step: [m] number of the time step.
        value: [m] mean of the bottles.
        count: [m] number of bottles.
        weight: [m] share of the cells' volume over the variance of the values, so that half the weighted sum of squares
            is the misfit of the paper's form.
        outside: bottles outside the run, left out.
    """

    name: str
    box: np.ndarray
    step: np.ndarray
    value: np.ndarray
    count: np.ndarray
    weight: np.ndarray
    outside: int

    def misfit(self, predicted: np.ndarray) -> float:
        """Half the weighted sum of squared residuals."""
        return 0.5 * float(self.weight @ (predicted - self.value) ** 2)


def cell_means(bottles: DatedBottles, clock: Clock, grid: OceanGrid) -> CellMeans:
    """Gather bottles by box and step.

    With cells i, the value is the mean of the bottles and the weight (v_i / sum v) / variance.

    Args:
        bottles: of one variable.
        clock: of the run; bottles outside it are left out, and counted.
        grid: the grid.

    Returns:
        the cells. Source: Wang et al. (2023), released code (box and two-month window).

    Raises:
        InputError: fewer than two cells of different values lie within the run, or a box is not on the grid.
    """
    if bottles.box.size and not (bottles.box.min() >= 0 and bottles.box.max() < grid.n_wet):
        raise InputError(f"dated bottles of {bottles.name} ({bottles.source}): a box is not one of {grid.n_wet}")
    step = clock.step_of(bottles.year)
    inside = step >= 0
    key = step[inside] * grid.n_wet + bottles.box[inside]
    cells, member = np.unique(key, return_inverse=True)
    count = np.bincount(member, minlength=cells.size)
    value = np.bincount(member, weights=bottles.value[inside], minlength=cells.size) / np.maximum(count, 1)
    if cells.size < 2 or not np.ptp(value) > 0.0:
        raise InputError(
            f"dated bottles of {bottles.name} ({bottles.source}): {cells.size} cells of box and step between "
            f"{clock.start:g} and {clock.start + clock.years:g}; expected two at least, with values that vary."
        )
    box = cells % grid.n_wet
    share = grid.volume[box] / grid.volume[box].sum()
    variance = float(share @ (value - share @ value) ** 2)
    return CellMeans(bottles.name, box, cells // grid.n_wet, value, count, share / variance, int((~inside).sum()))


def read_dated(dataset: xr.Dataset, name: str, grid: OceanGrid, source: str) -> DatedBottles:
    """Dated bottles of a dataset file that was prepared with `keep_bottles`.

    Raises:
        InputError: the file holds none of that variable.
    """
    names = [f"bottle_{part}_{name}" for part in ("box", "time", "value")]
    missing = [part for part in names if part not in dataset]
    if missing:
        raise InputError(f"{source}: no {', '.join(missing)}; prepare it with keep_bottles = true for {name}.")
    box, year, value = (dataset[part].values for part in names)
    dated = np.isfinite(year) & np.isfinite(value)
    return DatedBottles(name, box[dated].astype(int), year[dated], value[dated], source)
