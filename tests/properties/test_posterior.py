"""The posterior and its derivatives on toy oceans, over circulations and the model's switches."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.joint import JointPosterior
from invbgc.diagnostics.budgets import budgets
from invbgc.errors import ConvergenceError
from invbgc.inference.posterior import Posterior
from invbgc.inference.programs import UnknownScale
from invbgc.inference.twin import synthetic_observations
from invbgc.linalg.backend import ON_A_GPU
from invbgc.linalg.memory import FactorMemory
from invbgc.linalg.system import KRYLOV_TOLERANCE, REFINE_ABOVE, Counters
from invbgc.models.pco import PCOModel, PCOOptions
from invbgc.observations import TRACERS, Observations
from invbgc.verify import hessian_symmetry, taylor_test, tendency_residuals
from tests.exact import residual
from tests.oceans import solved_once, toy_model
from tests.properties.cases import BACKENDS

ON_A_CPU = [case.values[0] for case in BACKENDS if case.values[0] not in ON_A_GPU]

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
    ("random_ocean_2x3", "labile"),
    ("column", "modelled_phosphate_exact_sinking_ocmip2"),
    ("random_ocean_2x3", "released"),
]


def make_posterior(circulation: str, options: str, backend: str = "superlu") -> tuple[Posterior, np.ndarray]:
    """Posterior of a toy ocean observed as the model itself with noise, and a point away from the optimum."""
    model = toy_model(circulation, OPTIONS[options])
    if backend != "superlu":
        model = PCOModel(model.circulation, model.forcing, model.options, model.table, backend)
    grid, truth = model.grid, model.table.to_vector()
    everywhere = Posterior(model, Observations.from_fields({"DIP": model.forcing.phosphate}, grid))
    state, boxes = solved_once(everywhere, truth, circulation, OPTIONS[options]), np.arange(grid.n_wet)
    made = synthetic_observations(state.observable, dict.fromkeys(TRACERS, boxes), grid, 0.02, 0.0, seed=1)
    fields = {tracer: np.full(grid.n_wet, np.nan) for tracer in TRACERS}
    for tracer, data in made.items():
        fields[tracer][data.index] = data.noisy
    return Posterior(model, Observations.from_fields(fields, grid)), truth + 0.03 * np.cos(np.arange(len(truth)))


made = cache(make_posterior)
"""The same posterior for all tests that do not change it: compiling one takes most of their time."""


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    posterior, x = made(*request.param)
    return posterior, posterior.value_grad_hess(x)


def test_taylor_orders_are_one_two_three(case):
    posterior, evaluation = case
    result = taylor_test(posterior, evaluation.x, evaluation=evaluation)
    assert bool(result["holds"].all()), result["observed"].values


def test_hessian_is_symmetric_as_computed(case):
    _, evaluation = case
    assert bool(hessian_symmetry(evaluation)["holds"].all())


def test_jax_route_agrees_with_the_fast_route(case):
    """As the potential of samplers: started from what is foreseen, and infinite beyond the limits of the model."""
    posterior, evaluation = case
    potential = jax.jit(jax.value_and_grad(posterior.potential(evaluation)))
    expected = posterior.value_grad(evaluation.x + 0.05 * np.sin(np.arange(len(evaluation.x))))
    value, gradient = potential(jnp.asarray(expected.x))
    np.testing.assert_allclose(value, expected.value, rtol=1e-9)
    np.testing.assert_allclose(gradient, expected.gradient, atol=1e-9 * np.abs(expected.gradient).max())
    outside = evaluation.x.copy()
    outside[posterior.names.index("sigma_P")] = 0.1
    assert posterior.admissible(outside) and potential(jnp.asarray(outside))[0] == np.inf


def test_a_compiled_loop_outlives_forgotten_factors(few_box):
    """A trajectory of a sampler is one program, which factors once, before its loop, what does not depend on x."""
    posterior, x = few_box
    potential = posterior.potential(posterior.value_grad_hess(x))
    steps = 1e-3 * np.sin(np.arange(len(x)))

    def add(i, total):
        return total + potential(jnp.asarray(x) + i * steps)

    one = jax.jit(add)
    expected = sum(float(one(i, 0.0)) for i in range(20))
    assert float(jax.jit(lambda: jax.lax.fori_loop(0, 20, add, 0.0))()) == pytest.approx(expected, rel=1e-9)


def test_gradient_against_high_order_differences(case):
    """Eighth-order central differences along one mixed direction, to 1e-7 of the slope."""
    posterior, evaluation = case
    direction = np.sin(1.0 + np.arange(len(evaluation.x)))
    h = 1e-3
    coefficients = {1: 4 / 5, 2: -1 / 5, 3: 4 / 105, 4: -1 / 280}
    slope = sum(
        c
        * (
            posterior.value(evaluation.x + k * h * direction).value
            - posterior.value(evaluation.x - k * h * direction).value
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
    _, evaluation = case
    table = budgets(evaluation.state)
    assert bool(table["holds"].all()), table.to_dataframe()


@pytest.fixture(scope="module")
def few_box():
    return made("few_box", "paper")


def test_full_hessian_by_jax_and_jit_equals_eager(few_box):
    posterior, x = few_box
    evaluation = posterior.value_grad_hess(x)
    hessian = jax.jit(jax.jacfwd(jax.grad(posterior.__call__)))(jnp.asarray(x))
    np.testing.assert_allclose(hessian, evaluation.hessian, atol=1e-9 * np.abs(evaluation.hessian).max())
    np.testing.assert_allclose(posterior(jnp.asarray(x)), evaluation.value, rtol=1e-10)


def test_what_was_compiled_ahead_is_what_is_called(caplog):
    """From shapes alone, and not once more when the arrays come."""

    def compiled() -> set[str]:
        names = set(re.findall(r"Finished XLA compilation of jit\((\w+)\)", caplog.text))
        caplog.clear()
        return names

    posterior, x = make_posterior("few_box", "labile")
    model = posterior.model
    posterior = Posterior(PCOModel(model.circulation, model.forcing, model.options), posterior.observations)
    with jax.log_compiles(), caplog.at_level("DEBUG", logger="jax"):
        posterior.programs.compile(posterior.data)
        ahead = compiled()
        posterior.value_grad_hess(x)
        later = compiled()
    assert {"steady_state", "forcing", "backward", "contracted"} <= ahead
    assert not ahead & later, later


def test_directional_derivative_by_jvp(few_box):
    posterior, x = few_box
    direction = np.cos(np.arange(21.0))
    _, slope = jax.jvp(posterior.__call__, (jnp.asarray(x),), (jnp.asarray(direction),))
    np.testing.assert_allclose(slope, posterior.value_grad(x).gradient @ direction, rtol=1e-9)


def test_one_evaluation_costs_what_theory_predicts(few_box):
    """Sensitivities: 7 solves of the P loop and 85 n-sized ones; one adjoint per stage; no new factor."""
    posterior, x = few_box
    base = posterior.value(x)
    evaluation = posterior.value_grad_hess(x, evaluation=base)
    sensitivities = {"phosphorus": 7, "DOC": 12, "DOCr": 15, "ALK": 20, "DIC": 20, "O2": 18}
    adjoints = len(posterior.model.stages)
    assert evaluation.stats["solves"] - base.stats["solves"] == sum(sensitivities.values()) + adjoints
    assert evaluation.stats["factorisations"] == base.stats["factorisations"]


def test_dissolution_rate_of_particles_changes_no_flux_and_no_misfit(few_box):
    posterior, x = few_box
    model = posterior.model
    faster = PCOModel(model.circulation, model.forcing, PCOOptions(kappa_p_days=15.0), model.table, "superlu")
    one, two = posterior.value(x), Posterior(faster, posterior.observations).value(x)
    np.testing.assert_allclose(two.value, one.value, rtol=1e-9)
    np.testing.assert_allclose(two.state.diagnostics["poc_flux"], one.state.diagnostics["poc_flux"], rtol=1e-9)
    np.testing.assert_allclose(2 * two.state.diagnostics["POC"], one.state.diagnostics["POC"], rtol=1e-9)


@pytest.mark.parametrize("backend", [case for case in BACKENDS if case.values != ("superlu",)])
def test_backends_agree(few_box, backend):
    posterior, x = few_box
    expected = posterior.value_grad(x).gradient
    other, _ = made("few_box", "paper", backend)
    np.testing.assert_allclose(other.value_grad(x).gradient, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "backend"),
    [*(("few_box", backend) for backend in ON_A_CPU), ("embedded_8deg", ON_A_CPU[0])],
)
def test_single_precision_factors_change_nothing(monkeypatch, name, backend):
    """On a CPU the phosphorus loop of large oceans is factored in single precision; here that of small ones is.

    The compiled model is used for both, with the loop of a model that counts as large in the place of its own.
    """
    arguments = (name, "paper") if backend == "superlu" else (name, "paper", backend)
    posterior, x = made(*arguments)
    model, evaluate = posterior.model, posterior.value_grad_hess if name == "few_box" else posterior.value_grad
    parts = ("gradient", "hessian") if name == "few_box" else ("gradient",)
    expected = evaluate(x)
    monkeypatch.setattr("invbgc.models.pco.model.SINGLE_ABOVE", 0)
    loop = PCOModel(model.circulation, model.forcing, model.options, model.table, backend).systems["phosphorus"]
    system = model.systems["phosphorus"]
    system.reset()
    assert loop._single and not system._single
    for attribute in ("_single", "_analysis"):
        monkeypatch.setattr(system, attribute, getattr(loop, attribute))
    monkeypatch.setattr(system, "counters", Counters())
    found = evaluate(x)
    counters = system.counters
    system.reset()  # of factors in single precision, before the next test
    np.testing.assert_allclose(found.value, expected.value, rtol=1e-10)
    for part in parts:
        wanted = getattr(expected, part)
        np.testing.assert_allclose(getattr(found, part), wanted, atol=1e-9 * np.abs(wanted).max())
    assert counters.krylov_iterations > 0 and counters.max_residual < 1e-12


@pytest.mark.parametrize(("name", "what"), [("few_box", "value_grad_hess"), ("embedded_8deg", "value_grad")])
def test_solves_leave_nothing_but_the_rounding_of_their_solutions(monkeypatch, name, what):
    """Over |b| a residual is as large as |A||x| times the rounding of x, up to 1e-6. With a second double for x, found
    by the same factor, it is below 1e-11: forward and transposed, of every stage."""
    posterior, x = made(name, "paper")
    solves = []

    def recorded(system, solve):
        def record(token, rhs, transposed=False, tolerance=KRYLOV_TOLERANCE):
            solution = solve(token, rhs, transposed, tolerance)
            if tolerance == KRYLOV_TOLERANCE:
                matrix = system._matrix(token)[0]
                column = [array.reshape(len(array), -1)[:, 0].copy() for array in (rhs, solution)]
                solves.append((matrix.T.tocsr() if transposed else matrix, *column, partial(solve, token), transposed))
            return solution

        return record

    for system in posterior.model.systems.values():
        monkeypatch.setattr(system, "solve", recorded(system, system.solve))
    getattr(posterior, what)(x)
    assert {transposed for *_, transposed in solves} == {False, True} and len(solves) >= 10
    for matrix, rhs, solution, solve, transposed in solves:
        left = residual(matrix, rhs, [solution])
        scale = abs(matrix).sum(axis=1).max() * np.abs(solution).max() + np.abs(rhs).max()
        assert np.abs(left).max() < REFINE_ABOVE * scale  # else the second double would hide a poor first one
        rest = solve(left, transposed)
        assert np.abs(residual(matrix, rhs, [solution, rest])).max() < 1e-11 * np.abs(rhs).max()


def test_states_nearby_are_foreseen_to_first_order(few_box):
    posterior, x = few_box
    here = posterior.value_grad_hess(x)
    errors = []
    for size in (0.02, 0.01, 0.005):
        there = posterior.value(x + size * np.sin(np.arange(len(x))))
        errors.append([np.abs(here.foreseen(there.x, name) - there.state.fields[name]).max() for name in ("DIC", "O2")])
    order = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    assert np.all(order > 1.9), order
    without = posterior.value(x)
    np.testing.assert_array_equal(without.foreseen(x + 1.0, "O2"), without.state.fields["O2"])


def test_starting_from_what_is_foreseen_saves_newton_steps(few_box):
    posterior, x = few_box
    here, there = posterior.value_grad_hess(x), x + 0.01
    cold, warm = (posterior.value(there, guess=guess) for guess in (None, here))
    assert warm.stats["iterations"]["O2"] < cold.stats["iterations"]["O2"]
    np.testing.assert_allclose(warm.value, cold.value, rtol=1e-10)


def test_a_small_memory_changes_no_result(few_box, monkeypatch):
    """The systems of the compiled model are given the memory that a model made with little of it hands to its own."""
    posterior, x = few_box
    model = posterior.model
    expected = posterior.value_grad_hess(x).hessian
    tight = PCOModel(model.circulation, model.forcing, PCOOptions(), model.table, "superlu", memory=1e-6)
    memory = FactorMemory(1e-6)
    for name, system in model.systems.items():
        system.reset()
        assert tight.systems[name]._memory is not None and tight.systems[name]._memory.limit == memory.limit
        memory.join(system)
        monkeypatch.setattr(system, "_memory", memory)
    found = posterior.value_grad_hess(x)
    assert all(len(system._live) <= 1 for system in model.systems.values())
    np.testing.assert_allclose(found.hessian, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["few_box", "column"])
def test_the_joint_pairwise_algorithm_finds_the_same_hessian(name):
    """An independent route: joint systems with their particles as unknowns, and a solve per pair of parameters."""
    posterior, x = made(name, "paper")
    ours = posterior.value_grad_hess(x)
    theirs = JointPosterior(posterior).evaluate(x, {k: np.asarray(v) for k, v in ours.state.fields.items()})
    np.testing.assert_allclose(theirs["value"], ours.value, rtol=1e-8)  # its inventories are exact to 1e-10 only
    np.testing.assert_allclose(theirs["gradient"], ours.gradient, atol=1e-8 * np.abs(ours.gradient).max())
    np.testing.assert_allclose(theirs["hessian"], ours.hessian, atol=1e-8 * np.abs(ours.hessian).max())
    assert [count["solves"] >= 252 for count in theirs["counts"].values()] == [True] * 3


def test_unknown_scales_and_correlated_errors_have_exact_derivatives(few_box):
    posterior, x = few_box
    rng, tracers = np.random.default_rng(2), {}
    for name, data in posterior.observations.tracers.items():
        tracers[name] = data.with_structure(0.1 * np.sqrt(data.variance) * rng.normal(size=(data.count, 3)))
    scales = {name: UnknownScale(20.0, 1e-3) for name in tracers} | {"DOC": 500.0}
    honest = posterior.with_data(Observations(tracers, posterior.model.grid), scales)
    here = honest.value_grad_hess(x)
    taylor = taylor_test(honest, x, steps=[0.004 * 0.5**i for i in range(6)], evaluation=here)
    assert bool(taylor["holds"].all()), taylor["observed"].values
    assert bool(hessian_symmetry(here)["holds"].all())
    direction, h = np.cos(np.arange(len(x))), 1e-4
    slope = (honest.value(x + h * direction, here).value - honest.value(x - h * direction, here).value) / (2 * h)
    assert slope == pytest.approx(here.gradient @ direction, rel=1e-6)


def test_frozen_parameters_leave_x(few_box):
    posterior, x = few_box
    model, names = posterior.model, ("d_PIC", "beta")
    table = posterior.table.fitted(x).freeze(names)
    frozen = Posterior(
        PCOModel(model.circulation, model.forcing, PCOOptions(), table, "superlu"), posterior.observations
    )
    keep = [i for i, name in enumerate(posterior.names) if name not in names]
    part = frozen.value_grad_hess(frozen.x0)
    np.testing.assert_allclose(frozen.x0, x[keep], rtol=1e-12)
    full = posterior.value_grad_hess(x).hessian[np.ix_(keep, keep)]
    np.testing.assert_allclose(part.hessian, full, atol=1e-8 * np.abs(full).max())


@pytest.mark.parametrize(
    ("text", "raised"), [("KeyboardInterrupt: ", KeyboardInterrupt), ("out of memory", ValueError)]
)
def test_an_interrupt_around_a_callback_stays_one(few_box, monkeypatch, text, raised):
    posterior, x = few_box

    def broken(*_):
        raise ValueError(f"INTERNAL: CpuCallback error calling callback: Traceback ... {text}")

    monkeypatch.setitem(posterior.model.__dict__, "steady", broken)
    with pytest.raises(raised):
        posterior.value(x)


def test_inadmissible_parameters_are_named(few_box):
    posterior, x = few_box
    bad = x.copy()
    bad[posterior.names.index("sigma_P")] = 0.1
    assert "sigma_P" in posterior.admissible(bad)
    assert posterior.admissible(x) is None


def test_a_model_without_steady_state_says_so(few_box):
    """A loss rate too large for any number: the failed solve is reported, not hidden."""
    posterior, x = few_box
    bad = x.copy()
    bad[posterior.names.index("kappa_dC")] = 800.0
    with pytest.raises(ConvergenceError, match=r"not finite|no steady state|close to singular"):
        posterior.value(bad)
    assert np.isnan(posterior(jnp.asarray(bad)))
