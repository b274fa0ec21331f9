"""SuperLU (through SciPy) with METIS nested dissection: runs everywhere, the default."""

import numpy as np
import pymetis
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from invbgc.errors import ConvergenceError
from invbgc.linalg.backend import Analysis, Factor, SingleFactor


def why_absent() -> None:
    """Nothing is ever missing: SciPy and pymetis are dependencies."""
    return None


def analyse(pattern: sp.csr_array, single: bool = False) -> Analysis:
    """Order a pattern [n, n] by nested dissection of its symmetrised graph."""
    return SuperLUAnalysis(pattern, single)


def nested_dissection(pattern: sp.csr_array) -> np.ndarray:
    """Fill-reducing order [n] of the graph of A + A^T (METIS)."""
    ones = sp.csr_array((np.ones(pattern.nnz), pattern.indices, pattern.indptr), shape=pattern.shape)
    graph = (ones + ones.T).tocoo()
    off = graph.row != graph.col
    graph = sp.csr_array((graph.data[off], (graph.row[off], graph.col[off])), shape=pattern.shape)
    if graph.nnz == 0:
        return np.arange(len(pattern.indptr) - 1)
    order, _ = pymetis.nested_dissection(pymetis.CSRAdjacency(np.asarray(graph.indptr), np.asarray(graph.indices)))
    return np.asarray(order)


class SuperLUAnalysis(Analysis):
    """A METIS order and the map from CSR values to the permuted CSC values that SuperLU factors."""

    def __init__(self, pattern: sp.csr_array, single: bool):
        self._single = single
        self._order = nested_dissection(pattern)
        # Carry the positions of the values through the permutation once: a factorisation is then a gather.
        positions = sp.csr_array(
            (np.arange(1, pattern.nnz + 1, dtype=np.int64), pattern.indices, pattern.indptr), shape=pattern.shape
        )
        permuted = positions[self._order][:, self._order].tocsc()
        permuted.sort_indices()
        self._gather = permuted.data - 1
        self._indices, self._indptr, self._shape = permuted.indices, permuted.indptr, permuted.shape

    def factor(self, values: np.ndarray) -> Factor:
        """Factor without pivoting off the diagonal, which transport matrices plus a decay do not need."""
        return SingleFactor(self._factor, values) if self._single else self._factor(values)

    def _factor(self, values: np.ndarray) -> Factor:
        matrix = sp.csc_array((values[self._gather], self._indices, self._indptr), shape=self._shape)
        try:
            lu = spla.splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        except RuntimeError as error:
            raise ConvergenceError(f"SuperLU could not factor a matrix of {self._shape[0]} rows: {error}") from error
        return SuperLUFactor(lu, self._order)


class SuperLUFactor(Factor):
    """A SuperLU object and the order it was made in."""

    def __init__(self, lu: spla.SuperLU, order: np.ndarray):
        self._lu: spla.SuperLU | None = lu
        self._order = order

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve with the factor or its transpose; rhs [n, k]."""
        assert self._lu is not None, "the factor was freed"
        solution = np.empty_like(rhs)
        solution[self._order] = self._lu.solve(rhs[self._order], trans="T" if transposed else "N")
        return solution

    def free(self) -> None:
        """Drop the SuperLU object, which owns the memory."""
        self._lu = None

    @property
    def entries(self) -> int:
        """Entries of L and U."""
        assert self._lu is not None, "the factor was freed"
        return self._lu.nnz

    @property
    def bytes(self) -> int:
        """Memory of L and U: entries, and indices about half as large."""
        return 12 * self.entries
