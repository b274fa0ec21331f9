"""The trust-region subproblem: the minimiser of a quadratic in a ball, exactly.

From the eigen-decomposition of its matrix, which costs nothing for a few tens of parameters (More & Sorensen 1983, SIAM
J. Sci. Stat. Comput. 4; Conn, Gould & Toint 2000, *Trust-Region Methods*, section 7.3).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq


@dataclass(frozen=True, eq=False)
class Subproblem:
    """Minimiser of the quadratic model in the ball.

    Attributes:
        step: [p].
        predicted: f - m(step) >= 0.
        multiplier: mu >= 0 with (B + mu) step = -g.
        boundary: whether |step| = radius.
        hard_case: whether g has no part along the lowest eigenvector, which was added to reach the boundary.
        min_eigenvalue: smallest eigenvalue of B.
    """

    step: np.ndarray
    predicted: float
    multiplier: float
    boundary: bool
    hard_case: bool
    min_eigenvalue: float


def solve_subproblem(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> Subproblem:
    """Minimise g^T s + 1/2 s^T B s subject to |s| <= radius, exactly.

    With B = V diag(lambda) V^T the solution is s = -V (lambda + mu)^-1 V^T g with the smallest mu >= 0 for which
    lambda + mu >= 0 and |s| <= radius. The unknown is shifted to nu = mu + lambda_min, in which the nearly hard case
    loses no digits. In the hard case the lowest eigenvector fills the step up to the boundary.

    Args:
        gradient: g [p].
        hessian: B [p, p], symmetric.
        radius: of the ball.

    Returns:
        The step and how it was found.
    """
    eigenvalues, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    slope = vectors.T @ gradient
    lowest = float(eigenvalues[0])
    gap = eigenvalues - lowest

    def coefficients(nu: float) -> np.ndarray:
        return -slope / (gap + nu)

    def length(nu: float) -> float:
        return float(np.linalg.norm(coefficients(nu)))

    scale = max(float(np.abs(eigenvalues).max()), float(np.linalg.norm(slope)) / radius, np.finfo(float).tiny)
    least = max(lowest, np.finfo(float).eps * scale)
    hard = False
    if length(least) <= radius:
        nu, hard = least, lowest < -np.finfo(float).eps * scale
        boundary = hard
        part = coefficients(nu)
        if hard:
            rest = radius**2 - float(part[1:] @ part[1:])
            part[0] = (-1.0 if slope[0] > 0 else 1.0) * np.sqrt(max(rest, 0.0))
    else:
        largest = float(np.linalg.norm(slope)) / radius * (1 + 1e-12)
        root: Any = brentq(lambda nu: 1 / radius - 1 / length(nu), least, max(largest, least), xtol=1e-300)
        nu = float(root)
        boundary = True
        part = coefficients(nu)
        part *= radius / np.linalg.norm(part)
    predicted = -float(slope @ part + 0.5 * (eigenvalues * part) @ part)
    return Subproblem(vectors @ part, predicted, max(nu - lowest, 0.0), boundary, hard, lowest)
