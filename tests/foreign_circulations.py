"""Circulations in the layout of other programs: MATLAB, AIBECS, PETSc, folders of the transport matrix method."""

import struct

import h5py
import numpy as np
import scipy.io
import scipy.sparse as sparse

from invbgc.circulation import Circulation
from invbgc.circulation.core import transport_from_flows
from invbgc.circulation.detect import candidate_positions, from_house_order
from invbgc.circulation.petsc import write_petsc_matrix
from invbgc.constants import YEAR
from invbgc.grid import OceanGrid

COLUMN_MAJOR = ("depth", "longitude", "latitude")
STEP = 43200.0


def matlab_grid(grid: OceanGrid) -> dict:
    """The structure of the OCIM files, (latitude, longitude, depth)."""
    shape = (*grid.shape[1:], grid.shape[0])
    width = np.broadcast_to(np.diff(grid.longitude_edges)[None, :, None], shape)
    fraction = np.ones(grid.shape) if grid.wet_fraction is None else grid.wet_fraction
    return {
        "yt": grid.latitude,
        "xt": grid.longitude,
        "zw": grid.depth_edges[:-1],
        "zt": grid.depth,
        "dzt": grid.thickness,
        "dyt": np.diff(grid.latitude_edges),
        "dxt": np.diff(grid.longitude_edges),
        "Areat": grid.area,
        "DXT3d": width.copy(),
        "DYT3d": np.broadcast_to(grid.area[..., None], shape) / width,
        "DZT3d": np.moveaxis(fraction, 0, 2) * grid.thickness,
    }


def matlab_content(ocean: Circulation, name: str = "TR", order=COLUMN_MAJOR, factor: float = -YEAR) -> dict:
    operator = from_house_order(ocean.transport, ocean.grid.wet, order) * factor
    mask = np.moveaxis(ocean.grid.wet, 0, 2).astype(float)
    return {name: sparse.csc_matrix(operator), "M3d": mask, "grid": matlab_grid(ocean.grid)}


def write_hdf5_matlab(path, content: dict) -> None:
    """A version 7.3 file: a MATLAB header of 512 bytes, reversed dimensions, sparse matrices as groups."""

    def write(parent, name, value):
        if isinstance(value, dict):
            group = parent.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_("struct")
            for key, item in value.items():
                write(group, key, item)
        elif sparse.issparse(value):
            group = parent.create_group(name)
            group.attrs["MATLAB_class"] = np.bytes_("double")
            group.attrs["MATLAB_sparse"] = np.uint64(value.shape[0])
            for key, part in (("data", value.data), ("ir", value.indices), ("jc", value.indptr)):
                group.create_dataset(key, data=part if key == "data" else part.astype(np.uint64))
        else:
            array = np.asarray(value, dtype=float)
            array = array.reshape(1, -1) if array.ndim < 2 else array
            parent.create_dataset(name, data=array.T).attrs["MATLAB_class"] = np.bytes_("double")

    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in content.items():
            write(file, key, value)
        text = file.create_dataset("note", data=np.array([[ord(letter)] for letter in "steady"], dtype=np.uint16))
        text.attrs["MATLAB_class"] = np.bytes_("char")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM")


def write_jld2(path, ocean: Circulation, factor: float = 1.0, flip: bool = False, bits: bool = True, **changes) -> None:
    """An archive as JLD2.jl writes it: compounds, references, reversed dimensions, numbers with unit as compounds.

    JLD2 leaves referenced data without a name; the HDF5 library would delete them, so they lie in a group here.
    """
    grid, unit = ocean.grid, np.dtype([("val", "<f8")])
    step = -1 if flip else 1
    with h5py.File(path, "w") as file:
        store = file.create_group("_refs")
        file.create_group("_types")

        def reference(values, dtype=None):
            name = f"{len(store):04d}"
            array = np.asarray(values)
            array = array if dtype is None else array.astype(float).view(dtype).reshape(array.shape)
            store.create_dataset(name, data=array.T if array.ndim else array)
            return store[name].ref

        wet = np.moveaxis(grid.wet, 0, 2)[::step]
        volume = np.zeros(grid.shape)
        volume[grid.wet] = grid.volume
        south_first = not flip
        position = candidate_positions(grid.wet, COLUMN_MAJOR, south_first)["depth longitude latitude"]
        inverse = np.argsort(position)
        matrix = sparse.csc_array(ocean.transport[inverse][:, inverse] * factor)
        matrix.sort_indices()
        words = np.packbits(np.pad(wet.ravel(order="F"), (0, -wet.size % 64)), bitorder="little").view("<u8")
        triple = np.dtype([("1", "<i8"), ("2", "<i8"), ("3", "<i8")])
        packed = np.dtype([("chunks", h5py.ref_dtype), ("len", "<i8"), ("dims", triple)])
        store.create_dataset("mask", data=np.array((reference(words), wet.size, wet.shape), dtype=packed))
        fields = {
            "lat": reference(grid.latitude[::step].copy(), unit),
            "lon": reference(grid.longitude, unit),
            "δlat": reference(np.diff(grid.latitude_edges)[::step].copy(), unit),
            "δlon": reference(np.diff(grid.longitude_edges), unit),
            "δdepth": reference(grid.thickness, unit),
            "depth_top": reference(grid.depth_edges[:-1].copy(), unit),
            "volume_3D": reference(np.moveaxis(volume, 0, 2)[::step].copy(), unit),
            "A_2D": reference(grid.area[::step].copy(), unit),
            "wet3D": store["mask"].ref if bits else reference(wet.astype(np.uint8)),
            "nlon": grid.longitude.size,
        } | {key: reference(value) if value is not None else None for key, value in changes.items() if key in "lat lon"}
        fields = {key: value for key, value in fields.items() if value is not None}
        kinds = [(key, "<i8" if isinstance(value, int) else h5py.ref_dtype) for key, value in fields.items()]
        file.create_dataset(changes.get("grid_name", "grid"), data=np.array(tuple(fields.values()), np.dtype(kinds)))
        parts = {"m": grid.n_wet, "n": grid.n_wet} | {
            "colptr": reference(matrix.indptr.astype(np.int64) + changes.get("base", 1)),
            "rowval": reference(matrix.indices.astype(np.int64) + changes.get("base", 1)),
            "nzval": reference(matrix.data[: changes.get("entries")].copy(), unit),
        }
        kinds = [(key, "<i8" if isinstance(value, int) else h5py.ref_dtype) for key, value in parts.items()]
        file.create_dataset(changes.get("matrix_name", "T"), data=np.array(tuple(parts.values()), np.dtype(kinds)))


class Months:
    """Twelve explicit tendencies and implicit propagators whose mean is known, in house order."""

    def __init__(self, ocean: Circulation):
        grid = ocean.grid
        mixing = {(k, below): 3e6 for k, below in enumerate(grid.below) if below >= 0}
        vertical = transport_from_flows(mixing | {(b, a): flow for (a, b), flow in mixing.items()}, grid.volume)
        season = 1.0 + 0.3 * np.sin(2.0 * np.pi * (np.arange(12) + 0.5) / 12.0)
        eye = np.eye(grid.n_wet)
        self.ocean = ocean
        self.explicit = [-f * ocean.transport for f in season]
        self.implicit = [sparse.csr_array(np.linalg.inv(eye + STEP * f * vertical.toarray())) for f in season]
        mean = (
            sum(m.toarray() for m in self.explicit) / 12 + sum((m.toarray() - eye) for m in self.implicit) / 12 / STEP
        )
        self.transport = sparse.csr_array(-mean)
        self.expected = Circulation(grid, self.transport, "mean")


def tmm_grid(grid: OceanGrid, **extra) -> dict:
    def field(values):
        return np.transpose(np.broadcast_to(values, grid.shape), (2, 1, 0)).copy()

    volume = np.zeros(grid.shape)
    volume[grid.wet] = grid.volume
    return {
        "nx": float(grid.longitude.size),
        "x": grid.longitude,
        "y": grid.latitude,
        "z": grid.depth,
        "dznom": grid.thickness,
        "dz": field(grid.thickness[:, None, None]),
        "da": field(grid.area[None]),
        "dv": field(volume),
        "dth": np.diff(grid.latitude_edges),
        "dphi": np.diff(grid.longitude_edges),
        "bathy": field(grid.wet.astype(float)),
        "deltaT": STEP,
    } | extra


def numbering(grid: OceanGrid, seed: int = 0) -> tuple[np.ndarray, dict]:
    """Any numbering of the boxes, and the indices from one that describe it."""
    order = np.random.default_rng(seed).permutation(grid.n_wet)
    layer, row, cell = (index[order] + 1 for index in np.nonzero(grid.wet))
    return order, {"izBox": layer.astype(float), "iyBox": row.astype(float), "ixBox": cell.astype(float)}


def write_petsc_folder(folder, months: Months, kind="propagator", first: int = 0, suffix: str = "") -> None:
    folder.mkdir(exist_ok=True)
    order, indices = numbering(months.ocean.grid)
    scipy.io.savemat(folder / "grid.mat", tmm_grid(months.ocean.grid))
    scipy.io.savemat(folder / "boxes.mat", indices)
    eye = sparse.eye_array(order.size, format="csr")
    for month, (explicit, implicit) in enumerate(zip(months.explicit, months.implicit, strict=True)):
        step = eye + STEP * explicit if kind == "propagator" else explicit
        write_petsc_matrix(step[order][:, order], folder / f"Ae_{month + first:02d}{suffix}")
        write_petsc_matrix(implicit[order][:, order], folder / f"Ai_{month + first:02d}{suffix}")


def write_matlab_folder(folder, months: Months, indexed: bool = True) -> None:
    """As distributed: config_data.mat names the files; annual means lie beside the months."""
    (folder / "Matrix5" / "TMs").mkdir(parents=True)
    (folder / "Matrix5" / "Data").mkdir()
    order, indices = numbering(months.ocean.grid)
    if not indexed:
        order = np.arange(order.size)
    else:
        scipy.io.savemat(folder / "Matrix5" / "Data" / "boxes.mat", indices)
    base = "Matrix5/TMs/matrix_nocorrection"
    config = {f"{key}MatrixFileBase": base for key in ("explicit", "implicit")}
    config |= {f"{key}AnnualMeanMatrixFile": f"{base}_annualmean" for key in ("explicit", "implicit")}
    scipy.io.savemat(folder / "config_data.mat", config | {"matrixPath": "Matrix5"})
    scipy.io.savemat(folder / "grid.mat", tmm_grid(months.ocean.grid))

    def theirs(matrix):
        return sparse.csc_matrix(sparse.csr_array(matrix)[order][:, order])

    for month, (explicit, implicit) in enumerate(zip(months.explicit, months.implicit, strict=True), 1):
        scipy.io.savemat(folder / f"{base}_{month:02d}.mat", {"Aexp": theirs(explicit), "Aimp": theirs(implicit)})
    means = {"Aexpms": theirs(sum(months.explicit) / 12), "Aimpms": theirs(sum(months.implicit) / 12)}
    scipy.io.savemat(folder / f"{base}_annualmean.mat", means)
