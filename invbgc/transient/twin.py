"""Synthetic dated bottles of a known ocean, for identical twins of a calibration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from invbgc.circulation.netcdf import write_circulation
from invbgc.files import write_netcdf
from invbgc.inference.posterior import Evaluation
from invbgc.inference.twin import synthetic_observations
from invbgc.observations import Observations
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


def write_twin(
    folder: Path,
    era: IndustrialEra,
    truth: Evaluation,
    sampled: Mapping[str, np.ndarray],
    bottles: tuple[DatedBottles, ...],
    noise: float = 0.05,
    seed: int = 1,
) -> Path:
    """Write a circulation, a dataset with dated bottles, and a run file, from which `invbgc calibrate` can start.

    Args:
        folder: for the files.
        era: whose ocean it is.
        truth: its steady state, observed with noise.
        sampled: tracer -> wet index of the boxes that are observed.
        bottles: of `synthetic_bottles`.
        noise: of the steady observations, as a fraction of the tracer's standard deviation.
        seed: of the random numbers.

    Returns:
        The run file, which starts from the first guess with the gas exchange of the forcing.
    """
    model, clock = era.posterior.model, era.clock
    made = synthetic_observations(truth.state.observable, sampled, model.grid, noise, structure=0.0, seed=seed)
    fields = {name: np.full(model.grid.n_wet, np.nan) for name in made}
    for name, data in made.items():
        fields[name][data.index] = data.noisy
    observations = Observations.from_fields(fields, model.grid)
    folder.mkdir(parents=True, exist_ok=True)
    dataset = model.forcing.to_dataset(model.grid).merge(observations.to_dataset()).merge(bottle_dataset(bottles))
    write_netcdf(dataset, folder / "dataset.nc")
    write_circulation(model.circulation, folder / "circulation.nc")
    path = folder / "run.toml"
    path.write_text(
        "[run]\nname = 'twin of the gas exchange'\noutput = 'out'\n[circulation]\nname = 'circulation.nc'\n"
        f"[dataset]\nname = 'dataset.nc'\n[transient]\nstart = {clock.start}\nyears = {clock.years}\n",
        encoding="utf-8",
    )
    return path
