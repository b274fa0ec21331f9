"""Transport matrices of the transport matrix method (Khatiwala 2007): a folder of explicit and implicit matrices.

One step of the ocean model is c(n+1) = A_i (A_e c(n) + dt q), with A_e = I + dt A_exp; A_exp is a tendency in s-1,
dC/dt = A_exp C, and A_i the propagator of vertical mixing over one step. Two kinds of folder are read:

* as distributed: `grid.mat`, `config_data.mat` (with the paths of the matrices) and `boxes.mat`; matrices in MATLAB
  files, monthly (variables Aexp, Aimp; files <base>_01 to _12) or annual (Aexpms, Aimpms); the step of A_i is
  `deltaT` in grid.mat;
* as written for a run: PETSc matrices Ae_00 to Ae_11 (or _01 to _12) and Ai_..., or Ae and Ai for annual means, with
  or without the suffix .petsc, with grid.mat and, where ixBox, iyBox and izBox are not in it, boxes.mat. There A_e
  contains the step of the run, which no file holds: give `time_step`.

grid.mat holds x, y, z (centres), da and dv (x, y, z), or da and dz, and dznom where dz varies. The layout comes from
published readers and run scripts of these files; curvilinear grids (cubed sphere, LLC) are refused. Matrices of models
with a free surface may fail the audit, since they keep a uniform tracer only together with a correction.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse

from invbgc.circulation.core import Circulation
from invbgc.circulation.detect import candidate_positions, cell_edges, detect_circulation, grid_with_volume
from invbgc.circulation.matlab import read_mat
from invbgc.circulation.periodic import PeriodicTransport, annual_mean
from invbgc.circulation.petsc import read_petsc_matrix
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.sources.registry import get_source

PROPAGATOR_TOLERANCE = 1e-3
"""How near the row sums of a matrix must be to one (propagator) or, times a second, to zero (tendency)."""


def read_tmm(
    folder: str | Path, time_step: float | None = None, annual: bool = False, unit: str | None = None
) -> Circulation:
    """The annual mean circulation of a folder of transport matrices: T = -mean(A_exp) - mean(A_i - I) / dt.

    Seasonal covariance of flow and tracer is lost in this mean, and A_i enters linearised over one step.

    Args:
        folder: a folder as in the description of this module.
        time_step: s, the step contained in PETSc matrices.
        annual: read the annual mean files where monthly ones exist too.
        unit: "s-1" accepts a turnover that is not plausible; sign and unit are otherwise checked by the diagonal.

    Returns:
        the audited circulation; `attrs` say what was found.

    Raises:
        InputError: a file or variable is missing, truncated or of wrong size, or the step is not known.
        ConservationError: the operator failed the audit.
    """
    return _read(folder, time_step, annual, unit)[0]


def read_tmm_periodic(folder: str | Path, time_step: float | None = None, unit: str | None = None) -> PeriodicTransport:
    """The monthly matrices of a folder, in house order; arguments and errors as `read_tmm`."""
    return _read(folder, time_step, False, unit)[1]


def _read(
    folder: str | Path, time_step: float | None, annual: bool, unit: str | None
) -> tuple[Circulation, PeriodicTransport]:
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"TMM folder {folder}: no such folder.")
    if not (folder / "grid.mat").is_file():
        raise InputError(f"TMM folder {folder}: no grid.mat; found {_listing(folder)}.")
    content = read_mat(folder / "grid.mat")
    config = read_mat(folder / "config_data.mat") if (folder / "config_data.mat").is_file() else {}
    boxes = _boxes(folder, content, config)
    grid, positions = _grid(folder, content, boxes)
    explicit, implicit, step = _matrices(folder, config, content, time_step, annual, grid.n_wet)
    mean = annual_mean(explicit, implicit, step)
    months = f"{len(explicit)} explicit and {len(implicit)} implicit matrices, step {step:g} s"
    attrs = {
        "source": f"{folder.name} ({months})",
        "licence": "that of the files",
        "citation": get_source("tmm").citation,
    }
    ocean = detect_circulation(mean, grid, f"TMM folder {folder}", positions, None, unit, attrs)
    found = ocean.attrs["source_sign"], ocean.attrs["source_unit"]
    if found != ("convergence", "s-1") or any(np.median(matrix.diagonal()) > 0.0 for matrix in explicit):
        raise InputError(
            f"TMM folder {folder}: explicit matrices look like {found[0]} in {found[1]}; expected convergence in s-1 "
            "(dC/dt = A_exp C), without which they cannot be added to the implicit ones."
        )
    position = positions[ocean.attrs["source_order"]]

    def house(matrices: tuple) -> tuple[sparse.csr_array, ...]:
        return tuple(sparse.csr_array(matrix[position][:, position]) for matrix in matrices)

    return ocean, PeriodicTransport(grid, house(explicit), house(implicit), step, dict(ocean.attrs))


def _listing(folder: Path) -> str:
    return ", ".join(sorted(item.name for item in folder.iterdir())[:20]) or "nothing"


def _boxes(folder: Path, content: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[np.ndarray, ...] | None:
    """Layer, latitude and longitude index of each box of the matrices, from zero; None if no file has them."""
    names = ("izBox", "iyBox", "ixBox")
    if not all(name in content for name in names):
        places = [folder / "boxes.mat", folder / str(config.get("matrixPath", "")) / "Data" / "boxes.mat"]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            return None
        content = read_mat(file)
        if not all(name in content for name in names):
            raise InputError(f"{file}: no {', '.join(names)}; found {', '.join(sorted(content)) or 'nothing'}.")
    return tuple(np.atleast_1d(np.asarray(content[name], dtype=np.int64)) - 1 for name in names)


def _grid(
    folder: Path, content: Mapping[str, Any], boxes: tuple[np.ndarray, ...] | None
) -> tuple[OceanGrid, dict[str, np.ndarray]]:
    path = folder / "grid.mat"

    def member(name: str) -> np.ndarray:
        if name not in content:
            raise InputError(f"{path}: no variable {name}; found {', '.join(sorted(content)) or 'nothing'}.")
        return np.asarray(content[name], dtype=np.float64)

    longitude, latitude, depth = (np.atleast_1d(member(name)) for name in ("x", "y", "z"))
    if not longitude.ndim == latitude.ndim == depth.ndim == 1:
        raise InputError(
            f"{path}: x, y and z have shapes {longitude.shape}, {latitude.shape}, {depth.shape}; expected one axis "
            "each. Curvilinear grids are not supported."
        )
    shape = (longitude.size, latitude.size, depth.size)

    def field(name: str) -> np.ndarray:
        """[nz, ny, nx] of an (x, y, z) or (x, y) array."""
        values = member(name)
        if values.size == shape[0] * shape[1] and shape[2] > 1:
            values = np.repeat(values.reshape(*shape[:2], 1), shape[2], axis=2)
        if values.size != np.prod(shape):
            raise InputError(f"{path}: {name} has shape {values.shape}; expected {shape} from x, y and z.")
        return values.reshape(shape).transpose(2, 1, 0)

    area = field("da")
    nominal = "dznom" if "dznom" in content else "dz"
    thickness = np.atleast_1d(member(nominal))
    if thickness.shape != depth.shape:
        raise InputError(f"{path}: {nominal} has shape {thickness.shape}; expected {depth.shape}, or give dznom.")
    edges = np.r_[0.0, np.cumsum(thickness)]
    if np.max(np.abs(0.5 * (edges[1:] + edges[:-1]) - np.abs(depth)) / thickness) > 0.5:
        raise InputError(f"{path}: layers of {nominal} do not hold the centres z; expected m, from the surface.")
    if boxes is None:
        wet = field("bathy") > 0
    else:
        if len({box.shape for box in boxes}) != 1 or any(
            box.min() < 0 or box.max() >= size for box, size in zip(boxes, shape[::-1], strict=True)
        ):
            raise InputError(
                f"TMM folder {folder}: izBox, iyBox, ixBox have shapes {[box.shape for box in boxes]} and values up to "
                f"{[int(box.max()) + 1 for box in boxes]}; expected one length and at most {shape[::-1]}."
            )
        wet = np.zeros(shape[::-1], dtype=bool)
        wet[boxes] = True
        if int(wet.sum()) != boxes[0].size:
            raise InputError(f"TMM folder {folder}: {boxes[0].size} boxes at {wet.sum()} places.")
    columns = wet[0] | wet.any(axis=0)
    surface = np.where(columns, area[0], 0.0)
    partial = field("dv") if "dv" in content else (area * field("dz") if member("dz").size == area.size else None)
    widths = {name: np.ravel(content[name]) if name in content else None for name in ("dth", "dphi")}
    grid = grid_with_volume(
        partial,
        str(path),
        wet=wet,
        depth_edges=edges,
        latitude=latitude,
        latitude_edges=cell_edges(latitude, widths["dth"], f"{path}, y"),
        longitude=longitude,
        longitude_edges=cell_edges(longitude, widths["dphi"], f"{path}, x"),
        area=surface,
        name=folder.name,
    )
    if boxes is None:
        return grid, candidate_positions(wet)
    number = np.full(wet.shape, -1, dtype=np.int64)
    number[boxes] = np.arange(boxes[0].size)
    return grid, {"of the box indices": number[wet]}


def _matrices(
    folder: Path,
    config: Mapping[str, Any],
    content: Mapping[str, Any],
    time_step: float | None,
    annual: bool,
    n_wet: int,
) -> tuple[tuple, tuple, float]:
    """Explicit tendencies, implicit propagators, and the step of the latter, in the order of the files."""
    if any(_petsc_files(folder, "Ae").values()):
        explicit, implicit = (_petsc(folder, stem, annual, n_wet) for stem in ("Ae", "Ai"))
        if time_step is None:
            raise InputError(
                f"TMM folder {folder}: PETSc matrices contain the time step of their run; give it in s by the option "
                "time_step (43200 and 28800 are common)."
            )
        eye = sparse.eye_array(n_wet, format="csr")
        kinds = {_kind(matrix, f"{folder}, Ae") for matrix in explicit}
        if kinds == {"propagator"}:
            explicit = tuple((matrix - eye) / time_step for matrix in explicit)
        elif kinds != {"tendency"}:
            raise InputError(f"TMM folder {folder}: Ae holds propagators and tendencies; expected one kind.")
    else:
        explicit, implicit = (_matlab(folder, config, kind, annual, n_wet) for kind in ("explicit", "implicit"))
        if time_step is None and "deltaT" not in content:
            raise InputError(f"TMM folder {folder}: no deltaT in grid.mat; give the step of A_i by time_step.")
        time_step = float(np.asarray(content["deltaT"]).item()) if time_step is None else time_step
        if any(_kind(matrix, f"{folder}, explicit") != "tendency" for matrix in explicit):
            raise InputError(f"TMM folder {folder}: explicit matrices are propagators; expected tendencies in s-1.")
    if any(_kind(matrix, f"{folder}, implicit") != "propagator" for matrix in implicit):
        raise InputError(f"TMM folder {folder}: implicit matrices are tendencies; expected propagators.")
    if len(explicit) != len(implicit):
        raise InputError(f"TMM folder {folder}: {len(explicit)} explicit, {len(implicit)} implicit matrices.")
    return explicit, implicit, float(time_step)


def _kind(matrix: sparse.csr_array, source: str) -> str:
    """Whether a matrix carries a uniform tracer over a step (rows sum to one) or is its rate of change (to zero)."""
    sums = np.median(matrix.sum(axis=1))
    if abs(sums - 1.0) < PROPAGATOR_TOLERANCE:
        return "propagator"
    if abs(sums) < PROPAGATOR_TOLERANCE:
        return "tendency"
    raise InputError(f"TMM folder {source}: rows sum to {sums:.4g}; expected 1 (propagator) or 0 (tendency in s-1).")


def _petsc_files(folder: Path, stem: str) -> dict[str, list[Path]]:
    monthly = sorted(item for item in folder.iterdir() if re.fullmatch(rf"{stem}_\d\d(\.petsc)?", item.name))
    return {
        "monthly": monthly,
        "annual": [item for item in (folder / stem, folder / f"{stem}.petsc") if item.is_file()],
    }


def _petsc(folder: Path, stem: str, annual: bool, n_wet: int) -> tuple[sparse.csr_array, ...]:
    files = _petsc_files(folder, stem)
    monthly = bool(files["monthly"]) and not annual
    chosen = files["monthly"] if monthly else files["annual"][:1]
    if len(chosen) != (12 if monthly else 1):
        raise InputError(
            f"TMM folder {folder}: {len(chosen)} matrices {stem}; expected {stem}, or twelve {stem}_00 to {stem}_11. "
            f"Found {_listing(folder)}."
        )
    return tuple(_sized(read_petsc_matrix(item), item, n_wet) for item in chosen)


def _sized(matrix: Any, source: Path, n_wet: int) -> sparse.csr_array:
    if not sparse.issparse(matrix) or matrix.shape != (n_wet, n_wet):
        raise InputError(f"{source}: {np.shape(matrix)}; expected a sparse matrix, {(n_wet, n_wet)}.")
    return sparse.csr_array(matrix, dtype=np.float64)


def _matlab(
    folder: Path, config: Mapping[str, Any], kind: str, annual: bool, n_wet: int
) -> tuple[sparse.csr_array, ...]:
    key, variable = {"explicit": ("explicit", "Aexp"), "implicit": ("implicit", "Aimp")}[kind]
    base, mean = config.get(f"{key}MatrixFileBase"), config.get(f"{key}AnnualMeanMatrixFile")
    monthly = [folder / f"{base}_{month:02d}.mat" for month in range(1, 13)] if base else []
    present = [file for file in monthly if file.is_file()]
    if present and not annual:
        if len(present) != 12:
            raise InputError(f"TMM folder {folder}: {len(present)} of 12 files {base}_01.mat to _12.mat; expected all.")
        files, variables = monthly, [variable] * 12
    elif mean and (folder / f"{mean}.mat").is_file():
        files, variables = [folder / f"{mean}.mat"], [f"{variable}ms"]
    else:
        raise InputError(
            f"TMM folder {folder}: no {kind} matrices; expected Ae_00 and so on (PETSc), or config_data.mat with "
            f"{key}MatrixFileBase or {key}AnnualMeanMatrixFile that name MATLAB files. Found {_listing(folder)}."
        )
    matrices = []
    for file, name in zip(files, variables, strict=True):
        content = read_mat(file, [name])
        if name not in content:
            raise InputError(f"{file}: no variable {name}; found {', '.join(sorted(read_mat(file))) or 'nothing'}.")
        matrices.append(_sized(content[name], file, n_wet))
    return tuple(matrices)
