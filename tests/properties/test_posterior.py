"""The posterior and its derivatives on toy oceans, over circulations and the model's switches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.datasets.idealised import idealised_forcing
from invbgc.diagnostics.budgets import budgets
from invbgc.inference.posterior import Posterior
from invbgc.inference.twin import synthetic_observations
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.observations import TRACERS, Observations
from invbgc.verify import hessian_symmetry, taylor_test, tendency_residuals
from tests.properties.cases import CIRCULATIONS

OPTIONS = {
    "paper": PCOOptions(),
    "released": PCOOptions(exponent_layers=3, chemistry_units="released"),
    "labile": PCOOptions(labile="satellite_residual", labile_fraction=0.05),
    "modelled_phosphate_exact_sinking_ocmip2": PCOOptions(
        c_to_p="modelled_phosphate", sinking="exact", atmosphere="ocmip2"
    ),
}

CASES = [
    ("few_box", "paper"),
    ("few_box", "released"),
    ("few_box", "labile"),
    ("few_box", "modelled_phosphate_exact_sinking_ocmip2"),
    ("column", "paper"),
    ("random_ocean_2x3", "paper"),
]


def make_posterior(circulation: str, options: str, backend: str = "superlu", freeze=()) -> Posterior:
    """Posterior of a toy ocean whose observations are the model at the published parameters, with noise."""
    ocean = CIRCULATIONS[circulation]()
    forcing = idealised_forcing(ocean.grid)
    truth = PCOModel(ocean, forcing, OPTIONS[options], pco_parameters("published"), backend)
    everywhere = Observations.from_fields({"DIP": forcing.phosphate}, ocean.grid)
    observable = Posterior(truth, everywhere).simulate(truth.table.to_vector()).observable
    boxes = np.arange(ocean.grid.n_wet)
    made = synthetic_observations(observable, dict.fromkeys(TRACERS, boxes), ocean.grid, 0.02, 0.0, seed=1)
    fields = {tracer: np.full(ocean.grid.n_wet, np.nan) for tracer in TRACERS}
    for tracer, data in made.items():
        fields[tracer][data.index] = data.noisy
    start = pco_parameters("published").freeze(freeze)
    shift = 0.1 * np.cos(np.arange(len(start.free)))
    start = start.fitted(start.to_vector() + shift * np.where(start.to_vector() == 0, 1, 0.3))
    if start["eta"].value >= 1:
        start = start.with_values({"eta": 0.97})
    model = PCOModel(ocean, forcing, OPTIONS[options], start, backend)
    return Posterior(model, Observations.from_fields(fields, ocean.grid))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    posterior = make_posterior(*request.param)
    return posterior, posterior.value_grad_hess(posterior.x0)


def test_taylor_orders_are_one_two_three(case):
    posterior, evaluation = case
    result = taylor_test(posterior, posterior.x0, evaluation=evaluation)
    assert bool(result["holds"].all()), result["observed"].values


def test_hessian_is_symmetric_as_computed(case):
    _, evaluation = case
    assert bool(hessian_symmetry(evaluation)["holds"].all())


def test_jax_route_agrees_with_the_fast_route(case):
    posterior, evaluation = case
    x = jnp.asarray(posterior.x0)
    value, gradient = jax.jit(jax.value_and_grad(posterior.__call__))(x)
    np.testing.assert_allclose(value, evaluation.value, rtol=1e-9)
    np.testing.assert_allclose(gradient, evaluation.gradient, atol=1e-9 * np.abs(evaluation.gradient).max())


def test_gradient_against_high_order_differences(case):
    """Eighth-order central differences along one mixed direction, to 1e-7 of the slope."""
    posterior, evaluation = case
    direction = np.sin(1.0 + np.arange(len(posterior.x0)))
    h = 1e-3
    coefficients = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    slope = sum(
        c
        * (
            posterior.value(posterior.x0 + k * h * direction).value
            - posterior.value(posterior.x0 - k * h * direction).value
        )
        for k, c in coefficients.items()
    )
    expected = evaluation.gradient @ direction
    scale = np.abs(evaluation.gradient * direction).max()
    assert abs(slope / h - expected) < 1e-7 * scale


def test_steady_state_has_no_tendency(case):
    _, evaluation = case
    assert bool(tendency_residuals(evaluation.state)["holds"].all())


def test_global_budgets_close(case):
    posterior, evaluation = case
    if posterior.model.options.atmosphere == "ocmip2":
        pytest.skip("covered by the other cases")
    table = budgets(evaluation.state)
    assert bool(table["holds"].all()), table.to_dataframe()


@pytest.fixture(scope="module")
def few_box():
    return make_posterior("few_box", "paper")


def test_full_hessian_by_jax_and_jit_equals_eager(few_box):
    x = jnp.asarray(few_box.x0)
    evaluation = few_box.value_grad_hess(few_box.x0)
    hessian = jax.jit(jax.jacfwd(jax.grad(few_box.__call__)))(x)
    np.testing.assert_allclose(hessian, evaluation.hessian, atol=1e-9 * np.abs(evaluation.hessian).max())
    np.testing.assert_allclose(few_box(x), jax.jit(few_box.__call__)(x), rtol=1e-10)


def test_directional_derivative_by_jvp(few_box):
    x, direction = jnp.asarray(few_box.x0), jnp.cos(jnp.arange(21.0))
    _, slope = jax.jvp(few_box.__call__, (x,), (direction,))
    np.testing.assert_allclose(slope, few_box.value_grad(few_box.x0).gradient @ direction, rtol=1e-9)


def test_one_evaluation_costs_what_theory_predicts(few_box):
    """State, 21 sensitivities and one adjoint: 93 and 8 n-sized solves, two per unknown of the P loop."""
    base = few_box.value(few_box.x0)
    evaluation = few_box.value_grad_hess(few_box.x0, evaluation=base)
    extra = evaluation.stats["solves"] - base.stats["solves"]
    # Columns: P loop 7 (+1 adjoint), DOC 12, DOCr 15, ALK 20, DIC 20, O2 18, and one adjoint each.
    assert extra == (7 + 12 + 15 + 20 + 20 + 18) + 6
    assert evaluation.stats["factorisations"] == base.stats["factorisations"]


def test_dissolution_rate_of_particles_changes_no_flux_and_no_misfit(few_box):
    model = few_box.model
    faster = PCOModel(model.circulation, model.forcing, PCOOptions(kappa_p_days=15.0), model.table, "superlu")
    one, two = few_box.value(few_box.x0), Posterior(faster, few_box.observations).value(few_box.x0)
    np.testing.assert_allclose(two.value, one.value, rtol=1e-9)
    np.testing.assert_allclose(two.state.diagnostics["poc_flux"], one.state.diagnostics["poc_flux"], rtol=1e-9)
    np.testing.assert_allclose(2 * two.state.diagnostics["POC"], one.state.diagnostics["POC"], rtol=1e-9)


def test_backends_agree(few_box):
    from invbgc.linalg.backend import available_backends

    values = [make_posterior("few_box", "paper", name).value_grad(few_box.x0) for name in available_backends()]
    for other in values[1:]:
        np.testing.assert_allclose(other.gradient, values[0].gradient, atol=1e-9 * np.abs(values[0].gradient).max())


def test_frozen_parameters_leave_x(few_box):
    frozen = make_posterior("few_box", "paper", freeze=("d_PIC", "beta"))
    assert len(frozen.x0) == 19
    full = few_box.value_grad_hess(few_box.x0)
    keep = [i for i, name in enumerate(few_box.names) if name in frozen.names]
    x = frozen.table.with_values(few_box.table.values).to_vector()
    same = Posterior(
        PCOModel(few_box.model.circulation, few_box.model.forcing, PCOOptions(),
                 few_box.table.freeze(("d_PIC", "beta")), "superlu"),
        few_box.observations,
    ).value_grad_hess(x)  # fmt: skip
    np.testing.assert_allclose(same.hessian, full.hessian[np.ix_(keep, keep)], rtol=1e-7, atol=1e-9)


def test_inadmissible_parameters_are_named(few_box):
    x = few_box.x0.copy()
    x[few_box.names.index("sigma_P")] = 0.1
    assert "sigma_P" in few_box.admissible(x)
    assert few_box.admissible(few_box.x0) is None
