"""What the equations need of an ocean, computed once from its grid, its forcing and the model's options."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.chemistry.equilibrium import (
    BORON_UPPSTROM,
    BORON_UPPSTROM_ROUNDED,
    EquilibriumConstants,
    equilibrium_constants,
)
from invbgc.chemistry.gas_exchange import oxygen_saturation, piston_velocity, schmidt_co2, schmidt_o2
from invbgc.constants import YEAR
from invbgc.datasets.forcing import Forcing
from invbgc.grid import OceanGrid
from invbgc.models.pco.options import PCOOptions
from invbgc.particles import Columns, SinkingLaw, exact_power_law, upwind_power_law
from invbgc.stoichiometry import galbraith_martiny_p_to_c, normalise, normalise_temperature, top_layer_mean


@dataclass(frozen=True, eq=False)
class Environment:
    """Constant fields of the model; wet vectors [n_wet] and columns [n_columns].

    Attributes:
        grid: the grid.
        options: the model's switches.
        columns: geometry of the water columns for sinking.
        euphotic: [n_wet] bool, boxes of the euphotic zone.
        surface: [n_wet] bool, boxes of the first layer.
        temperature: [n_wet] degC, smoothed climatology.
        phosphate: [n_wet] mmol m-3, smoothed climatology.
        satellite_phosphorus: [n_wet] mmol P m-3 yr-1, N of equation 1; zero below the euphotic zone.
        satellite_carbon: [n_wet] mmol C m-3 s-1.
        inverse_phosphate: [n_wet] m3 mmol-1, 1/(1e-6 + PO4).
        exponent_temperature: [n_columns] mean normalised temperature of the top layers.
        silicate: [n_wet] normalised silicate, zero below the euphotic zone.
        equilibrium: carbonate system constants of the surface boxes [n_columns].
        co2_exchange: [n_columns] s-1, piston velocity of CO2 over the thickness of the first layer.
        o2_exchange: [n_columns] s-1, the same for O2.
        o2_saturation: [n_columns] mmol m-3, at 1 atm.
        freshwater: [n_wet] s-1, net freshwater input over the first layer's thickness.
        pressure: [n_columns] atm, sea-level pressure.
        DIP_mean, ALK_mean, DIC_surface_mean, ALK_surface_mean: mmol m-3.
    """

    grid: OceanGrid
    options: PCOOptions
    columns: Columns
    euphotic: np.ndarray
    surface: np.ndarray
    temperature: np.ndarray
    phosphate: np.ndarray
    satellite_phosphorus: np.ndarray
    satellite_carbon: np.ndarray
    inverse_phosphate: np.ndarray
    exponent_temperature: np.ndarray
    silicate: np.ndarray
    equilibrium: EquilibriumConstants
    co2_exchange: np.ndarray
    o2_exchange: np.ndarray
    o2_saturation: np.ndarray
    freshwater: np.ndarray
    pressure: np.ndarray
    DIP_mean: float
    ALK_mean: float
    DIC_surface_mean: float
    ALK_surface_mean: float

    def exponent(self, p, element: str):
        """Flux exponent b = b_X + b_X_slope T_z of an element X, ``"P"`` or ``"C"``, [n_columns]."""
        return p[f"b_{element}"] + p[f"b_{element}_slope"] * self.exponent_temperature

    def power_law(self, exponent: jax.Array) -> SinkingLaw:
        """Sinking law of POP or POC for a flux exponent b [n_columns]."""
        law = upwind_power_law if self.options.sinking == "upwind" else exact_power_law
        return law(exponent, self.columns)


def make_environment(grid: OceanGrid, forcing: Forcing, options: PCOOptions) -> Environment:
    """Everything the equations need.

    Satellite production is shared alike between the euphotic layers, N = NPP / (layers dz) (0.006 + 0.0069 PO4).

    Args:
        grid: the grid.
        forcing: validated, on the same grid.
        options: the model's switches.

    Returns:
        the environment. Source: Wang et al. (2023), Methods, and the released code.
    """
    layers = options.euphotic_layers
    euphotic = grid.layer_mask(layers)
    surface = grid.layer_mask(1)
    thickness = grid.thickness[grid.layer]
    # Half of the column's production (one n-th for n layers) goes to each layer, whatever its thickness.
    carbon = np.where(euphotic, forcing.net_primary_production[grid.column] / layers / thickness, 0.0)
    normalised = normalise_temperature(forcing.temperature, forcing.T_min, forcing.T_max)
    top = slice(grid.n_columns)
    gases = _gases(forcing.piston_velocity_660, forcing.temperature[top], forcing.salinity[top])
    co2_speed, o2_speed, o2_saturation = (np.asarray(part) for part in gases)
    return Environment(
        grid=grid,
        options=options,
        columns=Columns.of(grid),
        euphotic=euphotic,
        surface=surface,
        temperature=forcing.temperature,
        phosphate=forcing.phosphate,
        satellite_phosphorus=carbon * np.asarray(galbraith_martiny_p_to_c(forcing.phosphate)),
        satellite_carbon=carbon / YEAR,
        inverse_phosphate=np.where(euphotic, 1.0 / (1e-6 + forcing.phosphate), 0.0),
        exponent_temperature=top_layer_mean(grid.to_columns(normalised), grid.column_wet, options.exponent_layers),
        silicate=np.where(euphotic, normalise(forcing.silicate, forcing.Si_min, forcing.Si_max), 0.0),
        equilibrium=equilibrium_constants(
            forcing.chemistry_temperature,
            forcing.chemistry_salinity,
            forcing.chemistry_phosphate,
            forcing.chemistry_silicate,
            forcing.chemistry_pressure,
            total_boron_per_salinity(options),
        ),
        co2_exchange=co2_speed / grid.thickness[0],
        o2_exchange=o2_speed / grid.thickness[0],
        o2_saturation=o2_saturation,
        freshwater=np.where(surface, forcing.freshwater_flux[grid.column], 0.0),
        pressure=forcing.sea_level_pressure,
        DIP_mean=forcing.DIP_mean,
        ALK_mean=forcing.ALK_mean,
        DIC_surface_mean=forcing.DIC_surface_mean,
        ALK_surface_mean=forcing.ALK_surface_mean,
    )


@jax.jit
def _gases(piston_velocity_660, temperature, salinity) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Piston velocities of CO2 and O2, m s-1, and the saturation of O2, mmol m-3, as one compiled program."""
    return (
        piston_velocity(piston_velocity_660, schmidt_co2(temperature)),
        piston_velocity(piston_velocity_660, schmidt_o2(temperature)),
        oxygen_saturation(temperature, salinity),
    )


def total_boron_per_salinity(options: PCOOptions) -> float:
    """Total boron per salinity, mol kg-1, as the options have it."""
    return BORON_UPPSTROM if options.chemistry_units == "released" else BORON_UPPSTROM_ROUNDED


def at_surface(grid: OceanGrid, values) -> jax.Array:
    """Wet vector [n_wet] that holds `values` [n_columns] in the first layer and zero below."""
    return jnp.zeros(grid.n_wet).at[: grid.n_columns].set(values)
