"""The gas-exchange file of OCMIP-2: monthly ice cover, transfer coefficient and pressure on a 1-degree grid."""

from pathlib import Path

import numpy as np
import xarray as xr

from invbgc.datasets.regridding import Climatology, read_climatology
from invbgc.errors import InputError
from invbgc.files import read_netcdf

MONTHS = 12


def read_ocmip2(path: str | Path) -> dict[str, Climatology]:
    """Annual means of the gas transfer velocity and of the sea-level pressure.

    The velocity at Schmidt number 660 is the mean over the months of (1 - FICE) XKW; the file's XKW has the coefficient
    0.337 cm/h (m/s)^-2, so that 0.6944 times it is that of Wang et al. (2023).

    Args:
        path: gasx_ocmip2.nc, with FICE (1), XKW (m s-1), P (atm) on month, latitude and longitude, and LAT and LON.

    Returns:
        "piston_velocity_660" in m s-1 and "sea_level_pressure" in atm, NaN on land.

    Raises:
        InputError: the file or a variable is missing, a shape does not fit, or a value is impossible.
    """
    content = read_netcdf(path, "Gas-exchange file")
    for name in ("LAT", "LON", "FICE", "XKW", "P"):
        if name not in content.variables:
            raise InputError(f"Gas-exchange file {path}: no variable '{name}'; found {', '.join(map(str, content))}.")
    latitude, longitude = (np.asarray(content[name].values, dtype=np.float64).squeeze() for name in ("LAT", "LON"))
    shape = (MONTHS, latitude.size, longitude.size)
    monthly = {}
    for name, high in (("FICE", 1.0), ("XKW", 0.01), ("P", 2.0)):
        values = np.asarray(content[name].values, dtype=np.float64).squeeze()
        if values.shape != shape:
            raise InputError(f"Gas-exchange file {path}, variable '{name}': shape {values.shape}; expected {shape}.")
        # Land holds zeros or large fill values, depending on the writer.
        monthly[name] = np.where((values >= 0.0) & (values <= high), values, np.nan)
    pressure = np.where(monthly["P"] > 0.5, monthly["P"], np.nan)
    velocity = np.where(np.isfinite(pressure), (1.0 - monthly["FICE"]) * monthly["XKW"], np.nan)
    if not np.isfinite(velocity).any():
        raise InputError(f"Gas-exchange file {path}: no ocean cell with FICE, XKW (m s-1) and P (atm); expected some.")
    coordinates = {"lat": latitude, "lon": longitude}
    fields = {"piston_velocity_660": (velocity, "m s-1"), "sea_level_pressure": (pressure, "atm")}
    means = xr.Dataset(
        {name: (("lat", "lon"), values.mean(axis=0), {"units": unit}) for name, (values, unit) in fields.items()},
        coordinates,
    )
    return {name: read_climatology(means, name) for name in fields}
