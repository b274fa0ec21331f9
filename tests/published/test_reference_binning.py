"""Real observations on a 4-degree ocean against fields that were binned independently."""

import json

import numpy as np
import pytest
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.circulation.netcdf import read_circulation
from invbgc.datasets import load_dataset, open_dataset
from invbgc.datasets.forcing import CONSTANTS, FIELDS_2D, FIELDS_3D
from invbgc.errors import InputError

pytestmark = pytest.mark.shared_data

COUNTS = {"DIP": 24_995, "DIC": 21_766, "ALK": 22_213, "O2": 26_154, "DOC": 9_549}
RELATIVE = 1e-10


@pytest.fixture(scope="module")
def circulation(shared_data):
    """The circulation with the operator that the file itself holds."""
    return read_circulation(shared_data / "reference_case_4deg.nc")


@pytest.fixture(scope="module")
def reference(shared_data, circulation):
    return open_dataset(shared_data / "reference_case_4deg.nc", circulation.grid)


@pytest.fixture(scope="module")
def own(shared_data, circulation):
    return load_dataset("wang2023", source=shared_data / "wang2023_observations", circulation=circulation)


@pytest.mark.parametrize("tracer", COUNTS)
def test_targets(own, reference, tracer):
    data, expected = own[1].tracers[tracer], reference[1].tracers[tracer]
    assert data.count == COUNTS[tracer]
    np.testing.assert_array_equal(data.index, expected.index)
    np.testing.assert_allclose(data.value, expected.value, rtol=RELATIVE)
    np.testing.assert_allclose(data.weight, expected.weight, rtol=RELATIVE)
    assert data.mean == pytest.approx(expected.mean, rel=RELATIVE)
    assert data.variance == pytest.approx(expected.variance, rel=RELATIVE)


@pytest.mark.parametrize("name", [*FIELDS_3D, *FIELDS_2D])
def test_forcing(own, reference, name):
    expected = getattr(reference[0], name)
    np.testing.assert_allclose(getattr(own[0], name), expected, atol=RELATIVE * np.abs(expected).max(), rtol=0.0)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants(own, reference, name):
    assert getattr(own[0], name) == pytest.approx(getattr(reference[0], name), rel=1e-13)


def test_normalised_temperature(own, shared_data, circulation):
    forcing = own[0]
    normalised = (forcing.temperature - forcing.T_min + 1.0) / (forcing.T_max - forcing.T_min)
    with xr.open_dataset(shared_data / "reference_case_4deg.nc") as file:
        expected = circulation.grid.pack(file["normalised_temperature"].load())
    np.testing.assert_allclose(normalised, expected, rtol=RELATIVE)


def test_filled_boxes_and_steps(own):
    assert own[0].attrs["filled_boxes"] == 188
    assert json.loads(own[1].attrs["step_counts"])["DIP"]["above_floor"] == 76_482


def test_any_other_ocean_can_be_used(shared_data):
    circulation = load_circulation("few_box")
    forcing, observations = load_dataset(
        "wang2023",
        circulation.grid,
        source=shared_data / "wang2023_observations",
        circulation=circulation,
        npp="inverse_uptake_pattern",
        dic="raw",
    )
    assert list(observations.tracers) == list(COUNTS)
    assert 2.0 < forcing.DIP_mean < 2.3
    again, _ = open_dataset(
        forcing.to_dataset(circulation.grid).merge(observations.to_dataset(), combine_attrs="override"),
        circulation.grid,
    )
    np.testing.assert_array_equal(again.freshwater_flux, forcing.freshwater_flux)


def test_another_grid_needs_its_circulation(shared_data, circulation):
    source = shared_data / "wang2023_observations"
    with pytest.raises(InputError, match="no circulation is given; expected circulation="):
        load_dataset("wang2023", circulation.grid, source=source)
    with pytest.raises(InputError, match="is not that of circulation 'few_box'"):
        load_dataset("wang2023", circulation.grid, source=source, circulation=load_circulation("few_box"))
