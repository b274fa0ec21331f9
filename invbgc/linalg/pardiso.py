"""MKL PARDISO, driven phase by phase so that one analysis serves many factorisations (extra ``fast``).

Phases of PARDISO used here: 11 analyse, 22 factor, 33 solve, 0 release one factor, -1 release everything. One handle
belongs to one pattern; it holds its analysis and numbered places for factors that are alive together.
"""

import ctypes
import functools
import sys
import weakref
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from invbgc.errors import ConvergenceError
from invbgc.linalg.backend import Analysis, Factor, SingleFactor

_REAL_UNSYMMETRIC = 11
_ANALYSE, _FACTOR, _SOLVE, _RELEASE_ONE, _RELEASE_ALL = 11, 22, 33, 0, -1
_ERRORS = {
    -2: "not enough memory", -3: "reordering problem", -4: "zero pivot", -7: "the diagonal is singular",
    -8: "32-bit integer overflow",
}  # fmt: skip


@functools.cache
def _library() -> ctypes.CDLL | None:
    folders = [Path(sys.prefix) / "lib", Path(sys.prefix) / "Library" / "bin"]
    names = ("libmkl_rt.so.*", "libmkl_rt.*dylib", "mkl_rt.*dll", "libmkl_rt.so")
    for path in (p for folder in folders for name in names for p in sorted(folder.glob(name))):
        try:
            return ctypes.CDLL(str(path))
        except OSError:
            continue
    return None


def why_absent() -> str | None:
    """What is missing to use PARDISO here; None where the MKL runtime library can be loaded."""
    return None if _library() is not None else "the MKL library is not installed; pip install 'invbgc[fast]'"


def analyse(pattern: sp.csr_array, single: bool = False) -> Analysis:
    """Prepare a pattern [n, n]; the ordering itself is found with the first values."""
    return PardisoAnalysis(pattern, single)


PLACES = 32
"""Factors of one pattern that can be alive together; an empty place costs nothing."""


TWO_LEVELS_ABOVE = 5_000
"""Rows above which factors are made on two levels, with which blocks are solved in two thirds of the time; on a few
rows PARDISO then fails to give its memory back."""


class _Handle:
    """PARDISO's internal memory for one pattern: the analysis, and the factors by place (1, 2, ...)."""

    def __init__(self, pattern: sp.csr_array, single: bool):
        library = _library()
        assert library is not None, why_absent()
        self._pardiso = library.pardiso
        self._n = len(pattern.indptr) - 1
        self._indptr = (pattern.indptr + 1).astype(np.int32)
        self._indices = (pattern.indices + 1).astype(np.int32)
        self._memory = np.zeros(64, dtype=np.int64)
        self._iparm = np.zeros(64, dtype=np.int32)
        self._iparm[0] = 1  # the settings below replace the defaults
        self._iparm[1] = 2  # METIS ordering
        self._iparm[7] = 0  # refinement is ours
        self._iparm[9] = 15  # perturb pivots below 1e-15, which counts as failure here
        self._iparm[10] = 0  # no scaling: these matrices are balanced
        self._iparm[12] = 0  # no matching
        self._iparm[17] = -1  # report the fill
        self._iparm[23] = int(self._n > TWO_LEVELS_ABOVE)
        self._iparm[27] = int(single)
        self.released = False

    def run(
        self, phase: int, values: np.ndarray, place: int = 1, rhs: np.ndarray | None = None, transposed: bool = False
    ) -> np.ndarray:
        """Call PARDISO with the values [nnz] of the matrix at a place; rhs [n, k] in Fortran order to solve."""
        columns = 1 if rhs is None else rhs.shape[1]
        b = np.zeros((1, 1)) if rhs is None else rhs
        x = np.empty_like(b, order="F")
        self._iparm[11] = 2 if transposed else 0
        error = ctypes.c_int32(0)
        integer = lambda value: ctypes.byref(ctypes.c_int32(value))  # noqa: E731
        pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
        permutation = np.zeros(1, dtype=np.int32)
        self._pardiso(
            pointer(self._memory), integer(PLACES), integer(place), integer(_REAL_UNSYMMETRIC), integer(phase),
            integer(self._n), pointer(values), pointer(self._indptr), pointer(self._indices),
            pointer(permutation), integer(columns), pointer(self._iparm), integer(0), pointer(b), pointer(x),
            ctypes.byref(error),
        )  # fmt: skip
        if error.value != 0:
            raise ConvergenceError(
                f"PARDISO phase {phase} failed on a matrix of {self._n} rows: "
                f"{_ERRORS.get(error.value, 'error')} (code {error.value})"
            )
        if phase == _FACTOR and self._iparm[13] > 0:
            raise ConvergenceError(
                f"PARDISO found {self._iparm[13]} zero pivots in a matrix of {self._n} rows: it is singular"
            )
        return x

    @property
    def fill(self) -> int:
        """Entries of a factor, as PARDISO reports them."""
        return int(self._iparm[17])

    def release(self) -> None:
        """Give everything back; at the end of a process this may happen before the last factor is freed."""
        self.released = True
        self.run(_RELEASE_ALL, np.zeros(1))


class PardisoAnalysis(Analysis):
    """A pattern, its analysis, and which places are taken."""

    def __init__(self, pattern: sp.csr_array, single: bool):
        self._handle, self._single = _Handle(pattern, single), single
        self._free_places = list(range(PLACES, 0, -1))
        self._analysed = False
        weakref.finalize(self, self._handle.release)

    def factor(self, values: np.ndarray) -> Factor:
        """Factor the values [nnz], analysing the pattern the first time."""
        return SingleFactor(self._factor, values) if self._single else self._factor(values)

    def _factor(self, values: np.ndarray) -> Factor:
        values = np.ascontiguousarray(values)
        if not self._analysed:
            self._handle.run(_ANALYSE, values)
            self._analysed = True
        if not self._free_places:
            raise ConvergenceError(f"PARDISO holds {PLACES} factors of one pattern already; free some of them")
        place = self._free_places.pop()
        try:
            self._handle.run(_FACTOR, values, place)
        except ConvergenceError:
            self._free_places.append(place)
            raise
        return PardisoFactor(self, values, place)


class PardisoFactor(Factor):
    """A numeric factor at its place; it keeps the analysis alive."""

    def __init__(self, analysis: PardisoAnalysis, values: np.ndarray, place: int):
        self._analysis: PardisoAnalysis | None = analysis
        self._values = values
        self._place = place

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve with the factor or its transpose; rhs [n, k]."""
        return self._owner._handle.run(_SOLVE, self._values, self._place, np.asfortranarray(rhs), transposed)

    def free(self) -> None:
        """Give the memory of the factor back and its place to the next one."""
        if self._analysis is not None:
            if not self._analysis._handle.released:
                self._analysis._handle.run(_RELEASE_ONE, self._values, self._place)
            self._analysis._free_places.append(self._place)
            self._analysis = None

    @property
    def entries(self) -> int:
        """Entries of L and U."""
        return self._owner._handle.fill

    @property
    def bytes(self) -> int:
        """Memory of the factor: its entries; indices are shared by all factors of a pattern."""
        return 8 * self.entries

    @property
    def _owner(self) -> PardisoAnalysis:
        assert self._analysis is not None, "the factor was freed"
        return self._analysis
