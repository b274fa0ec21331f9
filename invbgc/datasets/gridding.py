"""Bottles onto the boxes of a grid: mean, count and standard error per box, and what fell outside."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
import xarray as xr

from invbgc.datasets.binning import is_periodic
from invbgc.datasets.bottles import Bottles, Step
from invbgc.errors import InputError
from invbgc.grid import OceanGrid

LOGGER = logging.getLogger("invbgc")

Rule = Literal["nearest_centre", "containing_cell"]
"""How a bottle finds its box: by the nearest centre in each coordinate (Wang et al. 2023), or by the cell edges."""

NO_DEPTH, OUTSIDE, LAND, BELOW_BOTTOM = -1, -2, -3, -4
"""Codes of bottles without box, in place of the wet index."""

REASONS = {NO_DEPTH: "no_depth", OUTSIDE: "outside_grid", LAND: "on_land", BELOW_BOTTOM: "below_bottom"}
"""What the codes mean, in the order in which they are tried."""


@dataclass(frozen=True, eq=False)
class KeptBottles:
    """Single bottles for a comparison at their own time.

    Attributes:
        box: [m] wet index.
        time: [m] decimal years.
        value: [m] in the unit of the binned variable.
    """

    box: np.ndarray
    time: np.ndarray
    value: np.ndarray


@dataclass(frozen=True, eq=False)
class BinnedBottles:
    """A variable binned on a grid.

    Attributes:
        name: the variable.
        units: its unit.
        grid: the grid.
        mean: [n_wet] mean of the bottles of a box, NaN where there is none.
        count: [n_wet] number of bottles.
        standard_error: [n_wet] s/sqrt(n), with s^2 = sum (x - mean)^2 / (n - 1); NaN where n < 2.
        dropped: reason -> number of bottles with a value but without box, or without time if bottles are kept.
        steps: the exclusions of the table.
        bottles: the single bottles with known time, if asked for.
        source: file or origin.
        rule: how bottles found their boxes.
    """

    name: str
    units: str
    grid: OceanGrid
    mean: np.ndarray
    count: np.ndarray
    standard_error: np.ndarray
    dropped: Mapping[str, int] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    bottles: KeptBottles | None = None
    source: str = ""
    rule: str = "nearest_centre"

    @property
    def n_boxes(self) -> int:
        """Number of boxes with at least one bottle."""
        return int(np.count_nonzero(self.count))

    def to_dataset(self) -> xr.Dataset:
        """Fields `observed_<name>`, `count_<name>`, `standard_error_<name>`, and the bottles along `bottle_<name>`."""
        parts = {
            f"observed_{self.name}": (self.mean, f"mean of the bottles: {self.name}", self.units),
            f"count_{self.name}": (self.count, f"number of bottles: {self.name}", "1"),
            f"standard_error_{self.name}": (
                self.standard_error,
                f"standard error of the mean: {self.name}",
                self.units,
            ),
        }
        result = xr.Dataset(
            {
                key: self.grid.unpack(values, key, {"long_name": text, "units": unit})
                for key, (values, text, unit) in parts.items()
            },
            coords=self.grid.coordinates(),
        )
        if self.bottles is not None:
            entries = {
                "box": (self.bottles.box, "wet index of the box", "1"),
                "time": (self.bottles.time, "decimal year of 365 days", "yr"),
                "value": (self.bottles.value, f"bottle: {self.name}", self.units),
            }
            for key, (values, text, unit) in entries.items():
                attrs = {"long_name": text, "units": unit}
                result[f"bottle_{key}_{self.name}"] = (f"bottle_{self.name}", values, attrs)
        result.attrs = {
            "grid": self.grid.name,
            "source": self.source,
            "rule": self.rule,
            "dropped": dict(self.dropped),
            "steps": [asdict(step) for step in self.steps],
        }
        return result


def nearest_centre(centres: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Index of the nearest centre; halfway between two it is the later one, beyond the ends the first or last.

    Args:
        centres: [n], increasing.
        positions: [m], same unit.

    Returns:
        [m] indices.
    """
    return np.searchsorted(0.5 * (centres[1:] + centres[:-1]), positions, side="right")


def locate_bottles(bottles: Bottles, grid: OceanGrid, rule: Rule = "nearest_centre") -> np.ndarray:
    """Box of every bottle.

    Longitudes are turned into the range of the grid. By nearest centre, a bottle above the first layer centre belongs
    to the first layer and one below the last to the last (Wang et al. 2023). Halfway between centres, or on an edge, it
    belongs to the cell east, north or below: sections run along even meridians, and with this choice more of the boxes
    of the DOC compilation agree with those of the paper. Latitudes and longitudes beyond the edges are outside.

    Args:
        bottles: the table.
        grid: any grid.
        rule: nearest centre in each coordinate, or the cell that contains the bottle.

    Returns:
        [n] wet index, or a code of `REASONS` where there is none.

    Raises:
        InputError: the rule is unknown.
    """
    if rule not in ("nearest_centre", "containing_cell"):
        raise InputError(f"Binning of {bottles.source}: rule '{rule}'; expected 'nearest_centre' or 'containing_cell'.")
    west, east = grid.longitude_edges[0], grid.longitude_edges[-1]
    longitude = west + (bottles.longitude - west) % 360.0
    # A tiny negative angle modulo 360 rounds to 360, the western edge again.
    longitude = np.where(longitude >= west + 360.0, west, longitude)
    south, north = grid.latitude_edges[0], grid.latitude_edges[-1]
    depth = bottles.depth
    known = np.where(np.isfinite(depth), depth, 0.0)
    inside = (bottles.latitude >= south) & (bottles.latitude <= north) & (longitude <= east)
    if rule == "nearest_centre":
        index = [
            nearest_centre(grid.depth, known),
            nearest_centre(grid.latitude, bottles.latitude),
            _nearest_longitude(grid, longitude),
        ]
        deep = np.zeros(len(bottles), dtype=bool)
    else:
        edges = (grid.depth_edges, grid.latitude_edges, grid.longitude_edges)
        index = [
            np.clip(np.searchsorted(edge, position, side="right") - 1, 0, edge.size - 2)
            for edge, position in zip(edges, (known, bottles.latitude, longitude), strict=True)
        ]
        deep = known > grid.depth_edges[-1]
    number = np.full(grid.shape, BELOW_BOTTOM)
    number[:, ~grid.wet[0]] = LAND
    number[grid.wet] = np.arange(grid.n_wet)
    box = number[tuple(index)]
    box = np.where(deep & (box >= 0), BELOW_BOTTOM, box)
    box = np.where(inside, box, OUTSIDE)
    return np.where(np.isfinite(depth), box, NO_DEPTH)


def _nearest_longitude(grid: OceanGrid, longitude: np.ndarray) -> np.ndarray:
    """Nearest centre around the Earth: beyond the last midpoint of a global grid lies the first centre again."""
    index = nearest_centre(grid.longitude, longitude)
    if is_periodic(grid):
        middle = 0.5 * (grid.longitude[-1] + grid.longitude[0] + 360.0)
        index = np.where(longitude >= middle, 0, index)
        index = np.where(longitude < middle - 360.0, grid.longitude.size - 1, index)
    return index


def bin_bottles(
    bottles: Bottles,
    variable: str,
    grid: OceanGrid,
    rule: Rule = "nearest_centre",
    keep_bottles: bool = False,
) -> BinnedBottles:
    """Mean, count and standard error of a variable in every box of a grid.

    Args:
        bottles: the table, after its quality steps and in the unit wanted.
        variable: one of its variables.
        grid: any grid.
        rule: how bottles find their boxes (`locate_bottles`).
        keep_bottles: return box, time and value of every binned bottle as well (for DIC and D14C, whose model values
            change in time); bottles without time are counted as dropped "no_time" and stay in the means.

    Returns:
        the binned variable. Sum of count times mean is the sum of the bottles that found a box.

    Raises:
        InputError: the variable is unknown, no value is left, no bottle finds a box, or bottles are to be kept and
            none has a time.
    """
    values = bottles.variable(variable)
    use = np.isfinite(values)
    where = f"Binning of {bottles.source}, variable '{variable}'"
    history = ", ".join(
        f"{step.name} {step.before} to {step.after}" for step in bottles.steps if step.variable == variable
    )
    if not use.any():
        raise InputError(
            f"{where}: no value among {len(bottles)} bottles ({history or 'none in the file'}); expected at least one. "
            "Are flags and missing value those of the file?"
        )
    box = locate_bottles(bottles, grid, rule)
    dropped = {reason: int(np.sum(use & (box == code))) for code, reason in REASONS.items()}
    use &= box >= 0
    if not use.any():
        raise InputError(f"{where}: none of the bottles lies in grid '{grid.name}' ({dropped}); expected at least one.")
    box, value, time = box[use], values[use], bottles.time[use]
    count = np.bincount(box, minlength=grid.n_wet)
    occupied = count > 0
    mean = np.full(grid.n_wet, np.nan)
    mean[occupied] = np.bincount(box, value, grid.n_wet)[occupied] / count[occupied]
    squares = np.bincount(box, (value - mean[box]) ** 2, grid.n_wet)
    error = np.full(grid.n_wet, np.nan)
    several = count > 1
    error[several] = np.sqrt(squares[several] / (count[several] - 1.0) / count[several])
    kept = None
    if keep_bottles:
        dated = np.isfinite(time)
        if not dated.any():
            raise InputError(f"{where}: no bottle has a time; expected years in the file, or keep_bottles=False.")
        dropped["no_time"] = int(np.sum(~dated))
        kept = KeptBottles(box[dated], time[dated], value[dated])
    LOGGER.info(
        "%s: %d bottles in %d boxes of grid %s; dropped %s", where, box.size, occupied.sum(), grid.name, dropped
    )
    return BinnedBottles(
        name=variable,
        units=bottles.units[variable],
        grid=grid,
        mean=mean,
        count=count,
        standard_error=error,
        dropped=dropped,
        steps=bottles.steps,
        bottles=kept,
        source=bottles.source,
        rule=rule,
    )
