"""The datasets known by name: what they are, where they come from, under which terms, and how they are loaded."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from invbgc.datasets.coarsened import coarsen_dataset
from invbgc.datasets.forcing import Forcing
from invbgc.datasets.schema import open_dataset
from invbgc.datasets.wang2023 import CITATION, FILES, find_file, load_wang2023
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.observations import TRACERS, Observations

EMBEDDED_FILE = Path(__file__).resolve().parents[1] / "data" / "embedded_twin.nc"
"""The dataset that comes with the package: an identical twin on the embedded ocean."""


@dataclass(frozen=True)
class DatasetRecord:
    """What is known about a dataset.

    Attributes:
        name: word by which `load_dataset` knows it.
        title: what it is.
        licence: terms of use.
        citation: what to cite.
        origin: where it comes from.
        files: files that must be present, relative to the folder given as `source`.
        present: true if the dataset can be loaded from here (from the folder asked about).
    """

    name: str
    title: str
    licence: str
    citation: str
    origin: str
    files: tuple[str, ...]
    present: bool


def list_datasets(source: str | Path | None = None) -> list[DatasetRecord]:
    """Records of all datasets known by name.

    Args:
        source: folder in which the files of datasets that do not come with the package are looked for.

    Returns:
        one record per dataset; `present` says whether it can be loaded.
    """
    folder = Path(source) if source is not None else None
    embedded = DatasetRecord(
        name="embedded",
        title="Synthetic observations (identical twin) and forcing on the embedded 4-degree ocean",
        licence="that of this package; synthetic observations, forcing from public-domain climatologies",
        citation="cite this package",
        origin="comes with the package",
        files=(EMBEDDED_FILE.name,),
        present=EMBEDDED_FILE.is_file(),
    )
    wang2023 = DatasetRecord(
        name="wang2023",
        title="Binned GLODAPv2, DOC and WOA fields of the inverse model of Wang et al. (2023)",
        licence="that of the authors' repository and of the data products; not redistributed with this package",
        citation=f"{CITATION}; and the data products named there",
        origin="the authors' public code repository; OCIM2 grid file; net primary production on the OCIM2 grid",
        files=FILES,
        present=folder is not None and all(_has(folder, name) for name in FILES),
    )
    return [embedded, wang2023]


def _has(folder: Path, name: str) -> bool:
    try:
        find_file(folder, name)
    except InputError:
        return False
    return True


def load_dataset(
    name: str | Path, grid: OceanGrid | None = None, *, source: str | Path | None = None, **options: Any
) -> tuple[Forcing, Observations]:
    """Forcing and observations by name, or from a netCDF file in the dataset format.

    Args:
        name: "embedded", "wang2023", or a path that ends in .nc.
        grid: the grid of the model; None is the grid the dataset came on (embedded, wang2023). The embedded data follow
            their ocean where it was coarsened alike in both directions.
        source: "wang2023": the folder with the data files.
        **options: "wang2023": options of `load_wang2023` (circulation, dic, npp, factors); "embedded":
            structured_error=False removes the smooth part of the error of the synthetic observations.

    Returns:
        forcing and observations, completely checked.

    Raises:
        InputError: the name or an option is unknown, something is missing, or the data are not sound.
    """
    key = str(name)
    if key == "wang2023":
        if source is None:
            raise InputError("Dataset 'wang2023': no source; expected source= the folder with the authors' data files.")
        return load_wang2023(source, grid, **options)
    known = {"structured_error"} if key == "embedded" else set()
    unknown = sorted((set(options) - known) | ({"source"} if source is not None else set()))
    if unknown:
        raise InputError(f"Dataset '{key}': options {unknown} are unknown; expected {sorted(known) or 'none'}.")
    if key == "embedded":
        return _embedded(grid, **options)
    if Path(key).suffix == ".nc":
        if grid is None:
            raise InputError(f"Dataset {key}: no grid; expected the grid of the circulation it is to be used with.")
        return open_dataset(key, grid)
    names = [record.name for record in list_datasets()]
    near = difflib.get_close_matches(key, names, n=1)
    raise InputError(
        f"Dataset '{key}' is unknown{f'; did you mean {near[0]!r}?' if near else '.'} Known names: "
        f"{', '.join(names)}; or give a path that ends in .nc."
    )


def _embedded(grid: OceanGrid | None, structured_error: bool = True) -> tuple[Forcing, Observations]:
    from invbgc.circulation import coarsening, load_circulation

    fine = load_circulation("embedded").grid
    if grid is not None and grid.wet.shape != fine.wet.shape:
        factor = -(-fine.latitude.size // grid.latitude.size)
        relation = coarsening(fine, factor, factor)
        if np.array_equal(relation.coarse.wet, grid.wet):
            return coarsen_dataset(*_embedded(None, structured_error), relation)
    grid = fine if grid is None else grid
    if structured_error:
        return open_dataset(EMBEDDED_FILE, grid)
    with xr.open_dataset(EMBEDDED_FILE) as file:
        dataset = file.load()
    for tracer in TRACERS:
        dataset[f"observed_{tracer}"] -= dataset[f"structured_error_{tracer}"]
        dataset[f"observed_{tracer}"].attrs["units"] = "mmol m-3"
    dataset.attrs["title"] += ", independent noise only"
    return open_dataset(dataset, grid)
