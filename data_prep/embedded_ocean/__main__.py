"""Make the embedded ocean and its synthetic observations: `python -m data_prep.embedded_ocean`."""

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
from data_prep.embedded_ocean.twin import make_twin
from invbgc.circulation.assembly import EDDY_DIFFUSIVITY, FaceMetrics, assemble
from invbgc.datasets.registry import EMBEDDED_FILE

PACKAGED = Path(invbgc.__file__).parent / "data" / "embedded_ocean.nc"
"""The circulation file that comes with the package."""

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
    parser.add_argument(
        "--out", type=Path, help="file to write instead of the packaged one; the observations are then not made"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    make(arguments.data, arguments.out or PACKAGED)
    if arguments.out is None:
        make_twin(EMBEDDED_FILE)


if __name__ == "__main__":
    main()
