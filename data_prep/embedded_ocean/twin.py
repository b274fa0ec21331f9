"""The embedded dataset: forcing of the embedded ocean and synthetic observations made by the model itself.

No climatology of nutrients, carbon or oxygen may be shipped, so that the model runs at documented parameters, is
sampled where ships sample, and gets errors of documented size. The phosphate that drives production is the model's own.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from invbgc.circulation.embedded import embedded, embedded_fields
from invbgc.constants import EARTH_RADIUS
from invbgc.datasets.forcing import Forcing
from invbgc.datasets.registry import EMBEDDED_FILE
from invbgc.datasets.schema import read_forcing
from invbgc.grid import OceanGrid, unit_vectors
from invbgc.inference.posterior import Posterior
from invbgc.inference.twin import synthetic_observations
from invbgc.models.pco import PCOModel, pco_parameters
from invbgc.observations import Observations

LOG = logging.getLogger("invbgc.data_prep")

TRUTH = {
    "sigma_P": 0.30, "Q10_P": 2.0, "kappa_dP": 2.2e-8, "b_P_slope": 0.25, "b_P": 0.82, "alpha": 2.0e-8, "beta": 0.40,
    "sigma_C": 0.10, "kappa_ru": 2.0e-11, "kappa_rd": 3.4e-12, "eta": 0.975, "b_C_slope": 0.80, "b_C": 0.72,
    "d_PIC": 4000.0, "Q10_C": 1.15, "kappa_dC": 6.5e-9, "rain_ratio_slope": 0.08, "rain_ratio": 0.030,
    "P_to_C_slope": 1.1e-3, "P_to_C_intercept": 8.4e-3, "r_O2C": 1.60,
}  # fmt: skip
"""Parameters of the synthetic ocean, near the published optimum but not at it.

Refractory DOC decays faster in the euphotic zone (1,600 years) than published (5,500): at the published rate two per
cent of the ocean's volume would add two per cent to its loss, which data of this quality cannot see."""

COUNTS = {"DIP": 15000, "DIC": 13000, "ALK": 13300, "O2": 15700, "DOC": 5700}
"""Sampled boxes, in the proportions of the binned GLODAPv2 and DOC data."""

NOISE = 0.04
"""Independent noise of a box of mean volume, as a fraction of the tracer's standard deviation."""

STRUCTURE = 0.05
"""Structured error, as a fraction of the tracer's standard deviation."""

HORIZONTAL_SCALE, VERTICAL_SCALE = 1.5e6, 800.0
"""Correlation length and depth of the structured error, m."""

SEED = 20231206

MERIDIONAL_LINES = (
    6.0,
    30.0,
    58.0,
    78.0,
    94.0,
    114.0,
    138.0,
    154.0,
    166.0,
    182.0,
    210.0,
    226.0,
    254.0,
    274.0,
    310.0,
    330.0,
    338.0,
)
"""Longitudes of repeated ship lines, degrees east."""

ZONAL_LINES = (-62.0, -46.0, -30.0, -18.0, 2.0, 10.0, 26.0, 38.0, 46.0, 58.0)
"""Latitudes of repeated ship lines, degrees north."""

PHOSPHATE_ROUNDS = 8
"""Rounds in which the phosphate that drives production is brought to the model's own."""


def sampled_boxes(grid: OceanGrid, seed: int) -> dict[str, np.ndarray]:
    """Boxes that ships sample: lines first, then scattered stations, more in the north and in the upper ocean.

    Every box gets a score; a tracer is observed in the boxes with the highest scores, as many as `COUNTS` says.

    Returns:
        Tracer -> [m] wet index.
    """
    rng = np.random.default_rng(seed)
    latitude, longitude = grid.wet_latitude[: grid.n_columns], grid.wet_longitude[: grid.n_columns]
    on_line = np.isin(longitude, MERIDIONAL_LINES) | np.isin(latitude, ZONAL_LINES)
    visited = 1.5 * on_line + rng.gumbel(size=grid.n_columns) * 0.5 + latitude / 120.0
    score = visited[grid.column] - grid.wet_depth / 4000.0 + 0.3 * rng.gumbel(size=grid.n_wet)
    best = np.argsort(-score, kind="stable")
    return {tracer: best[:count] for tracer, count in COUNTS.items()}


def self_consistent_forcing(forcing: Forcing) -> Forcing:
    """The forcing with its phosphate replaced by what the model at `TRUTH` makes of it."""
    circulation = embedded()
    columns = circulation.grid.n_columns
    table = pco_parameters().with_values(TRUTH)
    for number in range(PHOSPHATE_ROUNDS):
        model = PCOModel(circulation, forcing, table=table)
        posterior = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, model.grid))
        modelled = np.maximum(np.asarray(posterior.simulate(posterior.x0).fields["DIP"]), 0.05)
        change = np.abs(modelled - forcing.phosphate).max()
        LOG.info("phosphate round %d: largest change %.3f mmol m-3", number + 1, change)
        # Half a step: uptake is divided by this phosphate, so that a full one overshoots.
        phosphate = 0.5 * (modelled + forcing.phosphate)
        forcing = replace(forcing, phosphate=phosphate, chemistry_phosphate=phosphate[:columns] / 1.0245)
    return forcing


def rounded(forcing: Forcing) -> Forcing:
    """The forcing as it comes back from a file in single precision."""
    arrays = {name: value for name, value in vars(forcing).items() if isinstance(value, np.ndarray)}
    return replace(forcing, **{name: value.astype(np.float32).astype(np.float64) for name, value in arrays.items()})


def make_twin(path: Path) -> None:
    """Write the embedded dataset.

    Args:
        path: netCDF file to write, in the dataset format, with `structured_error_<tracer>` beside `observed_<tracer>`
            (which contains it) so that the twin with independent noise alone can be had by subtraction.
    """
    circulation = embedded()
    grid = circulation.grid
    forcing = rounded(self_consistent_forcing(read_forcing(embedded_fields(), grid)))
    table = pco_parameters().with_values(TRUTH)
    model = PCOModel(circulation, forcing, table=table)
    posterior = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, grid))
    state = posterior.simulate(posterior.x0)
    sphere = EARTH_RADIUS * unit_vectors(grid.wet_latitude, grid.wet_longitude)
    place = np.column_stack([sphere / HORIZONTAL_SCALE, grid.wet_depth / VERTICAL_SCALE])
    made = synthetic_observations(
        state.observable, sampled_boxes(grid, SEED), grid, NOISE, STRUCTURE, SEED, place=place
    )
    dataset = forcing.to_dataset(grid)
    for tracer, data in made.items():
        for name, values, meaning in (
            (f"observed_{tracer}", data.noisy + data.structured_error, f"synthetic observation of {tracer}"),
            (f"structured_error_{tracer}", data.structured_error, f"smooth part of the error of observed_{tracer}"),
            (f"observed_{tracer}_error", data.independent_sd, f"standard deviation of the noise in observed_{tracer}"),
        ):
            vector = np.full(grid.n_wet, np.nan)
            vector[data.index] = values
            dataset[name] = grid.unpack(vector, name, {"units": "mmol m-3", "long_name": meaning})
    dataset.attrs |= {
        "title": "Synthetic observations (identical twin) on the embedded 4-degree ocean",
        "synthetic": "true",
        "truth": json.dumps(TRUTH),
        "comment": f"Made by the model itself at the parameters in 'truth'. Independent noise of {NOISE} standard "
        f"deviations of each tracer in a box of mean volume, growing as volume^-1/2 in smaller ones; smooth structured "
        f"error of {STRUCTURE} standard deviations, correlated over {1e-3 * HORIZONTAL_SCALE:g} km and "
        f"{VERTICAL_SCALE:g} m; seed {SEED}.",
        "licence": "Apache-2.0; forcing from climatologies in the public domain",
    }
    write(dataset, path)


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write in single precision, deflated, by way of a temporary file."""
    encoding: Mapping[str, dict] = {
        str(name): {"zlib": True, "complevel": 9, "dtype": "float32", "_FillValue": np.float32(np.nan)}
        for name in dataset.data_vars
    }
    temporary = path.with_suffix(".partial.nc")
    dataset.to_netcdf(temporary, encoding=encoding)
    temporary.replace(path)
    LOG.info("wrote %s, %.2f MB", path, path.stat().st_size / 1e6)


if __name__ == "__main__":  # the observations alone, from the packaged circulation
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make_twin(EMBEDDED_FILE)
