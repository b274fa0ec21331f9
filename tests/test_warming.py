"""Warming: exponents in closed form, fluxes against a model of the warmer ocean, and wrong temperatures."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from invbgc.constants import PGC_PER_MMOL, YEAR
from invbgc.diagnostics.export import carbon_export, flux_at_depth
from invbgc.diagnostics.warming import warming_effect
from invbgc.errors import InputError
from invbgc.models.pco import PCOModel, PCOOptions
from invbgc.models.pco.carbon import organic_carbon
from tests.oceans import toy_state


@pytest.fixture(scope="module")
def state():
    return toy_state("few_box", PCOOptions())


@pytest.fixture(scope="module")
def warmer(state):
    return warming_effect(state, 3.0)


def test_change_of_the_exponents_in_closed_form(state, warmer):
    forcing, p = state.model.forcing, state.parameters
    for element in ("P", "C"):
        expected = p[f"b_{element}_slope"] * 3.0 / (forcing.T_max - forcing.T_min)
        change = state.model.grid.pack_surface(warmer[f"exponent_{element}_change"])
        np.testing.assert_allclose(change, expected, rtol=1e-12)
        difference = warmer[f"exponent_{element}"].diff("climate").squeeze("climate", drop=True)
        np.testing.assert_allclose(difference, warmer[f"exponent_{element}_change"], rtol=1e-12)


def test_present_is_the_export(state, warmer):
    export = carbon_export(state)
    present = warmer.sel(climate="present", drop=True)
    fluxes = flux_at_depth(export, [74.0, 100.0, 1000.0])
    for name in ("poc_flux_discrete", "poc_flux_continuous", "poc_flux_discrete_global", "poc_flux_continuous_global"):
        np.testing.assert_allclose(present[name], fluxes[name], rtol=1e-12)
    np.testing.assert_allclose(present["exponent_C"], export["exponent_C"], rtol=1e-15)


def test_changed_is_a_model_of_the_warmer_ocean(state, warmer):
    """Production does not feel temperature, so that a model with the warmer forcing has the same, but other fluxes."""
    forcing = replace(state.model.forcing, temperature=state.model.forcing.temperature + 3.0)
    model = PCOModel(state.model.circulation, forcing, table=state.model.table, backend="superlu")
    carbon = organic_carbon(model.environment, state.fields["DIP"], state.parameters)
    np.testing.assert_allclose(carbon.production, state.diagnostics["production"], rtol=1e-13)
    flux = np.asarray(carbon.poc_flux)[2] * YEAR / 1e3
    changed = warmer["poc_flux_discrete"].sel(climate="changed", depth=74.0)
    np.testing.assert_allclose(model.grid.pack_surface(changed.drop_vars(("climate", "depth"))), flux, rtol=1e-12)
    total = flux @ model.grid.surface_area * 1e3 * PGC_PER_MMOL
    found = float(warmer["poc_flux_discrete_global"].sel(climate="changed", depth=74.0))
    assert found == pytest.approx(total, rel=1e-12)
    exponent = warmer["exponent_C"].sel(climate="changed")
    ratio = warmer["poc_flux_continuous"].sel(climate="changed", depth=1000.0) / changed
    np.testing.assert_allclose(ratio, (1000.0 / 74.0) ** -exponent, rtol=1e-12)


def test_particles_dissolve_higher_up(warmer):
    for name in ("poc_flux_discrete_global", "poc_flux_continuous_global"):
        present, changed = warmer[name].transpose("climate", "depth").values
        assert np.all(changed < present)
        assert np.all(np.diff(changed / present) < 0.0)


def test_fields_of_temperature(state, warmer):
    grid, temperature = state.model.grid, state.model.forcing.temperature + 3.0
    xr.testing.assert_allclose(warming_effect(state, temperature), warmer, rtol=1e-12)
    kelvin = grid.unpack(temperature + 273.15, "thetao", {"units": "K"})
    xr.testing.assert_allclose(warming_effect(state, kelvin), warmer, rtol=1e-9)
    only_top = np.where(grid.layer_mask(2), temperature, np.nan)
    xr.testing.assert_allclose(warming_effect(state, only_top), warmer, rtol=1e-12)


def test_one_layer_counts_half(state):
    forcing = state.model.forcing
    temperature = forcing.temperature + 3.0 * state.model.grid.layer_mask(1)
    change = state.model.grid.pack_surface(warming_effect(state, temperature)["exponent_C_change"])
    expected = state.parameters["b_C_slope"] * 1.5 / (forcing.T_max - forcing.T_min)
    np.testing.assert_allclose(change, expected, rtol=1e-12)


def test_wrong_temperatures(state):
    grid, temperature = state.model.grid, state.model.forcing.temperature
    field = grid.unpack(temperature, "thetao", {"units": "degC"})
    wrong = {
        "has shape": temperature[:-1],
        "no attribute 'units'": field.drop_attrs(),
        "units 'mol'": field.assign_attrs(units="mol"),
        "missing in 1 boxes of the first 2 layers": np.where(np.arange(grid.n_wet) == 3, np.nan, temperature),
        "has another latitude": field.assign_coords(latitude=field["latitude"] + 1.0),
        "b_P falls to": -100.0,
        "missing in 12 boxes": float("nan"),
    }
    for message, given in wrong.items():
        with pytest.raises(InputError, match=message):
            warming_effect(state, given)
    with pytest.raises(InputError, match="expected depths from the base"):
        warming_effect(state, 3.0, depths=[20.0])
