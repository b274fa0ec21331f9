"""Newton's method for one nonlinear tracer, in JAX: a damped chord iteration whose factor is refreshed when it tires.

The equation is a residual r(x) = T x - s(x) = 0 whose Jacobian is A(c(x)). A step costs one solve; a
new factor is made only where the residual shrank by less than `REFRESH_ABOVE`. The last factor is always the one at
the solution, because derivatives through the solution need it.

Loops begin with what they repeat, so that the program holds the sources of a model few times: they take most of the
time of compiling it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from invbgc.linalg.solve import NO_FACTOR, factor_token, solve_with_token
from invbgc.linalg.system import SparseSystem

MAX_ITERATIONS = 60
REFRESH_ABOVE = 0.02
"""Residual ratio of one step above which the factor is renewed."""
STEP_RESIDUAL = 0.01
"""Relative residual of the linear solve of a step, where iterations find it: a step gains no more than that."""
POLISH_RESIDUAL = 1e-4
"""The same of the last steps."""
HALVINGS = 6
"""Times a step is halved in search of a smaller residual."""
POLISH = 3
"""Largest number of steps with the factor at the solution, which bring the state to round-off."""


class NewtonResult(NamedTuple):
    """Where Newton's method ended.

    Attributes:
        solution: x [n].
        token: token of the factor at (nearly) x.
        converged: whether the last step was below the tolerance.
        iterations: steps taken.
        factorisations: factors asked for.
        step: size of the last step, max|dx|.
    """

    solution: jax.Array
    token: jax.Array
    converged: jax.Array
    iterations: jax.Array
    factorisations: jax.Array
    step: jax.Array


class _Carry(NamedTuple):
    x: jax.Array
    residual: jax.Array
    norm: jax.Array
    token: jax.Array
    iterations: jax.Array
    factorisations: jax.Array
    step: jax.Array
    tired: jax.Array  # the next step needs a new factor
    stalled: jax.Array


def newton(
    system: SparseSystem,
    residual: Callable[[jax.Array], jax.Array],
    coefficients: Callable[[jax.Array], tuple[jax.Array, ...]],
    weights: jax.Array,
    start: jax.Array,
    tolerance: float,
    replaces: ArrayLike = NO_FACTOR,
) -> NewtonResult:
    """Find x with r(x) = 0.

    Args:
        system: factors A(c).
        residual: r(x) [n].
        coefficients: c(x), such that A(c(x)) is the Jacobian of r.
        weights: [n] weights of the residual's 1-norm (box volumes).
        start: x to start from [n].
        tolerance: max|dx| at which a step counts as convergence.
        replaces: token of a factor that is not needed any more.

    Returns:
        The solution and how it was reached; `converged` is false where it was not, and nothing is raised.
    """

    def norm(r):
        return jnp.sum(weights * jnp.abs(r))

    def damped(carry: _Carry, dx):
        """Halve the step until the residual shrinks; keep the last try."""

        def trial(state):
            halvings, size, *_ = state
            x = carry.x + size * dx
            r = residual(x)
            return halvings + 1, 0.5 * size, size, x, r, norm(r)

        def worse(state):
            halvings, _, size, *_, value = state
            return (halvings == 0) | (~(value < (1.0 - 0.1 * size) * carry.norm) & (halvings <= HALVINGS))

        one = jnp.ones(())
        untried = (jnp.zeros((), int), one, one, carry.x, carry.residual, carry.norm)
        return lax.while_loop(worse, trial, untried)[2:]

    def step(carry: _Carry) -> _Carry:
        token = lax.cond(
            carry.tired, lambda: factor_token(system, coefficients(carry.x), carry.token), lambda: carry.token
        )
        dx = -solve_with_token(system, token, carry.residual, tolerance=STEP_RESIDUAL)
        full = jnp.max(jnp.abs(dx))
        size, x, r, value = damped(carry, dx)
        small = full < tolerance
        # A step below the tolerance cannot be judged by the residual, which is at round-off.
        x, r, value = (jnp.where(small, a, b) for a, b in zip((carry.x + dx, r, value), (x, r, value), strict=True))
        # A step that no halving makes good is undone; with a stale factor the remedy is a fresh one.
        useless = (size <= 0.5**HALVINGS) & ~small & ~(value < carry.norm)
        x, r, value = (
            jnp.where(useless, a, b) for a, b in zip((carry.x, carry.residual, carry.norm), (x, r, value), strict=True)
        )
        return _Carry(
            x, r, value, token, carry.iterations + 1, carry.factorisations + carry.tired, full,
            (~small) & (value > REFRESH_ABOVE * carry.norm), ~jnp.isfinite(value) | (useless & carry.tired),
        )  # fmt: skip

    def unfinished(carry: _Carry):
        return (carry.step >= tolerance) & (carry.iterations < MAX_ITERATIONS) & ~carry.stalled

    r = residual(start)
    none = jnp.zeros((), int)
    first = _Carry(
        start, r, norm(r), jnp.asarray(replaces), none, none, jnp.full((), jnp.inf),
        jnp.ones((), bool), jnp.zeros((), bool),
    )  # fmt: skip
    rough = lax.while_loop(unfinished, step, first)

    token = factor_token(system, coefficients(rough.x), rough.token)

    def polish(state):
        x, _, count = state
        dx = -solve_with_token(system, token, residual(x), tolerance=POLISH_RESIDUAL)
        return x + dx, jnp.max(jnp.abs(dx)), count + 1

    def unpolished(state):
        _, size, count = state
        return (count == 0) | ((size > 1e-2 * tolerance) & (count < POLISH))

    x, last, count = lax.while_loop(unpolished, polish, (rough.x, rough.step, jnp.zeros((), int)))
    return NewtonResult(
        x, token, (rough.step < tolerance) & (last < tolerance) & jnp.isfinite(last),
        rough.iterations + count, rough.factorisations + 1, last,
    )  # fmt: skip
