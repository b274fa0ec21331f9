"""Last step: the netCDF file that ships with invbgc, with units, long names, source and licence."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from invbgc.grid import DIMENSIONS, OceanGrid

LOGGER = logging.getLogger("invbgc.data_prep")

ZERO_ON_LAND = ("transport_east", "transport_north", "slope_east", "slope_north", "vertical_diffusivity")
"""Face fields: zero where the face is closed; all others are NaN on land."""

FIELDS = {
    "transport_east": ("m3 s-1", "volume transport through the eastern face, positive eastward"),
    "transport_north": ("m3 s-1", "volume transport through the northern face, positive northward"),
    "slope_east": ("1", "tapered eastward slope of density surfaces at the upper face"),
    "slope_north": ("1", "tapered northward slope of density surfaces at the upper face"),
    "vertical_diffusivity": ("m2 s-1", "vertical diffusivity at the upper face, with convection and eddy part K s^2"),
    "temperature": ("degC", "Levitus climatology, annual mean over the layer"),
    "salinity": ("1", "Levitus climatology, annual mean over the layer"),
    "silicate": ("mmol m-3", "silicate inferred from the absolute salinity anomaly of TEOS-10"),
    "phosphate": ("mmol m-3", "proxy: steady phosphate of a simple export model on this circulation"),
    "net_primary_production": ("mmol m-2 yr-1", "carbon production proxy from light, temperature, phosphate; pattern"),
    "wind_speed_squared": ("m2 s-2", "mean squared wind speed"),
    "ice_fraction": ("1", "annual mean sea-ice cover from monthly sea-surface temperature"),
    "piston_velocity_660": ("m s-1", "gas piston velocity at Schmidt number 660, sea ice applied"),
    "sea_level_pressure": ("atm", "annual mean sea-level pressure"),
    "winter_mixed_layer_depth": ("m", "mixed-layer depth of the deepest month"),
    "freshwater_flux": ("s-1", "virtual freshwater loss per volume of the first layer, sum over the ocean zero"),
    "chemistry_temperature": ("degC", "surface temperature for the carbonate chemistry"),
    "chemistry_salinity": ("1", "surface salinity for the carbonate chemistry"),
    "chemistry_silicate": ("umol kg-1", "surface silicate for the carbonate chemistry"),
    "chemistry_phosphate": ("umol kg-1", "surface phosphate proxy for the carbonate chemistry"),
    "chemistry_pressure": ("dbar", "pressure at the centre of the surface box"),
}
"""Variable -> unit, long name; the order of the file."""

LICENCE = (
    "Apache-2.0. Derived from climatologies that NOAA/PMEL distributes with Ferret under the Ferret License Agreement "
    "('this software and its documentation are in the public domain and are furnished as is')."
)
"""Licence of the packaged file."""

SOURCE = (
    "Computed for invbgc by data_prep/embedded_ocean from the Debian package ferret-datasets: Levitus temperature and "
    "salinity, monthly World Ocean Atlas temperature, COADS winds and sea-level pressure, Navy winds, Esbensen and "
    "Kushnir radiation, ETOPO20 relief; silicate from the salinity-anomaly atlas of TEOS-10 (gsw)."
)
"""Sources of the packaged file."""


def write_package(
    path: str | Path,
    grid: OceanGrid,
    fields: Mapping[str, np.ndarray],
    comments: Mapping[str, str],
    attrs: Mapping[str, object],
) -> None:
    """Write the packaged file: every field of `FIELDS` in single precision, deflated.

    Args:
        path: the file, overwritten if it exists.
        grid: its grid.
        fields: name -> [nz, ny, nx] or [ny, nx], in the unit of `FIELDS`.
        comments: name -> construction of a field, stored as its `comment`.
        attrs: further global attributes.
    """
    edges = {"depth": "m", "latitude": "degrees_north", "longitude": "degrees_east"}
    variables: dict[str, tuple] = {
        f"{name}_edge": (
            f"{name}_edge",
            getattr(grid, f"{name}_edges"),
            {"units": unit, "long_name": f"{name} of faces"},
        )
        for name, unit in edges.items()
    }
    variables["wet"] = (DIMENSIONS, grid.wet.astype(np.int8), {"units": "1", "long_name": "ocean mask"})
    variables["area"] = (DIMENSIONS[1:], grid.area, {"units": "m2", "long_name": "area of the cells"})
    for name, mask in grid.masks.items():
        variables[f"mask_{name}"] = (DIMENSIONS[1:], mask.astype(np.int8), {"units": "1", "long_name": f"{name} basin"})
    for name, (unit, long_name) in FIELDS.items():
        values = np.asarray(fields[name])
        dimensions = DIMENSIONS if values.ndim == 3 else DIMENSIONS[1:]
        wet = grid.wet if values.ndim == 3 else grid.wet[0]
        description = {"units": unit, "long_name": long_name}
        if name in comments:
            description["comment"] = comments[name]
        if name not in ZERO_ON_LAND:
            values = np.where(wet, values, np.nan)
            if not np.isfinite(values[wet]).all():
                raise ValueError(f"{name}: {np.sum(~np.isfinite(values[wet]))} wet values are not finite")
        variables[name] = (dimensions, values.astype(np.float32), description)
    coordinates = {name: value for name, value in grid.coordinates().items() if not name.endswith("_bounds")}
    for value in coordinates.values():
        value.attrs.pop("bounds")
    dataset = xr.Dataset(
        variables,
        coordinates,
        {
            "Conventions": "CF-1.10",
            "title": "Embedded ocean of invbgc: circulation and forcing, 4 degrees, 17 layers",
            "name": "embedded",
            "source": SOURCE,
            "licence": LICENCE,
        }
        | dict(attrs),
    )
    encoding = {name: {"zlib": True, "complevel": 9, "shuffle": True, "_FillValue": None} for name in dataset.variables}
    for name in FIELDS:
        if name not in ZERO_ON_LAND:
            encoding[name]["_FillValue"] = np.float32(np.nan)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    dataset.to_netcdf(path, encoding=encoding)
    LOGGER.info("wrote %s, %.2f MB", path, Path(path).stat().st_size / 1e6)
