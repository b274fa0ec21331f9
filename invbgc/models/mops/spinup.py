"""The steady state of the phosphorus core from far away: implicit steps in time that grow as the state settles.

Each step solves (I/dt + A) du = -F(u), F = T u - s(u), A = dF/du: one step of Newton's method for implicit Euler. How
well that linear step holds, q = |F(u + du) + du/dt| / |du/dt|, says whether dt may grow; as dt grows the steps become
those of Newton's method for F = 0 (pseudo-transient continuation; Kelley and Keyes 1998).

Respiration stops within a few mmol m-3 of oxygen, and a linear step jumps past that corner to negative oxygen, back and
forth. A step therefore takes at most a fixed part of the oxygen above its threshold.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from invbgc.constants import DAY
from invbgc.errors import ConvergenceError
from invbgc.models.mops.core import CORE
from invbgc.models.mops.model import MopsModel

YEAR = 360.0 * DAY
"""Seconds of the model's year."""

FIRST_STEP = 0.2
"""First step, years."""
ACCEPT, GROW, LEAP = 1.0, 0.3, 0.1
"""q above which a step is taken back, below which the next is twice, and below which it is four times as long."""
LONGEST = 1e7
"""Step beyond which it no longer matters, years."""
KEPT = 0.2
"""Part of the oxygen above its threshold that a step leaves."""
MAX_STEPS = 200
TOLERANCE = 1e-7
"""Largest change of a concentration in a step without time that counts as none, mmol m-3."""
SETTLED = 1e3
"""Step from which on a small change means that the state is steady, years."""


@dataclass(frozen=True)
class SpinUp:
    """How a steady core was found.

    Attributes:
        fields: tracer -> [n_wet] mmol m-3.
        steps: steps taken, those taken back included.
        factorisations: of the core's matrix.
        seconds: wall-clock time.
        change: largest change of the last step, mmol m-3.
    """

    fields: dict[str, np.ndarray]
    steps: int
    factorisations: int
    seconds: float
    change: float


def spin_up(
    model: MopsModel,
    x,
    start: Mapping[str, Any] | None = None,
    progress: Callable[[str], Any] = lambda line: None,
) -> SpinUp:
    """Find the steady state of the core.

    Args:
        model: the model.
        x: optimiser coordinates, or a dictionary of parameter values.
        start: tracer -> [n_wet] mmol m-3, with living plankton; two decades of `make_year` from the uniform state make
            a good one. The model's own start where absent.
        progress: receives a line per step.

    Returns:
        the steady core and how it was found.

    Raises:
        ConvergenceError: no steady state within `MAX_STEPS`.
    """
    stage, system = model.stages[0], model.systems["core"]
    transport = system.operator.constant_part
    residual = jax.jit(lambda u: transport(u) - stage.stacked_source(u, {}, x))
    jacobian = jax.jit(lambda u: stage.matrix_coefficients(u, {}, x))
    weights = np.asarray(stage.residual_weights)
    eye = np.eye(len(CORE))[:, :, None, None]

    def size(rates: np.ndarray) -> float:
        return float(weights @ np.abs(rates))

    oxygen = CORE.index("O2")
    where = slice(oxygen * model.grid.n_wet, (oxygen + 1) * model.grid.n_wet)
    threshold = float(model.values(x)["oxygen_threshold"])

    def limited(u: np.ndarray, du: np.ndarray) -> np.ndarray:
        """The step, but for a loss of oxygen that goes too far."""
        above = np.maximum(u[where] - threshold, 0.0)
        least = np.where(above > 0.0, (KEPT - 1.0) * above, -np.inf)
        return np.concatenate([du[: where.start], np.maximum(du[where], least), du[where.stop :]])

    u = np.array(stage.start if start is None else np.concatenate([np.asarray(start[name]) for name in CORE]))
    rates, dt, began, before = np.asarray(residual(u)), FIRST_STEP * YEAR, time.perf_counter(), system.counters
    first = before.factorisations
    local, shading, sinking = (np.asarray(part) for part in jacobian(u))
    for step in range(1, MAX_STEPS + 1):
        token = system.factorise(local - eye / dt, shading, sinking)
        du = limited(u, -system.solve(token, rates))
        new = np.asarray(residual(u + du))
        change = float(np.abs(du).max())
        quality = size(new + du / dt) / max(size(du / dt), 1e-300)
        steady = dt >= SETTLED * YEAR and change < TOLERANCE
        taken = steady or quality < ACCEPT or (dt >= LONGEST * YEAR and size(new) < size(rates))
        if taken:
            u, rates = u + du, new
            local, shading, sinking = (np.asarray(part) for part in jacobian(u))
        progress(
            f"step {step:3d}: {dt / YEAR:10.3g} yr, q {quality:8.1e}, change {change:8.1e} mmol m-3"
            + ("" if taken else ", taken back")
        )
        if steady:
            fields = {name: np.asarray(field) for name, field in stage.split(u).items()}
            used = system.counters.factorisations - first
            return SpinUp(fields, step, used, time.perf_counter() - began, change)
        dt *= 4.0 if quality < LEAP else 2.0 if quality < GROW else 1.0 if taken else 0.25
        dt = min(dt, LONGEST * YEAR)
    raise ConvergenceError(
        f"MOPS core: no steady state within {MAX_STEPS} implicit steps; the last changed it by {change:.1e} mmol m-3. "
        "Start from a later year of a time integration, or from the state of parameters nearby."
    )
