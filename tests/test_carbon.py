"""The commands export, sequestration and compare, from a result file to tables, figures and report."""

import json

import numpy as np
import pytest
import xarray as xr
from test_cli import invoke, write_dataset

from invbgc import carbon_report, run
from invbgc.carbon_report import TABLES, carbon_section, figures, fingerprint, read_tables
from invbgc.circulation import load_circulation
from invbgc.runfile import read_run

OF_THE_ERA = {"transient", "radiocarbon", "calibration"}
"""Tables of other commands."""


def prepared_once(prepare):
    """The posterior of a run, made at the first call."""
    made = []

    def prepared(described):
        made.append((described, made[0][1] if made else prepare(described)))
        assert described == made[0][0]
        return made[0][1]

    return prepared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A fit of two evaluations on a few boxes, with everything that the commands say of it.

    The fit prepares its model; the commands are handed the same, which is compiled once. Only the last command draws
    figures and report, which show what all have found.
    """
    path = tmp_path_factory.mktemp("carbon")
    observed = {"DIC": (1950.0, 130.0), "ALK": (2300.0, 30.0), "O2": (280.0, -60.0), "DOC": (70.0, -12.0)}
    write_dataset(path / "dataset.nc", {"DIP": (0.0, 1.0)} | observed)
    (path / "run.toml").write_text(
        "[circulation]\nname = 'few_box'\n[dataset]\nname = 'dataset.nc'\n[run]\noutput = 'out'\n"
        "[fit]\nmax_evaluations = 2\n"
    )
    none = invoke("export", path / "run.toml")
    assert none.exit_code == 2 and "run 'invbgc fit' with this run file first" in none.stderr
    grid = load_circulation("few_box").grid
    depth = np.where(grid.wet[0], 100.0, np.nan)
    axes = ("latitude", "longitude")
    field = xr.DataArray(depth, {"latitude": grid.latitude, "longitude": grid.longitude}, axes, attrs={"units": "m"})
    field.to_dataset(name="mixed_layer_depth").to_netcdf(path / "mixed.nc")
    row, column = np.argwhere(grid.wet[0])[0]
    (path / "traps.csv").write_text(
        "latitude,longitude,depth,value,error,unit,kind\n"
        f"{grid.latitude[row]},{grid.longitude[column]},500,1.0,0.2,mol m-2 yr-1,trap\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "prepare", prepared_once(run.prepare))
        run.fit(read_run(path / "run.toml"))
        with pytest.MonkeyPatch.context() as undrawn:
            undrawn.setattr(carbon_report, "figures", lambda tables: {})
            undrawn.setattr(run, "write_report", lambda result: result)
            said = {
                "export": invoke("export", path / "run.toml", "--mixed-layer", path / "mixed.nc"),
                "sequestration": invoke("sequestration", path / "run.toml"),
            }
        said["compare"] = invoke("compare", path / "traps.csv", path / "run.toml")
    for name, result in said.items():
        assert result.exit_code == 0, f"{name}: {result.output}\n{result.stderr}"
    return path, said


def test_every_table_is_written_with_its_manifest(folder):
    path, _ = folder
    tables = read_tables(path / "out" / "carbon")
    assert set(tables) == set(TABLES) - OF_THE_ERA
    stored = xr.open_dataset(path / "out" / "fit.nc")
    expected = fingerprint(stored["x"].values[stored["free"].values.astype(bool)])
    for name, table in tables.items():
        assert table.attrs["fit"] == expected, name
        assert "run.toml" in json.dumps(json.loads(table.attrs["manifest"])), name
    assert {"error_authors", "error_all"} <= set(tables["scalars"].data_vars)


def test_the_commands_print_their_numbers(folder):
    _, said = folder
    assert "total organic carbon at 100 m" in said["export"].output and "± " in said["export"].output
    assert "respiration kept longer than 0.25 yr" in said["sequestration"].output
    assert "688 of 688 time steps" in said["sequestration"].output


def test_figures_and_report_show_them(folder):
    path, _ = folder
    tables = read_tables(path / "out" / "carbon")
    drawn = figures(tables)
    assert len(drawn) == 8
    assert all((path / "out" / "carbon" / f"{name}.png").is_file() for name in drawn)
    page = (path / "out" / "report.html").read_text()
    assert "Where the carbon goes" in page and "sinking particulate organic carbon at" in page
    assert page.count("data:image/png") >= 8 and "from another fit" not in page
    stale = carbon_section(tables, "another")
    assert "Computed from another fit than this one: bands, budget, comparison" in stale
    assert carbon_section({}, "any") == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("export", "run.toml", "--labile-hours", "-1"), "labile_hours = -1.0; expected a positive number"),
        (("export", "run.toml", "--mixed-layer", "traps.csv"), "cannot be read as netCDF"),
        (("export", "run.toml", "--mixed-layer", "dataset.nc"), "has no variable mixed_layer_depth; found"),
        (("export", "run.toml", "--temperature", "no.nc"), "no.nc cannot be read as netCDF"),
        (("compare", "no.csv", "run.toml"), "no.csv"),
        (("export", "frozen.toml"), "was fitted with 21 free parameters on 22 boxes; the run file has 20"),
    ],
)
def test_wrong_input_is_said_in_one_paragraph(folder, words, message):
    path, _ = folder
    text = (path / "run.toml").read_text()
    (path / "frozen.toml").write_text(text + "[parameters]\nfreeze = ['eta']\n")
    command, *rest = words
    result = invoke(command, *(path / word if "." in word else word for word in rest))
    assert result.exit_code == 2 and message in result.stderr and "Traceback" not in result.stderr, result.stderr
