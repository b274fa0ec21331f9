"""Dataset files from recipes: made-up files in their true formats, closed-form results, provenance, refusals."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from test_bottles import GLODAP_HEADER
from typer.testing import CliRunner

from invbgc import cli
from invbgc.circulation import load_circulation
from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.datasets import load_dataset, open_dataset
from invbgc.datasets.bottle_files import read_bottle_table
from invbgc.datasets.prepare import prepare
from invbgc.datasets.recipe import TEMPLATES, read_recipe, write_recipe
from invbgc.datasets.virtual_flux import virtual_freshwater_flux
from invbgc.errors import InputError
from invbgc.observations import TRACERS

LATITUDE, LONGITUDE = np.arange(-87.5, 90.0, 5.0), np.arange(2.5, 360.0, 5.0)
DEPTH = np.array([0.0, 50.0, 500.0, 3000.0])
COLUMNS = ",".join(GLODAP_HEADER).split(",")

FIELDS = """
[fields.temperature]
file = "t.nc"
variable = "t_an"
floor = -2.0
smooth = true
[fields.salinity]
file = "s.nc"
variable = "s_an"
[fields.phosphate]
file = "p.nc"
variable = "p_an"
[fields.silicate]
file = "i.nc"
variable = "i_an"
[fields.net_primary_production]
file = "npp.nc"
variable = "npp"
select = { product = 1, month = "mean" }
missing_is = 0
floor = 0
[fields.piston_velocity_660]
file = "gasx_ocmip2.nc"
format = "ocmip2"
scale = 0.6944
[fields.sea_level_pressure]
file = "gasx_ocmip2.nc"
format = "ocmip2"
"""

BOTTLES = """
[observations.DIP]
file = "glodap.csv"
format = "glodap"
flags = [2]
second_flag = true
drop_outliers = false
[observations.DIC]
file = "glodap.csv"
format = "glodap"
flags = [2]
drop_outliers = false
keep_bottles = true
[observations.ALK]
file = "glodap.csv"
format = "glodap"
drop_outliers = false
[observations.D14C]
file = "glodap.csv"
format = "glodap"
drop_outliers = false
keep_bottles = true
[observations.DOC]
file = "doc.xlsx"
unit = "umol kg-1"
columns = { longitude = "LON", latitude = "LAT", pressure = "CTDPRS", flag = "DOC_FLAG", date = "DATE" }
flags = [2]
drop_outliers = false
floor = 20.0
"""


def cosine(shape_of, mean, amplitude):
    """A field that varies with latitude only, [..., latitude, longitude]."""
    return np.broadcast_to((mean + amplitude * np.cos(np.radians(LATITUDE)))[:, None], shape_of)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files as published: atlas, production, gas exchange, bottles."""
    monkeypatch.setenv("INVBGC_DATA", str(tmp_path / "cache"))
    shape = (DEPTH.size, LATITUDE.size, LONGITUDE.size)
    axes = {"depth": ("depth", DEPTH), "lat": ("lat", LATITUDE), "lon": ("lon", LONGITUDE)}
    for letter, mean, amplitude, unit in (
        ("t", -5.0, 30.0, "degrees_celsius"),
        ("s", 34.0, 1.5, "1"),
        ("p", 2.0, -1.8, "micromoles_per_kilogram"),
        ("i", 90.0, -80.0, "micromoles_per_kilogram"),
    ):
        values = cosine(shape, mean, amplitude)
        attrs = {"units": unit}
        xr.Dataset({f"{letter}_an": (("time", *axes), values[None], attrs)}, axes).to_netcdf(tmp_path / f"{letter}.nc")
    months = np.arange(12.0)
    production = cosine((2, 12, *shape[1:]), 4000.0, 9000.0) * np.array([1.0, 2.0])[:, None, None, None]
    production = production + (months - months.mean())[:, None, None]
    production[:, :, :4] = np.nan  # no light, no value
    npp = xr.Dataset({"npp": (("product", "month", "lat", "lon"), production, {"units": "mmol m-2 yr-1"})}, axes)
    npp.to_netcdf(tmp_path / "npp.nc")
    ice = np.linspace(0.0, 0.55, 12)[:, None, None] * np.ones(shape[1:])
    gas = {"FICE": ice, "XKW": 1e-4 * (1.0 + months)[:, None, None] + 0.0 * ice, "P": 1.0 + 0.0 * ice}
    gas["P"][:, :3] = 0.0  # land
    content = {name: (("T", "Y", "X"), values.astype("f4")) for name, values in gas.items()}
    xr.Dataset(content | {"LAT": ("Y", LATITUDE), "LON": ("X", LONGITUDE)}).to_netcdf(tmp_path / "gasx_ocmip2.nc")
    row = dict.fromkeys(COLUMNS, -9999.0)
    rows = []
    for number, (latitude, depth) in enumerate([(-55, 10), (-55, 10), (0, 10), (0, 500), (50, 50), (50, 20)]):
        rows.append(
            row
            | {"G2year": 1990 + number, "G2month": 1, "G2day": 1, "G2latitude": latitude, "G2longitude": 10.0}
            | {"G2depth": depth, "G2temperature": 10.0, "G2salinity": 35.0, "G2salinityf": 2, "G2salinityqc": 1}
            | {"G2phosphate": 1.0 + number, "G2phosphatef": 2, "G2phosphateqc": 1 if number else 0}
            | {"G2tco2": 2000.0 + 10 * number, "G2tco2f": 2 if number < 5 else 3, "G2tco2qc": 1}
            | {"G2talk": 2300.0 + number, "G2talkf": 2, "G2talkqc": 1, "G2c14": -50.0 - number, "G2c14f": 2}
        )
    pd.DataFrame(rows)[COLUMNS].to_csv(tmp_path / "glodap.csv", index=False)
    doc = {
        "LON": [10.0, 10.0, 10.0, 10.0],
        "LAT": [0.0, 0.0, -55.0, 50.0],
        "CTDPRS": [10.0, 12.0, 2000.0, 10.0],
        "DOC": [60.0, 64.0, 40.0, 10.0],
        "DOC_FLAG": [2, 2, 2, None],
        "DATE": [20010513, 20010513, 19990101, -999],
    }
    pd.DataFrame(doc).to_excel(tmp_path / "doc.xlsx", index=False)
    return tmp_path


def make(folder, text=BOTTLES + FIELDS, head=""):
    """The dataset of a recipe."""
    path = folder / "recipe.toml"
    path.write_text(f"[dataset]\noutput = 'out.nc'\ncirculation = 'few_box'\n{head}\n{text}")
    with xr.open_dataset(prepare(read_recipe(path), path)) as file:
        return file.load()


def test_published_files_become_one_dataset(folder):
    ocean = load_circulation("few_box")
    grid, made = ocean.grid, make(folder)
    forcing, observations = open_dataset(folder / "out.nc", grid)
    surface = grid.n_columns

    # every field is constant in depth and along parallels, so that all boxes of a band agree
    for name in ("salinity", "silicate", "phosphate"):
        values = getattr(forcing, name)
        band = values[grid.wet_latitude == 0.0]
        np.testing.assert_allclose(band, band[0], rtol=1e-12)
    area = np.diff(np.sin(np.radians(np.arange(-90.0, 91.0, 5.0))))
    south = (LATITUDE > -75) & (LATITUDE < -35)
    mean = np.average(2.0 - 1.8 * np.cos(np.radians(LATITUDE[south])), weights=area[south])
    expected = SEAWATER_DENSITY_FACTOR * mean
    np.testing.assert_allclose(forcing.phosphate[grid.wet_latitude == -55.0], expected, rtol=1e-10)

    np.testing.assert_allclose(forcing.chemistry_salinity, forcing.salinity[:surface], rtol=1e-12)
    np.testing.assert_allclose(forcing.chemistry_phosphate, forcing.phosphate[:surface] / 1.0245, rtol=1e-12)
    assert np.ptp(forcing.chemistry_temperature) > np.ptp(forcing.temperature[:surface])  # chemistry is not smoothed
    np.testing.assert_allclose(forcing.chemistry_pressure, 18.0, rtol=0.02)
    flux = virtual_freshwater_flux(ocean, forcing.salinity[:surface])[0]
    np.testing.assert_allclose(forcing.freshwater_flux, flux, rtol=1e-9, atol=1e-20)

    # mean over the months of (1 - ice) k, and the mean of the chosen product without its annual cycle
    velocity = np.mean((1.0 - np.linspace(0.0, 0.55, 12)) * 1e-4 * np.arange(1.0, 13.0))
    np.testing.assert_allclose(forcing.piston_velocity_660, 0.6944 * velocity, rtol=1e-6)
    np.testing.assert_allclose(forcing.sea_level_pressure, 1.0, rtol=1e-7)
    tropics = np.abs(LATITUDE) < 35
    mean = np.average(2 * (4000 + 9000 * np.cos(np.radians(LATITUDE[tropics]))), weights=area[tropics])
    np.testing.assert_allclose(forcing.net_primary_production[grid.wet_latitude[:surface] == 0.0], mean, rtol=1e-10)

    assert {name: data.count for name, data in observations.tracers.items()} == {"DIP": 5, "DIC": 4, "ALK": 5, "DOC": 2}
    assert made["count_DIC"].sum() == 5 and made["count_DOC"].sum() == 3
    np.testing.assert_allclose(observations.vector("DIC")[grid.pack(made["count_DIC"]) == 2], 2005.0 * 1.0245)
    np.testing.assert_allclose(sorted(observations.tracers["DOC"].value), [40.0 * 1.0245, 62.0 * 1.0245])
    np.testing.assert_allclose(made["bottle_time_DIC"], 1990.0 + np.arange(5) + 0.5 / 365.0)
    assert made.sizes["bottle_DIC"] == 5 and made.sizes["bottle_D14C"] == 6
    assert made["bottle_value_D14C"].attrs["units"] == "permil"
    boxes = made["bottle_box_DIC"].values.astype(int)
    np.testing.assert_array_equal(grid.wet_latitude[boxes], [-55.0, -55.0, 0.0, 0.0, 52.5])


def test_every_variable_says_where_it_is_from_and_the_file_what_to_cite(folder):
    made = make(folder)
    given = [name for name in made.data_vars if name not in ("wet",)]
    assert all("processing" in made[name].attrs for name in given), given
    assert made["piston_velocity_660"].attrs["citation"].startswith("Najjar")
    assert json.loads(made.attrs["citations"]) == [made["piston_velocity_660"].attrs["citation"]]
    assert "flag in 2: 6 to 5 values" in made["observed_DIC"].attrs["processing"]
    record = json.loads(made.attrs["manifest"])
    names = [part["path"].rsplit("/", 1)[-1] for part in record["inputs"]]
    assert set(names) == {
        *("t.nc", "s.nc", "p.nc", "i.nc", "npp.nc", "gasx_ocmip2.nc"),
        *("glodap.csv", "doc.xlsx", "recipe.toml"),
    }
    assert all(len(part["sha256"]) == 64 for part in record["inputs"])


def test_own_data_replace_those_of_a_base(folder):
    make(folder)
    (folder / "out.nc").rename(folder / "base.nc")
    base = xr.load_dataset(folder / "base.nc")
    (folder / "mine.csv").write_text("longitude,latitude,depth,DIP\n10,0,10,0.4\n10,50,10,0.6\n190,0,10,0.5\n")
    own = "[observations.DIP]\nfile = 'mine.csv'\nunit = 'mmol m-3'\ndrop_outliers = false\n"
    made = make(folder, own, "base = 'base.nc'")
    assert made.attrs["DIP_mean"] != base.attrs["DIP_mean"]
    for name in ("ALK_mean", "T_min", "Si_max"):
        assert made.attrs[name] == base.attrs[name]
    np.testing.assert_allclose(sorted(made["observed_DIP"].values[np.isfinite(made["observed_DIP"])]), [0.4, 0.5, 0.6])
    for name in ("observed_ALK", "temperature", "freshwater_flux", "chemistry_temperature"):
        np.testing.assert_array_equal(made[name], base[name])
    assert json.loads(made.attrs["citations"]) == json.loads(base.attrs["citations"])
    assert made["temperature"].attrs["processing"] == base["temperature"].attrs["processing"]
    np.testing.assert_array_equal(made["bottle_time_DIC"], base["bottle_time_DIC"])
    assert made["count_DIP"].sum() == 3 and "bottle_time_DIP" not in made


def test_replaced_salinity_changes_what_follows_from_it(folder):
    make(folder)
    (folder / "out.nc").rename(folder / "base.nc")
    base = xr.load_dataset(folder / "base.nc")
    fresher = xr.load_dataset(folder / "s.nc")
    fresher["s_an"] -= 1.0 + 0.01 * fresher["lat"]
    fresher["s_an"].attrs["units"] = "1"
    fresher.to_netcdf(folder / "fresher.nc")
    made = make(folder, "[fields.salinity]\nfile = 'fresher.nc'\nvariable = 's_an'\n", "base = 'base.nc'")
    assert np.abs(made["freshwater_flux"] / base["freshwater_flux"] - 1.0).max() > 0.1
    assert float((base["chemistry_salinity"] - made["chemistry_salinity"]).mean()) == pytest.approx(1.0, abs=0.1)
    np.testing.assert_array_equal(made["chemistry_silicate"], base["chemistry_silicate"])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('file = "t.nc"', 'file = "none.nc"'), ["no file at", "none.nc"]),
        (('file = "t.nc"', 'file = "woa18/none.nc"'), ["'woa18' has no file 'none.nc'"]),
        (('file = "t.nc"', 'file = "woa18/woa18_decav_t00_01.nc"'), ["absent", "invbgc data fetch woa18"]),
        (('file = "t.nc"', 'file = "woa18"'), ["several files", "woa18/woa18_decav_t00_01.nc"]),
        (('variable = "t_an"', 'variable = "temp"'), ["no variable 'temp'", "t_an"]),
        (('variable = "t_an"', ""), ["[fields.temperature]", "needs a variable"]),
        (("smooth = true", "smoth = true"), ["unknown key 'smoth'", "Did you mean 'smooth'?"]),
        (("[fields.salinity]", "[fields.salinty]"), ["'salinty' is not a choice", "Did you mean 'salinity'"]),
        (("[fields.salinity]", "[feilds.salinity]"), ["no section [feilds]", "Did you mean 'fields'?"]),
        (("product = 1", "product = 2"), ["entry 2 of 'product'", "0 to 1"]),
        (("product = 1", "produkt = 1"), ["no dimension 'produkt'"]),
        (('unit = "umol kg-1"', ""), ["[observations.DOC]", "needs a unit"]),
        (('unit = "umol kg-1"', 'unit = "degC"'), ["measure different things"]),
        (('flag = "DOC_FLAG"', 'flag = "FLAG_W"'), ["no column 'FLAG_W'"]),
        (('flag = "DOC_FLAG"', 'flagg = "DOC_FLAG"'), ["columns ['flagg'] are unknown"]),
        (("floor = 20.0", 'exclude_basins = ["ARC"]'), ["no basins are known", "GRID.mat"]),
        (("flags = [2]\nsecond", "flags = [7]\nsecond"), ["variable 'DIP'", "flag in 7 6 to 0"]),
        (("scale = 0.6944", "smooth = true"), ["piston_velocity_660", "with a depth only"]),
        (('file = "s.nc"\nvariable = "s_an"', 'file = "npp.nc"\nvariable = "npp"'), ["also has dimension product"]),
    ],
)
def test_refusals_name_the_place_and_write_nothing(folder, change, expected):
    text = BOTTLES + FIELDS
    assert change[0] in text
    with pytest.raises(InputError) as error:
        make(folder, text.replace(*change, 1))
    for part in expected:
        assert part in str(error.value)
    assert not list(folder.glob("*out.nc*"))


def test_a_field_that_nothing_gives_is_named(folder):
    silicate = '[fields.silicate]\nfile = "i.nc"\nvariable = "i_an"\n'
    assert silicate in FIELDS
    with pytest.raises(InputError, match=r"no silicate; expected \[fields.silicate\]"):
        make(folder, BOTTLES + FIELDS.replace(silicate, ""))


@pytest.mark.parametrize("name", ["FICE", "LAT"])
def test_damaged_gas_exchange_file(folder, name):
    content = xr.load_dataset(folder / "gasx_ocmip2.nc")
    content.drop_vars(name).to_netcdf(folder / "gasx_ocmip2.nc")
    with pytest.raises(InputError, match=f"no variable '{name}'"):
        make(folder)
    (folder / "gasx_ocmip2.nc").write_bytes(b"CDF\x01 cut short")
    with pytest.raises(InputError, match="not readable as netCDF"):
        make(folder)


def test_a_table_of_ones_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("longitude,latitude,depth,year,month,O2,salinity\n10,20,30,1999,7,200,35\n11,21,31,2000,,,\n")
    table = read_bottle_table(path, "O2", "umol kg-1")
    np.testing.assert_array_equal(table.values["O2"], [200.0, np.nan])
    np.testing.assert_array_equal(table.values["salinity"], [35.0, np.nan])
    np.testing.assert_allclose(table.time, [1999 + (181 + 15.5) / 365, 2000.5])
    with pytest.raises(InputError, match="no column 'pressure'"):
        read_bottle_table(path, "O2", "umol kg-1", {"pressure": "pressure"})
    path.write_bytes(path.read_bytes()[:70])
    with pytest.raises(InputError, match=r"no column|not numbers|no rows"):
        read_bottle_table(path, "DIC", "umol kg-1")


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_can_be_read(tmp_path, name):
    path = write_recipe(tmp_path / "recipe.toml", name)
    recipe = read_recipe(path)
    assert recipe.dataset.output.parent == tmp_path
    with pytest.raises(InputError, match="exists already"):
        write_recipe(path, name)
    with pytest.raises(InputError, match="there is no recipe 'wang'"):
        write_recipe(tmp_path / "other.toml", "wang")


def test_command_line(folder):
    (folder / "recipe.toml").write_text(f"[dataset]\noutput = 'cli.nc'\ncirculation = 'few_box'\n{BOTTLES}{FIELDS}")
    result = CliRunner().invoke(cli.app, ["data", "prepare", str(folder / "recipe.toml")])
    assert result.exit_code == 0, result.stderr
    assert "DIC: flag in 2: 6 to 5 values" in result.output
    assert (folder / "cli.nc").is_file()
    written = CliRunner().invoke(cli.app, ["data", "recipe", str(folder / "new.toml"), "--template", "glodap_woa"])
    assert written.exit_code == 0 and "invbgc data prepare" in written.output


@pytest.mark.shared_data
def test_the_files_of_the_paper_on_the_embedded_ocean(tmp_path, shared_data):
    source = shared_data / "wang2023_observations"
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"[dataset]\noutput = 'out.nc'\nbase = 'wang2023'\nsource = '{source}'\n")
    path = prepare(read_recipe(recipe))
    ocean = load_circulation("embedded")
    forcing, observations = load_dataset("wang2023", ocean.grid, source=source, circulation=ocean)
    again, observed = open_dataset(path, ocean.grid)
    for name in TRACERS:
        np.testing.assert_array_equal(observed.vector(name), observations.vector(name))
    for name in ("temperature", "freshwater_flux", "DIP_mean", "T_max"):
        np.testing.assert_allclose(getattr(again, name), getattr(forcing, name), rtol=1e-14)
    file = xr.load_dataset(path)
    assert set(np.unique(file["region"].values[ocean.grid.wet])) == set(range(1, 13))
    basin = ocean.grid.pack(file["basin"])
    for label, name in ((1, "atlantic"), (2, "pacific"), (3, "indian")):
        assert np.mean(basin[ocean.grid.mask(name)] == label) > 0.9
