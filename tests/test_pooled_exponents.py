"""The hierarchical model of exponents: its likelihood against the whole model, and what it recovers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from numpyro.handlers import seed, substitute, trace
from scipy.stats import multivariate_normal

from invbgc.errors import InputError
from invbgc.traps.hierarchical import _profile_draws, model, pooled_exponents, sufficient

DEPTHS = np.array([150.0, 200.0, 300.0, 400.0])
MEAN, SPREAD, NOISE = np.array([1.3, 1.0]), np.array([0.4, 0.6]), np.array([0.3, 0.2])


def correlated(deviation, correlation):
    return np.diag(deviation) @ np.array([[1, correlation], [correlation, 1]]) @ np.diag(deviation)


def made_up(n: int, drift: float = 0.0, depths=DEPTHS) -> xr.Dataset:
    rng = np.random.default_rng(4)
    time = np.linspace(2006, 2020, n)
    center = MEAN + drift * np.sin((time - 2006) / 2.0)[:, None]
    b = center + rng.multivariate_normal(np.zeros(2), correlated(SPREAD, 0.5), n)
    noise = rng.multivariate_normal(np.zeros(2), correlated(NOISE, 0.7), (n, len(depths)))
    x = np.log(depths / depths[0])
    logs = rng.normal(size=(n, 1, 2)) - b[:, None, :] * x[None, :, None] + noise
    coordinates = {"depth": depths, "element": ["P", "C"], "time": ("profile", time)}
    return xr.Dataset({"flux": (("profile", "depth", "element"), np.exp(logs)), "truth": (("profile", "element"), b)},
                      coordinates)  # fmt: skip


def test_marginal_likelihood_is_that_of_the_whole_model():
    """Intercepts and exponents integrated out one by one, or the whole normal distribution with wide intercepts."""
    data = made_up(5)
    known = sufficient(data)
    factors = {
        f"{name}_correlation": np.linalg.cholesky([[1, r], [r, 1]]) for name, r in (("spread", 0.5), ("noise", 0.7))
    }

    def log_likelihood(mean, spread, noise):
        values = {"mean": mean, "spread": spread, "noise": noise, **factors}
        sites = trace(substitute(seed(model, 0), values)).get_trace(known, False)
        return sum(float(np.sum(s["fn"].log_prob(s["value"]))) for s in sites.values() if s.get("is_observed"))

    x = np.log(DEPTHS / DEPTHS[0])

    def whole(mean, spread, noise):
        wide = 1e4
        same = np.kron(np.ones((4, 4)), wide * np.eye(2))
        slopes = np.kron(np.outer(x, x), correlated(spread, 0.5))
        covariance = same + slopes + np.kron(np.eye(4), correlated(noise, 0.7))
        logs = np.log(data["flux"].to_numpy()).reshape(5, 8)
        return multivariate_normal(-np.kron(x, mean), covariance).logpdf(logs).sum()

    one, two = (MEAN, SPREAD, NOISE), (MEAN - 0.4, 1.7 * SPREAD, 0.6 * NOISE)
    assert log_likelihood(*one) - log_likelihood(*two) == pytest.approx(whole(*one) - whole(*two), abs=2e-3)


def test_exponents_of_profiles_follow_their_normal_distribution():
    known = sufficient(made_up(3))
    between, noise = correlated(SPREAD, 0.5), correlated(NOISE, 0.7) / known.s_xx
    draws = 4000
    samples = {
        "mean": np.tile(MEAN, (1, draws, 1)),
        "spread": np.tile(SPREAD, (1, draws, 1)),
        "noise": np.tile(NOISE, (1, draws, 1)),
        "center": np.tile(MEAN, (1, draws, 3, 1)),
        "spread_correlation": np.tile(np.linalg.cholesky([[1, 0.5], [0.5, 1]]), (1, draws, 1, 1)),
        "noise_correlation": np.tile(np.linalg.cholesky([[1, 0.7], [0.7, 1]]), (1, draws, 1, 1)),
    }
    found = np.asarray(_profile_draws(jax.random.PRNGKey(0), jax.tree.map(jnp.asarray, samples), known))[0]
    precision = np.linalg.inv(between) + np.linalg.inv(noise)
    mean = np.linalg.solve(precision, np.linalg.inv(between) @ MEAN + np.linalg.inv(noise) @ known.slope[0])
    np.testing.assert_allclose(found[:, 0].mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(found[:, 0].T), np.linalg.inv(precision), rtol=0.1)


@pytest.mark.slow
def test_pooling_recovers_what_made_the_data():
    data = made_up(100, drift=0.5, depths=DEPTHS[:3])
    found = pooled_exponents(data, draws=300, warmup=500, chains=2)
    assert found.attrs["max_r_hat"] < 1.05 and found.attrs["divergences"] < 10
    for name, truth in (("spread", SPREAD), ("noise", NOISE)):
        draws = found[name].stack(sample=("chain", "draw"))
        assert (np.abs(draws.mean("sample") - truth) < 3.5 * draws.std("sample")).all()
    pooled = found["b"].mean(("chain", "draw"))
    raw = sufficient(data).slope
    # drawn together, exponents are nearer to the truth than those of single profiles
    assert np.std(pooled - data["truth"]) < 0.85 * np.std(raw - data["truth"].to_numpy())
    inside = (np.abs(pooled - data["truth"]) < found["b"].std(("chain", "draw"))).mean()
    assert 0.58 < float(inside) < 0.78
    center = found["center"].mean(("chain", "draw"))
    wave = np.sin((data["time"] - 2006) / 2.0)
    assert float(xr.corr(center.sel(element="P"), wave)) > 0.7


def test_pooling_needs_three_depths_and_times():
    with pytest.raises(InputError, match="expected three of each"):
        sufficient(made_up(5).isel(depth=slice(2)))
    with pytest.raises(InputError, match="no 'time'"):
        pooled_exponents(made_up(5).drop_vars("time"))
