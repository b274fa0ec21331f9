"""Bottles and climatologies onto grids: conservation, edges of cells, dropped bottles, gaps."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from invbgc.constants import EARTH_RADIUS
from invbgc.datasets.bottles import Bottles
from invbgc.datasets.gridding import bin_bottles, locate_bottles
from invbgc.datasets.regridding import read_climatology, regrid
from invbgc.errors import InputError
from invbgc.files import write_netcdf
from invbgc.grid import OceanGrid


def ocean(nx=6, ny=4, layers=(0.0, 50.0, 150.0, 400.0), wet=None, west=0.0, span=360.0, south=-60.0, north=60.0):
    """A grid with spherical areas, wet everywhere unless told otherwise."""
    longitude, latitude = np.linspace(west, west + span, nx + 1), np.linspace(south, north, ny + 1)
    area = EARTH_RADIUS**2 * np.diff(np.sin(np.radians(latitude)))[:, None] * np.radians(np.diff(longitude))
    return OceanGrid(
        wet=np.ones((len(layers) - 1, ny, nx), dtype=bool) if wet is None else wet,
        depth_edges=np.array(layers),
        latitude=0.5 * (latitude[1:] + latitude[:-1]),
        latitude_edges=latitude,
        longitude=0.5 * (longitude[1:] + longitude[:-1]),
        longitude_edges=longitude,
        area=area,
        name="test ocean",
    )


def bottles_at(longitude, latitude, depth, values=None, time=None):
    longitude = np.atleast_1d(np.asarray(longitude, dtype=float))
    fill = np.ones(longitude.size)
    return Bottles(
        longitude=longitude,
        latitude=latitude * fill,
        depth=depth * fill,
        time=2000.0 * fill if time is None else time,
        values={"DIC": fill if values is None else values},
        units={"DIC": "mmol m-3"},
        source="made-up bottles",
    )


def random_bottles(n=3000):
    random = np.random.default_rng(3)
    return bottles_at(
        random.uniform(-180.0, 360.0, n),
        random.uniform(-75.0, 75.0, n),
        random.uniform(0.0, 500.0, n),
        np.where(random.uniform(size=n) < 0.1, np.nan, random.normal(2100.0, 50.0, n)),
        np.where(random.uniform(size=n) < 0.2, np.nan, random.uniform(1972.0, 2020.0, n)),
    )


def ragged():
    """An ocean with a dry column and a shallow one."""
    wet = np.ones((3, 4, 6), dtype=bool)
    wet[:, 1, 2] = False
    wet[1:, 2, 3] = False
    return ocean(wet=wet)


@pytest.mark.parametrize("rule", ["nearest_centre", "containing_cell"])
def test_sums_and_numbers_are_conserved(rule):
    bottles, grid = random_bottles(), ragged()
    binned = bin_bottles(bottles, "DIC", grid, rule)
    box, value = locate_bottles(bottles, grid, rule), bottles.values["DIC"]
    used = np.isfinite(value) & (box >= 0)
    assert used.sum() > 1000
    np.testing.assert_allclose(np.nansum(binned.count * binned.mean), value[used].sum(), rtol=1e-13)
    assert binned.count.sum() == used.sum()
    assert binned.count.sum() + sum(binned.dropped.values()) == bottles.count("DIC")
    assert all(binned.dropped[reason] > 0 for reason in ("outside_grid", "on_land", "below_bottom"))
    np.testing.assert_array_equal(np.isfinite(binned.mean), binned.count > 0)


def test_nearest_centre_is_what_a_search_over_all_centres_finds():
    bottles, grid = random_bottles(400), ocean(layers=(0.0, 10.0, 100.0, 500.0), west=-7.0)
    box = locate_bottles(bottles, grid)
    for n in np.flatnonzero(box >= 0):
        around = np.abs((bottles.longitude[n] - grid.longitude + 180.0) % 360.0 - 180.0)
        k, j = (
            np.argmin(np.abs(a - b)) for a, b in ((bottles.depth[n], grid.depth), (bottles.latitude[n], grid.latitude))
        )
        assert box[n] == (k * 4 + j) * 6 + np.argmin(around)


def test_the_two_rules_differ_between_midpoint_and_edge():
    """Centres of the layers 0-50 and 50-150 m are 25 and 100 m; halfway is 62.5 m."""
    bottles = bottles_at(30.0, 0.0, 60.0)
    assert ocean().layer[locate_bottles(bottles, ocean())] == [0]
    assert ocean().layer[locate_bottles(bottles, ocean(), "containing_cell")] == [1]


@pytest.mark.parametrize("rule", ["nearest_centre", "containing_cell"])
@pytest.mark.parametrize("west", [0.0, -180.0, 20.0])
@pytest.mark.parametrize(
    ("longitude", "east_of"),
    [
        (359.99, 300.0),
        (-0.01, 300.0),
        (0.0, 0.0),
        (360.0, 0.0),
        (-1e-14, 0.0),
        (60.0, 60.0),
        (59.999, 0.0),
        (-180.0, 180.0),
    ],
)
def test_longitudes_at_edges(rule, west, longitude, east_of):
    """Cells of 60 degrees; an edge belongs to the cell east of it, also across the end of the grid."""
    grid = ocean(west=west, nx=18)  # 20 degrees, so that edges fall on 0, 60, 180, 300 for every start
    cell = {300.0: 340.0, 0.0: 40.0 if longitude == 59.999 else 0.0, 60.0: 60.0, 180.0: 180.0}[east_of]
    box = locate_bottles(bottles_at(longitude, 0.0, 10.0), grid, rule)
    if longitude == -1e-14 and west != 0.0:
        assert (grid.wet_longitude[box] - 10.0) % 360.0 in (0.0, 340.0)  # one rounding unit from the edge
    else:
        np.testing.assert_allclose((grid.wet_longitude[box] - 10.0) % 360.0, cell)


def test_nearest_centre_across_the_end_of_an_uneven_grid():
    """Centres at 10, 100 and 270 degrees: 340 is nearer to 370, which is 10, and 181 is nearer to 100 than to 270."""
    grid = replace(
        ocean(nx=3), longitude=np.array([10.0, 100.0, 270.0]), longitude_edges=np.array([0.0, 20.0, 180.0, 360.0])
    )
    places = bottles_at([319.0, 320.0, 340.0, -20.0, 181.0], 0.0, 10.0)
    np.testing.assert_array_equal(grid.wet_longitude[locate_bottles(places, grid)], [270.0, 10.0, 10.0, 10.0, 100.0])
    cells = locate_bottles(places, grid, "containing_cell")
    np.testing.assert_array_equal(grid.wet_longitude[cells], [270.0] * 5)


def test_latitude_and_depth_at_edges():
    grid = ocean()
    north_of = locate_bottles(bottles_at(1.0, np.array([-60.0]), 10.0), grid, "containing_cell")
    np.testing.assert_array_equal(grid.wet_latitude[north_of], [-45.0])
    equator = locate_bottles(bottles_at(1.0, 0.0, 50.0), grid, "containing_cell")
    assert (grid.wet_latitude[equator], grid.layer[equator]) == (15.0, 1)
    pole = locate_bottles(bottles_at(1.0, 90.0, 0.0), ocean(south=-90.0, north=90.0))
    assert ocean(south=-90.0, north=90.0).wet_latitude[pole] == 67.5
    halfway = locate_bottles(bottles_at(1.0, 0.0, 62.5), grid)
    assert (grid.wet_latitude[halfway], grid.layer[halfway]) == (15.0, 1)


def test_below_the_last_layer():
    """The paper puts what is deeper than the last centre into the last layer; the cell rule drops it."""
    deep, grid = bottles_at([1.0, 1.0], 0.0, np.array([395.0, 600.0])), ocean()
    np.testing.assert_array_equal(grid.layer[locate_bottles(deep, grid)], [2, 2])
    assert bin_bottles(deep, "DIC", grid, "containing_cell").dropped["below_bottom"] == 1


def test_why_bottles_are_dropped():
    grid = ragged()
    places = bottles_at(
        [150.0, 210.0, 210.0, 10.0, 10.0, 10.0],
        np.array([-15.0, 15.0, 15.0, 80.0, 0.0, 0.0]),
        np.array([10.0, 200.0, 10.0, 10.0, np.nan, 10.0]),
        np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.nan]),
    )
    binned = bin_bottles(places, "DIC", grid)
    assert binned.dropped == {"no_depth": 1, "outside_grid": 1, "on_land": 1, "below_bottom": 1}
    assert (binned.n_boxes, binned.count.sum(), np.nansum(binned.mean)) == (1, 1, 3.0)


def test_regional_grid_across_greenwich():
    grid = ocean(nx=4, west=-20.0, span=40.0)
    box = locate_bottles(bottles_at([-15.0, 345.0, 5.0, 20.0, 20.1, 180.0], 0.0, 10.0), grid)
    np.testing.assert_array_equal(grid.wet_longitude[box[:4]], [-15.0, -15.0, 5.0, 15.0])
    assert (box[4:] < 0).all()


def test_mean_and_standard_error_closed_form():
    """1, ..., n: mean (n + 1)/2 and standard error sqrt((n + 1)/12), also on top of a large constant."""
    n = 9
    values = 1e6 + np.r_[np.arange(1.0, n + 1), 7.0]
    binned = bin_bottles(bottles_at(np.r_[np.full(n, 30.0), 90.0], 0.0, 10.0, values), "DIC", ocean())
    first, second = np.flatnonzero(binned.count)
    assert binned.mean[first] == 1e6 + (n + 1) / 2
    assert binned.standard_error[first] == pytest.approx(np.sqrt((n + 1) / 12), rel=1e-12)
    assert (binned.count[first], binned.count[second], binned.mean[second]) == (n, 1, 1e6 + 7.0)
    assert np.isnan(binned.standard_error[second])


def test_kept_bottles_reproduce_the_mean():
    bottles, grid = random_bottles(), ragged()
    bottles = replace(bottles, time=np.nan_to_num(bottles.time, nan=1999.0))
    binned = bin_bottles(bottles, "DIC", grid, keep_bottles=True)
    kept = binned.bottles
    assert kept is not None and binned.dropped["no_time"] == 0
    means = np.bincount(kept.box, kept.value, grid.n_wet) / np.maximum(np.bincount(kept.box, minlength=grid.n_wet), 1)
    np.testing.assert_allclose(means[binned.count > 0], binned.mean[binned.count > 0], rtol=1e-14)
    assert sorted(kept.time) == sorted(
        bottles.time[(locate_bottles(bottles, grid) >= 0) & np.isfinite(bottles.values["DIC"])]
    )


def test_bottles_without_time_are_counted_and_stay_in_the_mean():
    bottles = bottles_at([30.0, 30.0], 0.0, 10.0, np.array([1.0, 3.0]), np.array([np.nan, 1990.5]))
    binned = bin_bottles(bottles, "DIC", ocean(), keep_bottles=True)
    assert binned.bottles is not None
    assert (binned.dropped["no_time"], binned.bottles.time.tolist(), np.nanmax(binned.mean)) == (1, [1990.5], 2.0)
    undated = replace(bottles, time=np.full(2, np.nan))
    with pytest.raises(InputError, match="no bottle has a time; expected years in the file, or keep_bottles=False"):
        bin_bottles(undated, "DIC", ocean(), keep_bottles=True)


def test_dataset_round_trip(tmp_path):
    binned = bin_bottles(random_bottles().require_range("DIC", 2000.0, 2200.0), "DIC", ragged(), keep_bottles=True)
    assert binned.bottles is not None
    with xr.open_dataset(write_netcdf(binned.to_dataset(), tmp_path / "binned.nc")) as file:
        np.testing.assert_array_equal(binned.grid.pack(file["observed_DIC"].load()), binned.mean)
        np.testing.assert_array_equal(binned.grid.pack(file["count_DIC"].load()), binned.count)
        np.testing.assert_array_equal(file["bottle_box_DIC"], binned.bottles.box)
        assert file["observed_DIC"].attrs["units"] == "mmol m-3"
        assert "from 2000 to 2200" in file.attrs["steps"]


def test_command_that_bins_doc(tmp_path, capsys):
    """The command of data_prep on any circulation, without reference; what fails leaves no file."""
    from data_prep.doc import compare, main, make

    table = tmp_path / "bottles.csv"
    header, rows = "month,lon,lat,depth,DONt_obs,DOPt_obs,DOCt_obs", ["1,10,0,5,-999,-999,70", "2,11,1,6,-999,-999,74"]
    table.write_text("\n".join([header, *rows, "3,12,0,5,1,1,-999\n"]))
    scores = make(table, "few_box", None, tmp_path / "out")
    assert scores["bottles binned"] + scores["bottles dropped, on_land"] == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["doc_binned.nc"]
    table.write_text("\n".join([header, "1,10,0,5,-999,-999,-999\n"]))
    arguments = ["doc", "--bottles", str(table), "--grid", "few_box", "--out", str(tmp_path / "failed")]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match=r"error: .*no value among 1 bottles"):
        patch.setattr("sys.argv", arguments)
        main()
    assert not (tmp_path / "failed").exists()
    with pytest.raises(InputError, match="no common box"):
        compare(np.array([1.0, np.nan]), np.array([np.nan, 1.0]))


def test_comparison_scores():
    from data_prep.doc import compare

    scores = compare(np.array([1.0, 2.0, 5.0, np.nan]), np.array([1.0, 2.5, 3.0, 4.0])).scores()
    assert (scores["boxes"], scores["boxes of the reference"], scores["common boxes"]) == (3, 4, 3)
    assert (scores["share of own boxes that are common"], scores["share of reference boxes that are common"]) == (
        1,
        0.75,
    )
    assert (scores["median difference"], scores["median absolute difference"]) == (0.0, 0.5)
    assert scores["share of common boxes within 0.01 mmol m-3"] == pytest.approx(1 / 3)


def test_input_that_cannot_be_binned():
    bottles = bottles_at([0.0, 1.0], 0.0, 10.0)
    with pytest.raises(InputError, match="rule 'nearest'; expected 'nearest_centre' or 'containing_cell'"):
        bin_bottles(bottles, "DIC", ocean(), "nearest")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="none of the bottles lies in grid 'test ocean'"):
        bin_bottles(bottles, "DIC", ocean(nx=2, west=90.0, span=20.0))
    flagged = replace(bottles, flags={"DIC": np.array([3, 4])}).require_flags("DIC")
    with pytest.raises(InputError, match=r"no value among 2 bottles \(flag in 2 2 to 0\); expected at least one"):
        bin_bottles(flagged, "DIC", ocean())
    with pytest.raises(InputError, match="variable 'DOC': not in the table"):
        bin_bottles(bottles, "DOC", ocean())


# ---------------------------------------------------------------------- climatologies


def climatology(nz=4, ny=36, nx=24, values=None, bounds=True, bottom=400.0):
    """A file like those of the World Ocean Atlas: one time, depth bounds, longitudes from -180."""
    edges = {
        "depth": np.linspace(0.0, bottom, nz + 1),
        "lat": np.linspace(-90, 90, ny + 1),
        "lon": np.linspace(-180, 180, nx + 1),
    }
    centres = {name: 0.5 * (edge[1:] + edge[:-1]) for name, edge in edges.items()}
    if values is None:
        values = np.random.default_rng(5).uniform(1.0, 2.0, (nz, ny, nx))
    file = xr.Dataset(
        {"t_an": (("time", "depth", "lat", "lon"), values[None], {"units": "degrees_celsius"})},
        {"time": [0.5], **centres},
    )
    if bounds:
        for name, edge in edges.items():
            file[f"{name}_bnds"] = ((name, "nbounds"), np.stack([edge[:-1], edge[1:]], axis=1))
            file[name].attrs["bounds"] = f"{name}_bnds"
    return file


def globe(**options):
    return ocean(south=-90.0, north=90.0, **options)


@pytest.mark.parametrize("bounds", [True, False])
@pytest.mark.parametrize(
    "shape", [{}, {"nx": 7, "ny": 5, "west": 13.0}, {"nx": 50, "ny": 45, "layers": (0.0, 5.0, 333.0, 400.0)}]
)
def test_volume_integral_is_conserved(shape, bounds):
    source = read_climatology(climatology(bounds=bounds), "t_an")
    grid = globe(**shape)
    result = regrid(source, grid)
    assert not result.filled.any()
    expected = source.grid.volume @ source.values.ravel()
    np.testing.assert_allclose(grid.volume @ result.values, expected, rtol=1e-13)
    assert source.values.min() <= result.values.min() and result.values.max() <= source.values.max()


def test_constants_are_reproduced_also_where_filled():
    values = np.full((4, 36, 24), 17.3)
    values[:, 10:20, 5:12] = np.nan
    values[1:] = np.nan
    result = regrid(read_climatology(climatology(values=values), "t_an"), globe(nx=30, ny=20))
    assert result.filled.sum() > 600
    assert result.layers_copied == (3,)
    np.testing.assert_array_equal(result.values, 17.3)


def test_identity_on_the_same_grid():
    file = climatology()
    source = read_climatology(file, "t_an")
    wet = np.ones(source.grid.shape, dtype=bool)
    wet[2:, 3:9] = False
    grid = replace(source.grid, wet=wet, name="same cells")
    result = regrid(source, grid)
    np.testing.assert_array_equal(result.values, grid.pack(file["t_an"].values[0]))
    assert not result.filled.any()


def test_orientation_does_not_matter():
    file = climatology()
    grid = globe(nx=9, ny=7)
    turned = file.isel(lat=slice(None, None, -1)).assign_coords(lon=file["lon"] % 360.0).sortby("lon")
    turned = turned.drop_vars("lon_bnds").transpose("lon", "lat", ...)
    turned["lon"].attrs.pop("bounds", None)
    first, second = (regrid(read_climatology(part, "t_an"), grid).values for part in (file, turned))
    np.testing.assert_allclose(second, first, rtol=1e-13)


def test_gaps_are_filled_within_their_layer_and_reported():
    """One wet box without data takes the mean of its eight neighbours; the last layer, without data, the one above."""
    source = read_climatology(climatology(nz=3, ny=4, nx=6, bottom=300.0), "t_an")
    values = source.values.copy()
    values[1, 1, 2] = np.nan
    values[2] = np.nan
    grid = replace(source.grid, wet=np.ones((3, 4, 6), dtype=bool), name="whole")
    result = regrid(replace(source, values=values), grid)
    field = grid.unpack(result.values).values
    around = np.delete(values[1, 0:3, 1:4].ravel(), 4)
    assert field[1, 1, 2] == pytest.approx(around.mean(), rel=1e-15)
    np.testing.assert_array_equal(field[2], field[1])
    np.testing.assert_array_equal(result.filled_per_layer, [0, 1, 24])
    assert result.layers_copied == (3,)
    assert result.filled.sum() == 25
    assert "25 of 72 boxes filled from neighbours (1 in layer 2, 24 in layer 3); layers without data" in result.report()


def test_surface_field_conserves_its_area_integral():
    file = climatology().isel(depth=0, drop=True).drop_vars("depth_bnds")
    source, grid = read_climatology(file, "t_an"), globe(nx=11, ny=5)
    result = regrid(source, grid)
    assert source.surface and result.values.shape == (grid.n_columns,)
    np.testing.assert_allclose(
        grid.surface_area @ result.values, source.grid.surface_area @ source.values.ravel(), rtol=1e-13
    )


def test_levels_without_bounds_meet_halfway():
    file = climatology(nz=3, bounds=False).assign_coords(depth=[0.0, 10.0, 30.0])
    np.testing.assert_array_equal(read_climatology(file, "t_an").grid.depth_edges, [0.0, 5.0, 20.0, 40.0])


def test_file_on_disk(tmp_path):
    file = climatology()
    file["time"].attrs["units"] = "months since 1955-01-01 00:00:00"  # as in WOA; not decodable
    file.to_netcdf(tmp_path / "woa.nc")
    source = read_climatology(tmp_path / "woa.nc", "t_an")
    np.testing.assert_array_equal(source.values, file["t_an"].values[0])
    assert source.units == "degrees_celsius"
    (tmp_path / "woa.nc").write_bytes((tmp_path / "woa.nc").read_bytes()[:3000])
    with pytest.raises(InputError, match=r"woa.nc: not readable as netCDF"):
        read_climatology(tmp_path / "woa.nc", "t_an")
    with pytest.raises(InputError, match=r"no file at .*none.nc"):
        read_climatology(tmp_path / "none.nc", "t_an")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.rename(t_an="t_mn"), "no variable 't_an'; found t_mn"),
        (lambda f: f.rename(lat="parallel"), r"expected a latitude named latitude or lat"),
        (lambda f: f.isel(time=[0, 0]), "also has dimension time of length 2; select one entry"),
        (lambda f: f.assign_coords(depth=-f["depth"]), "starts at .*; expected depths in m, positive down"),
        (lambda f: f.isel(lat=[0, 2, 1]), "'lat' does not increase or decrease strictly"),
        (lambda f: f.where(False), "no finite value"),
        (lambda f: f.assign(lat_bnds=f["lat_bnds"] * 0.9), "cells of 'lat_bnds' do not contain their centres 'lat'"),
        (lambda f: f.assign(lat_bnds=f["lat_bnds"].where(f["lat"] < 0, f["lat_bnds"] + 1.0)), "have gaps or overlap"),
        (lambda f: f.drop_vars("lon"), "no coordinate 'lon'; expected its cell centres"),
        (lambda f: f.isel(depth=[0]).drop_vars("depth_bnds"), "one value of 'depth' and no bounds"),
        (lambda f: f.isel(depth=[2, 3]), "first cell of 'depth' starts at 200 m; expected 0"),
    ],
)
def test_bad_climatologies_are_refused(spoil, message):
    with pytest.raises(InputError, match=message):
        read_climatology(spoil(climatology()), "t_an")


def test_no_overlap():
    north = read_climatology(climatology().isel(lat=slice(30, 36)), "t_an")
    with pytest.raises(InputError, match="no overlap of its first layer with the data"):
        regrid(north, ocean(south=-60.0, north=0.0))
