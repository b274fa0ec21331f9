"""The commands of MOPS on the ocean of 22 boxes, and fits that find the truth of twins."""

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import invbgc as ib
from invbgc import mops_study
from invbgc.cli import app
from invbgc.inference.posterior import Posterior
from invbgc.models.mops import MopsModel, mops_parameters
from invbgc.models.mops.core import CORE
from invbgc.runfile import read_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run file on few_box with a dataset of its own, whose observations the model itself will replace."""
    place = tmp_path_factory.mktemp("mops")
    ocean = ib.load_circulation("few_box")
    forcing = ib.idealised_forcing(ocean.grid)
    observed = {
        "DIP": forcing.phosphate,
        "DIC": 2000.0 + 0.05 * ocean.grid.wet_depth,
        "O2": 300.0 - 50 * forcing.phosphate,
    }
    observations = ib.Observations.from_fields(observed, ocean.grid)
    data = forcing.to_dataset(ocean.grid).merge(observations.to_dataset(), combine_attrs="override")
    data.to_netcdf(place / "data.nc")
    (place / "run.toml").write_text(
        '[run]\noutput = "out"\n[circulation]\nname = "few_box"\n[dataset]\nname = "data.nc"\n'
        '[observations]\ntracers = ["DIP", "DIC", "O2"]\n'
        "[mops]\nb_C = [0.75, 1.46]\ntime_step_days = 4.0\nsubsteps = 8\n"
    )
    return place


def invoke(*arguments: object):
    return CliRunner().invoke(app, ["mops", *map(str, arguments)], catch_exceptions=False)


def test_the_experiment_from_a_run_file(folder):
    answer = invoke("experiment", folder / "run.toml")
    assert answer.exit_code == 0, answer.output
    out = folder / "out" / "mops"
    with xr.open_dataset(out / "experiment.nc") as table:
        assert list(table["run"].values) == ["control", "redfield", "b_C 0.75"]
        pco2 = dict(zip(table["run"].values, table["pco2"].values, strict=True))
        assert pco2["b_C 0.75"] < pco2["control"] < pco2["redfield"] < table.attrs["abiotic_pco2"]
        assert float(table["export_ratio"].sel(run="redfield")) == pytest.approx(117.0, rel=1e-9)
        assert np.ptp(table["total_carbon"].values) < 1e-8 * table.attrs["total_carbon"]
        assert float(np.ptp(table["pop_export"].values)) < 1e-12
        assert "manifest" in table.attrs
    for name in ("core.nc", "published.csv", "theory.nc", "report.html", "mops_storage.png", "mops_flux_ratio.png"):
        assert (out / name).stat().st_size > 0
    assert "stored carbon" in (out / "report.html").read_text()
    # The core is there: one more run takes it, with the total of the experiment.
    again = invoke("run", folder / "run.toml", "--b-carbon", 0.75, "--total", table.attrs["total_carbon"])
    assert "implicit steps" not in again.output
    with xr.open_dataset(out / "state.nc") as state:
        assert float(state["pco2"]) == pytest.approx(pco2["b_C 0.75"], rel=1e-8)
        assert state["PHYC"].attrs["units"] == "mmol m-3"


def test_a_core_starts_another(folder):
    """Here that of the same ocean, so that the same state is found, in fewer steps."""
    text = (folder / "run.toml").read_text().replace('"out"', '"again"')
    (folder / "again.toml").write_text(f"{text}start = 'out/mops/core.nc'\nstart_years = 1\n")
    answer = invoke("spinup", folder / "again.toml")
    assert answer.exit_code == 0 and "1 years from" in answer.output and "core.nc" in answer.output
    with xr.open_dataset(folder / "out/mops/core.nc") as one, xr.open_dataset(folder / "again/mops/core.nc") as two:
        assert two.attrs["steps"] < one.attrs["steps"]
        for name in one.data_vars:
            np.testing.assert_allclose(two[name], one[name], rtol=1e-6, atol=1e-9)
        assert str(folder / "out/mops/core.nc") in two.attrs["manifest"]


def test_a_core_of_another_grid_is_regridded(folder, tmp_path):
    coarse, model = ib.load_circulation("embedded_8deg").grid, mops_study.mops_model(read_run(folder / "run.toml"))[0]
    values = {name: 1.0 + number for number, name in enumerate(CORE)}
    data = coarse.to_dataset().assign({name: coarse.unpack(np.full(coarse.n_wet, v)) for name, v in values.items()})
    data.to_netcdf(tmp_path / "core.nc")
    start = mops_study._start(model, tmp_path / "core.nc")
    for name, value in values.items():
        np.testing.assert_allclose(start[name], np.full(model.grid.n_wet, value), rtol=1e-12)


def test_the_periodic_state_has_a_file_and_a_figure(folder):
    answer = invoke("spinup", folder / "run.toml", "--periodic", "newton")
    assert answer.exit_code == 0, answer.output
    with xr.open_dataset(folder / "out" / "mops" / "periodic_newton.nc") as state:
        assert state.attrs["drift"] < mops_study.DRIFT and state.sizes["step"] > 1
    assert (folder / "out" / "mops" / "mops_drift.png").exists()


def test_wrong_arguments_are_explained(folder):
    for arguments, words in (
        (("spinup", folder / "run.toml", "--periodic", "guess"), "newton, anderson or direct"),
        (("run", folder / "run.toml", "--pco2", 280, "--total", 4e4), "one of them"),
    ):
        answer = invoke(*arguments)
        assert answer.exit_code == 2 and words in answer.output
    for line, command, words in (
        ("fit = ['b_X']", "fit", "b_X"),
        ("b_C = [0.5]", "experiment", "0.75"),
        ("start = 'no.nc'", "spinup", "no.nc does not exist"),
        ("start = 'data.nc'", "spinup", "no PO4"),
    ):
        text = (folder / "run.toml").read_text().replace('"out"', '"wrong"').partition("[mops]")[0]
        (folder / "wrong.toml").write_text(f"{text}[mops]\n{line}\n")
        answer = invoke(command, folder / "wrong.toml")
        assert answer.exit_code == 2 and words in answer.output and "boxes" not in answer.output


def test_twins_give_their_exponents_back_within_their_errors(folder):
    """Six synthetic data sets at known b_P and b_C: their distances from the truth are those of a normal error."""
    settled, _, _ = mops_study.core(read_run(folder / "run.toml"), progress=lambda line: None)
    table = mops_parameters(b_C=1.2)
    table = table.freeze([name for name in table.free_names if name not in ("b_P", "b_C")])
    model = MopsModel(settled.circulation, settled.forcing, table=table)
    model.start_from(settled.start)
    truth = model.table.to_vector()
    fields, info = model.steady(truth, None)
    assert all(bool(stage.converged) for stage in info.values())
    posterior, distances = None, []
    for seed in range(6):
        data = twin_of(model, fields, np.random.default_rng(seed))
        posterior = Posterior(model, data) if posterior is None else posterior.with_data(data)
        if seed == 0:
            assert_gradient(posterior, truth)
        found = ib.fit(posterior, truth + np.array([0.01, -0.02]), gtol=1e-7)
        assert found.converged
        away = found.x - truth
        distances.append(away @ np.linalg.solve(ib.laplace(found, scaling="all").covariance, away))
    # 12 degrees of freedom: outside these bounds once in a thousand times.
    assert 1.9 < sum(distances) < 34.8


def twin_of(model: MopsModel, fields, draw: np.random.Generator) -> ib.Observations:
    """Phosphate, oxygen and DIC with errors of 2 % of their spread, smaller in larger boxes as the weights suppose."""
    volume, observed = model.grid.volume / model.grid.volume.mean(), {}
    for name in ("DIP", "O2", "DIC"):
        exact = np.asarray(model.observable(fields)[name])
        mean = np.average(exact, weights=volume)
        noise = 0.02 * np.sqrt(np.average((exact - mean) ** 2, weights=volume) / volume)
        # Errors of both signs need room above zero.
        observed[name] = np.where(exact > 5.0 * noise, exact + noise * draw.standard_normal(exact.size), np.nan)
    return ib.Observations.from_fields(observed, model.grid)


def assert_gradient(posterior: Posterior, x: np.ndarray) -> None:
    point = posterior.value_grad_hess(x)
    for i, step in enumerate(1e-4 * np.eye(2)):
        ahead, behind = (posterior.value(x + sign * step, point) for sign in (1, -1))
        assert point.gradient[i] == pytest.approx((ahead.value - behind.value) / 2e-4, rel=1e-4, abs=1e-8)
