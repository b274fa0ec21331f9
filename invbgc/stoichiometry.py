"""Elemental ratios of organic matter, the rain ratio of calcite, and the temperature dependence of decay."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def linear_p_to_c(phosphate: ArrayLike, slope: ArrayLike, intercept: ArrayLike) -> ArrayLike:
    """P:C of organic matter that rises linearly with phosphate, P:C = cc PO4 + dd.

    Args:
        phosphate: mmol m-3, any shape.
        slope: cc, m3 mmol-1.
        intercept: dd, mol P per mol C.

    Returns:
        mol P per mol C, the shape of `phosphate`. Source: Wang et al. (2023), Methods, C model; the form of Galbraith &
        Martiny (2015).
    """
    return slope * phosphate + intercept


def galbraith_martiny_p_to_c(phosphate: ArrayLike) -> ArrayLike:
    """P:C = 0.006 + 0.0069 PO4, the regression of Galbraith & Martiny (2015, PNAS 112, 8199).

    Args:
        phosphate: mmol m-3, any shape.

    Returns:
        mol P per mol C. Converts satellite carbon production to phosphorus in equation 1 of Wang et al. (2023).
    """
    return linear_p_to_c(phosphate, 0.0069, 0.006)


def rain_ratio(silicate: ArrayLike, slope: ArrayLike, intercept: ArrayLike) -> ArrayLike:
    """Calcite to organic carbon ratio of sinking particle production, R = r_Si Y + r_RR.

    Args:
        silicate: Y, normalised silicate (`normalise`), dimensionless.
        slope: r_Si, dimensionless; divide by the range of silicate for a slope per mmol m-3.
        intercept: r_RR, dimensionless.

    Returns:
        mol calcite per mol organic carbon. Source: Wang et al. (2023), Methods, C model, there with silicate itself.
    """
    return slope * silicate + intercept


def normalise(field: ArrayLike, minimum: float, maximum: float) -> ArrayLike:
    """Fraction of the way from the minimum to the maximum, (x - min) / (max - min).

    The extremes belong to the dataset that the parameters were fitted with, and stay when the field changes.

    Args:
        field: any shape and unit.
        minimum: smallest value of the reference field.
        maximum: largest value of the reference field.

    Returns:
        Dimensionless, the shape of `field`. Source: the released code of Wang et al. (2023), for silicate.
    """
    return (field - minimum) / (maximum - minimum)


def normalise_temperature(temperature: ArrayLike, minimum: float, maximum: float) -> ArrayLike:
    """Normalised temperature of the flux exponents, T_z = (T - T_min + 1) / (T_max - T_min).

    The added degree keeps T_z positive; it is part of the definition of the published intercepts b_P and b_C.

    Args:
        temperature: degC, any shape.
        minimum: degC, smallest value of the reference field.
        maximum: degC, largest value of the reference field.

    Returns:
        Dimensionless, the shape of `temperature`. Source: the released code of Wang et al. (2023).
    """
    return normalise(temperature + 1.0, minimum, maximum)


def top_layer_mean(field: np.ndarray, wet: np.ndarray, layers: int) -> np.ndarray:
    """Mean over the wet boxes of the first layers, each layer counted alike.

    Args:
        field: [nz, n_columns], any unit; values in dry boxes are ignored.
        wet: [nz, n_columns] bool, wet in the first layer.
        layers: number of layers; two make the euphotic zone.

    Returns:
        [n_columns], the unit of `field`. Source: the released code of Wang et al. (2023).
    """
    top = wet[:layers]
    return np.where(top, field[:layers], 0.0).sum(axis=0) / top.sum(axis=0)


def q10_rate(rate: ArrayLike, q10: ArrayLike, temperature: ArrayLike) -> jax.Array:
    """Decay rate that grows by a factor Q10 per 10 degrees, kappa(T) = kappa Q10^((T - 30) / 10).

    Args:
        rate: kappa, s-1, the rate at 30 degC.
        q10: Q10, dimensionless, positive.
        temperature: degC, any shape.

    Returns:
        s-1, the shape of `temperature`. Source: Wang et al. (2023), Methods, equation 2.
    """
    return jnp.multiply(rate, jnp.exp(jnp.log(q10) * (temperature - 30.0) / 10.0))
