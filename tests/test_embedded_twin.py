"""The embedded twin: with the noise that the misfit assumes, the fit recovers the truth within its own error bars."""

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
def test_truth_is_recovered_within_the_error_bars():
    ocean = load_circulation("embedded")
    forcing, observations = load_dataset("embedded", ocean.grid, structured_error=False)
    truth = pco_parameters().with_values(json.loads(observations.attrs["truth"]))
    posterior = Posterior(PCOModel(ocean, forcing, table=truth), observations)
    found = fit(posterior)
    assert found.converged and np.abs(found.gradient).max() < 1e-8
    error_bars = laplace(found, scaling="all")
    z = np.abs(found.x - truth.to_vector()) / error_bars.standard_deviation
    assert np.sum(z < 3) == 21, dict(zip(posterior.names, z, strict=True))
    assert np.sum(z < 2) >= 19, dict(zip(posterior.names, z, strict=True))
