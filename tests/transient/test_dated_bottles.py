"""Dated bottles: means over box and step, their weights, and files that hold them."""

import numpy as np
import pytest
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.datasets.bottles import Bottles
from invbgc.datasets.gridding import bin_bottles
from invbgc.errors import InputError
from invbgc.files import write_netcdf
from invbgc.transient.bottles import DATED, DatedBottles, cell_means, read_dated
from invbgc.transient.integrate import Clock

GRID = load_circulation("few_box").grid
CLOCK = Clock(1990.0, 10, 6)


def dated(box, year, value, name="DIC") -> DatedBottles:
    return DatedBottles(name, np.array(box), np.array(year, float), np.array(value, float), "made-up bottles")


def test_means_by_hand():
    """Two bottles share box 3 and the first two months of 1991; three are outside the run."""
    year = [1991.01, 1991.16, 1991.17, 1991.02, 1989.99, 2000.0, 1870.0]
    cells = cell_means(dated([3, 3, 3, 5, 3, 3, 3], year, [2000.0, 2010.0, 2030.0, 2100.0, 1.0, 2.0, 3.0]), CLOCK, GRID)
    assert cells.name == "DIC" and cells.outside == 3
    columns = (cells.box, cells.step, cells.value, cells.count)
    found = {(int(b), int(s)): (float(v), int(n)) for b, s, v, n in zip(*columns, strict=True)}
    assert found == {(3, 6): (2005.0, 2), (3, 7): (2030.0, 1), (5, 6): (2100.0, 1)}
    assert cells.count.sum() + cells.outside == 7


def test_weights_are_shares_of_volume_over_the_variance():
    rng = np.random.default_rng(2)
    n = 300
    bottles = dated(rng.integers(0, GRID.n_wet, n), 1990.0 + 10.0 * rng.random(n), rng.normal(-50.0, 60.0, n), "D14C")
    cells = cell_means(bottles, CLOCK, GRID)
    volume = GRID.volume[cells.box]
    variance = np.average((cells.value - np.average(cells.value, weights=volume)) ** 2, weights=volume)
    assert cells.weight.sum() == pytest.approx(1.0 / variance, rel=1e-12)
    np.testing.assert_allclose(cells.weight * variance, volume / volume.sum(), rtol=1e-12)
    assert len(set(zip(cells.box, cells.step, strict=True))) == cells.box.size
    assert cells.count.sum() == n and cells.outside == 0
    # The mean of the cells, compared with all of them, has a misfit of one half.
    mean = np.full(cells.value.size, np.average(cells.value, weights=volume))
    assert cells.misfit(mean) == pytest.approx(0.5, rel=1e-12)
    assert cells.misfit(cells.value) == 0.0
    assert cells.misfit(cells.value + np.sqrt(variance)) == pytest.approx(0.5, rel=1e-12)


def test_order_of_bottles_does_not_matter():
    rng = np.random.default_rng(4)
    box, year, value = rng.integers(0, GRID.n_wet, 80), 1990.0 + 10.0 * rng.random(80), rng.normal(size=80)
    one, other = (cell_means(dated(box[o], year[o], value[o]), CLOCK, GRID) for o in (slice(None), rng.permutation(80)))
    np.testing.assert_array_equal(one.box, other.box)
    np.testing.assert_array_equal(one.step, other.step)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dated([0], [1990.0], [1.0], "O2"), "dated bottles of 'O2': expected D14C or DIC"),
        (lambda: dated([0, 1], [1990.0], [1.0]), "shapes .* expected one value per bottle"),
        (lambda: dated([[0]], [[1990.0]], [[1.0]]), "expected one value per bottle"),
        (lambda: dated([0], [np.nan], [1.0]), "not finite"),
        (lambda: dated([0], [1990.0], [np.inf]), "not finite"),
    ],
)
def test_impossible_bottles_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("bottles", "message"),
    [
        (dated([0, GRID.n_wet], [1991, 1992], [1, 2]), "made-up bottles.: a box is not one of 22"),
        (dated([0, -1], [1991, 1992], [1, 2]), "a box is not one of 22"),
        (dated([0, 1], [1991, 2005], [1, 2]), "1 cells of box and step between 1990 and 2000; expected two"),
        (dated([0, 1], [1891, 1892], [1, 2]), "0 cells of box and step"),
        (dated([0, 1], [1991, 1992], [7, 7]), "2 cells .* with values that vary"),
    ],
)
def test_too_few_bottles_are_refused(bottles, message):
    with pytest.raises(InputError, match=message):
        cell_means(bottles, CLOCK, GRID)


def test_bottles_of_a_prepared_file(tmp_path):
    """Through binning, a netCDF file and back: box, time and value of every dated bottle on the grid."""
    box = np.array([0, 7, 7, 12, 21, 3])
    time = np.array([1991.25, 1975.5, np.nan, 2003.0, 1999.9, 1995.0])
    value = np.array([2010.0, 2100.0, 2101.0, np.nan, 2250.0, 2050.0])
    table = Bottles(
        longitude=GRID.wet_longitude[box],
        latitude=np.where(np.arange(6) == 5, 85.0, GRID.wet_latitude[box]),  # the last one lies beyond the grid
        depth=GRID.wet_depth[box],
        time=time,
        values={"DIC": value},
        units={"DIC": DATED["DIC"]},
        source="cruise",
    )
    path = write_netcdf(bin_bottles(table, "DIC", GRID, keep_bottles=True).to_dataset(), tmp_path / "data.nc")
    with xr.open_dataset(path) as data:
        found = read_dated(data, "DIC", GRID, "data.nc")
        np.testing.assert_array_equal(found.box, [0, 7, 21])
        np.testing.assert_allclose(found.year, [1991.25, 1975.5, 1999.9])
        np.testing.assert_allclose(found.value, [2010.0, 2100.0, 2250.0])
        assert found.source == "data.nc" and found.box.dtype.kind == "i"
        assert cell_means(found, CLOCK, GRID).outside == 1
        with pytest.raises(InputError, match=r"data\.nc: no bottle_box_D14C, .* keep_bottles = true for D14C"):
            read_dated(data, "D14C", GRID, "data.nc")
    with pytest.raises(InputError, match="no bottle_box_DIC"):
        read_dated(bin_bottles(table, "DIC", GRID).to_dataset(), "DIC", GRID, "means only")
