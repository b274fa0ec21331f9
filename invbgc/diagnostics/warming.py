"""What another temperature does to the sinking flux: in warmer water particles dissolve higher up."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.diagnostics.export import (
    FLUX_UNIT,
    depth_axis,
    flux_per_surface,
    global_total,
    interface_field,
    interpolated_flux,
    surface_dataset,
)
from invbgc.errors import InputError
from invbgc.models.pco.model import PCOModel
from invbgc.particles import remineralise
from invbgc.state import State
from invbgc.stoichiometry import normalise_temperature, top_layer_mean
from invbgc.units import require_unit

CLIMATES = ("present", "changed")
"""Labels of the two temperatures."""


def warming_effect(
    state: State, temperature: float | np.ndarray | xr.DataArray, depths: Sequence[float] = (100.0, 1000.0)
) -> xr.Dataset:
    """Flux exponents and the sinking flux of carbon at another temperature, with production as it is.

        b' = b_X + b_X_slope T_z',    T_z = (T - T_min + 1) / (T_max - T_min) averaged over the top layers

    where T_min and T_max stay those of the present, so that b' - b = b_X_slope dT / (T_max - T_min) for a change dT
    that is the same in these layers.

    Args:
        state: a steady state of the P-C-O model.
        temperature: a warming in degC everywhere; or the new temperature, [n_wet] degC or on (depth, latitude,
            longitude) with units. Only the layers that set the exponents matter.
        depths: m, at which fluxes are wanted besides the base z_0 of the euphotic zone.

    Returns:
        On (climate, latitude, longitude): `exponent_P`, `exponent_C`; on (latitude, longitude) `exponent_P_change`,
        `exponent_C_change`. On (climate, depth, latitude, longitude), mol m-2 yr-1, NaN where the sea floor is above:
        `poc_flux_discrete`, the model's own, and `poc_flux_continuous`, f(z_0) (z / z_0)^-b with f(z_0) of the model;
        integrals over the ocean as `<name>_global`, Pg C yr-1. `climate` is "present" or "changed". Source: Wang et al.
        (2023), Extended Data.

    Raises:
        InputError: the field has another size, grid or unit, is missing in a top layer, or is so cold that an exponent
            is not positive; or a depth is not in the ocean below z_0.
    """
    model, p = state.model, state.parameters
    grid, env, base = model.grid, model.environment, model.options.euphotic_layers
    normalised = {"present": env.exponent_temperature, "changed": exponent_temperature(model, temperature)}
    exponents = {
        element: {climate: p[f"b_{element}"] + p[f"b_{element}_slope"] * t for climate, t in normalised.items()}
        for element in ("P", "C")
    }
    for element, changed in exponents.items():
        lowest = float(changed["changed"].min())
        if not lowest > 0.0:
            raise InputError(
                f"at the new temperature the flux exponent b_{element} falls to {lowest:.3g}; expected it to stay "
                "positive: is the temperature in degC?"
            )

    result = surface_dataset(grid, base)
    z = depth_axis(result, [result.attrs["euphotic_depth"], *depths])
    climates = xr.DataArray(list(CLIMATES), dims="climate", name="climate")

    def stacked(fields: list[xr.DataArray], long_name: str, units: str) -> xr.DataArray:
        return xr.concat(fields, climates).assign_attrs(units=units, long_name=long_name)

    for element, of_climate in exponents.items():
        maps = [grid.unpack_surface(of_climate[climate]) for climate in CLIMATES]
        result[f"exponent_{element}"] = stacked(maps, f"flux exponent b of PO{element}", "1")
        result[f"exponent_{element}_change"] = (maps[1] - maps[0]).assign_attrs(
            units="1", long_name=f"change of the flux exponent b of PO{element}"
        )

    share = 1.0 - p["sigma_C"] - model.options.labile_fraction
    source = grid.to_columns(share * state.diagnostics["production"])
    discrete, continuous = [], []
    for climate in CLIMATES:
        law = env.power_law(jnp.asarray(exponents["C"][climate]))
        flux = interface_field(grid, flux_per_surface(grid, np.asarray(remineralise(source, law, env.columns).flux)))
        exponent = result["exponent_C"].sel(climate=climate, drop=True)
        own = interpolated_flux(flux, z)
        discrete.append(own)
        continuous.append((z / z[0].item()) ** -exponent * own.isel(depth=0, drop=True))
    there = result["wet"] & ((z <= result["sea_floor_depth"]) | (z <= result.attrs["euphotic_depth"]))
    for law, fluxes in {"discrete": discrete, "continuous": continuous}.items():
        name, text = f"poc_flux_{law}", f"flux of sinking particulate organic carbon, {law} law"
        result[name] = stacked([flux.where(there) for flux in fluxes], text, FLUX_UNIT)
        result[f"{name}_global"] = global_total(result[name], result["area"])
    result.attrs["title"] = "Sinking flux at another temperature"
    return result


def exponent_temperature(model: PCOModel, temperature: float | np.ndarray | xr.DataArray) -> np.ndarray:
    """Mean normalised temperature of the top layers, which sets the flux exponents; T_min and T_max stay as they are.

    Args:
        model: the model.
        temperature: as in `warming_effect`.

    Returns:
        T_z [n_columns], dimensionless.

    Raises:
        InputError: the field has another size, grid or unit, or is missing in a top layer.
    """
    grid, forcing, layers = model.grid, model.forcing, model.options.exponent_layers
    if isinstance(temperature, xr.DataArray):
        field = grid.pack(require_unit(temperature, "degC", "new temperature"))
    elif np.ndim(temperature) == 0:
        field = forcing.temperature + float(temperature)
    else:
        field = np.asarray(temperature, dtype=np.float64)
    if field.shape != (grid.n_wet,):
        raise InputError(
            f"new temperature has shape {field.shape}; expected a number, {grid.n_wet} wet boxes or a labelled field."
        )
    missing = grid.layer_mask(layers) & ~np.isfinite(field)
    if missing.any():
        raise InputError(
            f"new temperature is missing in {missing.sum()} boxes of the first {layers} layers, first in "
            f"{grid.describe(int(np.flatnonzero(missing)[0]))}; expected degC in all of them."
        )
    normalised = normalise_temperature(field, forcing.T_min, forcing.T_max)
    return top_layer_mean(grid.to_columns(normalised), grid.column_wet, layers)
