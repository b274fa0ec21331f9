"""Error models: correlated errors against dense matrices, and sizes of errors found again from residuals."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
import scipy.spatial
from threadpoolctl import threadpool_limits

from invbgc.circulation import coarsen, load_circulation
from invbgc.constants import EARTH_RADIUS
from invbgc.errors import InputError
from invbgc.inference import smooth as fields
from invbgc.inference import structured, twin
from invbgc.inference.correlogram import effective_number
from invbgc.inference.errors import estimate_errors, with_errors
from invbgc.inference.programs import UnknownScale, scale_slope, scaled
from invbgc.inference.smooth import SmoothFields
from invbgc.observations import Observations, TracerObservations, misfit

RNG = np.random.default_rng(3)


# ---------------------------------------------------------------- correlated errors and unknown scales


@pytest.fixture(scope="module")
def dense():
    """Random data of 12 boxes with 4 smooth fields, a residual, and the inverse of the dense covariance."""
    weight, basis = RNG.uniform(0.5, 2.0, 12), RNG.normal(size=(12, 4))
    data = TracerObservations("O2", np.arange(12), RNG.normal(size=12), weight, 0.0, 1.0, 1.0, 12)
    return data.with_structure(basis), RNG.normal(size=12), np.linalg.inv(np.diag(1.0 / weight) + basis @ basis.T)


def test_misfit_of_correlated_errors_is_the_dense_gaussian_form(dense):
    data, residual, precision = dense
    assert float(misfit(data.value + residual, data)) == pytest.approx(0.5 * residual @ precision @ residual, rel=1e-12)


def test_weighted_multiplies_by_the_inverse_covariance(dense):
    data, residual, precision = dense
    np.testing.assert_allclose(data.weighted(residual), precision @ residual, rtol=1e-11)
    np.testing.assert_allclose(data.weighted(np.eye(12)), precision, atol=1e-12)


def test_an_unknown_scale_touches_the_known_one_where_it_is_most_likely():
    scale = UnknownScale(40.0, 0.3)
    likely = 0.5 * scale.number * scale.reference
    assert float(scaled(scale, likely)) == pytest.approx(likely / scale.reference, rel=1e-14)
    assert scale_slope(scale, likely) == pytest.approx(1.0 / scale.reference, rel=1e-14)
    assert scaled(2.0, likely) == 2.0 * likely and scale_slope(2.0, likely) == 2.0


@pytest.mark.parametrize("q", [0.7, 6.0, 50.0])
def test_slope_of_an_unknown_scale_is_its_derivative(q):
    scale = UnknownScale(40.0, 0.3)
    assert float(jax.grad(lambda q: scaled(scale, q))(q)) == pytest.approx(float(scale_slope(scale, q)), rel=1e-14)


def test_an_unknown_scale_is_a_known_one_integrated_over_its_size():
    """-ln of the integral of s^(-n/2) exp(-q/s) ds/s, by quadrature, up to a constant."""
    scale, log_s = UnknownScale(12.0, 0.3), np.linspace(-9.0, 9.0, 20_001)

    def integrated(q):
        return -np.log(np.trapezoid(np.exp(-0.5 * scale.number * log_s - q * np.exp(-log_s)), log_s))

    change = float(scaled(scale, 4.0) - scaled(scale, 1.0))
    assert change == pytest.approx(integrated(4.0) - integrated(1.0), rel=1e-8)


# ---------------------------------------------------------------- errors found again

CASES = {  # independent error, smooth error, horizontal and vertical scale
    "middle_scales": (0.05, 0.10, 2.0e6, 0.5),
    "wide_and_shallow": (0.05, 0.05, 4.0e6, 0.25),
    "narrow_and_deep": (0.10, 0.05, 1.0e6, 1.0),
    "no_smooth_error": (0.05, 0.0, 2.0e6, 0.5),
}


@pytest.fixture(scope="module")
def smooth():
    """Smooth fields on the 8-degree ocean with its 17 layers joined to 7; fewer of them, to be quick."""
    grid = coarsen(load_circulation("embedded_8deg"), 1, 1, layers=[3, 2, 2, 2, 2, 2, 4]).grid
    # Threads that wait for each other while other tests run cost ten times the work itself.
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setattr(fields, "CANDIDATES", 1000)
        patch.setattr(fields, "FIELDS", 500)
        yield SmoothFields(grid)


def rms(values):
    return np.sqrt(np.mean(values**2))


def observed(grid, noise, structure, horizontal, vertical, seed=0, by_depth=np.ones_like):
    """A posterior with observations of two formulas, and the formulas; errors are drawn as random waves."""
    depth, latitude = grid.wet_depth / 1000.0, np.deg2rad(grid.wet_latitude)
    modelled = {
        "DIP": 2.2 * (1.0 - np.exp(-2.0 * depth)) * np.sin(latitude) ** 2,  # fades, and its smooth error with it
        "O2": 200.0 + 80.0 * np.sin(latitude) ** 2 - 100.0 * depth * np.exp(-depth),
    }
    everywhere = dict.fromkeys(modelled, np.arange(grid.n_wet))
    place = fields.places(grid, horizontal, vertical)
    made = twin.synthetic_observations(modelled, everywhere, grid, noise, structure, seed, -np.inf, place)
    size = by_depth(grid.wet_depth)
    data = Observations.from_fields({k: part.noisy + size * part.structured_error for k, part in made.items()}, grid)
    return stub(data, dict.fromkeys(modelled, 1.0)), modelled


def stub(data, scales, prior_factor=1.0):
    """What error models need of a posterior."""
    return SimpleNamespace(observations=data, scales=scales, model=SimpleNamespace(grid=data.grid), with_data=stub)


@pytest.mark.parametrize("case", CASES)
def test_sizes_and_scales_of_structured_errors_are_found_again(smooth, case):
    noise, structure, horizontal, vertical = CASES[case]
    posterior, modelled = observed(smooth.grid, *CASES[case])
    found = estimate_errors(posterior, modelled, "structured", smooth=smooth)
    np.testing.assert_allclose(found["independent_error"], noise, rtol=0.1)
    for name, data in posterior.observations.tracers.items():
        true = structure * np.minimum(np.sqrt(data.variance), np.abs(modelled[name]))
        size = found["smooth_size"].sel(tracer=name).values
        assert rms(size) == pytest.approx(rms(true), rel=0.2, abs=0.01 * np.sqrt(data.variance))
    if structure:
        assert list(found["horizontal_scale"].values) == [horizontal] * 2
        assert list(found["depth_scale"].values) == [vertical] * 2


def test_the_size_of_a_smooth_error_is_found_by_depth(smooth):
    """Five times as large at the surface as below 1,000 m."""
    posterior, modelled = observed(
        smooth.grid, *CASES["middle_scales"], by_depth=lambda z: 0.4 + 1.6 * np.exp(-z / 300)
    )
    data, depth = posterior.observations.tracers["O2"], smooth.grid.wet_depth
    size = estimate_errors(posterior, modelled, "structured", smooth=smooth)["smooth_size"].sel(tracer="O2").values
    true = 0.1 * np.sqrt(data.variance) * (0.4 + 1.6 * np.exp(-depth / 300))
    for layer in np.unique(depth):
        here = depth == layer
        assert rms(size[here]) == pytest.approx(rms(true[here]), rel=0.3)


def test_the_slope_of_a_profile_is_that_of_its_cost():
    number, depth = 60, np.sort(RNG.uniform(0.0, 4000.0, 60))
    place, residual = RNG.normal(size=(number, 3)), RNG.normal(size=number)
    cost = structured.profile_cost(fields.correlation(place, place), residual, structured.hats(depth))
    profile = RNG.normal(size=structured.KNOTS.size)
    steps = 1e-5 * np.eye(profile.size)
    differences = [(cost(profile + step)[0] - cost(profile - step)[0]) / 2e-5 for step in steps]
    np.testing.assert_allclose(cost(profile)[1], differences, rtol=1e-7)


@pytest.fixture(scope="module")
def middle(smooth):
    return observed(smooth.grid, *CASES["middle_scales"])


def test_paper_takes_one_scale_of_twice_the_misfit_per_observation(middle):
    posterior, modelled = middle
    posterior.scales = {"DIP": 1.0, "O2": 0.5}
    found = estimate_errors(posterior, modelled, "paper")
    terms = {k: float(misfit(modelled[k][o.index], o)) for k, o in posterior.observations.tracers.items()}
    number = sum(data.count for data in posterior.observations.tracers.values())
    s = 2.0 * (terms["DIP"] + 0.5 * terms["O2"]) / number
    np.testing.assert_allclose(found["scale"], [s, s / 0.5], rtol=1e-12)
    assert float(found["number"].sum()) == pytest.approx(number)
    honest = with_errors(posterior, found)
    assert honest.scales == pytest.approx({"DIP": 1.0 / s, "O2": 0.5 / s})
    posterior.scales = dict.fromkeys(modelled, 1.0)


def test_per_tracer_counts_what_the_correlation_of_residuals_leaves(middle, smooth):
    posterior, modelled = middle
    found = estimate_errors(posterior, modelled, "per_tracer")
    fields = posterior.observations.to_dataset().assign(volume=smooth.grid.unpack(smooth.grid.volume))
    for name in modelled:
        fields[f"model_{name}"] = smooth.grid.unpack(modelled[name])
        assert float(found["number"].sel(tracer=name)) == effective_number(fields, name).number < found["boxes"][0]


@pytest.mark.parametrize("kind", ["per_tracer", "structured"])
def test_an_estimated_scale_is_the_most_likely_one_at_the_fit(middle, smooth, kind):
    """Where the residuals are those it was estimated from, q = n s/2."""
    posterior, modelled = middle
    found = estimate_errors(posterior, modelled, kind, smooth=smooth)
    honest = with_errors(posterior, found, smooth)
    for name, data in honest.observations.tracers.items():
        scale = honest.scales[name]
        q = float(misfit(modelled[name][data.index], data))
        assert q == pytest.approx(0.5 * scale.number * scale.reference, rel=1e-9)
        assert (data.structure is None) == (kind == "per_tracer")


def test_smooth_fields_have_the_correlation_they_stand_for(smooth):
    grid, (length, deepening) = smooth.grid, (4.0e6, 1.0)
    i, j = np.random.default_rng(1).integers(0, grid.n_wet, (2, 3000))
    north, east = np.deg2rad(grid.wet_latitude), np.deg2rad(grid.wet_longitude)
    half_chord = np.sqrt(  # the haversine of the angle between two places
        np.sin(0.5 * (north[i] - north[j])) ** 2
        + np.cos(north[i]) * np.cos(north[j]) * np.sin(0.5 * (east[i] - east[j])) ** 2
    )
    along = (2.0 * half_chord) ** 2 + 3.0 * (north[i] - north[j]) ** 2
    down = np.log((100.0 + grid.wet_depth[i]) / (100.0 + grid.wet_depth[j])) / deepening
    squares = (EARTH_RADIUS / length) ** 2 * along + down**2
    left, right = (smooth.basis(boxes, length, deepening) for boxes in (i, j))
    np.testing.assert_allclose(np.sum(left * right, axis=1), np.exp(-0.5 * squares), atol=0.01)


def test_error_bars_of_smooth_fields_are_those_of_the_full_covariance(middle, smooth, monkeypatch):
    """Estimates of three smooth patterns spread as the covariance of low rank promises, but for 3 %."""
    posterior, modelled = middle
    found, grid = estimate_errors(posterior, modelled, "structured", smooth=smooth), smooth.grid
    monkeypatch.setattr(fields, "FIELDS", 1000)
    monkeypatch.setattr(fields, "CANDIDATES", 3000)
    smooth = SmoothFields(grid)
    design = np.stack([np.ones(grid.n_wet), np.sin(np.deg2rad(grid.wet_latitude)), np.exp(-grid.wet_depth / 500.0)])
    place = fields.places(grid, 2.0e6, 0.5)
    correlation = np.exp(-0.5 * scipy.spatial.distance.cdist(place, place, "sqeuclidean"))
    for name, data in with_errors(posterior, found, smooth).observations.tracers.items():
        row = found.sel(tracer=name)
        size = row["smooth_size"].values
        independent = float(row["scale"]) / posterior.observations.tracers[name].weight
        solved = data.weighted(design.T).T / float(row["scale"])
        promised = np.linalg.inv(design @ solved.T)
        true = promised @ solved @ (np.outer(size, size) * correlation + np.diag(independent)) @ solved.T @ promised
        np.testing.assert_allclose(np.sqrt(np.diag(true) / np.diag(promised)), 1.0, atol=0.03)


def test_every_box_keeps_the_whole_variance_of_its_error(middle, smooth):
    """What the smooth fields do not hold is not lost."""
    posterior, modelled = middle
    found = estimate_errors(posterior, modelled, "structured", smooth=smooth)
    row, data = found.sel(tracer="O2"), with_errors(posterior, found, smooth).observations.tracers["O2"]
    variance = float(row["scale"]) * np.diag(np.linalg.inv(data.weighted(np.eye(data.count))))
    independent = float(row["scale"]) / posterior.observations.tracers["O2"].weight
    np.testing.assert_allclose(variance, independent + row["smooth_size"] ** 2, rtol=1e-6)


def test_unknown_kinds_and_posteriors_of_unknown_scale_are_refused(middle):
    posterior, modelled = middle
    with pytest.raises(InputError, match=r"'mine'; expected one of paper, per_tracer, structured"):
        estimate_errors(posterior, modelled, "mine")
    unknown = stub(posterior.observations, dict.fromkeys(modelled, UnknownScale(10.0, 1.0)))
    with pytest.raises(InputError, match="unknown scales already"):
        estimate_errors(unknown, modelled, "paper")
