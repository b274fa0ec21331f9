"""Twins: what is drawn, and whether true and false error bars are told apart."""

from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from mock_posterior import MockPosterior, fail_at, table

from invbgc.errors import ConvergenceError
from invbgc.inference.twins import INTERVALS, RANK_BINS, TwinErrors, coverage, draw_twin, gaussian_rank
from invbgc.observations import misfit
from invbgc.studies import coverage_lines

# ---------------------------------------------------------------- ranks and coverage

TWINS = 200
SLOPES = np.random.default_rng(0).normal(size=(8, 3))
PRIOR = np.array([1.0, 0.5, 2.0])
COVARIANCE = np.linalg.inv(SLOPES.T @ SLOPES + np.diag(PRIOR**-2))  # errors of one
DEVIATION = np.sqrt(np.diag(COVARIANCE))


def linear_twin(number):
    """Truth and posterior of a linear Gaussian model in closed form, beside bars of half their length."""
    rng = np.random.default_rng([1, number])
    truth = PRIOR * rng.normal(size=3)
    mean = COVARIANCE @ SLOPES.T @ (SLOPES @ truth + rng.normal(size=8))
    deviations = [DEVIATION, 0.5 * DEVIATION]
    dims = ("method", "parameter")
    return xr.Dataset(
        {
            "truth": ("parameter", truth),
            "estimate": (dims, [mean, mean]),
            "standard_deviation": (dims, deviations),
            "rank": (dims, [gaussian_rank(truth, mean, deviation) for deviation in deviations]),
        },
        {"method": ["exact", "narrow"], "parameter": ["a", "b", "c"]},
    )


@pytest.fixture(scope="module")
def table_of_twins():
    return coverage([linear_twin(i) for i in range(TWINS)])


def test_error_bars_in_closed_form_hold_the_truth_as_often_as_they_say(table_of_twins):
    exact = table_of_twins.sel({"method": "exact"})
    assert np.all(exact["rank_p"] > 0.01)
    assert np.all(abs(exact["coverage"] - exact["interval"]) < 3.5 * exact["expected_error"])
    assert np.all(abs(exact["pooled_coverage"] - exact["interval"]) < 3.5 * exact["expected_error"])
    np.testing.assert_allclose(exact["z_mean"], 0.0, atol=3.5 / np.sqrt(TWINS))
    np.testing.assert_allclose(exact["z_rms"], 1.0, atol=3.5 / np.sqrt(2 * TWINS))
    np.testing.assert_allclose(exact["mean_standard_deviation"], DEVIATION)


def test_error_bars_of_half_the_length_are_found_out(table_of_twins):
    narrow = table_of_twins.sel({"method": "narrow"})
    assert np.all(narrow["rank_p"] < 1e-6)
    assert np.all(narrow["coverage"] < narrow["interval"] - 3.5 * narrow["expected_error"])
    assert np.all(narrow["z_rms"] > 1.7)


def test_counts_of_ranks_and_intervals_by_hand():
    ranks = [0.0, 0.05, 0.155, 0.5, 0.845, 0.98, 1.0, np.nan]
    twins = [
        xr.Dataset(
            {
                "truth": ("parameter", [1.0]),
                "estimate": (("method", "parameter"), [[1.0]]),
                "standard_deviation": (("method", "parameter"), [[2.0]]),
                "rank": (("method", "parameter"), [[rank]]),
            },
            {"method": ["m"], "parameter": ["a"]},
        )
        for rank in ranks
    ]
    found = coverage(twins[:-1]).isel(method=0, parameter=0)
    np.testing.assert_array_equal(found["rank_count"], [2, 1, 0, 0, 0, 1, 0, 0, 1, 2])
    assert RANK_BINS == 10 and INTERVALS == (0.68, 0.95)
    np.testing.assert_allclose(found["coverage"], [1 / 7, 4 / 7])
    np.testing.assert_allclose(found["expected_error"], np.sqrt([0.68 * 0.32 / 7, 0.95 * 0.05 / 7]))
    assert found.attrs["twins"] == 7
    assert int(coverage(twins)["rank_count"].sum()) == 7  # a bar that is not finite has no rank


def test_ranks_of_a_gaussian():
    found = gaussian_rank(np.zeros(3), np.array([0.0, 1.0, 5.0]), np.array([2.0, 1.0, np.inf]))
    np.testing.assert_allclose(found[:2], [0.5, 0.15865525393145707])
    assert np.isnan(found[2])


def test_coverage_is_printed_method_by_method(table_of_twins):
    lines = coverage_lines(table_of_twins)
    for method in ("exact", "narrow"):
        row, line = table_of_twins.sel({"method": method}), next(line for line in lines if method in line)
        cells = [f"{100 * part:.0f}%" for part in row["pooled_coverage"].values]
        assert [cell for cell in line.split() if cell.endswith("%")][::2] == cells
        assert float(line.split()[-1]) == pytest.approx(float(np.sqrt((row["z_rms"] ** 2).mean())), abs=0.006)


# ---------------------------------------------------------------- draws


class Ocean(MockPosterior):
    """The mock, of whose twins the data are looked at."""

    def with_data(self, observations, scales, prior_factor):
        return SimpleNamespace(observations=observations, scales=scales, prior_factor=prior_factor)


@pytest.fixture(scope="module")
def ocean():
    made = Ocean()
    made.scales = {"DIP": 1.0, "DIC": 0.5, "O2": 1.0}
    made.table = table().with_prior("alpha", 2.0, 0.05)
    return made


def values(twin):
    return np.concatenate([data.value for data in twin.observations.tracers.values()])


def test_number_and_seed_fix_truth_and_data(ocean):
    (one, truth), (again, same) = (draw_twin(ocean, 3, TwinErrors()) for _ in range(2))
    np.testing.assert_array_equal(truth, same)
    np.testing.assert_array_equal(values(one), values(again))
    for other, elsewhere in (draw_twin(ocean, 4, TwinErrors()), draw_twin(ocean, 3, TwinErrors(seed=1))):
        assert not np.any(elsewhere == truth) and not np.any(values(other) == values(one))


def test_a_twin_is_observed_and_weighed_as_the_original(ocean):
    twin, _ = draw_twin(ocean, 0, TwinErrors(noise=2.0))  # with values below zero
    assert twin.scales == ocean.scales and twin.observations.attrs["synthetic"] == "true"
    for name, data in ocean.observations.tracers.items():
        np.testing.assert_array_equal(twin.observations.tracers[name].index, data.index)


def test_truths_are_drawn_from_the_prior_and_else_about_the_start(ocean):
    truths = np.array([draw_twin(ocean, i, TwinErrors(spread=0.1))[1] for i in range(300)])
    spread = np.where(np.array(ocean.names) == "alpha", 0.05, 0.1)
    centre = np.where(np.array(ocean.names) == "alpha", np.log(2.0), ocean.x0)
    assert np.all(np.abs(truths.mean(axis=0) - centre) < 4 * spread / np.sqrt(300))
    np.testing.assert_allclose(truths.std(axis=0), spread, rtol=4 / np.sqrt(600))
    assert np.abs(np.corrcoef(truths.T) - np.eye(5)).max() < 4 / np.sqrt(300)


@pytest.mark.parametrize(("noise", "structure"), [(0.1, 0.0), (0.0, 0.1), (0.1, 0.1)])
def test_errors_have_the_size_asked_for(ocean, noise, structure):
    """2 q of the truth is the sum of both variances over that of the tracer, but where the tracer fades."""
    squares = []
    for number in range(60):
        twin, truth = draw_twin(ocean, number, TwinErrors(0.01, noise, structure))
        exact = ocean.value(truth).state.observable
        squares.append([2 * float(misfit(exact[k][d.index], d)) for k, d in twin.observations.tracers.items()])
    assert np.mean(squares) == pytest.approx(noise**2 + structure**2, rel=0.2)


def test_truths_outside_the_limits_of_the_model_are_drawn_again(ocean):
    bounded = Ocean()
    bounded.admissible = lambda x: None if x[0] > bounded.x0[0] else "too small"
    assert all(draw_twin(bounded, i, TwinErrors())[1][0] > bounded.x0[0] for i in range(20))
    failing = Ocean(hook=fail_at(0, 1))
    twin, truth = draw_twin(failing, 0, TwinErrors())
    assert failing.count == 3 and np.all(np.isfinite(values(twin))) and np.all(np.isfinite(truth))


def test_a_model_without_admissible_truth_says_so(ocean):
    nowhere = Ocean()
    nowhere.admissible = lambda x: "never"
    with pytest.raises(ConvergenceError, match="twin 7: none of 50 draws"):
        draw_twin(nowhere, 7, TwinErrors())
