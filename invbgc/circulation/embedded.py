"""The embedded ocean: a global circulation of 4 degrees and 17 layers that comes with the package.

It was computed for this project from climatologies in the public domain (recipe, sources and scores:
`data_prep/embedded_ocean/README.md`). The file holds transports, isopycnal slopes and vertical diffusivity at the
faces of the boxes in single precision, and the forcing fields of the biogeochemical models; the operator is assembled
here in double precision, after the flow has been made free of divergence again.
"""

from dataclasses import fields
from functools import cache
from importlib.resources import files

import numpy as np
import xarray as xr

from invbgc.circulation.assembly import FaceFlow, FaceMetrics, FaceMixing, assemble, close_continuity
from invbgc.circulation.core import Circulation
from invbgc.grid import OceanGrid

FILE = "embedded_ocean.nc"
"""Name of the data file in `invbgc/data`."""

MASK_PREFIX = "mask_"
"""Prefix of the basin masks in the file."""


@cache
def _file() -> xr.Dataset:
    with files("invbgc").joinpath("data", FILE).open("rb") as stream:
        return xr.load_dataset(stream.name, engine="netcdf4")


@cache
def embedded_grid() -> OceanGrid:
    """The grid of the embedded ocean: 34,092 wet boxes in 2,493 columns, and its basins as masks.

    Examples:
        >>> from invbgc.circulation.embedded import embedded_grid
        >>> embedded_grid().n_wet
        34092
    """
    file = _file()
    return OceanGrid(
        wet=file["wet"].values == 1,
        depth_edges=file["depth_edge"].values,
        latitude=file["latitude"].values,
        latitude_edges=file["latitude_edge"].values,
        longitude=file["longitude"].values,
        longitude_edges=file["longitude_edge"].values,
        area=file["area"].values,
        name="embedded",
        masks={
            str(name).removeprefix(MASK_PREFIX): file[name].values == 1
            for name in file.data_vars
            if str(name).startswith(MASK_PREFIX)
        },
    )


@cache
def embedded_flow() -> FaceFlow:
    """Volume transports of the embedded ocean through the faces of its boxes, [nz, ny, nx] m3 s-1, no divergence."""
    file = _file()
    east, north = (file[f"transport_{name}"].values.astype(np.float64) for name in ("east", "north"))
    return close_continuity(FaceMetrics(embedded_grid()), east, north)


@cache
def embedded() -> Circulation:
    """The embedded ocean, assembled from its face transports and mixing fields in about a second.

    Returns:
        the audited circulation, 34,092 boxes; `attrs` holds source, licence and provenance.

    Raises:
        ConservationError: the packaged file is damaged.

    Examples:
        >>> from invbgc.circulation.embedded import embedded
        >>> embedded().audit.passed
        True
    """
    file = _file()
    mixing = FaceMixing(*(file[field.name].values.astype(np.float64) for field in fields(FaceMixing)))
    transport = assemble(
        FaceMetrics(embedded_grid()),
        embedded_flow(),
        mixing,
        float(file.attrs["eddy_diffusivity"]),
    )
    attrs = {key: file.attrs[key] for key in ("title", "source", "licence", "history")}
    return Circulation(embedded_grid(), transport, "embedded", attrs | {"source_order": "depth latitude longitude"})


def embedded_fields() -> xr.Dataset:
    """All fields of the packaged file: forcing of the biogeochemical models, masks, face transports and mixing.

    Returns:
        Dataset on (depth, latitude, longitude) in double precision, NaN on land; every variable has `units` and
        `long_name`. The names of the forcing are those of the dataset schema; attributes hold the licence and the
        constants of the schema (T_min, Si_max, ...).
    """
    file = _file()
    double = {name: file[name].astype(np.float64) for name in file.data_vars if file[name].dtype == np.float32}
    return file.assign(double)
