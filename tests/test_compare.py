"""Model and observed fluxes: closed forms on a made-up export, units, statistics, and tables that are wrong."""

from importlib.resources import files

import numpy as np
import pytest
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.diagnostics.compare import (
    ALL_STATIONS,
    LAWS,
    band_means,
    carbon_flux,
    compare_fluxes,
    comparison_summary,
    read_flux_table,
)
from invbgc.diagnostics.places import STATIONS
from invbgc.errors import InputError
from tests.test_places import EXPONENT, PARTS, made_up_export

HEADER = "station,latitude,longitude,depth,value,error,unit,kind,source"
MOL = "mol m-2 yr-1"
POC, TOC = PARTS["poc"], sum(PARTS.values())


@pytest.fixture(scope="module")
def grid():
    return load_circulation("embedded_8deg").grid


@pytest.fixture(scope="module")
def export(grid):
    return made_up_export(grid)


@pytest.fixture(scope="module")
def middle(grid):
    """Latitude and longitude of a box of the open Pacific whose neighbours are all deep."""
    row, column = np.abs(grid.latitude - 4.0).argmin(), np.abs(grid.longitude - 204.0).argmin()
    return float(grid.latitude[row]), float(grid.longitude[column])


@pytest.fixture
def table(tmp_path):
    def write(*lines: str, header: str = HEADER) -> xr.Dataset:
        path = tmp_path / "fluxes.csv"
        path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        return read_flux_table(path)

    return write


def mixed_layer(export: xr.Dataset, depth: float) -> xr.DataArray:
    return xr.where(export["wet"], depth, np.nan).assign_attrs(units="m")


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1.0, MOL),
        (1.0, "mol C m-2 yr-1"),
        (1000.0 / 365.0, "mmol C m-2 d-1"),
        (12000.0 / 365.0, "mg C m-2 d-1"),
        (12000.0 / 365.0, "mgC/m2/day"),
        (12.0, "g C m^-2 yr^-1"),
        (12e-3, "kg_C m-2 a-1"),
    ],
)
def test_units_of_carbon_flux(value, unit):
    assert carbon_flux(value, unit) == pytest.approx(1.0, rel=1e-14)


@pytest.mark.parametrize("unit", ["", "kg", "mg m-2 d-1", "mmol m-3", "mol kg-1 yr-1", "furlong", "mg C m-2"])
def test_units_that_are_no_carbon_flux(unit):
    with pytest.raises(InputError, match="Unit"):
        carbon_flux(1.0, unit)


def test_published_observations_are_read():
    """82.15, 75.56 and 124.83 mg C m-2 d-1 are round numbers of mol m-2 yr-1 to the digits given."""
    example = read_flux_table(str(files("invbgc").joinpath("data", "example_fluxes.csv")))
    assert list(example["station"].values) == ["ALOHA", "OSP", "BATS"]
    assert set(example["kind"].values) == {"ncp"}
    np.testing.assert_allclose(example["observed"], np.array([82.15, 75.56, 124.83]) * 0.365 / 12.0, rtol=1e-14)
    np.testing.assert_allclose(example["observed_error"], np.array([23.0, 19.71, 39.42]) * 0.365 / 12.0, rtol=1e-14)
    np.testing.assert_array_equal(example["depth"], [np.nan, np.nan, 150.0])
    assert all("Wang et al. (2023)" in text for text in example["source"].values)
    assert example["observed"].attrs["units"] == MOL


def test_table_keeps_lines_and_fills_what_may_be_left_out(table):
    found = table("aloha,150,2,,mol m-2 yr-1", "", " Site 7 ,400,24, 12,mg C m-2 d-1,,-20,190", header=(
        "station,Depth,value,error, unit,kind,latitude,longitude"
    ))  # fmt: skip
    assert list(found["station"].values) == ["ALOHA", "Site 7"]
    assert list(found["kind"].values) == ["trap", "trap"]
    assert list(found["line"].values) == [2, 4]
    np.testing.assert_array_equal(found["latitude"], [STATIONS["ALOHA"][0], -20.0])
    np.testing.assert_array_equal(found["longitude"], [STATIONS["ALOHA"][1], 190.0])
    np.testing.assert_allclose(found["observed"], [2.0, 24.0 * 0.365 / 12.0])
    np.testing.assert_allclose(found["observed_error"], [np.nan, 12.0 * 0.365 / 12.0])
    unnamed = table("10,-30,100,1,1,mol m-2 yr-1", header="latitude,longitude,depth,value,error,unit")
    assert unnamed["station"].item() == "10 N -30 E"


def test_traps_and_community_production_by_closed_form(export, grid, middle, table):
    """At an interface both laws agree; between, the model's own flux is linear, and above the law."""
    latitude, longitude = middle
    interface, between = grid.depth_edges[5], 0.5 * (grid.depth_edges[5] + grid.depth_edges[6])
    found = table(
        *(
            f"here,{latitude},{longitude},{depth!r},1.5,0.2,{MOL},{kind},"
            for kind in ("trap", "ncp")
            for depth in map(float, (interface, between))
        )
    )
    result = compare_fluxes(export, found)
    shape, top = 1.0 + longitude / 360.0, export.attrs["euphotic_depth"]
    law = (np.array([interface, between]) / top) ** -EXPONENT
    linear = np.array([law[0], 0.5 * (law[0] + (grid.depth_edges[6] / top) ** -EXPONENT)])
    expected = np.array(
        [[*(POC * law), *(TOC * law)], [*(POC * linear), *(TOC * law + POC * (linear - law))]]
    )  # law, observation
    np.testing.assert_allclose(result["model"], expected * shape, rtol=1e-13)
    step = float(np.diff(grid.longitude)[0]) / 360.0
    np.testing.assert_allclose(result["model_sd"], expected * step * np.sqrt(0.75), rtol=1e-11)
    np.testing.assert_allclose(result["ratio"], expected * shape / 1.5, rtol=1e-13)
    joint = np.sqrt(0.2**2 + (expected * step) ** 2 * 0.75)
    np.testing.assert_allclose(result["difference"], (expected * shape - 1.5) / joint, rtol=1e-11)
    assert expected[1, 1] > 1.01 * expected[0, 1]
    assert list(result["law"].values) == list(LAWS)
    assert (result["boxes"] == 9).all() and result["own_box_wet"].all()
    for name in ("model", "model_sd", "observed"):
        assert result[name].attrs["units"] == MOL


@pytest.mark.parametrize("depth", [20.0, 400.0])
def test_base_of_the_mixed_layer(export, middle, table, depth):
    """All three pathways leave a shallow mixed layer at z_0; labile carbon does not outlive a deep one."""
    latitude, longitude = middle
    found = table(
        f"here,{latitude},{longitude},,1,,{MOL},ncp,", f"here,{latitude},{longitude},300,1,,{MOL},ncp,"
    )  # the second has its own horizon
    result = compare_fluxes(export, found, mixed_layer(export, depth))
    top, shape = export.attrs["euphotic_depth"], 1.0 + longitude / 360.0
    deep = depth > top
    leaving = TOC - PARTS["labile"] * deep
    attenuation = (max(depth, top) / top) ** -EXPONENT
    model = result["model"].sel(law="continuous").values
    np.testing.assert_allclose(model, shape * np.array([leaving * attenuation, TOC * (300.0 / top) ** -EXPONENT]))
    assert np.isnan(result["difference"]).all()


def test_a_model_that_is_right_has_ratio_one(export, table):
    stations = ["ALOHA", "BATS", "K2"]
    first = compare_fluxes(export, table(*(f"{name},,,500,1,,{MOL},trap," for name in stations)))
    right = [f"{name},,,500,{float(flux)!r},1,{MOL},trap," for name, flux in zip(
        stations, first["model"].sel(law="discrete"), strict=True
    )]  # fmt: skip
    second = compare_fluxes(export, table(*right)).sel(law="discrete")
    np.testing.assert_allclose(second["ratio"], 1.0, rtol=1e-14)
    np.testing.assert_allclose(second["difference"], 0.0, atol=1e-13)


def test_below_the_sea_floor_there_is_no_model_value(export, grid, table):
    """A box whose neighbourhood is shallow: NaN there, and not counted; a flux of zero has no ratio."""
    floor = export["sea_floor_depth"]
    deepest_around = xr.DataArray(
        np.max([np.roll(np.nan_to_num(floor.values), shift, 1) for shift in (-1, 0, 1)], axis=0), floor.coords
    ).rolling(latitude=3, center=True, min_periods=1).max()  # fmt: skip
    shallow = deepest_around.where(export["wet"]).values
    row, column = np.unravel_index(np.nanargmin(shallow), shallow.shape)
    assert shallow[row, column] < 3000.0
    place = f"{grid.latitude[row]},{grid.longitude[column]}"
    found = table(f"shelf,{place},3500,1,1,{MOL},trap,", f"ALOHA,,,1000,0,1,{MOL},trap,")
    result = compare_fluxes(export, found)
    assert np.isnan(result["model"].isel(observation=0)).all()
    assert result["model"].isel(observation=1).notnull().all()
    assert np.isnan(result["ratio"]).all()
    summary = comparison_summary(result)
    assert list(summary["observations"].values[:, 0]) == [0, 1, 1]
    assert np.isnan(summary["log10_bias"]).all()


def test_statistics_by_station_and_kind(export, table):
    """Observations that are the model's flux over known ratios."""
    one = compare_fluxes(export, table(f"ALOHA,,,1000,1,,{MOL},trap,", f"BATS,,,200,1,,{MOL},ncp,"))
    model = one["model"].sel(law="continuous").values.tolist()
    ratios = {"ALOHA": np.array([0.5, 1.0, 2.0, 4.0, 8.0]), "BATS": np.array([10.0, 1.0])}
    lines = [f"ALOHA,,,1000,{model[0] / r!r},1,{MOL},trap," for r in ratios["ALOHA"].tolist()]
    lines += [f"BATS,,,200,{model[1] / r!r},1,{MOL},ncp," for r in ratios["BATS"].tolist()]
    comparison = compare_fluxes(export, table(*lines))
    summary = comparison_summary(comparison)
    assert list(summary["station"].values) == ["ALOHA", "BATS", ALL_STATIONS]
    assert list(summary["kind"].values) == ["trap", "ncp"]
    np.testing.assert_array_equal(summary["observations"], [[5, 0], [0, 2], [5, 2]])
    by_law = summary.sel(law="continuous")
    aloha, bats = by_law.sel(station="ALOHA", kind="trap"), by_law.sel(station="BATS", kind="ncp")
    np.testing.assert_allclose(aloha["ratio_quantile"], [1.0, 2.0, 4.0], rtol=1e-13)
    np.testing.assert_allclose(aloha["observed_quantile"], model[0] / np.array([4.0, 2.0, 1.0]), rtol=1e-13)
    np.testing.assert_allclose(aloha["model_quantile"], model[0], rtol=1e-13)
    logarithm = np.log10(ratios["ALOHA"])
    assert float(aloha["log10_bias"]) == pytest.approx(np.log10(2.0), rel=1e-13)
    assert float(aloha["log10_rmse"]) == pytest.approx(np.sqrt(np.mean(logarithm**2)), rel=1e-13)
    assert float(bats["log10_bias"]) == pytest.approx(0.5, rel=1e-13)
    assert float(bats["log10_rmse"]) == pytest.approx(np.sqrt(0.5), rel=1e-13)
    assert np.isnan(by_law.sel(station="ALOHA", kind="ncp")["log10_rmse"])
    both = by_law.sel(station=ALL_STATIONS, kind="trap")
    xr.testing.assert_allclose(both.drop_vars("station"), aloha.drop_vars("station"))


def test_results_are_files_too(export, table, tmp_path):
    result = compare_fluxes(export, table(f"ALOHA,,,1000,1,0.1,{MOL},trap,a cruise"))
    for number, dataset in enumerate((result, comparison_summary(result))):
        path = tmp_path / f"{number}.nc"
        dataset.to_netcdf(path)
        with xr.open_dataset(path) as again:
            xr.testing.assert_equal(again.load(), dataset)


def test_band_means_by_a_loop(export):
    field = export["toc_export"].where(export["latitude"] < 60.0).assign_attrs(units=MOL)
    mask = (export["wet"] & (export["longitude"] > 180.0)).values
    bands = band_means(field, export["area"], mask, 20.0)
    for middle, mean, spread in zip(bands["latitude"].values, bands["mean"].values, bands["sd"].values, strict=True):
        north = field["latitude"].values - middle
        inside = ((north >= -10.0) & (north < 10.0))[:, None] & mask & field.notnull().values
        values, weights = field.values[inside], export["area"].values[inside]
        assert mean == pytest.approx(np.average(values, weights=weights), rel=1e-13)
        assert spread == pytest.approx(np.sqrt(np.cov(values, aweights=weights, ddof=0)), rel=1e-11)
    assert bands["latitude"].values[-1] == 50.0
    assert bands["mean"].attrs["units"] == MOL
    flat = band_means(field * 0.0 + 2.0, export["area"], mask)
    np.testing.assert_allclose(flat["mean"], 2.0, rtol=1e-14)
    np.testing.assert_allclose(flat["sd"], 0.0, atol=1e-14)


def test_every_problem_of_a_table_is_named(table):
    with pytest.raises(InputError) as caught:
        table(
            "ALOHA,,,100,1,0.1,kg,trap,",
            f"moon,,,-5,abc,,{MOL},ncp,",
            f"ALOHA,,,,1,1,{MOL},trap,",
            f"BATS,,,200,1,-1,{MOL},moored,",
            f"BATS,,,200,-1,inf,{MOL},trap,",
            f"far,91,400,200,1,1,{MOL},trap,",
            f"half,10,,200,1,1,{MOL},trap,",
            f"BATS,,,200,1,5,{MOL},trap,x,5",
            f"ALOHA,,,150,1,1,{MOL},trap,fine",
        )  # fmt: skip
    message = str(caught.value)
    assert "fluxes.csv" in message
    expected = [
        (2, "unit", "'kg'"), (3, "station", "'moon'"), (3, "depth", "'-5'"), (3, "value", "'abc'"),
        (4, "depth", "an empty cell"), (5, "kind", "'moored'"), (5, "error", "'-1'"), (6, "value", "'-1'"),
        (6, "error", "'inf'"), (7, "latitude", "'91'"), (7, "longitude", "'400'"), (8, "longitude", "an empty cell"),
    ]  # fmt: skip
    for line, column, found in expected:
        assert f"line {line}, column '{column}': found {found}; expected" in message
    assert "line 9: found more cells than there are columns" in message
    assert message.startswith(f"{len(expected) + 1} problems")
    assert "line 10" not in message


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("station,depth,value,unit", "no column 'error'; found station, depth, value, unit"),
        ("depth,value,error,unit", "no column 'latitude', 'longitude'"),
        ("latitude,depth,flux,error,unit", "no column 'value', 'longitude'"),
        ("", "no column 'depth'"),
    ],
)
def test_missing_columns(table, header, words):
    with pytest.raises(InputError, match=words):
        table("1,2,3,4,5", header=header)


def test_files_that_are_no_tables(tmp_path, table):
    with pytest.raises(InputError, match="no such file"):
        read_flux_table(tmp_path / "nothing.csv")
    with pytest.raises(InputError, match="no lines below the header"):
        table()
    latin = tmp_path / "latin.csv"
    latin.write_bytes(HEADER.encode() + "\nCafé".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_flux_table(latin)


def test_observations_that_are_not_in_this_ocean(export, table):
    found = table(
        f"ALOHA,,,10,1,1,{MOL},trap,",
        f"steppe,45,100,400,1,1,{MOL},ncp,",
        f"ALOHA,,,,1,1,{MOL},ncp,",
        f"BATS,,,9000,1,1,{MOL},trap,",
        f"BATS,,,900,1,1,{MOL},trap,",
    )
    with pytest.raises(InputError) as caught:
        compare_fluxes(export, found)
    message = str(caught.value)
    assert message.startswith("4 problems")
    for words in (
        "line 2, column 'depth': found 10 m; expected from the base of the euphotic zone at 74 m",
        "line 3, station steppe: latitude 45, longitude 100: on land",
        "line 4, column 'depth': found an empty cell; expected a depth in m, or a mixed layer",
        "line 5, column 'depth': found 9000 m",
    ):
        assert words in message
    assert "line 6" not in message


def test_a_mixed_layer_without_unit(export, table):
    with pytest.raises(InputError, match="mixed_layer_depth"):
        compare_fluxes(export, table(f"ALOHA,,,,1,1,{MOL},ncp,"), xr.where(export["wet"], 50.0, np.nan).drop_attrs())
