"""Global budgets of a steady state of the P-C-O model."""

import numpy as np
import xarray as xr

from invbgc.models.pco.oxygen import oxic_fraction
from invbgc.state import State
from invbgc.verify import check_table


def budgets(state: State) -> xr.Dataset:
    """Global budgets that the equations close exactly, relative to the gross fluxes; expected below 1e-9.

    Phosphorus: v.(DIP - DIP_mean) = 0, since only the restoring exchanges mass. Carbon: organic uptake equals
    respiration, PIC production equals dissolution, and the air-sea flux of CO2 balances the virtual flux, which
    integrates to zero. Alkalinity: its mean is the restored one. Oxygen: production, respiration and air-sea flux
    cancel.
    """
    model, fields, diagnostics = state.model, state.fields, state.diagnostics
    v, env = model.grid.volume, model.environment

    def total(values) -> float:
        return float(v @ np.asarray(values))

    def drift(tracer: str, mean: float) -> float:
        return abs(total(fields[tracer]) / v.sum() - mean) / mean

    uptake = diagnostics["production"] + diagnostics["labile_production"]
    labile = model.options.labile_fraction * diagnostics["production"]
    organic = total(uptake - labile)
    o2 = np.asarray(fields["O2"])
    respired = np.asarray(oxic_fraction(env, o2)) * diagnostics["respiration"]
    oxygen_gain = state.parameters["r_O2C"] * total(uptake - labile - respired)
    calcite = total(diagnostics["pic_production"] - model.options.kappa_p * diagnostics["PIC"])
    table = {
        "phosphorus: mean DIP against its target": (drift("DIP", env.DIP_mean), 1e-9),
        "alkalinity: mean ALK against its target": (drift("ALK", env.ALK_mean), 1e-9),
        "organic carbon: uptake - respiration": (abs(organic - total(diagnostics["respiration"])) / organic, 1e-9),
        "calcite: production - dissolution": (abs(calcite) / total(diagnostics["pic_production"]), 1e-9),
        "CO2: net air-sea flux over organic uptake": (abs(total(diagnostics["air_sea_co2_flux"])) / organic, 1e-9),
        "oxygen: production - respiration + air-sea": (
            abs(oxygen_gain + total(diagnostics["air_sea_o2_flux"])) / (state.parameters["r_O2C"] * organic), 1e-9,
        ),
    }  # fmt: skip
    return check_table("Global budgets", table)
