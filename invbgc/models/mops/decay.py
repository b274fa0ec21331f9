"""Decay of dissolved and particulate organic matter with oxygen, with nitrate where there is none, or not at all."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from invbgc.models.mops.plankton import R_NP
from invbgc.models.mops.shapes import Shapes

SUBOXIC_BELOW = 36.0
"""Oxygen above its threshold below which nitrate is used, mmol m-3."""


class Decay(NamedTuple):
    """Which part of the decay of organic matter happens, and by which oxidant; dimensionless, 0 to 1, [nz, n_columns].

    Attributes:
        oxic: part with oxygen, s_O theta_O.
        suboxic: part with nitrate, s_N theta_N.
    """

    oxic: jax.Array
    suboxic: jax.Array


def nitrate_demand(p):
    """Nitrate used per phosphorus remineralised without oxygen, 0.8 R_-O2:P - 16 mol N (mol P)-1."""
    return 0.8 * p["r_O2P"] - R_NP


def decay(oxygen: jax.Array, nitrate: jax.Array, demand: jax.Array, p, shapes: Shapes, step: float) -> Decay:
    """Limitation of decay by its oxidants.

        O* = max(O2 - O_min, 0),  s_O = O*^2 / (O*^2 + K_O^2),  theta_O = min(O*, R) / R,   R = s_O m R_-O2:P dt
        N* = max(DIN - N_min, 0), s_N = (1 - s_O) N*^2 / (N*^2 + K_N^2), theta_N alike, where O* < 36 only

    The throttle theta keeps a time step from using more than there is.

    Args:
        oxygen: O2, [nz, n_columns] mmol m-3.
        nitrate: DIN, the same.
        demand: m, decay were it not limited, mmol P m-3 d-1.
        p: parameters.
        shapes: how corners are treated.
        step: dt, d.

    Returns:
        the two parts. Source: Kriest & Oschlies (2015).
    """
    o2 = shapes.positive(oxygen - p["oxygen_threshold"], 1.0)
    with_oxygen = o2**2 / (o2**2 + p["K_O2"] ** 2)
    no3 = shapes.positive(nitrate - p["nitrate_threshold"], 0.5)
    with_nitrate = (1.0 - with_oxygen) * no3**2 / (no3**2 + p["K_NO3"] ** 2)
    with_nitrate = with_nitrate * shapes.below(o2, SUBOXIC_BELOW, 1.0)
    return Decay(
        oxic=with_oxygen * _throttle(o2, with_oxygen * demand * p["r_O2P"] * step, shapes),
        suboxic=with_nitrate * _throttle(no3, with_nitrate * demand * nitrate_demand(p) * step, shapes),
    )


def _throttle(present: jax.Array, wanted: jax.Array, shapes: Shapes) -> jax.Array:
    """min(present, wanted) / wanted; one where nothing is wanted."""
    some = wanted > 0.0
    return jnp.where(some, shapes.minimum(present, wanted) / jnp.where(some, wanted, 1.0), 1.0)
