"""Weighted draws and third derivatives against closed forms."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from mock_posterior import gaussian_fit

from invbgc.errors import ConvergenceError
from invbgc.inference.coordinates import whitened
from invbgc.inference.importance import asymmetry, importance
from invbgc.inference.laplace import laplace

NAMES = ("a", "b")
DRAWS = 2000


def gaussian(mean, deviation):
    return whitened(SimpleNamespace(x=np.array(mean), root=np.diag(deviation)))


def normal(x):
    """A standard normal: mean zero, unit covariance."""
    return 0.5 * float(x @ x)


@pytest.fixture(scope="module")
def weighted():
    """Draws of a wrong Gaussian: too far and too wide."""
    return importance(normal, NAMES, gaussian([0.4, -0.3], [1.3, 1.2]), jax.random.PRNGKey(2), DRAWS)


def test_weights_correct_the_moments_of_a_wrong_gaussian(weighted):
    error = 1.0 / np.sqrt(weighted.effective)
    np.testing.assert_allclose(weighted.mean, 0.0, atol=4 * error)
    np.testing.assert_allclose(weighted.covariance, np.eye(2), atol=4 * np.sqrt(2.0) * error)
    np.testing.assert_allclose(weighted.standard_deviation**2, np.diag(weighted.covariance))
    assert np.abs(weighted.x.mean(axis=0)).min() > 0.2  # what there was to correct


def test_weights_are_the_ratio_of_the_densities(weighted):
    """But for the smoothed tail, and for a constant."""
    y = (weighted.x - [0.4, -0.3]) / [1.3, 1.2]
    ratio = 0.5 * np.sum(y**2, axis=1) - 0.5 * np.sum(weighted.x**2, axis=1)
    bulk = ratio < np.quantile(ratio, 0.8)
    assert np.ptp((weighted.log_weight - ratio)[bulk]) < 1e-10
    assert weighted.weight.sum() == pytest.approx(1.0, rel=1e-12)
    assert weighted.reliable and 0.5 * DRAWS < weighted.effective < DRAWS


def test_a_gaussian_that_is_too_narrow_is_found_out():
    narrow = importance(normal, NAMES, gaussian([0.0, 0.0], [0.4, 0.4]), jax.random.PRNGKey(2), DRAWS)
    assert narrow.k_hat > 0.7 and not narrow.reliable


def test_weights_that_hardly_differ_are_used_as_they_are():
    """A tilt by a hundredth: no tail to be fitted, and the mean follows it all the same."""

    def tilted(x):
        return normal(x) + 0.01 * x[0]

    found = importance(tilted, NAMES, gaussian([0.0, 0.0], [1.0, 1.0]), jax.random.PRNGKey(3), DRAWS)
    assert found.k_hat == -np.inf and found.reliable
    np.testing.assert_allclose(found.mean - found.gaussian_mean, [-0.01, 0.0], atol=1e-3)


def test_draws_without_steady_state_have_no_weight():
    def objective(x):
        if x[0] > 1.0:
            raise ConvergenceError("no steady state")
        return np.inf if x[0] < -1.0 else normal(x)

    lines = []
    found = importance(
        objective, NAMES, gaussian([0.0, 0.0], [1.0, 1.1]), jax.random.PRNGKey(1), 500, lambda *at: lines.append(at)
    )
    outside = np.abs(found.x[:, 0]) > 1.0
    assert outside.any() and np.all(found.weight[outside] == 0.0)
    assert 0.9 < found.effective / (~outside).sum() <= 1.0
    assert lines[-1] == (500, 500)
    with pytest.raises(ConvergenceError, match="none of the draws is admissible"):
        importance(lambda x: np.inf, NAMES, gaussian([0.0, 0.0], [1.0, 1.0]), jax.random.PRNGKey(1), 100)


def test_weighted_draws_are_a_table(weighted):
    table = weighted.to_dataset()
    assert table.sizes == {"draw": DRAWS, "parameter": 2} and list(table["parameter"].values) == list(NAMES)
    assert table.attrs == {"k_hat": weighted.k_hat, "effective_draws": weighted.effective}


SHAPES = np.array([4.0, 9.0, 25.0, 100.0, 400.0])


class LogGamma:
    """U = sum k (exp x - x): logarithms of gamma variables, whose third derivative in unit variance is k^(-1/2)."""

    def __init__(self, wall=np.inf):
        self.wall = wall

    def admissible(self, x):
        return "too large" if x[0] > self.wall else None

    def value_grad(self, x, guess=None):
        return SimpleNamespace(gradient=SHAPES * (np.exp(x) - 1.0))


def test_third_derivatives_are_those_of_log_gamma_variables():
    approximation = laplace(gaussian_fit(np.diag(SHAPES), x=np.zeros(5)), scaling="likelihood")
    optimum = SimpleNamespace(x=np.zeros(5))
    found = asymmetry(LogGamma(), approximation, optimum, step=0.01)["third_derivative"].values
    signs = np.sign(np.diag(approximation.directions))
    np.testing.assert_allclose(found, signs / np.sqrt(SHAPES), rtol=1e-4)
    blocked = asymmetry(LogGamma(wall=0.1), approximation, optimum)["third_derivative"].values
    assert np.isnan(blocked[0]) and np.all(np.isfinite(blocked[1:]))
