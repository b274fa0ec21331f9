"""The commands about traps: files in, tables and figures out."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from invbgc.cli import app
from tests.test_traps import made_up, small_compilation

run = CliRunner().invoke


@pytest.fixture
def fluxes(tmp_path):
    data = made_up(30)
    data.loc[4, "P"] = -1.0
    path = tmp_path / "fluxes.csv"
    header = {"C": "C (mmol m-2 d-1)", "P": "P (umol m-2 d-1)"}
    data.assign(P=1e3 * data["P"]).drop(columns="row").rename(columns=header).to_csv(path, index=False)
    return path


def test_traps_of_a_table(fluxes, tmp_path):
    folder = tmp_path / "out"
    answer = run(app, ["traps", str(fluxes), "--no-pooled", "--output", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "29 complete profiles" in answer.output
    assert "negative flux: 1 (lines 6)" in answer.output
    written = {path.name for path in folder.iterdir()}
    assert written == {
        *("profiles.nc", "exponents.nc", "smooth.nc", "problems.csv", "exponents.csv", "comparison.csv"),
        *("exponents.png", "series.png", "c_to_p.png", "manifest.json"),
    }
    record = json.loads((folder / "manifest.json").read_text())
    assert record["inputs"][0]["path"] == str(fluxes) and record["options"]["elements"] == ["P", "C"]
    comparison = pd.read_csv(folder / "comparison.csv").set_index("fit")
    assert comparison.loc["free", "median_P"] == pytest.approx(1.3, abs=0.05)
    assert comparison.loc["free", "difference_low"] < 0.3 < comparison.loc["free", "difference_high"]
    for name in ("exponents", "series", "c_to_p"):
        assert (folder / f"{name}.png").stat().st_size > 10_000


def test_traps_of_one_element(fluxes, tmp_path):
    answer = run(app, ["traps", str(fluxes), "--elements", "C", "--no-pooled", "--years", "2006,2012", "--output",
                       str(tmp_path / "out")])  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert not (tmp_path / "out" / "comparison.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--years", "2006"], "expected a first and a last year"),
        (["--depths", "150,deep"], "expected numbers with commas"),
        (["--elements", "C,Si"], "expected also Si"),
        (["--depths", "150,4000"], "found none with the depths"),
    ],
)
def test_traps_with_wrong_options(fluxes, options, message):
    answer = run(app, ["traps", str(fluxes), *options])
    assert answer.exit_code == 2 and message in answer.output


def test_stoichiometry(tmp_path):
    folder = tmp_path / "out"
    answer = run(app, ["stoichiometry", "--pco2", "280,190", "--output", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "183.0 uatm" in answer.output and "pCO2 of 190 uatm asks for b_C = 0.996" in answer.output
    table = pd.read_csv(folder / "storage.csv").set_index("b_C")
    assert table.loc[0.75, "ratio_1000m"] == pytest.approx(311.3, abs=0.05)
    assert {path.name for path in folder.iterdir()} == {
        *("theory.nc", "theory.png", "storage.csv", "inverse.csv", "manifest.json")
    }


def test_stoichiometry_of_a_compilation(tmp_path):
    path, folder = tmp_path / "compilation.csv", tmp_path / "out"
    header = {"C": "C (mmol m-2 d-1)", "P": "P (mmol m-2 d-1)"}
    small_compilation().drop(columns=["row", "profile"]).rename(columns=header).to_csv(path, index=False)
    answer = run(app, ["stoichiometry", "--fluxes", str(path), "--output", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "one record for a place" in answer.output and "not observed; --phosphate takes" in answer.output
    steps = pd.read_csv(folder / "steps.csv").set_index("step")
    assert steps.loc["phosphorus", "before"] - steps.loc["phosphorus", "after"] == 1
    assert steps.loc["time series", "before"] - steps.loc["time series", "after"] == 1
    regions = pd.read_csv(folder / "regions.csv")
    assert regions["region"].iloc[0] == "global" and "subtropical North Pacific" in set(regions["region"])
    compilation = pd.read_csv(folder / "compilation.csv")
    assert np.allclose(compilation["c_to_p"], compilation["C"] / compilation["P"])
    assert (folder / "regions.png").stat().st_size > 10_000 and (folder / "c_to_p.png").stat().st_size > 10_000


def test_few_profiles_at_other_depths(tmp_path):
    """What there is too little data for is left out, and said."""
    data = made_up(4)
    data["depth"] = data["depth"].replace({150.0: 100.0, 200.0: 500.0, 300.0: 1000.0})
    path, folder = tmp_path / "deep.csv", tmp_path / "out"
    header = {"C": "C (mmol m-2 d-1)", "P": "P (mmol m-2 d-1)"}
    data.drop(columns=["row", "time"]).rename(columns=header).to_csv(path, index=False)
    answer = run(app, ["traps", str(path), "--depths", "100,500,1000", "--output", str(folder)])
    assert answer.exit_code == 0, answer.output
    assert "too few profiles for: pooled, smooth" in answer.output
    assert (folder / "comparison.csv").exists() and not (folder / "choices.csv").exists()


def test_stoichiometry_with_a_climatology(tmp_path):
    from tests.test_traps import small_ocean

    surface, _ = small_ocean()
    surface.rename("phosphate").to_netcdf(tmp_path / "surface.nc")
    path = tmp_path / "compilation.csv"
    header = {"C": "C (mmol m-2 d-1)", "P": "P (mmol m-2 d-1)"}
    small_compilation().drop(columns="row").rename(columns=header).to_csv(path, index=False)
    answer = run(app, ["stoichiometry", "--fluxes", str(path), "--phosphate", str(tmp_path / "surface.nc"), "--output",
                       str(tmp_path / "out")])  # fmt: skip
    assert answer.exit_code == 0, answer.output
    assert "not observed" not in answer.output
    assert "subtropical North Pacific" in set(pd.read_csv(tmp_path / "out" / "regions.csv")["region"])
