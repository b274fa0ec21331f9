"""The periodic steady state of a year map, c = Phi(c): by integration, by Anderson acceleration, by Newton-Krylov.

* `integrate`: the reference, year after year;
* `anderson`: c <- the combination of the last few years whose changes cancel best (Anderson 1965; Walker and Ni 2011);
* `newton_krylov`: J dc = c - Phi(c), J = dPhi/dc - I, by GMRES with products J v = dPhi/dc v - v by forward derivatives
  of the whole year. A year of linear dynamics dc/dt = -A c by implicit Euler is (I + tau A)^-1, so that
  J^-1 is about -I - (tau A)^-1, with A the matrix of the steady model at the annual mean (Li and Primeau 2008;
  Khatiwala 2008).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.errors import ConvergenceError
from invbgc.linalg.krylov import gmres
from invbgc.models.mops.core import CORE
from invbgc.models.mops.model import MopsModel
from invbgc.models.mops.spinup import YEAR
from invbgc.models.mops.year import YearResult, YearState, wet_fields

Year = Callable[[YearState, Any], YearResult]
Progress = Callable[[str], Any]

WINDOW = 10
"""Years that Anderson acceleration combines."""
REGULARISATION = 1e-10
"""Relative Tikhonov term of its least squares."""
FORCING = 0.1
"""Relative residual of the linear solves of Newton's method."""
LARGEST_SPACE = 40
"""Largest dimension of a Krylov space."""
HALVINGS = 4
JVP_YEARS = 2
"""Years that a product with the derivative of a year counts as: the year and its tangent."""


@dataclass(frozen=True)
class Equilibrium:
    """A periodic steady state and what it cost.

    Attributes:
        state: at the turn of the year.
        mean: annual mean, [k, nz, n_columns].
        drift: largest volume-weighted RMS change in the last year over the standard deviation of the tracer.
        years: model years, a product with the derivative counted as `JVP_YEARS`.
        products: products with the derivative among them.
        seconds: wall-clock time.
        history: (years, drift) on the way.
    """

    state: YearState
    mean: jax.Array
    drift: float
    years: int
    products: int
    seconds: float
    history: tuple[tuple[int, float], ...] = field(repr=False)


class _Meter:
    """Counts years, measures drift, and says so."""

    def __init__(self, model: MopsModel, year: Year, x, progress: Progress):
        self.volume = np.asarray(model.environment.volume)
        self.year, self.x, self.progress = year, x, progress
        self.years, self.products, self.began = 0, 0, time.perf_counter()
        self.history: list[tuple[int, float]] = []

    def spread(self, tracers: np.ndarray) -> np.ndarray:
        """Volume-weighted standard deviation of every tracer, [k]."""
        weight = self.volume / self.volume.sum()
        mean = (weight * tracers).sum(axis=(1, 2), keepdims=True)
        return np.sqrt((weight * (tracers - mean) ** 2).sum(axis=(1, 2)))

    def rms(self, change: np.ndarray) -> np.ndarray:
        """Volume-weighted RMS of a change of every tracer, [k]."""
        return np.sqrt((self.volume / self.volume.sum() * change**2).sum(axis=(1, 2)))

    def run(self, state: YearState) -> tuple[YearResult, float]:
        """A year, and its drift."""
        result = self.year(state, self.x)
        self.years += 1
        after = np.asarray(result.state.tracers)
        drift = float((self.rms(after - np.asarray(state.tracers)) / self.spread(after)).max())
        if not np.isfinite(drift):
            raise ConvergenceError(f"MOPS: year {self.years} left values that are not finite; try shorter steps.")
        self.history.append((self.years, drift))
        return result, drift

    def report(self, drift: float, limit: float, what: str) -> None:
        """A line of progress with drift and time."""
        passed = time.perf_counter() - self.began
        rate = passed / max(self.years, 1)
        self.progress(
            f"{what}: {self.years:5d} model years, drift {drift:8.1e} of a standard deviation per year (wanted "
            f"{limit:.0e}), {rate:.2f} s per year, {passed:.0f} s"
        )

    def result(self, result: YearResult, drift: float) -> Equilibrium:
        seconds = time.perf_counter() - self.began
        return Equilibrium(result.state, result.mean, drift, self.years, self.products, seconds, tuple(self.history))


def integrate(
    model: MopsModel,
    year: Year,
    state: YearState,
    x,
    years: int,
    tolerance: float = 0.0,
    progress: Progress = lambda line: None,
    every: int = 50,
) -> Equilibrium:
    """Run year after year, until the drift is below a tolerance or the years are over.

    Args:
        model: the model.
        year: of `make_year`.
        state: to start from.
        x: optimiser coordinates, or a dictionary of parameter values.
        years: at most, one at least.
        tolerance: drift per year, relative to the standard deviation of a tracer.
        progress: receives a line now and then.
        every: years between lines.

    Returns:
        the state after the last year.

    Raises:
        ConvergenceError: values that are not finite.
    """
    meter, drift = _Meter(model, year, x, progress), np.inf
    result = None
    for number in range(1, max(years, 1) + 1):
        result, drift = meter.run(state)
        state = result.state
        if number % every == 0:
            meter.report(drift, tolerance, "integration")
        if drift < tolerance:
            break
    assert result is not None
    return meter.result(result, drift)


def anderson(
    model: MopsModel,
    year: Year,
    state: YearState,
    x,
    tolerance: float = 1e-6,
    years: int = 300,
    progress: Progress = lambda line: None,
) -> Equilibrium:
    """Anderson acceleration of c <- Phi(c); arguments as `integrate`.

    With f = Phi(c) - c of the last years, theta minimises |f_k - sum_j theta_j (f_j+1 - f_j)|, tracers compared by
    their standard deviation and boxes by volume, and c <- Phi(c_k) - sum_j theta_j (Phi(c_j+1) - Phi(c_j)). Each new
    state is a combination of earlier ones with weights that sum to one, so that conserved inventories stay exact.
    """
    meter = _Meter(model, year, x, progress)
    weight = np.sqrt(meter.volume / meter.volume.sum())
    images: list[np.ndarray] = []
    changes: list[np.ndarray] = []
    result, drift = meter.run(state)
    scale = weight / meter.spread(np.asarray(result.state.tracers))[:, None, None]
    while drift >= tolerance and meter.years < years:
        image = np.asarray(result.state.tracers)
        images.append(image)
        changes.append(((image - np.asarray(state.tracers)) * scale).ravel())
        images, changes = images[-WINDOW - 1 :], changes[-WINDOW - 1 :]
        new = image
        if len(changes) > 1:
            matrix = np.stack([b - a for a, b in pairwise(changes)], axis=1)
            normal = matrix.T @ matrix
            normal += REGULARISATION * np.trace(normal) * np.eye(len(normal))
            theta = np.linalg.solve(normal, matrix.T @ changes[-1])
            for part, a, b in zip(theta, images[:-1], images[1:], strict=True):
                new = new - part * (b - a)
        state = YearState(jnp.asarray(new), result.state.pco2)
        result, drift = meter.run(state)
        meter.report(drift, tolerance, "Anderson")
    return meter.result(result, drift)


def newton_krylov(
    model: MopsModel,
    year: Year,
    state: YearState,
    x,
    tolerance: float = 1e-6,
    years: int = 1000,
    progress: Progress = lambda line: None,
) -> Equilibrium:
    """Newton's method for Phi(c) = c of the core, by GMRES; arguments as `integrate`.

    The preconditioner is the factor of the steady model at the annual mean of the first year; it is renewed where GMRES
    needs its whole space.

    Raises:
        ConvergenceError: no step makes the drift smaller.
    """
    meter = _Meter(model, year, x, progress)
    shape = state.tracers.shape
    wet = np.broadcast_to(np.asarray(model.grid.column_wet), shape).ravel()
    weight = np.sqrt(meter.volume / meter.volume.sum())
    result, drift = meter.run(state)
    scale = np.where(wet.reshape(shape), weight / meter.spread(np.asarray(result.state.tracers))[:, None, None], 1.0)
    scale = np.where(scale > 0.0, scale, 1.0).ravel()
    push = jax.jit(
        lambda tracers, change: jax.jvp(
            lambda c: year(YearState(c, state.pco2), x).state.tracers, (tracers,), (change,)
        )[1]
    )
    inverse = _inverse_of_steady(model, result.mean, x)
    while drift >= tolerance and meter.years < years:
        here = jnp.asarray(state.tracers)

        def multiply(v: np.ndarray, here=here) -> np.ndarray:
            columns = []
            for column in (v / scale[:, None]).T:
                meter.years += JVP_YEARS
                meter.products += 1
                change = column.reshape(shape)
                columns.append(((np.asarray(push(here, jnp.asarray(change))) - change).ravel() * wet) * scale)
            return np.stack(columns, axis=1)

        def precondition(v: np.ndarray, inverse=inverse) -> np.ndarray:
            columns = [(inverse((column / scale * wet).reshape(shape)).ravel() * wet) * scale for column in v.T]
            return np.stack(columns, axis=1)

        change = np.asarray(result.state.tracers) - np.asarray(state.tracers)
        rhs = -(change.ravel() * wet * scale)[:, None]
        found = gmres(multiply, precondition, rhs, FORCING, LARGEST_SPACE)
        step = (found.solution[:, 0] / scale * wet).reshape(shape)
        progress(f"Newton-Krylov: {found.iterations} products, step {np.abs(step).max():.1e} mmol m-3")
        for halving in range(HALVINGS + 1):
            trial = YearState(jnp.asarray(np.asarray(state.tracers) + 0.5**halving * step), state.pco2)
            trial_result, trial_drift = meter.run(trial)
            meter.report(trial_drift, tolerance, "Newton-Krylov")
            if trial_drift < drift:
                break
        else:
            raise ConvergenceError(
                f"MOPS: no step of Newton-Krylov makes the drift of {drift:.1e} per year smaller; start from a state "
                "that is nearer, after more years of integration."
            )
        if not found.converged:
            inverse = _inverse_of_steady(model, trial_result.mean, x)
        state, result, drift = trial, trial_result, trial_drift
    return meter.result(result, drift)


def _inverse_of_steady(model: MopsModel, mean: jax.Array, x) -> Callable[[np.ndarray], np.ndarray]:
    """The map r -> -r - (tau A)^-1 r of columns [7, nz, n_columns], A being that of the steady core at a mean."""
    stage, system, grid = model.stages[0], model.systems["core"], model.grid
    fields = wet_fields(model, mean)
    stacked = jnp.concatenate([fields[name] for name in CORE])
    coefficients = jax.jit(lambda u: stage.matrix_coefficients(u, {}, x))(stacked)
    token = system.factorise(*(np.asarray(part) for part in coefficients))

    def inverse(change: np.ndarray) -> np.ndarray:
        wet = grid.from_columns(change).reshape(-1)
        slow = system.solve(token, wet / YEAR)
        return -change - np.asarray(grid.to_columns(slow.reshape(len(CORE), -1)))

    return inverse
