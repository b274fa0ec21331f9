"""The linear solve that JAX sees, and the only place where its derivative rules are written.

x = A(c)^-1 b has the tangent A^-1 (db - dA x) and, for a cotangent y, the adjoint A^-T y: both are solves with the
factor that the state used. `jax.lax.custom_linear_solve` derives every order of derivative from these two. Mapped
right-hand sides reach the host as one block. Host callbacks touch NumPy only, and cannot raise: a failed or interrupted
solve leaves its reason in `SparseSystem.failure` and returns NaN, which no later step can hide.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.errors import ConvergenceError
from invbgc.linalg.system import SparseSystem

NO_FACTOR = -1
"""Token of a matrix that could not be factored; solves with it give NaN."""

_TOKEN = jax.ShapeDtypeStruct((), jnp.int64)


def factor_token(system: SparseSystem, coefficients, replaces=None):
    """Token (int64 scalar) of the factor of A(c) for traced coefficients; it carries no derivative.

    Args:
        system: the family of matrices.
        coefficients: c, a tuple of arrays.
        replaces: token of a factor that will not be used again and is freed first.
    """

    def host(old, *arrays) -> np.ndarray:
        system.forget(int(old))
        try:
            return np.array(system.factorise(*(np.asarray(a) for a in arrays)))
        except (ConvergenceError, KeyboardInterrupt) as error:
            system.failure = system.failure or error
            return np.array(NO_FACTOR)

    fixed = jax.tree.map(jax.lax.stop_gradient, tuple(coefficients))
    old = NO_FACTOR if replaces is None else replaces
    return jax.pure_callback(host, _TOKEN, old, *fixed, vmap_method="sequential")


def _host_solve(system: SparseSystem, transposed: bool, token: np.ndarray, rhs: np.ndarray) -> np.ndarray:
    """Solve for rhs [..., n] with token [...], one block per distinct token."""
    tokens, rhs = np.asarray(token), np.asarray(rhs)
    tokens = np.broadcast_to(tokens, rhs.shape[:-1]).ravel()
    columns = rhs.reshape(-1, rhs.shape[-1])
    solution = np.empty_like(columns)
    for value in np.unique(tokens):
        chosen = tokens == value
        try:
            if value == NO_FACTOR:
                raise ConvergenceError(f"{system.name}: no factor")
            solution[chosen] = system.solve(int(value), np.ascontiguousarray(columns[chosen].T), transposed).T
        except (ConvergenceError, KeyboardInterrupt) as error:
            system.failure = system.failure or error
            solution[chosen] = np.nan
    return solution.reshape(rhs.shape)


def solve_with_token(system: SparseSystem, token, rhs, transposed: bool = False):
    """A^-1 b or A^-T b with a factor that exists; not differentiable, mapped over leading axes as one block."""
    shape = jax.ShapeDtypeStruct(rhs.shape, rhs.dtype)
    return jax.pure_callback(partial(_host_solve, system, transposed), shape, token, rhs, vmap_method="broadcast_all")


def linear_solve(system: SparseSystem, coefficients, rhs, token=None):
    """Solve A(c) x = b, differentiable to any order in c and b.

    Args:
        system: the family of matrices.
        coefficients: c, a tuple of arrays.
        rhs: b [n].
        token: token of the factor of A(c) where it is known already.

    Returns:
        x [n].
    """
    if token is None:
        token = factor_token(system, coefficients)
    return jax.lax.custom_linear_solve(
        lambda x: system.operator.matvec(coefficients, x),
        rhs,
        solve=lambda _, b: solve_with_token(system, token, b),
        transpose_solve=lambda _, b: solve_with_token(system, token, b, transposed=True),
    )
