"""The industrial era as a function of all parameters: adjoint, tangent and differences agree."""

from typing import NamedTuple

import numpy as np
import pytest

from invbgc.datasets.idealised import idealised_forcing
from invbgc.inference.posterior import Posterior
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.models.pco.parameters import GAS_EXCHANGE, with_gas_exchange
from invbgc.observations import Observations
from invbgc.transient.atmosphere import load_atmosphere
from invbgc.transient.bottles import DatedBottles, cell_means
from invbgc.transient.era import EraRun, IndustrialEra, start_model
from invbgc.transient.integrate import Clock
from tests.properties.cases import CIRCULATIONS

pytestmark = pytest.mark.slow

CLOCK = Clock(1950.0, 20, 6)


class Case(NamedTuple):
    """An era with cells of both variables, and a run at a point that is not that of the table."""

    era: IndustrialEra
    x: np.ndarray
    run: EraRun

    def at(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Predictions at another point."""
        return self.era.simulate(self.era.posterior.value(x, self.run.evaluation)).predicted


@pytest.fixture(scope="module")
def case() -> Case:
    ocean = CIRCULATIONS["few_box"]()
    forcing, grid, atmosphere = idealised_forcing(ocean.grid), ocean.grid, load_atmosphere()
    table = with_gas_exchange(pco_parameters("published"))
    model = start_model(PCOModel(ocean, forcing, PCOOptions(), table, "superlu"), atmosphere, CLOCK)
    posterior = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, grid))
    rng = np.random.default_rng(0)
    cells = []
    for name, n in (("D14C", 60), ("DIC", 45)):
        box, year = rng.integers(0, grid.n_wet, n), CLOCK.start + CLOCK.years * rng.random(n)
        cells.append(cell_means(DatedBottles(name, box, year, rng.normal(size=n)), CLOCK, grid))
    era = IndustrialEra(posterior, atmosphere, CLOCK, tuple(cells))
    x = posterior.x0 + 0.05 * np.cos(np.arange(len(posterior.x0)))
    return Case(era, x, era.simulate(posterior.value(x), keep=True))


@pytest.fixture(scope="module")
def by_predicted(case) -> dict[str, np.ndarray]:
    return {name: np.cos(1.0 + np.arange(values.size)) for name, values in case.run.predicted.items()}


@pytest.fixture(scope="module")
def gradient(case, by_predicted) -> np.ndarray:
    return case.era.pullback(case.run, by_predicted)


@pytest.fixture(scope="module")
def tangents(case) -> list[dict[str, np.ndarray]]:
    """Derivatives of the predictions along every parameter."""
    return [case.era.tangent(case.run, unit) for unit in np.eye(len(case.x))]


def test_the_start_is_steady_and_the_ocean_gains(case):
    """Under the pCO2 of the start; bomb radiocarbon enters the surface."""
    era, run = case.era, case.run
    model = era.posterior.model
    assert model.options.pco2_atm == pytest.approx(float(era.atmosphere.co2.at(CLOCK.start)))
    np.testing.assert_array_equal(run.start[0], run.evaluation.state.fields["DIC"])
    d14c = 1e3 * (run.start[1] / run.start[0] - 1.0)
    assert np.all((d14c < -20.0) & (d14c > -400.0))
    gain = (run.run.final - run.start) / run.start[0]
    assert np.all(gain[0] > 0.0) and np.all(gain[1][: model.grid.n_columns] > 0.03)
    assert set(run.predicted) == {"D14C", "DIC"}


def test_predictions_are_made_of_samples(case):
    """Those of DIC are its excess, those of D14C ratios at the same box and step."""
    era, run = case.era, case.run
    d14c, dic = era.cells
    n = d14c.box.size
    carbon, radiocarbon, later = np.split(run.run.samples, [n, 2 * n])
    np.testing.assert_allclose(run.predicted["D14C"], 1e3 * (radiocarbon / carbon - 1.0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(run.predicted["DIC"], later - run.start[0][dic.box], rtol=1e-12, atol=1e-9)
    samples = era.simulation.samples
    np.testing.assert_array_equal(samples.box, np.concatenate([d14c.box, d14c.box, dic.box]))
    np.testing.assert_array_equal(samples.step, np.concatenate([d14c.step, d14c.step, dic.step]))
    np.testing.assert_array_equal(samples.tracer, np.repeat([0, 1, 0], [n, n, dic.box.size]))


def test_adjoint_is_the_transpose_of_the_tangent_for_every_parameter(case, by_predicted, gradient, tangents):
    along = [sum(by_predicted[name] @ part[name] for name in by_predicted) for part in tangents]
    np.testing.assert_allclose(gradient, along, rtol=1e-9, atol=1e-11 * np.abs(gradient).max())
    names = case.era.posterior.names
    moved = {name for name, value in zip(names, gradient, strict=True) if abs(value) > 1e-9 * np.abs(gradient).max()}
    assert {GAS_EXCHANGE, "sigma_C", "kappa_dC", "alpha", "b_C"} <= moved


def test_tangents_are_differences_of_runs(case, tangents):
    """Along a direction of all parameters, and of the gas exchange alone, by a scheme of fourth order."""
    row = case.era.posterior.names.index(GAS_EXCHANGE)
    h = 2e-3
    for direction in (np.cos(1.0 + np.arange(len(case.x))), np.eye(len(case.x))[row]):
        near, far = [[case.at(case.x + s * k * h * direction) for s in (1.0, -1.0)] for k in (1, 2)]
        for name in case.run.predicted:
            along = sum(step * part[name] for step, part in zip(direction, tangents, strict=True))
            difference = (8.0 * (near[0][name] - near[1][name]) - (far[0][name] - far[1][name])) / (12.0 * h)
            np.testing.assert_allclose(along, difference, atol=1e-6 * np.abs(along).max())


def test_remainder_of_a_misfit_is_of_second_order(case):
    d14c, dic = case.era.cells
    direction = 0.1 * np.cos(3.0 + np.arange(len(case.x)))

    def misfit(predicted):
        return sum(cell.misfit(predicted[cell.name]) for cell in (d14c, dic))

    here = misfit(case.run.predicted)
    by_predicted = {cell.name: cell.weight * (case.run.predicted[cell.name] - cell.value) for cell in (d14c, dic)}
    slope = case.era.pullback(case.run, by_predicted) @ direction
    left = np.array([misfit(case.at(case.x + h * direction)) - here - h * slope for h in (0.4, 0.2, 0.1, 0.05)])
    assert abs(0.05 * slope) > 10.0 * abs(left[-1])
    np.testing.assert_allclose(np.log2(left[:-1] / left[1:])[1:], 2.0, atol=0.1)


def test_loads_of_the_steady_state_enter_the_gradient(case, by_predicted, gradient):
    """A further scalar, the sum of steady DIC, adds its own gradient."""
    posterior, evaluation = case.era.posterior, case.run.evaluation
    ones = np.ones(posterior.model.grid.n_wet)
    both = case.era.pullback(case.run, by_predicted, {"DIC": ones})
    zero = {name: np.zeros_like(np.asarray(part)) for name, part in evaluation.state.fields.items()}
    alone = posterior.pull(evaluation, zero | {"DIC": ones}, np.zeros(len(case.x)))
    np.testing.assert_allclose(both - gradient, alone, atol=1e-9 * np.abs(both).max())
    assert np.abs(alone).max() > 1.0
