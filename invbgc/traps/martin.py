"""Exponents of the particle flux, F(z) = F_0 (z/z_0)^-b (Martin et al. 1987, Deep-Sea Res. 34, 267), and their errors.

Three estimators, by name in `METHODS`:

    free        least squares of ln F on ln(z/z_0), with the intercept free
    forced      the same through the flux of the first trap: ln F(z) - ln F_0 = -b ln(z/z_0)
    nonlinear   least squares of F itself, which gives the large fluxes the say

Errors are those of least squares, from the residuals of the profile and n - 2 degrees of freedom: with two depths there
are none, and they are NaN.
"""

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr
from scipy.optimize import curve_fit

from invbgc.errors import InputError
from invbgc.traps.table import FLUX_UNIT


def log_linear(depth: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponents by least squares of ln F on ln(z/z_0), intercept free: b = -S_xy / S_xx.

    Args:
        depth: [n_depth] m, z_0 first.
        flux: [..., n_depth], positive.

    Returns:
        b, its standard error, and F_0; each [...]. Source: Tanioka et al. (2021), section 2.
    """
    x, y = np.log(depth / depth[0]), np.log(flux)
    departure = x - x.mean()
    b = -(y @ departure) / (departure @ departure)
    intercept = y.mean(axis=-1) + b * x.mean()
    residual = y - (intercept[..., None] - b[..., None] * x)
    return b, _error(residual, departure @ departure, len(x)), np.exp(intercept)


def through_first(depth: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponents by least squares through the flux of the first trap: b = -sum x (y - y_0) / sum x^2.

    Args:
        depth: [n_depth] m, z_0 first.
        flux: [..., n_depth], positive.

    Returns:
        b, its standard error, and F_0, the flux of the first trap; each [...].
    """
    x, y = np.log(depth / depth[0]), np.log(flux)
    fall = y - y[..., :1]
    b = -(fall @ x) / (x @ x)
    return b, _error(fall + b[..., None] * x, x @ x, len(x)), flux[..., 0]


def nonlinear(depth: np.ndarray, flux: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exponents by least squares of the flux itself.

    Args:
        depth: [n_depth] m, z_0 first.
        flux: [..., n_depth], positive.

    Returns:
        b, its standard error, and F_0; each [...]; NaN where the search does not converge.
    """
    ratio = depth / depth[0]
    start, error, first = log_linear(depth, flux)
    if len(depth) == 2:  # both curves go through both points
        return start, error, first
    rows = flux.reshape(-1, len(depth))
    result = np.full((3, len(rows)), np.nan)
    for i, (row, b, f) in enumerate(zip(rows, start.ravel(), first.ravel(), strict=True)):
        scale = row.mean()
        try:
            found, covariance = curve_fit(
                lambda z, f_0, exponent: f_0 * z**-exponent, ratio, row / scale, (f / scale, b), check_finite=True
            )
        except RuntimeError:  # the search of this profile ends without an answer
            continue
        result[:, i] = found[1], np.sqrt(covariance[1, 1]), found[0] * scale
    b, error, first = (part.reshape(flux.shape[:-1]) for part in result)
    return b, error, first


def _error(residual: np.ndarray, spread: float, n: int) -> np.ndarray:
    freedom = n - 2
    if freedom < 1:
        return np.full(residual.shape[:-1], np.nan)
    return np.sqrt(np.sum(residual**2, axis=-1) / freedom / spread)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]] = {
    "free": log_linear,
    "forced": through_first,
    "nonlinear": nonlinear,
}
"""Name -> estimator of depth [n_depth] and flux [..., n_depth]."""


def exponents(data: xr.Dataset, methods: Sequence[str] = tuple(METHODS)) -> xr.Dataset:
    """Exponents of every profile and element.

    Args:
        data: as from `invbgc.traps.arrays.profiles`.
        methods: keys of `METHODS`.

    Returns:
        Dataset on (`fit`, `profile`, `element`): `b` (dimensionless), `b_error`, `first_flux` (mmol m-2 d-1) and
        `r2`, the share of the variance of ln F that the power law explains (NaN where F is constant).

    Raises:
        InputError: a method is unknown, or a flux is not positive.

    Examples:
        >>> import xarray as xr
        >>> flux = xr.DataArray([[[8.0], [5.6], [3.2]]], dims=("profile", "depth", "element"))
        >>> data = xr.Dataset({"flux": flux}, {"depth": [150.0, 200.0, 300.0], "element": ["P"]})
        >>> [round(float(b), 5) for b in exponents(data, ["free", "forced"])["b"].squeeze()]
        [1.32575, 1.30986]
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise InputError(f"Exponents: found the methods {', '.join(unknown)}; expected some of {', '.join(METHODS)}.")
    flux = data["flux"].transpose("profile", "element", "depth")
    depth, values = data["depth"].to_numpy(), flux.to_numpy()
    if not (np.all(np.isfinite(values)) and np.all(values > 0.0)):
        raise InputError("Exponents: found fluxes that are missing or not positive; expected complete profiles.")
    fits = [METHODS[name](depth, values) for name in methods]
    logs = np.log(values)
    spread = np.sum((logs - logs.mean(axis=-1, keepdims=True)) ** 2, axis=-1)
    r2 = []
    for b, _, first in fits:
        left = logs - np.log(first)[..., None] + b[..., None] * np.log(depth / depth[0])
        r2.append(1.0 - np.sum(left**2, axis=-1) / np.where(spread > 0.0, spread, np.nan))
    dims = ("fit", "profile", "element")
    columns = {
        "b": (np.stack([fit[0] for fit in fits]), {"units": "1", "long_name": "exponent of the flux"}),
        "b_error": (np.stack([fit[1] for fit in fits]), {"units": "1", "long_name": "standard error of the exponent"}),
        "first_flux": (
            np.stack([fit[2] for fit in fits]),
            {"units": FLUX_UNIT, "long_name": "flux at the first depth"},
        ),
        "r2": (np.stack(r2), {"units": "1", "long_name": "variance of ln F explained"}),
    }
    coordinates = {name: part for name, part in data.coords.items() if name != "depth"}
    return xr.Dataset(
        {name: (dims, values, attrs) for name, (values, attrs) in columns.items()},
        coordinates | {"fit": list(methods)},
    )
