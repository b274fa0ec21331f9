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
from invbgc.linalg.system import KRYLOV_TOLERANCE, SparseSystem

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
        try:
            return np.array(system.supersede(int(old), *(np.asarray(a) for a in arrays)))
        except (ConvergenceError, KeyboardInterrupt) as error:
            system.failure = system.failure or error
            return np.array(NO_FACTOR)

    fixed = jax.tree.map(jax.lax.stop_gradient, tuple(coefficients))
    old = NO_FACTOR if replaces is None else replaces
    return jax.pure_callback(host, _TOKEN, old, *fixed, vmap_method="sequential")


def _host_solve(
    system: SparseSystem,
    transposed: bool,
    tolerance: float,
    ranks: tuple[int, ...],
    token: np.ndarray,
    rhs: np.ndarray,
    *coefficients: np.ndarray,
) -> np.ndarray:
    """Solve for rhs [..., n] with token [...] of A(c), one block per distinct token; leading axes are broadcast.

    A token that was forgotten in the meantime is made again from c, arrays of the given ranks after their leading axes.
    """
    token, rhs, arrays = np.asarray(token), np.asarray(rhs), [np.asarray(part) for part in coefficients]
    leading = [part.shape[: part.ndim - rank] for part, rank in zip(arrays, ranks, strict=True)]
    batch = np.broadcast_shapes(token.shape, rhs.shape[:-1], *leading)
    columns = np.broadcast_to(rhs, (*batch, rhs.shape[-1])).reshape(-1, rhs.shape[-1])
    arrays = [
        np.broadcast_to(part, (*batch, *part.shape[len(axes) :])) for part, axes in zip(arrays, leading, strict=True)
    ]
    tokens = np.broadcast_to(token, batch).ravel()
    solution = np.empty_like(columns)
    for value in np.unique(tokens):
        chosen = tokens == value
        try:
            if value == NO_FACTOR:
                raise ConvergenceError(f"{system.name}: no factor")
            known = int(value)
            if arrays and not system.remembers(known):
                first = np.unravel_index(int(np.argmax(chosen)), batch)
                known = system.factorise(*(part[first] for part in arrays))
            solution[chosen] = system.solve(known, columns[chosen].T, transposed, tolerance).T
        except (ConvergenceError, KeyboardInterrupt) as error:
            system.failure = system.failure or error
            solution[chosen] = np.nan
    return solution.reshape(*batch, rhs.shape[-1])


def solve_with_token(
    system: SparseSystem, token, rhs, transposed: bool = False, coefficients=(), tolerance: float = KRYLOV_TOLERANCE
):
    """A^-1 b or A^-T b with a factor that exists; not differentiable, mapped over leading axes as one block.

    Args:
        system: the family of matrices.
        token: of the factor of A(c).
        rhs: b [n].
        transposed: solve with the transpose.
        coefficients: c, from which the factor is made again should its token be forgotten by then.
        tolerance: relative residual that suffices, where iterations find the solution.
    """
    shape = jax.ShapeDtypeStruct(rhs.shape, rhs.dtype)
    host = partial(_host_solve, system, transposed, tolerance, tuple(np.ndim(part) for part in coefficients))
    return jax.pure_callback(host, shape, token, rhs, *coefficients, vmap_method="expand_dims")


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
    fixed = jax.tree.map(jax.lax.stop_gradient, tuple(coefficients))
    return jax.lax.custom_linear_solve(
        lambda x: system.operator.matvec(coefficients, x),
        rhs,
        solve=lambda _, b: solve_with_token(system, token, b, False, fixed),
        transpose_solve=lambda _, b: solve_with_token(system, token, b, True, fixed),
    )
