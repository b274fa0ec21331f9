"""A simulated cuDSS and CUDA runtime: the calls that `invbgc.linalg.cudss` makes, answered by SciPy.

Memory of the device is memory of the host at addresses that are known, so that what is read or written anywhere else,
or after it was freed, fails. Every phase, upload and destruction is logged.
"""

import ctypes
import enum
from types import SimpleNamespace

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

ConfigParam = enum.IntEnum("ConfigParam", "SOLVE_MODE PIVOT_EPSILON ND_NLEVELS", start=4)
DataParam = enum.IntEnum(
    "DataParam", "INFO LU_NNZ NPIVOTS PERM_REORDER_ROW USER_PERM ND_PARTITION_TREE USER_ND_PARTITION_TREE", start=0
)
DataType = enum.IntEnum("DataType", {"R_32F": 0, "R_64F": 1, "R_32I": 10, "R_64I": 24})
Phase = enum.IntEnum("Phase", {"ANALYSIS": 3, "FACTORIZATION": 4, "SOLVE": 1008})
Status = enum.IntEnum("Status", "SUCCESS NOT_INITIALIZED ALLOC_FAILED INVALID_VALUE", start=0)
DTYPES = {DataType.R_32F: np.float32, DataType.R_64F: np.float64, DataType.R_32I: np.int32, DataType.R_64I: np.int64}


class cuDSSError(Exception):
    def __init__(self, status):
        super().__init__(Status(status).name)
        self.status = status


class Runtime:
    """cuda.bindings.runtime, with a device of `capacity` bytes."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)

    def __init__(self, capacity: int = 2**30):
        self.capacity = capacity
        self.taken: dict[int, np.ndarray] = {}

    @property
    def used(self) -> int:
        return sum(buffer.nbytes for buffer in self.taken.values())

    def cudaMalloc(self, size):
        if self.used + size > self.capacity:
            return 2, None
        buffer = np.full(size, 0xFF, np.uint8)
        self.taken[buffer.ctypes.data] = buffer
        return 0, buffer.ctypes.data

    def cudaFree(self, address):
        del self.taken[address]
        return (0,)

    def cudaMemcpy(self, to, source, size, kind):
        inside = self.taken[to if kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice else source]
        assert size <= inside.nbytes
        ctypes.memmove(to, source, size)
        return (0,)

    def cudaStreamSynchronize(self, stream):
        return (0,)

    def cudaMemGetInfo(self):
        return 0, self.capacity - self.used, self.capacity

    def array(self, address, dtype, size) -> np.ndarray:
        return self.taken[address].view(dtype)[:size]


class Cudss:
    """nvmath.bindings.cudss on a simulated device.

    Args:
        runtime: the device.
        transposes: whether the setting for transposed solves has an effect, as from version 1.0.
    """

    ConfigParam, DataParam, DataType, Phase, Status = ConfigParam, DataParam, DataType, Phase, Status
    MatrixType, MatrixViewType = SimpleNamespace(GENERAL=0), SimpleNamespace(FULL=0)
    IndexBase, Layout = SimpleNamespace(ZERO=0), SimpleNamespace(COL_MAJOR=0)
    cuDSSError = cuDSSError

    def __init__(self, runtime: Runtime, transposes: bool):
        self.runtime, self.transposes = runtime, transposes
        self.objects: dict[int, SimpleNamespace] = {}
        self.log: list[str] = []
        self._next = 0

    def _made(self, kind, **fields) -> int:
        self._next += 1
        self.objects[self._next] = SimpleNamespace(kind=kind, **fields)
        return self._next

    def _destroyed(self, kind, number):
        assert self.objects.pop(number).kind == kind
        self.log.append(f"destroy {kind}")

    def create(self):
        return self._made("handle")

    def destroy(self, handle):
        assert not any(thing.kind == "data" and thing.handle == handle for thing in self.objects.values())
        self._destroyed("handle", handle)

    def config_create(self):
        return self._made("config", settings={ConfigParam.SOLVE_MODE: 0, ConfigParam.ND_NLEVELS: 2})

    def config_destroy(self, config):
        self._destroyed("config", config)

    def get_config_param_dtype(self, parameter):
        return np.float64 if parameter == ConfigParam.PIVOT_EPSILON else np.int32

    def config_set(self, config, parameter, address, size):
        dtype = self.get_config_param_dtype(parameter)
        assert size == np.dtype(dtype).itemsize
        raw = np.frombuffer(ctypes.string_at(address, size), dtype)
        self.objects[config].settings[parameter] = raw[0]

    def config_get(self, config, parameter, address, size, written):
        _put(np.int32(self.objects[config].settings[parameter]), address, size)

    def data_create(self, handle):
        return self._made("data", handle=handle, told={}, known={}, matrix=None, factor=None)

    def data_destroy(self, handle, data):
        assert self.objects[data].handle == handle
        self._destroyed("data", data)

    def data_set(self, handle, data, parameter, address, size):
        self.objects[data].told[parameter] = np.frombuffer(ctypes.string_at(address, size), np.int32)

    def data_get(self, handle, data, parameter, address, size, written):
        _put(self.objects[data].known[parameter], address, size)

    def matrix_create_csr(self, rows, columns, entries, starts, ends, indices, values, *types):
        assert ends == 0 and types[3:] == (0, 0, 0)
        return self._made("csr", shape=(rows, columns), entries=entries, at=(starts, indices, values), types=types[:3])

    def matrix_create_dn(self, rows, columns, leading, values, dtype, layout):
        assert leading == rows and layout == self.Layout.COL_MAJOR
        return self._made("dense", shape=(rows, columns), at=values, dtype=DTYPES[dtype])

    def matrix_destroy(self, matrix):
        assert self.objects.pop(matrix).kind in ("csr", "dense")

    def execute(self, handle, phase, config, data, matrix, x, b):
        state, description = self.objects[data], self.objects[matrix]
        assert self.objects[handle].kind == "handle" and state.handle == handle
        n = description.shape[0]
        sizes = n + 1, description.entries, description.entries
        parts = [
            self.runtime.array(at, DTYPES[kind], size)
            for at, kind, size in zip(description.at, description.types, sizes, strict=True)
        ]
        name = Phase(phase).name
        if name == "ANALYSIS":
            own = DataParam.USER_PERM in state.told
            name += " in the order of another" if own else ""
            order = state.told.get(DataParam.USER_PERM, np.arange(n, dtype=np.int32)[::-1])
            tree = state.told.get(DataParam.USER_ND_PARTITION_TREE, np.array([n, 0, 0], np.int32))
            state.known |= {DataParam.PERM_REORDER_ROW: order, DataParam.ND_PARTITION_TREE: tree}
        elif name == "FACTORIZATION":
            assert DataParam.PERM_REORDER_ROW in state.known, "not analysed"
            self._factor(state, parts, n, self.objects[config].settings[ConfigParam.PIVOT_EPSILON])
        else:
            right, left = (self.objects[block] for block in (b, x))
            transposed = self.transposes and self.objects[config].settings[ConfigParam.SOLVE_MODE] == 1
            name += " transposed" if transposed else ""
            size = int(np.prod(right.shape))
            rhs = self.runtime.array(right.at, right.dtype, size).reshape(right.shape, order="F")
            found = state.factor.solve(rhs.astype(np.float64), trans="T" if transposed else "N")
            self.runtime.array(left.at, left.dtype, size)[:] = found.ravel(order="F")
        self.log.append(name)

    def _factor(self, state, parts, n, epsilon):
        starts, indices, values = parts
        if self.runtime.used + 12 * len(values) > self.runtime.capacity:
            raise cuDSSError(Status.ALLOC_FAILED)
        matrix = sp.csr_array((values.astype(np.float64), indices, starts), shape=(n, n))
        state.known |= {DataParam.INFO: np.int32(0), DataParam.NPIVOTS: np.int32(0)}
        state.known[DataParam.LU_NNZ] = np.int64(2 * len(values))
        try:
            state.factor = spla.splu(matrix.tocsc())
            if np.abs(state.factor.U.diagonal()).min() < epsilon:
                state.known[DataParam.NPIVOTS] = np.int32(1)
        except RuntimeError:  # exactly singular
            state.known[DataParam.NPIVOTS] = np.int32(1)


def _put(value, address, size):
    array = np.ascontiguousarray(value)
    assert array.nbytes == size, "the caller's array is of another size or type"
    ctypes.memmove(address, array.ctypes.data, size)
