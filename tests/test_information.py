"""Who says what: influence against fits of perturbed data, shares of the variance, and what the data leave open."""

from dataclasses import replace

import numpy as np
import pytest
from mock_posterior import gaussian_fit

from invbgc.inference.fit import fit
from invbgc.inference.information import contraction, curvature_of, influence, influence_tables, uninformed
from invbgc.inference.laplace import laplace
from invbgc.inference.programs import UnknownScale
from invbgc.observations import Observations
from tests.oceans import few_box_posterior

# ---------------------------------------------------------------- influence

TRACERS = ("DIP", "DIC", "O2")


def quiet(line):
    pass


def with_values(posterior, tracer, box, change):
    """The posterior with one observation changed; weights stay."""
    tracers = dict(posterior.observations.tracers)
    value = tracers[tracer].value.copy()
    value[box] += change
    tracers[tracer] = replace(tracers[tracer], value=value)
    return posterior.with_data(Observations(tracers, posterior.model.grid), posterior.scales)


@pytest.fixture(scope="module", params=["known_scale", "unknown_scale_and_smooth_errors"])
def optimum(request):
    """A posterior of each kind and its optimum."""
    posterior = few_box_posterior()
    if request.param == "known_scale":
        posterior = posterior.with_data(posterior.observations, {"DIP": 4000.0, "DIC": 2000.0, "O2": 4000.0})
    else:
        rng, tracers = np.random.default_rng(0), {}
        for name, data in posterior.observations.tracers.items():
            basis = 0.1 * np.sqrt(data.variance) * rng.normal(size=(data.count, 4))
            tracers[name] = data.with_structure(basis)
        scales = {name: UnknownScale(15.0, 1e-4) for name in TRACERS}
        posterior = posterior.with_data(Observations(tracers, posterior.model.grid), scales)
    found = fit(posterior, gtol=1e-8, progress=quiet)
    assert found.status in ("converged", "stalled")
    return posterior, posterior.value_grad_hess(found.x)


@pytest.mark.parametrize("tracer", TRACERS)
def test_influence_is_how_the_optimum_moves_with_an_observation(optimum, tracer):
    """To 1 %, by fits to data whose most telling observation is changed either way, so that x moves by 0.003."""
    posterior, here = optimum
    found = influence(posterior, here, np.eye(5))[tracer]
    box = int(np.argmax(np.abs(found).max(axis=0)))
    change = 0.003 / np.abs(found[:, box]).max()
    more, less = (
        fit(with_values(posterior, tracer, box, step), here.x, gtol=1e-8, progress=quiet).x
        for step in (change, -change)
    )
    expected = (more - less) / (2.0 * change)
    np.testing.assert_allclose(found[:, box], expected, atol=0.01 * np.abs(expected).max())


def test_shares_of_tracers_and_priors_add_up_to_the_variance(optimum):
    """To that of the Gaussian, where the curvature is that of Gauss and Newton."""
    posterior, here = optimum
    here = replace(here, hessian=here.gauss_newton)
    gradients = np.random.default_rng(1).normal(size=(3, 5))
    moved = gradients @ np.linalg.inv(here.hessian)
    prior = np.einsum("kp,pq,kq->k", moved, posterior.prior_curvature(here.x), moved)
    north = np.broadcast_to(posterior.model.grid.latitude[:, None] > 0, posterior.model.grid.wet[0].shape)
    regions = {"north": north, "south": ~north}
    table = influence_tables(posterior, here, gradients, ["a", "b", "c"], ["1"] * 3, regions)
    variance = np.einsum("kp,kp->k", moved, gradients)
    np.testing.assert_allclose(table["standard_deviation"], np.sqrt(variance), rtol=1e-9)
    np.testing.assert_allclose(table["variance_share"].sum("tracer") + prior / variance, 1.0, rtol=1e-9)
    assert np.all(table["variance_share"] > 0) and np.all(prior / variance > 1e-3)
    np.testing.assert_allclose(table["region_share"].sum(("tracer", "region")), 1.0, rtol=1e-12)


def test_shares_are_of_the_variance_that_errors_cause_whatever_the_curvature(optimum):
    posterior, here = optimum
    moved = np.linalg.inv(here.hessian)
    prior, total = (
        np.einsum("kp,pq,kq->k", moved, part, moved)
        for part in (posterior.prior_curvature(here.x), curvature_of(posterior, here, TRACERS))
    )
    table = influence_tables(posterior, here, np.eye(5), posterior.names, ["1"] * 5)
    np.testing.assert_allclose(table["variance_share"].sum("tracer"), 1.0 - prior / total, rtol=1e-9)


def test_maps_add_the_squares_of_influence_times_error_down_a_column(optimum):
    posterior, here = optimum
    grid, data = posterior.model.grid, posterior.observations.tracers["DIC"]
    table = influence_tables(posterior, here, np.eye(5), posterior.names, ["1"] * 5)
    error = 1.0 / np.sqrt(posterior.slopes(here.state.fields)["DIC"] * data.weight)
    squares = (influence(posterior, here, np.eye(5))["DIC"] * error) ** 2
    column = grid.column[data.index] == 4
    j, i = np.argwhere(grid.wet[0])[4]
    found = table["weight_DIC"].isel(latitude=j, longitude=i)
    np.testing.assert_allclose(found, np.sqrt(squares[:, column].sum(axis=1)), rtol=1e-12)
    assert "region_share" not in table


def test_curvature_of_all_tracers_is_that_of_gauss_and_newton(optimum):
    posterior, here = optimum
    scale = np.abs(here.gauss_newton).max()
    np.testing.assert_allclose(curvature_of(posterior, here, TRACERS), here.gauss_newton, atol=1e-12 * scale)
    parts = sum(curvature_of(posterior, here, [name]) for name in TRACERS) - 2 * posterior.prior_curvature(here.x)
    np.testing.assert_allclose(parts, here.gauss_newton, atol=1e-12 * scale)


def test_a_twin_shares_what_was_compiled(optimum):
    posterior, _ = optimum
    assert posterior.programs is few_box_posterior().programs


# ---------------------------------------------------------------- what is informed

NAMES = ("a", "b", "c")


@pytest.mark.parametrize(
    ("curvature", "expected"),
    [
        (np.diag([100.0, 4.0, 25.0]), []),
        (np.diag([100.0, 0.01, 25.0]), ["b"]),
        (np.diag([1e-4, 0.01, 25.0]), ["a", "b"]),  # the loosest first
        (np.zeros((3, 3)), ["a", "b", "c"]),
        # Only the sum of a and b is known, b less well: with b frozen, a is known
        (np.array([[100.0, 99.0, 0.0], [99.0, 98.01, 0.0], [0.0, 0.0, 9.0]]), ["b"]),
        # What is said of a pair that the data do not tell apart counts once a prior holds both
        (np.array([[100.0, 100.0, 0.0], [100.0, 100.0, 0.0], [0.0, 0.0, 9.0]]) + 4.0 * np.eye(3), []),
    ],
)
def test_parameters_to_freeze_so_that_the_others_are_informed(curvature, expected):
    assert uninformed(curvature, NAMES) == expected


def test_the_limit_is_a_standard_deviation():
    assert uninformed(np.diag([4.0, 4.0, 4.0]), NAMES, limit=0.51) == []
    assert uninformed(np.diag([4.0, 5.0, 4.1]), NAMES, limit=0.49) == ["a", "c"]


def test_contraction_compares_with_the_prior():
    approximation = laplace(gaussian_fit(np.diag([4.0, 1.0, 16.0, 2.0, 100.0])), scaling="likelihood")
    table = approximation.table.with_prior("alpha", 2.0, 1.0).with_prior("b_P", 1.0, 0.25)
    found = contraction(replace(approximation, table=table))
    np.testing.assert_allclose(found["posterior_sd"], [0.5, 1.0, 0.25, 0.5**0.5, 0.1], rtol=1e-12)
    np.testing.assert_allclose(found["contraction"], [0.75, np.nan, 0.0, np.nan, np.nan], atol=1e-12)
    assert list(found["parameter"].values) == list(approximation.names)
