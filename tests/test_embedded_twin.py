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


@pytest.fixture(scope="module")
def model():
    ocean = load_circulation("embedded")
    forcing, _ = load_dataset("embedded", ocean.grid)
    return PCOModel(ocean, forcing)


def observations_of(model, **options):
    return load_dataset("embedded", model.grid, **options)[1]


@pytest.mark.slow
def test_truth_is_recovered_within_the_error_bars(model):
    observations = observations_of(model, structured_error=False)
    truth = pco_parameters().with_values(json.loads(observations.attrs["truth"]))
    found = fit(Posterior(model, observations), truth.to_vector())
    assert found.converged and np.abs(found.gradient).max() < 1e-8
    error_bars = laplace(found, scaling="all")
    z = np.abs(found.x - truth.to_vector()) / error_bars.standard_deviation
    assert np.sum(z < 3) == 21, dict(zip(found.names, z, strict=True))
    assert np.sum(z < 2) >= 19, dict(zip(found.names, z, strict=True))


@pytest.mark.slow
def test_both_starts_of_the_shipped_twin_reach_one_optimum(model):
    posterior = Posterior(model, observations_of(model))
    far, near = (fit(posterior, pco_parameters(start).to_vector()) for start in ("first_guess", "published"))
    for found in (far, near):
        assert found.converged and np.abs(found.gradient).max() < 1e-8
        assert found.stats["evaluations"] < 60
        assert found.stats["min_eigenvalue"] > 0
    assert np.abs(far.x - near.x).max() < 1e-4
