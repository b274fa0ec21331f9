"""Synthetic dated bottles of a known ocean, for identical twins of a calibration."""

from dataclasses import replace

import numpy as np
import xarray as xr

from invbgc.inference.posterior import Evaluation
from invbgc.transient.bottles import DATED, DatedBottles, cell_means
from invbgc.transient.era import IndustrialEra

LONG_NAMES = {"box": ("wet index of the box", "1"), "time": ("decimal year of 365 days", "yr")}


def synthetic_bottles(
    era: IndustrialEra,
    evaluation: Evaluation,
    number: int,
    between: tuple[float, float],
    noise: dict[str, float],
    seed: int,
) -> tuple[DatedBottles, ...]:
    """Bottles that an ocean would have filled at random places and times, each variable with independent noise.

    Args:
        era: whose truth it is; its own cells do not count.
        evaluation: the steady state of the truth.
        number: bottles of each variable.
        between: first and last decimal year.
        noise: variable -> standard deviation in the unit of `DATED`.
        seed: of the random numbers.

    Returns:
        One bottle in the middle of each sampled step and box, for D14C and DIC.
    """
    rng, grid, clock = np.random.default_rng(seed), era.posterior.model.grid, era.clock
    drawn = []
    for name in DATED:
        box = rng.choice(grid.n_wet, number, p=grid.volume / grid.volume.sum())
        year = rng.uniform(*between, number)
        drawn.append(cell_means(DatedBottles(name, box, year, rng.normal(size=number)), clock, grid))
    truth = replace(era, cells=tuple(drawn)).simulate(evaluation)
    made = []
    for cells in drawn:
        value = truth.predicted[cells.name]
        if cells.name == "DIC":
            value = value + truth.start[0][cells.box]
        value = value + noise[cells.name] * rng.normal(size=value.size)
        year = clock.start + (cells.step + 0.5) / clock.steps_per_year
        made.append(DatedBottles(cells.name, cells.box, year, value, "identical twin"))
    return tuple(made)


def bottle_dataset(bottles: tuple[DatedBottles, ...]) -> xr.Dataset:
    """Dated bottles in the form in which dataset files hold them."""
    table = xr.Dataset()
    for part in bottles:
        columns = {"box": part.box, "time": part.year, "value": part.value}
        for key, values in columns.items():
            text, unit = LONG_NAMES.get(key, (f"bottle: {part.name}", DATED[part.name]))
            table[f"bottle_{key}_{part.name}"] = (f"bottle_{part.name}", values, {"long_name": text, "units": unit})
    return table
