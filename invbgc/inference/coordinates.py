"""Coordinates in which a posterior is close to a standard normal: whitened by its Gaussian, then straightened.

Whitening, x = x_hat + R z with R R^T the covariance, makes the posterior round to second order. What the data know best
is a curved function of the parameters, and where they know it to a thousandth, its curvature is many standard
deviations: samplers take small steps along its level sets, and importance weights degenerate. Two kinds of maps
straighten them, one after the other; `invbgc.inference.straighten` finds them:

* a shear z_i = w_i - 1/2 sum_jk T_ijk w_j w_k over j, k < i, directions sorted from the loosest to the sharpest, with
  the third derivatives T of -ln p: it takes these terms of third order out of -ln p, and its Jacobian is one;
* a valley along a loose direction, followed on its floor f(t), where the gradient across vanishes, with the curvature
  across, H(t) = C C^T: a Gaussian for all others given t, as in nested Laplace approximations (Rue et al. 2009). Their
  integral is the density of t, exp(-U(f(t)))/|C(t)|, to which q takes a standard normal:

      z = f(t) + C(t)^-T w,    t = q(w_i),    ln|dz/dw| = ln q'(w_i) - sum ln C_jj(t).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.inference.laplace import Laplace


@dataclass(frozen=True, eq=False)
class Shear:
    """Level sets of what is known best, made flat.

    Attributes:
        index: [m] the sheared directions i.
        third: T [m, p, p], third derivatives of -ln p by z_i, z_j and z_k; zero unless j, k < i.
    """

    index: np.ndarray
    third: np.ndarray

    def __call__(self, w):
        """Z [p] of one w [p], and ln|dz/dw| = 0; traceable by JAX."""
        return w.at[jnp.asarray(self.index)].add(-0.5 * jnp.einsum("ijk,j,k->i", self.third, w, w)), jnp.zeros(())


@dataclass(frozen=True, eq=False)
class Valley:
    """A bent direction, followed; everything is a cubic spline in s = w_i.

    Attributes:
        index: i.
        nodes: [m] s, increasing.
        along: [4, m - 1] coefficients of q(s).
        floor: [4, m - 1, p] those of f(q(s)); zero at i.
        factor: [4, m - 1, p, p] those of C(q(s)), lower triangular, with logarithms on its diagonal; row and column i
            are those of the unit matrix.
    """

    index: int
    nodes: np.ndarray
    along: np.ndarray
    floor: np.ndarray
    factor: np.ndarray

    def __call__(self, w):
        """Z [p] of one w [p], and ln|dz/dw|; straight on beyond the last nodes; traceable by JAX."""
        i, nodes = self.index, jnp.asarray(self.nodes)
        inside = jnp.clip(w[i], nodes[0], nodes[-1])
        k = jnp.clip(jnp.searchsorted(nodes, inside) - 1, 0, len(self.nodes) - 2)
        d, beyond = inside - nodes[k], w[i] - inside
        t, stretch = _cubic(jnp.asarray(self.along)[:, k], d)
        floor, slope = _cubic(jnp.asarray(self.floor)[:, k], d)
        factor, _ = _cubic(jnp.asarray(self.factor)[:, k], d)
        logs = jnp.diagonal(factor)
        lower = jnp.tril(factor, -1) + jnp.diag(jnp.exp(logs))
        across = jax.scipy.linalg.solve_triangular(lower.T, w.at[i].set(0.0), lower=False)
        z = floor + slope * beyond + across
        return z.at[i].set(t + stretch * beyond), jnp.log(stretch) - jnp.sum(logs)


def _cubic(coefficients, d):
    """Value and slope of a cubic at d."""
    a, b, c, value = coefficients
    return ((a * d + b) * d + c) * d + value, (3.0 * a * d + 2.0 * b) * d + c


@dataclass(frozen=True, eq=False)
class Coordinates:
    """A smooth map from y, in which the posterior is close to a standard normal, to x.

    Attributes:
        centre: [p] optimum.
        root: R [p, p], the loosest direction first.
        maps: from w to z, each in the coordinates that the ones before it have made.
    """

    centre: np.ndarray
    root: np.ndarray
    maps: tuple[Shear | Valley, ...] = ()

    def to_z(self, y):
        """Z [p] of one point y [p], and ln|dz/dy|; traceable by JAX."""
        z, volume = jnp.asarray(y), jnp.zeros(())
        for one in reversed(self.maps):
            z, part = one(z)
            volume = volume + part
        return z, volume

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


MAPS: Mapping[str, type[Shear | Valley]] = {"shear": Shear, "valley": Valley}
"""Maps by their names in files."""


def to_dataset(coordinates: Coordinates) -> xr.Dataset:
    """Coordinates as a dataset, from which `from_dataset` makes the same again."""
    data: dict[str, Any] = {"centre": ("x", coordinates.centre), "root": (("x", "z"), coordinates.root)}
    for k, one in enumerate(coordinates.maps):
        for name, value in vars(one).items():
            data[f"map_{k}_{name}"] = ([f"map_{k}_{name}_{axis}" for axis in range(np.ndim(value))], value)
    kinds = {kind: name for name, kind in MAPS.items()}
    return xr.Dataset(data, attrs={"maps": " ".join(kinds[type(one)] for one in coordinates.maps)})


def from_dataset(data: xr.Dataset) -> Coordinates:
    """Coordinates that `to_dataset` has written."""
    maps = []
    for k, name in enumerate(data.attrs["maps"].split()):
        kind = MAPS[name]
        values: dict[str, Any] = {field: data[f"map_{k}_{field}"].values for field in kind.__dataclass_fields__}
        maps.append(kind(**{field: value if value.ndim else value.item() for field, value in values.items()}))
    return Coordinates(data["centre"].values, data["root"].values, tuple(maps))
