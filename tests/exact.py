"""Residuals without rounding, to tell what a solver left from what storing its solution in doubles left."""

import math

import numpy as np
import scipy.sparse as sp

_SPLIT = 2.0**27 + 1.0


def _product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two doubles whose sum is a b exactly (Dekker 1971)."""

    def halves(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        high = _SPLIT * v - (_SPLIT * v - v)
        return high, v - high

    product, (a1, a2), (b1, b2) = a * b, halves(a), halves(b)
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def residual(matrix: sp.csr_array, rhs: np.ndarray, parts: list[np.ndarray]) -> np.ndarray:
    """b - A x, rounded once, for a solution [n] that is the sum of several doubles."""
    terms = [part for x in parts for part in _product(-matrix.data, x[matrix.indices])]
    flat = np.stack(terms, axis=1).tolist()
    rows = zip(matrix.indptr[:-1].tolist(), matrix.indptr[1:].tolist(), rhs.tolist(), strict=True)
    return np.array(
        [math.fsum([b] + [term for entry in flat[first:last] for term in entry]) for first, last, b in rows]
    )
