"""Forcing of the model: the prescribed fields and constants, on one grid."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.grid import OceanGrid

FIELDS_3D = {
    "temperature": ("degC", "temperature, smoothed horizontally"),
    "phosphate": ("mmol m-3", "phosphate of the production and of C:P, smoothed horizontally"),
    "silicate": ("mmol m-3", "silicate of the rain ratio"),
    "salinity": ("1", "practical salinity"),
}
"""Field on (depth, latitude, longitude) -> unit, long name."""

FIELDS_2D = {
    "net_primary_production": ("mmol m-2 yr-1", "net primary production, carbon"),
    "piston_velocity_660": ("m s-1", "gas transfer velocity at Schmidt number 660, scaled, with ice"),
    "sea_level_pressure": ("atm", "sea-level pressure"),
    "freshwater_flux": ("s-1", "net freshwater input over the thickness of the first layer"),
    "chemistry_temperature": ("degC", "temperature of the carbonate system"),
    "chemistry_salinity": ("1", "practical salinity of the carbonate system"),
    "chemistry_silicate": ("umol kg-1", "silicate of the carbonate system"),
    "chemistry_phosphate": ("umol kg-1", "phosphate of the carbonate system"),
    "chemistry_pressure": ("dbar", "pressure of the carbonate system"),
}
"""Field on (latitude, longitude) -> unit, long name."""

CONSTANTS = {
    "DIP_mean": "volume-weighted mean of the DIP observations, mmol m-3",
    "ALK_mean": "volume-weighted mean of the alkalinity observations, mmol m-3",
    "DIC_surface_mean": "mean of the DIC observations of the first layer, mmol m-3",
    "ALK_surface_mean": "mean of the alkalinity observations of the first layer, mmol m-3",
    "T_min": "lowest temperature of all wet boxes, degC",
    "T_max": "highest temperature of all wet boxes, degC",
    "Si_min": "lowest silicate of the euphotic zone, mmol m-3",
    "Si_max": "highest silicate of the euphotic zone, mmol m-3",
}
"""Constant -> meaning and unit. They belong to the data and stay as they are when the temperature is changed."""

EUPHOTIC_LAYERS = 2
"""Layers of the euphotic zone, over which silicate is normalised (Wang et al. 2023)."""


@dataclass(frozen=True, eq=False)
class Forcing:
    """Prescribed fields: wet vectors [n_wet], columns [n_columns] and constants; units in `FIELDS_3D`, `FIELDS_2D`.

    Attributes:
        temperature, phosphate, silicate, salinity: [n_wet].
        net_primary_production, piston_velocity_660, sea_level_pressure, freshwater_flux: [n_columns].
        chemistry_temperature, chemistry_salinity, chemistry_silicate, chemistry_phosphate: [n_columns].
        chemistry_pressure: [n_columns].
        DIP_mean, ALK_mean, DIC_surface_mean, ALK_surface_mean: floats, see `CONSTANTS`.
        T_min, T_max, Si_min, Si_max: floats, see `CONSTANTS`.
        attrs: provenance: source, licence, processing steps.
    """

    temperature: np.ndarray
    phosphate: np.ndarray
    silicate: np.ndarray
    salinity: np.ndarray
    net_primary_production: np.ndarray
    piston_velocity_660: np.ndarray
    sea_level_pressure: np.ndarray
    freshwater_flux: np.ndarray
    chemistry_temperature: np.ndarray
    chemistry_salinity: np.ndarray
    chemistry_silicate: np.ndarray
    chemistry_phosphate: np.ndarray
    chemistry_pressure: np.ndarray
    DIP_mean: float
    ALK_mean: float
    DIC_surface_mean: float
    ALK_surface_mean: float
    T_min: float
    T_max: float
    Si_min: float
    Si_max: float
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def require(self, grid: OceanGrid) -> None:
        """Refuse a grid of another size.

        Args:
            grid: that of the circulation.

        Raises:
            InputError: the fields have another number of boxes.
        """
        if len(self.temperature) != grid.n_wet:
            raise InputError(
                f"the forcing has {len(self.temperature)} boxes, the grid '{grid.name}' {grid.n_wet}; expected one "
                'grid: load the dataset on that of the circulation, as in load_dataset("embedded", ocean.grid).'
            )

    def to_dataset(self, grid: OceanGrid) -> xr.Dataset:
        """Every field on the grid, NaN on land, with units and long names; constants and provenance as attributes.

        Args:
            grid: the grid of the forcing.

        Returns:
            Dataset in the schema of `invbgc.datasets.schema`.

        Raises:
            InputError: the fields have another size.
        """
        fields = {}
        for name, (unit, text) in FIELDS_3D.items():
            fields[name] = grid.unpack(getattr(self, name), name, {"units": unit, "long_name": text})
        for name, (unit, text) in FIELDS_2D.items():
            fields[name] = grid.unpack_surface(getattr(self, name), name, {"units": unit, "long_name": text})
        constants = {name: float(getattr(self, name)) for name in CONSTANTS}
        return xr.Dataset(fields, attrs=dict(self.attrs) | constants)


def data_constants(
    temperature: np.ndarray, silicate: np.ndarray, observed: Mapping[str, np.ndarray], grid: OceanGrid
) -> dict[str, float]:
    """The constants that follow from the data: extrema of the forcing and means of the observations.

    Args:
        temperature: [n_wet] degC.
        silicate: [n_wet] mmol m-3.
        observed: tracer -> [n_wet] mmol m-3, NaN where unobserved; DIP, DIC and ALK are used.
        grid: the grid.

    Returns:
        the constants of `CONSTANTS`; those of absent tracers are left out. Means are weighted by
        volume, over all observed boxes for DIP and ALK, over those of the first layer for the surface means.

    Raises:
        InputError: a tracer has no observation where its mean is wanted.
    """
    euphotic = grid.layer_mask(EUPHOTIC_LAYERS)
    constants = {
        "T_min": float(temperature.min()),
        "T_max": float(temperature.max()),
        "Si_min": float(silicate[euphotic].min()),
        "Si_max": float(silicate[euphotic].max()),
    }
    everywhere, surface = np.ones(grid.n_wet, dtype=bool), grid.layer_mask(1)
    wanted = (
        ("DIP_mean", "DIP", everywhere),
        ("ALK_mean", "ALK", everywhere),
        ("DIC_surface_mean", "DIC", surface),
        ("ALK_surface_mean", "ALK", surface),
    )
    for name, tracer, where in wanted:
        if tracer not in observed:
            continue
        use = where & np.isfinite(observed[tracer])
        if not use.any():
            raise InputError(f"Constant {name}: no observation of {tracer} to form it from; give it as an attribute.")
        constants[name] = float(np.average(observed[tracer][use], weights=grid.volume[use]))
    return constants
