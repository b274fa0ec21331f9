"""Histories of the atmosphere: the shipped ones, their continuation, and files that are wrong."""

import zipfile
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from invbgc.circulation import load_circulation
from invbgc.errors import InputError
from invbgc.transient.atmosphere import (
    CO2_COLUMNS,
    D14C_COLUMNS,
    ZONE_EDGES,
    Atmosphere,
    Record,
    load_atmosphere,
    read_record,
    read_sst,
    zone_of_columns,
)
from invbgc.transient.integrate import Clock


@pytest.fixture(scope="module")
def shipped() -> Atmosphere:
    return load_atmosphere()


def record(years, values, source="made up") -> Record:
    return Record(np.array(years, float), np.array(values, float), source)


def test_shipped_histories(shipped):
    for part in (shipped.co2, shipped.d14c):
        assert np.all(np.diff(part.years) > 0.0)
        assert part.years[0] < 1851.0 and part.years[-1] > 2010.0
        assert np.isfinite(part.values).all()
        assert part.source.startswith("atmosphere_")
    assert shipped.co2.years[-1] > 2020.0
    assert np.all(np.abs(np.diff(shipped.co2.values) / np.diff(shipped.co2.years)) < 4.0)
    for year, low, high in ((1850.0, 283.0, 288.0), (1960.0, 314.0, 319.0), (2020.0, 409.0, 416.0)):
        assert low < float(shipped.co2.at(year)) < high
    assert shipped.d14c.values.shape == (shipped.d14c.years.size, 3)


def test_bomb_peak(shipped):
    north, tropics, south = shipped.d14c.values.T
    for curve in (north, tropics, south):
        assert 1963.0 < shipped.d14c.years[curve.argmax()] < 1967.0
    assert 800.0 < north.max() < 1000.0
    assert north.max() > tropics.max() > south.max() > 550.0
    assert np.all(np.abs(shipped.d14c.at(1850.0)) < 10.0)
    assert np.all((shipped.d14c.at(1950.0) < -15.0) & (shipped.d14c.at(1950.0) > -30.0))
    assert np.ptp(shipped.d14c.at(1990.0)) < 10.0


def test_values_are_interpolated_and_constant_beyond_the_ends():
    one = record([1900, 1910, 1930], [10, 20, 0])
    assert [float(one.at(year)) for year in (1800, 1900, 1905, 1920, 1930, 1999)] == [10, 10, 15, 10, 0, 0]
    zones = record([1900, 1910], [[0, 1, 2], [10, 21, 32]])
    np.testing.assert_allclose(zones.at(1905.0), [5, 11, 17])
    np.testing.assert_allclose(zones.at(1899.0), [0, 1, 2])


def test_a_record_completed_by_another():
    first, second = record([1900, 1910], [1, 2], "first"), record([1905, 1910, 1915], [9, 9, 5], "second")
    both = first.completed_by(second)
    np.testing.assert_array_equal(both.years, [1900, 1910, 1915])
    np.testing.assert_array_equal(both.values, [1, 2, 5])
    assert both.source == "first; outside 1900 to 1910: second"
    np.testing.assert_array_equal(second.completed_by(first).values, [1, 9, 9, 5])
    assert both.completed_by(second) is both


def test_the_archive_of_graven_is_read(tmp_path):
    """Of a made-up archive: the original is not at hand."""
    path = tmp_path / "supplement.zip"
    table = "Table S1\nDate,NH D14C,Tropics D14C,SH D14C,d13C\n1850.5,-2.3,-4.0,-5.8,-6.6\n1851.5,-2.6,-4.3,-6.0,-6.6\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("supplement/TableS1.csv", table)
    np.testing.assert_allclose(load_atmosphere(d14c=path).d14c.at(1850.5), [-2.3, -4.0, -5.8])
    for wrong in ({"other.csv": table}, {"TableS1.csv": table.replace("NH", "north")}):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(*next(iter(wrong.items())))
        with pytest.raises(InputError, match=r"no text, nor an archive|no heading NH, Tropics, SH"):
            load_atmosphere(d14c=path)
    path.write_bytes(b"not an archive")
    with pytest.raises(InputError, match="no text, nor an archive"):
        load_atmosphere(d14c=path)


def test_a_record_is_carried_by_the_trend_of_its_last_ten_years():
    one = record([1900, 1990, 1998, 2000], [0, 100, 100, 130])
    carried = one.carried_to(2005.0)
    assert float(carried.at(2005.0)) == pytest.approx(130.0 + 5.0 * 3.0)
    assert float(carried.at(1999.0)) == float(one.at(1999.0))
    assert "trend of its last 10 years" in carried.source
    assert one.carried_to(2000.0) is one
    zones = record([1990, 2000], [[0, 10], [10, 5]]).carried_to(2004.0)
    np.testing.assert_allclose(zones.values[-1], [14.0, 3.0])


def test_covering_a_run(shipped):
    clock = Clock(1850.0, 170, 6)
    covered = shipped.covering(clock)
    assert covered.d14c.years[-1] == 2020.0 and covered.co2.years[-1] > 2020.0
    np.testing.assert_array_equal(covered.co2.values, shipped.co2.values)
    last = shipped.d14c.years[-1]
    with pytest.raises(InputError, match=r"atmosphere, d14c: record from 1850.5 to 2015.5 .*2030, or up to 10 fewer"):
        shipped.covering(Clock(1850.0, 180, 6))
    assert last == 2015.5
    with pytest.raises(InputError, match=r"atmosphere, co2: .*expected one of the years 1840 to 1950"):
        shipped.covering(Clock(1840.0, 110, 6))


def write(folder, text: str):
    path = folder / "history.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read(tmp_path):
    path = write(tmp_path, "# my station\n# more\nname,pCO2_uatm,year\nx,280,1900\n\ny,300.5,1950.5\n")
    found = read_record(path, CO2_COLUMNS)
    np.testing.assert_array_equal(found.years, [1900.0, 1950.5])
    np.testing.assert_array_equal(found.values, [280.0, 300.5])
    assert found.source == "history.csv (my station)"
    own, loaded = load_atmosphere().co2, load_atmosphere(co2=path).co2
    assert [float(loaded.at(year)) for year in (1900.0, 1950.5)] == [280.0, 300.5]
    assert loaded.values[0] == own.values[0] and loaded.values[-1] == own.values[-1]
    zones = write(tmp_path, "year,D14C_north_permil,D14C_tropics_permil,D14C_south_permil\n1850,1,2,3\n1860,4,5,6\n")
    np.testing.assert_array_equal(load_atmosphere(d14c=zones).d14c.values, [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("year,co2\n1900,280\n1901,281\n", CO2_COLUMNS, "columns year, co2; expected year, pCO2_uatm or "),
        ("", CO2_COLUMNS, "columns none; expected year, pCO2_uatm"),
        ("year,pCO2_uatm\n1900,280\n", D14C_COLUMNS, "columns year, pCO2_uatm; expected year, D14C_north_permil"),
        ("year,pCO2_uatm\n1900,280\n1901,many\n", CO2_COLUMNS, "a cell is no number .*many"),
        ("year,pCO2_uatm\n1900,280\n1901\n", CO2_COLUMNS, "a cell is no number"),
        ("year,pCO2_uatm\n1900,280\n1901,nan\n", CO2_COLUMNS, "2 rows; expected two at least"),
        ("year,pCO2_uatm\n1900,280\n1900,281\n", CO2_COLUMNS, "2 rows; .* with increasing years"),
        ("year,pCO2_uatm\n1901,280\n1900,281\n", CO2_COLUMNS, "2 rows; .* with increasing years"),
        ("year,pCO2_uatm\n1900,280\n", CO2_COLUMNS, "1 rows; expected two at least"),
    ],
)
def test_malformed_files_are_refused(tmp_path, text, columns, message):
    with pytest.raises(InputError, match=rf"history\.csv: {message}"):
        read_record(write(tmp_path, text), columns)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.csv: no such file"):
        load_atmosphere(d14c=tmp_path / "nowhere.csv")


def test_zones_of_columns():
    grid = load_circulation("embedded_8deg").grid
    zone, latitude = zone_of_columns(grid), grid.wet_latitude[: grid.n_columns]
    assert zone.shape == (grid.n_columns,) and set(zone) == {0, 1, 2}
    np.testing.assert_array_equal(zone == 0, latitude > ZONE_EDGES[0])
    np.testing.assert_array_equal(zone == 2, latitude <= ZONE_EDGES[1])
    few = load_circulation("few_box").grid
    np.testing.assert_array_equal(zone_of_columns(few), [2, 2, 1, 1, 0, 0])


NOAA = "# NOAA\nyear,month,decimal date,average,deseasonalized\n1958,3,1958.2,315.7,314.4\n1958,4,1958.3,317.4,315.0\n"
CMIP6 = "datenum, year, month, data_mean_global, data_mean_nh\n1, 1850, 1, 284.3, 285\n2, 1850, 2, 284.4, 285\n"


@pytest.mark.parametrize(("text", "year"), [(NOAA, 1958.2), (CMIP6, 1850.0 + 0.5 / 12.0)])
def test_published_forms_of_co2_are_read(tmp_path, text, year):
    found = read_record(write(tmp_path, text), CO2_COLUMNS)
    np.testing.assert_allclose(found.years[0], year)
    assert found.values[0] in (314.4, 284.3)


def test_sea_surface_temperature_is_read_on_the_grid(tmp_path):
    grid = load_circulation("few_box").grid
    fields = [grid.unpack_surface(np.full(grid.n_columns, value), "t", {"units": "degC"}) for value in (10.0, 12.0)]
    field = xr.concat(fields, xr.IndexVariable("year", [1850.0, 1950.0]))
    field.to_dataset(name="sea_surface_temperature").to_netcdf(tmp_path / "sst.nc")
    found = read_sst(tmp_path / "sst.nc", grid)
    np.testing.assert_allclose(found.at(1900.0), 11.0)
    with pytest.raises(InputError, match=r"sst: record from 1850 to 1950.*expected one of the years"):
        replace(load_atmosphere(), sst=found).covering(Clock())
    field.to_dataset(name="sst").to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match="no variable sea_surface_temperature"):
        read_sst(tmp_path / "other.nc", grid)
