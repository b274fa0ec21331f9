"""Units: spellings found in files, conversions, and refusals."""

import numpy as np
import pytest
import xarray as xr

from invbgc.constants import YEAR
from invbgc.errors import InputError
from invbgc.units import convert, require_unit


@pytest.mark.parametrize(
    ("value", "unit_from", "unit_to", "expected"),
    [
        (2.0, "mmol m-3", "mmol/m^3", 2.0),
        (2.0, "mol m-3", "mmol m-3", 2000.0),
        (2000.0, "umol kg-1", "mmol m-3", 2049.0),
        (2000.0, "µmol/kg", "mmol m-3", 2049.0),
        (2.0e-3, "mol/kg", "mmol m-3", 2049.0),
        (2049.0, "mmol m-3", "umol kg-1", 2000.0),
        (2.0, "umol/L", "mmol m-3", 2.0),
        (2.0, "mmol m-3 (as distributed)", "mmol m-3", 2.0),
        (1.0, "yr-1", "s-1", 1.0 / YEAR),
        (1.0, "mmol C m-2 yr-1", "mmol m-2 yr-1", 1.0),
        (1.0, "mol C m-2 d-1", "mmol m-2 yr-1", 365e3),
        (36.0, "cm h-1", "m s-1", 1e-4),
        (1013.25, "hPa", "atm", 1.0),
        (280.15, "K", "degC", 7.0),
        (7.0, "degrees_C", "degC", 7.0),
        (35.0, "psu", "1", 35.0),
        (35.0, "1", "dimensionless", 35.0),
        (50.0, "%", "1", 0.5),
        (1.0, "dbar", "Pa", 1e4),
    ],
)
def test_conversion(value, unit_from, unit_to, expected):
    assert convert(value, unit_from, unit_to) == pytest.approx(expected, rel=1e-12)


def test_density_is_an_option():
    assert convert(100.0, "umol kg-1", "mmol m-3", density=1.03) == pytest.approx(103.0)


def test_equal_units_pass_the_values_through():
    values = np.array([0.1, np.nan])
    assert convert(values, "mmol m-3", "mmol m**-3") is values


@pytest.mark.parametrize("pair", [("s", "m"), ("kg", "mmol m-3"), ("1", "kg m-3"), ("mol", "mmol m-3")])
def test_other_quantities_are_refused(pair):
    with pytest.raises(InputError, match="measure different things"):
        convert(1.0, *pair)


@pytest.mark.parametrize("unit", ["bananas", "m-", "1e-3", "mmol m-3 /"])
def test_unknown_units_are_refused(unit):
    with pytest.raises(InputError, match="is not understood"):
        convert(1.0, unit, "mmol m-3")


def test_require_unit_converts_and_relabels():
    array = xr.DataArray(np.array([2000, 2100]), dims="x", attrs={"units": "umol/kg", "long_name": "DIC"})
    result = require_unit(array, "mmol m-3", "file a.nc, variable 'DIC'")
    assert result.attrs == {"units": "mmol m-3", "long_name": "DIC"}
    np.testing.assert_allclose(result, [2049.0, 2151.45], rtol=1e-14)
    assert array.attrs["units"] == "umol/kg"


def test_require_unit_names_the_culprit():
    array = xr.DataArray([1.0], dims="x")
    with pytest.raises(InputError, match=r"file a.nc, variable 'DIC': no attribute 'units'; expected 'mmol m-3'"):
        require_unit(array, "mmol m-3", "file a.nc, variable 'DIC'")
    with pytest.raises(InputError, match=r"file a.nc, variable 'DIC': units 'degC'; expected 'mmol m-3'"):
        require_unit(array.assign_attrs(units="degC"), "mmol m-3", "file a.nc, variable 'DIC'")
