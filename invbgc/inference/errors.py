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

  Phi holds the leading eigenvectors of C, from a sample of the boxes (Nystroem's method).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple, get_args

import numpy as np
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError
from invbgc.grid import OceanGrid, unit_vectors
from invbgc.inference.correlogram import effective_number
from invbgc.inference.laplace import Scaling, count
from invbgc.inference.posterior import Posterior
from invbgc.inference.programs import Scale, UnknownScale
from invbgc.observations import Observations, TracerObservations

ErrorKind = Literal["paper", "per_tracer", "structured"]
ERROR_KINDS: tuple[str, ...] = get_args(ErrorKind)

HORIZONTAL_SCALES = (0.75e6, 1.5e6, 3.0e6)
"""Correlation lengths L_h tried, m: C falls by exp(-1/2) over one."""

VERTICAL_SCALES = (400.0, 800.0, 1600.0)
"""Correlation depths L_z tried, m."""

RATIOS = np.concatenate([[0.0], np.geomspace(0.03, 30.0, 60)])
"""Smooth over independent error, of a box of mean volume, that are tried."""

MODES = 600
"""Eigenvectors kept. Fewer lose smooth variance, and error bars come out too small: by 30 % with 300 on an 8-degree
ocean, where 600 hold 96 % of the variance."""

LANDMARKS = 1500
"""Boxes from which the eigenvectors are made; drawn by volume with a fixed seed."""

SCALE_BOXES = 3000
"""Observed boxes from which the scales of a smooth error are chosen; its size is found from all."""


@dataclass
class SmoothFields:
    """Eigenvectors of a squared-exponential correlation on a grid.

    Attributes:
        grid: the grid.
        kept: boxes up to which the eigenvectors are kept for the next data set.
    """

    grid: OceanGrid
    kept: int = 20_000
    _known: dict[tuple[float, float], np.ndarray] = field(default_factory=dict, repr=False)

    def basis(self, horizontal: float, vertical: float) -> np.ndarray:
        """Phi [n_wet, k], with Phi Phi^T close to exp(-(d/L_h)^2/2 - (dz/L_z)^2/2), d the chord between boxes.

        Args:
            horizontal: L_h, m.
            vertical: L_z, m.
        """
        key = (horizontal, vertical)
        if key in self._known:
            return self._known[key]
        made = self._make(horizontal, vertical)
        if self.grid.n_wet <= self.kept:
            self._known[key] = made
        return made

    def _make(self, horizontal: float, vertical: float) -> np.ndarray:
        grid = self.grid
        sphere = EARTH_RADIUS / horizontal * unit_vectors(grid.wet_latitude, grid.wet_longitude)
        place = np.column_stack([sphere, grid.wet_depth / vertical])
        size = min(LANDMARKS, grid.n_wet)
        share = grid.volume / grid.volume.sum()
        chosen = np.random.default_rng(0).choice(grid.n_wet, size, replace=False, p=share)
        inner = _correlation(place[chosen], place[chosen])
        values, vectors = np.linalg.eigh(inner)
        leading = np.argsort(-values)[: min(MODES, size)]
        leading = leading[values[leading] > 1e-8 * values.max()]
        outward = vectors[:, leading] / np.sqrt(values[leading])
        parts = np.array_split(np.arange(grid.n_wet), max(1, grid.n_wet // 4096))
        basis = np.concatenate([_correlation(place[part], place[chosen]) @ outward for part in parts])
        # A fixed number of columns, so that data sets of one ocean share compiled programs.
        return np.pad(basis, ((0, 0), (0, MODES - basis.shape[1])))


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
        smooth: eigenvectors that another call has made on this grid.

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
        found = _most_likely(observations, residuals, fading, smooth or SmoothFields(grid))
        rows = {name: found[name].described(data) for name, data in observations.tracers.items()}
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
        smooth: eigenvectors that another call has made on this grid.

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
            basis = smooth.basis(row["horizontal_scale"], row["vertical_scale"])[data.index]
            ratio = row["smooth_error"] / np.sqrt(row["scale"])
            tracers[name] = data.with_structure(ratio * of_tracer["fading"].values[data.index, None] * basis)
    return posterior.with_data(Observations(tracers, observations.grid, observations.attrs), scales)


class _Smooth(NamedTuple):
    """A smooth error: what it costs (-2 ln L), its scales, a^2 over the weights' unit, and r^T (W - V V^T) r."""

    cost: float
    horizontal: float
    vertical: float
    power: float
    squares: float

    def described(self, data: TracerObservations) -> dict[str, float]:
        """Row of the table."""
        scale = self.squares / data.count
        return {
            "number": float(data.count),
            "scale": scale,
            # 1/w of a box of mean volume is the tracer's variance times the number of boxes.
            "independent_error": float(np.sqrt(scale * data.count)),
            "smooth_error": float(np.sqrt(scale * self.power)),
            "horizontal_scale": self.horizontal,
            "vertical_scale": self.vertical,
        }


def _most_likely(
    observations: Observations,
    residuals: Mapping[str, np.ndarray],
    fading: Mapping[str, np.ndarray],
    smooth: SmoothFields,
) -> dict[str, _Smooth]:
    """Per tracer, the smooth error that makes the residuals most likely: one scale after the other, then its size."""
    best: dict[str, _Smooth] = {}
    for name, data in observations.tracers.items():
        sample = np.sort(np.random.default_rng(0).permutation(data.count)[:SCALE_BOXES])
        of = partial(_of_scales, data, residuals[name], fading[name][data.index], smooth)
        tries = [of(horizontal, VERTICAL_SCALES[1], sample) for horizontal in HORIZONTAL_SCALES]
        horizontal = min(tries).horizontal
        tries += [of(horizontal, vertical, sample) for vertical in (VERTICAL_SCALES[0], VERTICAL_SCALES[2])]
        best[name] = of(horizontal, min(tries).vertical, np.arange(data.count))
    return best


def _of_scales(
    data: TracerObservations,
    residual: np.ndarray,
    fading: np.ndarray,
    smooth: SmoothFields,
    horizontal: float,
    vertical: float,
    sample: np.ndarray,
) -> _Smooth:
    """The size of a smooth error of given scales that makes the residuals of some boxes most likely."""
    root = np.sqrt(data.weight)[sample]
    scaled = (fading[sample] * root)[:, None] * smooth.basis(horizontal, vertical)[data.index[sample]]
    values, vectors = np.linalg.eigh(scaled.T @ scaled)
    weighted = root * residual[sample]
    values, along = np.maximum(values, 0.0), (vectors.T @ (scaled.T @ weighted)) ** 2
    power = RATIOS[:, None] ** 2 * data.count
    squares = weighted @ weighted - np.sum(along * power / (1.0 + power * values), axis=1)
    cost = sample.size * np.log(squares) + np.sum(np.log1p(power * values), axis=1)
    least = int(np.argmin(cost))
    return _Smooth(float(cost[least]), horizontal, vertical, float(power[least, 0]), float(squares[least]))


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


def _correlation(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """exp(-|a - b|^2/2) for scaled positions [m, 4] and [k, 4]."""
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(others**2, axis=1) - 2.0 * one @ others.T
    return np.exp(-0.5 * np.maximum(squares, 0.0))
