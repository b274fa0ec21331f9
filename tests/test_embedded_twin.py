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
    """With independent noise alone, what the weights are right for; the shipped data have a smooth error as well."""
    ocean = load_circulation("embedded")
    forcing, independent = load_dataset("embedded", ocean.grid, structured_error=False)
    truth = pco_parameters().with_values(json.loads(independent.attrs["truth"]))
    posterior = Posterior(PCOModel(ocean, forcing), independent)
    far, near = (fit(posterior, start) for start in (pco_parameters("first_guess").to_vector(), truth.to_vector()))
    for found in (far, near):
        assert found.converged and np.abs(found.gradient).max() < 1e-8
        assert found.stats["evaluations"] < 60
        assert found.stats["min_eigenvalue"] > 0
    assert np.abs(far.x - near.x).max() < 1e-4

    error_bars = laplace(near, scaling="all")
    z = np.abs(near.x - truth.to_vector()) / error_bars.standard_deviation
    assert np.sum(z < 3) == 21, dict(zip(near.names, z, strict=True))
    assert np.sum(z < 2) >= 19, dict(zip(near.names, z, strict=True))
