"""Circulations of AIBECS.jl: `.jld2` archives, which are HDF5 files written by JLD2.jl.

An archive holds `T`, a sparse matrix (m, n, colptr, rowval, nzval; indices from one), and `grid`, an
OceanRectilinearGrid of which lat, lon, depth_top, δdepth, volume_3D, A_2D and wet3D are used, and δlat, δlon where
present. Julia structures are HDF5 compounds; fields that are not plain numbers are references to other data; arrays
are stored with their dimensions reversed; numbers with a unit are compounds of one field; a BitArray is a vector of
64-bit words (chunks) with its dims.

The layout is that of the documentation of JLD2 and of the published scripts that made the archives; it has not been
compared with an archive itself. Compressed archives may be refused by HDF5 2.0 (h5py 3.16), which is stricter
about chunk headers than JLD2 was: the error then says so, and h5py below 3.16 reads them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import Circulation
from invbgc.circulation.detect import candidate_positions, cell_edges, detect_circulation, grid_with_volume
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.sources.registry import provenance

MATRIX_FIELDS = ("m", "n", "colptr", "rowval", "nzval")
"""Fields of a Julia SparseMatrixCSC."""

BIT_FIELDS = ("chunks", "dims")
"""Fields of a Julia BitArray."""

GRID_FIELDS = ("lat", "lon", "depth_top", "δdepth", "volume_3D", "A_2D", "wet3D")
"""Fields of an OceanRectilinearGrid that are read."""


def read_aibecs(
    path: str | Path,
    matrix: str = "T",
    grid: str = "grid",
    sign: str | None = None,
    unit: str | None = None,
    order: Sequence[str] | None = None,
) -> Circulation:
    """A circulation from a `.jld2` archive of AIBECS.jl.

    Args:
        path: the archive.
        matrix: name of the operator in it.
        grid: name of the grid in it.
        sign: "divergence" or "convergence" where it is known.
        unit: "s-1", "d-1" or "yr-1" (of 365 days; Julia's year has 365.25) where it is known.
        order: wet order where it is known, slowest dimension first.

    Returns:
        the audited circulation; `attrs` say what was found.

    Raises:
        InputError: the file is missing, truncated or of another layout, sizes disagree, or sign, unit and order are
            not unique.
        ConservationError: the operator failed the audit.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"AIBECS archive {path}: no such file; check the path, or fetch the file first.")
    opened = False
    try:
        with h5py.File(path, "r") as file:
            opened = True
            names = [str(name) for name in file if not str(name).startswith("_")]
            for name in (matrix, grid):
                if name not in file:
                    raise InputError(f"AIBECS archive {path}: no variable {name!r}; it has {', '.join(names)}.")
            operator, structure = _decode(file, file[matrix]), _decode(file, file[grid], (*GRID_FIELDS, "δlat", "δlon"))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        hint = f" HDF5 {h5py.version.hdf5_version} may refuse what JLD2 compressed; try h5py < 3.16." if opened else ""
        raise InputError(
            f"AIBECS archive {path}: not readable as HDF5, or truncated ({type(error).__name__}: {error}).{hint}"
        ) from error
    if not isinstance(operator, Mapping) or any(name not in operator for name in MATRIX_FIELDS):
        raise InputError(
            f"AIBECS archive {path}: {matrix!r} is {_kind(operator)}; expected a sparse matrix with the fields "
            f"{', '.join(MATRIX_FIELDS)}."
        )
    ocean, south_first = _grid(structure, path, grid)
    attrs = provenance(path)
    positions = candidate_positions(ocean.wet, order, south_first)
    return detect_circulation(
        _matrix(operator, path), ocean, f"AIBECS archive {path}, {matrix}", positions, sign, unit, attrs
    )


def _kind(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a structure of {', '.join(value) or 'nothing'}"
    return f"an array of shape {np.shape(value)}"


def _decode(file: h5py.File, value: Any, fields: Sequence[str] | None = None) -> Any:
    """A Julia value: follow references, reverse dimensions, drop units; `fields` limits what is read of a structure."""
    if isinstance(value, h5py.Reference):
        return _decode(file, file[value]) if value else None
    if isinstance(value, h5py.Group):
        return {name: _decode(file, value[name]) for name in value if fields is None or name in fields}
    if isinstance(value, h5py.Dataset):
        return _decode(file, value[()], fields) if value.shape == () else _plain(np.asarray(value[()])).T
    if isinstance(value, np.void) and value.dtype.names:
        if value.dtype.names == ("val",):
            return _decode(file, value["val"])
        names = [name for name in value.dtype.names if fields is None or name in fields]
        structure = {name: _decode(file, value[name]) for name in names}
        return _bits(structure) if all(name in structure for name in BIT_FIELDS) else structure
    return value


def _plain(array: np.ndarray) -> np.ndarray:
    """Numbers with a unit (compounds of one field, possibly nested) as numbers."""
    while array.dtype.names is not None and len(array.dtype.names) == 1:
        array = array[array.dtype.names[0]]
    return array


def _bits(structure: Mapping[str, Any]) -> np.ndarray:
    """A BitArray: bit i of word w is element 64 w + i, column-major."""
    dims = structure["dims"]
    shape = [int(n) for n in (dims.values() if isinstance(dims, Mapping) else np.atleast_1d(dims))]
    words = np.asarray(structure["chunks"]).ravel().astype("<u8")
    bits = np.unpackbits(words.view(np.uint8), bitorder="little")
    size = int(np.prod(shape))
    if bits.size < size:
        raise ValueError(f"a BitArray of shape {tuple(shape)} with only {bits.size} bits")
    return bits[:size].reshape(shape, order="F").astype(bool)


def _matrix(parts: Mapping[str, Any], path: Path) -> sparse.csc_array:
    rows, columns = int(parts["m"]), int(parts["n"])
    pointer, index, values = (np.asarray(parts[name]).ravel() for name in ("colptr", "rowval", "nzval"))
    if pointer.size == 0 or pointer[0] != 1 or np.any((index < 1) | (index > rows)):
        raise InputError(
            f"AIBECS archive {path}: column pointers start at {pointer[:1]}, row indices run from "
            f"{index.min(initial=rows)} to {index.max(initial=0)}; expected both from 1, and rows up to {rows}."
        )
    if pointer.size != columns + 1 or index.size != values.size or pointer[-1] - 1 != values.size:
        raise InputError(
            f"AIBECS archive {path}: {columns} columns with {pointer.size} column pointers that end at {pointer[-1]}, "
            f"{index.size} row indices and {values.size} values; expected {columns + 1} pointers that end at one more "
            "than there are values."
        )
    if np.any(np.diff(pointer) < 0):
        raise InputError(f"AIBECS archive {path}: column pointers decrease; expected them never to.")
    return sparse.csc_array((values.astype(np.float64), index - 1, pointer - 1), shape=(rows, columns))


def _grid(structure: Any, path: Path, name: str) -> tuple[OceanGrid, bool]:
    """The grid, and whether the latitudes of the archive increase."""
    if not isinstance(structure, Mapping):
        raise InputError(f"AIBECS archive {path}: {name!r} is {_kind(structure)}; expected an OceanRectilinearGrid.")
    missing = [field for field in GRID_FIELDS if structure.get(field) is None]
    if missing:
        raise InputError(
            f"AIBECS archive {path}: {name!r} without {', '.join(missing)}; found {', '.join(structure)}. Expected an "
            "OceanRectilinearGrid; curvilinear grids are not supported."
        )
    latitude, longitude, tops, thickness = (
        np.atleast_1d(np.asarray(structure[field], dtype=np.float64)) for field in ("lat", "lon", "depth_top", "δdepth")
    )
    south_first = bool(latitude.size == 1 or latitude[1] > latitude[0])
    step = 1 if south_first else -1
    shape = (latitude.size, longitude.size, thickness.size)
    for field, expected in (("wet3D", shape), ("volume_3D", shape), ("A_2D", shape[:2]), ("depth_top", shape[2:])):
        if np.shape(structure[field]) != expected:
            raise InputError(
                f"AIBECS archive {path}: {name}.{field} has shape {np.shape(structure[field])}; expected {expected} "
                "from lat, lon and δdepth."
            )
    widths = {field: structure.get(field) for field in ("δlat", "δlon")}
    latitude_widths = None if widths["δlat"] is None else np.atleast_1d(widths["δlat"])[::step]
    longitude_widths = None if widths["δlon"] is None else np.atleast_1d(widths["δlon"])
    latitude = latitude[::step]
    ocean = grid_with_volume(
        np.moveaxis(np.asarray(structure["volume_3D"], dtype=np.float64), 2, 0)[:, ::step],
        f"AIBECS archive {path}",
        wet=np.moveaxis(np.asarray(structure["wet3D"]) != 0, 2, 0)[:, ::step],
        depth_edges=np.r_[tops, tops[-1] + thickness[-1]],
        latitude=latitude,
        latitude_edges=cell_edges(latitude, latitude_widths, f"{path}, {name}.lat"),
        longitude=longitude,
        longitude_edges=cell_edges(longitude, longitude_widths, f"{path}, {name}.lon"),
        area=np.asarray(structure["A_2D"], dtype=np.float64)[::step],
        name=path.stem,
    )
    return ocean, south_first
