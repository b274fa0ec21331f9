"""How a posterior bends, and the coordinates in which it does not.

In whitened coordinates z, -ln p = |z|^2/2 + sum_ijk T_ijk z_i z_j z_k/6 + ... The third derivatives are large where one
of the three directions is among the sharpest (`invbgc.inference.coordinates` says why), and these T_ijk are the
differences of two Hessians on either side along that direction i. A shear takes them out. Then the loose directions are
looked at, and the floor of the most bent one is followed outwards, a point at a time: foreseen from the points before,
whose slope df/dt is known from the Hessian, and found by Newton steps across.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.interpolate import CubicSpline
from scipy.stats import norm

from invbgc.errors import ConvergenceError
from invbgc.inference.coordinates import Coordinates, Shear, Valley, whitened
from invbgc.inference.laplace import Laplace
from invbgc.inference.posterior import Evaluation, Posterior

SHARPEST = 4
"""Directions whose level sets are made flat, the sharpest ones."""

STEP = 0.7
"""Distance, in standard deviations, of the Hessians that are differenced."""

LOOSEST = 6
"""Directions that are looked at for valleys, the loosest ones."""

PROBE = 1.0
"""Distance at which a direction is looked at."""

BENT = 0.05
"""Third derivative, or slope or change of curvature at the probe, from which a direction counts as bent."""

MOST = 3
"""Valleys at most."""

NODES = (0.75, 1.5, 2.25, 3.0)
"""Distances t on either side at which a valley is followed."""

CLOSEST = 0.2
"""Distance along a valley within which no point between is tried where the next one is not found."""

NEWTON_STEPS = 6
"""Steps across, at most, from a foreseen floor to the floor."""

FARTHEST = 5.0
"""Distance s of a node beyond which it is left out, as no draw comes there."""

ENDS = 8.0
"""Distance t at which the density along a valley is taken to have ended."""

ON_FLOOR = 0.05
"""Length of a step across, in standard deviations, that ends on the floor."""

FLATTEST = 0.2
"""Curvature across below which steps are no longer; at the optimum it is 1 in all directions."""


def straightened(
    posterior: Posterior, laplace: Laplace, optimum: Evaluation, progress: Callable[[str], Any] = lambda line: None
) -> Coordinates:
    """Coordinates that straighten the level sets and valleys of a posterior.

    Args:
        posterior: whose f is -ln p.
        laplace: its Gaussian approximation, every direction informed.
        optimum: the posterior at its optimum, with sensitivities.
        progress: receives a line of text per map.

    Returns:
        The coordinates; plain whitening where nothing bends.
    """
    found = whitened(laplace)
    names = laplace.direction_names
    progress("Hessians beside the optimum say how the posterior bends")
    finder = _Finder(posterior, found, optimum)
    third = {}
    for i in range(max(0, finder.size - SHARPEST), finder.size):
        curved = finder.third(i)
        if curved is None:
            progress(f"[{names[i]}] has no steady state within {STEP} standard deviations; its level sets stay curved")
        elif np.abs(curved).max() > BENT:
            third[i] = curved
            progress(f"what the data know best is curved: [{names[i]}] by {np.abs(curved).max():.2g}")
    if third:
        shear = Shear(np.array(list(third)), np.array(list(third.values())))
        found = Coordinates(found.centre, found.root, (shear,))
    for _ in range(MOST):
        finder = _Finder(posterior, found, optimum)
        bends = {i: finder.bend(i) for i in range(min(LOOSEST, finder.size))}
        for i in (i for i, bend in bends.items() if bend is None):
            progress(f"[{names[i]}] has no steady state within {PROBE} standard deviations; it is not straightened")
        known = {i: bend for i, bend in bends.items() if bend is not None}
        worst = max(known, key=lambda i: known[i], default=None)
        if worst is None or known[worst] < BENT:
            break
        progress(f"the valley along [{names[worst]}] is bent by {known[worst]:.2g}; following its floor")
        valley = finder.follow(worst, progress)
        if valley is None:
            progress("its floor is not found; it stays as it is, and draws will say how much that matters")
            break
        found = Coordinates(found.centre, found.root, (*found.maps, valley))
    return found


class _Floor(NamedTuple):
    """A point of a valley's floor.

    Attributes:
        t: distance along the direction.
        floor: f [p].
        slope: df/dt [p].
        factor: C [p, p], with logarithms on its diagonal.
        density: ln of the density of t, up to a constant.
    """

    t: float
    floor: np.ndarray
    slope: np.ndarray
    factor: np.ndarray
    density: float


class _Finder:
    """A posterior with its slopes and curvatures in coordinates w."""

    def __init__(self, posterior: Posterior, coordinates: Coordinates, optimum: Evaluation):
        self._posterior, self._optimum = posterior, optimum
        self.size = coordinates.root.shape[1]

        def expansion(w, x, value, gradient, hessian):
            """-ln p of w, by its expansion to second order about x."""
            z, volume = coordinates.to_z(w)
            change = coordinates.centre + coordinates.root @ z - x
            return value + gradient @ change + 0.5 * change @ hessian @ change - volume

        self._to_x = jax.jit(coordinates.to_x)
        self._first, self._second = jax.jit(jax.value_and_grad(expansion)), jax.jit(jax.hessian(expansion))

    def _at(self, i: int, t: float, w: np.ndarray) -> tuple[float, np.ndarray, np.ndarray] | None:
        """-ln p, its gradient and Hessian at w with w_i = t; None where the model has no steady state."""
        w = w.copy()
        w[i] = t
        x = np.asarray(self._to_x(w))
        if self._posterior.admissible(x) is not None:
            return None
        try:
            found = self._posterior.value_grad_hess(x, self._optimum)
        except ConvergenceError:
            return None
        local = w, x, found.value, found.gradient, found.hessian
        value, slope = self._first(*local)
        return float(value), np.array(slope), np.array(self._second(*local))

    def third(self, i: int) -> np.ndarray | None:
        """Third derivatives T_ijk [p, p] for j, k < i; None where there is no steady state on one side."""
        sides = [self._at(i, t, np.zeros(self.size)) for t in (-STEP, STEP)]
        if sides[0] is None or sides[1] is None:
            return None
        below = np.arange(self.size) < i
        return np.where(np.outer(below, below), (sides[1][2] - sides[0][2]) / (2.0 * STEP), 0.0)

    def bend(self, i: int) -> float | None:
        """How far slope and curvature across are from a normal's at the probe along i; None as in `third`."""
        across = np.arange(self.size) != i
        worst = 0.0
        for t in (-PROBE, PROBE):
            point = self._at(i, t, np.zeros(self.size))
            if point is None:
                return None
            change = point[2][np.ix_(across, across)] - np.eye(self.size - 1)
            worst = max(worst, np.abs(point[1][across]).max(initial=0.0), np.abs(change).max(initial=0.0))
        return worst

    def follow(self, i: int, progress: Callable[[str], Any]) -> Valley | None:
        """The floor along direction i and the curvature across, from the optimum outwards on both sides."""
        start = self._on_floor(i, 0.0, np.zeros(self.size))
        if start is None:
            return None
        found = [start]
        for sign in (-1.0, 1.0):
            way = [start]
            for t in (sign * node for node in NODES):
                way = self._reach(i, t, way)
                if not way:
                    break
                found.append(way[-1])
                progress(f"its floor at {t:+.2f} standard deviations")
        if len(found) < 3:
            return None
        found.sort(key=lambda point: point.t)
        t, floors, _, factors, density = (np.array(part) for part in zip(*found, strict=True))
        s = _normal_scores(t, density)
        used = np.abs(s) < FARTHEST
        if np.count_nonzero(used) < 3:
            return None
        splines = [CubicSpline(s[used], part[used]) for part in (t, floors, factors)]
        # A spline that turns back would hide a part of the posterior.
        if splines[0](np.linspace(s[used][0], s[used][-1], 1001), 1).min() <= 0.0:
            return None
        return Valley(i, s[used], *(spline.c for spline in splines))

    def _reach(self, i: int, t: float, way: list[_Floor]) -> list[_Floor]:
        """The points so far and the floor at t, by points between where that is too far; none where there is none."""
        last = way[-1]
        curved = (last.slope - way[-2].slope) / (last.t - way[-2].t) if len(way) > 1 else 0.0
        foreseen = last.floor + last.slope * (t - last.t) + 0.5 * curved * (t - last.t) ** 2
        point = self._on_floor(i, t, foreseen)
        if point is not None:
            return [*way, point]
        if abs(t - last.t) < CLOSEST:
            return []
        between = self._reach(i, 0.5 * (t + last.t), way)
        return self._reach(i, t, between) if between else []

    def _on_floor(self, i: int, t: float, floor: np.ndarray) -> _Floor | None:
        """The floor at t, by Newton steps across from a foreseen one; None where there is none."""
        across = np.arange(self.size) != i
        floor = floor.copy()
        for _ in range(NEWTON_STEPS):
            point = self._at(i, t, floor)
            if point is None:
                return None
            slope, curvature = point[1][across], point[2][np.ix_(across, across)]
            # Off the floor of a bent valley the curvature may be negative: a step goes downhill all the same.
            values, vectors = np.linalg.eigh(curvature)
            change = -vectors @ (vectors.T @ slope / np.maximum(np.abs(values), FLATTEST))
            floor[across] += change
            if values[0] > 0.0 and np.sqrt(change @ curvature @ change) < ON_FLOOR:
                factor, descent = np.eye(self.size), np.zeros(self.size)
                factor[np.ix_(across, across)] = np.linalg.cholesky(curvature)
                logs = np.log(np.diagonal(factor))
                factor[np.diag_indices(self.size)] = logs
                descent[across] = -np.linalg.solve(curvature, point[2][across, i])
                return _Floor(t, floor, descent, factor, -(point[0] + 0.5 * slope @ change) - logs.sum())
        return None


def _normal_scores(t: np.ndarray, density: np.ndarray) -> np.ndarray:
    """S [m] at which a standard normal has as much to its left as the distribution of ln density [m] has at t [m]."""
    excess = CubicSpline(t, density - density.max() + 0.5 * t**2)  # over a normal one's, straight on beyond the nodes
    fine = np.linspace(-ENDS, ENDS, 4801)
    inside = np.clip(fine, t[0], t[-1])
    slope = np.clip(
        excess(inside, 1), -1.0, 1.0
    )  # where the density has not fallen at the last node, it ends all the same
    mass = np.exp(excess(inside) + slope * (fine - inside) - 0.5 * fine**2)
    left, right = (cumulative_trapezoid(part, fine, initial=0.0) for part in (mass, mass[::-1]))
    below, above = left / left[-1], right[::-1] / right[-1]
    return np.interp(t, fine, np.where(below < 0.5, norm.ppf(below), norm.isf(above)))
