"""Coordinates in which a posterior is close to a standard normal: whitened by its Gaussian, its valleys straightened.

Whitening, x = x_hat + R z with R R^T the covariance, makes the posterior round to second order. Where the data leave a
direction loose, the others' best values bend along it by more than their own standard deviations, and the width of the
valley changes: samplers then take small steps, and importance weights degenerate. The most bent direction, t = z_i, is
followed along the valley's floor f(t), where the gradient across vanishes, with the curvature across, H(t) = C C^T:

    z = f(t) + C(t)^-T w,    ln|dz/dw| = -sum ln C_jj(t),

a Gaussian for the others given t, as in nested Laplace approximations (Rue et al. 2009). Along further directions j
that bend less, w = y + a_j y_j^2 + b_j y_j^3 with a Jacobian of one; where none bends, w = y.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from scipy.interpolate import CubicSpline

from invbgc.errors import ConvergenceError
from invbgc.inference.laplace import Laplace
from invbgc.inference.posterior import Evaluation, Posterior

NODES = (0.75, 1.5, 2.25, 3.0)
"""Distances t on either side, in standard deviations, at which a valley is followed."""

PROBE = 1.0
"""Distance at which a direction is looked at first."""

BENT = 0.1
"""Slope across at the probe, in standard deviations, from which a direction counts as bent."""

MOST = 3
"""Further directions whose bend is taken out at most."""

LOOSEST = 6
"""Directions that are looked at, the loosest ones."""

NEWTON_STEPS = 6
"""Steps across, at most, from a foreseen floor to the floor."""

CLOSEST = 0.2
"""Distance along a valley within which no point between is tried where the next one is not found."""

ON_FLOOR = 0.05
"""Length of a step across, in standard deviations, that ends on the floor."""

FLATTEST = 0.2
"""Curvature across below which steps are no longer; at the optimum it is 1 in all directions."""


@dataclass(frozen=True, eq=False)
class Valley:
    """A bent direction, followed.

    Attributes:
        index: i of its whitened coordinate.
        nodes: [m] t, increasing, 0 among them.
        floor: cubic coefficients [4, m - 1, p] of f(t); zero at i.
        factor: cubic coefficients [4, m - 1, p, p] of C(t), lower triangular, with logarithms on its diagonal; row and
            column i are those of the unit matrix.
    """

    index: int
    nodes: np.ndarray
    floor: np.ndarray
    factor: np.ndarray

    def at(self, t):
        """Floor [p] and factor [p, p] with logarithms on its diagonal; straight on beyond the last nodes."""
        inside = jnp.clip(t, self.nodes[0], self.nodes[-1])
        k = jnp.clip(jnp.searchsorted(jnp.asarray(self.nodes), inside) - 1, 0, len(self.nodes) - 2)
        d = inside - jnp.asarray(self.nodes)[k]
        f, c = jnp.asarray(self.floor)[:, k], jnp.asarray(self.factor)[:, k]
        slope = (3.0 * f[0] * d + 2.0 * f[1]) * d + f[2]
        return ((f[0] * d + f[1]) * d + f[2]) * d + f[3] + slope * (t - inside), ((c[0] * d + c[1]) * d + c[2]) * d + c[
            3
        ]


def _cubic(coefficients, d):
    return ((coefficients[0] * d + coefficients[1]) * d + coefficients[2]) * d + coefficients[3]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A smooth map from y, in which the posterior is close to a standard normal, to x.

    Attributes:
        centre: [p] optimum.
        root: R [p, p].
        valley: the loosest bent direction.
        loose: [k] further bent directions j.
        bend: [k, 2, p] coefficients a and b of each.
    """

    centre: np.ndarray
    root: np.ndarray
    valley: Valley | None = None
    loose: tuple[int, ...] = ()
    bend: np.ndarray | None = None

    def to_z(self, y):
        """Z [p] of one point y [p], and ln|dz/dy|; traceable by JAX."""
        w = jnp.asarray(y)
        if self.bend is not None:
            t = jnp.clip(w[jnp.array(self.loose)], -NODES[-1], NODES[-1])
            w = w + jnp.einsum("k,kp->p", t**2, self.bend[:, 0]) + jnp.einsum("k,kp->p", t**3, self.bend[:, 1])
        if self.valley is None:
            return w, jnp.zeros(())
        i = self.valley.index
        floor, factor = self.valley.at(w[i])
        logs = jnp.diagonal(factor)
        lower = jnp.tril(factor, -1) + jnp.diag(jnp.exp(logs))
        across = jax.scipy.linalg.solve_triangular(lower.T, w.at[i].set(0.0), lower=False)
        return (floor + across).at[i].set(w[i]), -jnp.sum(logs)

    def to_x(self, y):
        """X of one point y [p], traceable by JAX."""
        return self.centre + self.root @ self.to_z(y)[0]

    def draw(self, key: jax.Array, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draws y [n, p] of the standard normal, their x [n, p] and ln|dx/dy| [n]."""
        y = jax.random.normal(key, (n, self.root.shape[1]))
        z, volume = jax.vmap(self.to_z)(y)
        return np.asarray(y), np.asarray(self.centre + z @ self.root.T), np.asarray(volume)


def whitened(laplace: Laplace) -> Coordinates:
    """Coordinates of a Gaussian approximation, without straightening."""
    return Coordinates(np.asarray(laplace.x), laplace.root)


def straightened(
    posterior: Posterior, laplace: Laplace, optimum: Evaluation, progress: Callable[[str], Any] = lambda line: None
) -> Coordinates:
    """Coordinates that straighten the valleys of a posterior.

    Args:
        posterior: whose f is -ln p.
        laplace: its Gaussian approximation, every direction informed.
        optimum: the posterior at its optimum, with sensitivities.
        progress: receives a line of text per valley.

    Returns:
        The coordinates; plain whitening where nothing bends.
    """
    plain = whitened(laplace)
    finder = _Finder(posterior, plain, optimum)
    bends = {}
    for i in range(min(LOOSEST, finder.size)):
        found = finder.bend(i)
        if found is not None and np.abs(found[0]).max() > BENT:
            bends[i] = found
    if not bends:
        return plain
    worst = max(bends, key=lambda i: float(np.abs(bends[i][0]).max()))
    progress(f"the valley along [{laplace.direction_names[worst]}] is bent; following its floor")
    valley = finder.follow(worst, bends[worst])
    if valley is None:
        progress("its floor is not found; it stays as it is, and draws will say how much that matters")
    # What a direction does to the worst one is the valley's change of width, which its factor takes care of.
    size = {i: float(np.abs(np.delete(found[0], worst)).max()) for i, found in bends.items() if i != worst}
    others = sorted((i for i in size if size[i] > BENT), key=lambda i: -size[i])[:MOST]
    bend = np.array([bends[i] for i in others]) if others else None
    if bend is not None:
        bend[:, :, [worst, *others]] = 0.0
        progress(f"straightened as well: {', '.join(f'[{laplace.direction_names[i]}]' for i in others)}")
    return Coordinates(plain.centre, plain.root, valley, tuple(others), bend)


class _Finder:
    """Slopes and curvatures of a posterior in whitened coordinates."""

    def __init__(self, posterior: Posterior, plain: Coordinates, optimum: Evaluation):
        self._posterior, self._plain, self._optimum = posterior, plain, optimum
        self.size = plain.root.shape[1]

    def _at(self, z: np.ndarray, curved: bool) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Gradient, and Hessian if asked for, by z; None where there is no steady state within the model's limits."""
        x, root = self._plain.centre + self._plain.root @ z, self._plain.root
        if self._posterior.admissible(x) is not None:
            return None
        try:
            if not curved:
                return root.T @ np.asarray(self._posterior.value_grad(x, self._optimum).gradient), None
            found = self._posterior.value_grad_hess(x, self._optimum)
            return root.T @ np.asarray(found.gradient), root.T @ np.asarray(found.hessian) @ root
        except ConvergenceError:
            return None

    def bend(self, i: int) -> np.ndarray | None:
        """Coefficients [2, p] of t^2 and t^3 of the floor along direction i, from one point on either side."""
        slopes = []
        for t in (-PROBE, PROBE):
            z = np.zeros(self.size)
            z[i] = t
            found = self._at(z, False)
            if found is None:
                return None
            slope = found[0].copy()
            slope[i] = 0.0
            slopes.append(-slope)
        return np.array([0.5 * (slopes[0] + slopes[1]) / PROBE**2, 0.5 * (slopes[1] - slopes[0]) / PROBE**3])

    def follow(self, i: int, bend: np.ndarray) -> Valley | None:
        """The floor along direction i and the curvature across, from the optimum outwards on both sides."""
        across = np.arange(self.size) != i
        found: dict[float, tuple[np.ndarray, np.ndarray]] = {0.0: (np.zeros(self.size), np.eye(self.size))}
        for sign in (-1.0, 1.0):
            last, floor = 0.0, np.zeros(self.size)
            for t in (sign * node for node in NODES):
                point = self._reach(i, t, last, floor, bend, across)
                if point is None:
                    break
                found[t], last, floor = point, t, point[0]
        if len(found) < 3:
            return None
        nodes = np.array(sorted(found))
        floors = np.array([found[t][0] for t in nodes])
        factors = np.array([found[t][1] for t in nodes])
        diagonal = np.arange(self.size)
        factors[:, diagonal, diagonal] = np.log(factors[:, diagonal, diagonal])
        return Valley(i, nodes, CubicSpline(nodes, floors).c, CubicSpline(nodes, factors).c)

    def _reach(
        self, i: int, t: float, last: float, floor: np.ndarray, bend: np.ndarray, across: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Floor and factor at t from the floor at the point before; by points between where that is too far."""
        # Level at the optimum: near a parabola.
        foreseen = bend[0] * t**2 + bend[1] * t**3 if last == 0.0 else floor * (t / last) ** 2
        point = self._on_floor(i, t, foreseen, across)
        if point is None and abs(t - last) > CLOSEST:
            between = 0.5 * (t + last)
            found = self._reach(i, between, last, floor, bend, across)
            return None if found is None else self._reach(i, t, between, found[0], bend, across)
        return point

    def _on_floor(
        self, i: int, t: float, floor: np.ndarray, across: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Floor [p] and factor [p, p] at t, by Newton steps across from a foreseen floor; None where there is none."""
        factor = np.eye(self.size)
        for step in range(NEWTON_STEPS):
            z = floor.copy()
            z[i] = t
            point = self._at(z, True)
            if point is None or point[1] is None:
                return None
            slope, curvature = point[0][across], point[1][np.ix_(across, across)]
            # Off the floor of a bent valley the curvature may be negative: a step goes downhill all the same.
            values, vectors = np.linalg.eigh(curvature)
            length = np.maximum(np.abs(values), FLATTEST)
            change = -(vectors @ (vectors.T @ slope / length))
            floor = floor.copy()
            floor[across] += change
            if step > 0 and values[0] > 0.0 and np.sqrt(change @ curvature @ change) < ON_FLOOR:
                factor[np.ix_(across, across)] = np.linalg.cholesky(curvature)
                return floor, factor
        return None


def to_dataset(coordinates: Coordinates) -> xr.Dataset:
    """Coordinates as a dataset, from which `from_dataset` makes the same again."""
    data: dict[str, Any] = {"centre": ("x", coordinates.centre), "root": (("x", "z"), coordinates.root)}
    valley = coordinates.valley
    if valley is not None:
        data |= {
            "valley": ((), valley.index),
            "node": ("nodes", valley.nodes),
            "floor": (("power", "interval", "z"), valley.floor),
            "factor": (("power", "interval", "z", "z_2"), valley.factor),
        }
    if coordinates.bend is not None:
        data |= {"loose": ("bent", list(coordinates.loose)), "bend": (("bent", "term", "z"), coordinates.bend)}
    return xr.Dataset(data)


def from_dataset(data: xr.Dataset) -> Coordinates:
    """Coordinates that `to_dataset` has written."""
    valley, bend, loose = None, None, ()
    if "valley" in data:
        valley = Valley(int(data["valley"]), data["node"].values, data["floor"].values, data["factor"].values)
    if "bend" in data:
        bend, loose = data["bend"].values, tuple(int(i) for i in data["loose"].values)
    return Coordinates(data["centre"].values, data["root"].values, valley, loose, bend)
