"""Readers for circulations on the OCIM2 grid of 91 x 180 x 24 cells (DeVries and Holzer 2019).

MATLAB files hold arrays as (latitude, longitude, depth) and wet vectors in column-major order: latitude fastest,
then longitude, then depth. The readers permute both into the house order.
"""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse as sparse
from scipy.io.matlab import MatReadError

from invbgc.circulation.core import Circulation, to_house_order, wet_positions
from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError, InvbgcError
from invbgc.grid import OceanGrid, regular_edges
from invbgc.sources.registry import provenance

COLUMN_MAJOR = ("depth", "longitude", "latitude")
"""Wet order of the OCIM2 files, slowest dimension first."""

BASINS = ("ATL", "PAC", "IND", "ARC", "MED")
"""Names of the basin masks; as labels they are 1 to 5."""

VOLUME_TOLERANCE = 1e-6
"""Relative difference allowed between the volumes of a file and area times thickness."""


def _existing(path: str | Path, what: str) -> Path:
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{what}: no file at {path}; check the path, or fetch the file first.")
    return path


def read_ocim2_grid(path: str | Path) -> OceanGrid:
    """The OCIM2 grid with its five basin masks from the MATLAB file GRID.mat.

    Args:
        path: a MATLAB 5 file with `M3d` (91, 180, 24), the structure `grid` (yt, xt, zw, dzt, Areat) and the
            structure `MSKS` (ATL, PAC, IND, ARC, MED).

    Returns:
        200160 wet boxes, 10441 columns, 1.321793e18 m3; masks "ATL", "PAC", "IND", "ARC", "MED".

    Raises:
        InputError: the file or a variable is missing, or the geometry is not sound.
    """
    path = _existing(path, "OCIM2 grid")
    try:
        content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    # SciPy raises NotImplementedError for MATLAB 7.3
    except (MatReadError, ValueError, NotImplementedError, OSError) as error:
        raise InputError(f"OCIM2 grid {path}: not a readable MATLAB 5 file ({error}).") from error
    for name in ("M3d", "grid", "MSKS"):
        if name not in content:
            raise InputError(f"OCIM2 grid {path}: no variable '{name}'; expected M3d, grid and MSKS.")
    grid, basins = content["grid"], content["MSKS"]

    def member(structure: Any, name: str) -> np.ndarray:
        if not hasattr(structure, name):
            raise InputError(f"OCIM2 grid {path}: structure without field '{name}'.")
        return np.asarray(getattr(structure, name), dtype=np.float64)

    latitude, longitude = member(grid, "yt"), member(grid, "xt")
    return OceanGrid(
        wet=np.transpose(content["M3d"], (2, 0, 1)) > 0,
        depth_edges=np.r_[member(grid, "zw"), member(grid, "zw")[-1] + member(grid, "dzt")[-1]],
        latitude=latitude,
        latitude_edges=regular_edges(latitude, f"{path}, grid.yt"),
        longitude=longitude,
        longitude_edges=regular_edges(longitude, f"{path}, grid.xt"),
        area=member(grid, "Areat"),
        name="OCIM2",
        masks={name: np.transpose(member(basins, name), (2, 0, 1)) > 0 for name in BASINS},
    )


def read_ocim2_operator(
    path: str | Path, grid: OceanGrid | None = None, order: tuple[str, ...] = COLUMN_MAJOR
) -> Circulation:
    """A transport operator on the OCIM2 grid from an npz file.

    Args:
        path: an npz file with the CSR arrays `data` (s-1, divergence form), `indices`, `indptr`, and `mask`
            (latitude, longitude, depth), `lat`, `lon`, `z_w` (layer tops, m), `dz` (m), `vol` (m3).
        grid: the same grid from `read_ocim2_grid`, to have its basin masks; None builds it from the file.
        order: wet order of the file, slowest dimension first.

    Returns:
        the audited circulation in house order.

    Raises:
        InputError: the file or an array is missing, the grid is another one, or volumes disagree.
        ConservationError: the audit failed.
    """
    path = _existing(path, "Transport operator")
    names = ("data", "indices", "indptr", "mask", "lat", "lon", "z_w", "dz", "vol")
    try:
        with np.load(path) as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise InputError(f"Transport operator {path}: no array {missing}; expected {list(names)}.")
            content = {name: file[name] for name in names}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"Transport operator {path}: not a readable npz file ({error}).") from error
    wet = np.transpose(content["mask"], (2, 0, 1)) > 0
    own = _grid_of(content, wet, path)
    if grid is not None and not np.array_equal(grid.wet, wet):
        raise InputError(
            f"Transport operator {path}: its mask has {wet.sum()} wet boxes and is not that of grid "
            f"'{grid.name}' with {grid.n_wet}; operator and grid must belong together."
        )
    grid = own if grid is None else grid
    _check_volume(content["vol"], grid, order, path)
    size = grid.n_wet
    parts = (content["data"], content["indices"], content["indptr"])
    try:
        matrix = sparse.csr_array(parts, shape=(size, size))
    except ValueError as error:
        raise InputError(f"Transport operator {path}: not a CSR matrix of {size} rows ({error}).") from error
    attrs = provenance(path) | {"source_order": " ".join(order)}
    try:
        return Circulation(grid, to_house_order(matrix, wet, order), path.stem, attrs)
    except InvbgcError as error:
        raise type(error)(f"Transport operator {path}: {error}") from error


def _grid_of(content: dict[str, np.ndarray], wet: np.ndarray, path: Path) -> OceanGrid:
    """The grid described by an npz file; areas are R^2 cos(phi) dphi dlambda, as on the OCIM2 grid."""
    latitude, longitude = content["lat"], content["lon"]
    latitude_edges = regular_edges(latitude, f"{path}, lat")
    longitude_edges = regular_edges(longitude, f"{path}, lon")
    height = EARTH_RADIUS * np.radians(np.diff(latitude_edges))
    width = EARTH_RADIUS * np.cos(np.radians(latitude))[:, None] * np.radians(np.diff(longitude_edges))
    return OceanGrid(
        wet=wet,
        depth_edges=np.r_[content["z_w"], content["z_w"][-1] + content["dz"][-1]],
        latitude=latitude,
        latitude_edges=latitude_edges,
        longitude=longitude,
        longitude_edges=longitude_edges,
        area=height[:, None] * width,
        name=path.stem,
    )


def _check_volume(volume: np.ndarray, grid: OceanGrid, order: tuple[str, ...], path: Path) -> None:
    if volume.shape != (grid.n_wet,):
        raise InputError(f"Transport operator {path}: vol has shape {volume.shape}; expected {(grid.n_wet,)}.")
    difference = np.abs(volume[wet_positions(grid.wet, order)] / grid.volume - 1.0)
    if not difference.max() <= VOLUME_TOLERANCE:
        box = int(np.argmax(difference))
        raise InputError(
            f"Transport operator {path}: vol differs from area times thickness by up to a factor of "
            f"{1.0 + difference[box]:.4g}, most in {grid.describe(box)}; either the wet order is not "
            f"{order} (slowest first) or areas and layers are others."
        )
