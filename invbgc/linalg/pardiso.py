"""MKL PARDISO, driven phase by phase so that one analysis serves many factorisations (extra ``fast``).

Phases of PARDISO used here: 11 analyse, 22 factor, 33 solve, -1 release everything. A handle holds one analysis and one
live factor; freed handles keep their analysis and wait in a pool for the next factorisation of the same pattern.
"""

import ctypes
import functools
import sys
import weakref
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from invbgc.errors import ConvergenceError
from invbgc.linalg.backend import Analysis, Factor

WHY_ABSENT = "the MKL library is not installed; pip install 'invbgc[fast]'"

_REAL_UNSYMMETRIC = 11
_ANALYSE, _FACTOR, _SOLVE, _RELEASE = 11, 22, 33, -1
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


def is_available() -> bool:
    """Whether the MKL runtime library can be loaded."""
    return _library() is not None


def analyse(pattern: sp.csr_array) -> Analysis:
    """Prepare a pattern [n, n]; the ordering itself is found with the first values."""
    return PardisoAnalysis(pattern)


class _Handle:
    """PARDISO's internal memory: one analysis and, at times, one factor."""

    def __init__(self, pattern: sp.csr_array):
        library = _library()
        assert library is not None, WHY_ABSENT
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
        self.values: np.ndarray = np.zeros(0)

    def run(self, phase: int, rhs: np.ndarray | None = None, transposed: bool = False) -> np.ndarray:
        """Call PARDISO; rhs [n, k] in Fortran order for the solve phase."""
        columns = 1 if rhs is None else rhs.shape[1]
        b = np.zeros((1, 1)) if rhs is None else rhs
        x = np.zeros((1, 1)) if rhs is None else np.empty_like(rhs, order="F")
        self._iparm[11] = 2 if transposed else 0
        error = ctypes.c_int32(0)
        integer = lambda value: ctypes.byref(ctypes.c_int32(value))  # noqa: E731
        pointer = lambda array: array.ctypes.data_as(ctypes.c_void_p)  # noqa: E731
        permutation = np.zeros(1, dtype=np.int32)
        self._pardiso(
            pointer(self._memory), integer(1), integer(1), integer(_REAL_UNSYMMETRIC), integer(phase),
            integer(self._n), pointer(self.values), pointer(self._indptr), pointer(self._indices),
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
        """Entries of the factor in millions are reported by PARDISO itself."""
        return int(self._iparm[17])


class PardisoAnalysis(Analysis):
    """A pattern and the pool of handles that have analysed it."""

    def __init__(self, pattern: sp.csr_array):
        self._pattern = pattern
        self._idle: list[_Handle] = []
        weakref.finalize(self, _release, self._idle)

    def factor(self, values: np.ndarray) -> Factor:
        """Factor the values [nnz], analysing only where no analysed handle is idle."""
        fresh = not self._idle
        handle = _Handle(self._pattern) if fresh else self._idle.pop()
        handle.values = np.ascontiguousarray(values, dtype=np.float64)
        try:
            if fresh:
                handle.run(_ANALYSE)
            handle.run(_FACTOR)
        except ConvergenceError:
            handle.run(_RELEASE)
            raise
        return PardisoFactor(handle, self._idle)


def _release(handles: list[_Handle]) -> None:
    for handle in handles:
        handle.run(_RELEASE)


class PardisoFactor(Factor):
    """A handle that holds a numeric factor."""

    def __init__(self, handle: _Handle, idle: list[_Handle]):
        self._handle: _Handle | None = handle
        self._idle = idle

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve with the factor or its transpose; rhs [n, k]."""
        assert self._handle is not None, "the factor was freed"
        return self._handle.run(_SOLVE, np.asfortranarray(rhs), transposed)

    def free(self) -> None:
        """Return the handle, with its analysis, to the pool."""
        if self._handle is not None:
            self._idle.append(self._handle)
            self._handle = None

    @property
    def nonzeros(self) -> int:
        """Entries of the factor."""
        assert self._handle is not None, "the factor was freed"
        return self._handle.fill
