"""The embedded twin: one optimum from far and near, and the truth within the error bars where they should hold it."""

import json

import numpy as np
import pytest

from invbgc.circulation import load_circulation
from invbgc.datasets import load_dataset
from invbgc.inference.fit import fit
from invbgc.inference.laplace import laplace
from invbgc.inference.posterior import Posterior
from invbgc.models.pco import PCOModel, pco_parameters


@pytest.mark.slow
def test_both_starts_reach_one_optimum_and_the_truth_is_within_the_error_bars():
    ocean = load_circulation("embedded")
    forcing, shipped = load_dataset("embedded", ocean.grid)
    posterior = Posterior(PCOModel(ocean, forcing), shipped)
    far, near = (fit(posterior, pco_parameters(start).to_vector()) for start in ("first_guess", "published"))
    for found in (far, near):
        assert found.converged and np.abs(found.gradient).max() < 1e-8
        assert found.stats["evaluations"] < 60
        assert found.stats["min_eigenvalue"] > 0
    assert np.abs(far.x - near.x).max() < 1e-4

    # With independent noise alone, what the weights are right for, the error bars hold the truth.
    independent = load_dataset("embedded", ocean.grid, structured_error=False)[1]
    truth = pco_parameters().with_values(json.loads(independent.attrs["truth"]))
    found = fit(posterior.with_data(independent), truth.to_vector())
    assert found.converged and np.abs(found.gradient).max() < 1e-8
    error_bars = laplace(found, scaling="all")
    z = np.abs(found.x - truth.to_vector()) / error_bars.standard_deviation
    assert np.sum(z < 3) == 21, dict(zip(found.names, z, strict=True))
    assert np.sum(z < 2) >= 19, dict(zip(found.names, z, strict=True))
