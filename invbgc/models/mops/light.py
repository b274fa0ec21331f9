"""Light at the surface and what phytoplankton makes of it (Kriest & Oschlies 2015; Evans & Garcon 1997)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

SOLAR_CONSTANT = 1360.0
"""W m-2."""
TRANSMITTED = 1.0 - 0.6
"""Part of the sunlight that clouds and the surface let through."""
PHOTOSYNTHETIC = 0.4
"""Part of short-wave radiation that plants can use."""
DARKEST = 1e-5
"""Least daily mean radiation, W m-2."""


class Daylight(NamedTuple):
    """Light of a day.

    Attributes:
        radiation: Q, daily mean short-wave radiation below the surface, W m-2.
        day: tau, lit part of the day, 0 to 1.
    """

    radiation: jax.Array
    day: jax.Array


def daylight(year_fraction: ArrayLike, latitude: ArrayLike) -> Daylight:
    """Daily mean radiation and day length from the declination delta of the sun.

        h = arccos(-tan delta tan phi),   tau = h / pi
        Q = 1360 (1 - 0.6) max(0.005, sin delta sin phi + cos delta cos phi sin h / h) tau

    Args:
        year_fraction: 0 to 1, from the first of January.
        latitude: phi, degrees north, a shape that broadcasts with it.

    Returns:
        Radiation and day length of the common shape. Source: the insolation of MOPS, after Brock (1981).

    Examples:
        >>> light = daylight(0.5, 30.0)
        >>> round(float(light.radiation), 2), round(float(light.day), 4)
        (195.46, 0.5791)
    """
    y = 2.0 * jnp.pi * jnp.asarray(year_fraction, dtype=float)
    phi = jnp.deg2rad(jnp.asarray(latitude, dtype=float))
    declination = (
        0.006918
        - 0.399912 * jnp.cos(y)
        + 0.070257 * jnp.sin(y)
        - 0.006758 * jnp.cos(2.0 * y)
        + 0.000907 * jnp.sin(2.0 * y)
        - 0.002697 * jnp.cos(3.0 * y)
        + 0.001480 * jnp.sin(3.0 * y)
    )
    half_day = jnp.abs(jnp.arccos(jnp.clip(-jnp.tan(declination) * jnp.tan(phi), -0.999, 0.999)))
    height = jnp.sin(declination) * jnp.sin(phi) + jnp.cos(declination) * jnp.cos(phi) * jnp.sin(half_day) / half_day
    day = jnp.clip(half_day / jnp.pi, 0.0, 1.0)
    radiation = SOLAR_CONSTANT * TRANSMITTED * jnp.maximum(0.005, height) * day
    return Daylight(jnp.maximum(radiation, DARKEST), day)


def light_limitation(
    phytoplankton: jax.Array, temperature_factor: jax.Array, light: Daylight, ice: ArrayLike, thickness: jax.Array, p
) -> jax.Array:
    """Mean limitation of growth by light over day and layer, between 0 and tau.

        L_k = tau / a_k [phi(G_k) - phi(G_k exp(-a_k))],   G_k = 2 I_k / (I_c f_T tau),
        phi(u) = arsinh(u) - (sqrt(1 + u^2) - 1) / u,
        I_1 = 0.4 Q (1 - ice),   I_k+1 = I_k exp(-a_k),   a_k = (k_w + k_c PHY_k) dz_k.

    Args:
        phytoplankton: PHY, [layers, n] mmol P m-3.
        temperature_factor: f_T, [layers, n].
        light: of the day, [.., n].
        ice: covered part of the surface, [n].
        thickness: dz, [layers] m.
        p: parameters: `k_water`, `k_plankton`, `I_c`.

    Returns:
        L, [.., layers, n]. Source: Evans & Garcon (1997); Kriest & Oschlies (2015).
    """
    depth = (p["k_water"] + p["k_plankton"] * jnp.maximum(phytoplankton, 0.0)) * thickness[:, None]
    above = jnp.cumsum(depth, axis=0) - depth
    day = light.day[..., None, :]
    surface = (PHOTOSYNTHETIC * light.radiation * (1.0 - jnp.asarray(ice)))[..., None, :]
    top = 2.0 * surface * jnp.exp(-above) / (p["I_c"] * temperature_factor * day)
    return day / depth * (_smith(top) - _smith(top * jnp.exp(-depth)))


def _smith(u: jax.Array) -> jax.Array:
    """phi(u) = arsinh(u) - (sqrt(1 + u^2) - 1) / u, written so that small u keep their digits."""
    return jnp.arcsinh(u) - u / (1.0 + jnp.sqrt(1.0 + u**2))
