"""Plankton in the lit layers: growth, grazing, losses, nitrogen fixation (Kriest & Oschlies 2015)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from invbgc.models.mops.light import Daylight, light_limitation
from invbgc.models.mops.shapes import Shapes

R_NP = 16.0
"""N:P of organic matter."""
SMALLEST = 1e-6
"""Concentration of a limiting nutrient below which there is no uptake and no fixation, mmol m-3."""
FIXATION_CURVE = (-0.0042, 0.2253, -2.7819)
"""Temperature dependence of fixation, coefficients of t^2, t and 1, over its maximum `FIXATION_MAXIMUM`."""
FIXATION_MAXIMUM = 0.2395


class PlanktonRates(NamedTuple):
    """Rates in the lit layers, [layers, n_columns] mmol P m-3 d-1; fixation in mmol N m-3 d-1.

    Attributes:
        uptake: U, growth of phytoplankton.
        exudation: E_Y, linear loss of phytoplankton.
        quadratic_loss: M_Y of phytoplankton.
        grazing: G.
        excretion: X_Z of zooplankton, to phosphate.
        mortality: M_Z, quadratic, of zooplankton.
        fixation: F_N, nitrogen fixed.
    """

    uptake: jax.Array
    exudation: jax.Array
    quadratic_loss: jax.Array
    grazing: jax.Array
    excretion: jax.Array
    mortality: jax.Array
    fixation: jax.Array


def temperature_factor(temperature: jax.Array, p) -> jax.Array:
    """Growth with warmth, f_T = exp(t / T_b), dimensionless, for t in degC (Kriest & Oschlies 2015)."""
    return jnp.exp(temperature / p["e_folding_temperature"])


def fixation_temperature(temperature: jax.Array) -> jax.Array:
    """Temperature dependence of fixation, max(0, -0.0042 t^2 + 0.2253 t - 2.7819) / 0.2395; zero below 19.3 degC."""
    return jnp.maximum(0.0, jnp.polyval(jnp.array(FIXATION_CURVE), temperature)) / FIXATION_MAXIMUM


def plankton_rates(
    phosphate: jax.Array,
    nitrate: jax.Array,
    phytoplankton: jax.Array,
    zooplankton: jax.Array,
    temperature: jax.Array,
    light: Daylight,
    ice: jax.Array,
    thickness: jax.Array,
    p,
    shapes: Shapes,
    step: float,
    offset: float,
) -> PlanktonRates:
    """Rates of growth, grazing and loss.

        n = min(PO4, DIN / 16)
        U = min(n / dt, mu f_T PHY min(L, n / (K + n)))
        G = min(PHY / dt, mu_Z ZOO PHY^2 / (K_Z^2 + PHY^2))
        E_Y = lambda_Y PHY,  M_Y = kappa_Y PHY^2,  X_Z = lambda_Z ZOO,  M_Z = kappa_Z ZOO^2
        F_N = mu_N f_N(t) max(0, 1 - DIN / (16 PO4))

    Concentrations are those above the lower cut, max(c - a^2, 0).

    Args:
        phosphate: PO4, [layers, n] mmol m-3.
        nitrate: DIN, the same.
        phytoplankton: PHY, the same.
        zooplankton: ZOO, the same.
        temperature: [layers, n] degC.
        light: [.., n]; growth is the mean over leading axes (times of the year).
        ice: [n] covered part of the surface.
        thickness: [layers] m.
        p: parameters.
        shapes: how corners are treated.
        step: dt, d.
        offset: a^2, mmol m-3.

    Returns:
        the rates. Source: Kriest & Oschlies (2015), as restated for Tanioka et al. (2021).
    """

    def cut(x: jax.Array, ratio: float = 1.0) -> jax.Array:
        return shapes.positive(x - offset, ratio * offset)

    po4, din, phy, zoo = cut(phosphate), cut(nitrate, R_NP), cut(phytoplankton), cut(zooplankton)
    limiting = shapes.minimum(po4, din / R_NP)
    factor = temperature_factor(temperature, p)
    limited = limiting / (p["K_PO4"] + limiting)
    lit = light_limitation(phytoplankton, factor, light, ice, thickness, p)
    growth = p["growth"] * factor * phy * shapes.minimum(lit, limited)
    uptake = shapes.minimum(limiting / step, growth)
    uptake = jnp.mean(uptake.reshape(-1, *limiting.shape), axis=0)
    enough = po4 > SMALLEST
    surplus = 1.0 - din / (R_NP * jnp.where(enough, po4, 1.0))
    hunger = p["grazing"] * zoo * phy**2 / (p["K_grazing"] ** 2 + phy**2)
    return PlanktonRates(
        uptake=jnp.where(limiting > SMALLEST, uptake, 0.0),
        exudation=p["exudation"] * phy,
        quadratic_loss=p["quadratic_loss"] * phy**2,
        grazing=shapes.minimum(phy / step, hunger),
        excretion=p["excretion"] * zoo,
        mortality=p["quadratic_mortality"] * zoo**2,
        fixation=p["fixation"]
        * fixation_temperature(temperature)
        * jnp.where(enough, shapes.positive(surplus, 0.05), 0.0),
    )
