"""Datasets in MATLAB files: a structure `par` of fields named as in OCIM-BGC, the code of Wang et al. (2023).

==========================  ===================  ===================  =============================================
shape in MATLAB             members of `par`     here                 order
==========================  ===================  ===================  =============================================
latitude, longitude, depth  `FIELDS_3D`          fields in layers     that of M3d; NaN on land and where unobserved
latitude, longitude         `FIELDS_2D`          maps                 that of M3d(:,:,1); NaN on land
wet boxes                   pme                  freshwater_flux      find(M3d(:)), zero below the first layer
surface boxes               `CHEMISTRY`          chemistry_<name>     find(M3d(:,:,1)); members of `par.co2syspar`
number                      `CONSTANTS`          constants
==========================  ===================  ===================  =============================================

MATLAB carries no units: those of `invbgc.datasets.forcing` are meant, and mmol m-3 for observations. Data files of
OCIM-BGC in umol kg-1 are to be converted first.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import xarray as xr

from invbgc.circulation.core import wet_positions
from invbgc.circulation.matlab import read_mat
from invbgc.circulation.ocim import COLUMN_MAJOR
from invbgc.datasets import forcing
from invbgc.datasets.schema import open_dataset
from invbgc.errors import InputError
from invbgc.files import replaced
from invbgc.grid import DIMENSIONS, OceanGrid

FIELDS_3D = {
    "temperature": "Temp",
    "salinity": "Salt",
    "silicate": "DSi",
    "phosphate": "po4obs",
    "observed_DIP": "po4raw",
    "observed_DIC": "dicraw",
    "observed_ALK": "alkraw",
    "observed_O2": "o2raw",
    "observed_DOC": "docraw",
}
"""Field in layers -> member of `par`."""

FIELDS_2D = {"net_primary_production": "npp", "piston_velocity_660": "Kw660", "sea_level_pressure": "p4"}
"""Map -> member of `par`."""

CHEMISTRY = {
    "chemistry_temperature": "temp",
    "chemistry_salinity": "salt",
    "chemistry_silicate": "si",
    "chemistry_phosphate": "po4",
    "chemistry_pressure": "pres",
}
"""Map of the carbonate system -> member of `par.co2syspar`."""

CONSTANTS = {
    "DIP_mean": "DIPbar",
    "ALK_mean": "ALKbar",
    "DIC_surface_mean": "sDICbar",
    "ALK_surface_mean": "sALKbar",
}
"""Constant -> member of `par`; the others keep their names."""


def write_matlab_dataset(source: str | Path | xr.Dataset, grid: OceanGrid, path: str | Path) -> Path:
    """Write a dataset as a MATLAB 5 file in the layout of this module.

    Args:
        source: a dataset in the format of `invbgc.datasets.schema`, or its netCDF file; it is checked completely.
        grid: its grid.
        path: the file.

    Returns:
        the path.

    Raises:
        InputError: the dataset is not sound, or the file cannot be written.
    """
    made, observations = open_dataset(source, grid)
    dataset = made.to_dataset(grid).merge(observations.to_dataset(), combine_attrs="override")
    inverse = np.argsort(wet_positions(grid.wet, COLUMN_MAJOR))
    surface = np.argsort(wet_positions(grid.wet[:1], COLUMN_MAJOR))
    freshwater = np.zeros(grid.n_wet)
    freshwater[: grid.n_columns] = made.freshwater_flux
    par: dict[str, Any] = {
        theirs: dataset[ours].transpose(*DIMENSIONS[1:], DIMENSIONS[0]).values
        for ours, theirs in FIELDS_3D.items()
        if ours in dataset
    }
    par |= {theirs: dataset[ours].values for ours, theirs in FIELDS_2D.items()}
    par["pme"] = freshwater[inverse][:, None]
    par["co2syspar"] = {theirs: getattr(made, ours)[surface][:, None] for ours, theirs in CHEMISTRY.items()}
    par |= {CONSTANTS.get(name, name): float(getattr(made, name)) for name in forcing.CONSTANTS}
    about = "\n".join(f"{key}: {dataset.attrs[key]}" for key in ("source", "licence") if key in dataset.attrs)
    with replaced(path) as temporary, temporary.open("wb") as file:
        scipy.io.savemat(file, {"par": par, "about": about}, do_compression=True)
    return Path(path)


def read_matlab_dataset(path: str | Path, grid: OceanGrid) -> xr.Dataset:
    """A dataset from a MATLAB file in the layout of this module, version 5 or 7.3.

    Args:
        path: the file; members may lie in `par` or at the top level. Constants may be left out.
        grid: the grid of its circulation.

    Returns:
        the dataset with units, for `open_dataset` or `invbgc.files.write_netcdf`.

    Raises:
        InputError: the file is not readable, or a member is missing or has another shape.
    """
    content = read_mat(path)
    par, where = (content["par"], "par.") if isinstance(content.get("par"), dict) else (content, "")
    nz, ny, nx = grid.shape

    def member(structure: Any, name: str, shape: tuple[int, ...], label: str) -> np.ndarray:
        found = structure.get(name) if isinstance(structure, dict) else None
        if found is None:
            names = ", ".join(sorted(structure)) if isinstance(structure, dict) else "nothing"
            raise InputError(f"MATLAB file {path}: no {label}{name}; expected {shape}; found {names}.")
        values = np.asarray(found, dtype=np.float64)
        if [n for n in values.shape if n > 1] != [n for n in shape if n > 1]:
            raise InputError(f"MATLAB file {path}: {label}{name} has shape {values.shape}; expected {shape}.")
        return values.reshape(shape)

    units = {name: unit for name, (unit, _) in (forcing.FIELDS_3D | forcing.FIELDS_2D).items()}
    variables: dict[str, xr.DataArray] = {}
    for ours, theirs in FIELDS_3D.items():
        if ours in units or theirs in par:
            values = np.moveaxis(member(par, theirs, (ny, nx, nz), where), 2, 0)
            variables[ours] = grid.unpack(grid.pack(values), attrs={"units": units.get(ours, "mmol m-3")})
    for ours, theirs in FIELDS_2D.items():
        values = grid.pack_surface(member(par, theirs, (ny, nx), where))
        variables[ours] = grid.unpack_surface(values, attrs={"units": units[ours]})
    freshwater = member(par, "pme", (grid.n_wet,), where)[wet_positions(grid.wet, COLUMN_MAJOR)]
    variables["freshwater_flux"] = grid.unpack(freshwater, attrs={"units": units["freshwater_flux"]})
    surface = wet_positions(grid.wet[:1], COLUMN_MAJOR)
    for ours, theirs in CHEMISTRY.items():
        values = member(par.get("co2syspar"), theirs, (grid.n_columns,), f"{where}co2syspar.")[surface]
        variables[ours] = grid.unpack_surface(values, attrs={"units": units[ours]})
    constants = {name: CONSTANTS.get(name, name) for name in forcing.CONSTANTS}
    attrs: dict[str, Any] = {ours: float(par[theirs]) for ours, theirs in constants.items() if theirs in par}
    return xr.Dataset(variables, attrs=attrs | {"source": str(content.get("about") or path)})
