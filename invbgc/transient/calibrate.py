"""Calibration of the gas exchange with radiocarbon: alone, in turn with the fit, or jointly with it.

*Alone*: the scale a of the piston velocity minimises the misfit of D14C, the other parameters being held. With J the
derivative of the predictions along ln a, which includes that of the steady state and of the preindustrial radiocarbon,
Gauss-Newton steps are

    ln a <- ln a - (J . W r) / (J . W J),     sd(ln a)^2 = s / (J . W J),   s = 2 misfit / n.

*In turn* (`alternate`; Wang et al. 2023): scale, transient, background DIC, fit, and again, until nothing changes.
*Jointly* (`JointProblem`): ln a is one more coordinate of a posterior that holds the misfit of D14C and compares DIC
where and when it was measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.models.pco.parameters import GAS_EXCHANGE, with_gas_exchange
from invbgc.observations import Observations
from invbgc.transient.atmosphere import Atmosphere
from invbgc.transient.bottles import CellMeans
from invbgc.transient.era import EraRun, IndustrialEra, start_model
from invbgc.transient.integrate import Clock

STEP_TOLERANCE = 1e-4
"""Step of ln a at which the scale has converged; far below its standard deviation."""

LARGEST_STEP = 0.5
"""Largest step of ln a, and of any coordinate of the joint problem."""

MOST_STEPS = 20
"""Steps at most."""

Progress = Callable[[Any], Any]


def era_of(
    posterior: Posterior, atmosphere: Atmosphere, clock: Clock, cells: tuple[CellMeans, ...], scheme: str = "dirk2"
) -> IndustrialEra:
    """The industrial era of a posterior's model, with the gas exchange as one more free parameter.

    Args:
        posterior: of the steady observations.
        atmosphere: the histories.
        clock: the years.
        cells: what bottles measured.
        scheme: time-stepping scheme.
    """
    model = start_model(posterior.model, atmosphere, clock, with_gas_exchange(posterior.table))
    steady = Posterior(model, posterior.observations, posterior.scales, posterior.prior_factor)
    return IndustrialEra(steady, atmosphere, clock, cells, scheme)


@dataclass(frozen=True, eq=False)
class ScaleFit:
    """The scale that radiocarbon asks for.

    Attributes:
        scale: a over that of the forcing.
        error: standard deviation of ln a.
        predicted: what the cells hold at the scale; see `EraRun`.
        trials: scales tried, and their misfits.
    """

    scale: float
    error: float
    predicted: dict[str, np.ndarray]
    trials: tuple[tuple[float, float], ...]

    def to_dataset(self) -> xr.Dataset:
        """The trials, the scale and its error."""
        scales, misfits = zip(*self.trials, strict=True)
        return xr.Dataset(
            {
                "scale": ("trial", list(scales), {"units": "1", "long_name": "gas exchange over that of the forcing"}),
                "misfit": ("trial", list(misfits), {"units": "1", "long_name": "misfit of D14C"}),
                "scale_best": ((), self.scale, {"units": "1"}),
                "scale_error": ((), self.scale * self.error, {"units": "1", "long_name": "standard deviation"}),
            }
        )


def fit_scale(
    era: IndustrialEra, x: np.ndarray, progress: Progress | None = None, tolerance: float = STEP_TOLERANCE
) -> ScaleFit:
    """Scale of the gas exchange that radiocarbon asks for, the other parameters being held.

    Args:
        era: of `era_of`, with cells of D14C.
        x: optimiser coordinates of its posterior [p], among them the first guess of ln a.
        progress: receives lines of text.
        tolerance: step of ln a at which it ends.

    Raises:
        InputError: the era has no cells of D14C.
        ConvergenceError: the scale does not settle.
    """
    d14c = cells_of(era, "D14C")
    row = era.posterior.names.index(GAS_EXCHANGE)
    direction = np.zeros(len(x))
    direction[row] = 1.0
    x, here, trials = np.array(x), None, []
    for _ in range(MOST_STEPS):
        here = era.posterior.value(x, here)
        run = era.simulate(here, keep=True)
        residual = run.predicted["D14C"] - d14c.value
        trials.append((float(np.exp(x[row])), d14c.misfit(run.predicted["D14C"])))
        slope = era.tangent(run, direction)["D14C"]
        curvature = float(slope @ (d14c.weight * slope))
        step = -float(slope @ (d14c.weight * residual)) / curvature
        if progress is not None:
            progress(f"  scale {trials[-1][0]:.4f}: misfit of D14C {trials[-1][1]:.6f}, next step of ln a {step:+.1e}")
        if abs(step) < tolerance:
            error = float(np.sqrt(2.0 * trials[-1][1] / d14c.value.size / curvature))
            return ScaleFit(trials[-1][0], error, run.predicted, tuple(trials))
        x[row] += np.clip(step, -LARGEST_STEP, LARGEST_STEP)
    raise ConvergenceError(f"the gas-exchange scale did not settle in {MOST_STEPS} steps; tried {trials}")


def cells_of(era: IndustrialEra, name: str) -> CellMeans:
    """The cells of one variable; InputError where there are none."""
    found = {cell.name: cell for cell in era.cells}
    if name not in found:
        raise InputError(f"calibration needs dated bottles of {name}; found those of {', '.join(found) or 'nothing'}")
    return found[name]


# ---------------------------------------------------------------------- background DIC


def by_box(dic: CellMeans, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [m], and the mean over the bottles of each of a value per cell [m]."""
    boxes, member = np.unique(dic.box, return_inverse=True)
    return boxes, np.bincount(member, weights=dic.count * values) / np.bincount(member, weights=dic.count)


def with_background(observations: Observations, dic: CellMeans, excess: np.ndarray) -> Observations:
    """The observations with DIC as it was before the industrial era: measured minus excess, box by box.

    Args:
        observations: of the fit.
        dic: what bottles measured.
        excess: DIC gained since the start in each cell, mmol m-3.
    """
    fields = {name: observations.vector(name) for name in observations.tracers}
    boxes, background = by_box(dic, dic.value - excess)
    fields["DIC"] = np.full(observations.grid.n_wet, np.nan)
    fields["DIC"][boxes] = background
    note = f"{int(dic.count.sum())} dated bottles in {boxes.size} boxes, minus the excess of a transient at their time"
    return Observations.from_fields(fields, observations.grid, dict(observations.attrs) | {"processing_DIC": note})


# ---------------------------------------------------------------------- jointly


class JointEvaluation(NamedTuple):
    """The joint problem at one point.

    Attributes:
        value: f(x).
        gradient: [p], exact.
        curvature: [p, p], Gauss-Newton.
        steady: the steady state and its sensitivities.
        d14c_misfit: the part of D14C.
    """

    value: float
    gradient: np.ndarray
    curvature: np.ndarray
    steady: Evaluation
    d14c_misfit: float


@dataclass(frozen=True, eq=False)
class JointFit:
    """The optimum of the joint problem.

    Attributes:
        x: optimiser coordinates, among them ln a.
        scale: a over that of the forcing.
        error: standard deviation of ln a while the other parameters are free.
        history: f at every point accepted.
        gradient: [p] at the optimum.
    """

    x: np.ndarray
    scale: float
    error: float
    history: tuple[float, ...]
    gradient: np.ndarray


class JointProblem:
    """Steady observations, dated DIC and radiocarbon, with the gas exchange among the parameters.

        f(x) = misfit of the steady tracers, DIC being measured minus the excess at x, + misfit of D14C at x.

    Value and gradient are exact, by one adjoint through the years. The curvature is Gauss-Newton, with the excess and
    D14C depending on ln a alone, so that steps converge linearly, to the exact optimum.

    Args:
        era: of `era_of`, with cells of D14C and of DIC.
    """

    def __init__(self, era: IndustrialEra):
        self._d14c, self._dic = cells_of(era, "D14C"), cells_of(era, "DIC")
        # Weights are those of DIC as measured: an excess that changes must not change them.
        measured = with_background(era.posterior.observations, self._dic, np.zeros(self._dic.value.size))
        self.posterior = era.posterior.with_data(measured, era.posterior.scales, era.posterior.prior_factor)
        self.era = replace(era, posterior=self.posterior)
        self._row = self.posterior.names.index(GAS_EXCHANGE)

    @property
    def x0(self) -> np.ndarray:
        """Optimiser coordinates of the table's present values."""
        return self.posterior.x0

    def _excess(self, cells: np.ndarray) -> np.ndarray:
        """Mean over the bottles of each box [m] of a value per cell."""
        return by_box(self._dic, cells)[1]

    def _parts(self, era: EraRun) -> tuple[float, np.ndarray]:
        """f, and its derivative [m] by the excess of each box, which is that by modelled DIC there."""
        data, scale = self.posterior.observations.tracers["DIC"], self.posterior.scales["DIC"]
        excess = self._excess(era.predicted["DIC"])
        residual = np.asarray(era.evaluation.state.observable["DIC"])[data.index] - data.value
        weight = scale * data.weight
        change = float(weight @ (excess * residual + 0.5 * excess**2))
        value = era.evaluation.value + change + self._d14c.misfit(era.predicted["D14C"])
        return value, weight * (residual + excess)

    def value(self, x: np.ndarray, guess: Evaluation | None = None) -> float:
        """f(x)."""
        return self._parts(self.era.simulate(self.posterior.value(x, guess)))[0]

    def evaluate(self, x: np.ndarray, guess: Evaluation | None = None) -> JointEvaluation:
        """Value, gradient and curvature at x."""
        here = self.posterior.value_grad_hess(x, guess)
        assert here.gradient is not None and here.gauss_newton is not None
        era = self.era.simulate(here, keep=True)
        value, by_excess = self._parts(era)
        data = self.posterior.observations.tracers["DIC"]
        weight = self.posterior.scales["DIC"] * data.weight

        # The steady posterior knows DIC as measured; the excess adds a load where it was measured, and its own changes.
        load = np.zeros(self.posterior.model.grid.n_wet)
        load[data.index] = weight * self._excess(era.predicted["DIC"])
        boxes, member = np.unique(self._dic.box, return_inverse=True)
        bottles = np.bincount(member, weights=self._dic.count, minlength=boxes.size)
        by_predicted = {
            "D14C": self._d14c.weight * (era.predicted["D14C"] - self._d14c.value),
            "DIC": by_excess[member] * self._dic.count / bottles[member],
        }
        gradient = here.gradient + self.era.pullback(era, by_predicted, {"DIC": load})

        unit = np.eye(len(x))[self._row]
        along = self.era.tangent(era, unit)
        change = self._excess(along["DIC"])
        cross = here.jacobian["DIC"] @ (weight * change)
        own = change @ (weight * change) + along["D14C"] @ (self._d14c.weight * along["D14C"])
        curvature = here.gauss_newton + np.outer(unit, cross) + np.outer(cross, unit) + own * np.outer(unit, unit)
        return JointEvaluation(value, gradient, curvature, here, self._d14c.misfit(era.predicted["D14C"]))

    def fit(self, x: np.ndarray, progress: Progress | None = None, tolerance: float = 1e-2) -> JointFit:
        """Find the optimum by Gauss-Newton steps, halved where f does not fall.

        Args:
            x: first guess [p].
            progress: receives lines of text.
            tolerance: the step over the error bars at which it ends.

        Raises:
            ConvergenceError: no step lowers f, or too many are taken.
        """
        here, history = self.evaluate(x), []
        number = sum(data.count for data in self.posterior.observations.tracers.values()) + self._d14c.value.size
        for _ in range(MOST_STEPS):
            history.append(here.value)
            eigenvalues, directions = np.linalg.eigh(here.curvature)
            known = eigenvalues > 1e-9 * eigenvalues[-1]
            step = -directions[:, known] @ ((directions[:, known].T @ here.gradient) / eigenvalues[known])
            shift = float(np.sqrt(-here.gradient @ step / (2.0 * here.value / number)))
            if progress is not None:
                scale = float(np.exp(here.steady.x[self._row]))
                progress(f"  joint: f {here.value:.9f}, scale {scale:.4f}, next step {shift:.1e} error bars")
            if shift < tolerance:
                return self._result(here, history)
            step *= min(1.0, LARGEST_STEP / np.abs(step).max())
            for _ in range(6):
                there = here.steady.x + step
                if self.posterior.admissible(there) is None and self.value(there, here.steady) < here.value:
                    break
                step = 0.5 * step
            else:
                raise ConvergenceError(
                    f"joint calibration: no step lowers f = {here.value:.9g} ({shift:.1e} error bars)"
                )
            here = self.evaluate(there, here.steady)
        raise ConvergenceError(f"joint calibration: not converged in {MOST_STEPS} steps; f = {history}")

    def _result(self, here: JointEvaluation, history: list[float]) -> JointFit:
        others = np.delete(np.arange(len(here.gradient)), self._row)
        cross = here.curvature[self._row, others]
        rest = np.linalg.pinv(here.curvature[np.ix_(others, others)], rcond=1e-9, hermitian=True)
        left = here.curvature[self._row, self._row] - cross @ rest @ cross
        error = float(np.sqrt(2.0 * here.d14c_misfit / self._d14c.value.size / left))
        x = here.steady.x
        return JointFit(x, float(np.exp(x[self._row])), error, tuple(history), here.gradient)
