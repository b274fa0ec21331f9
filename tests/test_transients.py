"""The commands transient and calibrate, on the identical twin of a few boxes."""

import json

import numpy as np
import pytest
import xarray as xr
from test_cli import invoke

from invbgc import run, transients
from invbgc.carbon_report import FOLDER
from invbgc.datasets.idealised import idealised_forcing
from invbgc.inference.posterior import Posterior
from invbgc.models.pco import PCOModel, pco_parameters
from invbgc.models.pco.parameters import GAS_EXCHANGE
from invbgc.observations import TRACERS, Observations
from invbgc.runfile import read_run
from invbgc.transient.atmosphere import load_atmosphere
from invbgc.transient.calibrate import era_of
from invbgc.transient.integrate import Clock
from invbgc.transient.twin import synthetic_bottles, write_twin
from tests.properties.cases import CIRCULATIONS

SCALE = 0.7
FREE = ("sigma_C", "b_C", "kappa_dC")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Run file of a twin with a known gas exchange and three free parameters, started from the published values."""
    ocean = CIRCULATIONS["few_box"]()
    forcing = idealised_forcing(ocean.grid)
    published = pco_parameters("published")
    frozen = [name for name in published.names if name not in FREE]
    model = PCOModel(ocean, forcing, None, published.freeze(frozen), "superlu")
    everywhere = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, ocean.grid))
    # The trapezoid compiles in half the time; its errors are the same in the truth and in the model.
    era = era_of(everywhere, load_atmosphere(), Clock(1940.0, 60), (), "trapezoid")
    truth = era.posterior.value(era.posterior.table.with_values({GAS_EXCHANGE: SCALE}).to_vector())
    bottles = synthetic_bottles(era, truth, 300, (1970.0, 2000.0), {"D14C": 5.0, "DIC": 2.0}, seed=0)
    boxes = dict.fromkeys(TRACERS, np.arange(ocean.grid.n_wet))
    file = write_twin(tmp_path_factory.mktemp("twin"), era, truth, boxes, bottles, seed=3)
    more = f"scheme = 'trapezoid'\n[parameters]\nstart = 'published'\nfreeze = {json.dumps(frozen)}\n"
    file.write_text(file.read_text() + more)
    return file


@pytest.mark.slow
def test_the_era_of_a_fit(path, without_pictures):
    run.fit(read_run(path))
    said = invoke("transient", path, "--scale", "0.8")
    assert said.exit_code == 0, said.output + said.stderr
    assert "excess DIC" in said.output and "vertical gradient of DIC" in said.output
    folder = path.parent / "out" / FOLDER
    table = xr.open_dataset(folder / "transient.nc")
    assert table.attrs["gas_exchange_scale"] == 0.8 and "run.toml" in table.attrs["manifest"]
    assert table.attrs["budget_error"] < 1e-10
    assert (folder / "bomb_radiocarbon.png").is_file() and (folder / "radiocarbon_fit.png").is_file()
    assert not (folder / "restart.nc").exists()
    assert "DIC gained in the industrial era" in (path.parent / "out" / "report.html").read_text()


@pytest.mark.slow
def test_rounds_and_joint_problem_find_the_scale(path, monkeypatch, without_pictures):
    said = invoke("calibrate", path)
    assert said.exit_code == 0, said.output + said.stderr
    folder = path.parent / "out" / "calibration"
    table = xr.open_dataset(folder / FOLDER / "calibration.nc")
    scale, error = float(table["scale_best"]), float(table["scale_error"])
    assert abs(scale - SCALE) < 3.0 * error
    assert table.sizes["round"] <= 6 and float(table["round_moved"][-1]) < 0.1
    assert (folder / "report.html").is_file() and (folder / FOLDER / "transient.nc").is_file()
    with monkeypatch.context() as patch:
        patch.setattr(transients, "transient", lambda *arguments: {})  # the era of the same fit once more
        again = invoke("calibrate", path)
    assert again.exit_code == 0 and again.output.count("taken from") == 2 * table.sizes["round"]

    said = invoke("calibrate", path, "--joint")
    assert said.exit_code == 0, said.output + said.stderr
    joint = xr.open_dataset(folder / "joint.nc")
    assert abs(float(joint["scale_best"]) - scale) < float(joint["scale_error"])


@pytest.mark.slow  # of the twin, which another worker would have to make again
@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("co2 = 'no.csv'", "no.csv: no such file"),
        ("bottles = 'no.nc'", "no.nc: no such file"),
        ("sst = 'dataset.nc'", "no variable sea_surface_temperature"),
        ("years = 200", "expected one of the years 1940 to 2140"),
        ("bottles = 'circulation.nc'", "needs dated bottles of D14C"),
    ],
)
def test_wrong_input_is_said_in_one_paragraph(path, section, message):
    wrong = path.with_name("wrong.toml")
    text = path.read_text().replace("years = 60\n", "" if section.startswith("years") else "years = 60\n")
    wrong.write_text(text.replace("[transient]\n", f"[transient]\n{section}\n"))
    said = invoke("calibrate", wrong)
    assert said.exit_code == 2 and message in said.stderr and "Traceback" not in said.stderr, said.stderr
