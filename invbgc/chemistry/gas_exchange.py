"""Exchange of CO2 and O2 between ocean and atmosphere."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from invbgc.chemistry.carbonate import co2_star
from invbgc.chemistry.equilibrium import EquilibriumConstants
from invbgc.constants import SEAWATER_DENSITY_FACTOR, ZERO_CELSIUS
from invbgc.errors import InputError

OXYGEN_MOLAR_VOLUME = 22391.6
"""cm3 mol-1 of O2 at standard temperature and pressure."""


def schmidt_co2(temperature: ArrayLike) -> jax.Array:
    """Schmidt number of CO2 in seawater, 2073.1 - 125.62 t + 3.6276 t^2 - 0.043219 t^3.

    Args:
        temperature: t, degC.

    Returns:
        Dimensionless. Source: Wanninkhof (1992), as in OCMIP-2.
    """
    return jnp.polyval(jnp.array([-0.043219, 3.6276, -125.62, 2073.1]), jnp.asarray(temperature))


def schmidt_o2(temperature: ArrayLike) -> jax.Array:
    """Schmidt number of O2 in seawater, 1638.0 - 81.83 t + 1.483 t^2 - 0.008004 t^3.

    Args:
        temperature: t, degC.

    Returns:
        Dimensionless. Source: Keeling et al. (1998), as in OCMIP-2.
    """
    return jnp.polyval(jnp.array([-0.008004, 1.483, -81.83, 1638.0]), jnp.asarray(temperature))


def piston_velocity(piston_velocity_660: ArrayLike, schmidt: ArrayLike) -> jax.Array:
    """Piston velocity of a gas, k_w = k_660 sqrt(660 / Sc).

    Args:
        piston_velocity_660: k_660 at a Schmidt number of 660, m s-1, with the effect of wind and ice.
        schmidt: Sc, dimensionless.

    Returns:
        k_w, m s-1. Source: Wang et al. (2023), Methods, air-sea exchange.
    """
    return jnp.multiply(piston_velocity_660, jnp.sqrt(660.0 / jnp.asarray(schmidt)))


def oxygen_saturation(temperature: ArrayLike, salinity: ArrayLike) -> jax.Array:
    """Saturation concentration of O2 under moist air at 1 atm.

        ln C = sum_i A_i T^i + S sum_i B_i T^i + C_0 S^2,   T = ln[(298.15 - t) / (273.15 + t)]

    Args:
        temperature: t, degC.
        salinity: S, practical salinity.

    Returns:
        mmol m-3. Source: Garcia & Gordon (1992), equation 8 without the A_3 T^2 term that was printed by mistake, with
        the coefficients for the data of Benson & Krause.
    """
    temperature = jnp.asarray(temperature)
    scaled = jnp.log((298.15 - temperature) / (ZERO_CELSIUS + temperature))
    fresh = jnp.polyval(jnp.array([3.88767, -0.256847, 4.94457, 4.05010, 3.22014, 2.00907]), scaled)
    salt = jnp.polyval(jnp.array([-8.17083e-3, -1.03410e-2, -7.37614e-3, -6.24523e-3]), scaled)
    millilitres_per_litre = jnp.exp(fresh + salinity * salt - 4.88682e-7 * jnp.square(salinity))
    return millilitres_per_litre * (1e6 / OXYGEN_MOLAR_VOLUME)


def o2_flux(oxygen: ArrayLike, saturation: ArrayLike, exchange: ArrayLike, pressure: ArrayLike = 1.0) -> jax.Array:
    """Flux of O2 into the ocean, J = k (p O2_sat - O2).

    Args:
        oxygen: surface O2, mmol m-3.
        saturation: `oxygen_saturation` at 1 atm, mmol m-3.
        exchange: k, the piston velocity over the thickness of the surface layer, s-1.
        pressure: p, sea-level pressure, atm.

    Returns:
        mmol m-3 s-1; mmol m-2 s-1 if `exchange` is a piston velocity in m s-1. Source: Wang et al. (2023), Methods, O2
        model.
    """
    return jnp.multiply(exchange, jnp.multiply(pressure, saturation) - oxygen)


def co2_gross_fluxes(
    dic: ArrayLike,
    alk: ArrayLike,
    constants: EquilibriumConstants,
    exchange: ArrayLike,
    pco2: ArrayLike,
    *,
    units: Literal["consistent", "released"] = "consistent",
    pressure: ArrayLike | None = None,
) -> tuple[jax.Array, jax.Array]:
    """What enters and what leaves the ocean as CO2, k rho k0 pCO2 and k rho [CO2*]; their difference is `co2_flux`.

    Arguments, units and errors are those of `co2_flux`.

    Returns:
        Invasion and evasion, mmol m-3 s-1.
    """
    if units not in ("consistent", "released"):
        raise InputError(f"units of the CO2 flux = {units!r}; expected 'consistent' or 'released'")
    per_kg = SEAWATER_DENSITY_FACTOR if units == "consistent" else 1.0
    dissolved = co2_star(jnp.divide(dic, per_kg), jnp.divide(alk, per_kg), constants)
    solubility = constants.solubility if pressure is None else jnp.multiply(pressure, constants.solubility_moist)
    gross = jnp.multiply(exchange, SEAWATER_DENSITY_FACTOR)
    return gross * (solubility * pco2), gross * dissolved


def co2_flux(
    dic: ArrayLike,
    alk: ArrayLike,
    constants: EquilibriumConstants,
    exchange: ArrayLike,
    pco2: ArrayLike,
    *,
    units: Literal["consistent", "released"] = "consistent",
    pressure: ArrayLike | None = None,
) -> jax.Array:
    """Flux of CO2 into the ocean, J = k rho (k0 pCO2 - [CO2*]).

    rho converts umol kg-1 to mmol m-3. With a sea-level pressure p the atmosphere is that of OCMIP-2: `pco2` is the
    mole fraction x in dry air, and k0 pCO2 becomes F p x with F for air saturated with water vapour.

    Args:
        dic: surface DIC, mmol m-3.
        alk: surface total alkalinity, mmol m-3.
        constants: of `equilibrium_constants`, the same shape.
        exchange: k, the piston velocity over the thickness of the surface layer, s-1.
        pco2: of the atmosphere, uatm (ppm where `pressure` is given).
        units: ``"consistent"``: DIC and alkalinity are divided by rho before they enter the carbonate system;
            ``"released"``: they enter it in mmol m-3 as if these were umol kg-1, as in the paper's released code, which
            raises the pCO2 of the water by about 1.5 %.
        pressure: sea-level pressure, atm, or None for a pCO2 that is the same everywhere, as in the paper.

    Returns:
        mmol m-3 s-1; mmol m-2 s-1 if `exchange` is a piston velocity in m s-1. Source: Wang et al. (2023), Methods,
        air-sea exchange; OCMIP-2 (Orr et al. 1999).

    Raises:
        InputError: `units` is none of the two.
    """
    invasion, evasion = co2_gross_fluxes(dic, alk, constants, exchange, pco2, units=units, pressure=pressure)
    return invasion - evasion
