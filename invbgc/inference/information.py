"""What the data say: about which parameters, along which directions, and which observations say it.

At the optimum of U the gradient vanishes whatever the data are, so that an observation d_i moves the optimum by

    dx/dd = H^-1 s_X (J Q - (J Q r)(Q r)^T / q)_i,

with the sensitivities J [p, m] of its tracer X, the residuals r, the inverse covariance Q = W - V V^T up to a scale,
the misfit q, and the slope s_X of U by q (the second term is there where the error scale is unknown). Any scalar with
the gradient g then moves by g . dx/dd: its *influence function*. Errors of covariance Q^-1/s_X spread it by

    var = sum_X a_X^T Q^-1 a_X / s_X,    a_X = s_X Q J^T C g,

a sum over tracers: who constrains the scalar.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from invbgc.grid import OceanGrid
from invbgc.inference.laplace import LOOSE, Laplace
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.inference.programs import UnknownScale


def contraction(laplace: Laplace) -> xr.Dataset:
    """How much narrower than its prior each parameter has become.

    Args:
        laplace: Gaussian approximation of the posterior.

    Returns:
        On ``parameter``: prior_sd and posterior_sd in optimiser coordinates, contraction 1 - (posterior/prior)^2: 1
        where the data say everything, 0 where they say nothing; NaN for a flat prior.
    """
    prior = np.array([np.nan if row.prior_sd is None else row.prior_sd for row in laplace.table.free])
    posterior = laplace.standard_deviation
    return xr.Dataset(
        {
            "prior_sd": ("parameter", prior),
            "posterior_sd": ("parameter", posterior),
            "contraction": ("parameter", 1.0 - (posterior / prior) ** 2),
        },
        {"parameter": list(laplace.names)},
    )


def uninformed(curvature: np.ndarray, names: Sequence[str], limit: float = LOOSE) -> list[str]:
    """Parameters to hold fixed so that the data inform the others.

    The parameter with the largest standard deviation is frozen, the others are looked at again, until none is looser
    than the limit.

    Args:
        curvature: [p, p] Gauss-Newton matrix of U, prior included.
        names: of the parameters.
        limit: standard deviation in optimiser coordinates above which a parameter counts as uninformed.

    Returns:
        Names, the loosest first.
    """
    left, frozen = list(range(len(names))), []
    while left:
        part = curvature[np.ix_(left, left)]
        values, vectors = np.linalg.eigh(part)
        values = np.maximum(values, 1e-14 * max(values.max(), 1e-200))
        variance = np.sum(vectors**2 / values, axis=1)
        loosest = int(np.argmax(variance))
        if variance[loosest] <= limit**2:
            break
        frozen.append(names[left.pop(loosest)])
    return frozen


def curvature_of(posterior: Posterior, optimum: Evaluation, tracers: Sequence[str]) -> np.ndarray:
    """Gauss-Newton matrix [p, p] of U for the observations of some tracers and the prior."""
    slopes = posterior.slopes(optimum.state.fields)
    total = posterior.prior_curvature(optimum.x)
    for tracer in tracers:
        jacobian = optimum.jacobian[tracer]
        total = total + slopes[tracer] * (jacobian @ posterior.observations.tracers[tracer].weighted(jacobian.T))
    return total


def influence(posterior: Posterior, optimum: Evaluation, gradients: np.ndarray) -> dict[str, np.ndarray]:
    """Derivatives of scalars at the optimum by every observation, at fixed weights.

    Args:
        posterior: whose f is U.
        optimum: at its minimum, with Hessian and sensitivities.
        gradients: [k, p] of the scalars by the optimiser coordinates.

    Returns:
        Tracer -> [k, m], unit of the scalar per mmol m-3.
    """
    moved = np.linalg.solve(np.asarray(optimum.hessian), np.asarray(gradients).T).T
    slopes, modelled = posterior.slopes(optimum.state.fields), optimum.state.observable
    found = {}
    for tracer, data in posterior.observations.tracers.items():
        along = moved @ optimum.jacobian[tracer]
        part = data.weighted(along.T).T
        if isinstance(posterior.scales[tracer], UnknownScale):
            residual = np.asarray(modelled[tracer])[data.index] - data.value
            weighted = data.weighted(residual)
            part = part - np.outer(along @ weighted, weighted) / (0.5 * residual @ weighted)
        found[tracer] = slopes[tracer] * part
    return found


def influence_tables(
    posterior: Posterior,
    optimum: Evaluation,
    gradients: np.ndarray,
    names: Sequence[str],
    units: Sequence[str],
    regions: Mapping[str, np.ndarray] | None = None,
) -> xr.Dataset:
    """Who constrains a number: by tracer, by region, and as maps.

    Args:
        posterior: whose f is U.
        optimum: at its minimum.
        gradients: [k, p] of the scalars.
        names: of the scalars.
        units: of the scalars.
        regions: name -> mask [ny, nx] or [nz, ny, nx].

    Returns:
        ``variance_share`` (scalar, tracer): part that the errors of a tracer have in the variance that all errors and
        the prior's cause; ``weight_<tracer>`` (scalar, latitude, longitude): root of the summed squares, down a column,
        of the influence of an observation times its error, in the unit of the scalar; ``region_share`` (scalar,
        tracer, region): its square, summed over a region, over that of all.
    """
    grid = posterior.model.grid
    slopes = posterior.slopes(optimum.state.fields)
    fields = influence(posterior, optimum, gradients)
    covariance = np.linalg.inv(np.asarray(optimum.hessian))
    variance = np.einsum("kp,pq,kq->k", gradients, covariance, gradients)
    tracers = list(fields)
    parts, squares = [], {}
    moved = gradients @ covariance
    for tracer in tracers:
        data = posterior.observations.tracers[tracer]
        along = moved @ optimum.jacobian[tracer]
        parts.append(slopes[tracer] * np.einsum("km,mk->k", along, data.weighted(along.T)))
        error = 1.0 / np.sqrt(slopes[tracer] * data.weight)
        boxes = np.zeros((len(names), grid.n_wet))
        boxes[:, data.index] = (fields[tracer] * error) ** 2
        squares[tracer] = boxes
    # The Gaussian's variance counts the model's curvature too, and may be less than what errors cause.
    prior = np.einsum("kp,pq,kq->k", moved, posterior.prior_curvature(optimum.x), moved)
    shares = np.array(parts) / (sum(parts) + prior)
    attrs = {"long_name": "root of the summed squares of influence times error", "units": "unit of the scalar"}
    maps = {
        f"weight_{tracer}": (("scalar", "latitude", "longitude"), _columns(np.sqrt, boxes, grid), attrs)
        for tracer, boxes in squares.items()
    }
    table = xr.Dataset(
        {
            "variance_share": (("scalar", "tracer"), shares.T),
            "standard_deviation": ("scalar", np.sqrt(variance)),
            "unit": ("scalar", list(units)),
            **maps,
        },
        {
            "scalar": list(names), "tracer": tracers, "latitude": grid.latitude, "longitude": grid.longitude,
        },
    )  # fmt: skip
    if regions:
        whole = sum(boxes.sum(axis=1) for boxes in squares.values())
        flat = {name: grid.pack(np.broadcast_to(mask, grid.shape)) for name, mask in regions.items()}
        by_region = [[squares[t][:, inside].sum(axis=1) / whole for inside in flat.values()] for t in tracers]
        table = table.assign_coords(region=list(regions))
        table["region_share"] = (("scalar", "tracer", "region"), np.moveaxis(np.array(by_region), -1, 0))
    return table


def _columns(function: Callable, boxes: np.ndarray, grid: OceanGrid) -> np.ndarray:
    """A function of the sums down the columns, on the map; NaN on land."""
    result = np.full((len(boxes), *grid.wet[0].shape), np.nan)
    for row, values in zip(result, boxes, strict=True):
        row[grid.wet[0]] = function(np.bincount(grid.column, values, grid.n_columns))
    return result
