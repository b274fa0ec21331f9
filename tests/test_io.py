"""Files: atomic writing, manifests, result files."""

import hashlib
import json

import netCDF4
import numpy as np
import pytest
import xarray as xr
from mock_posterior import TRUTH, MockPosterior

import invbgc
from invbgc import device, summary
from invbgc.errors import InputError
from invbgc.files import manifest, replaced, sha256, write_netcdf
from invbgc.inference.fit import Fit, fit
from invbgc.inference.laplace import laplace
from invbgc.io import load_fit, save_fit


@pytest.fixture(scope="module")
def result():
    return fit(MockPosterior())


def test_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "new" / "file.txt"
    with pytest.raises(RuntimeError), replaced(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with replaced(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), replaced(path) as temporary:
        temporary.write_text("half of the next")
        raise KeyboardInterrupt
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_unwritable_folder_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        write_netcdf(xr.Dataset(), tmp_path / "file" / "a.nc")


def test_attributes_netcdf_cannot_hold(tmp_path):
    data = xr.Dataset({"a": ("t", np.arange(3.0))}, attrs={"flag": True, "none": None, "map": {"k": [1]}, "n": 3})
    with netCDF4.Dataset(write_netcdf(data, tmp_path / "a.nc")) as file:
        assert file.Conventions.startswith("CF-")
        assert file.flag == 1 and file.none == "null" and json.loads(file.map) == {"k": [1]} and file.n == 3
    assert data.attrs["flag"] is True, "the caller's dataset is not changed"


def test_manifest(tmp_path, monkeypatch):
    path = tmp_path / "input.bin"
    path.write_bytes(b"abc")
    monkeypatch.setattr("sys.argv", ["invbgc", "fit", "run.toml"])
    record = manifest([path], {"method": "newton"}, seed=3)
    assert record["inputs"] == [{"path": str(path), "sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3}]
    assert record["versions"]["invbgc"] == invbgc.__version__
    assert {"python", "numpy", "scipy", "jax"} <= set(record["versions"])
    assert record["seed"] == 3 and record["options"] == {"method": "newton"}
    assert record["command"] == ["invbgc", "fit", "run.toml"]
    assert record["device"] == device.used()
    assert record["date"].endswith("Z")
    assert record["git_commit"] is None or len(record["git_commit"].removesuffix("+changes")) == 40
    json.dumps(record)
    with pytest.raises(InputError, match=r"missing\.nc"):
        sha256(tmp_path / "missing.nc")


def test_manifest_without_git(monkeypatch):
    def absent(*args, **kwargs):
        raise FileNotFoundError("git")

    monkeypatch.setattr("subprocess.run", absent)
    assert manifest()["git_commit"] is None


def test_fit_reads_back(result, tmp_path):
    path = result.save(tmp_path / "fit.nc")
    back = Fit.load(path)
    for name in ("x", "gradient", "hessian"):
        assert np.array_equal(getattr(back, name), getattr(result, name)), name
    assert list(back.table) == list(result.table)
    assert back.initial == result.initial
    assert (back.value, back.status, back.message) == (result.value, result.status, result.message)
    assert back.stats == result.stats
    assert back.state is None
    xr.testing.assert_equal(back.skill, result.skill)
    xr.testing.assert_equal(back.history, result.history)
    assert set(back.fields) == set(result.fields)
    for name in result.fields:
        assert np.array_equal(back.fields[name], result.fields[name], equal_nan=True), name
    assert back.fields.attrs["T_min"] == result.fields.attrs["T_min"]
    one, two = laplace(result, scaling="effective"), laplace(back, scaling="effective")
    assert np.array_equal(one.covariance, two.covariance)
    back.save(tmp_path / "again.nc")
    assert np.array_equal(load_fit(tmp_path / "again.nc").hessian, result.hessian)


def test_schema(result, tmp_path):
    laplaces = [laplace(result), laplace(result, scaling="all")]
    path = save_fit(
        result,
        tmp_path / "fit.nc",
        laplaces,
        manifest(seed=1),
        truth=TRUTH,
        attrs={"run_name": "mock", "synthetic": True},
    )
    with xr.open_dataset(path) as data:
        data.load()
    frozen = list(data["parameter_name"].values).index("kappa_dP")
    assert data.sizes["parameter"] == 6
    for name in ("x", "gradient"):
        assert np.isnan(data[name][frozen]) and np.isfinite(data[name]).sum() == 5
    for name in ("hessian", "covariance_authors", "covariance_all"):
        assert data[name].shape == (6, 6) and np.isnan(data[name][frozen]).all()
    assert data["truth"].values[0] == 2.0 and np.isnan(data["truth"][frozen])
    for name in ("history_value", "history_gradient_norm", "history_radius"):
        assert data[name].dims == ("iteration",)
    assert (
        data["model_DIP"].dims == ("depth", "latitude", "longitude") and data["model_DIP"].attrs["units"] == "mmol m-3"
    )
    assert data["skill_R2"].dims == ("tracer",)
    assert data["poc_export"].dims == ("latitude", "longitude") and data["poc_export"].attrs["units"] == "mol m-2 yr-1"
    assert data["latitude"].attrs["standard_name"] == "latitude" and "latitude_bounds" in data.variables
    assert json.loads(data.attrs["manifest"])["seed"] == 1
    assert data.attrs["scaling"] == "authors"


def test_the_summary_understands_the_file(result, tmp_path):
    path = save_fit(result, tmp_path / "fit.nc", [laplace(result)], truth=TRUTH)
    data = summary.open_result(path)
    assert summary.tracers(data) == ["DIP", "DIC", "O2"]
    assert summary.is_synthetic(data)
    rows = {row.name: row for row in summary.parameter_rows(data)}
    approximation = laplace(result)
    assert rows["alpha"].upper == pytest.approx(approximation.upper[0])
    assert np.isnan(rows["kappa_dP"].upper)
    assert summary.cautions(data) == []
    assert any(number.label == "POC export" for number in summary.global_numbers(data))


def test_files_that_are_no_fit(result, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_fit(tmp_path / "absent.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(InputError, match="cannot be read as netCDF"):
        load_fit(tmp_path / "text.nc")
    write_netcdf(xr.Dataset(), tmp_path / "empty.nc")
    with pytest.raises(InputError, match="schema None"):
        load_fit(tmp_path / "empty.nc")
