"""CFCs, radiocarbon ages and ideal age."""

from dataclasses import replace

import numpy as np
import pytest

from invbgc.constants import YEAR
from invbgc.datasets.idealised import idealised_forcing
from invbgc.errors import InputError
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.models.pco.parameters import with_gas_exchange
from invbgc.transient.atmosphere import Record, read_record
from invbgc.transient.equilibrium import SteadyTracer
from invbgc.transient.integrate import Clock, Simulation
from invbgc.transient.tracers import (
    CFC_COLUMNS,
    GASES,
    cfc,
    cfc_history,
    cfc_schmidt,
    cfc_solubility,
    ideal_age,
    radiocarbon_age,
)
from tests.properties.cases import CIRCULATIONS

GRAVIMETRIC = {
    "CFC-11": ((-232.0411, 322.5546, 120.4956, -1.39165), (-0.146531, 0.093621, -0.0160693)),
    "CFC-12": ((-220.2120, 301.8695, 114.8533, -1.39165), (-0.147718, 0.093175, -0.0157340)),
}
"""Warner and Weiss (1985), table 5: the same data fitted per kilogram of seawater."""


def make_model(name: str, uniform: bool = False, options: PCOOptions | None = None, scale: float = 1.0) -> PCOModel:
    ocean = CIRCULATIONS[name]()
    forcing = idealised_forcing(ocean.grid)
    if uniform:
        ones = np.ones(ocean.grid.n_wet)
        forcing = replace(forcing, temperature=15.0 * ones, salinity=35.0 * ones)
    table = with_gas_exchange(pco_parameters("published"), scale)
    return PCOModel(ocean, forcing, options, table, "superlu")


@pytest.mark.parametrize("gas", GASES)
def test_volumetric_and_gravimetric_fits_differ_by_the_density_of_seawater(gas):
    """Two independent sets of printed coefficients; the density of the equation of state in kg L-1."""
    (a1, a2, a3, a4), (b1, b2, b3) = GRAVIMETRIC[gas]
    for celsius, density in ((0.0, 1.02811), (10.0, 1.02695), (20.0, 1.02476)):
        t = (celsius + 273.15) / 100.0
        per_kg = np.exp(a1 + a2 / t + a3 * np.log(t) + a4 * t**2 + 35.0 * (b1 + b2 * t + b3 * t**2))
        assert float(cfc_solubility(gas, celsius, 35.0)) / per_kg == pytest.approx(density, abs=5e-4)


@pytest.mark.parametrize(("gas", "henry", "rounding"), [("CFC-11", 1.0e-4, 5e-6), ("CFC-12", 2.9e-5, 5e-7)])
def test_solubility_in_fresh_water_is_the_henry_constant(gas, henry, rounding):
    """At 25 degC, mol m-3 Pa-1 to two digits: Warner and Weiss (1985) in the tables of Sander (2023, ACP 23, 10901)."""
    vapour = 0.03126  # atm at 25 degC, which F takes off the dry air
    per_pascal = float(cfc_solubility(gas, 25.0, 0.0)) * 1e3 / 101325.0 / (1.0 - vapour)
    assert per_pascal == pytest.approx(henry, abs=rounding)


@pytest.mark.parametrize("gas", GASES)
def test_warm_and_salt_water_dissolves_less_and_exchanges_faster(gas):
    temperature = np.linspace(-1.0, 30.0, 32)
    assert np.all(np.diff(cfc_solubility(gas, temperature, 35.0)) < 0.0)
    assert np.all(cfc_solubility(gas, temperature, 36.0) < cfc_solubility(gas, temperature, 34.0))
    assert np.all(np.diff(cfc_schmidt(gas, temperature)) < 0.0)


def test_schmidt_numbers_at_twenty_degrees():
    """The cubics of OCMIP-2 summed by hand; Wanninkhof (2014) gives 1179 and 1188 with his own fits."""
    assert float(cfc_schmidt("CFC-11", 20.0)) == pytest.approx(3501.8 - 4206.2 + 2474.04 - 601.04, abs=1e-9)
    assert float(cfc_schmidt("CFC-12", 20.0)) == pytest.approx(1203.28, abs=1e-9)


@pytest.mark.parametrize("gas", GASES)
@pytest.mark.parametrize("name", ["few_box", "column", "random_ocean_2x3"])
def test_steady_gas_is_saturated_everywhere(name, gas):
    model = make_model(name, uniform=True)
    transient, grid = cfc(model, gas), model.grid
    steady = SteadyTracer(transient, gas, np.full(grid.n_columns, 250.0))
    found = steady.solve(np.zeros((1, grid.n_wet)), {"x": model.table.to_vector()})
    np.testing.assert_allclose(found, 250.0 * float(cfc_solubility(gas, 15.0, 35.0)), rtol=1e-9)


def test_steady_gas_takes_as_much_as_it_gives_where_saturation_varies():
    """And the parameter of gas exchange acts as another table does; pressure scales the saturation."""
    model, faster = make_model("few_box"), make_model("few_box", scale=2.0)
    air = np.full(model.grid.n_columns, 100.0)
    start = np.zeros((1, model.grid.n_wet))
    by_parameter = SteadyTracer(cfc(model, "CFC-12"), "CFC-12", air).solve(start, {"x": faster.table.to_vector()})
    by_table = SteadyTracer(cfc(faster, "CFC-12"), "CFC-12", air).solve(start, {"x": faster.table.to_vector()})
    np.testing.assert_allclose(by_parameter, by_table, rtol=1e-11)
    transient, columns = cfc(faster, "CFC-12"), faster.grid.n_columns
    volume = faster.grid.volume[:columns]
    saturation = 100.0 * np.asarray(
        cfc_solubility("CFC-12", faster.forcing.temperature[:columns], faster.forcing.salinity[:columns])
    )
    exchange = volume * transient.loss[0, :columns]
    assert exchange @ by_table[:columns] == pytest.approx(exchange @ saturation, rel=1e-12)
    assert np.ptp(by_table) > 0.01 * by_table.mean()


def test_run_fills_the_ocean_from_above_and_stays_below_saturation():
    model = make_model("few_box", uniform=True, options=PCOOptions(atmosphere="ocmip2"))
    record = Record(np.array([1935.0, 1995.0, 2020.0]), np.array([[0.0, 0.0], [270.0, 260.0], [220.0, 220.0]]), "made")
    clock = Clock(1935.0, 60, 6)
    simulation = Simulation(cfc(model, "CFC-11"), clock, cfc_history(model.grid, record, clock))
    final = simulation.run(np.zeros((1, model.grid.n_wet)), {"x": model.table.to_vector()}).final[0]
    saturation = 270.0 * float(cfc_solubility("CFC-11", 15.0, 35.0))
    surface, bottom = model.grid.layer_mask(1), model.grid.layer == model.grid.layer.max()
    assert np.all(final > 0.0) and np.all(final < saturation)
    assert final[surface].min() > 0.5 * saturation > final[bottom].max()


def test_air_of_both_hemispheres_is_mixed_near_the_equator():
    grid = CIRCULATIONS["few_box"]().grid
    record = Record(np.array([1900.0, 2000.0]), np.array([[0.0, 0.0], [200.0, 100.0]]), "made")
    latitude = grid.wet_latitude[: grid.n_columns]
    expected = np.where(latitude > 10.0, 100.0, np.where(latitude < -10.0, 50.0, 75.0 + 2.5 * latitude))
    np.testing.assert_allclose(cfc_history(grid, record, Clock(1900.0, 100))(1950.0), expected, rtol=1e-13)


def test_wrong_input_is_refused(tmp_path):
    grid = CIRCULATIONS["few_box"]().grid
    with pytest.raises(InputError, match="unknown gas 'CFC-113'"):
        cfc_solubility("CFC-113", 10.0, 35.0)
    record = Record(np.array([1940.0, 2000.0]), np.array([[1.0, 0.0], [200.0, 100.0]]), "made")
    with pytest.raises(InputError, match="reaches 2010"):
        cfc_history(grid, record, Clock(1940.0, 70))
    with pytest.raises(InputError, match="starts by 1930 or with zeros"):
        cfc_history(grid, record, Clock(1930.0, 70))
    with pytest.raises(InputError, match="north and south"):
        cfc_history(grid, replace(record, values=record.values[:, 0]), Clock(1940.0, 10))
    path = tmp_path / "cfc.csv"
    path.write_text("# made up\nyear,north_ppt\n1940,0\n1950,1\n")
    with pytest.raises(InputError, match="expected year, north_ppt, south_ppt"):
        read_record(path, CFC_COLUMNS)
    with pytest.raises(InputError, match="-1000 permil"):
        radiocarbon_age(-1000.0)


def test_radiocarbon_ages():
    """One Libby half-life of 5568 years halves the sample; ages of differences are differences of ages."""
    assert float(radiocarbon_age(-500.0)) == pytest.approx(5568.0, abs=0.1)
    deep, surface = np.array([-160.0, -240.0]), np.array([-50.0, -60.0])
    np.testing.assert_allclose(
        radiocarbon_age(deep, surface), radiocarbon_age(deep) - radiocarbon_age(surface), rtol=1e-12
    )
    assert float(radiocarbon_age(20.0)) < 0.0


def test_ideal_age_of_two_boxes_is_the_volume_over_the_flow():
    model = make_model("two_box")
    age = ideal_age(model)
    deep = 3.6e14 * (3700.0 - 74.0) / 40e6 / YEAR
    np.testing.assert_allclose(age, [0.0, deep], rtol=1e-9)
    volume = model.grid.volume
    assert volume @ age / volume.sum() == pytest.approx(deep * (3700.0 - 74.0) / 3700.0, rel=1e-9)


@pytest.mark.parametrize("name", ["few_box", "column", "random_ocean_2x3"])
def test_ideal_age_grows_by_a_year_per_year_below_a_surface_of_zero(name):
    model = make_model(name)
    age, surface = ideal_age(model), model.grid.layer_mask(1)
    assert np.all(age[surface] == 0.0) and np.all(age[~surface] > 0.0)
    np.testing.assert_allclose((model.circulation.transport @ (age * YEAR))[~surface], 1.0, atol=1e-8)
