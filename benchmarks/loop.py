"""A tracer and the pools that return to it, solved at the cost of one factor per tracer.

The matrix of a tracer x_0 whose loss feeds pools x_j, each of which is carried and decays back to the tracer,

    A = | A_0   -D_1  -D_2 |
        | -U_1   A_1   0   |
        | -U_2   0     A_2 |

with diagonal U_j (uptake into pool j) and D_j (its decay), costs far more to factor than its diagonal blocks. If the
uptake came back in the box it was taken from, the pools would not matter to the tracer:

    M = | A_0 - U_1 - U_2   -D_1  -D_2 |
        | 0                  A_1   0   |
        | 0                  0     A_2 |

conserves what A conserves (w^T M = w^T A where every pool returns all it takes), needs the factors of its diagonal
blocks only, and A M^-1 differs from the identity by what transport does to a pool during its life: about twenty
iterations of GMRES close the loop.
"""

import numpy as np
import scipy.sparse as sp

from invbgc.linalg.backend import AnalyseFunction, Analysis, Factor


class LoopAnalysis(Analysis):
    """The pattern of A, and one analysis that serves all of its diagonal blocks.

    Args:
        pattern: A [blocks n, blocks n]; the pattern of A_0 holds those of the other diagonal blocks.
        blocks: the tracer and its pools.
        analyse: of the backend.
    """

    def __init__(self, pattern: sp.csr_array, blocks: int, analyse: AnalyseFunction):
        n = (len(pattern.indptr) - 1) // blocks
        numbered = sp.csr_array((np.arange(pattern.nnz), pattern.indices, pattern.indptr), shape=pattern.shape).tocoo()
        row_block, row = np.divmod(numbered.row.astype(np.int64), n)  # the places need more than 32 bits
        column_block, column = np.divmod(numbered.col.astype(np.int64), n)
        place = row * n + column

        def block(i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
            """Places in the block (i, j), ascending, and the numbers of their values."""
            chosen = (row_block == i) & (column_block == j)
            return place[chosen], numbered.data[chosen]

        own, self._tracer = block(0, 0)
        self._diagonal = np.searchsorted(own, np.arange(n) * (n + 1))
        self._pools = []
        for j in range(1, blocks):
            places, numbers = block(j, j)
            self._pools.append((np.searchsorted(own, places), numbers, block(j, 0)[1], block(0, j)[1]))
        indptr = np.searchsorted(own, np.arange(n + 1) * n)
        self._inner = analyse(sp.csr_array((np.ones(len(own)), own % n, indptr), shape=(n, n)), False)

    def factor(self, values: np.ndarray) -> Factor:
        """Factor the diagonal blocks of M for the CSR values of A."""
        tracer = values[self._tracer]
        factors, returns = [], []
        for inside, numbers, taken, given in self._pools:
            tracer[self._diagonal] += values[taken]
            pool = np.zeros(len(self._tracer))
            pool[inside] = values[numbers]
            factors.append(self._inner.factor(pool))
            returns.append(-values[given][:, None])
        return LoopFactor([self._inner.factor(tracer), *factors], returns)


class LoopFactor(Factor):
    """M by the factors of its diagonal blocks."""

    def __init__(self, factors: list[Factor], returns: list[np.ndarray]):
        self._factors, self._returns = factors, returns

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve M x = rhs, or M^T x = rhs; rhs [blocks n, k]."""
        tracer, *pools = np.split(rhs, len(self._factors))
        first, *rest = self._factors
        if transposed:
            x = first.solve(tracer, True)
            others = [f.solve(b + d * x, True) for f, b, d in zip(rest, pools, self._returns, strict=True)]
        else:
            others = [f.solve(b, False) for f, b in zip(rest, pools, strict=True)]
            x = first.solve(sum((d * y for d, y in zip(self._returns, others, strict=True)), tracer), False)
        return np.concatenate([x, *others])

    def free(self) -> None:
        """Free the factors of the blocks."""
        for factor in self._factors:
            factor.free()

    @property
    def entries(self) -> int:
        """Entries of all factors."""
        return sum(factor.entries for factor in self._factors)

    @property
    def bytes(self) -> int:
        """Memory of all factors."""
        return sum(factor.bytes for factor in self._factors)
