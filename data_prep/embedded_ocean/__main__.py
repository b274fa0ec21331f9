"""Make the embedded ocean: `python -m data_prep.embedded_ocean --out invbgc/data/embedded_ocean.nc`."""

import argparse
import json
import logging
from pathlib import Path

import gsw

import invbgc
from data_prep.embedded_ocean.biogeochemistry import COMMENTS, make_biogeochemistry
from data_prep.embedded_ocean.flow_correction import correct_flow, mixing_fields
from data_prep.embedded_ocean.forcing import make_forcing
from data_prep.embedded_ocean.grid_and_bathymetry import make_grid
from data_prep.embedded_ocean.momentum import Momentum
from data_prep.embedded_ocean.package import write_package
from data_prep.embedded_ocean.scores import tracer_scores, transport_scores
from data_prep.embedded_ocean.sources import DEFAULT_FOLDER
from data_prep.embedded_ocean.spin_up import spin_up
from invbgc.circulation.assembly import EDDY_DIFFUSIVITY, FaceMetrics, assemble

LOGGER = logging.getLogger("invbgc.data_prep")


def make(folder: Path, out: Path) -> dict[str, float]:
    """Run the whole recipe, about three minutes on two cores, and write the packaged file.

    Args:
        folder: the folder of ferret-datasets.
        out: the netCDF file to write.

    Returns:
        the scores, by name.
    """
    grid = make_grid(folder)
    LOGGER.info("grid: %d wet boxes in %d columns", grid.n_wet, grid.n_columns)
    forcing = make_forcing(folder, grid)
    state = spin_up(grid, forcing, Momentum(grid))
    mixing = mixing_fields(grid, forcing, state)
    flow = correct_flow(grid, state, mixing)
    transport = assemble(FaceMetrics(grid), flow, mixing)
    scores = transport_scores(grid, flow) | tracer_scores(grid, transport, forcing)
    for name, value in scores.items():
        LOGGER.info("%-45s %9.2f", name, value)
    biogeochemistry = make_biogeochemistry(folder, grid, forcing, transport)
    fields = {"transport_east": flow.east, "transport_north": flow.north} | vars(mixing) | biogeochemistry.fields
    attrs = {
        "history": f"python -m data_prep.embedded_ocean; invbgc {invbgc.__version__}, gsw {gsw.__version__}",
        "eddy_diffusivity": EDDY_DIFFUSIVITY,
        "scores": json.dumps({name: round(value, 3) for name, value in scores.items()}),
    }
    write_package(out, grid, fields, COMMENTS, attrs | biogeochemistry.constants)
    return scores


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.embedded_ocean", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="folder of ferret-datasets")
    parser.add_argument("--out", type=Path, default=Path("embedded_ocean.nc"), help="file to write")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make(arguments.data, arguments.out)


if __name__ == "__main__":
    main()
