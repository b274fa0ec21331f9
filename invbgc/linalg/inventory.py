"""A weakly held inventory, treated as what it is: known.

Transport and recycling conserve an inventory, and the only thing that ties it down is a restoring at a rate kappa of
order 1e-6 per year: with box volumes w over all tracers of the loop, and t over the restored one,

    w^T A = kappa t^T,

so that A is singular for all practical purposes and iterations stagnate. But the inventory of a solution of A x = b is
no unknown: t^T x = w^T b / kappa. With any e for which w^T e = 1, the bordered equations

    (A + c e t^T) x = b + c e (w^T b / kappa)

have the same solution and an inventory that is held at the rate kappa + c. Those of the transpose,
(A^T + c t e^T) z = b, give y = z + (c / kappa) (e^T z) w.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

HOLD = 1e-12
"""Rate c at which the bordered equations hold the inventory, s-1: 3e-5 per year, slow beside the ocean's turnover but
far above the rounding of single precision."""

Product = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Inventory:
    """What a matrix conserves.

    Attributes:
        weights: w [n], box volumes over all tracers that share the inventory.
        restored: [n] bool, the unknowns that are restored.
        rate: kappa, s-1.
    """

    weights: np.ndarray
    restored: np.ndarray
    rate: float

    @property
    def hold(self) -> np.ndarray:
        """What the preconditioner adds to the diagonal [n] s-1: the hold c, box by box."""
        return HOLD * self.restored

    def border(self, product: Product, rhs: np.ndarray, transposed: bool) -> tuple[Product, np.ndarray, Product]:
        """The bordered equations.

        Args:
            product: V [n, k] -> A V, or A^T V.
            rhs: B [n, k].
            transposed: whether they are those of the transpose.

        Returns:
            The product and the right-hand sides to solve with, and what makes of their solution that of A X = B.
        """
        tied = (self.weights * self.restored)[:, None]
        spread = self.restored[:, None] / tied.sum()
        if transposed:
            weights = self.weights[:, None]
            return (
                lambda v: product(v) + tied * (HOLD * (spread.T @ v)),
                rhs,
                lambda z: z + weights * (HOLD / self.rate * (spread.T @ z)),
            )
        inventory = self.weights @ rhs / self.rate
        return lambda v: product(v) + spread * (HOLD * (tied.T @ v)), rhs + spread * (HOLD * inventory), lambda x: x
