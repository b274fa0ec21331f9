"""How many independent observations a field of residuals is worth.

The residuals z = sqrt(w) (model - data - weighted mean), with w the volume of the box, are compared in pairs: boxes of
one layer binned by great-circle distance d, boxes of one column binned by vertical distance D. Each correlogram,

    rho(bin) = sum z_i z_j / sqrt(sum z_i^2 sum z_j^2)   over the pairs of the bin,

runs from rho(0) = 1 through the bins to its first zero, linear in between, and is zero beyond. With the separable model
rho_ij = rho_h(d_ij) rho_z(D_ij), the n boxes of a tracer are worth

    n_eff = n / mean_i sum_j rho_ij,

the number of independent data whose mean has the same variance (Bayley and Hammersley 1946, J. R. Stat. Soc. Suppl. 8).
Tracers are taken as independent of each other. This is an estimate of the order of magnitude: residuals are neither
stationary nor isotropic, and errors of the circulation are shared between tracers.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.grid import unit_vectors

SAMPLE = 500
"""Boxes whose pairs with all others are formed; drawn with a fixed seed."""

LARGEST_DISTANCE = 5.0e6
"""Largest horizontal distance in a correlogram, m."""

VERTICAL_EDGES = (1.0, 75.0, 150.0, 300.0, 600.0, 1200.0, 2400.0, 6000.0)
"""Edges of the vertical bins, m."""


@dataclass(frozen=True)
class EffectiveNumber:
    """What the residuals of one tracer are worth.

    Attributes:
        count: observed boxes n.
        number: n_eff, between 1 and n.
        horizontal_scale: integral of rho_h, m.
        vertical_scale: integral of rho_z, m.
    """

    count: int
    number: float
    horizontal_scale: float
    vertical_scale: float


def effective_number(fields: xr.Dataset, tracer: str) -> EffectiveNumber:
    """Number of independent observations of a tracer.

    Args:
        fields: ``model_<tracer>`` and ``observed_<tracer>`` (NaN where unobserved) in the same unit and ``volume`` m3,
            on (depth, latitude, longitude).
        tracer: for example ``"DIC"``.

    Returns:
        n_eff with the scales it rests on.
    """
    order = ("depth", "latitude", "longitude")
    residual = (fields[f"model_{tracer}"] - fields[f"observed_{tracer}"]).transpose(*order)
    seen = np.isfinite(residual.values)
    n = int(seen.sum())
    if n < 3:
        return EffectiveNumber(n, float(n), 0.0, 0.0)
    weight = fields["volume"].transpose(*order).values[seen]
    departure = residual.values[seen] - np.average(residual.values[seen], weights=weight)
    z = np.full(seen.shape, np.nan)
    z[seen] = np.sqrt(weight / weight.sum()) * departure

    depth, latitude, longitude = (residual[name].values.astype(float) for name in order)
    layer, row, cell = np.nonzero(seen)
    direction = unit_vectors(latitude[row], longitude[cell])
    sampled = np.random.default_rng(0).permutation(n)[:SAMPLE]

    width = EARTH_RADIUS * np.radians(np.abs(np.diff(latitude)).min()) if latitude.size > 1 else LARGEST_DISTANCE
    edges = np.append(1.0, np.arange(0.5 * width, LARGEST_DISTANCE + width, width))
    horizontal = _Correlogram(edges)
    for i in sampled:
        start, stop = np.searchsorted(layer, [layer[i], layer[i] + 1])
        horizontal.add(_distance(direction[i], direction[start:stop]), z[seen][i], z[seen][start:stop])
    vertical = _Correlogram(np.array(VERTICAL_EDGES))
    for upper in range(len(depth)):
        for lower in range(upper + 1, len(depth)):
            both = seen[upper] & seen[lower]
            vertical.add(np.full(both.sum(), depth[lower] - depth[upper]), z[upper][both], z[lower][both])
    (lag_h, rho_h), (lag_z, rho_z) = horizontal.curve(), vertical.curve()

    correlated = 0.0
    for i in sampled:
        across = np.interp(_distance(direction[i], direction), lag_h, rho_h, right=0.0)
        down = np.interp(np.abs(depth[layer] - depth[layer[i]]), lag_z, rho_z, right=0.0)
        correlated += float(across @ down)
    number = min(float(n), max(1.0, n * len(sampled) / correlated))
    return EffectiveNumber(n, number, float(np.trapezoid(rho_h, lag_h)), float(np.trapezoid(rho_z, lag_z)))


class _Correlogram:
    """Sums of products of pairs, by bins of distance."""

    def __init__(self, edges: np.ndarray):
        self.edges = edges
        self.sums = np.zeros((4, len(edges) - 1))  # z_i z_j, z_i^2, z_j^2, distance weighted by pairs
        self.pairs = np.zeros(len(edges) - 1)

    def add(self, distance: np.ndarray, z: np.ndarray | float, others: np.ndarray) -> None:
        place = np.digitize(distance, self.edges) - 1
        inside = (place >= 0) & (place < len(self.pairs))
        z = np.broadcast_to(z, others.shape)[inside]
        others, place = others[inside], place[inside]
        for k, term in enumerate((z * others, z * z, others * others, distance[inside])):
            self.sums[k] += np.bincount(place, term, len(self.pairs))
        self.pairs += np.bincount(place, minlength=len(self.pairs))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """Distances and rho, from (0, 1) to the first zero or the last bin that holds pairs."""
        used = (self.pairs > 0) & (self.sums[1] > 0) & (self.sums[2] > 0)
        product, first, second, distance = self.sums[:, used]
        lag = np.concatenate([[0.0], distance / self.pairs[used]])
        rho = np.concatenate([[1.0], product / np.sqrt(first * second)])
        below = np.flatnonzero(rho <= 0)
        if below.size:
            last = below[0]
            fraction = rho[last - 1] / (rho[last - 1] - rho[last])
            lag = np.append(lag[:last], lag[last - 1] + fraction * (lag[last] - lag[last - 1]))
            rho = np.append(rho[:last], 0.0)
        return lag, rho


def _distance(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Great-circle distance, m, from a unit vector [3] to others [m, 3]; exact at zero distance."""
    chord = np.linalg.norm(others - one, axis=1)
    return 2.0 * EARTH_RADIUS * np.arcsin(np.minimum(0.5 * chord, 1.0))
