"""Circulations in MATLAB files: the OCIM family in version 5 (through SciPy) and version 7.3 (HDF5).

Accepted layouts, each variable at the top level or inside the structure `output`:

* the operator as `TR` (OCIM1, OCIM2, OCIM2-48L: dC/dt = TR C per year) or `T` (OCIM0: dC/dt + T C = 0 per second);
* the wet mask as `M3d` (latitude, longitude, depth);
* the grid as the structure `grid` or `grd` with yt, xt, zw (layer tops, m) or zt, dzt, `Areat` or DXT3d and DYT3d,
  and, where present, dyt, dxt and DXT3d DYT3d DZT3d for the volumes;
* basins as the structure `MSKS`.

Where the operator comes without its grid, `grid` names another file: GRID.mat, or the netCDF file of OCIM2-48L.
Sign, unit and wet order are never taken from a name: `invbgc.circulation.detect` finds them. OCIM1 and OCIM2 were
checked against published readers of these files, OCIM2-48L only against a description of its variables.
"""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse as sparse
import xarray as xr
from scipy.io.matlab import MatReadError

from invbgc.circulation.core import Circulation
from invbgc.circulation.detect import (
    SIGNS,
    UNIT_SECONDS,
    candidate_positions,
    cell_edges,
    detect_circulation,
    from_house_order,
    grid_with_volume,
)
from invbgc.circulation.ocim import COLUMN_MAJOR
from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError
from invbgc.files import replaced
from invbgc.grid import OceanGrid
from invbgc.sources.registry import provenance

OPERATORS = ("TR", "T")
"""Names under which files hold the operator."""

GRIDS = ("grid", "grd")
"""Names under which files hold the structure of the grid."""

OCIM2_48L_VARIABLES = ("ocnmask", "tlat", "tlon", "tz", "wz", "area", "vol")
"""Variables of the netCDF file that describes the grid of OCIM2-48L."""

PROVENANCE = ("source", "licence", "citation")
"""Attributes of a circulation that are written in words."""

# SciPy raises NotImplementedError for MATLAB files of versions it does not read.
_READ_ERRORS = (MatReadError, OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError, zlib.error)


def read_mat(path: str | Path, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The variables of a MATLAB file of either version.

    Args:
        path: the file.
        names: top-level variables to read; None reads all.

    Returns:
        name -> array with singleton dimensions removed, sparse matrix, text, or the same for a structure.

    Raises:
        InputError: the file is missing, truncated or not a MATLAB file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"MATLAB file {path}: no such file; check the path, or fetch the file first.")
    try:
        if h5py.is_hdf5(path):
            with h5py.File(path, "r") as file:
                keys = [str(key) for key in file if not str(key).startswith("#")]
                return {key: _from_hdf5(file[key]) for key in keys if names is None or key in names}
        loaded = scipy.io.loadmat(path, variable_names=names, simplify_cells=True)
    except _READ_ERRORS as error:
        raise InputError(
            f"MATLAB file {path}: not readable as version 5 or 7.3, or truncated ({type(error).__name__}: {error})."
        ) from error
    return {key: value for key, value in loaded.items() if not key.startswith("__")}


def _from_hdf5(item: Any) -> Any:
    """A variable of a version 7.3 file; MATLAB arrays are stored with their dimensions reversed."""
    if isinstance(item, h5py.Group):
        if "MATLAB_sparse" not in item.attrs:
            return {key: _from_hdf5(item[key]) for key in item}
        part = {key: np.asarray(_dataset(item[key])).ravel() for key in item}
        pointer = np.asarray(part["jc"], dtype=np.int64)
        rows = int(np.asarray(item.attrs["MATLAB_sparse"]).item())
        if "data" not in part:
            return sparse.csc_array((rows, pointer.size - 1))
        return sparse.csc_array((part["data"], part["ir"].astype(np.int64), pointer), shape=(rows, pointer.size - 1))
    if item.dtype.hasobject or item.dtype.kind == "V":
        return None
    values = np.asarray(item[()])
    kind = item.attrs.get("MATLAB_class", b"")
    if kind in (b"char", "char"):
        return "".join(chr(code) for code in values.T.ravel(order="F"))
    return np.squeeze(values.T)


def _dataset(item: Any) -> Any:
    return item[()]


def read_matlab(
    path: str | Path,
    grid: OceanGrid | str | Path | None = None,
    variable: str | None = None,
    sign: str | None = None,
    unit: str | None = None,
    order: Sequence[str] | None = None,
) -> Circulation:
    """A circulation from a MATLAB file of the OCIM family, version 5 or 7.3.

    Args:
        path: file with the operator.
        grid: the grid, or a file with it (`.mat`, or `.nc` of OCIM2-48L), where it is not in `path`.
        variable: name of the operator where it is not one of `OPERATORS`.
        sign: "divergence" or "convergence" where it is known.
        unit: "s-1", "d-1" or "yr-1" (of 365 days) where it is known.
        order: wet order where it is known, slowest dimension first.

    Returns:
        the audited circulation; `attrs` say what was found.

    Raises:
        InputError: a file or variable is missing, truncated or of wrong size, or sign, unit and order are not unique.
        ConservationError: the operator failed the audit.
    """
    path = Path(path)
    content = read_mat(path)
    output = content.get("output")
    content = {**content, **(output if isinstance(output, Mapping) else {})}
    name = variable or next((name for name in OPERATORS if sparse.issparse(content.get(name))), None)
    if name is None or not sparse.issparse(content.get(name)):
        raise InputError(
            f"MATLAB file {path}: no sparse matrix {variable or ' or '.join(OPERATORS)}; found {_found(content)}. "
            "Name the operator by the option variable."
        )
    ocean = _grid(content, path) if grid is None else grid
    if not isinstance(ocean, OceanGrid):
        ocean = read_grid_file(ocean)
    about = content.get("about")
    attrs = provenance(path) | ({"about": about} if isinstance(about, str) else {})
    positions = candidate_positions(ocean.wet, order)
    return detect_circulation(content[name], ocean, f"MATLAB file {path}, {name}", positions, sign, unit, attrs)


def read_grid_file(path: str | Path) -> OceanGrid:
    """The grid of an operator that is stored apart from it.

    Args:
        path: MATLAB file with M3d and grid or grd, such as GRID.mat; or a netCDF file with `OCIM2_48L_VARIABLES`.

    Returns:
        the grid.

    Raises:
        InputError: the file or a variable is missing, or the geometry is not sound.
    """
    path = Path(path)
    if path.suffix == ".nc":
        return _read_48_layer_grid(path)
    content = read_mat(path)
    output = content.get("output")
    return _grid({**content, **(output if isinstance(output, Mapping) else {})}, path)


def _found(content: Mapping[str, Any]) -> str:
    return ", ".join(sorted(str(key) for key in content)) or "nothing"


def _grid(content: Mapping[str, Any], path: Path) -> OceanGrid:
    """The grid from M3d and the structure `grid` or `grd`, (latitude, longitude, depth) as MATLAB holds it."""
    name = next((name for name in GRIDS if isinstance(content.get(name), Mapping)), None)
    if "M3d" not in content or name is None:
        raise InputError(
            f"MATLAB file {path}: no M3d or no structure {' or '.join(GRIDS)}; found {_found(content)}. Give the file "
            "that holds the grid by the option grid."
        )
    structure = content[name]

    def member(key: str) -> np.ndarray:
        if key not in structure:
            raise InputError(f"MATLAB file {path}: structure {name} without {key}; found {_found(structure)}.")
        return np.atleast_1d(np.asarray(structure[key], dtype=np.float64))

    latitude, longitude, thickness = member("yt"), member("xt"), member("dzt")
    shape = (latitude.size, longitude.size, thickness.size)

    def field(values: Any, key: str, horizontal: bool = False) -> np.ndarray:
        expected = shape[:2] if horizontal else shape
        array = np.asarray(values, dtype=np.float64)
        if array.size != np.prod(expected) or [n for n in array.shape if n > 1] != [n for n in expected if n > 1]:
            raise InputError(
                f"MATLAB file {path}: {key} has shape {array.shape}; expected {expected} from {name}.yt, xt and dzt."
            )
        return array.reshape(expected)

    tops = member("zw") if "zw" in structure else member("zt") - 0.5 * thickness
    if tops.shape != thickness.shape:
        raise InputError(f"MATLAB file {path}: {name}.zw has {tops.size} values; expected {thickness.size}, as dzt.")
    sides = [field(structure[key], f"{name}.{key}") for key in ("DXT3d", "DYT3d", "DZT3d") if key in structure]
    if "Areat" not in structure and len(sides) != 3:
        raise InputError(f"MATLAB file {path}: structure {name} without Areat, or DXT3d, DYT3d and DZT3d.")
    area = field(member("Areat"), f"{name}.Areat", True) if "Areat" in structure else (sides[0] * sides[1])[..., 0]
    widths = [member(key) if key in structure else None for key in ("dyt", "dxt")]
    basins = content.get("MSKS")
    masks = basins if isinstance(basins, Mapping) else {}
    return grid_with_volume(
        np.moveaxis(np.prod(sides, axis=0), 2, 0) if len(sides) == 3 else None,
        f"MATLAB file {path}",
        wet=np.moveaxis(field(content["M3d"], "M3d"), 2, 0) > 0,
        depth_edges=np.r_[tops, tops[-1] + thickness[-1]],
        latitude=latitude,
        latitude_edges=cell_edges(latitude, widths[0], f"{path}, {name}.yt"),
        longitude=longitude,
        longitude_edges=cell_edges(longitude, widths[1], f"{path}, {name}.xt"),
        area=area,
        name=path.stem,
        masks={key: np.moveaxis(field(value, f"MSKS.{key}"), 2, 0) > 0 for key, value in masks.items()},
    )


def _read_48_layer_grid(path: Path) -> OceanGrid:
    """The grid of OCIM2-48L; the axis of each dimension is the one along which its coordinate changes."""
    if not path.is_file():
        raise InputError(f"Grid file {path}: no such file; check the path, or fetch the file first.")
    try:
        with xr.open_dataset(path, decode_times=False, engine="netcdf4") as file:
            missing = [name for name in OCIM2_48L_VARIABLES if name not in file.variables]
            if missing:
                found = _found({str(key): None for key in file.variables})
                raise InputError(f"Grid file {path}: no {', '.join(missing)}; found {found}.")
            fields = {name: np.asarray(file[name].values, dtype=np.float64) for name in OCIM2_48L_VARIABLES}
    except (OSError, ValueError) as error:
        raise InputError(f"Grid file {path}: not a readable netCDF file ({error}).") from error
    shapes = {values.shape for values in fields.values()}
    if len(shapes) != 1 or fields["tz"].ndim != 3:
        raise InputError(f"Grid file {path}: shapes {sorted(map(str, shapes))}; expected one, of three dimensions.")
    axes = []
    for name in ("tz", "tlat", "tlon"):
        changing = [axis for axis in range(3) if np.ptp(fields[name], axis=axis).max() > 0.0]
        if len(changing) != 1:
            raise InputError(f"Grid file {path}: {name} changes along {len(changing)} dimensions; expected one.")
        axes += changing
    fields = {name: np.transpose(values, axes) for name, values in fields.items()}
    tops, centres = fields["wz"][:, 0, 0], fields["tz"][:, 0, 0]
    latitude, longitude = fields["tlat"][0, :, 0], fields["tlon"][0, 0, :]
    wet = fields["ocnmask"] == 1
    return grid_with_volume(
        np.where(wet, fields["vol"], 0.0),
        f"Grid file {path}",
        wet=wet,
        depth_edges=np.r_[tops, 2.0 * centres[-1] - tops[-1]],
        latitude=latitude,
        latitude_edges=cell_edges(latitude, None, f"{path}, tlat"),
        longitude=longitude,
        longitude_edges=cell_edges(longitude, None, f"{path}, tlon"),
        area=fields["area"][0],
        name=path.stem,
    )


def write_matlab(
    circulation: Circulation,
    path: str | Path,
    sign: str = "convergence",
    unit: str = "yr-1",
    order: Sequence[str] = COLUMN_MAJOR,
) -> Path:
    """Write a circulation as a MATLAB 5 file in the layout of OCIM2: `output` with TR, M3d and grid; and MSKS.

    `grid` has the members that programs of the OCIM family use: xt, yt, zt, zw, dxt, dyt, dzt, Areat, XT3d, YT3d, ZT3d,
    ZW3d in degrees and m, and DXT3d, DYT3d, DZT3d in m, whose product is the volume of the water. `about` says in words
    where it comes from, under which licence, and which convention it follows.

    Args:
        circulation: any circulation; masks without a depth dimension are written for the whole column.
        path: the file.
        sign: "convergence" (dC/dt = TR C) or "divergence".
        unit: "yr-1" of 365 days, "d-1" or "s-1".
        order: wet order, slowest dimension first.

    Returns:
        the path.

    Raises:
        InputError: the file cannot be written.
    """
    ocean = circulation.grid
    operator = from_house_order(circulation.transport, ocean.wet, order) * (SIGNS[sign] * UNIT_SECONDS[unit])
    content: dict[str, Any] = {
        "output": {"TR": sparse.csc_matrix(operator), "M3d": _matlab_order(ocean.wet), "grid": _grid_structure(ocean)},
        "about": "\n".join(
            (
                f"{circulation.name}, {'dC/dt = TR C' if sign == 'convergence' else 'dC/dt + TR C = 0'} in {unit} "
                f"(a year has 365 days), wet boxes in the order {' '.join(order)}, slowest first",
                *(f"{key}: {circulation.attrs[key]}" for key in PROVENANCE if circulation.attrs.get(key)),
            )
        ),
    }
    masks = {name: _matlab_order(np.broadcast_to(mask, ocean.shape) & ocean.wet) for name, mask in ocean.masks.items()}
    content |= {"MSKS": masks} if masks else {}
    with replaced(path) as temporary, temporary.open("wb") as file:
        scipy.io.savemat(file, content, do_compression=True)
    return Path(path)


def _grid_structure(ocean: OceanGrid) -> dict[str, np.ndarray]:
    """The structure `grid`; DXT3d is the mean width of the water, Areat over DYT3d."""
    height = EARTH_RADIUS * np.radians(np.diff(ocean.latitude_edges))[:, None]
    fraction = np.ones(ocean.shape) if ocean.wet_fraction is None else ocean.wet_fraction
    fields = {
        "XT3d": ocean.longitude,
        "YT3d": ocean.latitude[:, None],
        "ZT3d": ocean.depth[:, None, None],
        "ZW3d": ocean.depth_edges[:-1, None, None],
        "DXT3d": ocean.area / height,
        "DYT3d": height,
        "DZT3d": ocean.thickness[:, None, None] * fraction,
    }
    return {
        "xt": ocean.longitude,
        "yt": ocean.latitude,
        "zt": ocean.depth,
        "zw": ocean.depth_edges[:-1],
        "dxt": np.diff(ocean.longitude_edges),
        "dyt": np.diff(ocean.latitude_edges),
        "dzt": ocean.thickness,
        "Areat": ocean.area,
        **{name: _matlab_order(np.broadcast_to(values, ocean.shape)) for name, values in fields.items()},
    }


def _matlab_order(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(np.asarray(values, dtype=np.float64), 0, 2)
