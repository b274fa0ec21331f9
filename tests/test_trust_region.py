"""Trust-region Newton on functions whose answer is known."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.subproblem import solve_subproblem
from invbgc.inference.trust_region import TrustRegionOptions, minimise, start, step


class Function:
    """A JAX function as an objective; `fails` says where the model has no steady state, `bad` where x is forbidden."""

    def __init__(self, function, fails=lambda x: False, bad=lambda x: None):
        self.function, self.fails, self.admissible = function, fails, bad
        self.derivatives = jax.jit(lambda x: (jax.grad(function)(x), jax.hessian(function)(x)))
        self.values = self.completed = 0

    def evaluation(self, x, value, gradient=None, hessian=None, gauss_newton=None):
        parts = {"value": value, "gradient": gradient, "hessian": hessian, "gauss_newton": gauss_newton}
        return SimpleNamespace(x=x, state=None, stats={}, **parts)

    def value(self, x, guess=None):
        self.values += 1
        if self.fails(x):
            raise ConvergenceError("the mock does not converge here")
        return self.evaluation(x, float(self.function(x)))

    def value_grad(self, x, guess=None, evaluation=None):
        base = evaluation if evaluation is not None else self.value(x, guess)
        gradient = np.asarray(self.derivatives(x)[0])
        return self.evaluation(x, base.value, gradient)

    def value_grad_hess(self, x, guess=None, evaluation=None):
        base = evaluation if evaluation is not None else self.value(x, guess)
        assert np.array_equal(base.x, x)
        self.completed += 1
        gradient, hessian = (np.asarray(part) for part in self.derivatives(x))
        return self.evaluation(x, base.value, gradient, hessian)


class SumOfSquares(Function):
    """1/2 r^T r, with its Gauss-Newton matrix."""

    def __init__(self, residual, **more):
        super().__init__(lambda x: 0.5 * jnp.sum(residual(x) ** 2), **more)
        self.residual, self.jacobian = residual, jax.jit(jax.jacfwd(residual))

    def value_grad_hess(self, x, guess=None, evaluation=None):
        result = super().value_grad_hess(x, guess, evaluation)
        jacobian = np.asarray(self.jacobian(x))
        result.gauss_newton = jacobian.T @ jacobian
        return result

    def chord_gradient(self, evaluation, trial):
        return np.asarray(self.jacobian(evaluation.x)).T @ np.asarray(self.residual(trial.x))


def rosenbrock(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def run(objective, x, limit=200, **settings):
    options = TrustRegionOptions(**settings)
    visited = []
    last = minimise(objective, start(objective, np.asarray(x, float), options), options, limit, visited.append)
    return last, visited


# ---------------------------------------------------------------- the subproblem


@pytest.mark.parametrize("seed", range(20))
def test_subproblem_satisfies_the_optimality_conditions(seed):
    rng = np.random.default_rng(seed)
    p = int(rng.integers(1, 9))
    matrix = rng.normal(size=(p, p)) * 10.0 ** rng.integers(-4, 5)
    hessian = matrix + matrix.T
    gradient = rng.normal(size=p) * 10.0 ** rng.integers(-8, 3)
    radius = 10.0 ** rng.uniform(-3, 1)
    found = solve_subproblem(gradient, hessian, radius)
    assert np.linalg.norm(found.step) <= radius * (1 + 1e-12)
    assert np.linalg.eigvalsh(hessian)[0] + found.multiplier >= -1e-10 * np.abs(hessian).max()
    residual = hessian @ found.step + found.multiplier * found.step + gradient
    assert np.abs(residual).max() <= 1e-9 * max(np.abs(gradient).max(), np.abs(hessian).max() * radius)
    assert found.boundary == pytest.approx(found.multiplier > 0, abs=0)
    for _ in range(50):  # nothing inside the ball is better
        other = rng.normal(size=p)
        other *= radius * rng.uniform() / np.linalg.norm(other)
        assert -(gradient @ other + 0.5 * other @ hessian @ other) <= found.predicted * (1 + 1e-9)


@pytest.mark.parametrize("slope", [0.0, 1e-300, 1e-20, -1e-14, 1e-9])
def test_hard_and_nearly_hard_case(slope):
    hessian = np.diag([-2.0, 1.0, 3.0])
    gradient = np.array([slope, 1.0, 1.0])
    found = solve_subproblem(gradient, hessian, 1.0)
    expected = np.array([0.0, -1 / 3, -1 / 5])  # with multiplier 2
    assert found.step[1:] == pytest.approx(expected[1:], abs=1e-8)
    assert np.linalg.norm(found.step) == pytest.approx(1.0, abs=1e-12)
    assert found.step[0] * slope <= 0
    assert found.multiplier == pytest.approx(2.0, abs=1e-8)
    assert found.min_eigenvalue == -2.0


def test_pure_saddle_moves_along_the_lowest_eigenvector():
    found = solve_subproblem(np.zeros(2), np.diag([-1.0, 1.0]), 0.5)
    assert found.hard_case
    assert np.abs(found.step) == pytest.approx([0.5, 0.0])
    assert found.predicted == pytest.approx(0.125)


# ---------------------------------------------------------------- the search


def test_quadratic_in_one_step():
    hessian = np.diag([1e-4, 1.0, 50.0])
    centre = np.array([0.1, -0.1, 0.05])
    objective = Function(lambda x: 0.3 + 0.5 * (x - centre) @ hessian @ (x - centre))
    last, visited = run(objective, np.zeros(3), start_radius=1.0)
    assert len(visited) == 1 and last.status == "converged"
    assert last.x == pytest.approx(centre, abs=1e-12)
    assert (objective.values, objective.completed) == (2, 2)
    assert last.evaluations == 2
    assert last.min_eigenvalue == pytest.approx(1e-4)


def test_start_at_the_minimum_is_converged_at_once():
    last, visited = run(Function(lambda x: jnp.sum(x**2)), np.zeros(2))
    assert last.status == "converged" and not visited and last.evaluations == 1


def test_rosenbrock_in_five_dimensions():
    objective = Function(rosenbrock)
    last, visited = run(objective, [1.2, 0.4, -0.5, 0.8, 1.5])
    assert last.status == "converged"
    assert last.x == pytest.approx(np.ones(5), abs=1e-7)
    assert last.evaluations < 60
    accepted = sum(state.trial.accepted for state in visited)
    assert objective.completed == accepted + 1, "a rejected trial must not pay for derivatives"
    assert objective.values == last.evaluations
    values = [state.evaluation.value for state in visited]
    assert np.all(np.diff(values) <= 0)


def two_decays(x):
    """Misfit of a sum of two exponentials in logarithms of its parameters: the typical ill-conditioned fit."""
    time = jnp.linspace(0.0, 4.0, 40)
    p = jnp.exp(x)
    model = p[0] * jnp.exp(-p[1] * time) + p[2] * jnp.exp(-p[3] * time)
    return model - (3.0 * jnp.exp(-0.4 * time) + 2.0 * jnp.exp(-3.0 * time))


@pytest.mark.parametrize("seed", range(6))
def test_sums_of_squares_from_far_away(seed):
    begin = np.log([3.0, 0.4, 2.0, 3.0]) + np.random.default_rng(seed).normal(size=4) * 1.5
    last, _ = run(SumOfSquares(two_decays), begin)
    assert last.status == "converged" and last.evaluations < 30
    pairs = np.exp(last.x).reshape(2, 2)
    assert pairs[np.argsort(pairs[:, 1])] == pytest.approx(np.array([[3.0, 0.4], [2.0, 3.0]]), rel=1e-5)


def bent_valley(residuals_left):
    """A valley along y = sin(3 x), a hundred times as steep across as along, with its floor at x = 2."""
    return lambda x: jnp.array([10.0 * (x[1] - jnp.sin(3.0 * x[0])), 0.1 * (x[0] - 2.0), residuals_left])


def test_correction_follows_a_bent_valley():
    begin = [-1.5, float(np.sin(-4.5))]
    objective = SumOfSquares(bent_valley(0.0))
    last, visited = run(objective, begin)
    assert last.status == "converged" and last.x[0] == pytest.approx(2.0, abs=1e-6)
    corrected = [state.trial for state in visited if "corrected" in state.trial.reason]
    assert corrected, "a straight step leaves this valley"
    assert all(trial.accepted and len(trial.stats) == 2 for trial in corrected)
    assert objective.values == last.evaluations
    assert objective.completed == sum(state.trial.accepted for state in visited) + 1


def test_large_residuals_do_not_spoil_convergence():
    # Gauss-Newton alone creeps, or diverges, where the residuals at the minimum are large.
    def residual(x):
        return jnp.array([x[0] + 1.0, 5.0 * x[0] ** 2 + x[0] - 1.0, x[1] - x[0] ** 2, jnp.exp(0.5 * x[1]) - 3.0])

    last, _ = run(SumOfSquares(residual), [1.0, 1.0])
    assert last.status == "converged" and last.min_eigenvalue > 0
    assert last.evaluations < 25


def test_leaves_a_saddle_point():
    def double_well(x):
        return x[0] ** 4 / 4 - x[0] ** 2 / 2 + 0.5 * x[1] ** 2

    last, _ = run(Function(double_well), np.zeros(2))
    assert last.status == "converged" and last.min_eigenvalue > 0
    assert np.abs(last.x) == pytest.approx([1.0, 0.0], abs=1e-7)


def test_indefinite_start():
    def wells(x):
        return jnp.sum(1.0 - jnp.cos(x)) + 0.02 * jnp.sum(x**2)

    objective = Function(wells)
    begin = np.array([2.6, -2.2, 2.0])
    assert np.linalg.eigvalsh(np.asarray(jax.hessian(wells)(begin)))[0] < 0
    last, _ = run(objective, begin)
    assert last.status == "converged" and last.min_eigenvalue > 0
    assert last.x == pytest.approx(np.zeros(3), abs=1e-7)


def test_backs_off_from_nan_from_failures_and_from_forbidden_points():
    # The unconstrained Newton step from the start lands beyond x = -0.2 where the model does not exist.
    def function(x):
        return jnp.where(x[0] > -0.2, (x[0] - 1e-3) ** 2 + 0.1 * (x[0] - 1e-3) ** 4 + x[1] ** 2, jnp.nan)

    begin = [3.0, 0.1]
    kinds = {
        "not finite": Function(function),
        "no steady state": Function(
            lambda x: (x[0] - 1e-3) ** 2 - 0.02 * x[0] ** 3 + x[1] ** 2, fails=lambda x: abs(x[0] - 1.5) < 1.2
        ),
        "inadmissible": Function(
            lambda x: (x[0] - 1e-3) ** 2 - 0.02 * x[0] ** 3 + x[1] ** 2,
            bad=lambda x: "too close to the wall" if abs(x[0] - 1.5) < 1.2 else None,
        ),
    }
    for word, objective in kinds.items():
        last, visited = run(objective, begin, start_radius=1.0, max_radius=10.0)
        reasons = [state.trial.reason for state in visited if not state.trial.accepted]
        if word == "not finite":
            assert last.status == "converged"
            assert last.x == pytest.approx([1e-3, 0.0], abs=1e-6)
        else:  # the wall lies between the start and the minimum: honest failure, at the wall, never beyond
            assert last.status == "failed" and word in last.message
            assert last.x[0] == pytest.approx(2.7, abs=1e-6) and last.x[0] >= 2.7
            assert any(word in reason for reason in reasons)
    assert kinds["inadmissible"].values < kinds["no steady state"].values, "forbidden points are not evaluated"


def test_nan_region_next_to_the_minimum():
    objective = Function(lambda x: jnp.where(x[0] < 0.0, jnp.nan, (jnp.sqrt(jnp.abs(x[0])) - 0.1) ** 2 + x[0] ** 2))
    last, visited = run(objective, [2.0], start_radius=2.5)
    assert last.status == "converged"
    assert any("not finite" in state.trial.reason for state in visited)


def test_round_off_is_recognised_as_a_stall():
    rng = np.random.default_rng(0)

    class Noisy(Function):
        def value_grad_hess(self, x, guess=None, evaluation=None):
            result = super().value_grad_hess(x, guess, evaluation)
            result.gradient = result.gradient + 1e-7 * rng.normal(size=len(x))
            return result

    last, _ = run(Noisy(lambda x: 0.3 + jnp.sum(x**2) + jnp.sum(x**4)), [0.2, 0.1])
    assert last.status == "stalled"
    assert "round-off" in last.message
    assert np.abs(last.evaluation.gradient).max() < 1e-5
    assert last.x == pytest.approx([0, 0], abs=1e-6)


def test_wrong_gradient_is_not_called_convergence():
    class Wrong(Function):
        def value_grad_hess(self, x, guess=None, evaluation=None):
            result = super().value_grad_hess(x, guess, evaluation)
            result.gradient = -result.gradient
            return result

    last, _ = run(Wrong(lambda x: 0.3 + jnp.sum(x**2)), [0.4, 0.3])
    assert last.status == "failed"
    assert last.x == pytest.approx([0.4, 0.3])


def test_step_is_pure():
    objective, options = Function(rosenbrock), TrustRegionOptions()
    state = start(objective, np.array([-1.2, 1.0]), options)
    first, second = step(objective, state, options), step(objective, state, options)
    assert np.array_equal(first.x, second.x) and first.radius == second.radius
    assert state.iteration == 0 and first.iteration == 1


def test_bad_starts_and_settings_are_refused():
    with pytest.raises(InputError, match="not admissible: forbidden"):
        run(Function(rosenbrock, bad=lambda x: "forbidden"), [0.0, 0.0])
    with pytest.raises(InputError, match="starting point"):
        run(Function(lambda x: jnp.log(x[0])), [-1.0])
    with pytest.raises(InputError, match="gtol"):
        TrustRegionOptions(gtol=0.0)
    with pytest.raises(InputError, match="max_radius"):
        TrustRegionOptions(start_radius=5.0)
