"""cuDSS, NVIDIA's sparse direct solver, through the low-level bindings of nvmath-python (extra ``gpu``).

A *data object* of cuDSS holds the order, the symbolic work and the numbers of one matrix. A pattern is ordered once, by
the first data object; those of further factors that are alive together start from its order, and the data object of a
freed factor waits, with its symbolic work and its memory, for the next values. One is kept waiting, no more.

cuDSS replaces pivots that are small in absolute terms, so that every matrix is scaled to order one.

Versions of cuDSS before 1.0 accept the setting for transposed solves without supporting it. A small system is solved
once per process to find out; where the setting does not work, the transpose is factored too, when it is first needed.
"""

import functools
import weakref
from contextlib import ExitStack

import numpy as np
import scipy.sparse as sp

from invbgc.device import INSTALL, why_no_gpu
from invbgc.errors import ConvergenceError
from invbgc.linalg.backend import Analysis, Factor, SingleFactor
from invbgc.linalg.cuda import Library, library

PIVOT_EPSILON = 1e-15
"""Pivots of a matrix of order one below which they are replaced, which counts as failure here."""

OFFSETS_OF_32_BITS = 2**31 - 1
"""Entries of a matrix up to which the starts of its rows are 32-bit integers; columns always are."""


def why_absent() -> str | None:
    """What is missing to use cuDSS on this machine; None where it can run."""
    try:
        library()
    except ImportError as error:
        return f"its bindings are not installed ({error}); {INSTALL}"
    except RuntimeError as error:
        return f"its library cannot be loaded ({' '.join(str(error).split())}); {INSTALL}"
    return why_no_gpu()


def analyse(pattern: sp.csr_array, single: bool = False) -> Analysis:
    """Prepare a pattern [n, n]; the ordering itself is found with the first values."""
    return CudssAnalysis(library(), pattern, single)


class _Pattern:
    """A pattern on the device: its indices, its order once that is known, and a data object that waits."""

    def __init__(self, library: Library, pattern: sp.csr_array, dtype: type):
        self.library, self.dtype = library, dtype
        self.starts = pattern.indptr.astype(np.int32 if pattern.nnz <= OFFSETS_OF_32_BITS else np.int64)
        self.indices = pattern.indices.astype(np.int32)
        self.order: tuple[np.ndarray, np.ndarray] | None = None
        self._waiting: _Place | None = None
        self._places: set[_Place] = set()
        with ExitStack() as stack:
            self.handle, self.settings = library.handle(stack), library.settings(stack)
            library.set(self.settings, "PIVOT_EPSILON", PIVOT_EPSILON)
            self.addresses = library.uploaded(self.starts, stack), library.uploaded(self.indices, stack)
            self._stack = stack.pop_all()

    def factor(self, values: np.ndarray) -> "_Place":
        """The place of a new factor of the values [nnz], of the type of the pattern."""
        place, self._waiting = self._waiting or _Place(self), None
        self._places.add(place)
        try:
            place.factor(values)
        except BaseException:
            self._drop(place)
            raise
        return place

    def take_back(self, place: "_Place") -> None:
        """Keep the place of a factor that is not needed for the next one, or free it where another waits."""
        if self._waiting is None:
            self._waiting = place
        else:
            self._drop(place)

    def close(self) -> None:
        """Free everything, the places first."""
        for place in list(self._places):
            self._drop(place)
        self._stack.close()

    def _drop(self, place: "_Place") -> None:
        self._places.discard(place)
        place.close()


class _Place:
    """A data object and the values of its matrix."""

    def __init__(self, pattern: _Pattern):
        self._pattern, self._analysed = pattern, False
        library = pattern.library
        with ExitStack() as stack:
            size = len(pattern.indices) * np.dtype(pattern.dtype).itemsize
            self._values = library.allocated(size, stack)
            addresses = (*pattern.addresses, self._values)
            self._matrix = library.csr(pattern.starts, pattern.indices, addresses, pattern.dtype, stack)
            self._none = library.block(len(pattern.starts) - 1, 1, 0, pattern.dtype, stack)
            self._data = library.data(pattern.handle, stack)
            self._stack = stack.pop_all()

    def factor(self, values: np.ndarray) -> None:
        """Factor values [nnz], with the symbolic work before that where it is the first time.

        Raises:
            ConvergenceError: a pivot had to be replaced, or memory is short.
        """
        self._pattern.library.upload(values, self._values)
        if not self._analysed:
            self._analyse()
        self._run("FACTORIZATION", self._none, self._none)
        trouble, pivots = self._ask("INFO", np.int32), self._ask("NPIVOTS", np.int32)
        if trouble or pivots:
            raise ConvergenceError(
                f"cuDSS replaced {pivots} pivots of a matrix of {len(self._pattern.starts) - 1} rows (code {trouble}): "
                "it is singular"
            )

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve for a block [n, k] of the type of the pattern; the setting says whether with the transpose."""
        pattern, library = self._pattern, self._pattern.library
        rhs = np.asfortranarray(rhs, dtype=pattern.dtype)
        solution = np.empty_like(rhs)
        with ExitStack() as stack:
            rows, columns = rhs.shape
            addresses = library.uploaded(rhs, stack), library.allocated(rhs.nbytes, stack)
            b, x = (library.block(rows, columns, address, pattern.dtype, stack) for address in addresses)
            if transposed:
                library.set(pattern.settings, "SOLVE_MODE", 1)
                stack.callback(library.set, pattern.settings, "SOLVE_MODE", 0)
            self._run("SOLVE", x, b)
            library.download(addresses[1], solution)
        return solution

    def close(self) -> None:
        """Free the data object and the values; nothing happens the second time."""
        self._stack.close()

    @property
    def entries(self) -> int:
        """Entries of L and U."""
        return self._ask("LU_NNZ", np.int64)

    def _analyse(self) -> None:
        """Order the pattern, or start from the order it has, and do the symbolic work."""
        pattern, library = self._pattern, self._pattern.library
        if pattern.order is not None:
            for name, array in zip(("USER_PERM", "USER_ND_PARTITION_TREE"), pattern.order, strict=True):
                library.tell(pattern.handle, self._data, name, array)
        self._run("ANALYSIS", self._none, self._none)
        self._analysed = True
        if pattern.order is None:
            leaves = 2 ** library.setting(pattern.settings, "ND_NLEVELS") - 1
            permutation, tree = (np.empty(size, np.int32) for size in (len(pattern.starts) - 1, leaves))
            library.ask(pattern.handle, self._data, "PERM_REORDER_ROW", permutation)
            library.ask(pattern.handle, self._data, "ND_PARTITION_TREE", tree)
            pattern.order = permutation, tree

    def _run(self, phase: str, x: int, b: int) -> None:
        pattern = self._pattern
        pattern.library.run(phase, pattern.handle, pattern.settings, self._data, self._matrix, x, b)

    def _ask(self, name: str, dtype: type) -> int:
        return int(self._pattern.library.ask(self._pattern.handle, self._data, name, np.zeros(1, dtype))[0])


@functools.cache
def solves_transposed(library: Library) -> bool:
    """Whether this cuDSS solves with the transpose of a factor when told to, found with a system of three rows."""
    matrix = sp.csr_array(np.array([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 0.0, 4.0]]))
    rhs = np.array([[1.0], [2.0], [3.0]])
    pattern = _Pattern(library, matrix, np.float64)
    try:
        found = pattern.factor(matrix.data).solve(rhs, transposed=True)
    except ConvergenceError:
        return False
    finally:
        pattern.close()
    return bool(np.allclose(matrix.toarray().T @ found, rhs))


class CudssAnalysis(Analysis):
    """A pattern, and its transpose where cuDSS cannot solve with that otherwise.

    Args:
        library: the bindings.
        pattern: [n, n], columns sorted within rows.
        single: factors in single precision.
    """

    def __init__(self, library: Library, pattern: sp.csr_array, single: bool):
        self._library, self._source, self._single = library, pattern, single
        self._dtype = np.float32 if single else np.float64
        self.both = solves_transposed(library)
        self._pattern = _Pattern(library, pattern, self._dtype)
        weakref.finalize(self, self._pattern.close)

    def factor(self, values: np.ndarray) -> Factor:
        """Factor the values [nnz], ordering the pattern the first time."""
        return SingleFactor(self._factor, values) if self._single else self._factor(values)

    def _factor(self, values: np.ndarray) -> Factor:
        scale = float(np.abs(values).max(initial=0.0)) or 1.0
        scaled = np.ascontiguousarray(values / scale, dtype=self._dtype)
        return CudssFactor(self, self._pattern, self._pattern.factor(scaled), scaled, scale)

    @functools.cached_property
    def transpose(self) -> tuple[_Pattern, np.ndarray]:
        """The pattern of A^T, and the numbers [nnz] of the values of A that are its values."""
        source = self._source
        numbers = np.arange(1, source.nnz + 1, dtype=np.int64)
        turned = sp.csr_array((numbers, source.indices, source.indptr), shape=source.shape).T.tocsr()
        turned.sort_indices()
        pattern = _Pattern(self._library, turned, self._dtype)
        weakref.finalize(self, pattern.close)
        return pattern, turned.data - 1


class CudssFactor(Factor):
    """A factor at its place, that of the transpose once it was needed; it keeps the analysis alive."""

    def __init__(self, analysis: CudssAnalysis, pattern: _Pattern, place: _Place, values: np.ndarray, scale: float):
        self._analysis: CudssAnalysis | None = analysis
        self._values, self._scale = values, scale
        self._places: dict[bool, tuple[_Pattern, _Place]] = {False: (pattern, place)}
        self._entries = place.entries

    def solve(self, rhs: np.ndarray, transposed: bool) -> np.ndarray:
        """Solve with the factor or its transpose; rhs [n, k]."""
        assert self._analysis is not None, "the factor was freed"
        other = transposed and not self._analysis.both
        if other and other not in self._places:
            pattern, gather = self._analysis.transpose
            self._places[other] = pattern, pattern.factor(self._values[gather])
        solution = self._places[other][1].solve(rhs, transposed and not other)
        return solution / np.asarray(self._scale, dtype=solution.dtype)

    def free(self) -> None:
        """Give the places back: one waits for the next factor, which takes its memory, others are freed."""
        for pattern, place in self._places.values():
            pattern.take_back(place)
        self._places.clear()
        self._analysis = None

    @property
    def entries(self) -> int:
        """Entries of L and U."""
        return self._entries

    @property
    def bytes(self) -> int:
        """Memory of the factor, and of that of the transpose where solves with it need one."""
        assert self._analysis is not None, "the factor was freed"
        return 8 * self._entries * (1 if self._analysis.both else 2)
