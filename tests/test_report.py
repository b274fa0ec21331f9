import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from tiny_result import tiny_result

from invbgc import summary
from invbgc.errors import InputError
from invbgc.report import build_report, write_report

VOID = {"meta", "img", "br"}


class Checker(HTMLParser):
    """Follows the nesting of tags and gathers addresses and words."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href")]
        if tag == "img":
            assert dict(attrs)["alt"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def text() -> str:
    return build_report(tiny_result())


def test_well_formed_and_self_contained(text):
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in checker.addresses)
    assert not re.search(r"https?://|@import|url\(|<script|<link", text)
    targets = {address[1:] for address in checker.addresses if address.startswith("#")}
    assert targets <= set(re.findall(r'id="(\w+)"', text))


def test_content(text):
    assert "a &lt;tiny&gt; run" in text
    assert "Synthetic observations (identical twin)" in text
    for word in (
        "σ<sub>P</sub>",
        "few boxes",
        "10.63",
        "R² published",
        "0.93",
        "factorisations",
        "345",
        "restored to 2.1",
    ):
        assert word in text
    assert text.count("<img") == 17
    assert not re.search(r">\W*(nan|inf)\b", text)


def test_real_data_are_not_called_synthetic(without_pictures):
    result = tiny_result(twin=False)
    text = build_report(result)
    assert "Synthetic observations" not in text
    assert "estimate ÷ published" in text
    assert "far too narrow" in text


def test_parameter_errors():
    rows = {row.name: row for row in summary.parameter_rows(tiny_result())}
    log = rows["sigma_P"]
    assert log.lower == pytest.approx(0.5 - 0.5 * np.exp(-0.2))
    assert log.upper == pytest.approx(0.5 * np.exp(0.2) - 0.5)
    assert log.z_score == pytest.approx(np.log(0.5 / 0.4) / 0.2)
    linear = rows["b_C_slope"]
    assert (linear.lower, linear.upper) == (pytest.approx(0.1), pytest.approx(0.1))
    assert linear.z_score == pytest.approx(-0.5)
    assert np.isnan(rows["r_O2C"].lower)


def test_twin_counts_parameters_within_their_bars():
    paragraph = summary.trust(tiny_result())
    assert "of 2 parameters, 1 lie within one, 2 within two and 2 within three" in paragraph


def test_matrices_over_free_parameters_only_are_understood():
    full = tiny_result()
    small = full.drop_vars(["hessian", "covariance_authors"])
    for name in ("hessian", "covariance_authors"):
        small[name] = ("free_parameter", "free_parameter_2"), full[name].values[:2, :2]
    assert np.array_equal(summary.standard_deviation(small), summary.standard_deviation(full), equal_nan=True)


def test_parameters_without_information_have_infinite_bars(without_pictures):
    result = tiny_result()
    result["covariance_authors"][0, :] = np.nan
    result["covariance_authors"][0, 0] = np.inf
    assert summary.parameter_rows(result)[0].upper == np.inf
    assert "<td>∞</td>" in build_report(result)


def test_global_export():
    result = tiny_result()
    numbers = {number.label: number for number in summary.global_numbers(result)}
    area = float(summary.cell_area(result).where(result["poc_export"].notnull()).sum())
    assert numbers["POC export"].value == pytest.approx(2.0 * area * 12e-15)
    sphere = float(summary.cell_area(tiny_result()).sum())
    assert sphere == pytest.approx(4 * np.pi * 6371000.0**2 * np.sin(np.radians(70)), rel=1e-12)


def test_cautions():
    result = tiny_result()
    assert summary.cautions(result) == []
    result.attrs |= {"status": "stalled", "message": "round-off."}
    result["hessian"] = result["hessian"] * -1
    notes = " ".join(summary.cautions(result))
    assert "ended as 'stalled' and not as converged: round-off." in notes
    assert "no minimum" in notes


def test_result_before_laplace_and_without_fields(without_pictures):
    result = tiny_result(twin=False).drop_vars("covariance_authors")
    result = result.drop_vars(
        [name for name in result.data_vars if str(name).startswith(("model_", "observed_", "poc"))]
    )
    text = build_report(result)
    assert "invbgc laplace" in text


def test_file_round_trip_and_errors(tmp_path, without_pictures):
    path = tmp_path / "fit.nc"
    tiny_result().to_netcdf(path)
    page = write_report(path, tmp_path / "deep" / "report.html")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(InputError, match="there is no result file"):
        write_report(tmp_path / "no.nc", page)
    xr.Dataset({"a": 1.0}).to_netcdf(tmp_path / "other.nc")
    with pytest.raises(InputError, match="not the result of a fit: it has no variable parameter_name"):
        write_report(tmp_path / "other.nc", page)
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(InputError, match="cannot be read as netCDF"):
        write_report(tmp_path / "text.nc", page)


def test_manifest_that_is_not_json():
    result = tiny_result()
    result.attrs["manifest"] = "free words"
    assert summary.manifest(result) == {"manifest": "free words"}
    result.attrs["manifest"] = json.dumps({"seed": 1})
    assert summary.manifest(result) == {"seed": 1}
