"""Laplace's approximation against closed forms."""

import logging
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import xarray as xr
from mock_posterior import MockPosterior, gaussian_fit

from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.correlogram import effective_number
from invbgc.inference.fit import fit
from invbgc.inference.laplace import count, laplace, name_direction
from invbgc.transforms import TRANSFORMS

RNG = np.random.default_rng(4)
ROOT = RNG.normal(size=(5, 5))
HESSIAN = ROOT @ ROOT.T + 0.1 * np.eye(5)


def test_covariance_is_the_scaled_inverse():
    result = gaussian_fit(HESSIAN, value=0.3)
    seen = {name: int(np.isfinite(result.fields[f"observed_{name}"]).sum()) for name in ("DIP", "DIC", "O2")}
    approximation = laplace(result)
    number = sum(seen.values())
    assert approximation.number == number
    assert approximation.scale == pytest.approx(0.6 / number)
    assert approximation.covariance == pytest.approx(0.6 / number * np.linalg.inv(HESSIAN), rel=1e-10)
    deviation = np.sqrt(np.diag(approximation.covariance))
    assert approximation.correlation == pytest.approx(approximation.covariance / np.outer(deviation, deviation))
    assert approximation.warnings == ()


@pytest.mark.parametrize("scaling", ["authors", "effective"])
def test_priors_keep_their_width_whatever_the_scale_of_the_errors(scaling):
    """The search weighs a prior by a nominal scale; however loose the data, no error bar exceeds its prior's."""
    nominal, sd = 1e-3, 0.5
    own = np.array([sd**-2, 0.0, 0.0, 0.0, 0.0])
    found = gaussian_fit(HESSIAN + nominal * np.diag(own), value=0.3)
    table = found.table.with_prior(found.table.free[0].name, 1.0, sd)
    found = SimpleNamespace(**vars(found) | {"table": table, "fields": found.fields.assign_attrs(prior_factor=nominal)})
    approximation = laplace(found, scaling=scaling)
    expected = np.linalg.inv(HESSIAN / approximation.scale + np.diag(own))
    np.testing.assert_allclose(approximation.covariance, expected, rtol=1e-9)
    assert approximation.standard_deviation[0] < sd


def test_error_bars_are_asymmetric_for_log_parameters():
    approximation = laplace(gaussian_fit(0.02 * HESSIAN))
    sigma, value = approximation.standard_deviation, approximation.estimate
    for i, row in enumerate(approximation.table.free):
        if row.transform == "log":
            assert approximation.upper[i] == pytest.approx(np.exp(np.log(value[i]) + sigma[i]) - value[i])
            assert approximation.lower[i] == pytest.approx(value[i] - np.exp(np.log(value[i]) - sigma[i]))
            assert approximation.upper[i] > approximation.lower[i]
        else:
            assert approximation.upper[i] == approximation.lower[i] == sigma[i]


def test_three_counts():
    fields = gaussian_fit(HESSIAN).fields
    alkalinity = fields["observed_DIP"] * 0 + 2400.0
    five = fields.assign(
        model_ALK=fields["model_DIP"],
        observed_ALK=alkalinity,
        model_DOC=fields["model_O2"],
        observed_DOC=fields["observed_O2"],
    )
    seen = {name: int(np.isfinite(five[f"observed_{name}"]).sum()) for name in ("DIP", "DIC", "ALK", "O2", "DOC")}
    assert count(five, "authors") == seen["DIP"] + seen["DIC"] + seen["O2"]
    assert count(five, "all") == sum(seen.values())
    assert 5 <= count(five, "effective") <= count(five, "all")
    without_oxygen = five.drop_vars(["model_O2", "observed_O2"])
    assert count(without_oxygen, "authors") == seen["DIP"] + seen["DIC"] + seen["DOC"]


def test_exponents_per_degree():
    result = gaussian_fit(HESSIAN)
    approximation = laplace(result)
    low, high = -1.98871, 29.92372
    found = approximation.exponents(low, high)
    values, span = result.table.values, high - low
    # by drawing, an independent route to the propagated covariance
    draws = approximation.x + (approximation.draw(jax.random.key(1), 200_000) - approximation.x)
    names = list(approximation.names)
    base, slope = np.exp(draws[:, names.index("b_P")]), draws[:, names.index("b_P_slope")]
    at_zero = base + slope * (1 - low) / span
    assert float(found["estimate"].sel(exponent="b_P_zero")) == pytest.approx(
        values["b_P"] + values["b_P_slope"] * 2.98871 / span
    )
    sample = np.cov(at_zero, slope / span)
    exact = found["covariance"].values[:2, :2]
    assert sample == pytest.approx(exact, rel=0.03, abs=0.03 * np.sqrt(exact[0, 0] * exact[1, 1]))
    with pytest.raises(InputError, match="does not exceed"):
        approximation.exponents(3.0, 3.0)


def test_directions_are_named():
    names = ("alpha", "beta", "b_P", "b_P_slope", "eta")
    assert name_direction(np.array([0.0, 0.0, -0.8, 0.6, 0.0]), names) == "+0.80 b_P -0.60 b_P_slope"
    assert name_direction(np.array([1.0, 0.1, 0.0, 0.0, 0.0]), names) == "+1.00 alpha"
    approximation = laplace(gaussian_fit(np.diag([3.0, 1.0, 5.0, 2.0, 4.0])))
    assert approximation.direction_names == ("+1.00 beta", "+1.00 b_P_slope", "+1.00 alpha", "+1.00 eta", "+1.00 b_P")
    assert approximation.eigenvalues == pytest.approx([1, 2, 3, 4, 5])


@pytest.mark.parametrize(("curvature", "word"), [(0.0, "no curvature"), (-0.5, "a negative curvature")])
def test_uninformed_directions_are_said_and_not_inverted(curvature, word, caplog):
    hessian = np.diag([3.0, curvature, 5.0, 2.0, 4.0])
    with caplog.at_level(logging.WARNING, logger="invbgc"):
        approximation = laplace(gaussian_fit(hessian))
    assert any(word in note and "+1.00 beta" in note for note in approximation.warnings)
    assert any("no error bar can be given for beta" in note for note in approximation.warnings)
    assert len(caplog.messages) == len(approximation.warnings)
    assert approximation.standard_deviation[1] == np.inf and approximation.upper[1] == np.inf
    others = [0, 2, 3, 4]
    assert np.diag(approximation.covariance)[others] == pytest.approx(approximation.scale / np.diag(hessian)[others])
    assert np.all(np.isnan(approximation.correlation[1, others]))
    draws = approximation.draw(jax.random.key(0), 100)
    assert np.all(np.isfinite(draws)) and np.all(draws[:, 1] == approximation.x[1])


def test_a_parameter_that_ran_to_zero_is_said_to():
    x = MockPosterior().x0
    x[1] = np.log(1e-9)
    notes = laplace(gaussian_fit(np.diag([3.0, 1e-14, 5.0, 2.0, 4.0]), x=x)).warnings
    assert any("beta has run to zero (1.0e-09 1, where 2.0e-01 is usual)" in note for note in notes)


def test_a_combination_that_is_not_informed_takes_both_parameters():
    direction = np.array([1.0, 1.0, 0, 0, 0]) / np.sqrt(2)
    hessian = np.eye(5) - np.outer(direction, direction)
    approximation = laplace(gaussian_fit(hessian))
    assert (
        np.isinf(approximation.standard_deviation[:2]).all() and np.isfinite(approximation.standard_deviation[2:]).all()
    )
    assert any("+0.71 alpha +0.71 beta" in note for note in approximation.warnings)


def test_no_information_at_all():
    approximation = laplace(gaussian_fit(-HESSIAN))
    assert np.all(np.isinf(approximation.standard_deviation))
    assert np.all(approximation.draw(jax.random.key(0), 3) == approximation.x)


def test_loose_directions_and_unfinished_fits_are_said():
    hessian = np.diag([3.0, 1e-5, 5.0, 2.0, 4.0])
    notes = laplace(gaussian_fit(hessian)).warnings
    assert len(notes) == 1 and "hardly inform [+1.00 beta]" in notes[0]
    notes = laplace(gaussian_fit(HESSIAN, gradient=np.full(5, 0.05))).warnings
    assert len(notes) == 1 and "from the minimum of its quadratic model" in notes[0]


@pytest.mark.parametrize(("pull", "said"), [(2.0, False), (-3.0, True)])
def test_an_optimum_that_contradicts_a_prior_is_said_to(pull, said):
    found = gaussian_fit(HESSIAN)
    row = found.table.free[0]
    table = found.table.with_prior(row.name, float(TRANSFORMS[row.transform].value(found.x[0] - 0.1 * pull)), 0.1)
    notes = laplace(SimpleNamespace(**vars(found) | {"table": table})).warnings
    said_so = f"more than 2.5 standard deviations of the prior from its centre: {row.name} (-3.0)"
    assert any(said_so in note for note in notes) == said


def test_draws_have_the_covariance_and_respect_the_model():
    approximation = laplace(gaussian_fit(HESSIAN))
    draws = approximation.draw(jax.random.key(7), 20_000)
    assert np.array_equal(draws[:50], approximation.draw(jax.random.key(7), 20_000)[:50])
    deviation = approximation.standard_deviation
    assert np.cov(draws.T) / np.outer(deviation, deviation) == pytest.approx(approximation.correlation, abs=0.03)
    assert (draws.mean(axis=0) - approximation.x) / deviation == pytest.approx(np.zeros(5), abs=0.03)
    half = approximation.draw(jax.random.key(7), 500, lambda x: None if x[0] > approximation.x[0] else "too small")
    assert half.shape == (500, 5) and np.all(half[:, 0] > approximation.x[0])
    with pytest.raises(ConvergenceError, match="sample the posterior"):
        approximation.draw(jax.random.key(0), 1, lambda x: "never")


def test_bad_arguments():
    with pytest.raises(InputError, match="scaling 'mine'"):
        laplace(gaussian_fit(HESSIAN), scaling="mine")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="not finite"):
        laplace(gaussian_fit(HESSIAN * np.nan))
    result = gaussian_fit(HESSIAN)
    result.fields = result.fields.drop_vars([name for name in result.fields if str(name).startswith("observed_")])
    with pytest.raises(InputError, match="no observation"):
        laplace(result)


def test_observations_can_be_replaced():
    result, other = gaussian_fit(HESSIAN), MockPosterior(tracers=("DIP",)).observations
    assert laplace(result, other).number == other.tracers["DIP"].count


def test_error_bars_of_twins_cover_the_truth():
    """With independent noise the normalised errors of an estimate are standard normal (scaling over all boxes)."""
    scores = []
    for seed in range(12):
        posterior = MockPosterior(tracers=("DIP",), noise=0.05, seed=seed)
        posterior.table = posterior.table.freeze(["beta", "eta", "b_P_slope"]).with_values(
            {"beta": 0.4, "b_P_slope": 0.3}
        )
        posterior.model.table = posterior.table.with_values({"eta": 0.95})
        posterior.admissible = lambda x: None
        result = fit(posterior)
        assert result.converged
        approximation = laplace(result, scaling="all")
        truth = np.log([2.0, 0.9])
        scores.append((result.x - truth) / approximation.standard_deviation)
    assert 0.5 < np.std(scores) < 1.6


# ---------------------------------------------------------------- effective number


def field_of_noise(length, seed=0):
    """Residuals on a grid of 6 layers, 18 x 36 cells: white if length is 0, else smooth over `length` cells."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(6, 18, 36))
    if length:
        from scipy.ndimage import gaussian_filter

        noise = gaussian_filter(noise, (0, length, length), mode=("nearest", "nearest", "wrap"))
    coords = {
        "depth": np.array([25.0, 100.0, 300.0, 800.0, 2000.0, 4000.0]),
        "latitude": np.arange(-85.0, 90.0, 10.0),
        "longitude": np.arange(5.0, 360.0, 10.0),
    }
    dims = ("depth", "latitude", "longitude")
    volume = np.ones(noise.shape) * np.cos(np.radians(coords["latitude"]))[:, None]
    return xr.Dataset(
        {
            "model_O2": (dims, noise / noise.std()),
            "observed_O2": (dims, np.zeros_like(noise)),
            "volume": (dims, volume),
        },
        coords,
    )


def test_effective_number_falls_with_correlation():
    white = effective_number(field_of_noise(0), "O2")
    smooth = effective_number(field_of_noise(1.5), "O2")
    smoother = effective_number(field_of_noise(3.0), "O2")
    assert white.count == 6 * 18 * 36
    assert white.number > 0.5 * white.count
    assert white.number > 3 * smooth.number > 3 * smoother.number
    # exp(-d^2 / 4 s^2) integrates to s sqrt(pi): 1.5 cells of 1111 km at the equator
    assert 0.5 < smooth.horizontal_scale / (1.5 * 1.112e6 * np.sqrt(np.pi)) < 1.5
    assert smooth.vertical_scale < 200.0


def test_effective_number_of_a_uniform_offset_and_of_few_boxes():
    fields = field_of_noise(0)
    few = fields.assign(observed_O2=fields["observed_O2"].where(fields["latitude"] > 200))
    few["observed_O2"].values[0, 0, :2] = 0.0
    assert effective_number(few, "O2").number == 2
    shifted = fields.assign(model_O2=fields["model_O2"] + 5.0)
    assert effective_number(shifted, "O2").number == pytest.approx(effective_number(fields, "O2").number)


def test_a_saved_approximation_reads_back(tmp_path):
    approximation = laplace(gaussian_fit(HESSIAN))
    with xr.open_dataset(approximation.save(tmp_path / "laplace.nc")) as data:
        assert data["covariance_authors"].values == pytest.approx(approximation.covariance, rel=1e-15)
        assert list(data["parameter"].values) == list(approximation.names)
        assert list(data["direction_name"].values) == list(approximation.direction_names)
    assert replace(approximation, scale=1.0).scale == 1.0
