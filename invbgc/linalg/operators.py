"""Products with the transport operator in JAX, and the matrices made of transport plus a diagonal."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from invbgc.linalg.system import SparseOperator


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
    coo = matrix.tocoo()
    full = sp.csr_array(
        (np.r_[coo.data, np.zeros(n)], (np.r_[coo.row, np.arange(n)], np.r_[coo.col, np.arange(n)])), shape=(n, n)
    )
    full.sum_duplicates()
    full.sort_indices()
    return full


class ShiftedTransport(SparseOperator):
    """A(d) = T + diag(d): a tracer that is carried and lost, or gained, locally.

    Args:
        transport: T [n, n] in s-1.
        product: its product in JAX, shared between operators on one circulation.
    """

    def __init__(self, transport: sp.csr_array, product: RowProduct):
        self._transport = with_full_diagonal(transport)
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
