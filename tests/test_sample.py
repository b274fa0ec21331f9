"""Chains against a linear Gaussian posterior in closed form; stopped and resumed; as files."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from arviz_base import extract
from arviz_stats import summary
from arviz_stats.base.array import array_stats
from mock_posterior import table

from invbgc.errors import CheckpointError, ConvergenceError, InputError
from invbgc.inference.chains import GOOD_R_HAT, Chains
from invbgc.inference.coordinates import Coordinates
from invbgc.inference.sample import STATISTICS, Chain, Kernel, SamplerOptions, sample_chain

KERNELS = get_args(Kernel)
CODES = ("both", "delayed")  # "nuts" is a part of "both"
RNG = np.random.default_rng(8)

# Five parameters with normal priors, seen through twelve linear data with errors of 0.5.
SLOPES, PRIOR = RNG.normal(size=(12, 5)), np.array([0.5, 0.3, 0.4, 1.0, 0.2])
DATA = SLOPES @ RNG.normal(size=5) + 0.5 * RNG.normal(size=12)
COVARIANCE = np.linalg.inv(SLOPES.T @ SLOPES / 0.25 + np.diag(PRIOR**-2))
MEAN = COVARIANCE @ SLOPES.T @ DATA / 0.25
DEVIATION = np.sqrt(np.diag(COVARIANCE))

# Coordinates of an approximation that is a little off, so that there is something to correct.
COORDINATES = Coordinates(MEAN + 0.2 * DEVIATION, 1.1 * np.linalg.cholesky(COVARIANCE))


def potential(x):
    return jnp.sum((SLOPES @ x - DATA) ** 2) / (2 * 0.25) + 0.5 * jnp.sum((x / PRIOR) ** 2)


class Remembering:
    """A posterior whose values depend, in the ninth digit, on what was computed since it was last told to forget."""

    def __init__(self, stop_at=None):
        self.count, self.asked, self.stop_at = 0, 0, stop_at

    def forget(self):
        self.count = 0

    def interrupted(self):
        self.asked += 1
        return self.asked == self.stop_at

    def potential(self, x):
        def drift(x):
            self.count += 1
            return np.array(1.0 + 1e-9 * self.count)

        seen = jax.pure_callback(drift, jax.ShapeDtypeStruct((), np.float64), jax.lax.stop_gradient(x))
        return potential(x) * seen


# ---------------------------------------------------------------- moments


@pytest.fixture(scope="module", params=KERNELS)
def chains(request):
    options = SamplerOptions(request.param, warmup=40, draws=500, chunk=100, seed=1)
    made = [sample_chain(potential, COORDINATES, i, options) for i in range(4)]
    return Chains.joined(made, table(), {"kernel": request.param})


def test_chains_have_the_moments_of_the_closed_form(chains):
    found = chains.summary()
    # NUTS alone changes its energy slowly, and with it all widths at once: hence the kernel "both".
    assert float(found["r_hat"].max()) < (1.05 if chains.attrs["kernel"] == "nuts" else GOOD_R_HAT)
    z = (chains.x - MEAN) / DEVIATION
    effective = found["ess_bulk"].values
    squares = np.array([array_stats.ess(z[..., i] ** 2, chain_axis=0, draw_axis=1) for i in range(5)])
    assert min(effective.min(), squares.min()) > 100
    assert np.all(np.abs(found["mean"] - MEAN) < 4 * DEVIATION / np.sqrt(effective))
    assert np.all(np.abs(found["standard_deviation"] / DEVIATION - 1) < 4 / np.sqrt(2 * squares))
    correlation = np.corrcoef(z.reshape(-1, 5).T) - COVARIANCE / np.outer(DEVIATION, DEVIATION)
    assert np.abs(correlation).max() < 4 / np.sqrt(squares.min())


def test_statistics_of_draws_are_what_they_are_called(chains):
    statistics, number = chains.statistics, 4 * 540
    np.testing.assert_allclose(statistics["lp"], -jax.vmap(jax.vmap(potential))(chains.x), rtol=1e-10)
    assert not np.any(statistics["diverging"])
    assert np.all((statistics["acceptance_rate"] >= 0) & (statistics["acceptance_rate"] <= 1))
    assert np.ptp(statistics["step_size"], axis=1).max() == 0.0  # nothing is adapted after warm-up
    if chains.attrs["kernel"] == "delayed":
        assert chains.attrs["values"] == number and chains.attrs["gradients"] == 0
    else:
        assert chains.attrs["gradients"] > statistics["n_steps"].sum() and chains.attrs["values"] == 0
        np.testing.assert_array_equal(2 ** statistics["tree_depth"] > statistics["n_steps"], True)
    judged = np.isfinite(statistics["surrogate_acceptance"])
    shares = {"nuts": [False] * 4, "both": [False, True, True, True], "delayed": [True] * 4}
    np.testing.assert_array_equal(judged, np.tile(shares[chains.attrs["kernel"]], (4, 125)))
    assert np.all(statistics["n_steps"][judged] == 1)


@pytest.mark.parametrize("kernel", CODES)
def test_infinite_regions_are_never_entered(kernel):
    """Half of the Gaussian is forbidden: the draws are those of the other half."""

    def bounded(x):
        return jnp.where(x[0] < MEAN[0], potential(x), jnp.inf)

    made = sample_chain(bounded, COORDINATES, 0, SamplerOptions(kernel, 40, 400, 100))
    below = (MEAN[0] - made.x[:, 0]) / DEVIATION[0]
    assert np.all(below > 0)
    assert below.mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.2)  # of a half-normal variable


@pytest.mark.parametrize("kernel", CODES)
def test_no_admissible_start_is_an_error(kernel):
    with pytest.raises(ConvergenceError, match="none of 20 draws"):
        sample_chain(lambda x: jnp.nan * x[0], COORDINATES, 0, SamplerOptions(kernel))


def test_wrong_options_are_named():
    with pytest.raises(InputError, match="kernel 'gibbs'; expected one of both, nuts, delayed"):
        SamplerOptions("gibbs")
    with pytest.raises(InputError, match="draws is 0; expected 1 or more"):
        SamplerOptions(draws=0)


# ---------------------------------------------------------------- stopped and resumed


def same(one: Chain, other: Chain) -> bool:
    equal = [np.array_equal(one.statistics[name], other.statistics[name], equal_nan=True) for name in STATISTICS]
    return np.array_equal(one.x, other.x) and all(equal) and one.gradients == other.gradients


@pytest.mark.parametrize("kernel", CODES)
def test_a_chain_that_was_stopped_goes_on_to_the_same_draws(kernel, tmp_path):
    """Stopped in warm-up and again among the draws, each time within a chunk."""
    options = SamplerOptions(kernel, warmup=13, draws=17, chunk=5, seed=3)

    def run(folder=None, stop_at=None, told=None):
        posterior = Remembering(stop_at)
        return sample_chain(posterior.potential, COORDINATES, 2, options, folder, {}, posterior, told)

    whole = run()
    for stop_at, done in ((8, 5), (13, 15)):
        with pytest.raises(KeyboardInterrupt, match=f"chain 2 stopped after {done} draws; the chain goes on from"):
            run(tmp_path, stop_at)
    lines = []
    assert same(run(tmp_path, told=lines.append), whole)
    assert len(lines) == 3 and "draw 17/17" in lines[-1]
    assert same(run(tmp_path, stop_at=1), whole)  # finished: nothing is computed


@pytest.mark.parametrize("kernel", CODES)
def test_a_finished_chain_can_be_made_longer(kernel, tmp_path):
    def run(draws, folder=tmp_path):
        return sample_chain(potential, COORDINATES, 0, SamplerOptions(kernel, 10, draws, 10), folder)

    short, long = run(20), run(40)
    assert np.array_equal(long.x[:20], short.x) and len(long.x) == 40
    assert same(long, run(40, None))
    assert np.array_equal(run(20).x, short.x)


def test_chains_of_one_seed_differ():
    one, other = (sample_chain(potential, COORDINATES, i, SamplerOptions("delayed", 1, 5)) for i in (0, 1))
    assert not np.any(one.x == other.x)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fingerprint": {"data": "b"}}, "data: a there, b here"),
        ({"chain": 1}, "seed and chain"),
        ({"coordinates": Coordinates(MEAN, COORDINATES.root)}, "coordinates"),
        ({"options": SamplerOptions("delayed", 3, 5, 4)}, "sampler"),
    ],
)
def test_checkpoints_of_another_posterior_are_refused(change, word, tmp_path):
    usual = {
        "coordinates": COORDINATES, "chain": 0, "options": SamplerOptions("delayed", 2, 5, 4), "folder": tmp_path,
        "fingerprint": {"data": "a"},
    }  # fmt: skip
    sample_chain(potential, **usual)
    with pytest.raises(CheckpointError, match=word):
        sample_chain(potential, **(usual | change))


# ---------------------------------------------------------------- files and summaries


@pytest.fixture(scope="module")
def independent():
    """Two chains of independent normal draws."""
    draws = MEAN + DEVIATION * np.random.default_rng(0).normal(size=(2, 1000, 5))
    statistics = {name: np.zeros((2, 1000)) for name in STATISTICS} | {"diverging": np.eye(2, 1000)}
    return Chains(table(), draws, statistics, {"gradients": 300.0, "values": 0.0, "seconds": 60.0, "seed": 4})


def test_summary_of_independent_draws(independent):
    found = independent.summary()
    np.testing.assert_allclose(found["mean"], MEAN, atol=4 * DEVIATION.max() / np.sqrt(2000))
    np.testing.assert_allclose(found["standard_deviation"], DEVIATION, rtol=0.1)
    assert np.all(np.abs(found["ess_bulk"] / 2000 - 1) < 0.3) and np.all(found["r_hat"] < GOOD_R_HAT)
    assert found.attrs["divergences"] == 2
    worst = float(found["ess_bulk"].min())
    assert found.attrs["solves_per_effective_draw"] == 300 / worst
    assert found.attrs["seconds_per_effective_draw"] == 60 / worst
    medians = found["quantile"].sel(probability=0.5).values
    exact = [float(value) for value in table().to_values(np.median(independent.x, axis=(0, 1))).values()]
    np.testing.assert_allclose(medians, np.delete(exact, 4), rtol=1e-2)  # the frozen row is not sampled


def test_chains_that_do_not_mix_are_found_out(independent):
    apart = independent.x + np.array([0.0, 1.0])[:, None, None] * DEVIATION
    moved = Chains(independent.table, apart, independent.statistics, independent.attrs)
    assert np.all(moved.summary()["r_hat"] > 1.05)


def test_the_file_has_the_groups_that_arviz_expects(independent, tmp_path):
    path = independent.save(tmp_path / "chains.nc")
    with xr.open_datatree(path, engine="netcdf4") as tree:
        assert set(tree.children) == {"posterior", "unconstrained_posterior", "sample_stats"}
        posterior = tree["posterior"]
        assert set(posterior.data_vars) == set(table().free_names)
        assert all(part.dims == ("chain", "draw") for part in posterior.data_vars.values())
        np.testing.assert_allclose(posterior["alpha"], np.exp(independent.x[..., 0]), rtol=1e-14)
        np.testing.assert_array_equal(posterior["b_P_slope"], independent.x[..., 3])
        assert set(tree["sample_stats"].data_vars) == set(STATISTICS)
        assert tree["sample_stats"]["diverging"].dtype == bool
        about = {"long_name": "a number", "symbol": "alpha", "reference": "a formula", "units": "1"}
        assert posterior["alpha"].attrs == about
        assert tree["unconstrained_posterior"]["alpha"].attrs == about | {"transform": "log"}


def test_arviz_summarises_the_file_as_the_toolkit_does(independent, tmp_path):
    expected = independent.summary()
    with xr.open_datatree(independent.save(tmp_path / "chains.nc"), engine="netcdf4") as tree:
        found = summary(tree, group="unconstrained_posterior", round_to="none")
        draws = extract(tree, var_names="alpha")
    assert list(found.index) == list(expected["parameter"].values)
    for name in ("mean", "r_hat", "ess_bulk"):  # the tails of ess_tail are those of another interval
        np.testing.assert_allclose(found[name].astype(float), expected[name], rtol=1e-12)
    np.testing.assert_allclose(found["sd"].astype(float), expected["standard_deviation"], rtol=1e-2)
    assert draws.sizes == {"sample": 2000} and draws.attrs["units"] == "1"


def test_chains_read_back(independent, tmp_path):
    back = Chains.load(independent.save(tmp_path / "chains.nc"), table())
    np.testing.assert_array_equal(back.x, independent.x)
    for name in STATISTICS:
        np.testing.assert_array_equal(back.statistics[name], independent.statistics[name])
    assert {key: back.attrs[key] for key in independent.attrs} == independent.attrs


def test_files_that_are_no_chains_are_refused(independent, tmp_path):
    path = independent.save(tmp_path / "chains.nc")
    with pytest.raises(InputError, match="parameters alpha, beta, b_P, b_P_slope, eta; expected beta, b_P"):
        Chains.load(path, table().freeze(["alpha"]))
    with pytest.raises(InputError, match="no such file"):
        Chains.load(tmp_path / "absent.nc", table())
    xr.Dataset({"a": 1.0}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match="schema None; expected 'invbgc chains 1'"):
        Chains.load(tmp_path / "other.nc", table())
    (tmp_path / "broken.nc").write_text("no netCDF")
    with pytest.raises(InputError, match="cannot be read as netCDF"):
        Chains.load(tmp_path / "broken.nc", table())
