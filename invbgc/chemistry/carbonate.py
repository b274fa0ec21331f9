"""The carbonate system of seawater: [CO2*], pCO2 and pH from DIC and total alkalinity.

Alkalinity counts carbonate, borate, water, phosphate, silicate, bisulfate and hydrogen fluoride. The hydrogen ion
concentration is found by a fixed number of steps, so that the solve compiles and runs alike for every input, and is
differentiated as the implicit function it is: derivatives of every order are exact, whatever the steps were.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from invbgc.chemistry.equilibrium import EquilibriumConstants, equilibrium_constants

__all__ = ["CarbonateSystem", "EquilibriumConstants", "carbonate", "co2_star", "equilibrium_constants"]

_LOG_10 = 2.302585092994046
_PH_BRACKET = (1.0, 13.0)
# Bisection leaves 12 / 2^11 = 0.006 pH units. With respect to ln[H], the second derivative of every term of alkalinity
# is at most about twice its first, so that Newton's error is squared at each step: 1e-2, 1e-4, 1e-8, round-off.
_BISECTIONS = 11
_NEWTON_STEPS = 4


class CarbonateSystem(NamedTuple):
    """State of the carbonate system; arrays of one shape.

    Attributes:
        co2_star: umol kg-1, dissolved CO2 and carbonic acid.
        k0: mol kg-1 atm-1, [CO2*] per partial pressure, with the fugacity factor.
        pco2: uatm.
        ph_total: pH on the total scale.
        bicarbonate: umol kg-1.
        carbonate: umol kg-1.
    """

    co2_star: jax.Array
    k0: jax.Array
    pco2: jax.Array
    ph_total: jax.Array
    bicarbonate: jax.Array
    carbonate: jax.Array


@jax.jit
def carbonate(
    dic: ArrayLike,
    alk: ArrayLike,
    temperature: ArrayLike,
    salinity: ArrayLike,
    phosphate: ArrayLike = 0.0,
    silicate: ArrayLike = 0.0,
    pressure: ArrayLike = 0.0,
) -> CarbonateSystem:
    """The carbonate system of seawater.

    Args:
        dic: umol kg-1.
        alk: total alkalinity, umol kg-1.
        temperature: degC.
        salinity: practical salinity, positive.
        phosphate: umol kg-1.
        silicate: umol kg-1.
        pressure: dbar of water above.

    Returns:
        Arrays of the common shape of the arguments. Source: the constants of `invbgc.chemistry.equilibrium`, as in
        Wang et al. (2023), Methods, air-sea exchange.

    Examples:
        >>> state = carbonate(2000.0, 2320.0, temperature=18.0, salinity=35.0, phosphate=0.7, silicate=10.0)
        >>> round(float(state.pco2), 2), round(float(state.ph_total), 4)
        (277.78, 8.1794)
    """
    dic, alk, temperature, salinity, phosphate, silicate, pressure = (
        jnp.asarray(x, dtype=float)
        for x in jnp.broadcast_arrays(dic, alk, temperature, salinity, phosphate, silicate, pressure)
    )
    constants = equilibrium_constants(temperature, salinity, phosphate, silicate, pressure)
    log_h = _log_hydrogen(dic * 1e-6, alk * 1e-6, constants)
    dissolved, first, second = _carbonate_species(dic, jnp.exp(log_h), constants)
    return CarbonateSystem(
        co2_star=dissolved,
        k0=constants.solubility,
        pco2=dissolved / constants.solubility,
        ph_total=-log_h / _LOG_10,
        bicarbonate=first,
        carbonate=second,
    )


@jax.jit
def co2_star(dic: ArrayLike, alk: ArrayLike, constants: EquilibriumConstants) -> jax.Array:
    """[CO2*] = DIC / (1 + K1/[H] + K1 K2/[H]^2), for constants computed beforehand.

    Args:
        dic: umol kg-1, the shape of the constants.
        alk: total alkalinity, umol kg-1, the same shape.
        constants: of `equilibrium_constants`.

    Returns:
        umol kg-1. Divide by `constants.solubility` for pCO2 in uatm.
    """
    dic, alk = jnp.asarray(dic, dtype=float), jnp.asarray(alk, dtype=float)
    hydrogen = jnp.exp(_log_hydrogen(dic * 1e-6, alk * 1e-6, constants))
    return _carbonate_species(dic, hydrogen, constants)[0]


def _carbonate_species(dic, hydrogen, constants: EquilibriumConstants):
    """CO2*, HCO3- and CO3-- in the unit of DIC."""
    bicarbonate = constants.carbonic_1 / hydrogen
    ratio = bicarbonate * constants.carbonic_2 / hydrogen
    dissolved = dic / (1.0 + bicarbonate + ratio)
    return dissolved, dissolved * bicarbonate, dissolved * ratio


def _alkalinity(log_h, dic, constants: EquilibriumConstants):
    """Total alkalinity mol kg-1 at a total-scale hydrogen ion concentration, for DIC mol kg-1; falls with log_h."""
    c = constants
    h = jnp.exp(log_h)
    _, bicarbonate, carbonate = _carbonate_species(dic, h, c)
    p1 = c.phosphoric_1 / h
    p2 = p1 * c.phosphoric_2 / h
    p3 = p2 * c.phosphoric_3 / h
    free = h / (1.0 + c.total_sulfate / c.bisulfate)
    bases = (
        bicarbonate
        + 2.0 * carbonate
        + c.total_boron / (1.0 + h / c.boric)
        + c.water / h
        + c.phosphate * (p2 + 2.0 * p3 - 1.0) / (1.0 + p1 + p2 + p3)
        + c.silicate / (1.0 + h / c.silicic)
    )
    acids = free + c.total_sulfate / (1.0 + c.bisulfate / free) + c.total_fluoride / (1.0 + c.hydrogen_fluoride / free)
    return bases - acids


def _alkalinity_slope(log_h, dic, constants):
    """Alkalinity and its derivative with respect to log_h."""
    return jax.jvp(lambda x: _alkalinity(x, dic, constants), (log_h,), (jnp.ones_like(log_h),))


@jax.custom_jvp
def _log_hydrogen(dic, alk, constants: EquilibriumConstants):
    """Logarithm of the total-scale hydrogen ion concentration (mol kg-1) for DIC and alkalinity in mol kg-1."""
    return _solve(dic, alk, constants)


@_log_hydrogen.defjvp
def _log_hydrogen_jvp(primals, tangents):
    """Implicit derivative: alkalinity(log_h, DIC, constants) - ALK = 0 holds whatever changes.

    The rule evaluates the same implicit function, so that it can itself be differentiated, to any order.
    """
    dic, alk, constants = primals
    dic_dot, alk_dot, constants_dot = tangents
    log_h = _log_hydrogen(dic, alk, constants)
    _, slope = _alkalinity_slope(log_h, dic, constants)
    _, drift = jax.jvp(lambda d, c: _alkalinity(log_h, d, c), (dic, constants), (dic_dot, constants_dot))
    return log_h, (alk_dot - drift) / slope


@jax.jit
def _solve(dic, alk, constants: EquilibriumConstants):
    """The root of alkalinity(log_h) = alk by bisection and Newton's method."""

    def bisect(_, bracket):
        low, high = bracket
        middle = 0.5 * (low + high)
        too_basic = _alkalinity(middle, dic, constants) > alk
        return jnp.where(too_basic, middle, low), jnp.where(too_basic, high, middle)

    def newton(_, x):
        value, slope = _alkalinity_slope(x, dic, constants)
        return x - (value - alk) / slope

    like = jnp.zeros_like(dic + alk + constants.carbonic_1)
    bracket = (like - _PH_BRACKET[1] * _LOG_10, like - _PH_BRACKET[0] * _LOG_10)
    low, high = jax.lax.fori_loop(0, _BISECTIONS, bisect, bracket)
    return jax.lax.fori_loop(0, _NEWTON_STEPS, newton, 0.5 * (low + high))
