"""The corners of the model, sharp as published or rounded off so that its derivatives are continuous."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

_SHARPNESS = 12.0
"""Exponent of the rounded minimum, which is 6 % low where its arguments are equal."""


@dataclass(frozen=True)
class Shapes:
    """Minimum, positive part and switch.

    Attributes:
        smooth: whether corners are rounded off.
    """

    smooth: bool

    def minimum(self, a: ArrayLike, b: ArrayLike) -> jax.Array:
        """The smaller of two numbers of at least zero; rounded: (a^-k + b^-k)^(-1/k)."""
        if not self.smooth:
            return jnp.minimum(a, b)
        low, high = jnp.minimum(a, b), jnp.maximum(a, b)
        ratio = low / jnp.where(high > 0.0, high, 1.0)
        return low * (1.0 + ratio**_SHARPNESS) ** (-1.0 / _SHARPNESS)

    def positive(self, x: ArrayLike, width: float) -> jax.Array:
        """max(x, 0); rounded over a width in the unit of x: zero below -width, a parabola up to +width."""
        x = jnp.asarray(x)
        if not self.smooth:
            return jnp.maximum(x, 0.0)
        inside = jnp.clip(x, -width, width)
        return jnp.where(x > width, x, (inside + width) ** 2 / (4.0 * width))

    def below(self, x: ArrayLike, limit: float, width: float) -> jax.Array:
        """1 where x < limit, else 0; rounded: a logistic function of that width."""
        if not self.smooth:
            return jnp.where(jnp.asarray(x) < limit, 1.0, 0.0)
        return jax.nn.sigmoid((limit - jnp.asarray(x)) / width)

    def between(self, x: ArrayLike, low: float, high: float, width: float) -> jax.Array:
        """The number x kept between two bounds; rounded over a width in its unit."""
        above = low + self.positive(jnp.asarray(x) - low, width)
        return high - self.positive(high - above, width)
