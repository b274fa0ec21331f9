"""Error models: how large the errors of the observations are, and how they hang together.

The misfit q_X = r^T W r / 2 of a tracer X weighs its residuals r by volume and variance; how far it may rise above its
minimum is another question. Three answers, each of which makes a negative log posterior of a model's misfit:

* ``"paper"``: one error scale for all tracers, s = 2 f / N, as Wang et al. (2023) take it: q_X / s.
* ``"per_tracer"``: a scale s_X of its own for every tracer, integrated out, (n_X/2) ln q_X, with as many independent
  data n_X as the correlation of the residuals leaves (`effective_number`).
* ``"structured"``: errors that are partly smooth, of covariance s_X (W^-1 + a^2 D C D): C a squared-exponential
  correlation in horizontal distance and depth, D = min(sd(X), |X|), for the faults of a circulation or a mapping fade
  where the tracer does (X as modelled: with X as observed, values that are low by chance would count for more, and bias
  the fit). Every box counts, s_X is integrated out, and a and the scales of C are those that make the
  residuals of a fit most likely,

      -2 ln L = m ln r^T (W - V V^T) r + ln|I + a^2 B^T W B|,    B = D Phi, C = Phi Phi^T.

  Phi is of low rank (`SmoothFields`). The variance that it does not hold, a^2 D^2 (1 - diag Phi Phi^T), is kept as an
  independent error (Snelson and Ghahramani 2006).
"""

from collections.abc import Mapping
from functools import cache
from typing import Literal, get_args

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.inference.correlogram import effective_number
from invbgc.inference.laplace import Scaling, count
from invbgc.inference.posterior import Posterior
from invbgc.inference.programs import Scale, UnknownScale
from invbgc.inference.smooth import SmoothFields
from invbgc.observations import Observations, TracerObservations

ErrorKind = Literal["paper", "per_tracer", "structured"]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

HORIZONTAL_SCALES = (0.75e6, 1.5e6, 3.0e6)
"""Correlation lengths L_h tried, m: C falls by exp(-1/2) over one."""

VERTICAL_SCALES = (400.0, 800.0, 1600.0)
"""Correlation depths L_z tried, m."""

RATIOS = np.concatenate([[0.0], np.geomspace(0.03, 30.0, 60)])
"""Smooth over independent error, of a box of mean volume, that are tried."""

SCALE_BOXES = 3000
"""Observed boxes from which the scales of a smooth error are chosen; its size is found from all."""


def estimate_errors(
    posterior: Posterior,
    modelled: Mapping[str, np.ndarray],
    kind: ErrorKind = "structured",
    scaling: Scaling = "authors",
    smooth: SmoothFields | None = None,
) -> xr.Dataset:
    """Estimate the errors of observations from the residuals of a fit.

    Args:
        posterior: of the fit, with its scales as relative weights of the tracers.
        modelled: tracer -> [n_wet] mmol m-3 at the optimum, what the observations measure.
        kind: which model; see the module's docstring.
        scaling: ``"paper"``: how observations are counted.
        smooth: fields that another call has made on this grid.

    Returns:
        Dataset on ``tracer``: boxes, number that counts as independent, error scale, and the smooth part.

    Raises:
        InputError: the kind is unknown, or the scales of the posterior are.
    """
    if kind not in ERROR_KINDS:
        raise InputError(f"error model {kind!r}; expected one of {', '.join(ERROR_KINDS)}.")
    observations, grid = posterior.observations, posterior.model.grid
    residuals = {name: np.asarray(modelled[name])[o.index] - o.value for name, o in observations.tracers.items()}
    squares = {name: float(o.weight @ residuals[name] ** 2) for name, o in observations.tracers.items()}
    rows: dict[str, dict[str, float]] = {}
    if kind == "paper":
        weights = {name: _known(posterior.scales[name]) for name in squares}
        number = count(_labelled(modelled, observations, grid), scaling)
        total = sum(weights[name] * squares[name] for name in squares) / number
        rows = {
            name: {"number": weights[name] * squares[name] / total, "scale": total / weights[name]} for name in squares
        }
    elif kind == "per_tracer":
        fields = _labelled(modelled, observations, grid)
        for name in squares:
            found = effective_number(fields, name)
            rows[name] = {
                "number": found.number,
                "scale": squares[name] / found.number,
                "horizontal_scale": found.horizontal_scale,
                "vertical_scale": found.vertical_scale,
            }
    else:
        fading = {
            name: np.minimum(np.sqrt(data.variance), np.abs(np.asarray(modelled[name])))
            for name, data in observations.tracers.items()
        }
        smooth = smooth or SmoothFields(grid)
        rows = {
            name: _most_likely(data, residuals[name], fading[name], smooth)
            for name, data in observations.tracers.items()
        }
    rows = {name: {"boxes": data.count} | rows[name] for name, data in observations.tracers.items()}
    table = _table(rows, kind)
    if kind == "structured":
        attrs = {"long_name": "D: how large the smooth error is in a box, up to a factor", "units": "mmol m-3"}
        table["fading"] = (("tracer", "wet_box"), np.stack(list(fading.values())), attrs)
    return table


def with_errors(posterior: Posterior, errors: xr.Dataset, smooth: SmoothFields | None = None) -> Posterior:
    """The negative log posterior U(x) = -ln p(x | data), up to a constant, under an error model.

    Args:
        posterior: any posterior of the same observations.
        errors: of `estimate_errors`.
        smooth: fields that another call has made on this grid.

    Returns:
        A posterior whose f is U, with the priors of the parameter table as they stand.
    """
    observations, kind = posterior.observations, errors.attrs["error_model"]
    scales: dict[str, Scale] = {}
    tracers = dict(observations.tracers)
    smooth = smooth or SmoothFields(posterior.model.grid)
    for name, data in tracers.items():
        of_tracer = errors.sel(tracer=name)
        row = {str(key): float(part) for key, part in of_tracer.data_vars.items() if part.ndim == 0}
        scales[name] = 1.0 / row["scale"] if kind == "paper" else UnknownScale(row["number"], row["scale"])
        if kind == "structured":
            basis = smooth.basis(row["horizontal_scale"], row["vertical_scale"])
            power = row["smooth_error"] ** 2 / row["scale"]
            tracers[name] = _with_smooth(data, power, of_tracer["fading"].values, basis)
    return posterior.with_data(Observations(tracers, observations.grid, observations.attrs), scales)


def _with_smooth(data: TracerObservations, power: float, fading: np.ndarray, basis: np.ndarray) -> TracerObservations:
    """Observations with errors of covariance W^-1 + a^2 D C D, for a^2, D [n_wet] and Phi [n_wet, k]."""
    amplitude, fields = np.sqrt(power) * fading[data.index], basis[data.index]
    missed = np.maximum(0.0, 1.0 - np.sum(fields**2, axis=1))
    return data.with_structure(amplitude[:, None] * fields, amplitude**2 * missed)


def _most_likely(
    data: TracerObservations, residual: np.ndarray, fading: np.ndarray, smooth: SmoothFields
) -> dict[str, float]:
    """The smooth error that makes the residuals of a tracer most likely, one scale after the other, then its size."""
    root = np.sqrt(data.weight)
    amplitude, weighted = root * fading[data.index], root * residual

    @cache
    def found(horizontal: float, vertical: float, number: int) -> tuple[float, float]:
        boxes = np.sort(np.random.default_rng(0).permutation(data.count)[:number])
        scaled = amplitude[boxes, None] * smooth.basis(horizontal, vertical)[data.index[boxes]]
        return _likely_size(scaled, weighted[boxes], data.count)

    horizontal = min(HORIZONTAL_SCALES, key=lambda scale: found(scale, VERTICAL_SCALES[1], SCALE_BOXES)[0])
    vertical = min(VERTICAL_SCALES, key=lambda scale: found(horizontal, scale, SCALE_BOXES)[0])
    power = found(horizontal, vertical, data.count)[1]

    basis = smooth.basis(horizontal, vertical)
    scale = float(residual @ _with_smooth(data, power, fading, basis).weighted(residual)) / data.count
    return {
        "number": float(data.count),
        "scale": scale,
        # 1/w of a box of mean volume is the tracer's variance times the number of boxes.
        "independent_error": np.sqrt(scale * data.count),
        "smooth_error": np.sqrt(scale * power),
        "horizontal_scale": horizontal,
        "vertical_scale": vertical,
    }


def _likely_size(fields: np.ndarray, residual: np.ndarray, count: int) -> tuple[float, float]:
    """The size of a smooth error that makes residuals most likely.

    Args:
        fields: W^1/2 D Phi [m, k].
        residual: W^1/2 r [m].
        count: number of observed boxes.

    Returns:
        -2 ln L, and a^2.
    """
    values, vectors = np.linalg.eigh(fields.T @ fields)
    values, along = np.maximum(values, 0.0), (vectors.T @ (fields.T @ residual)) ** 2
    power = RATIOS[:, None] ** 2 * count
    squares = residual @ residual - np.sum(along * power / (1.0 + power * values), axis=1)
    cost = residual.size * np.log(squares) + np.sum(np.log1p(power * values), axis=1)
    least = int(np.argmin(cost))
    return float(cost[least]), float(power[least, 0])


def _table(rows: Mapping[str, Mapping[str, float]], kind: str) -> xr.Dataset:
    texts = {
        "boxes": ("observed boxes", "1"),
        "number": ("observations that count as independent", "1"),
        "scale": ("error scale s: the variance of an error is s over its weight", "1"),
        "independent_error": ("independent error of a box of mean volume over the spread of the tracer", "1"),
        "smooth_error": ("smooth error over the spread of the tracer", "1"),
        "horizontal_scale": ("horizontal correlation length of the errors", "m"),
        "vertical_scale": ("vertical correlation length of the errors", "m"),
    }
    columns = {
        key: ("tracer", [row.get(key, np.nan) for row in rows.values()], {"long_name": text, "units": unit})
        for key, (text, unit) in texts.items()
        if any(key in row for row in rows.values())
    }
    return xr.Dataset(columns, {"tracer": list(rows)}, {"error_model": kind})


def _known(scale: Scale) -> float:
    if isinstance(scale, UnknownScale):
        raise InputError("error model: the posterior has unknown scales already; expected that of a fit.")
    return scale


def _labelled(modelled: Mapping[str, np.ndarray], observations: Observations, grid: OceanGrid) -> xr.Dataset:
    fields = observations.to_dataset()
    for name in observations.tracers:
        fields[f"model_{name}"] = grid.unpack(np.asarray(modelled[name]))
    return fields.assign(volume=grid.unpack(grid.volume))
