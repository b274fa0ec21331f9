"""Industrial carbon: the reduced form against all tracers, stability of the exchange, growth with pCO2."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest

from invbgc.models.pco import PCOModel, PCOOptions
from invbgc.models.pco.carbon import gross_co2
from invbgc.transient.atmosphere import Record, load_atmosphere, zone_of_columns
from invbgc.transient.industrial import gas_exchange_stability, history, industrial_carbon, whole_carbon
from invbgc.transient.integrate import Clock, Simulation
from tests.oceans import toy_state

CLOCK = Clock(1850.0, 40, 6)


class Case(NamedTuple):
    """A model with its steady state under its own pCO2, and the reduced simulation."""

    model: PCOModel
    theta: dict[str, Any]
    simulation: Simulation

    def run(self, rise: float) -> np.ndarray:
        """Excess DIC [n_wet] at the end, pCO2 having risen evenly by so many uatm."""
        dic = np.asarray(self.theta["fields"]["DIC"])
        self.simulation.forcing = rising(self.model, rise)
        return self.simulation.run(np.stack([dic, dic]), self.theta).final[0] - dic


def rising(model: PCOModel, rise: float):
    """Forcing of a pCO2 that rises evenly from that of the steady state."""
    first, shipped = float(model.options.pco2_atm), load_atmosphere()
    line = Record(np.array([CLOCK.start, CLOCK.start + CLOCK.years]), np.array([first, first + rise]), "line")
    return history(model, replace(shipped, co2=line))


@pytest.fixture(scope="module")
def case() -> Case:
    state = toy_state("few_box", PCOOptions())
    model, fields = state.model, {name: part for name, part in state.fields.items() if name != "O2"}
    theta = {"x": model.table.to_vector(), "fields": fields}
    return Case(model, theta, Simulation(industrial_carbon(model), CLOCK, rising(model, 0.0)))


def test_reduced_and_whole_form_agree(case):
    """The organic pools and alkalinity stay at their steady state, and DIC takes the same path."""
    whole = Simulation(whole_carbon(case.model), CLOCK, rising(case.model, 60.0))
    names = whole.model.names
    assert set(names) == {"DOC", "DOCr", "ALK", "DIC"}
    start = np.stack([np.asarray(case.theta["fields"][name]) for name in names])
    run = whole.run(start, case.theta)
    for name, before, after in zip(names, start, run.final, strict=True):
        if name != "DIC":
            np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-10, err_msg=name)
    row = names.index("DIC")
    excess, reduced = run.final[row] - start[row], case.run(60.0)
    assert reduced.max() > 5.0
    np.testing.assert_allclose(reduced, excess, atol=1e-8 * np.abs(excess).max())


def test_nothing_changes_under_the_air_of_the_steady_state(case):
    assert np.abs(case.run(0.0)).max() < 1e-8


def test_excess_grows_with_the_rise_of_pco2(case):
    """More everywhere, and less than in proportion: the buffer weakens."""
    one, two, less = case.run(50.0), case.run(100.0), case.run(-20.0)
    assert np.all(one > 0.0) and np.all(two > one) and np.all(less < 0.0)
    assert np.all(two < 2.0 * one) and np.all(two > 1.7 * one)
    grid = case.model.grid
    surface, bottom = grid.layer == 0, grid.layer == 3
    assert one[surface].min() > one[bottom].max()
    # The Revelle factor: DIC of the surface gains a tenth of the relative rise of pCO2, with a spread of one half.
    rise = 50.0 / float(case.model.options.pco2_atm)
    revelle = rise / (one[surface] / np.asarray(case.theta["fields"]["DIC"])[surface])
    assert np.all((revelle > 7.0) & (revelle < 20.0))


@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_stability_is_the_slope_of_the_evasion(case, scale):
    model, fields, clock = case.model, case.theta["fields"], Clock(1850.0, 1, 6)
    env, columns = model.environment, model.grid.n_columns
    dic, alk = np.asarray(fields["DIC"])[:columns], np.asarray(fields["ALK"])[:columns]

    def evasion(shift):
        return np.asarray(gross_co2(env, dic + shift, alk, env.options.pco2_atm, scale)[1])

    h = 0.5
    slope = (8.0 * (evasion(h) - evasion(-h)) - (evasion(2 * h) - evasion(-2 * h))) / (12.0 * h)
    found = gas_exchange_stability(model, fields, clock, scale)
    np.testing.assert_allclose(found, clock.step * slope, rtol=1e-6)
    assert found.shape == (columns,) and np.all((found > 0.0) & (found < 2.0))
    np.testing.assert_allclose(gas_exchange_stability(model, fields, Clock(1850.0, 1, 12), scale), 0.5 * found)


def test_history_over_the_columns(case):
    shipped = load_atmosphere()
    moment = history(case.model, shipped)(1963.5)
    assert float(moment.pco2) == float(shipped.co2.at(1963.5))
    zone = zone_of_columns(case.model.grid)
    expected = np.array([1.720, 1.475, 1.330])[zone]
    np.testing.assert_allclose(moment.ratio, expected, rtol=1e-12)


def test_a_warming_surface_gives_off_carbon(case):
    columns = case.model.grid.n_columns
    excess = []
    for warming in (0.0, 2.0):
        years, values = np.array([1850.0, 1900.0]), np.array([np.zeros(columns), np.full(columns, warming)])
        first = float(case.model.options.pco2_atm)
        flat = Record(years, np.full(2, first), "flat")
        still = replace(load_atmosphere(), co2=flat, sst=Record(years, values, "warming"))
        case.simulation.forcing = history(case.model, still, CLOCK.start)
        dic = np.asarray(case.theta["fields"]["DIC"])
        final = Simulation(case.simulation.model, CLOCK, case.simulation.forcing).run(np.stack([dic, dic]), case.theta)
        excess.append(case.model.grid.volume @ (final.final[0] - dic))
    reservoir = case.model.grid.volume @ dic
    assert abs(excess[0]) < 1e-10 * reservoir
    # Solubility falls by 4 % a degree; buffered tenfold, the surface gives off some 0.4 % of its DIC for each.
    assert -1e-2 * reservoir < excess[1] < -1e-5 * reservoir
