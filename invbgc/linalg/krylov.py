"""Solves with a factor that is near the matrix: block GMRES, and refinement where it is very near.

In block GMRES all right-hand sides share one Krylov space. That pays where they belong together, as the sensitivities
of one state to its parameters do: a step costs one block solve, which is cheaper than its columns one by one, and every
column gains from the directions of all.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ENDS = 2
"""Solves before and after the iterations: the first guess and the last step."""

LOOSE = 1e-8
"""Tolerance from which on the last step is left out: whoever asks for so little will come again."""

INDEPENDENT = 1e-4
"""Sine of the angle between a column and those before it above which Cholesky factors orthogonalise well enough."""

POOR = 0.05
"""Part of a residual that a step of refinement may leave; where it leaves more, GMRES is faster."""

Apply = Callable[[np.ndarray], np.ndarray]


class KrylovResult(NamedTuple):
    """Where GMRES ended.

    Attributes:
        solution: x [n, k].
        iterations: solves with the preconditioner, per column, those before and after the iterations included.
        converged: whether every column met the tolerance.
    """

    solution: np.ndarray
    iterations: int
    converged: bool


def gmres(
    multiply: Apply, precondition: Apply, rhs: np.ndarray, tolerance: float, limit: int, rounding: float = 0.0
) -> KrylovResult:
    """Solve A X = B with block GMRES, preconditioned from the right (Saad and Schultz 1986), from X = M^-1 B.

    The residual minimised is that of A X = B itself. Preconditioned vectors are kept (flexible GMRES, Saad 1993), so
    that M^-1 need not be linear beyond the rounding of single precision. A full solve ends with one more step
    X + M^-1 (B - A X): where A and M have the same left vector w with w^T A = w^T M, as transport operators that
    conserve the same inventory do, this step leaves no residual along w, however weakly the inventory is tied down.

    Args:
        multiply: V [n, k] -> A V.
        precondition: V [n, k] -> M^-1 V, M near A.
        rhs: B [n, k].
        tolerance: |b - A x| / |b| wanted of every column, 2-norms.
        limit: iterations at most.
        rounding: |b - A x| / |M^-1 b| that is not worth less, because products with A have that error.

    Returns:
        X, the number of iterations, and whether every column converged.
    """
    first = precondition(rhs)
    residual = rhs - multiply(first)
    wanted = np.maximum(tolerance * np.linalg.norm(rhs, axis=0), rounding * np.linalg.norm(first, axis=0))
    n, k = rhs.shape
    # V and Z = M^-1 V, of which only the columns in use take memory; A Z_j = V_j+1 H_j holds to round-off.
    basis, steps = np.empty((n, (limit + 1) * k), order="F"), np.empty((n, limit * k), order="F")
    projected = np.zeros(((limit + 1) * k, limit * k))
    basis[:, :k], start = _orthonormal(residual)
    weights, left, done = np.zeros((0, k)), np.linalg.norm(residual, axis=0), 0
    while done < limit and np.any(left > wanted):
        old, new = slice(0, (done + 1) * k), slice((done + 1) * k, (done + 2) * k)
        column = slice(done * k, (done + 1) * k)
        steps[:, column] = precondition(basis[:, column])
        vectors = multiply(steps[:, column])
        for _ in range(2):  # the second time for what rounding left of the first
            overlap = basis[:, old].T @ vectors
            vectors = vectors - basis[:, old] @ overlap
            projected[old, column] += overlap
        basis[:, new], projected[new, column] = _orthonormal(vectors)
        done += 1
        matrix = projected[: (done + 1) * k, : done * k]
        goal = np.concatenate([start, np.zeros((done * k, k))])
        weights = np.linalg.lstsq(matrix, goal)[0]
        left = np.linalg.norm(goal - matrix @ weights, axis=0)
    solution = first + steps[:, : done * k] @ weights
    if tolerance < LOOSE:
        solution = solution + precondition(rhs - multiply(solution))
    return KrylovResult(solution, done + ENDS - (tolerance >= LOOSE), bool(np.all(left <= wanted)))


def refine(
    multiply: Apply,
    precondition: Apply,
    rhs: np.ndarray,
    tolerance: float,
    rounding: float = 0.0,
    slow: tuple[np.ndarray, np.ndarray] | None = None,
) -> KrylovResult:
    """Solve A X = B by iterative refinement, X <- X + M^-1 (B - A X), with M equal to A but for single precision.

    What such an M^-1 leaves of a tracer that is held weakly lies along the slow mode of A. With w and e for which w^T A
    and A e are small, the step X <- X + e (w^T A e)^-1 w^T (B - A X) takes that part away.

    Args:
        multiply: V [n, k] -> A V.
        precondition: V [n, k] -> M^-1 V.
        rhs: B [n, k].
        tolerance: |b - A x| / |b| wanted of every column, 2-norms.
        rounding: |b - A x| / |x| that is not worth less, because products with A have that error.
        slow: w and e [n].

    Returns:
        X, the number of solves with M, and whether every column came down to the tolerance, or to ten times `rounding`
        with no more to gain.
    """
    size, before, solves = np.linalg.norm(rhs, axis=0), np.full(rhs.shape[1], np.inf), 0
    solution, residual = np.zeros_like(rhs), rhs
    w, e = slow or (np.zeros(len(rhs)), np.zeros(len(rhs)))
    image = multiply(e[:, None])
    held = float(w @ image[:, 0])  # zero where nothing ties the tracer down
    while True:
        solution += precondition(residual)
        residual = rhs - multiply(solution)
        solves += 1
        if held != 0.0:
            share = (w @ residual) / held
            solution += e[:, None] * share
            residual -= image * share
        left, reach = np.linalg.norm(residual, axis=0), rounding * np.linalg.norm(solution, axis=0)
        missing = left > np.maximum(tolerance * size, reach)
        if not missing.any():
            return KrylovResult(solution, solves, True)
        if np.any((left > POOR * before)[missing]):
            return KrylovResult(solution, solves, bool(np.all(left[missing] <= 10.0 * reach[missing])))
        before = left


def _orthonormal(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Q [n, k] and R [k, k] with Q R = V: by Cholesky factors where columns are independent, else by reflections."""
    length = np.linalg.norm(vectors, axis=0)
    scaled = vectors / np.where(length > 0.0, length, 1.0)
    try:
        lower = np.linalg.cholesky(scaled.T @ scaled)
    except np.linalg.LinAlgError:
        return np.linalg.qr(vectors)
    if np.diag(lower).min() < INDEPENDENT:
        return np.linalg.qr(vectors)
    return scaled @ np.linalg.inv(lower).T, lower.T * length
