import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from tiny_result import tiny_result
from typer.testing import CliRunner

from invbgc import __version__, cli, run
from invbgc.circulation import load_circulation
from invbgc.datasets.idealised import idealised_forcing
from invbgc.observations import Observations
from invbgc.runfile import read_run


def invoke(*words: object):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def write_dataset(path, observed: dict[str, tuple[float, float]]):
    """A dataset on the few-box ocean; each tracer is observed as a + b phosphate."""
    grid = load_circulation("few_box").grid
    forcing = idealised_forcing(grid)
    fields = {name: a + b * forcing.phosphate for name, (a, b) in observed.items()}
    observations = Observations.from_fields(fields, grid)
    dataset = forcing.to_dataset(grid).merge(observations.to_dataset(), combine_attrs="override")
    dataset.attrs["citation"] = "Somebody (2020), made-up observations"
    dataset.to_netcdf(path)
    return dataset, observations


DATA_COMMANDS = ["list", "info", "fetch", "cite", "verify", "check", "convert", "recipe", "prepare"]


@pytest.mark.parametrize(
    "words",
    [
        *([], ["init"], ["fit"], ["laplace"], ["report"], ["check"], ["info"], ["data"]),
        *(["data", name] for name in DATA_COMMANDS),
    ],
)
def test_help(words):
    result = invoke(*words, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_init_writes_a_run_file_that_reads_back(tmp_path):
    path = tmp_path / "run.toml"
    result = invoke("init", path, "--preset", "embedded_8deg")
    assert result.exit_code == 0
    assert f"invbgc fit {path}" in result.output
    assert read_run(path).circulation.name == "embedded_8deg"
    again = invoke("init", path)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert invoke("init", path, "--force").exit_code == 0


def test_errors_are_one_paragraph_without_traceback(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[model]\nlabil = 'off'\n")
    for command in ("fit", "laplace", "check"):
        result = invoke(command, path)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"Error: {path}, line 2, [model]: unknown key 'labil'. Did you mean 'labile'?")
        assert "Traceback" not in result.output + result.stderr


def test_missing_run_file_and_result(tmp_path):
    assert "cannot read the run file" in invoke("fit", tmp_path / "no.toml").stderr
    assert "there is no result file" in invoke("report", tmp_path / "no.nc").stderr
    assert "fit.nc" in invoke("report", tmp_path).stderr


INTERRUPTED = """
import runpy, signal, sys
from pathlib import Path
from invbgc.linalg.system import SparseSystem

solve = SparseSystem.solve

def interrupted(*arguments, **options):
    if any(Path(sys.argv[-1]).parent.glob("out/checkpoints/checkpoint_*")):
        SparseSystem.solve = solve
        signal.raise_signal(signal.SIGINT)
    return solve(*arguments, **options)

SparseSystem.solve = interrupted
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that starts jobs in the background ignores it
runpy.run_module("invbgc", run_name="__main__")
"""
"""The command `python -m invbgc`, which gets the signal of Ctrl-C in the first solve after the first checkpoint."""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="interrupts by a POSIX signal")
def test_ctrl_c_during_a_fit_and_resumption(tmp_path, without_pictures):
    """The process signals itself: a signal from here may come when the fit is over, on a machine with much to do."""
    observed = {"DIC": (1950.0, 130.0), "ALK": (2300.0, 30.0), "O2": (280.0, -60.0), "DOC": (70.0, -12.0)}
    write_dataset(tmp_path / "dataset.nc", {"DIP": (0.0, 1.0)} | observed)
    (tmp_path / "run.toml").write_text(
        "[circulation]\nname = 'few_box'\n[dataset]\nname = 'dataset.nc'\n[run]\noutput = 'out'\n"
    )
    command = [sys.executable, "-c", INTERRUPTED, "fit", str(tmp_path / "run.toml")]
    stopped = subprocess.run(command, capture_output=True, text=True)
    assert stopped.returncode == 130, stopped.stderr
    assert "iteration   0 " in stopped.stdout and "iteration   1 " not in stopped.stdout
    assert "Stopped. fit interrupted after 1 iterations" in stopped.stderr, stopped.stderr
    assert "Traceback" not in stopped.stderr, stopped.stderr
    with (tmp_path / "run.toml").open("a") as file:
        file.write("[fit]\nmax_evaluations = 2\n")
    again = invoke("fit", tmp_path / "run.toml")
    assert again.exit_code == 3, again.stderr  # two more evaluations do not suffice
    assert "resuming from" in again.output and "iteration   0 " not in again.output
    with xr.open_dataset(tmp_path / "out" / "fit.nc") as result:
        assert result.sizes["iteration"] == 3 and result.attrs["status"] == "max_evaluations"
    assert "<li>Somebody (2020), made-up observations</li>" in (tmp_path / "out" / "report.html").read_text()


def test_interruption_says_how_to_resume(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt("fit interrupted after 3 iterations")

    monkeypatch.setattr(run, "fit", interrupted)
    (tmp_path / "run.toml").write_text("")
    result = invoke("fit", tmp_path / "run.toml")
    assert result.exit_code == 130
    assert "after 3 iterations" in result.stderr
    assert "same command again" in result.stderr


def test_info_and_data_list():
    result = invoke("info")
    assert result.exit_code == 0
    for word in ("invbgc", "Python", "jax", "superlu", "device", "cores", "memory", "embedded", "wang2023"):
        assert word in result.output
    listed = invoke("data", "list").output
    assert "embedded_8deg" in listed
    assert "wang2023_4deg" in listed
    assert "glodap_2023" in listed


def test_data_check_lists_a_sound_dataset_and_names_what_is_wrong(tmp_path):
    path = tmp_path / "dataset.nc"
    dataset, observations = write_dataset(path, {"DIP": (0.0, 1.0), "DIC": (1950.0, 130.0)})
    grid = observations.grid
    sound = invoke("data", "check", path, "--circulation", "few_box")
    assert sound.exit_code == 0, sound.stderr
    assert f"sound, on grid '{grid.name}' with {grid.n_wet} boxes" in sound.output
    rows = {line.split()[0]: line.split()[1:] for line in sound.output.splitlines() if line.startswith("  ")}
    assert rows["DIC"] == [str(grid.n_wet), f"{observations.tracers['DIC'].mean:.6g}"]
    assert rows["temperature"][0] == "degC"
    dataset.drop_vars("salinity").to_netcdf(path)
    wrong = invoke("data", "check", path, "-c", "few_box")
    assert wrong.exit_code == 2
    assert str(path) in wrong.stderr and "no variable 'salinity'" in wrong.stderr
    assert invoke("data", "check", tmp_path / "no.nc", "-c", "few_box").exit_code == 2


def test_report_of_a_folder(tmp_path, without_pictures):
    tiny_result().to_netcdf(tmp_path / "fit.nc")
    result = invoke("report", tmp_path)
    assert result.exit_code == 0
    assert (tmp_path / "report.html").is_file()


def test_check_prints_tables_and_fails_with_status_one(monkeypatch):
    table = xr.Dataset(
        {
            "measured": ("quantity", np.array([1e-12, 2.0])),
            "limit": ("quantity", np.array([1e-9, 1e-9])),
            "holds": ("quantity", np.array([True, False])),
        },
        {"quantity": ["small", "large"]},
        {"check": "Some check"},
    )
    monkeypatch.setattr(run, "verify", lambda *_: [table])
    result = invoke("check")
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "Some check"
    assert lines[2].split() == ["small", "1e-12", "1e-09", "ok"]
    assert lines[3].endswith("FAILED")
    monkeypatch.setattr(run, "verify", lambda *_: [table.isel(quantity=[0])])
    assert invoke("check").exit_code == 0


def test_help_needs_no_heavy_module():
    script = (
        "import sys; from invbgc import cli; from typer.testing import CliRunner\n"
        "CliRunner().invoke(cli.app, ['--help'])\n"
        "print([m for m in ('matplotlib', 'xarray', 'scipy', 'invbgc.models.pco.model') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "matplotlib" not in answer
    assert "invbgc.models.pco.model" not in answer


def test_data_convert_writes_a_circulation_that_loads(tmp_path):
    target = tmp_path / "boxes.nc"
    result = invoke("data", "convert", "few_box", target)
    assert result.exit_code == 0, result.stderr
    assert "22 wet boxes" in result.output
    assert load_circulation(target).grid.n_wet == 22
    again = invoke("data", "convert", "few_box", target, "--unit", "yr-1")
    assert again.exit_code == 2 and "unit" in again.stderr


def test_the_version_needs_no_command():
    answer = invoke("--version")
    assert answer.exit_code == 0 and answer.output.split() == ["invbgc", __version__]
