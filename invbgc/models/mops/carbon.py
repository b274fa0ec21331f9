"""Carbon with a flexible C:P: PHYC, ZOOC, DOC, POC and DIC, which follow the phosphorus core (Tanioka et al. 2021).

With r_Y = C:P of uptake, r_Z = C:P of zooplankton, G_C = r_Y G, and the excess Q = eps max(G_C - r_Z G, 0):

    DIC:  -r_Y U + r_Z X_Z + decay of DOC and POC + gas exchange + 117 times the return of buried phosphorus
    PHYC: r_Y U - G_C - r_Y E_Y - r_Y M_Y - mortality
    ZOOC: eps G_C - Q - r_Z X_Z - r_Z M_Z - mortality
    DOC:  sig W_C + r_Y M_Y + chi Q + mortality - decay
    POC:  (1 - sig) W_C + (1 - chi) Q - decay + sinking - 117 times the burial of phosphorus
    W_C = (1 - eps) G_C + r_Y E_Y + r_Z M_Z

Decay, mortality and sinking take carbon from a pool in proportion to what they take of its phosphorus, so that all is
linear in carbon but for the ratios; only the sinking speed, w = (lambda / b_C) z, has an exponent of its own. Carbon is
closed whatever b_C, and with r_Y = r_Z = 117 and b_C = b_P every pool is 117 times its phosphorus.
"""

import jax
import jax.numpy as jnp

from invbgc.chemistry.gas_exchange import co2_flux
from invbgc.constants import ZERO_CELSIUS
from invbgc.models.mops.core import CoreRates
from invbgc.models.mops.environment import Environment
from invbgc.models.mops.plankton import SMALLEST
from invbgc.models.mops.shapes import Shapes
from invbgc.models.mops.sinking import Sinking, sink, sinking_speed
from invbgc.storage import REDFIELD

CARBON = ("PHYC", "ZOOC", "DOC", "POC", "DIC")
"""Tracers of carbon, in the order in which each depends on those before it."""

POOL_OF = {"PHYC": "PHY", "ZOOC": "ZOO", "DOC": "DOP", "POC": "DET"}
"""Carbon pool -> the phosphorus it belongs to."""

LARGEST_RATIO = 250.0
"""Greatest C:P of uptake; the least, and that of everything buried, is `REDFIELD`."""
REFERENCE_PHOSPHATE, REFERENCE_TEMPERATURE = 0.57, 18.0 + ZERO_CELSIUS
"""Where the C:P of uptake is 117: mmol m-3 and K."""
_ROUNDING = 0.25
"""Width over which the smooth form rounds the bounds of C:P off."""


def uptake_ratio(phosphate, temperature, p, shapes: Shapes = Shapes(False)) -> jax.Array:  # noqa: B008  (immutable)
    """C:P of phytoplankton uptake, 117 (PO4 / 0.57)^-s_P (T_K / 291.15)^-s_T between 117 and 250.

    Args:
        phosphate: of the surface, mmol m-3; below 1e-6 the ratio is 117, as in the published model.
        temperature: of the surface, degC.
        p: parameters: `s_P`, `s_T`.
        shapes: how the bounds are treated.

    Returns:
        mol C (mol P)-1. Source: Tanioka et al. (2021), equation 1.

    Examples:
        >>> p = {"s_P": 0.21, "s_T": -3.6}
        >>> round(float(uptake_ratio(0.1, 25.0, p)), 2)
        183.68
    """
    phosphate = jnp.asarray(phosphate, dtype=float)
    some = phosphate >= SMALLEST
    relative = jnp.where(some, phosphate, REFERENCE_PHOSPHATE) / REFERENCE_PHOSPHATE
    warmth = (jnp.asarray(temperature) + ZERO_CELSIUS) / REFERENCE_TEMPERATURE
    ratio = REDFIELD * jnp.exp(-p["s_P"] * jnp.log(relative) - p["s_T"] * jnp.log(warmth))
    return jnp.where(some, shapes.between(ratio, REDFIELD, LARGEST_RATIO, _ROUNDING), REDFIELD)


def zooplankton_ratio(food_ratio, p) -> jax.Array:
    """C:P that zooplankton keep, 117^(1 - H) q^H.

    Args:
        food_ratio: q, C:P of phytoplankton, mol C (mol P)-1.
        p: parameters: `homeostasis`, H.

    Returns:
        mol C (mol P)-1. Source: Tanioka et al. (2021), equation 2.

    Examples:
        >>> round(float(zooplankton_ratio(200.0, {"homeostasis": 0.08})), 3)
        122.127
    """
    return REDFIELD * jnp.exp(p["homeostasis"] * jnp.log(jnp.asarray(food_ratio) / REDFIELD))


def ratios(env: Environment, tracers, p) -> tuple[jax.Array, jax.Array]:
    """r_Y and r_Z of every column, [n_columns]; both 117 where the value `flexible` is 0.

    r_Z follows the C:P of surface phytoplankton, `tracers["PHYC"]` over `tracers["PHY"]`, between 117 and 250.
    """
    r_Y = uptake_ratio(tracers["PO4"][0], env.temperature[0], p, env.shapes)
    phy, phyc = tracers["PHY"][0], tracers["PHYC"][0]
    some = (phy > 0.0) & (phyc > 0.0)
    food = jnp.where(some, phyc / jnp.where(some, phy, 1.0), REDFIELD)
    food = env.shapes.between(food, REDFIELD, LARGEST_RATIO, _ROUNDING)
    flexible = p["flexible"] > 0.5
    return jnp.where(flexible, r_Y, REDFIELD), jnp.where(flexible, zooplankton_ratio(food, p), REDFIELD)


def of_pool(env: Environment, tracers, name: str, lost) -> jax.Array:
    """Carbon that a carbon pool loses where its phosphorus loses `lost`, in proportion: lost times the pool's C:P."""
    phosphorus = tracers[POOL_OF[name]]
    some = phosphorus > env.options.offset * 1e-3
    return jnp.where(some, tracers[name] / jnp.where(some, phosphorus, 1.0), 0.0) * lost


def carbon_sources(env: Environment, tracers, rates: CoreRates, p, names=CARBON) -> dict[str, jax.Array]:
    """Sources minus sinks of carbon, without gas exchange and the return of what was buried.

    Args:
        env: the ocean.
        tracers: name -> [nz, n_columns] mmol m-3: the core, and the carbon pools needed.
        rates: of the core.
        p: parameters.
        names: tracers whose sources are wanted; each needs those before it in `CARBON`.

    Returns:
        tracer -> [nz, n_columns] mmol m-3 d-1; equations in the head of this module.
    """
    b, step, eps, sig = rates.plankton, env.options.biology_step, p["assimilation"], p["dissolved_fraction"]
    chi = env.options.excess_to_doc
    r_Y, r_Z = ratios(env, tracers, p)
    grazed = env.shapes.minimum(r_Y * b.grazing, jnp.maximum(tracers["PHYC"], 0.0) / step)
    phy_mortality = of_pool(env, tracers, "PHYC", rates.phy_mortality)
    result = {}
    if "PHYC" in names:
        result["PHYC"] = r_Y * (b.uptake - b.exudation - b.quadratic_loss) - grazed - phy_mortality
    if not set(names) - {"PHYC"}:
        return result
    excess = eps * jnp.maximum(grazed - r_Z * b.grazing, 0.0)
    waste = (1.0 - eps) * grazed + r_Y * b.exudation + r_Z * b.mortality
    if "ZOOC" in names:
        zoo_mortality = of_pool(env, tracers, "ZOOC", rates.zoo_mortality)
        result["ZOOC"] = eps * grazed - excess - r_Z * (b.excretion + b.mortality) - zoo_mortality
    if "DOC" in names:
        dead = phy_mortality + of_pool(env, tracers, "ZOOC", rates.zoo_mortality)
        made = sig * waste + r_Y * b.quadratic_loss + chi * excess + dead
        result["DOC"] = made - _decay(env, tracers, rates, "DOC", rates.dop_decay)
    if "POC" in names:
        made = (1.0 - sig) * waste + (1.0 - chi) * excess
        result["POC"] = (
            made - _decay(env, tracers, rates, "POC", rates.det_decay) + poc_sinking(env, tracers, rates, p).source
        )
    if "DIC" in names:
        respired = respiration(env, tracers, rates)
        result["DIC"] = r_Z * b.excretion - r_Y * b.uptake + respired["DOC"] + respired["POC"]
    return result


def _decay(env: Environment, tracers, rates: CoreRates, name: str, of_phosphorus) -> jax.Array:
    """Decay of DOC or POC that happens, [nz, n_columns] mmol m-3 d-1."""
    return (rates.decay.oxic + rates.decay.suboxic) * of_pool(env, tracers, name, of_phosphorus)


def respiration(env: Environment, tracers, rates: CoreRates) -> dict[str, jax.Array]:
    """Respiration of DOC and of POC to DIC, [nz, n_columns] mmol m-3 d-1."""
    return {
        "DOC": _decay(env, tracers, rates, "DOC", rates.dop_decay),
        "POC": _decay(env, tracers, rates, "POC", rates.det_decay),
    }


def poc_sinking(env: Environment, tracers, rates: CoreRates, p) -> Sinking:
    """Sinking of POC with w = (lambda / b_C) z, mmol m-3 d-1; burial is 117 times that of phosphorus."""
    layers, options = env.layers, env.options
    speed = sinking_speed(p["b_C"], p["detritus_rate"], env.columns, layers, options.sinking)
    share = of_pool(env, tracers, "POC", rates.det_decay / p["detritus_rate"])
    return sink(share, speed, env.columns, REDFIELD * rates.sinking.buried)


def carbon_exchange(env: Environment, surface_dic, pco2) -> jax.Array:
    """Gas exchange of CO2 into the first layer, k rho (F p x - [CO2*]) / dz_1, [n_columns] mmol m-3 d-1.

    `surface_dic` is in mmol m-3, [n_columns]; `pco2` is the mole fraction x of CO2 in dry air, ppm.
    """
    velocity = env.co2_velocity / env.thickness[0]
    return co2_flux(surface_dic, env.alkalinity, env.equilibrium, velocity, pco2, pressure=env.pressure)
