"""GMRES for a block of right-hand sides, preconditioned by the factor of a nearby matrix.

Each column has a Krylov space of its own; all columns share every product and every solve, which costs little more for
a few columns than for one.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

ENDS = 3
"""Solves before and after the iterations: the first guess, the sum of the steps, and the last step."""

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
    """Solve A x = b with GMRES, preconditioned from the right (Saad and Schultz 1986), from x = M^-1 b.

    The residual minimised is that of A x = b itself. It ends with one step x + M^-1 (b - A x): where A and M have the
    same left vector w with w^T A = w^T M, as transport operators that conserve the same inventory do, this step leaves
    no residual along w, however weakly the inventory is tied down.

    Args:
        multiply: v [n, k] -> A v.
        precondition: v [n, k] -> M^-1 v, M near A.
        rhs: b [n, k].
        tolerance: |b - A x| / |b| wanted of every column, 2-norms.
        limit: iterations at most.
        rounding: |b - A x| / |M^-1 b| that is not worth less, because products with A have that error.

    Returns:
        x, the number of iterations, and whether every column converged.
    """
    first = precondition(rhs)
    residual = rhs - multiply(first)
    wanted = np.maximum(tolerance * np.linalg.norm(rhs, axis=0), rounding * np.linalg.norm(first, axis=0))
    norm = np.linalg.norm(residual, axis=0)
    basis = [residual / np.where(norm > 0.0, norm, 1.0)]
    columns = rhs.shape[1]
    hessenberg = np.zeros((columns, limit + 1, limit))
    rotations = np.zeros((columns, limit, 2))
    projected = np.zeros((columns, limit + 1))
    projected[:, 0] = norm
    done = 0
    while done < limit and np.any(np.abs(projected[:, done]) > wanted):
        vector = multiply(precondition(basis[done]))
        entries = hessenberg[:, : done + 2, done]
        for row, direction in enumerate(basis):  # modified Gram-Schmidt
            entries[:, row] = np.einsum("nk,nk->k", direction, vector)
            vector -= entries[:, row] * direction
        length = np.linalg.norm(vector, axis=0)
        entries[:, done + 1] = length
        basis.append(vector / np.where(length > 0.0, length, 1.0))
        _rotate(entries, rotations, projected, done)
        done += 1
    weights = [_back_substitute(hessenberg[k, :done, :done], projected[k, :done]) for k in range(columns)]
    combined = np.zeros_like(rhs)
    for row, direction in enumerate(basis[:done]):
        combined += direction * np.array([weight[row] for weight in weights])
    solution = first + precondition(combined) if done else first
    solution = solution + precondition(rhs - multiply(solution))
    converged = bool(np.all(np.abs(projected[:, done]) <= wanted))
    return KrylovResult(solution, done + ENDS, converged)


def _rotate(entries: np.ndarray, rotations: np.ndarray, projected: np.ndarray, step: int) -> None:
    """Apply the earlier Givens rotations to a new column of each Hessenberg matrix, then one that zeroes its end."""
    for row in range(step):
        cosine, sine = rotations[:, row].T
        upper, lower = entries[:, row].copy(), entries[:, row + 1].copy()
        entries[:, row], entries[:, row + 1] = cosine * upper + sine * lower, cosine * lower - sine * upper
    upper, lower = entries[:, step].copy(), entries[:, step + 1].copy()
    length = np.hypot(upper, lower)
    safe = np.where(length > 0.0, length, 1.0)
    rotations[:, step, 0] = np.where(length > 0.0, upper / safe, 1.0)
    rotations[:, step, 1] = np.where(length > 0.0, lower / safe, 0.0)
    cosine, sine = rotations[:, step].T
    entries[:, step], entries[:, step + 1] = length, 0.0
    head = projected[:, step].copy()
    projected[:, step], projected[:, step + 1] = cosine * head, -sine * head


def _back_substitute(triangle: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve an upper triangular system; a zero pivot belongs to a space that is exhausted, and gives a zero weight."""
    solution = np.zeros(len(right))
    for row in reversed(range(len(right))):
        pivot = triangle[row, row]
        rest = right[row] - triangle[row, row + 1 :] @ solution[row + 1 :]
        solution[row] = rest / pivot if pivot != 0.0 else 0.0
    return solution
