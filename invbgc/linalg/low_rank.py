"""Matrices that are sparse but for a term of low rank, A + U V^T: a global sum that feeds back on every box.

Their factor is that of A, corrected (Woodbury):  (A + U V^T)^-1 = A^-1 - A^-1 U (I + V^T A^-1 U)^-1 V^T A^-1.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from invbgc.linalg.backend import Factor


@dataclass(frozen=True, eq=False)
class LowRankSum:
    """A + U V^T as an operator: products and the transpose.

    Attributes:
        sparse: A [n, n].
        left: U [n, k].
        right: V [n, k].
    """

    sparse: sp.csr_array
    left: np.ndarray
    right: np.ndarray

    @property
    def data(self) -> np.ndarray:
        """Values of the sparse part."""
        return self.sparse.data

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        """(A + U V^T) x."""
        return self.sparse @ x + self.left @ (self.right.T @ x)

    @property
    def T(self) -> "LowRankSum":
        """A^T + V U^T."""
        return LowRankSum(sp.csr_array(self.sparse.T), self.right, self.left)


class LowRankFactor(Factor):
    """The factor of A, and what makes of it one of A + U V^T.

    Args:
        factor: of A.
        left: U [n, k].
        right: V [n, k].
    """

    def __init__(self, factor: Factor, left: np.ndarray, right: np.ndarray):
        self._factor, self._sides = factor, (left, right)
        self._solved = factor.solve(left, False), factor.solve(right, True)
        self._small = np.linalg.inv(np.eye(left.shape[1]) + right.T @ self._solved[0])

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solution of (A + U V^T) x = b, or of the transposed equations."""
        first = self._factor.solve(rhs, transposed)
        side, small = (self._sides[0], self._small.T) if transposed else (self._sides[1], self._small)
        return first - self._solved[transposed] @ (small @ (side.T @ first))

    def free(self) -> None:
        """Free the factor of A."""
        self._factor.free()

    @property
    def entries(self) -> int:
        """Entries of the factor of A."""
        return self._factor.entries

    @property
    def bytes(self) -> int:
        """Memory of the factor of A."""
        return self._factor.bytes
