"""Time stepping of dc/dt + A c = f(c, t): transport and losses A implicit, the other sources f explicit.

With the step h and shift s, every linear solve of a scheme has the matrix 1 + s h A, so that equal steps share one
factor. A scheme says how one step is made of such solves and of evaluations of f at fractions of the step:

* ``"trapezoid"``, s = 1/2, the paper's: (1 + h A/2) c1 = (1 - h A/2) c0 + h f(c0, t0). Second order in A, first in f;
  what A damps within a step is only reflected.
* ``"dirk2"``, s = 1 - 1/sqrt(2): two stages, second order in A and f together, and L-stable in A (the scheme (2,2,2)
  of Ascher, Ruuth and Spiteri 1997).

Both are stable as long as h |df/dc| stays below two. Weights of A and f are the same sums for all boxes, so that what
a tracer gains is the integral of its sources to rounding: the schemes return that integral.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from invbgc.errors import InputError

GAMMA = 1.0 - 1.0 / np.sqrt(2.0)
"""Shift that makes two diagonally implicit stages L-stable and of second order (Alexander 1977)."""

DELTA = 1.0 - 1.0 / (2.0 * GAMMA)
"""Weight of the first evaluation of f in the second stage."""


class Scheme(NamedTuple):
    """How a step is made.

    Attributes:
        shift: s of the matrix 1 + s h A.
        fractions: of the step, at which f is evaluated.
        step: (solve, source, c, h) -> c after the step and the integral of f over it; `solve` applies (1 + s h A)^-1,
            `source` maps (c, number of the evaluation) to f.
        limit: of h |df/dc|, beyond which explicit sources grow without bound.
    """

    shift: float
    fractions: tuple[float, ...]
    step: Callable
    limit: float = 2.0


def _trapezoid(solve: Callable, source: Callable, c, h: float):
    gained = h * source(c, 0)
    return 2.0 * solve(c + 0.5 * gained) - c, gained


def _dirk2(solve: Callable, source: Callable, c, h: float):
    first = h * source(c, 0)
    known = c + GAMMA * first
    middle = solve(known)
    carried = (middle - known) / GAMMA  # -h A middle
    gained = DELTA * first + (1.0 - DELTA) * h * source(middle, 1)
    return solve(c + (1.0 - GAMMA) * carried + gained), gained


SCHEMES = {
    "trapezoid": Scheme(0.5, (0.0,), _trapezoid),
    "dirk2": Scheme(GAMMA, (0.0, GAMMA), _dirk2),
}
"""Schemes by name."""


def get_scheme(name: str) -> Scheme:
    """A scheme by name; InputError for an unknown one."""
    if name not in SCHEMES:
        raise InputError(f"unknown time-stepping scheme {name!r}; known: {', '.join(SCHEMES)}")
    return SCHEMES[name]
