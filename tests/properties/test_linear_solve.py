"""The JAX-facing sparse solve: values and derivatives of every order, for every backend, on every circulation."""

import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from invbgc.errors import ConvergenceError, InputError
from invbgc.linalg.backend import FACTOR_PRICE, ON_A_GPU, SingleFactor, denormals_flushed, find_backend
from invbgc.linalg.inventory import HOLD, Inventory
from invbgc.linalg.krylov import ENDS, KrylovResult, gmres
from invbgc.linalg.memory import FactorMemory
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.solve import linear_solve
from invbgc.linalg.system import SparseSystem
from tests.properties.cases import BACKENDS, CIRCULATIONS

SMALL = ["two_box", "few_box", "column"]


@pytest.fixture(params=SMALL)
def transport(request):
    return CIRCULATIONS[request.param]().transport


@pytest.fixture(params=BACKENDS)
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
    np.testing.assert_allclose(system.solve(token, rhs), before, rtol=1e-9 if system.backend in ON_A_GPU else 0)
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


@pytest.mark.parametrize("columns", [1, 3])
def test_gmres_solves_with_a_nearby_inverse(columns):
    rng = np.random.default_rng(7)
    matrix = np.eye(60) * 3.0 + rng.normal(size=(60, 60)) / 8.0
    nearby = np.linalg.inv(matrix + 0.1 * rng.normal(size=(60, 60)) / 8.0)
    rhs = rng.normal(size=(60, columns)) * np.logspace(0, -9, columns)
    found = gmres(lambda v: matrix @ v, lambda v: nearby @ v, rhs, 1e-12, 30)
    assert found.converged and 6 < found.iterations < 20
    error = np.abs(found.solution - np.linalg.solve(matrix, rhs)).max(axis=0)
    assert np.all(error < 1e-11 * np.abs(rhs).max(axis=0))
    short = gmres(lambda v: matrix @ v, lambda v: nearby @ v, rhs, 1e-12, 2)
    assert not short.converged and short.iterations == 2 + ENDS


def test_gmres_ends_when_its_space_is_exhausted():
    found = gmres(lambda v: 2.0 * v, lambda v: v, np.eye(5, 2), 1e-12, 30)
    assert found.converged and found.iterations == 1 + ENDS
    np.testing.assert_allclose(found.solution, 0.5 * np.eye(5, 2), rtol=1e-15)
    nothing = gmres(lambda v: 2.0 * v, lambda v: v, np.zeros((5, 1)), 1e-12, 30)
    assert nothing.converged and nothing.iterations == ENDS and not nothing.solution.any()


@pytest.fixture(params=BACKENDS)
def reusing(request, monkeypatch):
    """A system whose factors cost so much that a nearby one is worth trying, for some forty iterations."""
    transport = CIRCULATIONS["embedded_8deg"]().transport
    monkeypatch.setitem(FACTOR_PRICE, request.param, 0.25)
    return SparseSystem(ShiftedTransport(transport, RowProduct(transport)), "test", request.param, keep=2, reuse=True)


def test_a_nearby_factor_serves_until_it_costs_a_factorisation(reusing):
    rng = np.random.default_rng(8)
    rate = 1e-9 * (1.0 + rng.random(reusing.operator.size))
    first = reusing.factorise(rate)
    second = reusing.factorise(1.2 * rate)
    rhs = rng.normal(size=(reusing.operator.size, 4))
    reusing.solve(first, rhs)
    assert reusing.counters.factorisations == 1
    for transposed in (False, True):
        direct = SparseSystem(reusing.operator, "direct", reusing.backend)
        expected = direct.solve(direct.factorise(1.2 * rate), rhs[:, 0], transposed)
        np.testing.assert_allclose(
            reusing.solve(second, rhs[:, 0], transposed), expected, rtol=1e-9, atol=1e-11 * np.abs(expected).max()
        )
    assert reusing.counters.factorisations == 1 and 0 < reusing.counters.krylov_iterations <= 40
    reusing.solve(second, rhs)  # four more columns cost more than a factor
    assert reusing.counters.factorisations == 2
    far = reusing.factorise(100.0 * rate)
    assert reusing.counters.factorisations == 3 and far in reusing._live


def test_a_reset_system_solves_as_a_new_one_to_the_last_bit(reusing):
    """What earlier solves have cost decides whether a nearby factor serves; a chain that resumes does not know it."""
    rng = np.random.default_rng(12)
    rate = 1e-9 * (1.0 + rng.random(reusing.operator.size))
    rhs = rng.normal(size=(reusing.operator.size, 4))

    def run(system):
        tokens = [system.factorise(factor * rate) for factor in (1.0, 1.2)]
        return system.solve(tokens[1], rhs[:, 0])

    if reusing.backend in ON_A_GPU:
        pytest.skip("cuDSS does not repeat to the last bit")
    first = run(reusing)
    reusing.solve(reusing.factorise(1.2 * rate), rhs)  # spends what a nearby factor may cost
    reusing.clear()
    assert not np.array_equal(run(reusing), first)
    reusing.reset()
    np.testing.assert_array_equal(run(reusing), first)


def test_an_inventory_tied_weakly_is_right_with_a_nearby_factor(reusing):
    """A restoring of 1e-6 per year fixes the mean; the nearby factor shares it, so that no iteration can spoil it."""
    grid = CIRCULATIONS["embedded_8deg"]().grid
    weak, rng = 3.17e-14, np.random.default_rng(9)
    surface = np.where(grid.layer_mask(1), 1e-10 * rng.random(grid.n_wet), 0.0)
    reusing.factorise(weak + surface)
    token = reusing.factorise(weak + 1.3 * surface)
    rhs = weak * 2.0 + 1e-10 * rng.normal(size=grid.n_wet)
    found = reusing.solve(token, rhs)
    assert reusing.counters.factorisations == 1
    balance = grid.volume @ (rhs - (weak + 1.3 * surface) * found)
    assert abs(balance) < 1e-12 * (grid.volume @ np.abs(rhs))


def test_a_sequence_of_matrices_is_factored_where_its_members_together_cost_a_factor(reusing):
    rng = np.random.default_rng(11)
    rate = 1e-9 * (1.0 + rng.random(reusing.operator.size))
    rhs, token = rng.normal(size=reusing.operator.size), reusing.factorise(rate)
    for step in range(1, 41):
        token = reusing.supersede(token, (1.0 + 0.02 * step) * rate)
        reusing.solve(token, rhs, tolerance=1e-2)
        if reusing.counters.factorisations > 1:
            break
    assert 3 < step < 40 and token in reusing._live


def test_block_gmres_shares_the_directions_of_its_columns():
    """Ten columns in a space of four dimensions need no more iterations than four."""
    rng = np.random.default_rng(12)
    matrix = np.diag(np.r_[np.linspace(2.0, 3.0, 4), np.ones(56)])
    rhs = np.zeros((60, 10))
    rhs[:4] = rng.normal(size=(4, 10))
    found = gmres(lambda v: matrix @ v, lambda v: v, rhs, 1e-12, 30)
    assert found.converged and found.iterations <= 1 + ENDS
    np.testing.assert_allclose(matrix @ found.solution, rhs, atol=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
def test_bordered_equations_have_the_solution_of_the_matrix(transposed):
    """w^T A = kappa t^T; the bordered matrix is well conditioned, and gives what A gives."""
    rng, n, rate = np.random.default_rng(13), 12, 1e-16
    weights, restored = 1.0 + rng.random(2 * n), np.arange(2 * n) < n
    exchange = rng.random((2 * n, 2 * n)) * 1e-9
    exchange -= np.diag((weights @ exchange) / weights)
    matrix = -exchange + np.diag(rate * restored)
    np.testing.assert_allclose(weights @ matrix, rate * weights * restored, atol=1e-22)
    expected = rng.normal(size=(2 * n, 3))
    side = matrix.T if transposed else matrix
    inventory = Inventory(weights, restored, rate)
    product, rhs, finish = inventory.border(lambda v: side @ v, side @ expected, transposed)
    bordered = product(np.eye(2 * n))
    assert np.linalg.cond(bordered) < 1e-2 * np.linalg.cond(side)
    np.testing.assert_allclose(finish(np.linalg.solve(bordered, rhs)), expected, atol=1e-6)
    assert inventory.hold.max() == HOLD and not inventory.hold[n:].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_factor_solves_to_single_precision_whatever_the_units(transport, backend):
    shifted = ShiftedTransport(transport, RowProduct(transport))
    rate, rhs = np.full(shifted.size, 1e-9), np.random.default_rng(14).normal(size=(shifted.size, 2)) * [1e-30, 1e20]
    analyse = find_backend(backend)[1]
    double, single = (analyse(shifted.pattern, kind).factor(shifted.values((rate,))) for kind in (False, True))
    assert isinstance(single, SingleFactor) and 2 * single.bytes == double.bytes
    for transposed in (False, True):
        expected = double.solve(rhs, transposed)
        error = np.abs(single.solve(rhs, transposed) - expected).max(axis=0) / np.abs(expected).max(axis=0)
        assert np.all(error < 1e-3) and np.all(error > 0)


@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="flushed on x86-64 Linux only; elsewhere a factor takes longer and is the same",
)
def test_denormals_are_flushed_inside_only():
    tiny = np.full(64, 1e-30, np.float32)
    with denormals_flushed():
        assert not (tiny * tiny[0] * np.float32(1e20)).any()
        inside = tiny * np.float32(1e-10)
    assert (tiny * np.float32(1e-10)).all() and not inside.any()


def test_memory_is_shared_by_systems_and_a_small_one_is_said(caplog):
    ocean = CIRCULATIONS["few_box"]().transport
    memory = FactorMemory(1.0)
    one, two = (
        SparseSystem(ShiftedTransport(ocean, RowProduct(ocean)), name, "superlu", keep=4, memory=memory)
        for name in ("one", "two")
    )
    one.factorise(np.full(ocean.shape[0], 1e-8))
    memory.limit = 3.25 * one.held_bytes / 2**30  # less than three factors and one of half the size
    for rate in (2e-8, 3e-8, 4e-8):
        one.factorise(np.full(ocean.shape[0], rate))
    two.factorise(np.full(ocean.shape[0], 1e-8))  # its size is not known before the first one
    two.factorise(np.full(ocean.shape[0], 2e-8))
    assert (len(one._live), len(two._live)) == (3, 1)
    assert "too few" in caplog.text and caplog.text.count("factors:") == 1


def test_a_factor_in_single_precision_that_does_not_converge_is_an_error(monkeypatch):
    transport = CIRCULATIONS["few_box"]().transport
    system = SparseSystem(ShiftedTransport(transport, RowProduct(transport)), "test", "superlu", single=True)
    token = system.factorise(np.full(transport.shape[0], 1e-9))
    rhs = np.random.default_rng(15).normal(size=transport.shape[0])
    system.solve(token, rhs)
    assert system.counters.solves == 1
    monkeypatch.setattr("invbgc.linalg.system.refine", lambda _, __, rhs, *___: KrylovResult(rhs, 1, False))
    monkeypatch.setattr("invbgc.linalg.system.OWN_LIMIT", 0)
    with pytest.raises(ConvergenceError, match="backward error of inf"):
        system.solve(token, rhs)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("years", [1.0, 1e6])
def test_refinement_takes_the_slow_mode_away(transposed, years):
    """Held at 1e-6 per year, single precision leaves a tenth of the mean at every step; taken away, four steps do."""
    ocean = CIRCULATIONS["embedded_8deg"]()
    transport, volume = ocean.transport, np.asarray(ocean.grid.volume)
    rhs = np.random.default_rng(17).normal(size=(len(volume), 3))
    iterations = {}
    for known in (None, volume):
        operator = ShiftedTransport(transport, RowProduct(transport), known)
        system = SparseSystem(operator, "test", "superlu", single=True)
        token = system.factorise(np.full(len(volume), 1.0 / (years * 3.15e7)))
        system.solve(token, rhs, transposed)
        iterations[known is not None] = system.counters.krylov_iterations / rhs.shape[1]
        assert system.counters.max_residual < 1e-15
    assert iterations[True] <= 5
    assert (iterations[False] > 2 * iterations[True]) == (years > 1e3)


def test_scarce_memory_means_single_precision_not_factors_made_again(transport):
    n = transport.shape[0]
    alone = SparseSystem(ShiftedTransport(transport, RowProduct(transport)), "alone", "superlu", keep=4)
    alone.factorise(np.full(n, 1e-8))
    memory = FactorMemory(3.0 * alone.held_bytes / 2**30)
    tight = SparseSystem(alone.operator, "tight", "superlu", keep=4, memory=memory)
    tokens = [tight.factorise(np.full(n, rate)) for rate in (1e-8, 2e-8, 3e-8, 4e-8)]
    rhs = np.random.default_rng(18).normal(size=(n, 2))
    found, expected = (s.solve(s.factorise(np.full(n, 1e-8)), rhs) for s in (tight, alone))
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12 * np.abs(expected).max())
    assert list(tight._live) == [*tokens[1:], tokens[0]] and tight.held_bytes < memory.limit * 2**30
    assert tight.counters.factorisations == 5  # the first was made twice


ON_ONE_CORE = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import invbgc
import jax, jax.numpy as jnp, scipy.sparse as sp
from invbgc.linalg.newton import newton
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.system import SparseSystem

n, none = 100_000, sp.csc_array((100_000, 100_000))
system = SparseSystem(ShiftedTransport(none, RowProduct(none)), "test", "superlu")
root = jax.jit(lambda x: newton(system, lambda u: u * u - 4.0, lambda u: (2.0 * u,), jnp.ones(n), x, 1e-9).solution)
x = jnp.ones(n)
for _ in range(8):  # some run on the calling thread, which waits for nothing
    x = root(x) + 1.0
print(x.sum())
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be held to one core here")
def test_large_vectors_reach_their_solver_on_one_core():
    """The thread that waits for the solver is not the only one that can hand the vectors over."""
    environment = {name: value for name, value in os.environ.items() if name != "NPROC"}
    command = [sys.executable, "-c", ON_ONE_CORE]
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert answer.returncode == 0, answer.stderr
    assert float(answer.stdout) == pytest.approx(300_000.0)
