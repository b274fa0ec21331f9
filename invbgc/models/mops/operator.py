"""The matrix of the phosphorus core, T - ds/du of seven coupled tracers, and its entries from the sources by JAX.

Sources couple the tracers of a box; in a column, phytoplankton shade what is below them, and detritus sinks into the
next box. These entries follow from eleven products with the Jacobian, whatever the size of the ocean: one perturbation
per tracer, or per lit layer, or every other layer, of all columns at once. What was buried returns to the surface of
the whole ocean, a term of rank one.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from invbgc.grid import OceanGrid
from invbgc.linalg.operators import RowProduct, SparseOperator
from invbgc.models.mops.core import CORE

_SHADES = CORE.index("PHY")
_SINKS = CORE.index("DET")
_SHADED = tuple(CORE.index(name) for name in ("PO4", "O2", "PHY", "DIN"))
"""Tracers whose sources depend on the phytoplankton above."""


def shading_pairs(layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower layer of every pair of lit layers."""
    upper, lower = np.triu_indices(layers, 1)
    return upper, lower


def core_jacobian(sources: Callable, state: jax.Array, layers: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The nonzero entries of ds/du.

    Args:
        sources: s, [7, nz, n_columns] of [7, nz, n_columns], per s.
        state: u.
        layers: lit layers.

    Returns:
        entries within a box [7, 7, nz, n_columns] (source, tracer); of shading [4, pairs, n_columns]; of sinking,
        box above -> box [nz, n_columns].
    """
    tracers, nz = state.shape[:2]
    depth = jnp.arange(nz)
    seeds = [(_SHADES, depth == layer) for layer in range(layers)] + [(_SHADES, depth >= layers)]
    seeds += [(_SINKS, depth % 2 == 0), (_SINKS, depth % 2 == 1)]
    seeds += [(t, depth >= 0) for t in range(tracers) if t not in (_SHADES, _SINKS)]
    directions = jnp.stack([jnp.zeros((tracers, nz)).at[t].set(where) for t, where in seeds])[..., None]
    push = jax.linearize(sources, state)[1]
    responses = jax.lax.map(lambda seed: push(jnp.broadcast_to(seed, state.shape)), directions)

    local = jnp.zeros((tracers, tracers, *state.shape[1:]))
    for (tracer, where), response in zip(seeds, responses, strict=True):
        local = local.at[:, tracer].add(response * where[:, None])
    upper, lower = shading_pairs(layers)
    shading = responses[upper][:, list(_SHADED)][jnp.arange(len(upper)), :, lower].swapaxes(0, 1)
    even, odd = responses[layers + 1 : layers + 3, _SINKS]
    sinking = jnp.where((depth % 2 == 0)[:, None], odd, even)
    return local, shading, sinking


class CoreOperator(SparseOperator):
    """A = T - ds/du of the core, tracers stacked in the order of `CORE`.

    Args:
        transport: T [n, n] s-1.
        product: its product in JAX.
        grid: the grid.
        layers: lit layers.
        resupply: U and V, [7 n], of the return of what was buried: ds/du has the term U V^T.
    """

    def __init__(
        self,
        transport: sp.csr_array,
        product: RowProduct,
        grid: OceanGrid,
        layers: int,
        resupply: tuple[np.ndarray, np.ndarray],
    ):
        self._product, self._grid, self._layers = product, grid, layers
        self._low_rank = -resupply[0][:, None], resupply[1][:, None]
        self._resupply = jnp.asarray(resupply[0]), jnp.asarray(resupply[1])
        n = self._n = grid.n_wet
        here, coo = np.arange(n), transport.tocoo()
        rows = [coo.row + t * n for t in range(len(CORE))]
        columns = [coo.col + t * n for t in range(len(CORE))]
        for row in range(len(CORE)):
            for column in range(len(CORE)):
                rows.append(here + row * n)
                columns.append(here + column * n)
        box, wet = grid.column_box, grid.column_wet
        self._upper, self._lower = shading_pairs(layers)
        self._paired = [wet[low] for low in self._lower]
        for tracer in _SHADED:
            for up, low in zip(self._upper, self._lower, strict=True):
                rows.append(box[low][wet[low]] + tracer * n)
                columns.append(box[up][wet[low]] + _SHADES * n)
        for layer in range(1, grid.n_layers):
            rows.append(box[layer][wet[layer]] + _SINKS * n)
            columns.append(box[layer - 1][wet[layer]] + _SINKS * n)
        row, column = np.concatenate(rows), np.concatenate(columns)
        key, self._position = np.unique(row * self.size + column, return_inverse=True)
        self._transport_values = np.tile(coo.data, len(CORE))
        indptr = np.searchsorted(key, np.arange(self.size + 1) * self.size)
        self._pattern = sp.csr_array((np.ones(len(key)), key % self.size, indptr), shape=(self.size,) * 2)

    @property
    def size(self) -> int:
        """Number of unknowns, seven per wet box."""
        return len(CORE) * self._n

    @property
    def pattern(self) -> sp.csr_array:
        """The pattern, without the term of rank one."""
        return self._pattern

    @property
    def low_rank(self) -> tuple[np.ndarray, np.ndarray]:
        """The return of what was buried, -U and V."""
        return self._low_rank

    def values(self, coefficients: Sequence[np.ndarray]) -> np.ndarray:
        """CSR values for the entries of `core_jacobian`."""
        local, shading, sinking = coefficients
        grid, wet = self._grid, self._grid.column_wet
        parts = [grid.from_columns(np.asarray(local)).reshape(-1)]
        parts += [pair[wet[low]] for tracer in shading for pair, low in zip(tracer, self._lower, strict=True)]
        parts += [sinking[layer][wet[layer]] for layer in range(1, grid.n_layers)]
        entries = np.concatenate([self._transport_values, -np.concatenate(parts)])
        return np.bincount(self._position, weights=entries, minlength=self._pattern.nnz)

    def constant_part(self, x):
        """T applied to each tracer."""
        return jnp.concatenate([self._product(part) for part in jnp.split(x, len(CORE))])

    def matvec(self, coefficients, x):
        """A(c) x."""
        local, shading, sinking = coefficients
        u = self._grid.to_columns(x.reshape(len(CORE), -1))
        change = jnp.einsum("ij...,j...->i...", local, u)
        for row, tracer in enumerate(_SHADED):
            for pair, (up, low) in enumerate(zip(self._upper, self._lower, strict=True)):
                change = change.at[tracer, low].add(shading[row, pair] * u[_SHADES, up])
        change = change.at[_SINKS, 1:].add(sinking[1:] * u[_SINKS, :-1])
        source, weights = self._resupply
        local_part = self._grid.from_columns(change).reshape(-1)
        return self.constant_part(x) - local_part - source * jnp.vdot(weights, x)


class SinkingOperator(SparseOperator):
    """A(d, g) = T + diag(d) - G: a tracer that is carried, lost locally, and gained from the box above.

    Args:
        transport: T [n, n] s-1.
        product: its product in JAX.
        grid: the grid.
    """

    def __init__(self, transport: sp.csr_array, product: RowProduct, grid: OceanGrid):
        self._product, self._grid = product, grid
        n, coo = grid.n_wet, transport.tocoo()
        above = np.full(n, -1)
        above[grid.below[grid.below >= 0]] = np.flatnonzero(grid.below >= 0)
        self._below = np.flatnonzero(above >= 0)
        here = np.arange(n)
        row = np.concatenate([coo.row, here, self._below])
        column = np.concatenate([coo.col, here, above[self._below]])
        key, self._position = np.unique(row * n + column, return_inverse=True)
        self._transport_values = coo.data
        indptr = np.searchsorted(key, np.arange(n + 1) * n)
        self._pattern = sp.csr_array((np.ones(len(key)), key % n, indptr), shape=(n, n))

    @property
    def size(self) -> int:
        """Number of wet boxes."""
        return self._grid.n_wet

    @property
    def pattern(self) -> sp.csr_array:
        """T with its full diagonal and the boxes above."""
        return self._pattern

    def values(self, coefficients: Sequence[np.ndarray]) -> np.ndarray:
        """CSR values; coefficients are d [n] and g [nz, n_columns] (rate of gain per concentration above), s-1."""
        loss, gain = coefficients
        gained = self._grid.from_columns(np.asarray(gain))[self._below]
        entries = np.concatenate([self._transport_values, loss, -gained])
        return np.bincount(self._position, weights=entries, minlength=self._pattern.nnz)

    def constant_part(self, x):
        """T x."""
        return self._product(x)

    def matvec(self, coefficients, x):
        """A x."""
        loss, gain = coefficients
        columns = self._grid.to_columns(x)
        gained = jnp.concatenate([jnp.zeros_like(columns[:1]), gain[1:] * columns[:-1]])
        return self._product(x) + loss * x - self._grid.from_columns(gained)
