"""Observations on the grid of a model: outliers, weights, misfit and skill (Wang et al. 2023, equations 6 to 8)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import xarray as xr

from invbgc.errors import InputError
from invbgc.grid import OceanGrid

TRACERS = ("DIP", "DIC", "ALK", "O2", "DOC")
"""Tracers of the datasets, in the order of every table and file; others, of a user's own model, come after them."""

LONG_NAMES = {
    "DIP": "observed dissolved inorganic phosphorus",
    "DIC": "observed dissolved inorganic carbon",
    "ALK": "observed total alkalinity",
    "O2": "observed dissolved oxygen",
    "DOC": "observed dissolved organic carbon",
}

OUTLIER_PERCENTILES = (0.1, 99.9)
"""Percentiles outside which values are dropped (Wang et al. 2023)."""


def in_order(names: Iterable[str]) -> list[str]:
    """Names of tracers in the order of `TRACERS`, others after them as they come."""
    names = list(names)
    return [name for name in TRACERS if name in names] + [name for name in names if name not in TRACERS]


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["index", "value", "weight", "mean", "variance", "volume_fraction", "structure"],
    meta_fields=["tracer", "count"],
)
@dataclass(frozen=True, eq=False)
class TracerObservations:
    """The observed boxes of one tracer and their weights.

    With w_i = v_i / sum v over the observed boxes, mean = sum w_i x_i and variance = sum w_i (x_i - mean)^2,
    the weight of a box is w_i / variance (Wang et al. 2023, equations 7 and 8), so that half the weighted sum of
    squares is 1/2 where the model knows the mean only, whatever the tracer and the number of its boxes.

    Errors that are correlated have the covariance W^-1 + B B^T, up to a scale, with a basis B [m, k] of smooth fields.
    Its inverse is W - V V^T (Woodbury), V = W B L^-T, L L^T = I + B^T W B, which takes the place of the weights W.

    Attributes:
        tracer: name, one of the model's observables.
        index: [m] wet index of each observed box, increasing.
        value: [m] mmol m-3.
        weight: [m] (mmol m-3)^-2.
        mean: volume-weighted mean, mmol m-3.
        variance: volume-weighted variance, (mmol m-3)^2.
        volume_fraction: observed part of the ocean's volume.
        count: number m of observed boxes.
        structure: V [m, k], or None for independent errors.
    """

    tracer: str
    index: np.ndarray
    value: np.ndarray
    weight: np.ndarray
    mean: float
    variance: float
    volume_fraction: float
    count: int
    structure: np.ndarray | None = None

    def weighted(self, residual: np.ndarray) -> np.ndarray:
        """(W - V V^T) r for r [m] or [m, j], on the host."""
        product = (self.weight * residual.T).T
        return product if self.structure is None else product - self.structure @ (self.structure.T @ residual)

    def with_structure(self, basis: np.ndarray, variance: np.ndarray | float = 0.0) -> "TracerObservations":
        """The same data with errors of covariance W^-1 + E + B B^T.

        Args:
            basis: B [m, k] mmol m-3.
            variance: diagonal [m] of E, (mmol m-3)^2; the weights become (W^-1 + E)^-1.
        """
        weight = 1.0 / (1.0 / self.weight + variance)
        scaled = np.sqrt(weight)[:, None] * basis
        root = np.linalg.cholesky(np.eye(basis.shape[1]) + scaled.T @ scaled)
        structure = scipy.linalg.solve_triangular(root, basis.T * weight, lower=True).T
        return replace(self, weight=weight, structure=structure)


def observe(tracer: str, values: Any, grid: OceanGrid) -> TracerObservations:
    """Observations of one tracer from a wet vector with NaN where nothing was measured.

    Args:
        tracer: name.
        values: [n_wet] mmol m-3, NaN where unobserved.
        grid: the grid.

    Returns:
        the observed boxes with their weights.

    Raises:
        InputError: wrong length, fewer than two observed boxes, or all values equal.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (grid.n_wet,):
        raise InputError(f"Observations of {tracer}: shape {values.shape}; expected {(grid.n_wet,)}, the wet boxes.")
    index = np.flatnonzero(np.isfinite(values))
    if index.size < 2:
        raise InputError(f"Observations of {tracer}: {index.size} observed boxes; expected two at least.")
    value, volume = values[index], grid.volume[index]
    fraction = volume / volume.sum()
    mean = float(fraction @ value)
    variance = float(fraction @ (value - mean) ** 2)
    if not np.ptp(value) > 0.0:
        raise InputError(f"Observations of {tracer}: all {index.size} values equal {mean}; expected them to vary.")
    share = float(volume.sum() / grid.volume.sum())
    return TracerObservations(tracer, index, value, fraction / variance, mean, variance, share, index.size)


@dataclass(frozen=True, eq=False)
class Observations:
    """Observations of several tracers on one grid.

    Attributes:
        tracers: tracer -> its observations, in the order of `in_order`.
        grid: the grid.
        attrs: provenance: source, licence, processing steps, `synthetic` if made by a model.
    """

    tracers: Mapping[str, TracerObservations]
    grid: OceanGrid
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], grid: OceanGrid, attrs: Mapping[str, Any] | None = None):
        """Observations from wet vectors.

        Args:
            fields: tracer -> [n_wet] mmol m-3, NaN where unobserved; `Posterior` checks that the model has the tracer.
            grid: the grid.
            attrs: provenance.

        Returns:
            the observations, weighted as in `observe`.

        Raises:
            InputError: as `observe`, or no tracer is given.
        """
        if not fields:
            raise InputError(f"Observations: found no tracer; expected some, {', '.join(TRACERS)} or others.")
        return cls({name: observe(name, fields[name], grid) for name in in_order(fields)}, grid, attrs or {})

    def subset(self, names: Iterable[str]) -> "Observations":
        """The observations of the named tracers only; weights do not change.

        Raises:
            InputError: a tracer is not observed here.
        """
        names = list(names)
        missing = [name for name in names if name not in self.tracers]
        if missing or not names:
            raise InputError(f"Observations of {missing or 'no tracer'} asked for; present are {list(self.tracers)}.")
        kept = {name: data for name, data in self.tracers.items() if name in names}
        return Observations(kept, self.grid, self.attrs)

    def vector(self, tracer: str) -> np.ndarray:
        """Observed values of a tracer as a wet vector, [n_wet] mmol m-3, NaN where unobserved."""
        values = np.full(self.grid.n_wet, np.nan)
        values[self.tracers[tracer].index] = self.tracers[tracer].value
        return values

    def to_dataset(self) -> xr.Dataset:
        """`observed_<tracer>` on (depth, latitude, longitude) in mmol m-3, NaN where unobserved."""
        fields = {}
        for name in self.tracers:
            attributes = {"units": "mmol m-3", "long_name": LONG_NAMES.get(name, f"observed {name}")}
            fields[f"observed_{name}"] = self.grid.unpack(self.vector(name), f"observed_{name}", attributes)
        return xr.Dataset(fields, attrs=dict(self.attrs))


def drop_outliers(values: Any) -> tuple[np.ndarray, tuple[float, float]]:
    """Drop negative values, then values strictly outside the 0.1 and 99.9 percentiles.

    Percentiles are those of the mid-point definition: the i-th of N sorted values sits at 100 (i - 1/2)/N, linear
    in between. Apply after any masking (Wang et al. 2023; this definition gives their counts).

    Args:
        values: any shape and unit, NaN where missing.

    Returns:
        a copy with NaN where dropped, and the two percentiles.

    Raises:
        InputError: no value is left.
    """
    values = np.array(values, dtype=np.float64)
    values[values < 0.0] = np.nan
    present = values[np.isfinite(values)]
    if present.size == 0:
        raise InputError("Outlier rule: no finite value that is not negative; expected some observations.")
    low, high = np.percentile(present, OUTLIER_PERCENTILES, method="hazen")
    values[(values < low) | (values > high)] = np.nan
    return values, (float(low), float(high))


def misfit(model: Any, observations: TracerObservations) -> jax.Array:
    """1/2 sum_i weight_i (model_i - observed_i)^2 of one tracer (Wang et al. 2023, equation 6).

    Where the errors are correlated, 1/2 r^T (W - V V^T) r with the residuals r.

    Args:
        model: [m] mmol m-3, at the observed boxes; may be traced by JAX.
        observations: the data.

    Returns:
        scalar without unit; about (1 - R2)/2.
    """
    residual = model - observations.value
    squares = jnp.sum(observations.weight * residual**2)
    if observations.structure is not None:
        squares = squares - jnp.sum((residual @ observations.structure) ** 2)
    return 0.5 * squares


def skill(model_state: Mapping[str, Any], observations: Observations) -> xr.Dataset:
    """How well a state agrees with the observations, tracer by tracer.

    R2 = max(0, 1 - sum (x - m)^2 / sum (x - mean x)^2), unweighted, over the `n` boxes in which both observed x and
    modelled m are positive, as Wang et al. (2023) report it. R2_volume = 1 - sum w (x - m)^2 / variance, with the
    volume weights w of all observed boxes, is not clipped; bias = sum w (m - x), rmse^2 = sum w (m - x)^2.

    Args:
        model_state: tracer -> [n_wet] mmol m-3, what the observations measure (DOC with all its pools).
        observations: the data.

    Returns:
        Dataset on `tracer`: n, R2, R2_volume, bias and rmse (mmol m-3), misfit.

    Raises:
        InputError: a tracer is missing or has another length.
    """
    rows = [_skill_of(model_state, data, observations.grid) for data in observations.tracers.values()]
    attributes = {
        "n": ("boxes in which observation and model are positive", "1"),
        "R2": ("explained variance, unweighted, over these boxes", "1"),
        "R2_volume": ("explained variance, weighted by volume", "1"),
        "bias": ("volume-weighted mean of model minus observation", "mmol m-3"),
        "rmse": ("volume-weighted root of the mean squared difference", "mmol m-3"),
        "misfit": ("term of the objective", "1"),
    }
    variables = {
        key: ("tracer", np.array([row[key] for row in rows]), {"long_name": text, "units": unit})
        for key, (text, unit) in attributes.items()
    }
    return xr.Dataset(variables, {"tracer": list(observations.tracers)})


def _skill_of(state: Mapping[str, Any], data: TracerObservations, grid: OceanGrid) -> dict[str, float]:
    if data.tracer not in state:
        raise InputError(f"Skill of {data.tracer}: the state has {sorted(state)}; expected what is observed.")
    field = np.asarray(state[data.tracer])
    if field.shape != (grid.n_wet,):
        raise InputError(f"Skill of {data.tracer}: modelled shape {field.shape}; expected {(grid.n_wet,)}.")
    model, observed = field[data.index], data.value
    fraction = grid.volume[data.index] / grid.volume[data.index].sum()
    both = (observed > 0.0) & (model > 0.0)
    residual = model - observed
    spread = np.sum((observed[both] - observed[both].mean()) ** 2) if both.any() else 0.0
    explained = 1.0 - np.sum(residual[both] ** 2) / spread if spread > 0.0 else 0.0
    squares = float(fraction @ residual**2)
    return {
        "n": int(both.sum()),
        "R2": max(0.0, float(explained)),
        "R2_volume": 1.0 - squares / data.variance,
        "bias": float(fraction @ residual),
        "rmse": squares**0.5,
        "misfit": 0.5 * squares / data.variance,
    }
