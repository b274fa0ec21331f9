"""Carbon isotopes in pools: uniform ratios, balances, and the reduced radiocarbon of the paper as a limit."""

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from invbgc.datasets.idealised import idealised_forcing
from invbgc.errors import InputError
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.models.pco.carbon import gross_co2
from invbgc.models.pco.parameters import with_gas_exchange
from invbgc.steady import steady_state
from invbgc.transient.atmosphere import Record, load_atmosphere
from invbgc.transient.equilibrium import SteadyTracer
from invbgc.transient.industrial import DECAY, Moment, history, industrial_carbon
from invbgc.transient.integrate import Clock, Simulation
from invbgc.transient.isotopes import (
    DELTA13C_AIR,
    Isotope,
    delta14c,
    equilibrium_delta13c,
    fractionation,
    isotope_carbon,
    isotope_history,
    ratio_of_delta14c,
    steady_isotopes,
)
from tests.properties.cases import CIRCULATIONS

OPTIONS = {
    "few_box": PCOOptions(labile="satellite_residual", labile_fraction=0.05),
    "random_ocean_2x3": PCOOptions(atmosphere="ocmip2"),
}


class Case(NamedTuple):
    """A model, its compiled steady state without O2, and the steady radiocarbon under the air of that state."""

    model: PCOModel
    steady: Any
    theta: dict
    air: Moment
    radiocarbon: np.ndarray

    def under(self, ratio: float) -> Moment:
        """The same air with another ratio of isotopes."""
        return self.air._replace(ratio=np.full_like(self.air.ratio, ratio))


def make_model(name: str) -> PCOModel:
    ocean = CIRCULATIONS[name]()
    table = pco_parameters("published")
    return PCOModel(ocean, idealised_forcing(ocean.grid), OPTIONS.get(name), table, "superlu")


@cache
def make_case(name: str) -> Case:
    model = make_model(name)
    steady = jax.jit(partial(steady_state, model.stages[:-1]))
    x = model.table.to_vector()
    theta = {"x": x, "fields": steady(x)[0]}
    ratio = np.full(model.grid.n_columns, ratio_of_delta14c(0.0, DELTA13C_AIR))
    air = Moment(np.asarray(model.options.pco2_atm), ratio)
    return Case(model, steady, theta, air, steady_isotopes(isotope_carbon(model), theta, air))


@pytest.fixture(params=OPTIONS)
def case(request):
    return make_case(request.param)


@pytest.fixture
def few_box():
    return make_case("few_box")


def test_without_fractionation_and_decay_all_pools_have_the_ratio_of_the_air(case):
    transient = isotope_carbon(case.model, Isotope("C", 0.0, 0.0))
    found = steady_isotopes(transient, case.theta, case.under(1.25))
    assert len(found) == 4 + ("DOCl" in case.theta["fields"])
    for values, name in zip(found[1:], ("DIC", "DOC", "DOCr", "DOCl"), strict=False):
        np.testing.assert_allclose(values, 1.25 * np.asarray(case.theta["fields"][name]), rtol=1e-9)


def assert_balanced(model: PCOModel, fields, air: Moment, radiocarbon: np.ndarray) -> None:
    """Gas exchange by the formula, virtual fluxes and the decay of the inventory sum to nothing."""
    env, grid = model.environment, model.grid
    columns = grid.n_columns
    invasion, evasion = gross_co2(env, fields["DIC"], fields["ALK"], air.pco2)
    alpha = fractionation(2.0, env.temperature[:columns], 1.0)
    ratio = radiocarbon[1] / radiocarbon[0]
    through = alpha.kinetic * alpha.dissolved * grid.volume[:columns]
    entering = through @ (invasion * air.ratio)
    leaving = through @ (evasion * ratio[:columns] / alpha.inorganic)
    virtual = grid.volume @ (ratio * env.freshwater * env.DIC_surface_mean)
    decay = DECAY * grid.volume @ radiocarbon[1:].sum(axis=0)
    assert abs(entering - leaving - virtual - decay) < 1e-10 * entering
    assert decay > 0.01 * entering


def test_decay_of_all_pools_is_what_the_air_brings(case):
    assert_balanced(case.model, case.theta["fields"], case.air, case.radiocarbon)


def test_decay_is_balanced_whatever_the_carbon():
    """In a column whose DIC and phosphate are made up: what the organic pools get they give back."""
    model = make_model("column")
    depth = model.grid.wet_depth
    fields = {"DIP": model.forcing.phosphate, "DIC": 2000.0 + 0.05 * depth, "ALK": 2300.0 + 0.02 * depth}
    fields |= {name: np.zeros_like(depth) for name in ("DOC", "DOCr")}
    theta, air = {"x": model.table.to_vector(), "fields": fields}, Moment(np.asarray(278.0), np.ones(1))
    assert_balanced(model, fields, air, steady_isotopes(isotope_carbon(model), theta, air))


def test_a_run_from_the_steady_state_stays_there(case):
    transient = isotope_carbon(case.model)
    run = Simulation(transient, Clock(1850.0, 2, 6), lambda year: case.air).run(case.radiocarbon, case.theta)
    np.testing.assert_allclose(run.final, case.radiocarbon, rtol=1e-11)
    assert transient.names[:4] == ("DIC", "DI14C", "DO14C", "DO14Cr")
    assert ("DO14Cl" in transient.names) == ("DOCl" in case.theta["fields"])


def test_sources_follow_parameters_away_from_the_table(few_box):
    """The implicit losses are those of the table; steady states of other parameters are still steady in a run."""
    model, theta = few_box.model, few_box.theta
    x = theta["x"] + 0.1 * np.cos(np.arange(len(theta["x"])))
    transient, other = isotope_carbon(model), {"x": x, "fields": few_box.steady(x)[0]}
    start = steady_isotopes(transient, other, few_box.air)
    run = Simulation(transient, Clock(1850.0, 2, 6), lambda year: few_box.air).run(start, other)
    np.testing.assert_allclose(run.final, start, rtol=1e-9)


def delta13c_of(case: Case) -> np.ndarray:
    """Steady delta13C of DIC, permil."""
    light = steady_isotopes(isotope_carbon(case.model, "13C"), case.theta, case.under(1.0 + 1e-3 * DELTA13C_AIR))
    return 1e3 * (light[1] / light[0] - 1.0)


def delta14c_reduced(case: Case, scale: float = 1.0) -> np.ndarray:
    model, dic = case.model, np.asarray(case.theta["fields"]["DIC"])
    options = (model.options, with_gas_exchange(model.table, scale, free=False), "superlu")
    reduced = industrial_carbon(PCOModel(model.circulation, model.forcing, *options))
    steady = SteadyTracer(reduced, "DI14C", case.under(1.0))
    return 1e3 * (steady.solve(np.stack([dic, dic]), case.theta) / dic - 1.0)


def test_reduced_radiocarbon_is_that_of_the_pools_with_slightly_faster_exchange(few_box):
    """1.2 to 1.7 permil apart; heavy carbon passes the surface slower by alpha_k alpha_aq / alpha_DIC, about 2 %."""
    light = delta13c_of(few_box)
    assert light.min() > 0.0 and light.max() < 3.0
    pools = delta14c(few_box.radiocarbon[1] / few_box.radiocarbon[0], light)
    difference = pools - delta14c_reduced(few_box)
    assert difference.min() > -1.8 and difference.max() < -1.1
    alpha = fractionation(2.0, few_box.model.environment.temperature[: few_box.model.grid.n_columns], 1.0)
    slower = float(np.mean(alpha.kinetic * alpha.dissolved / alpha.inorganic))
    assert slower == pytest.approx(0.98, abs=0.005)
    assert np.abs(pools - delta14c_reduced(few_box, slower)).max() < 0.7


def test_reduced_and_pooled_radiocarbon_agree_through_the_bomb(few_box):
    """1.4 to 2.8 permil apart in 1990, when bomb radiocarbon has raised the surface by 68 to 135; pCO2 is constant."""
    clock, atmosphere = Clock(1945.0, 45, 4), load_atmosphere()
    atmosphere = replace(atmosphere, co2=Record(np.array([1800.0, 2100.0]), np.full(2, 278.0), "constant"))
    model, theta = few_box.model, few_box.theta
    dic = np.asarray(theta["fields"]["DIC"])
    reduced = Simulation(industrial_carbon(model), clock, history(model, atmosphere))
    first = SteadyTracer(reduced.model, "DI14C", reduced.forcing(clock.start)).solve(np.stack([dic, dic]), theta)
    plain = reduced.run(np.stack([dic, first]), theta).final
    pooled = Simulation(isotope_carbon(model), clock, isotope_history(model, atmosphere))
    begun = steady_isotopes(pooled.model, theta, pooled.forcing(clock.start))
    final = pooled.run(begun, theta).final
    difference = delta14c(final[1] / final[0], delta13c_of(few_box)) - 1e3 * (plain[1] / plain[0] - 1.0)
    assert np.all((1e3 * (plain[1] - first) / dic)[model.grid.layer_mask(1)] > 60.0)
    assert difference.min() > -3.0 and difference.max() < -1.0


def test_factors_at_a_known_point():
    """At 20 degC and 10 umol kg-1 of CO2."""
    light, heavy = fractionation(1.0, 20.0, 10.0), fractionation(2.0, 20.0, 10.0)
    assert float(light.inorganic) == pytest.approx(1.00841, abs=1e-12)
    assert float(light.organic) == pytest.approx(0.998764 * 0.9932 / 1.00841, rel=1e-12)
    for one, two in zip(light[:3], heavy[:3], strict=True):
        assert float(two) - 1.0 == pytest.approx(2.0 * (float(one) - 1.0), rel=1e-12)
    assert all(float(factor) == 1.0 for factor in fractionation(0.0, 20.0, 10.0))


def test_normalisation_of_radiocarbon():
    """The standard has delta13C = -25 permil: wood of that delta13C and ratio one has D14C = 0."""
    assert delta14c(1.0, -25.0) == pytest.approx(0.0, abs=1e-12)
    assert delta14c(0.95, 1.0) == pytest.approx(1e3 * (0.95 * (0.975 / 1.001) ** 2 - 1.0), rel=1e-12)
    d14c = np.array([-200.0, 0.0, 700.0])
    np.testing.assert_allclose(delta14c(ratio_of_delta14c(d14c, -6.61), -6.61), d14c, atol=1e-12)
    assert float(equilibrium_delta13c(0.0)) == pytest.approx(1e3 * (0.99339 * 1.01051 - 1.0), abs=1e-12)


def test_history_of_isotopes(few_box):
    atmosphere, model = load_atmosphere(), few_box.model
    heavy = isotope_history(model, atmosphere)(1965.0)
    plain = history(model, atmosphere)(1965.0)
    assert heavy.pco2 == plain.pco2
    np.testing.assert_allclose(delta14c(heavy.ratio, DELTA13C_AIR), 1e3 * (plain.ratio - 1.0), rtol=1e-10)
    suess = Record(np.array([1850.0, 2000.0]), np.array([-6.6, -8.1]), "line")
    light = isotope_history(model, atmosphere, "13C", suess)(1925.0)
    np.testing.assert_allclose(light.ratio, 1.0 - 7.35e-3, rtol=1e-14)


def test_unknown_isotopes_are_refused(few_box):
    with pytest.raises(InputError, match="unknown isotope '12C'"):
        isotope_carbon(few_box.model, "12C")
    with pytest.raises(InputError, match="known: 14C, 13C"):
        isotope_history(few_box.model, load_atmosphere(), "C14")
