"""The cuDSS backend on a simulated device: what it asks of the library, in which order, and what it leaves behind."""

import gc

import numpy as np
import pytest
import scipy.sparse as sp
from simulated_cudss import Cudss, Runtime

from invbgc.errors import ConvergenceError, InputError
from invbgc.linalg import backend, cudss
from invbgc.linalg.cuda import Library
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.system import SparseSystem
from tests.properties.cases import random_ocean


@pytest.fixture(scope="module", autouse=True)
def _little_to_collect():
    """What lives before these tests is left out of their collections, which then take no time."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=[False, True], ids=["transpose factored", "transpose by setting"])
def device(request, monkeypatch):
    """A simulated device in place of the library, emptied of what the probe left in its log."""
    runtime = Runtime()
    simulated = Cudss(runtime, request.param)
    library = Library(simulated, runtime)
    assert cudss.solves_transposed(library) is request.param
    assert not runtime.taken and not simulated.objects
    simulated.log.clear()
    monkeypatch.setattr(cudss, "library", lambda: library)
    monkeypatch.setattr(cudss, "why_no_gpu", lambda: None)
    yield simulated
    gc.collect()
    assert not runtime.taken and not simulated.objects, "something was left on the device"


def unsymmetric(seed: int = 0, n: int = 12) -> sp.csr_array:
    """A matrix with a full diagonal, far from symmetric, with values like those of transport in s-1."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, n)) < 0.25, rng.normal(size=(n, n)), 0.0) + np.diag(4.0 + rng.random(n))
    matrix = sp.csr_array(1e-8 * dense)
    matrix.sort_indices()
    return matrix


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("columns", [1, 5])
def test_blocks_are_solved_in_both_directions(device, single, transposed, columns):
    matrix = unsymmetric()
    rhs = np.random.default_rng(1).normal(size=(12, columns))  # row after row: the backend turns it
    factor = cudss.analyse(matrix, single).factor(matrix.data)
    expected = np.linalg.solve((matrix.T if transposed else matrix).toarray(), rhs)
    np.testing.assert_allclose(factor.solve(rhs, transposed), expected, rtol=1e-4 if single else 1e-12)
    assert factor.bytes == 2 * matrix.nnz * (4 if single else 8) * (1 if device.transposes else 2)
    factor.free()


def test_one_order_serves_all_factors_of_a_pattern(device):
    matrix = unsymmetric()
    analysis = cudss.analyse(matrix)
    factors = [analysis.factor(scale * matrix.data) for scale in (1.0, 2.0, 3.0)]
    assert device.log == [
        *("ANALYSIS", "FACTORIZATION"),
        *("ANALYSIS in the order of another", "FACTORIZATION"),
        *("ANALYSIS in the order of another", "FACTORIZATION"),
    ]
    rhs = np.ones((12, 1))
    for scale, factor in zip((1.0, 2.0, 3.0), factors, strict=True):
        np.testing.assert_allclose(factor.solve(rhs, False), np.linalg.solve(scale * matrix.toarray(), rhs), rtol=1e-12)
        factor.free()
    assert device.log[6:] == ["SOLVE", "SOLVE", "destroy data", "SOLVE", "destroy data"]  # one place waits
    analysis.factor(4.0 * matrix.data).free()
    assert device.log[11:] == ["FACTORIZATION"]  # in the place that waited, without an analysis


def test_the_transpose_is_factored_once_where_it_must_be_and_freed_with_its_factor(device):
    matrix = unsymmetric()
    analysis = cudss.analyse(matrix)
    factor = analysis.factor(matrix.data)
    for _ in range(2):
        factor.solve(np.ones((12, 1)), True)
    if device.transposes:
        assert device.log[2:] == ["SOLVE transposed", "SOLVE transposed"]
    else:
        assert device.log[2:] == ["ANALYSIS", "FACTORIZATION", "SOLVE", "SOLVE"]
    factor.solve(np.ones((12, 1)), False)
    assert device.log[-1] == "SOLVE"  # the setting went back
    factor.free()
    factor.free()
    assert device.log[-1] == "SOLVE"


def test_a_singular_matrix_is_refused_and_leaves_nothing(device):
    matrix = unsymmetric()
    analysis = cudss.analyse(matrix)
    values = matrix.data.copy()
    values[matrix.indptr[3] : matrix.indptr[4]] = 0.0
    before = dict(device.runtime.taken)
    with pytest.raises(ConvergenceError, match=r"replaced 1 pivots of a matrix of 12 rows .* singular"):
        analysis.factor(values)
    assert device.runtime.taken.keys() == before.keys() and device.log[-1] == "destroy data"
    analysis.factor(matrix.data).free()


def test_small_values_are_no_small_pivots(device):
    """Rates of 1e-20 per second must not be taken for zero, nor 1e20 hide a zero."""
    matrix = unsymmetric()
    for scale in (1e-12, 1e28):
        factor = cudss.analyse(matrix).factor(scale * matrix.data)
        rhs = np.ones((12, 2))
        expected = np.linalg.solve(scale * matrix.toarray(), rhs)
        np.testing.assert_allclose(
            factor.solve(rhs, True), np.linalg.solve(scale * matrix.toarray().T, rhs), rtol=1e-12
        )
        np.testing.assert_allclose(factor.solve(rhs, False), expected, rtol=1e-12)
        factor.free()


@pytest.mark.parametrize("step", ["indices", "values", "factor", "block"])
def test_a_full_device_is_an_error_that_says_what_to_do_and_leaves_nothing(device, step):
    matrix = unsymmetric(n=40)
    runtime, n, entries = device.runtime, 40, matrix.nnz
    indices = 4 * (n + 1 + entries)
    runtime.capacity = {
        "indices": indices - 1,
        "values": indices + 8 * entries - 1,
        "factor": indices + 8 * entries + 1,
        "block": indices + 20 * entries + 8,
    }[step]
    with pytest.raises(ConvergenceError, match=r"out of memory.*memory_GiB.*XLA_PYTHON_CLIENT_PREALLOCATE"):
        factor = cudss.analyse(matrix).factor(matrix.data)
        held = dict(runtime.taken)
        try:
            factor.solve(np.ones((n, entries)), False)
        finally:
            assert runtime.taken.keys() == held.keys()
            factor.free()


def test_types_on_the_device(device, monkeypatch):
    """Columns are 32-bit integers; row starts are as long as they must be; values are of the type of the factor."""
    types = []
    made = device.matrix_create_csr
    monkeypatch.setattr(
        device, "matrix_create_csr", lambda *arguments: types.append(arguments[7:10]) or made(*arguments)
    )
    matrix = unsymmetric()
    wide = sp.csr_array((matrix.data, matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)), matrix.shape)
    names = device.DataType
    for single, limit, expected in (
        (False, 100, (names.R_32I, names.R_32I, names.R_64F)),
        (True, 100, (names.R_32I, names.R_32I, names.R_32F)),
        (False, matrix.nnz - 1, (names.R_64I, names.R_32I, names.R_64F)),
    ):
        monkeypatch.setattr(cudss, "OFFSETS_OF_32_BITS", limit)
        factor = cudss.analyse(wide, single).factor(wide.data)
        assert types.pop() == expected
        np.testing.assert_allclose(wide @ factor.solve(np.ones((12, 1)), False), 1.0, rtol=1e-4)
        factor.free()


def test_errors_of_cuda_are_errors_of_the_contract(device, monkeypatch):
    matrix = unsymmetric()
    factor = cudss.analyse(matrix).factor(matrix.data)
    monkeypatch.setattr(device.runtime, "cudaStreamSynchronize", lambda stream: (700,))
    with pytest.raises(ConvergenceError, match=r"CUDA, phase SOLVE: error \(code 700\)"):
        factor.solve(np.ones((12, 1)), False)
    factor.free()


def test_a_sparse_system_runs_on_it(device):
    """Tokens, refinement, residuals and reuse of places, through what the models use."""
    ocean = random_ocean().transport
    system = SparseSystem(ShiftedTransport(ocean, RowProduct(ocean)), "test", "cudss", keep=2)
    direct = SparseSystem(system.operator, "direct", "superlu")
    rng = np.random.default_rng(3)
    rhs = rng.normal(size=(system.operator.size, 4))
    for number in range(4):
        rate = 1e-8 * (1.0 + rng.random(system.operator.size)) * 10.0**-number
        for transposed in (False, True):
            found = system.solve(system.factorise(rate), rhs, transposed)
            np.testing.assert_allclose(found, direct.solve(direct.factorise(rate), rhs, transposed), rtol=1e-9)
    assert system.counters.max_residual < 1e-14
    sides = 1 if device.transposes else 2
    assert sum(entry.startswith("ANALYSIS") for entry in device.log) == 2 * sides
    assert device.log.count("ANALYSIS") == sides
    system.clear()


def test_it_is_preferred_on_a_gpu_only(device, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert backend.find_backend("auto")[0] != "cudss" and backend.available_backends()[-1] == "cudss"
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert backend.find_backend("auto")[0] == "cudss" == backend.available_backends()[0]


def test_what_is_missing_is_said(monkeypatch):
    def absent():
        raise ImportError("No module named 'nvmath'")

    def broken():
        raise RuntimeError('Failure finding "libcublasLt.so.12":\n no such file')

    monkeypatch.setattr(cudss, "why_no_gpu", lambda: "there is no NVIDIA driver on this machine")
    for library, expected in (
        (absent, r"bindings are not installed \(No module named 'nvmath'\); pip install 'invbgc\[gpu\]'"),
        (broken, r"library cannot be loaded \(Failure finding \"libcublasLt.so.12\": no such file\); pip install"),
        (lambda: None, "there is no NVIDIA driver"),
    ):
        monkeypatch.setattr(cudss, "library", library)
        with pytest.raises(InputError, match=f"the sparse solver 'cudss' cannot run here: .*{expected}"):
            backend.find_backend("cudss")
    monkeypatch.setenv("JAX_PLATFORMS", "cuda,cpu")
    assert backend.find_backend("auto")[0] in ("pardiso", "superlu")


def test_the_bindings_know_the_names():
    """What the simulated library is asked for, the real one has; that much needs no device."""
    real = pytest.importorskip("nvmath.bindings.cudss", reason="needs the extra gpu")
    for name in ("ConfigParam", "DataParam", "DataType", "Phase"):
        assert {entry.name for entry in getattr(Cudss, name)} <= {entry.name for entry in getattr(real, name)}
    assert real.Status.ALLOC_FAILED == Cudss.Status.ALLOC_FAILED
    assert real.get_config_param_dtype(real.ConfigParam.PIVOT_EPSILON) is np.float64
    for name in ("SOLVE_MODE", "ND_NLEVELS"):
        assert real.get_config_param_dtype(real.ConfigParam[name]) is np.int32
    for name, dtype in (("INFO", np.int32), ("LU_NNZ", np.int64)):
        assert real.get_data_param_dtype(real.DataParam[name]) is dtype
