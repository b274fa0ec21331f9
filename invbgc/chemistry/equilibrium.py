"""Equilibrium constants and total concentrations of the seawater acid-base system.

The choices are those of CO2SYS with the total pH scale, carbonic acid constants 4 (Mehrbach et al. 1973 as refitted by
Dickson & Millero 1987), bisulfate constant 1 (Dickson 1990) and total boron 1 (Uppstrom 1974), which are the choices of
Wang et al. (2023). The constants depend on temperature, salinity and pressure alone: compute them once per ocean.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from invbgc.constants import ZERO_CELSIUS

GAS_CONSTANT = 83.14462618
"""cm3 bar mol-1 K-1 (CODATA 2018)."""

BORON_UPPSTROM = 0.000232 / 10.811 / 1.80655
"""Total boron per salinity, mol kg-1, from the measured ratio to chlorinity (Uppstrom 1974)."""

BORON_UPPSTROM_ROUNDED = 0.0004157 / 35.0
"""The same as rounded in CO2SYS, 1.5e-4 smaller; the difference moves equilibrium DIC by 0.01 mmol m-3."""

ATMOSPHERE = 1.01325
"""bar per standard atmosphere."""

# Molal volume change a0 + a1 t + a2 t^2 (cm3 mol-1) and compressibility change b0 + b1 t (1e-3 cm3 mol-1 bar-1) of each
# dissociation, t in degC. Millero (1995, Geochim. Cosmochim. Acta 59, 661), with water and boric acid as in Millero
# (1983; 1979); silicic acid is given the values of boric acid.
_PRESSURE_EFFECT = {
    "carbonic_1": (-25.5, 0.1271, 0.0, -3.08, 0.0877),
    "carbonic_2": (-15.82, -0.0219, 0.0, 1.13, -0.1475),
    "boric": (-29.48, 0.1622, -0.002608, -2.84, 0.0),
    "water": (-20.02, 0.1119, -0.001409, -5.13, 0.0794),
    "phosphoric_1": (-14.51, 0.1211, -0.000321, -2.67, 0.0427),
    "phosphoric_2": (-23.12, 0.1758, -0.002647, -5.15, 0.09),
    "phosphoric_3": (-26.57, 0.2020, -0.003042, -4.08, 0.0714),
    "silicic": (-29.48, 0.1622, -0.002608, -2.84, 0.0),
    "bisulfate": (-18.03, 0.0466, 0.000316, -4.53, 0.09),
    "hydrogen_fluoride": (-9.78, -0.009, -0.000942, -3.91, 0.054),
}


class EquilibriumConstants(NamedTuple):
    """Everything the carbonate system needs besides DIC and alkalinity; arrays of one shape.

    Dissociation constants are stoichiometric, in mol kg-1 (products of two in mol2 kg-2) on the total pH scale, except
    those of bisulfate and hydrogen fluoride, which are on the free scale.

    Attributes:
        solubility: k0, mol kg-1 atm-1, [CO2*] per partial pressure of CO2: K0 times the fugacity factor (Weiss 1974).
        solubility_moist: F of Weiss & Price (1980), mol kg-1 atm-1, [CO2*] per mole fraction of CO2 in dry air when
            moist air at 1 atm lies over the water.
        carbonic_1, carbonic_2, boric, water, phosphoric_1, phosphoric_2, phosphoric_3, silicic: K1, K2, K_B, K_W, K_P1
            to K_P3 and K_Si.
        bisulfate, hydrogen_fluoride: K_SO4 and K_F.
        total_boron, total_sulfate, total_fluoride, phosphate, silicate: total concentrations, mol kg-1.
    """

    solubility: jax.Array
    solubility_moist: jax.Array
    carbonic_1: jax.Array
    carbonic_2: jax.Array
    boric: jax.Array
    water: jax.Array
    phosphoric_1: jax.Array
    phosphoric_2: jax.Array
    phosphoric_3: jax.Array
    silicic: jax.Array
    bisulfate: jax.Array
    hydrogen_fluoride: jax.Array
    total_boron: jax.Array
    total_sulfate: jax.Array
    total_fluoride: jax.Array
    phosphate: jax.Array
    silicate: jax.Array


@jax.jit
def equilibrium_constants(
    temperature: ArrayLike,
    salinity: ArrayLike,
    phosphate: ArrayLike = 0.0,
    silicate: ArrayLike = 0.0,
    pressure: ArrayLike = 0.0,
    boron: float = BORON_UPPSTROM_ROUNDED,
) -> EquilibriumConstants:
    """Constants and totals of seawater.

    Args:
        temperature: degC.
        salinity: practical salinity, positive.
        phosphate: umol kg-1.
        silicate: umol kg-1.
        pressure: dbar of water above; solubilities are not corrected for it.
        boron: total boron per salinity, mol kg-1.

    Returns:
        Arrays of the common shape of the arguments. Source: Wang et al. (2023), Methods, air-sea exchange; the paper of
        each constant is named in this module.
    """
    t, s, phosphate, silicate, bar = (
        jnp.asarray(x, dtype=float)
        for x in jnp.broadcast_arrays(temperature, salinity, phosphate, silicate, jnp.asarray(pressure) / 10.0)
    )
    kelvin = t + ZERO_CELSIUS
    sulfate = 0.14 / 96.062 * s / 1.80655  # Morris & Riley (1966)
    fluoride = 0.000067 / 18.998 * s / 1.80655  # Riley (1965)

    free_scale = {"bisulfate": _bisulfate(kelvin, s), "hydrogen_fluoride": _hydrogen_fluoride(kelvin, s)}
    total_per_seawater = _total_per_seawater(sulfate, fluoride, **free_scale)
    seawater_scale = {
        # Dickson & Millero (1987, Deep-Sea Res. 34, 1733)
        "carbonic_1": 10.0 ** -(3670.7 / kelvin - 62.008 + 9.7944 * jnp.log(kelvin) - 0.0118 * s + 0.000116 * s**2),
        "carbonic_2": 10.0 ** -(1394.7 / kelvin + 4.777 - 0.0184 * s + 0.000118 * s**2),
        "boric": _boric_total_scale(kelvin, s) / total_per_seawater,
        "water": _water(kelvin, s),
        "silicic": _silicic(kelvin, s),
        **_phosphoric(kelvin, s),
    }
    # The pressure effects belong to the scales above; the conversion to the total scale follows at pressure.
    free_scale = {name: k * _pressure_factor(name, t, bar) for name, k in free_scale.items()}
    total_per_seawater = _total_per_seawater(sulfate, fluoride, **free_scale)
    total_scale = {name: k * _pressure_factor(name, t, bar) * total_per_seawater for name, k in seawater_scale.items()}
    return EquilibriumConstants(
        solubility=_henry(kelvin, s) * _fugacity_factor(kelvin),
        solubility_moist=_moist_air_solubility(kelvin, s),
        total_boron=boron * s,
        total_sulfate=sulfate,
        total_fluoride=fluoride,
        phosphate=phosphate * 1e-6,
        silicate=silicate * 1e-6,
        **free_scale,
        **total_scale,
    )


def _pressure_factor(name, t, bar):
    """K(p) / K(0) of a dissociation at t degC and p bar, exp[(-dV + dk p / 2) p / (R T)]."""
    a0, a1, a2, b0, b1 = _PRESSURE_EFFECT[name]
    volume = a0 + a1 * t + a2 * t**2
    compressibility = (b0 + b1 * t) * 1e-3
    return jnp.exp((-volume + 0.5 * compressibility * bar) * bar / (GAS_CONSTANT * (t + ZERO_CELSIUS)))


def _total_per_seawater(sulfate, fluoride, bisulfate, hydrogen_fluoride):
    """Factor from the seawater to the total scale."""
    total = 1.0 + sulfate / bisulfate
    return total / (total + fluoride / hydrogen_fluoride)


def _ionic_strength(s):
    """Ionic strength of seawater, mol per kg of water (Dickson & Goyet 1994)."""
    return 19.924 * s / (1000.0 - 1.005 * s)


def _per_kg_seawater(s):
    """Mass fraction of water in seawater."""
    return 1.0 - 0.001005 * s


def _henry(kelvin, s):
    """K0 of Weiss (1974, Mar. Chem. 2, 203), mol kg-1 atm-1."""
    x = kelvin / 100.0
    salt = s * (0.023517 - 0.023656 * x + 0.0047036 * x**2)
    return jnp.exp(-60.2409 + 93.4517 / x + 23.3585 * jnp.log(x) + salt)


def _fugacity_factor(kelvin):
    """Fugacity of CO2 per partial pressure at 1 atm of air (Weiss 1974)."""
    virial = -1636.75 + 12.0408 * kelvin - 0.0327957 * kelvin**2 + 3.16528e-5 * kelvin**3
    cross = 57.7 - 0.118 * kelvin
    return jnp.exp((virial + 2.0 * cross) * ATMOSPHERE / (GAS_CONSTANT * kelvin))


def _moist_air_solubility(kelvin, s):
    """F of Weiss & Price (1980, Mar. Chem. 8, 347), mol kg-1 atm-1."""
    x = kelvin / 100.0
    salt = s * (0.025695 - 0.025225 * x + 0.0049867 * x**2)
    return jnp.exp(-162.8301 + 218.2968 / x + 90.9241 * jnp.log(x) - 1.47696 * x**2 + salt)


def _bisulfate(kelvin, s):
    """K_SO4 of Dickson (1990, J. Chem. Thermodyn. 22, 113), free scale."""
    log, ionic = jnp.log(kelvin), _ionic_strength(s)
    root = jnp.sqrt(ionic)
    exponent = (
        -4276.1 / kelvin
        + 141.328
        - 23.093 * log
        + (-13856.0 / kelvin + 324.57 - 47.986 * log) * root
        + (35474.0 / kelvin - 771.54 + 114.723 * log) * ionic
        - 2698.0 / kelvin * ionic * root
        + 1776.0 / kelvin * ionic**2
    )
    return jnp.exp(exponent) * _per_kg_seawater(s)


def _hydrogen_fluoride(kelvin, s):
    """K_F of Dickson & Riley (1979, Mar. Chem. 7, 89), free scale."""
    return jnp.exp(1590.2 / kelvin - 12.641 + 1.525 * jnp.sqrt(_ionic_strength(s))) * _per_kg_seawater(s)


def _boric_total_scale(kelvin, s):
    """K_B of Dickson (1990, Deep-Sea Res. 37, 755), total scale."""
    root = jnp.sqrt(s)
    exponent = (
        (-8966.90 - 2890.53 * root - 77.942 * s + 1.728 * s * root - 0.0996 * s**2) / kelvin
        + (148.0248 + 137.1942 * root + 1.62142 * s)
        - (24.4344 + 25.085 * root + 0.2474 * s) * jnp.log(kelvin)
        + 0.053105 * root * kelvin
    )
    return jnp.exp(exponent)


def _water(kelvin, s):
    """K_W of Millero (1995), seawater scale."""
    log = jnp.log(kelvin)
    salt = (118.67 / kelvin - 5.977 + 1.0495 * log) * jnp.sqrt(s) - 0.01615 * s
    return jnp.exp(148.9802 - 13847.26 / kelvin - 23.6521 * log + salt)


def _phosphoric(kelvin, s):
    """K_P1, K_P2 and K_P3 of Yao & Millero (1995, Aquat. Geochem. 1, 53), seawater scale."""
    log, root = jnp.log(kelvin), jnp.sqrt(s)
    return {
        "phosphoric_1": jnp.exp(
            -4576.752 / kelvin
            + 115.54
            - 18.453 * log
            + (-106.736 / kelvin + 0.69171) * root
            + (-0.65643 / kelvin - 0.01844) * s
        ),
        "phosphoric_2": jnp.exp(
            -8814.715 / kelvin
            + 172.1033
            - 27.927 * log
            + (-160.34 / kelvin + 1.3566) * root
            + (0.37335 / kelvin - 0.05778) * s
        ),
        "phosphoric_3": jnp.exp(
            -3070.75 / kelvin - 18.126 + (17.27039 / kelvin + 2.81197) * root + (-44.99486 / kelvin - 0.09984) * s
        ),
    }


def _silicic(kelvin, s):
    """K_Si of Yao & Millero (1995), seawater scale."""
    ionic = _ionic_strength(s)
    exponent = (
        -8904.2 / kelvin
        + 117.4
        - 19.334 * jnp.log(kelvin)
        + (-458.79 / kelvin + 3.5913) * jnp.sqrt(ionic)
        + (188.74 / kelvin - 1.5998) * ionic
        + (-12.1652 / kelvin + 0.07871) * ionic**2
    )
    return jnp.exp(exponent) * _per_kg_seawater(s)
