"""Identical twin: one optimum from far and near, and the truth within the error bars where they should hold it."""

import numpy as np
import pytest

from invbgc.inference.fit import fit
from invbgc.inference.laplace import laplace
from invbgc.inference.twins import TwinErrors, draw_twin
from invbgc.models.pco import pco_parameters
from invbgc.run import prepare
from invbgc.runfile import preset


@pytest.mark.slow
def test_both_starts_reach_one_optimum_and_the_truth_is_within_the_error_bars():
    """With independent noise alone, what the weights are right for."""
    posterior, truth = draw_twin(prepare(preset("embedded_8deg")), 0, TwinErrors(spread=0.1, noise=0.04, structure=0.0))
    far, near = (fit(posterior, start) for start in (pco_parameters("first_guess").to_vector(), truth))
    for found in (far, near):
        assert found.converged and np.abs(found.gradient).max() < 1e-8
        assert found.stats["evaluations"] < 60
        assert found.stats["min_eigenvalue"] > 0
    assert np.abs(far.x - near.x).max() < 1e-4

    error_bars = laplace(near, scaling="all")
    z = np.abs(near.x - truth) / error_bars.standard_deviation
    assert np.sum(z < 3) == 21, dict(zip(near.names, z, strict=True))
    assert np.sum(z < 2) >= 19, dict(zip(near.names, z, strict=True))
