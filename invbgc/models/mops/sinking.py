"""Sinking of detritus, and what becomes of it on the sea floor (Kriest & Oschlies 2015).

    w_k = (lambda / b) z_k:  in the continuum, F proportional to z^-b.

A box loses w_k D_k through its open lower face. What arrives on the sea floor stays in the box, except for the buried
part; in a box that rests on the floor with a part 1 - s of its area, that part is treated so.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from invbgc.particles import Columns

BURIAL_FACTOR, BURIAL_EXPONENT = 1.6828, 0.799
"""Buried part of the rain F on the floor: 1.6828 F^0.799, F in mmol P m-2 d-1."""


class Sinking(NamedTuple):
    """What sinking does to a tracer.

    Attributes:
        source: [nz, n_columns] mmol m-3 d-1; burial included.
        flux: [nz, n_columns] mmol m-2 d-1, downward through the open part of the lower face of each box.
        buried: [nz, n_columns] mmol m-3 d-1, part of the source that is lost for good.
    """

    source: jax.Array
    flux: jax.Array
    buried: jax.Array


def sinking_speed(
    exponent, rate, columns: Columns, euphotic_layers: int, scheme: Literal["mid_depth", "exact_profile"]
) -> jax.Array:
    """Sinking speed of every layer.

    ``"mid_depth"``: w_k = (lambda / b) times the depth of the middle of the layer. ``"exact_profile"``: below the
    euphotic zone w_k = lambda dz_k rho_k / (1 - rho_k), rho_k = (z_top / z_bottom)^b, for which the flux of a steady
    column without transport is F = F_0 (z / z_0)^-b at every interface.

    Args:
        exponent: b, dimensionless.
        rate: lambda, decay rate of detritus, d-1.
        columns: geometry.
        euphotic_layers: layers that keep the speed of their middle.
        scheme: one of the two.

    Returns:
        [nz] m d-1. Source: Kriest & Oschlies (2008, 2015).
    """
    edges = jnp.asarray(columns.interface_depth)
    middle = rate / exponent * 0.5 * (edges[1:] + edges[:-1])
    if scheme == "mid_depth":
        return middle
    top = jnp.where(edges[:-1] > 0.0, edges[:-1], 0.5 * edges[1:])
    ratio = (top / edges[1:]) ** exponent
    exact = rate * jnp.asarray(columns.thickness) * ratio / (1.0 - ratio)
    return jnp.where(jnp.arange(len(exact)) < euphotic_layers, middle, exact)


def open_share(columns: Columns) -> jax.Array:
    """Part of the area of each box whose lower face is water, [nz, n_columns]: 1 in mid-water, 0 on the floor."""
    return columns.open_below * 1.0 if columns.open_share is None else jnp.asarray(columns.open_share)


def buried_fraction(rain: jax.Array) -> jax.Array:
    """Buried part of the rain on the sea floor, min(1, 1.6828 F^0.799).

    Args:
        rain: F, mmol P m-2 d-1, any shape.

    Returns:
        dimensionless. Source: Kriest & Oschlies (2013), after Wallmann (2010).
    """
    some = rain > 0.0
    return jnp.where(some, jnp.minimum(1.0, BURIAL_FACTOR * jnp.where(some, rain, 1.0) ** BURIAL_EXPONENT), 0.0)


def sink(concentration: jax.Array, speed: jax.Array, columns: Columns, buried: jax.Array | None = None) -> Sinking:
    """Sinking of a tracer with a speed per layer, upwind.

        dD_k/dt = (w_k-1 D_k-1 - s_k w_k D_k) / dz_k - buried_k,   buried_k = (1 - s_k) f(w_k D_k) w_k D_k / dz_k

    with f the buried part of the rain, and s_k the open part of the lower face, which is all of the box below.

    Args:
        concentration: what sinks, [nz, n_columns] mmol m-3.
        speed: w, [nz] m d-1.
        columns: geometry.
        buried: [nz, n_columns] mmol m-3 d-1; that of phosphorus where None.

    Returns:
        Source, flux and burial. Source of the equations: Kriest & Oschlies (2013, 2015).
    """
    thickness = jnp.asarray(columns.thickness)[:, None]
    share = open_share(columns)
    rain = speed[:, None] * concentration * columns.wet
    if buried is None:
        buried = (1.0 - share) * buried_fraction(rain) * rain / thickness
    arriving = jnp.concatenate([jnp.zeros_like(rain[:1]), (rain * (share > 0.0))[:-1]])
    return Sinking((arriving - share * rain) / thickness * columns.wet - buried, share * rain, buried)
