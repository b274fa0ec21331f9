"""A steady state: the tracers of a model at one set of parameters, and what follows from them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
import xarray as xr

#: Long name and unit of the fields a state can hold.
FIELD_ATTRIBUTES = {
    "DIP": ("dissolved inorganic phosphorus", "mmol m-3"),
    "DOP": ("semi-labile dissolved organic phosphorus", "mmol m-3"),
    "DOPl": ("labile dissolved organic phosphorus", "mmol m-3"),
    "POP": ("particulate organic phosphorus", "mmol m-3"),
    "DIC": ("dissolved inorganic carbon", "mmol m-3"),
    "POC": ("particulate organic carbon", "mmol m-3"),
    "PIC": ("particulate inorganic carbon", "mmol m-3"),
    "DOC": ("semi-labile dissolved organic carbon", "mmol m-3"),
    "DOCl": ("labile dissolved organic carbon", "mmol m-3"),
    "DOCr": ("refractory dissolved organic carbon", "mmol m-3"),
    "ALK": ("total alkalinity", "mmol m-3"),
    "O2": ("dissolved oxygen", "mmol m-3"),
    "dip_uptake": ("phosphate uptake", "mmol m-3 s-1"),
    "production": ("modelled production of organic carbon", "mmol m-3 s-1"),
    "labile_production": ("production of labile organic carbon", "mmol m-3 s-1"),
    "pic_production": ("production of calcium carbonate", "mmol m-3 s-1"),
    "respiration": ("respiration of organic carbon", "mmol m-3 s-1"),
    "air_sea_co2_flux": ("carbon dioxide flux into the ocean", "mmol m-3 s-1"),
    "air_sea_o2_flux": ("oxygen flux into the ocean", "mmol m-3 s-1"),
}


@dataclass(frozen=True, eq=False)
class State:
    """Concentrations of a model's tracers at steady state.

    Attributes:
        model: the model, a `SteadyModel`; diagnostics of one model want that one.
        x: optimiser coordinates [p].
        parameters: value of every parameter.
        fields: tracer -> [n_wet] mmol m-3.
    """

    model: Any
    x: np.ndarray
    parameters: Mapping[str, float]
    fields: Mapping[str, jax.Array]

    @cached_property
    def diagnostics(self) -> dict[str, np.ndarray]:
        """Particles, rates and fluxes; see the model's `diagnose`."""
        return {name: np.asarray(value) for name, value in self.model.diagnose(self.fields, self.x).items()}

    @property
    def observable(self) -> dict[str, np.ndarray]:
        """What the observations measure, tracer -> [n_wet] mmol m-3."""
        return {name: np.asarray(value) for name, value in self.model.observable(self.fields).items()}

    def to_dataset(self) -> xr.Dataset:
        """Every tracer, particle and rate on (depth, latitude, longitude), with units and long names.

        With them go `area` m2, `volume` m3 and the bounds of the cells, so that xarray and xgcm can integrate.
        """
        grid, named = self.model.grid, self.model.long_names.items()
        attributes = FIELD_ATTRIBUTES | {name: (long_name, "mmol m-3") for name, long_name in named}
        everything = {name: np.asarray(value) for name, value in self.fields.items()} | self.diagnostics
        measures = {"cell_measures": "area: area volume: volume"}
        arrays = {
            name: grid.unpack(everything[name], name, {"long_name": long_name, "units": unit} | measures)
            for name, (long_name, unit) in attributes.items()
            if name in everything
        }
        cells = grid.to_dataset().drop_vars("wet")
        return cells.assign(arrays).assign_attrs({f"parameter_{name}": v for name, v in self.parameters.items()})
