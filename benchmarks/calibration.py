"""Identical twin of the gas exchange: does `invbgc calibrate` find the scale that made the bottles?

`python -m benchmarks.calibration FOLDER` makes an ocean of 9,937 boxes with a known gas exchange, observes its steady
tracers, and bottles of DIC and D14C through the years, all with noise, and writes a circulation, a dataset and a run
file. `invbgc calibrate FOLDER/run.toml` and the same with `--joint` should then find the scale.
"""

import argparse
from pathlib import Path

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

    from invbgc.inference.posterior import Posterior
    from invbgc.models.pco import PCOModel, pco_parameters
    from invbgc.models.pco.parameters import GAS_EXCHANGE
    from invbgc.run import load_ocean
    from invbgc.runfile import preset
    from invbgc.transient.atmosphere import load_atmosphere
    from invbgc.transient.calibrate import era_of
    from invbgc.transient.integrate import Clock
    from invbgc.transient.twin import synthetic_bottles, write_twin

    circulation, forcing, observations = load_ocean(preset("embedded_8deg"))
    model = PCOModel(circulation, forcing, None, pco_parameters("published"))
    era = era_of(Posterior(model, observations), load_atmosphere(), Clock(*YEARS), ())
    truth = era.posterior.value(era.posterior.table.with_values({GAS_EXCHANGE: SCALE}).to_vector())
    between = (YEARS[0] + YEARS[1] / 2, YEARS[0] + YEARS[1])
    bottles = synthetic_bottles(era, truth, NUMBER, between, NOISE, seed=2)
    sampled = {name: data.index for name, data in observations.tracers.items()}
    print(f"Wrote {write_twin(folder, era, truth, sampled, bottles)}; the true scale is {SCALE}.")


if __name__ == "__main__":
    main()
