"""The JAX-facing sparse solve: values and derivatives of every order, for every backend, on every circulation."""

from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.errors import ConvergenceError, InputError
from invbgc.linalg.backend import available_backends, find_backend
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.solve import linear_solve
from invbgc.linalg.system import SparseSystem
from tests.properties.cases import CIRCULATIONS

SMALL = ["two_box", "few_box", "column"]


@pytest.fixture(params=SMALL)
def transport(request):
    return CIRCULATIONS[request.param]().transport


@pytest.fixture(params=available_backends())
def system(request, transport):
    return SparseSystem(ShiftedTransport(transport, RowProduct(transport)), "test", request.param)


def both_routes(system, transport):
    """The same function of three numbers by the sparse solve and by a dense solve."""
    n = transport.shape[0]
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(n, 3)))
    dense = jnp.asarray(transport.toarray()) * 1e8

    def through(solve):
        return lambda p: jnp.sum(jnp.sin(solve(jnp.exp(weights @ p), jnp.cos(weights @ p[::-1]))))

    sparse = through(lambda d, b: linear_solve(system, (d * 1e-8,), b * 1e-8))
    return sparse, through(lambda d, b: jnp.linalg.solve(dense + jnp.diag(d), b))


def test_derivatives_of_every_order_agree_with_a_dense_solve(system, transport):
    sparse, dense = both_routes(system, transport)
    p = jnp.array([0.1, -0.3, 0.2])
    for transform in (
        lambda f: f,
        jax.jit,
        jax.grad,
        lambda f: jax.jit(jax.jacfwd(jax.grad(f))),
        lambda f: jax.jacrev(jax.grad(f)),
        lambda f: jax.jacfwd(jax.jacfwd(jax.grad(f))),
    ):
        np.testing.assert_allclose(transform(sparse)(p), transform(dense)(p), rtol=1e-9, atol=1e-9)


def test_one_factorisation_serves_value_gradient_and_hessian(system, transport):
    sparse, _ = both_routes(system, transport)
    jax.jit(jax.jacfwd(jax.grad(sparse)))(jnp.array([0.1, -0.3, 0.2]))
    assert system.counters.factorisations == 1


def test_mapped_parameters_give_one_factorisation_each(system, transport):
    sparse, dense = both_routes(system, transport)
    points = jnp.array([[0.1, -0.3, 0.2], [0.0, 0.2, 0.1]])
    np.testing.assert_allclose(jax.vmap(sparse)(points), jax.vmap(dense)(points), rtol=1e-9)
    assert system.counters.factorisations == 2
    assert system.counters.analyses == 1


def test_a_forgotten_factor_is_made_again_for_a_late_pullback(system, transport):
    sparse, dense = both_routes(system, transport)
    p = jnp.array([0.1, -0.3, 0.2])
    _, late = jax.vjp(sparse, p)
    for token in list(range(1, 10)):
        system.forget(token)
    np.testing.assert_allclose(late(1.0)[0], jax.grad(dense)(p), rtol=1e-9)
    assert system.failure is None


def test_independent_solves_in_many_threads(system):
    # JAX runs callbacks that do not depend on each other side by side.
    rng = np.random.default_rng(5)
    diagonals = 1e-8 + 1e-9 * rng.random((12, system.operator.size))
    rhs = rng.normal(size=system.operator.size)

    def solved(diagonal):
        return system.solve(system.factorise(diagonal), rhs)

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(solved, diagonals))
    for diagonal, found in zip(diagonals, together, strict=True):
        np.testing.assert_allclose(found, solved(diagonal), rtol=1e-12)


def test_transposed_solve_is_the_adjoint(system):
    rng = np.random.default_rng(1)
    token = system.factorise(1e-8 + 1e-9 * rng.random(system.operator.size))
    a, b = rng.normal(size=(2, system.operator.size, 4))
    forward, backward = system.solve(token, a), system.solve(token, b, transposed=True)
    np.testing.assert_allclose(np.sum(b * forward), np.sum(backward * a), rtol=1e-10)
    assert system.counters.solves == 8
    assert system.counters.max_residual < 1e-14


def test_a_released_factor_is_made_again_from_its_token(system):
    rng = np.random.default_rng(2)
    diagonal = 1e-8 + 1e-9 * rng.random(system.operator.size)
    token = system.factorise(diagonal)
    rhs = rng.normal(size=system.operator.size)
    before = system.solve(token, rhs)
    system.release(token)
    np.testing.assert_array_equal(system.solve(token, rhs), before)
    assert system.factorise(diagonal) == token
    assert system.counters.factorisations == 2


def test_least_recently_used_factor_makes_room(transport):
    system = SparseSystem(ShiftedTransport(transport, RowProduct(transport)), "test", "superlu", keep=2)
    for rate in (1e-8, 2e-8, 3e-8):
        system.factorise(np.full(transport.shape[0], rate))
    assert len(system._live) == 2


def test_product_in_jax_equals_scipys(transport):
    x = np.random.default_rng(3).normal(size=transport.shape[0])
    scale = np.abs(transport).dot(np.abs(x)).max()
    np.testing.assert_allclose(RowProduct(transport)(x), transport @ x, atol=1e-14 * scale)


def test_singular_matrix_is_refused(system):
    """Transport alone has a uniform null vector: no solve may pretend otherwise."""
    with pytest.raises(ConvergenceError, match=r"singular|close to singular|not finite"):
        token = system.factorise(np.zeros(system.operator.size))
        system.solve(token, np.ones(system.operator.size))


def test_values_that_are_not_finite_are_refused(system):
    with pytest.raises(ConvergenceError, match="not finite"):
        system.factorise(np.full(system.operator.size, np.nan))


def test_unknown_backend_is_named():
    with pytest.raises(InputError, match="unknown sparse solver 'umfpack'; known: auto, pardiso, superlu"):
        find_backend("umfpack")


def test_absent_backend_says_how_to_get_it(monkeypatch):
    import invbgc.linalg.pardiso as module

    monkeypatch.setattr(module, "_library", lambda: None)
    with pytest.raises(InputError, match=r"invbgc\[fast\]"):
        find_backend("pardiso")
    assert find_backend("auto")[0] == "superlu"
