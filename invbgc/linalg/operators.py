"""What a family of matrices must offer; products with the transport in JAX, and transport plus a diagonal."""

import abc
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from invbgc.linalg.inventory import Inventory


class SparseOperator(abc.ABC):
    """What a family of matrices A(c) must offer to be factored, multiplied and differentiated."""

    @property
    @abc.abstractmethod
    def size(self) -> int:
        """Number of rows."""

    @property
    @abc.abstractmethod
    def pattern(self) -> sp.csr_array:
        """A matrix [size, size] with the common pattern; its values do not matter."""

    @abc.abstractmethod
    def values(self, coefficients: Sequence[np.ndarray]) -> np.ndarray:
        """CSR values [nnz] of A(c), on the host with NumPy."""

    @property
    def inventory(self) -> Inventory | None:
        """What the matrices conserve but for a weak restoring; None where every unknown is held firmly."""
        return None

    @property
    def slow_mode(self) -> tuple[np.ndarray, np.ndarray] | None:
        """What transport conserves, w with w^T T = 0, and leaves alone, e with T e = 0 [n]; None where unknown."""
        return None

    @property
    def low_rank(self) -> tuple[np.ndarray, np.ndarray] | None:
        """U and V [size, k] of a constant term U V^T of A(c) that its values leave out; None where there is none."""
        return None

    @abc.abstractmethod
    def matvec(self, coefficients, x) -> Any:
        """A(c) x for one vector x [size], traceable and differentiable by JAX."""

    @abc.abstractmethod
    def constant_part(self, x) -> Any:
        """The part of A(c) x that does not depend on c (the transport), for one vector x [size], in JAX."""


class RowProduct:
    """y = T x in JAX for a sparse T whose rows have about as many entries each.

    Rows are padded to equal length and the product is summed slot by slot: one gather of n numbers at a time, not one
    array of all of them, which for several tracers at once is 10 to 20 times slower on a CPU.

    Args:
        matrix: T [n, n].
    """

    def __init__(self, matrix: sp.csr_array):
        counts = np.diff(matrix.indptr)
        n = len(counts)
        width = int(counts.max(initial=1))
        slot = np.arange(matrix.nnz) - np.repeat(matrix.indptr[:-1], counts)
        row = np.repeat(np.arange(n), counts)
        column, value = np.zeros((width, n), dtype=np.int32), np.zeros((width, n))
        column[slot, row] = matrix.indices
        value[slot, row] = matrix.data
        # On the device once: NumPy arrays would be copied into every compiled program.
        self._column, self._value = jax.device_put((column, value))

    def __call__(self, x):
        """T x for x [n]."""
        x = jnp.asarray(x)

        def add_slot(slot, result):
            return result + self._value[slot] * x[self._column[slot]]

        return jax.lax.fori_loop(0, len(self._value), add_slot, jnp.zeros_like(x))


def with_full_diagonal(matrix: sp.csr_array) -> sp.csr_array:
    """The same matrix in sorted CSR form with every diagonal entry stored, zero or not."""
    n = len(matrix.indptr) - 1
    coo, here = matrix.tocoo(), np.arange(n)
    row, column = (np.r_[index, here].astype(np.int32) for index in (coo.row, coo.col))
    full = sp.csr_array((np.r_[coo.data, np.zeros(n)], (row, column)), shape=(n, n))
    full.sum_duplicates()
    full.sort_indices()
    return full


class ShiftedTransport(SparseOperator):
    """A(d) = T + diag(d): a tracer that is carried and lost, or gained, locally.

    Args:
        transport: T [n, n] in s-1.
        product: its product in JAX, shared between operators on one circulation.
        volume: [n] m3 of the boxes, where transport conserves what fills them and leaves a uniform tracer alone.
    """

    def __init__(self, transport: sp.csr_array, product: RowProduct, volume: np.ndarray | None = None):
        self._transport, self._volume = with_full_diagonal(transport), volume
        self._product = product
        rows = np.repeat(np.arange(self.size), np.diff(self._transport.indptr))
        self._diagonal = np.flatnonzero(rows == self._transport.indices)

    @property
    def size(self) -> int:
        """Number of wet boxes."""
        return len(self._transport.indptr) - 1

    @property
    def pattern(self) -> sp.csr_array:
        """T with its full diagonal."""
        return self._transport

    @property
    def slow_mode(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Volumes, and ones."""
        return None if self._volume is None else (self._volume, np.ones(self.size))

    def values(self, coefficients: Sequence[np.ndarray]) -> np.ndarray:
        """CSR values of T + diag(d), coefficients = (d [n] s-1,)."""
        values = self._transport.data.copy()
        values[self._diagonal] += coefficients[0]
        return values

    def matvec(self, coefficients, x):
        """T x + d x."""
        return self._product(x) + coefficients[0] * x

    def constant_part(self, x):
        """T x."""
        return self._product(x)
