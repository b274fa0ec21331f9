"""Tables of ensembles against numbers worked out by hand."""

import numpy as np
import pytest
import xarray as xr

from invbgc.inference.members import draw_table, member_table


def dataset(values, errors, quantities=("export", "beta")):
    units = {"export": "Pg yr-1", "beta": "1", "gamma": "s-1"}
    return xr.Dataset(
        {
            "value": ("quantity", np.array(values)),
            "error": ("quantity", np.array(errors)),
            "unit": ("quantity", [units[name] for name in quantities]),
        },
        {"quantity": list(quantities)},
        {"status": "converged"},
    )


def test_spread_between_and_within_members():
    found = member_table({"a": dataset([10.0, 1.0], [3.0, 0.1]), "b": dataset([14.0, 1.0], [4.0, 0.1])})
    assert list(found["member"].values) == ["a", "b"] and list(found["unit"].values) == ["Pg yr-1", "1"]
    export, beta = found.sel(quantity="export"), found.sel(quantity="beta")
    assert list(export["value"].values) == [10.0, 14.0] and list(export["error"].values) == [3.0, 4.0]
    assert float(export["mean"]) == 12.0
    assert float(export["between_sd"]) == pytest.approx(8**0.5)  # (2^2 + 2^2)/(2 - 1)
    assert float(export["between_sd_population"]) == pytest.approx(2.0)
    assert float(export["within_sd"]) == pytest.approx(12.5**0.5)  # (9 + 16)/2
    assert float(export["total_sd"]) == pytest.approx(20.5**0.5)
    assert float(beta["between_sd"]) == 0.0 and float(beta["total_sd"]) == pytest.approx(0.1)


def test_one_member_has_no_spread_between():
    found = member_table({"only": dataset([10.0, 1.0], [3.0, 0.1])})
    assert np.all(np.isnan(found["between_sd"])) and np.all(found["between_sd_population"] == 0.0)
    np.testing.assert_allclose(found["total_sd"], [3.0, 0.1])


def test_members_are_compared_in_the_numbers_that_all_of_them_have():
    found = member_table(
        {
            "a": dataset([1e-9, 10.0], [0.0, 3.0], ("gamma", "export")),
            "b": dataset([14.0, 1.0], [4.0, 0.1]),
        }
    )
    assert list(found["quantity"].values) == ["export"] and list(found["unit"].values) == ["Pg yr-1"]
    assert float(found["mean"][0]) == 12.0


def test_a_number_without_error_bar_has_none_within():
    found = member_table({"a": dataset([1.0, 2.0], [np.nan, 0.1]), "b": dataset([2.0, 2.0], [np.nan, 0.3])})
    assert np.isnan(found["within_sd"][0]) and float(found["within_sd"][1]) == pytest.approx(0.05**0.5)


def test_spread_over_draws_beside_the_linear_error():
    draws = {f"draw_{i}": dataset([float(i), 2.0 * i], [0.0, 0.0]).drop_vars("error") for i in range(5)}
    errors = xr.DataArray([3.0, 1.5], {"quantity": ["beta", "export"]}, ["quantity"])
    found = draw_table(draws, errors)
    np.testing.assert_allclose(found["mean"], [2.0, 4.0])
    np.testing.assert_allclose(found["standard_deviation"], [2.5**0.5, 10**0.5])  # 10/4 and 40/4
    np.testing.assert_allclose(found["quantile"].sel(probability=0.5), [2.0, 4.0])
    np.testing.assert_allclose(found["quantile"].sel(probability=0.16), [0.64, 1.28])
    np.testing.assert_allclose(found["linear_error"], [1.5, 3.0])
    assert list(found["draw"].values) == list(draws) and list(found["unit"].values) == ["Pg yr-1", "1"]
