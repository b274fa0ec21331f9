"""Identical twin of the gas exchange: does `invbgc calibrate` find the scale that made the bottles?

`python -m benchmarks.calibration FOLDER` makes an ocean of 9,937 boxes with a known gas exchange, observes its steady
tracers, and bottles of DIC and D14C through the years, all with noise, and writes a circulation, a dataset and a run
file. `invbgc calibrate FOLDER/run.toml` and the same with `--joint` should then find the scale.
"""

import argparse
from pathlib import Path

import numpy as np

SCALE = 0.8
"""True gas exchange over that of the forcing."""

YEARS = (1940.0, 70)
"""Start and length of the run; bottles lie in its last 35 years."""

NOISE = {"D14C": 5.0, "DIC": 4.0}
NUMBER = 4000


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder

    from invbgc.circulation.netcdf import write_circulation
    from invbgc.files import write_netcdf
    from invbgc.inference.posterior import Posterior
    from invbgc.inference.twin import synthetic_observations
    from invbgc.models.pco import PCOModel, pco_parameters
    from invbgc.models.pco.parameters import GAS_EXCHANGE
    from invbgc.observations import TRACERS, Observations
    from invbgc.run import _ocean
    from invbgc.runfile import preset
    from invbgc.transient.atmosphere import load_atmosphere
    from invbgc.transient.calibrate import era_of
    from invbgc.transient.integrate import Clock
    from invbgc.transient.twin import bottle_dataset, synthetic_bottles

    folder.mkdir(parents=True, exist_ok=True)
    circulation, forcing, observations = _ocean(preset("embedded_8deg"))
    grid, clock = circulation.grid, Clock(*YEARS)
    model = PCOModel(circulation, forcing, None, pco_parameters("published"))
    era = era_of(Posterior(model, observations), load_atmosphere(), clock, ())
    truth = era.posterior.value(era.posterior.table.with_values({GAS_EXCHANGE: SCALE}).to_vector())
    places = {name: data.index for name, data in observations.tracers.items()}
    made = synthetic_observations(truth.state.observable, places, grid, noise=0.05, structure=0.0, seed=1)
    fields = {name: np.full(grid.n_wet, np.nan) for name in TRACERS}
    for name, data in made.items():
        fields[name][data.index] = data.noisy
    bottles = synthetic_bottles(era, truth, NUMBER, (clock.start + 35.0, clock.start + 70.0), NOISE, seed=2)
    table = forcing.to_dataset(grid).merge(Observations.from_fields(fields, grid).to_dataset())
    write_netcdf(table.merge(bottle_dataset(bottles)), folder / "dataset.nc")
    write_circulation(circulation, folder / "circulation.nc")
    (folder / "run.toml").write_text(
        "[run]\nname = 'twin of the gas exchange'\noutput = 'out'\n[circulation]\nname = 'circulation.nc'\n"
        f"[dataset]\nname = 'dataset.nc'\n[transient]\nstart = {YEARS[0]}\nyears = {YEARS[1]}\n"
    )
    print(f"Wrote {folder / 'run.toml'}; the true scale is {SCALE}.")


if __name__ == "__main__":
    main()
