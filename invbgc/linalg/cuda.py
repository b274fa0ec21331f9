"""The calls of cuDSS and of the CUDA runtime that the solver needs, through their low-level bindings.

Memory of the device comes from the CUDA runtime: that needs no call of JAX, which host code behind a callback must not
make, and works in whichever thread JAX calls from.
"""

import functools
from contextlib import ExitStack
from typing import Any

import numpy as np

from invbgc.errors import ConvergenceError
from invbgc.linalg.memory import GIB

OUT_OF_MEMORY = 2
"""The code of cudaErrorMemoryAllocation."""


class Library:
    """The calls of cuDSS and of the CUDA runtime that are made here, with their errors as `ConvergenceError`.

    What makes something leaves how to destroy it on an `ExitStack`.

    Args:
        cudss: the module nvmath.bindings.cudss.
        runtime: the module cuda.bindings.runtime.
    """

    def __init__(self, cudss: Any, runtime: Any):
        self._cudss, self._runtime = cudss, runtime

    def allocated(self, size: int, stack: ExitStack) -> int:
        """Address of `size` bytes on the device."""
        address = self._cuda(self._runtime.cudaMalloc(size), f"allocating {size / GIB:.2f} GiB")
        stack.callback(self._runtime.cudaFree, address)
        return address

    def uploaded(self, array: np.ndarray, stack: ExitStack) -> int:
        """Address of a copy of a contiguous array on the device."""
        address = self.allocated(array.nbytes, stack)
        self.upload(array, address)
        return address

    def upload(self, array: np.ndarray, address: int) -> None:
        """Copy a contiguous array to the device."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._cuda(self._runtime.cudaMemcpy(address, array.ctypes.data, array.nbytes, kind), "copying to the device")

    def download(self, address: int, array: np.ndarray) -> None:
        """Wait for the device and copy from it into a contiguous array."""
        kind = self._runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._cuda(self._runtime.cudaMemcpy(array.ctypes.data, address, array.nbytes, kind), "copying from the device")

    def handle(self, stack: ExitStack) -> int:
        """A context of cuDSS. It must meet one type of values only, and one thread at a time."""
        handle = self._call("making a context", self._cudss.create)
        stack.callback(self._cudss.destroy, handle)
        return handle

    def settings(self, stack: ExitStack) -> int:
        """The default settings of cuDSS: no refinement, no matching."""
        settings = self._call("making settings", self._cudss.config_create)
        stack.callback(self._cudss.config_destroy, settings)
        return settings

    def set(self, settings: int, name: str, value: float) -> None:
        """Give a setting a value."""
        parameter = self._cudss.ConfigParam[name]
        number = np.array(value, dtype=self._cudss.get_config_param_dtype(parameter))
        self._call(name, self._cudss.config_set, settings, parameter, number.ctypes.data, number.nbytes)

    def setting(self, settings: int, name: str) -> int:
        """The value of a setting that is an integer."""
        parameter, number, written = self._cudss.ConfigParam[name], np.zeros(1, np.int32), np.zeros(1, np.uint64)
        arguments = settings, parameter, number.ctypes.data, number.nbytes, written.ctypes.data
        self._call(name, self._cudss.config_get, *arguments)
        return int(number[0])

    def data(self, handle: int, stack: ExitStack) -> int:
        """An empty data object."""
        data = self._call("making a data object", self._cudss.data_create, handle)
        stack.callback(self._cudss.data_destroy, handle, data)
        return data

    def tell(self, handle: int, data: int, name: str, array: np.ndarray) -> None:
        """Give an array on the host to a data object."""
        parameter = self._cudss.DataParam[name]
        self._call(name, self._cudss.data_set, handle, data, parameter, array.ctypes.data, array.nbytes)

    def ask(self, handle: int, data: int, name: str, array: np.ndarray) -> np.ndarray:
        """Fill an array on the host with what a data object knows."""
        parameter, written = self._cudss.DataParam[name], np.zeros(1, np.uint64)
        arguments = handle, data, parameter, array.ctypes.data, array.nbytes, written.ctypes.data
        self._call(name, self._cudss.data_get, *arguments)
        return array

    def csr(self, starts: np.ndarray, indices: np.ndarray, addresses: tuple[int, ...], dtype: type, stack: ExitStack):
        """A sparse matrix [n, n] of any kind, from the addresses of its row starts, columns and values."""
        types = (self._type(array.dtype) for array in (starts, indices))
        kinds = self._cudss.MatrixType.GENERAL, self._cudss.MatrixViewType.FULL, self._cudss.IndexBase.ZERO
        n, (rows, columns, values) = len(starts) - 1, addresses
        shape = (n, n, len(indices), rows, 0, columns, values)
        matrix = self._call(
            "describing a matrix", self._cudss.matrix_create_csr, *shape, *types, self._type(dtype), *kinds
        )
        stack.callback(self._cudss.matrix_destroy, matrix)
        return matrix

    def block(self, rows: int, columns: int, address: int, dtype: type, stack: ExitStack) -> int:
        """A dense matrix [rows, columns], column after column."""
        shape = (rows, columns, rows, address, self._type(dtype), self._cudss.Layout.COL_MAJOR)
        matrix = self._call("describing a block", self._cudss.matrix_create_dn, *shape)
        stack.callback(self._cudss.matrix_destroy, matrix)
        return matrix

    def run(self, phase: str, handle: int, settings: int, data: int, matrix: int, x: int, b: int) -> None:
        """Run a phase and wait for it."""
        arguments = handle, self._cudss.Phase[phase], settings, data, matrix, x, b
        self._call(f"phase {phase}", self._cudss.execute, *arguments)
        self._cuda(self._runtime.cudaStreamSynchronize(0), f"phase {phase}")

    def free_memory(self) -> int:
        """Bytes of the device that nobody has taken."""
        error, free, _ = self._runtime.cudaMemGetInfo()
        return 0 if error != 0 else int(free)

    def _type(self, dtype: Any) -> int:
        names = {"float64": "R_64F", "float32": "R_32F", "int32": "R_32I", "int64": "R_64I"}
        return self._cudss.DataType[names[np.dtype(dtype).name]]

    def _call(self, what: str, function: Any, *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._cudss.cuDSSError as error:
            if error.status == self._cudss.Status.ALLOC_FAILED:
                raise self._full(what) from error
            raise ConvergenceError(f"cuDSS, {what}: {error}") from error

    def _cuda(self, answer: tuple, what: str) -> Any:
        error, *values = answer
        if error == OUT_OF_MEMORY:
            raise self._full(what)
        if error != 0:
            raise ConvergenceError(f"CUDA, {what}: {getattr(error, 'name', 'error')} (code {int(error)})")
        return values[0] if values else None

    def _full(self, what: str) -> ConvergenceError:
        return ConvergenceError(
            f"cuDSS, {what}: the device is out of memory, {self.free_memory() / GIB:.2f} GiB of it are free. Keep "
            "fewer factors (memory_GiB in [solver]), or let JAX take less (XLA_PYTHON_CLIENT_PREALLOCATE=false)."
        )


@functools.cache
def library() -> Library:
    """The bindings, loaded.

    Raises:
        ImportError: nvmath-python or the bindings of CUDA are not installed.
        RuntimeError: the library of cuDSS or one that it needs is not found.
    """
    from cuda.bindings import runtime  # pyright: ignore[reportMissingImports]
    from nvmath.bindings import cudss  # pyright: ignore[reportMissingImports]

    cudss.get_property(0)  # loads the library
    return Library(cudss, runtime)
