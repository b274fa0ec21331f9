"""From a parameter's value to the coordinate an optimiser moves in, and back.

The prior of a parameter is flat in its coordinate unless the table says otherwise; a misfit has the same optimum in any
coordinate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Transform:
    """A smooth monotone map between values p and coordinates x.

    Attributes:
        coordinate: x(p), for NumPy.
        value: p(x), for NumPy and JAX.
        slope: dp/dx as a function of p.
        allowed: whether a value has a coordinate.
        domain: the allowed values in words.
    """

    coordinate: Callable
    value: Callable
    slope: Callable
    allowed: Callable
    domain: str


TRANSFORMS = {
    "log": Transform(np.log, jnp.exp, lambda p: p, lambda p: p > 0, "a positive number"),
    "logit": Transform(
        lambda p: np.log(p / (1.0 - p)),
        lambda x: 1.0 / (1.0 + jnp.exp(-x)),
        lambda p: p * (1.0 - p),
        lambda p: 0 < p < 1,
        "a number between 0 and 1",
    ),
    "linear": Transform(lambda p: p, lambda x: x, lambda p: np.ones_like(p), lambda p: True, "a finite number"),
}
"""Name -> transform: x = ln p, x = ln(p / (1 - p)), x = p."""


def error_bar(transform: str, estimate: float, deviation: float) -> tuple[float, float]:
    """Lengths of the error bars below and above an estimate, parameter units.

    The bar ends are p(x - sigma) and p(x + sigma); for ``"log"`` this is the asymmetric form of Wang et al. (2023).

    Args:
        transform: name of the transform.
        estimate: p.
        deviation: sigma, standard deviation of the coordinate; may be infinite or NaN.
    """
    rule = TRANSFORMS[transform]
    if not np.isfinite(deviation):
        return deviation, deviation
    x = rule.coordinate(estimate)
    return float(estimate - rule.value(x - deviation)), float(rule.value(x + deviation) - estimate)
