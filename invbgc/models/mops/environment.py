"""What MOPS needs of an ocean, computed once from its grid and its forcing."""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.chemistry.equilibrium import BORON_UPPSTROM, EquilibriumConstants, equilibrium_constants
from invbgc.chemistry.gas_exchange import oxygen_saturation, piston_velocity, schmidt_co2, schmidt_o2
from invbgc.constants import DAY, SEAWATER_DENSITY_FACTOR
from invbgc.datasets.forcing import Forcing
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.models.mops.light import Daylight, daylight
from invbgc.models.mops.options import MopsOptions
from invbgc.models.mops.shapes import Shapes
from invbgc.particles import Columns

EXPORT_ABOVE = 100.0
"""Depth above which the middle of a lit layer lies, m: 6 layers of ECCO, 2 of MITgcm-2.8, 3 of the embedded ocean."""
SILICATE = 7.7
"""Surface silicate of the carbonate system, mmol m-3."""
PHOSPHATE_OF_CHEMISTRY = 0.5
"""Surface phosphate of the carbonate system, mmol m-3; its 0.5 of alkalinity shift pCO2 by less than 0.1 %."""
ALKALINITY = 2310.0 * SEAWATER_DENSITY_FACTOR
"""Uniform surface alkalinity, mmol m-3."""
MEAN_SALINITY = 34.88
FAST_EXCHANGE = 160.0
"""Gas transfer of CO2 in the experiments, m d-1: 10 m per biology step of 1/16 d."""
RETURN_TIME = 360.0
"""Time after which what was buried returns from the rivers, d."""
FREEZING, ICE_RANGE = -1.8, (1.5, 1.2)
"""Freezing point, degC; ice covers clip((T_f + 1.5 - T) / 1.2, 0, 1) where no ice is given."""


@dataclass(frozen=True, eq=False)
class Environment:
    """Constant fields; columns are [nz, n_columns], the surface [n_columns].

    Attributes:
        grid: the grid.
        options: the model's switches.
        columns: geometry of the water columns.
        layers: number of lit layers.
        thickness: [nz] m.
        temperature: [nz, n_columns] degC.
        latitude: [n_columns] degrees north.
        ice: [n_columns] covered part of the surface.
        o2_velocity, co2_velocity: [n_columns] m d-1, gas transfer.
        o2_saturation: [n_columns] mmol m-3 at the pressure of the air.
        alkalinity: [n_columns] mmol m-3.
        equilibrium: constants of the carbonate system.
        pressure: [n_columns] atm, of the exchange of CO2.
        volume: [nz, n_columns] m3, zero below the floor.
    """

    grid: OceanGrid
    options: MopsOptions
    columns: Columns
    layers: int
    thickness: jax.Array
    temperature: jax.Array
    latitude: jax.Array
    ice: jax.Array
    o2_velocity: jax.Array
    co2_velocity: jax.Array
    o2_saturation: jax.Array
    alkalinity: jax.Array
    equilibrium: EquilibriumConstants
    pressure: jax.Array
    volume: jax.Array

    @cached_property
    def shapes(self) -> Shapes:
        """How corners are treated."""
        return Shapes(self.options.form == "smooth")

    @cached_property
    def seasons(self) -> Daylight:
        """Light at the middles of equal parts of the year, [seasons, n_columns]."""
        with jax.ensure_compile_time_eval():  # one copy for all compiled programs
            times = (jnp.arange(self.options.seasons) + 0.5) / self.options.seasons
            return daylight(times[:, None], self.latitude[None, :])

    def at_surface(self, values) -> jax.Array:
        """[nz, n_columns] with values [n_columns] in the first layer and zero below."""
        return jnp.pad(jnp.asarray(values)[None], ((0, self.grid.n_layers - 1), (0, 0)))

    def oxygen_exchange(self, oxygen) -> jax.Array:
        """Gas exchange of O2, k (O2_sat - O2) / dz_1 in the first layer, mmol m-3 d-1."""
        return self.at_surface(self.o2_velocity * (self.o2_saturation - oxygen[0]) / self.thickness[0])

    def resupply(self, amount) -> jax.Array:
        """An amount of phosphorus per day (mmol d-1) spread over the first layer, [nz, n_columns] mmol m-3 d-1."""
        return self.at_surface(jnp.full(self.grid.n_columns, 1.0)) * (amount / jnp.sum(self.volume[0]))


def lit_layers(grid: OceanGrid) -> int:
    """Number of layers whose middle lies above 100 m."""
    return max(int(np.sum(grid.depth < EXPORT_ABOVE)), 1)


def ice_fraction(surface_temperature: np.ndarray) -> np.ndarray:
    """Covered part of the surface, clip((T_f + 1.5 - t) / 1.2, 0, 1), where no observation is at hand."""
    return np.clip((FREEZING + ICE_RANGE[0] - surface_temperature) / ICE_RANGE[1], 0.0, 1.0)


def make_environment(
    grid: OceanGrid, forcing: Forcing, options: MopsOptions, ice: np.ndarray | None = None
) -> Environment:
    """Everything the equations need.

    Args:
        grid: the grid.
        forcing: temperature, salinity, gas transfer velocity and pressure are used.
        options: the model's switches.
        ice: [n_columns] covered part of the surface; from the temperature where None.

    Returns:
        the environment.

    Raises:
        InputError: fewer layers than the euphotic zone has, or ice outside 0 to 1.
    """
    layers = lit_layers(grid) if options.euphotic_layers is None else options.euphotic_layers
    if layers > grid.n_layers:
        raise InputError(f"mops: {layers} euphotic layers; expected at most {grid.n_layers}, those of '{grid.name}'")
    surface = forcing.temperature[: grid.n_columns]
    salinity = forcing.salinity[: grid.n_columns]
    covered = ice_fraction(surface) if ice is None else np.asarray(ice, dtype=float)
    if covered.shape != surface.shape or covered.min() < 0.0 or covered.max() > 1.0:
        raise InputError(
            f"mops: ice of shape {covered.shape} between {covered.min():g} and {covered.max():g}; expected "
            f"{surface.shape} and 0 to 1"
        )
    k660 = forcing.piston_velocity_660 * DAY
    pressure = np.asarray(forcing.sea_level_pressure)
    fast = options.exchange == "fast"
    co2 = np.full(grid.n_columns, FAST_EXCHANGE) if fast else piston_velocity(k660, schmidt_co2(surface))
    alkalinity = ALKALINITY * (np.ones_like(salinity) if options.alkalinity == "uniform" else salinity / MEAN_SALINITY)
    return Environment(
        grid=grid,
        options=options,
        columns=Columns.of(grid),
        layers=layers,
        thickness=jnp.asarray(grid.thickness),
        temperature=jnp.asarray(grid.to_columns(forcing.temperature)),
        latitude=jnp.asarray(grid.wet_latitude[: grid.n_columns]),
        ice=jnp.asarray(covered),
        o2_velocity=jnp.asarray(piston_velocity(k660, schmidt_o2(surface))),
        co2_velocity=jnp.asarray(co2),
        o2_saturation=jnp.asarray(pressure * oxygen_saturation(surface, salinity)),
        alkalinity=jnp.asarray(alkalinity),
        equilibrium=equilibrium_constants(
            surface,
            salinity,
            PHOSPHATE_OF_CHEMISTRY / SEAWATER_DENSITY_FACTOR,
            SILICATE / SEAWATER_DENSITY_FACTOR,
            0.0,
            BORON_UPPSTROM,
        ),
        pressure=jnp.ones(grid.n_columns) if fast else jnp.asarray(pressure),
        volume=jnp.asarray(grid.to_columns(np.asarray(grid.volume))),
    )
