"""The industrial era as a function of the model's parameters: what dated bottles see, with exact derivatives.

A steady state at the first pCO2 of the record is followed through the years. Derivatives go the same way: through the
steady state by the posterior's own sensitivities and adjoint, through the radiocarbon steady state, through the run.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.models.pco.model import PCOModel
from invbgc.parameters import ParameterTable
from invbgc.transient.atmosphere import Atmosphere
from invbgc.transient.bottles import CellMeans
from invbgc.transient.equilibrium import SteadyTracer
from invbgc.transient.industrial import history, industrial_carbon
from invbgc.transient.integrate import Clock, Run, Samples, Simulation


class EraRun(NamedTuple):
    """A run of the industrial era.

    Attributes:
        evaluation: the steady state it started from.
        start: DIC and DI14C of that state [2, n_wet] mmol m-3.
        run: what the run left.
        predicted: name -> [m] what the cells of that variable hold: D14C in permil, excess DIC in mmol m-3.
    """

    evaluation: Evaluation
    start: np.ndarray
    run: Run
    predicted: dict[str, np.ndarray]


def start_model(model: PCOModel, atmosphere: Atmosphere, clock: Clock, table: ParameterTable | None = None) -> PCOModel:
    """The same model under the pCO2 of the start of a run, with another parameter table if one is given."""
    options = replace(model.options, pco2_atm=float(atmosphere.co2.at(clock.start)))
    return PCOModel(
        model.circulation, model.forcing, options, table or model.table, model.systems["tracer"].backend
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class IndustrialEra:
    """DIC and radiocarbon of a posterior's model since the start of a clock.

    Args:
        posterior: whose model stands under the pCO2 of the start (`start_model`).
        atmosphere: the histories; they must cover the clock.
        clock: the years.
        cells: what bottles measured, by box and step; none are needed.
        scheme: time-stepping scheme.
    """

    posterior: Posterior
    atmosphere: Atmosphere
    clock: Clock
    cells: Sequence[CellMeans] = ()
    scheme: str = "dirk2"

    @cached_property
    def simulation(self) -> Simulation:
        """The transient model on its clock."""
        model = self.posterior.model
        forcing = history(model, self.atmosphere.covering(self.clock), self.clock.start)
        return Simulation(industrial_carbon(model), self.clock, forcing, self.scheme, self._samples)

    @cached_property
    def _steady(self) -> SteadyTracer:
        return SteadyTracer(self.simulation.model, "DI14C", self.simulation.forcing(self.clock.start))

    @cached_property
    def _samples(self) -> Samples:
        """DIC of every cell, and DI14C of those of D14C."""
        step, tracer, box = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0, int)]
        for cell in self.cells:
            for number in (0, 1) if cell.name == "D14C" else (0,):
                step.append(cell.step)
                tracer.append(np.full(cell.step.size, number))
                box.append(cell.box)
        return Samples(*(np.concatenate(part) for part in (step, tracer, box)))

    def _predict(self, samples, dic_start):
        """Predictions of each variable, from the samples and the DIC of the start; by JAX."""
        predicted, first = {}, 0
        for cell in self.cells:
            size = cell.step.size
            dic = samples[first : first + size]
            first += size
            if cell.name == "D14C":
                predicted[cell.name] = 1e3 * (samples[first : first + size] / dic - 1.0)
                first += size
            else:
                predicted[cell.name] = dic - dic_start[cell.box]
        return predicted

    def _theta(self, evaluation: Evaluation) -> dict[str, Any]:
        return {"x": jnp.asarray(evaluation.x), "fields": dict(evaluation.state.fields)}

    def simulate(
        self,
        evaluation: Evaluation,
        progress: Callable[[str], Any] | None = None,
        restart: Path | None = None,
        keep: bool = False,
        book: Callable[[np.ndarray], dict[str, Any]] | None = None,
        snapshots: Sequence[float] = (),
        free: bool = False,
    ) -> EraRun:
        """Run from a steady state; arguments as for `Simulation.run`.

        Args:
            evaluation: the posterior at a point, whose state is the start.
            progress: receives lines of text.
            restart: restart file.
            keep: keep what derivatives need.
            book: numbers of the state that are written down every year.
            snapshots: years whose states are kept.
            free: free the factors of the steady state first, which derivatives would need again.
        """
        theta, dic = self._theta(evaluation), np.asarray(evaluation.state.fields["DIC"])
        start = np.stack([dic, dic])
        start[1] = self._steady.solve(start, theta)
        if free:
            for system in self.posterior.model.systems.values():
                system.clear()
        run = self.simulation.run(start, theta, progress, restart, keep, book, snapshots)
        predicted = self._predict(run.samples, dic)
        return EraRun(evaluation, start, run, {name: np.asarray(value) for name, value in predicted.items()})

    def tangent(self, era: EraRun, direction: np.ndarray) -> dict[str, np.ndarray]:
        """Derivatives of the predictions along a direction of the optimiser coordinates [p].

        Args:
            era: a run that kept what derivatives need.
            direction: [p].
        """
        theta = self._theta(era.evaluation)
        d_fields = self.posterior.state_along(era.evaluation, direction)
        d_theta = {"x": jnp.asarray(direction), "fields": d_fields}
        d_dic = np.asarray(d_fields["DIC"])
        d_start = np.stack([d_dic, np.zeros_like(d_dic)])
        d_start[1] = self._steady.along(era.start, theta, d_start, d_theta)
        d_samples, _ = self.simulation.tangent(era.run, theta, d_start, d_theta)
        change = jax.jvp(self._predict, (era.run.samples, era.start[0]), (d_samples, d_dic))[1]
        return {name: np.asarray(value) for name, value in change.items()}

    def pullback(
        self, era: EraRun, by_predicted: Mapping[str, np.ndarray], load: Mapping[str, np.ndarray] | None = None
    ) -> np.ndarray:
        """Gradient [p] of a scalar by the optimiser coordinates, from its derivatives by the predictions: the adjoint.

        Args:
            era: a run that kept what derivatives need.
            by_predicted: name -> [m].
            load: tracer -> further derivatives of the scalar by the steady state [n_wet].
        """
        theta = self._theta(era.evaluation)
        _, pull = jax.vjp(self._predict, jnp.asarray(era.run.samples), jnp.asarray(era.start[0]))
        wanted = {cell.name: jnp.asarray(by_predicted[cell.name]) for cell in self.cells}
        by_samples, by_dic = (np.asarray(part) for part in pull(wanted))
        by_start, by_theta = self.simulation.pullback(era.run, theta, by_samples)
        through_ratio, more = self._steady.pull(era.start, theta, by_start[1])
        by_fields = {
            name: np.asarray(by_theta["fields"][name]) + np.asarray(more["fields"][name]) for name in theta["fields"]
        }
        by_fields["DIC"] = by_fields["DIC"] + by_dic + by_start[0] + through_ratio[0]
        for name, more_load in (load or {}).items():
            by_fields[name] = by_fields[name] + more_load
        by_x = np.asarray(by_theta["x"]) + np.asarray(more["x"])
        return self.posterior.pull(era.evaluation, by_fields, by_x)
