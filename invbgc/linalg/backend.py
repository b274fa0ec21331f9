"""The contract of a sparse direct solver: analyse a pattern once, factor values, solve, free.

A backend is two small classes. `Analysis` belongs to one sparsity pattern and lives as long as its owner; `Factor`
belongs to one set of values and is freed explicitly. Nothing here knows JAX or the ocean.
"""

import abc
import ctypes
import functools
import importlib
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import scipy.sparse as sp
from threadpoolctl import ThreadpoolController

from invbgc import device
from invbgc.errors import InputError


class Factor(abc.ABC):
    """A numeric factorisation A = L U of one matrix."""

    @abc.abstractmethod
    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve A x = rhs, or A^T x = rhs; rhs and x are [n, k], float64."""

    @abc.abstractmethod
    def free(self) -> None:
        """Give the memory of the factor back; the object must not be used afterwards."""

    @property
    @abc.abstractmethod
    def entries(self) -> int:
        """Entries of L and U."""

    @property
    @abc.abstractmethod
    def bytes(self) -> int:
        """Memory that L and U take."""


class Analysis(abc.ABC):
    """Ordering and symbolic work for one sparsity pattern, reused by every factorisation."""

    @abc.abstractmethod
    def factor(self, values: np.ndarray) -> Factor:
        """Factor the matrix whose CSR values [nnz] are given.

        Raises:
            ConvergenceError: the matrix is numerically singular.
        """


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Let numbers below 1e-38 count as zero, where the processor can be told so (x86-64 Linux).

    Far entries of a factor are that small, and arithmetic with them takes ten times as long. The threads of OpenMP
    follow the one that calls them.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        yield
        return
    library, before = ctypes.CDLL(None), (ctypes.c_uint32 * 8)()  # fenv_t, whose last word is the MXCSR register
    library.fegetenv(before)
    flushing = type(before)(*before)
    flushing[7] |= 0x8040  # flush to zero, denormals are zero
    library.fesetenv(flushing)
    try:
        yield
    finally:
        library.fesetenv(before)


class SingleFactor(Factor):
    """A factor in single precision behind double-precision arrays: matrix and columns are scaled to order one."""

    def __init__(self, make: Callable[[np.ndarray], Factor], values: np.ndarray):
        self._scale = float(np.abs(values).max(initial=0.0)) or 1.0
        with denormals_flushed():
            self._inner = make((values / self._scale).astype(np.float32))

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve to the accuracy of single precision; rhs and x [n, k], float64."""
        size = np.abs(rhs).max(axis=0, initial=0.0)
        size = np.where(size > 0.0, size, 1.0)
        with denormals_flushed():
            solution = self._inner.solve((rhs / size).astype(np.float32), transposed)
        return solution.astype(np.float64) * (size / self._scale)

    def free(self) -> None:
        """Free the factor."""
        self._inner.free()

    @property
    def entries(self) -> int:
        """Entries of L and U."""
        return self._inner.entries

    @property
    def bytes(self) -> int:
        """Memory of the factor: entries of half the size."""
        return self._inner.bytes // 2


AnalyseFunction = Callable[[sp.csr_array, bool], Analysis]

#: Backends in order of preference: name -> module with two functions, ``analyse(pattern, single) -> Analysis``,
#: `single` for factors in single precision, and ``why_absent() -> str | None``.
BACKENDS: Final[dict[str, str]] = {
    "pardiso": "invbgc.linalg.pardiso",
    "superlu": "invbgc.linalg.superlu",
    "cudss": "invbgc.linalg.cudss",
}

FACTOR_PRICE: Final[dict[str, float]] = {"pardiso": 0.1, "superlu": 0.1, "cudss": 0.01}
"""Krylov iterations of one column that cost as much as a factorisation, over the entries of L and U per row. Measured
on CPUs with 34,092 to 400,320 rows, 229 to 965 entries per row: 0.1 to 0.15 solves, and an iteration is more than its
solve. On a GPU (H100, 200,160 rows) a factor took 0.07 s, an iteration of a block, most of it on the host, 0.06 s."""

ON_A_GPU: Final = ("cudss",)
"""Backends that need a GPU; where JAX was told to compute on one they are preferred, otherwise they must be named."""


def available_backends() -> tuple[str, ...]:
    """Names of the backends that can run here, the preferred one first."""
    return tuple(name for name in _by_preference() if why_absent(name) is None)


def why_absent(name: str) -> str | None:
    """What is missing to run a backend here; None where it can run."""
    return importlib.import_module(BACKENDS[name]).why_absent()


def find_backend(name: str = "auto") -> tuple[str, AnalyseFunction]:
    """Name and analyse function of a backend; ``"auto"`` takes the fastest one that can run on the device chosen.

    Raises:
        InputError: the backend is unknown or cannot run here; the message says what is missing.
    """
    if name == "auto":
        name = next(known for known in _by_preference() if why_absent(known) is None)
    if name not in BACKENDS:
        raise InputError(f"unknown sparse solver {name!r}; known: auto, {', '.join(BACKENDS)}")
    module = importlib.import_module(BACKENDS[name])
    lacking = module.why_absent()
    if lacking is not None:
        raise InputError(f"the sparse solver {name!r} cannot run here: {lacking}")
    _quieten_openblas()
    return name, module.analyse


def _by_preference() -> list[str]:
    return sorted(BACKENDS, key=lambda name: (name in ON_A_GPU) != device.gpu_is_chosen())


@functools.cache
def _quieten_openblas() -> None:
    """Give NumPy's OpenBLAS one thread, for good: its idle threads spin, which doubles the time of every solve."""
    ThreadpoolController().select(internal_api="openblas").limit(limits=1)
