"""Error models: how large the errors of the observations are, and how they hang together.

The misfit q_X = r^T W r / 2 of a tracer X weighs its residuals r by volume and variance; how far it may rise above its
minimum is another question. Three answers, each of which makes a negative log posterior of a model's misfit:

* ``"paper"``: one error scale for all tracers, s = 2 f / N, as Wang et al. (2023) take it: q_X / s.
* ``"per_tracer"``: a scale s_X of its own for every tracer, integrated out, (n_X/2) ln q_X, with as many independent
  data n_X as the correlation of the residuals leaves (`effective_number`).
* ``"structured"``: errors that are partly smooth (`invbgc.inference.structured`), of the size and the scales that make
  the residuals of a fit most likely. Every box counts, and s_X is integrated out.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.inference.correlogram import effective_number
from invbgc.inference.laplace import Scaling, count
from invbgc.inference.posterior import Posterior
from invbgc.inference.programs import Scale, UnknownScale
from invbgc.inference.smooth import STRETCH_DEPTH, SmoothFields
from invbgc.inference.structured import KNOTS, StructuredErrors, most_likely
from invbgc.observations import Observations

ErrorKind = Literal["paper", "per_tracer", "structured"]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)


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
    sizes, profiles = [], []
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
        smooth = smooth or SmoothFields(grid)
        for name, data in observations.tracers.items():
            found, profile = most_likely(data, residuals[name], np.asarray(modelled[name]), smooth)
            sizes.append(found.size)
            profiles.append(profile)
            volume = grid.volume[data.index]
            rows[name] = {
                "number": float(data.count),
                "scale": found.scale,
                # 1/w of a box of mean volume is the tracer's variance times the number of boxes.
                "independent_error": np.sqrt(found.scale * data.count),
                "smooth_error": np.sqrt(volume @ found.size[data.index] ** 2 / volume.sum() / data.variance),
                "horizontal_scale": found.horizontal,
                "depth_scale": found.vertical,
            }
    rows = {name: {"boxes": data.count} | rows[name] for name, data in observations.tracers.items()}
    table = _table(rows, kind)
    if kind == "structured":
        attrs = {"long_name": "standard deviation of the smooth error", "units": "mmol m-3"}
        table["smooth_size"] = (("tracer", "wet_box"), np.stack(sizes), attrs)
        attrs = {"long_name": "smooth error over the spread of the tracer", "units": "1"}
        table["smooth_profile"] = (("tracer", "depth"), np.stack(profiles), attrs)
        table = table.assign_coords(depth=("depth", KNOTS, {"units": "m", "positive": "down"}))
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
            size = of_tracer["smooth_size"].values
            known = StructuredErrors(row["scale"], size, row["horizontal_scale"], row["depth_scale"])
            tracers[name] = known.added_to(data, smooth)
    return posterior.with_data(Observations(tracers, observations.grid, observations.attrs), scales)


def _table(rows: Mapping[str, Mapping[str, float]], kind: str) -> xr.Dataset:
    texts = {
        "boxes": ("observed boxes", "1"),
        "number": ("observations that count as independent", "1"),
        "scale": ("error scale s: the variance of an error is s over its weight", "1"),
        "independent_error": ("independent error of a box of mean volume over the spread of the tracer", "1"),
        "smooth_error": ("smooth error over the spread of the tracer, root of its mean square by volume", "1"),
        "horizontal_scale": ("correlation length of the errors along circles of latitude", "m"),
        "vertical_scale": ("vertical correlation length of the errors", "m"),
        "depth_scale": (f"vertical correlation length of the errors over depth + {STRETCH_DEPTH:g} m", "1"),
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
