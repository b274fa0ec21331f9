"""The observations and forcings of Wang et al. (2023), from the authors' data files to any grid.

The files hold fields binned on the OCIM2 grid (91 x 180 x 24). The steps, in this order:

1. observations: negative values are missing; DIC, ALK and DOC lose the Arctic and the Mediterranean; outliers beyond
   the 0.1 and 99.9 percentiles are dropped; DIP must exceed 0.05;
2. forcing: temperature at least -2 degC and phosphate at least 0.05, then both smoothed horizontally;
3. units: DIC, ALK and O2 times 1.0245; DIP and DOC as distributed (`UNIT_FACTORS`);
4. everything is averaged onto the grid of the model by overlap volume (`invbgc.datasets.binning`);
5. constants and weights are formed on that grid; the freshwater flux comes from its circulation.

The number of boxes after each step, and the percentiles, are in the attribute `step_counts` (JSON).
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy.io
import xarray as xr
from scipy.io.matlab import MatReadError

from invbgc.circulation.core import Circulation
from invbgc.circulation.ocim import read_ocim2_grid
from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.datasets.binning import Binning, same_cells
from invbgc.datasets.forcing import Forcing, data_constants
from invbgc.datasets.smoothing import smooth_horizontally
from invbgc.datasets.virtual_flux import virtual_freshwater_flux
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.observations import TRACERS, Observations, drop_outliers

GLODAP_FILE = "GLODAPv2_91x180x24raw.mat"
CORRECTED_DIC_FILE = "GLODAPv2_DIC_remove_cant.mat"
DOC_FILE = "DOCobs_Feb2022_91x180x24.mat"
TEMPERATURE_FILE = "tempobs_91x180x24.mat"
SALINITY_FILE = "Sobs_91x180x24.mat"
PHOSPHATE_FILE = "po4obs_91x180x24.mat"
SILICATE_FILE = "Siobs_91x180x24.mat"
GAS_EXCHANGE_FILE = "kw660_91x180.mat"
CHEMISTRY_FILE = "co2syspar91.mat"
FRESHWATER_FILE = "PME_TS_91x180x24.mat"
GRID_FILE = "GRID.mat"
PRODUCTION_FILE = "npp_substitutes_ocim2_grid.nc"

FOLDERS = {GRID_FILE: "ocim2_grid", PRODUCTION_FILE: "npp"}
"""Sister folders in which files that are not part of the authors' set are also looked for."""

FILES = (
    GLODAP_FILE,
    CORRECTED_DIC_FILE,
    DOC_FILE,
    TEMPERATURE_FILE,
    SALINITY_FILE,
    PHOSPHATE_FILE,
    SILICATE_FILE,
    GAS_EXCHANGE_FILE,
    CHEMISTRY_FILE,
    FRESHWATER_FILE,
    GRID_FILE,
    PRODUCTION_FILE,
)
"""Every file that is read."""

UNIT_FACTORS = {
    "DIP": 1.0,
    "DIC": SEAWATER_DENSITY_FACTOR,
    "ALK": SEAWATER_DENSITY_FACTOR,
    "O2": SEAWATER_DENSITY_FACTOR,
    "DOC": 1.0,
}
"""mmol m-3 in the model per umol kg-1 in the file. The released code leaves DIC and O2 unconverted as well."""

MASKED_TRACERS = ("DIC", "ALK", "DOC")
"""Tracers whose Arctic and Mediterranean observations are not used."""

MASKED_BASINS = ("ARC", "MED")
"""The basins in which they are not used."""

DIP_FLOOR = 0.05
"""DIP observations must exceed it; the phosphate forcing is raised to it. umol kg-1."""

LOWEST_TEMPERATURE = -2.0
"""degC; lower values of the climatology are artefacts of extrapolation."""

PISTON_SCALE = 0.6944
"""Calibrated gas-exchange coefficient over that of the files, 0.234/0.337 (Wang et al. 2023)."""

DIC = Literal["anthropogenic_removed", "raw"]
"""DIC without the modelled anthropogenic part (58,159 boxes), or as measured (63,085 boxes)."""

CITATION = (
    "Wang, W.-L., Fu, W., Le Moigne, F. A. C., Letscher, R. T., Liu, Y., Tang, J.-M., Primeau, F. W. (2023), "
    "Biological carbon pump estimate based on multidecadal hydrographic data, Nature, doi 10.1038/s41586-023-06772-4"
)


def find_file(folder: str | Path, name: str) -> Path:
    """Path of a data file: in the folder, in a folder of its own inside or beside it.

    Args:
        folder: folder with the authors' files.
        name: one of `FILES`.

    Returns:
        the path.

    Raises:
        InputError: the folder or the file is not there.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"Dataset wang2023: no folder {folder}; expected the folder with the authors' data files.")
    places = [folder]
    if name in FOLDERS:
        places += [folder / FOLDERS[name], folder.parent / FOLDERS[name]]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise InputError(
        f"Dataset wang2023: no file {name} in {', nor in '.join(str(place) for place in places)}; expected "
        f"{len(FILES)} files: {', '.join(FILES)}."
    )


@dataclass(frozen=True)
class SourceFiles:
    """The data files, read on the OCIM2 grid in house order.

    Args:
        folder: folder with the authors' files.
    """

    folder: Path

    @cached_property
    def grid(self) -> OceanGrid:
        """The OCIM2 grid."""
        return read_ocim2_grid(find_file(self.folder, GRID_FILE))

    def array(self, name: str, variable: str, shape: tuple[int, ...]) -> np.ndarray:
        """A MATLAB array [latitude, longitude, depth, ...] or a member "structure.field", float64.

        Raises:
            InputError: the file or the variable is missing, or the shape differs.
        """
        path = find_file(self.folder, name)
        try:
            content: Any = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
        # SciPy raises NotImplementedError for MATLAB 7.3
        except (MatReadError, ValueError, NotImplementedError, OSError) as error:
            raise InputError(f"Dataset wang2023, file {path}: not a readable MATLAB 5 file ({error}).") from error
        structure, _, member = variable.partition(".")
        found = content.get(structure)
        found = getattr(found, member, None) if member else found
        if found is None:
            raise InputError(f"Dataset wang2023, file {path}: no variable '{variable}'; expected it of shape {shape}.")
        values = np.asarray(found, dtype=np.float64)
        if values.shape[: len(shape)] != shape:
            raise InputError(
                f"Dataset wang2023, file {path}, variable '{variable}': shape {values.shape}; expected {shape}."
            )
        return values

    def field(self, name: str, variable: str) -> np.ndarray:
        """A three-dimensional field as wet vector [n_wet] (or [..., n_wet] if it has a further axis)."""
        nz, ny, nx = self.grid.shape
        values = self.array(name, variable, (ny, nx, nz))
        return self.grid.pack(np.moveaxis(values, (2, 0, 1), (-3, -2, -1)))

    def surface(self, name: str, variable: str) -> np.ndarray:
        """A horizontal field as vector [n_columns]."""
        return self.grid.pack_surface(self.array(name, variable, self.grid.shape[1:]))

    def columns(self, name: str, variable: str) -> np.ndarray:
        """A vector over the wet surface boxes in column-major order, as [n_columns] in house order."""
        values = self.array(name, variable, (self.grid.n_columns,))
        full = np.zeros(self.grid.shape[1:])
        full.T[self.grid.wet[0].T] = values
        return self.grid.pack_surface(full)

    def production(self, product: str) -> np.ndarray:
        """Net primary production [n_columns] mmol m-2 yr-1 (C); missing or negative values become zero.

        Raises:
            InputError: the file has no such product.
        """
        path = find_file(self.folder, PRODUCTION_FILE)
        with xr.open_dataset(path) as file:
            products = [str(name) for name in file["product"].values]
            if product not in products:
                raise InputError(
                    f"Dataset wang2023, file {path}: no net primary production '{product}'; it has "
                    f"{', '.join(products)}."
                )
            values = self.grid.pack_surface(file["NPP"][products.index(product)].load()).astype(np.float64)
        return np.where(values > 0.0, values, 0.0)


@dataclass
class _Steps:
    """The observations of one tracer on their way, and the number of boxes after each step."""

    values: np.ndarray
    counts: dict[str, Any] = field(default_factory=dict)

    def keep(self, step: str, where: np.ndarray) -> None:
        self.values = np.where(where, self.values, np.nan)
        self.counts[step] = int(np.isfinite(self.values).sum())


def observed_on_source(files: SourceFiles, dic: DIC = "anthropogenic_removed") -> dict[str, _Steps]:
    """Step 1: the targets on the OCIM2 grid, umol kg-1 as distributed, with the counts after each step.

    Args:
        files: the data files.
        dic: which DIC.

    Returns:
        tracer -> `values` [n_wet], NaN where unobserved, and `counts`.

    Raises:
        InputError: a file or variable is missing, or `dic` is unknown.
    """
    if dic not in ("anthropogenic_removed", "raw"):
        raise InputError(f"Dataset wang2023: dic is {dic!r}; expected 'anthropogenic_removed' or 'raw'.")
    if dic == "raw":
        carbon = files.field(GLODAP_FILE, "dicraw")
    else:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)  # boxes without any year
            # The mean of the yearly means, as released, not of the bottles.
            carbon = np.nanmean(files.field(CORRECTED_DIC_FILE, "gc12new"), axis=0)
    raw = {
        "DIP": files.field(GLODAP_FILE, "po4raw"),
        "DIC": carbon,
        "ALK": files.field(GLODAP_FILE, "alkraw"),
        "O2": files.field(GLODAP_FILE, "o2raw"),
        "DOC": files.field(DOC_FILE, "DOCobs"),
    }
    outside = ~np.any([files.grid.mask(name) for name in MASKED_BASINS], axis=0)
    result = {}
    for tracer in TRACERS:
        steps = _Steps(raw[tracer])
        steps.keep("valid", steps.values >= 0.0)
        if tracer in MASKED_TRACERS:
            steps.keep("basins_masked", outside)
        kept, (low, high) = drop_outliers(steps.values)
        steps.counts |= {"percentile_0.1": low, "percentile_99.9": high}
        steps.keep("outliers_dropped", np.isfinite(kept))
        if tracer == "DIP":
            steps.keep("at_least_floor", steps.values >= DIP_FLOOR)
        result[tracer] = steps
    return result


def load_wang2023(
    folder: str | Path,
    grid: OceanGrid | None = None,
    circulation: Circulation | None = None,
    dic: DIC = "anthropogenic_removed",
    npp: str = "satellite_pattern",
    factors: Mapping[str, float] | None = None,
) -> tuple[Forcing, Observations]:
    """Forcing and observations of Wang et al. (2023) on any grid; see the steps at the head of this module.

    Args:
        folder: folder with the authors' data files; the grid file and the production file may lie in it, or in folders
            `ocim2_grid` and `npp` in or beside it.
        grid: grid of the model; None is that of the circulation, or else the OCIM2 grid.
        circulation: gives the freshwater flux; None takes the authors' flux, which exists on the OCIM2 grid only.
        dic: with or without anthropogenic carbon.
        npp: net primary production, a product of the production file.
        factors: tracer -> mmol m-3 per umol kg-1, where it is to differ from `UNIT_FACTORS`.

    Returns:
        forcing and observations; attributes hold provenance, options and `step_counts`.

    Raises:
        InputError: a file, variable or option is missing or wrong; grid and circulation differ; another grid than
            OCIM2 is given without circulation.
    """
    files = SourceFiles(Path(folder))
    if circulation is not None and grid is not None and not same_cells(grid, circulation.grid):
        raise InputError(f"Dataset wang2023: grid '{grid.name}' is not that of circulation '{circulation.name}'.")
    grid = grid or (circulation.grid if circulation is not None else files.grid)
    binning = Binning(files.grid, grid)
    if circulation is None and not binning.same:
        raise InputError(
            f"Dataset wang2023: grid '{grid.name}' is not the OCIM2 grid and no circulation is given; expected "
            "circulation=, from which the freshwater flux on this grid is computed."
        )
    unknown = sorted(set(factors or {}) - set(TRACERS))
    if unknown:
        raise InputError(f"Dataset wang2023: unit factors of {unknown}; expected some of {', '.join(TRACERS)}.")
    scale = UNIT_FACTORS | dict(factors or {})
    observed, dip_mean, counts = _observations(files, binning, dic, scale)
    fields, filled = _fields(files, binning, npp)
    if circulation is None:
        fields["freshwater_flux"] = files.grid.pack(_freshwater(files))[: grid.n_columns]
    else:
        fields["freshwater_flux"] = virtual_freshwater_flux(circulation, fields["salinity"][: grid.n_columns])[0]
    constants = data_constants(fields["temperature"], fields["silicate"], observed, grid) | {"DIP_mean": dip_mean}
    attrs = {
        "title": "Observations and forcing of Wang et al. (2023)",
        "source": "data files of Wang et al. (2023) on the OCIM2 grid",
        "citation": CITATION,
        "grid": grid.name,
        "dic": dic,
        "net_primary_production": npp,
        "unit_factors": json.dumps(scale),
        "freshwater_flux": "as distributed" if circulation is None else f"from circulation {circulation.name}",
        "filled_boxes": int(filled.sum()),
        "step_counts": json.dumps(counts),
    }
    values: dict[str, Any] = {**fields, **constants}
    return Forcing(**values, attrs=attrs), Observations.from_fields(observed, grid, attrs)


def _observations(
    files: SourceFiles, binning: Binning, dic: DIC, scale: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], float, dict[str, dict[str, Any]]]:
    """Targets on the model's grid in mmol m-3, the mean DIP of the model's inventory, and the counts of all steps."""
    observed, counts, mean = {}, {}, np.nan
    for tracer, steps in observed_on_source(files, dic).items():
        if tracer == "DIP" and not binning.same:
            steps.keep("above_floor", steps.values > DIP_FLOOR)
        values = binning.observations(steps.values)
        if tracer == "DIP":
            # The inventory counts the boxes that equal the floor; they are no targets. A mean of values at the floor
            # may exceed it by rounding.
            use = np.isfinite(values)
            mean = float(np.average(values[use], weights=binning.target.volume[use])) * scale["DIP"]
            floor = DIP_FLOOR if binning.same else DIP_FLOOR * (1.0 + 1e-12)
            values = np.where(values > floor, values, np.nan)
        steps.counts["used"] = int(np.isfinite(values).sum())
        observed[tracer], counts[tracer] = values * scale[tracer], steps.counts
    return observed, mean, counts


def _fields(files: SourceFiles, binning: Binning, npp: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All forcing fields but the freshwater flux on the model's grid, and the boxes filled from neighbours."""
    source = files.grid
    temperature = np.maximum(files.field(TEMPERATURE_FILE, "tempobs"), LOWEST_TEMPERATURE)
    phosphate = np.maximum(files.field(PHOSPHATE_FILE, "po4obs"), DIP_FLOOR)
    salinity = files.field(SALINITY_FILE, "Sobs")
    volume_fields = {
        "temperature": smooth_horizontally(temperature, source),
        "phosphate": smooth_horizontally(phosphate, source),
        "silicate": files.field(SILICATE_FILE, "Siobs"),
        "salinity": salinity,
    }
    chemistry = {name: files.columns(CHEMISTRY_FILE, f"co2syspar.{name}") for name in ("temp", "salt", "si", "po4")}
    surface_fields = {
        "net_primary_production": files.production(npp),
        # Slightly negative where the authors extrapolated towards the coast.
        "piston_velocity_660": PISTON_SCALE * np.maximum(files.surface(GAS_EXCHANGE_FILE, "Kw660"), 0.0),
        "sea_level_pressure": files.surface(GAS_EXCHANGE_FILE, "p4"),
        "chemistry_temperature": np.maximum(chemistry["temp"], LOWEST_TEMPERATURE),
        "chemistry_salinity": chemistry["salt"],
        "chemistry_silicate": chemistry["si"],
        "chemistry_phosphate": chemistry["po4"],
        "chemistry_pressure": files.columns(CHEMISTRY_FILE, "co2syspar.pres"),
    }
    result, filled = {}, np.zeros(binning.target.n_wet, dtype=bool)
    for name, values in volume_fields.items():
        result[name], gaps = binning.forcing(values)
        filled |= gaps
    for name, values in surface_fields.items():
        result[name], _ = binning.surface_forcing(values)
    return result, filled


def _freshwater(files: SourceFiles) -> np.ndarray:
    """The authors' freshwater flux as a field [nz, ny, nx] s-1; the file holds it in column-major wet order."""
    grid = files.grid
    values = files.array(FRESHWATER_FILE, "pme", (grid.n_wet,))
    full = np.zeros(grid.shape)
    full.transpose(0, 2, 1)[grid.wet.transpose(0, 2, 1)] = values
    return full
