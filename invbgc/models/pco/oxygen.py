"""The oxygen cycle (Wang et al. 2023, Methods, O2 model).

T O2 = r_O:C U - r_O:C R(O2) resp + K_O2 (O2_sat - O2),   R(x) = 1/2 + 1/2 tanh((x - O_crit)/O_0)
"""

import jax.numpy as jnp

from invbgc.chemistry.gas_exchange import o2_flux
from invbgc.models.pco.carbon import organic_carbon, respiration
from invbgc.models.pco.environment import Environment, at_surface
from invbgc.models.pco.parameters import exchange_scale


def oxic_fraction(env: Environment, oxygen, softness=1.0):
    """Share of respiration that uses oxygen, R(O2) = 1/2 + 1/2 tanh((O2 - O_crit) / O_0), dimensionless.

    O2 in mmol m-3, any shape; `softness` widens the transition O_0 for continuation.
    """
    width = env.options.oxygen_width * softness
    return 0.5 + 0.5 * jnp.tanh((oxygen - env.options.oxygen_threshold) / width)


def air_sea_o2(env: Environment, oxygen, scale=1.0):
    """J_O2 = K_O2 (p O2_sat - O2) [n_wet] mmol m-3 s-1, positive into the ocean, in the first layer only.

    O2 is a wet vector in mmol m-3; `scale` multiplies the exchange.
    """
    surface = oxygen[: env.grid.n_columns]
    return at_surface(env.grid, o2_flux(surface, env.o2_saturation, scale * env.o2_exchange, env.pressure))


def o2_source(env: Environment, own, upstream, p, softness=1.0):
    """Local source of O2, r_O:C (U - R(O2) resp) + J_O2 [n_wet] mmol m-3 s-1."""
    carbon = organic_carbon(env, upstream["DIP"], p)
    respired = oxic_fraction(env, own["O2"], softness) * respiration(env, upstream, p, carbon)
    return {"O2": p["r_O2C"] * (carbon.uptake - respired) + air_sea_o2(env, own["O2"], exchange_scale(p))}
