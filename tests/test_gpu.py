"""What only a GPU can show; the tests of solvers over every backend are in `properties/`."""

import gc
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu
from invbgc.linalg import cudss
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from tests.properties.cases import CIRCULATIONS

pytestmark = pytest.mark.gpu


@pytest.mark.slow
def test_value_gradient_and_hessian_are_those_of_the_cpu():
    """The embedded ocean at 8 degrees, each device in a process of its own."""
    (_, expected), (case, found) = (gpu.run("evaluations", device, 8, Path()) for device in gpu.DEVICES)
    assert case["device"].startswith("gpu") and case["backend"] == "cudss"
    assert case["max_residual"] < 1e-14
    assert max(gpu.differences(expected, found).values()) < 1e-9


@pytest.mark.parametrize("single", [False, True])
def test_memory_of_the_device_comes_back(single):
    ocean = CIRCULATIONS["embedded_8deg"]().transport
    shifted = ShiftedTransport(ocean, RowProduct(ocean))
    rhs = np.random.default_rng(0).normal(size=(shifted.size, 8))

    def use() -> int:
        """Make, use and free three factors; what they took at once, bytes."""
        before = cudss.library().free_memory()
        analysis = cudss.analyse(shifted.pattern, single)
        factors = [analysis.factor(shifted.values((np.full(shifted.size, 1e-9 * 3.0**k),))) for k in range(3)]
        for factor in factors:
            for transposed in (False, True):
                assert np.isfinite(factor.solve(rhs, transposed)).all()
        taken = before - cudss.library().free_memory()
        for factor in factors:
            factor.free()
        return taken

    use()  # what cuDSS and CUDA keep for themselves
    before = cudss.library().free_memory()
    taken = use()
    gc.collect()
    assert taken > 0 and before - cudss.library().free_memory() < 0.1 * taken
