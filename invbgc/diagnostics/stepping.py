"""Linear tracers in time: dc/dt + (T + diag(d)) c = 0 by an L-stable scheme of second order with growing steps.

The scheme is the diagonally implicit Runge-Kutta method of two stages with gamma = 1 - 1/sqrt(2). With A = T + diag(d)
and a step h,

    (1 + gamma h A) u1 = c,    (1 + gamma h A) u2 = c - (1 - gamma) h A u1,    c(t + h) = u2,

both stages have the matrix T + diag(d + 1/(gamma h)), so that a run of equal steps needs one factorisation. What is
shorter than a step decays in it, without ringing. The same weights integrate c over the step: the changes of c and its
integral obey c(t + h) - c(t) = -A (integral), so that what leaves an ocean is accounted for to rounding, however long
the steps. Products of A, and sums over them, commute: with equal steps the adjoint gives the same numbers.
"""

import time as clock
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from invbgc.constants import YEAR
from invbgc.errors import InputError
from invbgc.linalg.system import SparseSystem
from invbgc.transient.schemes import GAMMA


class Level(NamedTuple):
    """A run of equal steps.

    Attributes:
        length: of a step, s.
        count: number of steps.
    """

    length: float
    count: int


class Moment(NamedTuple):
    """A block of tracers at one time.

    Attributes:
        time: s.
        concentration: c [n] or [n, k].
        tendency: dc/dt, of the same shape, per s.
    """

    time: float
    concentration: np.ndarray
    tendency: np.ndarray


class Step(NamedTuple):
    """One time step.

    Attributes:
        start: before it.
        end: after it.
        integral: of c over the step, the shape of c, times s.
    """

    start: Moment
    end: Moment
    integral: np.ndarray


def growing_steps(first: float, end: float, per_level: int) -> tuple[Level, ...]:
    """Levels of equal steps, each level of twice the step before it: h grows like t / per_level.

    Args:
        first: shortest step, s.
        end: time that the last step reaches, s.
        per_level: steps of a level; those of the last are shortened to end in time.

    Returns:
        The levels.

    Raises:
        InputError: an argument is not positive.
    """
    if not (first > 0.0 and end > 0.0 and per_level >= 1):
        raise InputError(f"steps from {first} s to {end} s, {per_level} per level: expected positive numbers")
    levels: list[Level] = []
    time, length = 0.0, first
    while time + per_level * length < end:
        levels.append(Level(length, per_level))
        time, length = time + per_level * length, 2.0 * length
    count = int(np.ceil((end - time) / length))
    return (*levels, Level((end - time) / count, count))


@contextmanager
def own_factors(system: SparseSystem) -> Iterator[SparseSystem]:
    """A system of the same matrices that holds one exact factor at a time, freed at the end.

    The factors of the given system are freed first: they are made again where they are needed, and with both a large
    ocean would take twice the memory.
    """
    system.clear()
    own = SparseSystem(system.operator, "transient", system.backend, keep=1)
    try:
        yield own
    finally:
        own.clear()


def march(
    system: SparseSystem,
    loss: np.ndarray,
    start: np.ndarray,
    levels: Sequence[Level],
    transposed: bool = False,
    progress: Callable[[str], Any] | None = None,
) -> Iterator[Step]:
    """Carry a block of tracers through time: dc/dt + (T + diag(d)) c = 0, or with the transpose of the matrix.

    Args:
        system: the matrices T + diag(d), with one exact factor at a time (`own_factors`).
        loss: d [n] s-1.
        start: c at time 0, [n] or [n, k].
        levels: the steps.
        transposed: use T^T; the adjoint of c in the volume inner product is the result over the volumes if the start is
            multiplied by them.
        progress: receives a line of text after each level.

    Yields:
        Every step, in order; two solves each.
    """
    pattern = system.operator.pattern
    matrix = sp.csr_array((system.operator.values((loss,)), pattern.indices, pattern.indptr), shape=pattern.shape)
    now = Moment(0.0, start, -((matrix.T if transposed else matrix) @ start))
    began, done, steps = clock.perf_counter(), 0, sum(level.count for level in levels)
    for length, count in levels:
        begin, implicit = now.time, GAMMA * length
        token = system.factorise(loss + 1.0 / implicit)
        for number in range(1, count + 1):
            first = system.solve(token, now.concentration / implicit, transposed)
            middle = now.concentration + ((1.0 - GAMMA) / GAMMA) * (first - now.concentration)
            second = system.solve(token, middle / implicit, transposed)
            end = Moment(begin + number * length, second, (second - middle) / implicit)
            yield Step(now, end, length * ((1.0 - GAMMA) * first + GAMMA * second))
            now = end
        system.forget(token)
        done += count
        if progress is not None:
            left = (clock.perf_counter() - began) * (steps - done) / done
            progress(f"year {now.time / YEAR:.4g}: {done} of {steps} time steps, about {left:.0f} s left")
