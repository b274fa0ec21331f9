"""Bottle tables: readers, quality steps, units, and input that must be refused."""

from dataclasses import replace

import gsw
import numpy as np
import pytest

from invbgc.datasets.bottle_files import GLODAP_COLUMNS, decimal_year, read_dom_bottles, read_glodap_bottles
from invbgc.datasets.bottles import Bottles, Step, seawater_density
from invbgc.errors import InputError

DOM_HEADER = "month,lon,lat,depth,DONt_obs,DOPt_obs,DOCt_obs"
DOM_ROWS = ("3,-49.30228,-35.08802,11.9,3.05,0.015,-999", "0,359.99,89.5,0,-999,-999,71.25", "12,0,-78,4000,2,-999,40")

GLODAP_HEADER = [
    "G2cruise,G2station,G2region,G2cast,G2year,G2month,G2day,G2hour,G2minute,G2latitude,G2longitude,G2bottomdepth",
    "G2maxsampdepth,G2bottle,G2pressure,G2depth,G2temperature,G2theta,G2salinity,G2salinityf,G2salinityqc",
    "G2oxygen,G2oxygenf,G2oxygenqc,G2phosphate,G2phosphatef,G2phosphateqc,G2tco2,G2tco2f,G2tco2qc",
    "G2talk,G2talkf,G2talkqc,G2c14,G2c14f,G2c14err,G2doc,G2docf",
]
"""The columns used, and some of the others, in the order of the merged file."""

GLODAP_ROWS = (
    "1,1,1,1,1994,7,2,0,0,-40.5,170.2,5000,4900,1,10,9.9,15,14.9,35.1,2,1,250,2,1,0.5,2,1,2050,2,1,2300,2,1,-50,2,3,60,2",
    "1,1,1,1,1994,7,2,0,0,-40.5,170.2,5000,4900,2,100,99,12,11.9,35.0,2,1,240,2,1,0.8,3,1,2100,0,1,2310,9,1,-9999,9,-9999,-9999,9",
    "2,1,1,1,2005,-9999,-9999,0,0,10,-20,3000,-9999,3,-9999,-9999,5,4.9,-9999,9,0,200,2,0,1.5,2,0,-9999,9,0,2330,2,0,-9999,9,-9999,45,2",
)


def write(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def dom(tmp_path):
    return write(tmp_path / "DOMobs.csv", DOM_HEADER, DOM_ROWS)


@pytest.fixture
def glodap(tmp_path):
    return write(tmp_path / "GLODAPv2_Merged.csv", ",".join(GLODAP_HEADER), GLODAP_ROWS)


def table(**changes):
    values = {
        "longitude": [0.0, 10.0, 20.0],
        "latitude": [0.0, 1.0, 2.0],
        "depth": [0.0, 100.0, 4000.0],
        "time": [2000.0, 2001.0, np.nan],
        "values": {"DIP": [1.0, 2.0, np.nan]},
        "units": {"DIP": "umol kg-1"},
        "flags": {"DIP": np.array([2, 3, 9])},
    }
    return Bottles(**(values | changes))


def test_dom_file(dom):
    bottles = read_dom_bottles(dom)
    assert len(bottles) == 3
    np.testing.assert_array_equal(bottles.values["DOC"], [np.nan, 71.25, 40.0])
    np.testing.assert_array_equal(bottles.values["DOP"], [0.015, np.nan, np.nan])
    np.testing.assert_array_equal(bottles.longitude, [-49.30228, 359.99, 0.0])
    np.testing.assert_array_equal(bottles.month, [3, 0, 12])
    assert np.isnan(bottles.time).all()
    assert bottles.units == dict.fromkeys(("DON", "DOP", "DOC"), "mmol m-3")


def test_glodap_file(glodap):
    bottles = read_glodap_bottles(glodap, [*list(GLODAP_COLUMNS)[:6], "DOC", "D14C"])
    np.testing.assert_array_equal(bottles.values["DIP"], [0.5, 0.8, 1.5])
    np.testing.assert_array_equal(bottles.values["DIC"], [2050.0, 2100.0, np.nan])
    np.testing.assert_array_equal(bottles.values["salinity"], [35.1, 35.0, np.nan])
    np.testing.assert_array_equal(bottles.values["D14C"], [-50.0, np.nan, np.nan])
    np.testing.assert_array_equal(bottles.depth, [9.9, 99.0, np.nan])
    np.testing.assert_array_equal(bottles.flags["DIC"], [2, 0, 9])
    np.testing.assert_array_equal(bottles.second_flags["DIP"], [1, 1, 0])
    assert set(bottles.second_flags) == {"salinity", "DIP", "DIC", "ALK", "O2"}
    # 2 July is day 183 of 365; a cruise of unknown month counts as the middle of its year.
    np.testing.assert_allclose(bottles.time, [1994 + 182.5 / 365, 1994 + 182.5 / 365, 2005.5], rtol=1e-15)
    np.testing.assert_array_equal(bottles.month, [7, 7, 0])


def test_decimal_year():
    year, month, day = np.array([2000.0, 2000, 2004, np.nan]), np.array([1.0, 12, 2, 5]), np.array([1.0, 31, 29, 1])
    expected = [2000 + 0.5 / 365, 2000 + 364.5 / 365, 2004 + 58.5 / 365, np.nan]
    np.testing.assert_allclose(decimal_year(year, month, day), expected, rtol=1e-15)
    middle_of_march = decimal_year(np.array([1990.0]), np.array([3.0]), np.array([np.nan]))
    np.testing.assert_allclose(middle_of_march, [1990 + (59 + 15.5) / 365], rtol=1e-15)


def test_quality_steps_are_reported(glodap):
    bottles = read_glodap_bottles(glodap)
    kept = bottles.require_flags("DIP").require_second_flag("DIP").require_flags("DIC", (0, 2))
    kept = kept.require_range("O2", 200.0, 240.0)
    np.testing.assert_array_equal(kept.values["DIP"], [0.5, np.nan, np.nan])
    np.testing.assert_array_equal(kept.values["DIC"], [2050.0, 2100.0, np.nan])
    np.testing.assert_array_equal(kept.values["O2"], [np.nan, 240.0, 200.0])
    assert kept.steps == (
        Step("flag in 2", "DIP", 3, 2),
        Step("secondary quality control", "DIP", 2, 1),
        Step("flag in 0, 2", "DIC", 2, 2),
        Step("from 200 to 240", "O2", 3, 2),
    )
    assert bottles.steps == ()
    assert bottles.count("DIP") == 3  # the table that went in is unchanged


def test_fixed_density(glodap):
    bottles = read_glodap_bottles(glodap)
    fixed = bottles.to_volume("DIC")
    np.testing.assert_allclose(fixed.values["DIC"], [2050 * 1.0245, 2100 * 1.0245, np.nan], rtol=1e-14)
    assert (fixed.units["DIC"], fixed.units["ALK"]) == ("mmol m-3", "umol kg-1")
    np.testing.assert_allclose(bottles.to_volume("DIC", 1000.0).values["DIC"], bottles.values["DIC"], rtol=1e-14)
    np.testing.assert_allclose(fixed.to_volume("DIC", 1000.0).values["DIC"], fixed.values["DIC"], rtol=1e-14)


@pytest.mark.parametrize(("kind", "pressure"), [("potential", 0.0), ("in_situ", 4000.0)])
def test_computed_density_is_that_of_teos_10(kind, pressure):
    """Water of S_A = 35.16504 g/kg and 0 degC conservative, the standard ocean, at 0 and at 4000 dbar."""
    depth = -gsw.z_from_p(4000.0, 0.0)
    salinity = gsw.SP_from_SA(35.16504, 4000.0, 200.0, 0.0)
    temperature = gsw.t_from_CT(35.16504, 0.0, 4000.0)
    values = {"DIC": 2000.0, "temperature": temperature, "salinity": salinity}
    bottles = Bottles(
        longitude=np.array([200.0]),
        latitude=np.array([0.0]),
        depth=np.array([depth]),
        time=np.array([2000.0]),
        values={name: np.array([x]) for name, x in values.items()},
        units={"DIC": "umol kg-1", "temperature": "degC", "salinity": "1"},
    )
    rho = gsw.rho(35.16504, 0.0, pressure)
    np.testing.assert_allclose(seawater_density(bottles, kind), [rho], rtol=1e-9)
    np.testing.assert_allclose(bottles.to_volume("DIC", kind).values["DIC"], [2.0 * rho], rtol=1e-9)
    # Published check: the standard ocean at the surface has 1028.1 kg m-3 and is 1.9 % denser at 4000 dbar.
    assert rho == pytest.approx({"potential": 1028.11, "in_situ": 1046.7}[kind], abs=0.8)


def test_values_without_temperature_or_salinity_have_no_computed_density(glodap):
    converted = read_glodap_bottles(glodap).to_volume("O2", "potential")
    assert np.isnan(converted.values["O2"][2])
    assert converted.steps == (Step("density potential", "O2", 3, 2),)


def test_wrong_sentinel_is_found(dom, glodap):
    with pytest.raises(InputError, match=r"'DON': 1 values below -900, first -999; expected missing="):
        read_dom_bottles(dom, missing=-9999.0)
    with pytest.raises(InputError, match=r"variable 'depth': 1 values outside 0 to 12000, first -9999 in row 3"):
        read_glodap_bottles(glodap, missing=-999.0)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (DOM_HEADER.replace("DOCt_obs", "DOC"), DOM_ROWS, r"no column 'DOCt_obs'; found month, lon.*DOC; expected"),
        (DOM_HEADER, (*DOM_ROWS, "5,0,91,10,1,1,1"), r"'latitude': 1 values outside -90 to 90, first 91 in row 4"),
        (DOM_HEADER, (*DOM_ROWS, "5,361,9,10,1,1,1"), r"'longitude': 1 values outside -180 to 360, first 361 in row 4"),
        (DOM_HEADER, (*DOM_ROWS, "5,0,9,-10,1,1,1"), r"'depth': 1 values outside 0 to 12000, first -10.*positive down"),
        (DOM_HEADER, (*DOM_ROWS, "13,0,9,10,1,1,1"), r"'month': values up to 13; expected 0 to 12"),
        (DOM_HEADER, (*DOM_ROWS, "5,0,9,10,1,1,n/d"), r"column 'DOCt_obs': 1 entries .* first 'n/d' in row 4"),
        (DOM_HEADER, (*DOM_ROWS, "5,0,9,10,1,0.0"), r"column 'DOCt_obs': 1 entries are empty .* Is the file complete"),
        (DOM_HEADER, (), "no rows; expected one per bottle"),
    ],
)
def test_bad_files_are_refused(tmp_path, header, rows, message):
    with pytest.raises(InputError, match=message):
        read_dom_bottles(write(tmp_path / "bad.csv", header, rows))


def test_missing_and_unreadable_files(tmp_path, glodap):
    with pytest.raises(InputError, match=r"no file at .*nowhere.csv"):
        read_dom_bottles(tmp_path / "nowhere.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\x89HDF\r\n\x1a\n\xff\xfe\x00")
    with pytest.raises(InputError, match=r"binary.csv: not a readable table"):
        read_dom_bottles(binary)
    with pytest.raises(InputError, match=r"variables \['CFC11'\] are unknown; expected some of"):
        read_glodap_bottles(glodap, ["CFC11"])
    text = glodap.read_text().replace("G2phosphateqc", "G2phosphateQC")
    glodap.write_text(text)
    with pytest.raises(InputError, match="no column 'G2phosphateqc'; expected a merged GLODAPv2 file"):
        read_glodap_bottles(glodap)


def test_bad_tables_are_refused():
    with pytest.raises(InputError, match=r"variable 'DIP': no unit; expected an entry of units"):
        table(units={})
    with pytest.raises(InputError, match=r"variable 'time': shape \(2,\); expected \(3,\), one per bottle"):
        table(time=[2000.0, 2001.0])
    with pytest.raises(InputError, match=r"variable 'DIP': shape \(1,\)"):
        table(flags={"DIP": np.array([2])})
    with pytest.raises(InputError, match="variable 'DIC': not in the table; expected one of DIP"):
        table().variable("DIC")
    with pytest.raises(InputError, match="variable 'DIP': no secondary flags; expected one of none"):
        table().require_second_flag("DIP")
    with pytest.raises(InputError, match="variable 'O2': no flags; expected one of DIP"):
        table(values={"O2": [1.0, 2.0, 3.0]}, units={"O2": "umol kg-1"}).require_flags("O2")
    with pytest.raises(InputError, match=r"density 1.0245; expected kg m-3, between 900 and 1100"):
        table().to_volume("DIP", 1.0245)
    with pytest.raises(InputError, match="density 'surface'; expected 'potential', 'in_situ' or a number"):
        table().to_volume("DIP", "surface")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="variable 'temperature': not in the table"):
        table().to_volume("DIP", "potential")
    with pytest.raises(InputError, match="cannot be converted"):
        replace(table(), units={"DIP": "degC"}).to_volume("DIP")
