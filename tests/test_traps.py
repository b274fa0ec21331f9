"""Sediment traps: reading, quality, exponents, smoothing, tests, regions and compilations."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from invbgc.errors import InputError
from invbgc.traps import arrays, bats, choices, compilation, martin, regions, smooth, statistics, table

DEPTHS = (150.0, 200.0, 300.0)


def made_up(n: int = 40, b=(1.0, 1.3), noise: float = 0.05, seed: int = 0) -> pd.DataFrame:
    """A table of n profiles with exponents of C and P, and log-normal noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        for depth in DEPTHS:
            flux = [
                first * (depth / 150.0) ** -e * np.exp(noise * rng.normal())
                for first, e in zip((2.0, 8e-3), b, strict=True)
            ]
            rows.append([len(rows) + 2, f"{i:03d}", 2006.0 + 14.0 * i / n, depth, *flux])
    return pd.DataFrame(rows, columns=["row", "profile", "time", "depth", "C", "P"])


def bats_line(cruise: int, depth: float, carbon: float, phosphorus: float, year: int = 2010) -> str:
    values = [cruise, depth, f"{year}0115", f"{year}0118", year + 0.04, year + 0.05, 31.7, 31.6, 64.2, 64.1]
    fluxes = [80.0] * 4 + [carbon] * 4 + [1.0] * 4 + [phosphorus] * 4 + [0.9 * carbon] * 4 + [-999.0] * 4
    return "\t".join(map(str, values + fluxes))


FLUXES = [f"{name}{end}" for name in ("M", "C", "N", "P", "FBC", "FBN") for end in ("1", "2", "3", "_avg")]
HEADER = "cr, dep, yymmdd1, yymmdd2, decy1, decy2, Lat1, Lat2, long1, long2, " + ", ".join(FLUXES)


def bats_file(folder, lines, header: str = HEADER):
    path = folder / "bats_flux.txt"
    path.write_text("/Comments\nmade up\n/Variables\n" + header + ",\n\n" + "\n".join(lines) + "\n")
    return path


def test_bats_file(tmp_path):
    path = bats_file(tmp_path, [bats_line(10100, 150, 24.022, 0.008), bats_line(10100, 200, -999.0, 0.0)])
    assert bats.is_bats(path) and not bats.is_bats(tmp_path)
    found = bats.read_bats(path)
    assert list(found["row"]) == [6, 7]
    assert found.loc[0, ["profile", "start", "end"]].tolist() == ["10100", "2010-01-15", "2010-01-18"]
    np.testing.assert_allclose(found.loc[0, ["C", "C_2", "C_corrected", "P", "longitude"]].astype(float),
                               [2.0, 2.0, 1.8, 0.008, -64.15])  # fmt: skip
    assert np.isnan(found.loc[1, "C"]) and found.loc[1, "P"] == 0.0 and np.isnan(found.loc[0, "N_corrected"])
    assert found.loc[0, "time"] == pytest.approx(2010.045)


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        ([bats_line(1, 150, 1, 1) + "\t7"], HEADER, "line 6: found 35 values; expected 34"),
        ([bats_line(1, 150, 1, 1).replace("80.0", "wet", 1)], HEADER, "line 6.*wet.*expected numbers"),
        ([bats_line(1, 150, 1, 1)], HEADER.replace("dep", "deep"), "line 4: found the columns.*deep"),
        ([], HEADER, "no rows"),
    ],
)
def test_bats_file_that_is_not_one(tmp_path, lines, header, message):
    with pytest.raises(InputError, match=message):
        bats.read_bats(bats_file(tmp_path, lines, header))


def test_bats_file_without_header(tmp_path):
    path = tmp_path / "other.txt"
    path.write_text("/Comments\n1 2 3\n")
    with pytest.raises(InputError, match="no line '/Variables'"):
        bats.read_bats(path)
    with pytest.raises(InputError, match="cannot be read"):
        bats.read_bats(tmp_path / "absent.txt")


def test_replicates(tmp_path):
    data = bats.read_bats(bats_file(tmp_path, [bats_line(1, 150, 12.011, 0.01)]))
    data[["C_1", "C_2", "C_3"]] = [[1.0, 5.0, 0.0]]
    assert bats.from_replicates(data, "C")["C"].item() == 3.0
    assert bats.from_replicates(data, "C", "median", 2)["C"].item() == 3.0
    assert np.isnan(bats.from_replicates(data, "C", at_least=3)["C"].item())  # zero is below detection
    with pytest.raises(InputError, match="no replicates of 'Si'"):
        bats.from_replicates(data, "Si")


def test_table_with_units_and_comments(tmp_path):
    path = tmp_path / "fluxes.csv"
    path.write_text(
        "# a comment\nstation, start, depth, C (mg m-2 d-1), P (umol m-2 d-1), Fe (umol m-2 d-1)\n"
        "ALOHA, 2010-01-01, 150, 24.022, 8, 1\n\nALOHA, 2010-01-01, , 12.011, -999,\n"
    )
    found = table.read_flux_profiles(path)
    assert list(found["row"]) == [3, 5] and list(found["profile"]) == ["ALOHA 2010-01-01"] * 2
    np.testing.assert_allclose(found[["C", "P", "Fe"]].iloc[0], [2.0, 0.008, 1e-3])
    assert np.isnan(found["depth"].iloc[1]) and found[["P", "Fe"]].iloc[1].isna().all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("profile,depth,C (mmol m-2 d-1)\na,deep,1\n", "line 2, column 'depth': found 'deep'; expected a number"),
        ("profile,C (mmol m-2 d-1)\na,1\n", "expected profile .* depth"),
        ("profile,depth,C\na,150,1\n", "at least one flux"),
        ("profile,depth,C (mmol m-3)\na,150,1\n", "mmol m-3.*cannot be converted"),
        ("profile,depth,Zn (mg m-2 d-1)\na,150,1\n", "the flux of 'Zn'"),
        ("profile,depth,C (mmol m-2 d-1)\n", "no row below a header"),
        ("profile,depth,C (mmol m-2 d-1),C (mg m-2 d-1)\na,1,2,3\n", "found the column C twice"),
        ("profile,depth,C (mmol m-2 d-1),latitude\na,1,2,-999\n", "line 2, column 'latitude': found '-999'"),
        ("profile,depth,C (mmol m-2 d-1),setting\na,1,2,coast\n", "found 'coast'; expected one of open, coastal"),
        ("profile,depth,C (mmol m-2 d-1),start\na,1,2,1/5/99\n", "found '1/5/99'; expected YYYY-MM-DD"),
        ("profile,depth,C (mmol m-2 d-1)\n,1,2\n", "column 'profile': found ''; expected a name"),
        ("profile,depth,C (mmol m-2 d-1)\na,1,2,3\n", "line 2: found 4 cells; expected 3"),
    ],
)
def test_table_that_is_not_sound(tmp_path, text, message):
    path = tmp_path / "fluxes.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        table.read_flux_profiles(path)


def test_every_bad_row_is_reported_with_its_reason():
    data = made_up(20)
    spoiled = {
        3: ("depth", np.nan, "missing depth"),
        7: ("P", -0.01, "negative flux"),
        12: ("C", np.nan, "missing flux"),
        16: ("C", np.inf, "not a number"),
        21: ("P", 0.0, "below detection"),
        25: ("P", 8.0, "unit slip"),
    }
    for index, (column, value, _) in spoiled.items():
        data.loc[index, column] = value
    repeated = pd.concat([data, data.iloc[[30]], data.iloc[[36]].assign(C=9.0)], ignore_index=True)
    repeated["row"] = np.arange(len(repeated)) + 2
    good, problems = table.usable(repeated, ["C", "P"])
    found = {int(row): reason for row, reason in zip(problems["row"], problems["reason"], strict=True)}
    expected = {index + 2: reason for index, (_, _, reason) in spoiled.items()}
    # the repetition counts once; the two values that differ count not at all
    expected |= {len(data) + 2: "duplicated", 38: "duplicated", len(data) + 3: "duplicated"}
    assert found == expected
    assert not set(good["row"]) & set(found) and len(good) + len(found) == len(repeated)
    _, unfit = arrays.profiles(repeated, ("C", "P"), DEPTHS)
    short = unfit[unfit["reason"] == "fewer than 3 depths"]
    assert set(short["profile"]) == {f"{i:03d}" for i in (1, 2, 4, 5, 7, 8, 12)}
    assert set(short["found"]) == {"2 of 3"} and len(short) == 14
    # every row is used, reported, or at a depth that was not asked for
    data, reported = arrays.profiles(
        repeated.assign(depth=repeated["depth"].replace(200.0, 201.0)), ("C", "P"), (150, 300)
    )
    assert 2 * data.sizes["profile"] + len(reported) + data.attrs["other_depths"] == len(repeated)


def test_two_values_that_come_twice_each_are_not_used():
    data = pd.concat([made_up(4)] * 2, ignore_index=True)
    other = data[data["profile"] == "001"].assign(C=5.0)
    good, problems = table.usable(pd.concat([data, other], ignore_index=True), ["C", "P"])
    assert "001" not in set(good["profile"]) and len(good) == 9
    assert set(problems["profile"]) == {"000", "001", "002", "003"} and len(problems) == 27 + 3 - len(good)


def test_rows_without_time_are_reported():
    data = made_up(4)
    data.loc[2, "time"] = np.nan
    chosen, problems = arrays.profiles(data)
    assert chosen.sizes["profile"] == 3
    assert dict(zip(problems["row"], problems["reason"], strict=True)) == {
        4: "missing time", 2: "fewer than 3 depths", 3: "fewer than 3 depths",
    }  # fmt: skip


def test_a_unit_slip_of_a_whole_file_is_an_error():
    data = made_up(5)
    data["P"] *= 1000.0
    with pytest.raises(InputError, match=r"column 'P': found a median of .* Is its unit right"):
        table.usable(data, ["C", "P"])
    with pytest.raises(InputError, match="expected also Si"):
        table.usable(data, ["C", "Si"])


def test_a_bloom_is_no_unit_slip():
    data = made_up(20)
    data.loc[data["profile"] == "004", ["C", "P"]] *= 400.0
    assert len(table.usable(data, ["C", "P"])[1]) == 0


def test_profiles_need_sense():
    data = made_up(4)
    with pytest.raises(InputError, match="at least two that differ"):
        arrays.profiles(data, depths=(150.0, 150.0))
    with pytest.raises(InputError, match="found none with the depths"):
        arrays.profiles(data, depths=(150.0, 400.0))
    with pytest.raises(InputError, match="no column 'time'"):
        arrays.profiles(data.drop(columns="time"), years=(2006, 2007))
    chosen, _ = arrays.profiles(data, years=(2006, 2009))
    assert chosen.sizes["profile"] == 2
    np.testing.assert_allclose(arrays.ratio(chosen), chosen["flux"].sel(element="C") / chosen["flux"].sel(element="P"))


def test_exponents_of_the_worked_example():
    depth = np.array(DEPTHS)
    phosphorus, carbon = np.array([8.0, 5.6, 3.2]), np.array([2.0, 1.55, 1.0])
    for estimator, expected in ((martin.log_linear, (1.32575, 1.00531)), (martin.through_first, (1.30986, 0.98325))):
        for flux, value in zip((phosphorus, carbon), expected, strict=True):
            assert float(estimator(depth, flux)[0]) == pytest.approx(value, abs=5.1e-6)


def test_log_linear_fit_is_that_of_scipy():
    rng = np.random.default_rng(1)
    depth, flux = np.array([100.0, 150.0, 300.0, 500.0]), np.exp(rng.normal(size=(7, 4)))
    b, error, first = martin.log_linear(depth, flux)
    for i, row in enumerate(flux):
        expected = stats.linregress(np.log(depth / 100.0), np.log(row))
        np.testing.assert_allclose([b[i], error[i], np.log(first[i])],
                                   [-expected.slope, expected.stderr, expected.intercept], rtol=1e-12)  # fmt: skip


@pytest.mark.parametrize("name", martin.METHODS)
def test_exact_power_laws_come_back(name):
    data, _ = arrays.profiles(made_up(6, noise=0.0), ("C", "P"), DEPTHS)
    fits = martin.exponents(data, [name])
    np.testing.assert_allclose(fits["b"].isel(fit=0), np.tile([1.0, 1.3], (6, 1)), rtol=1e-7)
    np.testing.assert_allclose(fits["first_flux"].isel(fit=0, element=0), 2.0, rtol=1e-7)
    np.testing.assert_allclose(fits["r2"], 1.0, rtol=1e-10)


@pytest.mark.parametrize("name", martin.METHODS)
def test_errors_of_exponents_are_true(name):
    """The scatter of exponents of many noisy profiles is the error that each reports, in the mean of squares."""
    data, _ = arrays.profiles(made_up(600, noise=0.02), ("C", "P"), DEPTHS)
    fits = martin.exponents(data, [name]).isel(fit=0)
    for element in ("C", "P"):
        chosen = fits.sel(element=element)
        ratio = float(chosen["b"].std()) / float(np.sqrt((chosen["b_error"] ** 2).mean()))
        # through the first trap its noise is shared by all, which least squares does not know
        assert (0.85 < ratio < 1.15) if name != "forced" else (1.2 < ratio < 2.5)


def test_exponents_refuse_what_is_not_positive():
    data, _ = arrays.profiles(made_up(3), ("C", "P"), DEPTHS)
    with pytest.raises(InputError, match="methods median"):
        martin.exponents(data, ["median"])
    with pytest.raises(InputError, match="not positive"):
        martin.exponents(data.assign(flux=data["flux"] * 0.0))
    constant = martin.exponents(data.assign(flux=data["flux"] * 0.0 + 1.0))
    assert np.isnan(constant["r2"]).all() and np.allclose(constant["b"], 0.0, atol=1e-8)


def test_two_depths_have_no_error():
    data, _ = arrays.profiles(made_up(3), ("C", "P"), (150.0, 300.0))
    fits = martin.exponents(data)
    assert np.isnan(fits["b_error"]).all()
    np.testing.assert_allclose(fits["b"] - fits["b"].isel(fit=0), 0.0, atol=1e-12)


def test_other_pairs_of_elements():
    data = made_up(10).rename(columns={"C": "Si", "P": "Fe"})
    fits = martin.exponents(arrays.profiles(data, ("Fe", "Si"), DEPTHS)[0], ["free"])
    assert float(fits["b"].sel(element="Si").median()) == pytest.approx(1.0, abs=0.1)


def test_loess_reproduces_its_polynomials_and_its_band_is_true():
    x = np.sort(np.random.default_rng(0).uniform(2006, 2020, 80))
    parabola = 1.0 + 0.1 * (x - 2013) - 0.02 * (x - 2013) ** 2
    exact = smooth.loess(x, parabola)
    np.testing.assert_allclose(exact.value, 1.0 + 0.1 * (exact.at - 2013) - 0.02 * (exact.at - 2013) ** 2, atol=1e-9)
    at, rng = np.linspace(2007, 2019, 9), np.random.default_rng(2)
    curves = [smooth.loess(x, 0.3 * rng.normal(size=80), at) for _ in range(300)]
    scatter = np.std([curve.value for curve in curves], axis=0)
    np.testing.assert_allclose(scatter, np.mean([curve.error for curve in curves], axis=0), rtol=0.12)
    inside = np.mean([np.abs(curve.value) < smooth.BAND * curve.error for curve in curves])
    assert 0.92 < inside < 0.975
    assert np.mean([curve.residual_sd for curve in curves]) == pytest.approx(0.3, rel=0.03)


def test_loess_is_weighted_least_squares_at_each_place():
    x, y = np.linspace(0, 1, 12), np.random.default_rng(3).normal(size=12)
    curve = smooth.loess(x, y, np.array([0.5]), 1.0, 1)
    weight = np.clip(1 - np.abs((x - 0.5) / 0.5) ** 3, 0, None) ** 3
    design = np.column_stack([np.ones_like(x), x - 0.5])
    expected = np.linalg.solve(design.T @ (weight[:, None] * design), design.T @ (weight * y))[0]
    assert curve.value.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("bad", [{"span": 0.0}, {"span": 0.1}, {"span": 1.5}])
def test_loess_refuses(bad):
    with pytest.raises(InputError, match="span"):
        smooth.loess(np.arange(20.0), np.arange(20.0), **bad)
    with pytest.raises(InputError, match="all finite"):
        smooth.loess(np.arange(3.0), np.array([1.0, np.nan, 2.0]))


def test_welch_vector():
    x, y = [1.28, 1.1, 1.5, 1.3, 1.2], [0.98, 0.9, 1.1, 1.0, 0.95]
    found = statistics.compare(x, y)
    assert found.welch_t == pytest.approx(3.92035, abs=5.1e-6)
    assert found.welch_freedom == pytest.approx(5.88539, abs=5.1e-6)
    assert found.welch_p == pytest.approx(0.0081025, abs=5.1e-8)
    difference = np.subtract(x, y)
    assert found.paired_t == pytest.approx(difference.mean() / difference.std(ddof=1) * np.sqrt(5), rel=1e-12)
    assert found.signed_rank_p == pytest.approx(2.0 / 2**5)  # all five differences have one sign
    assert found.median_difference == pytest.approx(0.3)
    low, high = statistics.median_difference_interval(x, y)
    assert low <= 0.3 <= high and statistics.median_difference_interval(x, y) == (low, high)


def test_comparison_counts_pairs():
    assert statistics.compare([1, 2, 3, 4, np.nan], [1.5, 2, 2, 3, 1]).n == 4
    assert not statistics.compare([1, 2, 3, 4.5], [1.5, 2, 2, 4]).significant()
    with pytest.raises(InputError, match="at least three"):
        statistics.compare([1, 2], [1, 2])
    with pytest.raises(InputError, match="expected pairs"):
        statistics.compare([1, 2, 3], [1, 2])


def test_choices_of_a_table_without_replicates():
    found = choices.all_choices(made_up(15), years=None)
    assert set(found["values"]) == {"means of the file"} and set(found["carbon"]) == {"as measured"}
    assert found["distance"].is_monotonic_increasing
    row = found.iloc[0]
    assert row["distance"] == pytest.approx(np.hypot(row["b_P"] - 1.28, row["b_C"] - 0.98))
    assert set(found["depths"]) == {"150, 200, 300 m", "150, 300 m"}
    assert set(found.loc[found["depths"] == "150, 300 m", "fit"]) == {"free"}  # all fits go through two points
    assert choices.all_choices(made_up(5)).empty


def small_ocean():
    """A climatology of 5 degrees with one continent, two basins and a rich upwelling."""
    from invbgc.circulation import load_circulation

    latitude, longitude = np.arange(-87.5, 90, 5.0), np.arange(2.5, 360, 5.0)
    field = np.full((36, 72), 0.1)
    field[np.abs(latitude) > 45] = 1.0
    rows, columns = np.abs(latitude) < 12, (longitude > 220) & (longitude < 280)
    field[np.ix_(rows, columns)] = 0.8  # eastern Pacific upwelling
    field[np.ix_((latitude > 10) & (latitude < 28), (longitude > 230) & (longitude < 240))] = 0.5  # its tongue
    field[:, (longitude > 290) & (longitude < 295)] = np.nan
    data = xr.DataArray(field, {"latitude": latitude, "longitude": longitude}, ("latitude", "longitude"),
                        attrs={"units": "umol kg-1"})  # fmt: skip
    return data, load_circulation("embedded").grid


def test_regions_of_the_phosphate_contour():
    data, ocean = small_ocean()
    found = regions.phosphate_regions(data, ocean)
    places = {
        (0.0, 250.0): "tropical Pacific",
        (22.0, 235.0): "tropical Pacific",  # joined to the equator, though beyond 20 degrees
        (20.0, 200.0): "subtropical North Pacific",
        (-20.0, 200.0): "subtropical South Pacific",
        (50.0, 200.0): "subpolar North Pacific",
        (30.0, 320.0): "subtropical North Atlantic",
        (31.7, -64.2): "subtropical North Atlantic",
        (-38.0, 200.0): "subtropical South Pacific",
        (-38.0, 340.0): "subtropical South Atlantic",
        (85.0, 0.0): "Arctic",
        (-60.0, 200.0): "Southern Ocean",
    }
    latitude, longitude = np.array(list(places)).T
    assert list(regions.region_of(found, latitude, longitude)) == list(places.values())
    assert regions.region_of(found, [np.nan], [0.0]).tolist() == [""]
    assert (found.to_numpy()[np.isnan(data.to_numpy())] == "").all()
    # a contour above everything leaves no rich water
    assert not any(
        str(name).startswith(("tropical", "subpolar"))
        for name in np.unique(regions.phosphate_regions(data, ocean, 5.0))
    )
    with pytest.raises(InputError, match="no attribute 'units'"):
        regions.phosphate_regions(data.drop_attrs(), ocean)
    with pytest.raises(InputError, match="latitude and longitude alone"):
        regions.phosphate_regions(data.expand_dims("month"), ocean)


def test_a_patch_across_the_edge_of_the_map_is_one():
    mask = np.zeros((5, 8), bool)
    mask[2, [0, 7]] = True
    goal = np.zeros_like(mask)
    goal[2, 0] = True
    assert regions._touching(mask, goal)[2, 7]
    chain = np.zeros((7, 8), bool)
    chain[1, [0, 7]] = chain[2:6, 7] = chain[5, 0] = True  # west patches 1 and 3 are joined by the eastern one
    goal = np.zeros_like(chain)
    goal[5, 0] = True
    assert regions._touching(chain, goal).sum() == chain.sum()


def test_a_grid_without_basins_is_refused():
    data, ocean = small_ocean()
    with pytest.raises(InputError, match="expected atlantic"):
        regions.phosphate_regions(data, SimpleNamespace(masks={"ATL": ocean.masks["atlantic"]}))


def test_periods_without_dates_count_alike():
    table = small_compilation().iloc[[0, 9]].assign(end=["", "1995-07-01"])
    row = compilation.screen(table).table.iloc[0]
    assert row["n_periods"] == 2 and row["C"] == pytest.approx(3.5)


def test_region_statistics():
    found = regions.region_statistics(
        [100.0, 300.0, 500.0, 9e9, np.nan], ["a", "a", "b", "b", "b"], [250, 300, 900, 50, 300]
    )
    assert found["region"].tolist() == ["global", "a", "b"]
    assert found["n"].tolist() == [3, 2, 1] and found["median"].tolist() == [300.0, 200.0, 500.0]
    assert found["published_median"].iloc[0] == 280.0


def small_compilation() -> pd.DataFrame:
    base = {
        **{"reference": "A 1999", "year_published": 1999, "latitude": 10.0, "longitude": -140.0, "depth": 500.0},
        **{"setting": "open", "simultaneous": "yes", "P_kind": "organic", "station": "", "start": "1995-01-01"},
        **{"end": "1995-03-01", "C": 2.0, "P": 0.01},
    }
    changes = [
        {},
        {"P_kind": "total", "P": 0.02},  # the organic one of the same sample is better
        {"latitude": 20.0, "simultaneous": "no"},
        {"latitude": 21.0, "setting": "coastal"},
        {"latitude": -55.0, "setting": "Southern Ocean"},
        {"latitude": 22.0, "depth": 100.0},
        {"latitude": np.nan, "longitude": np.nan, "year_published": 2012, "reference": "B 2012"},
        {"latitude": np.nan, "longitude": np.nan, "year_published": 2001, "reference": "C 2001"},
        {"latitude": np.nan, "longitude": np.nan, "year_published": 2002, "reference": "D 2002", "C": 4.0},
        {"start": "1995-03-01", "end": "1995-07-01", "C": 5.0},  # follows the first at the same place
        {"start": "1995-04-01", "end": "1995-05-01", "C": 9.0},  # overlaps with that
        {"station": "ALOHA", "latitude": 22.75, "longitude": -158.0, "reference": "Karl 2012"},
        {"station": "ALOHA", "latitude": 22.75, "longitude": -158.0, "reference": "Grabowski 2019", "C": 3.0},
    ]
    table = pd.DataFrame([base | change for change in changes])
    return table.assign(row=np.arange(len(table)) + 2, profile=(table["station"] + " " + table["start"]).str.strip())


def test_rules_of_a_compilation():
    found = compilation.screen(small_compilation())
    assert dict(zip(found.steps["step"], found.steps["before"] - found.steps["after"], strict=True)) == {
        **{"phosphorus": 1, "simultaneous": 1, "open ocean": 2, "depth": 1, "position": 1, "time series": 1},
        **{"one record for a place": 2},
    }
    assert (found.steps["after"].to_numpy()[:-1] == found.steps["before"].to_numpy()[1:]).all()
    dropped = dict(zip(found.dropped["row"], found.dropped["column"], strict=True))
    assert dropped == {
        **{3: "phosphorus", 4: "simultaneous", 5: "open ocean", 6: "open ocean", 7: "depth", 8: "position"},
        **{13: "time series", 12: "one record for a place"},
    }
    first = found.table.iloc[0]
    days = np.array([59.0, 122.0])
    assert first["n_periods"] == 2 and first["C"] == pytest.approx(days @ [2.0, 5.0] / days.sum())
    assert first["c_to_p"] == pytest.approx(first["C"] / 0.01) and first["mean_c_to_p"] == pytest.approx(350.0)
    assert set(found.table["reference"]) == {"A 1999", "C 2001", "D 2002", "Grabowski 2019"}
    assert found.table.set_index("reference").loc[["C 2001", "D 2002"], "C"].tolist() == [2.0, 4.0]  # two places
    with pytest.raises(InputError, match="expected also reference"):
        compilation.screen(small_compilation().drop(columns="reference"))
