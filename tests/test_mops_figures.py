"""Figures of the MOPS experiment from a made-up ocean of two basins: lines, points, marks, and clear complaints."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex

from invbgc import storage
from invbgc.errors import InputError
from invbgc.models.mops.experiment import B_C_SERIES, CONTROL, FIXED, run_name, theory
from invbgc.plots import mops
from invbgc.plots.style import ORANGE

B_P, R_0 = 1.46, 142.0
BASE = storage.Storage(2.14, 1.09, 651.0)
BEST = 1000.0


def made_up_table() -> xr.Dataset:
    """Runs that obey equations 3 to 5 with regeneration above 1000 m, in an Atlantic and a Pacific."""
    b_C = {CONTROL: B_P, FIXED: B_P} | {run_name(b): b for b in B_C_SERIES if b != B_P}
    start = {name: storage.REDFIELD if name == FIXED else R_0 for name in b_C}
    respired = {name: float(storage.respired_ratio(b, B_P, start[name], BEST)) for name, b in b_C.items()}
    edges = np.array([0.0, 50.0, 120.0, 220.0, 450.0, 900.0, 1600.0, 2600.0, 4200.0, 5400.0])
    depth, latitude, longitude = 0.5 * (edges[1:] + edges[:-1]), np.arange(-70.0, 71, 10), np.arange(6.0, 360, 12)
    in_a_basin = ((longitude > 150) & (longitude < 260)) | (longitude > 300)
    wet = np.broadcast_to(in_a_basin, (len(depth), len(latitude), len(longitude))).copy()
    wet[-2:, :3] = False
    coordinates = {"depth": depth, "latitude": latitude, "longitude": longitude}
    bump = np.exp(-(((depth - 1000) / 800) ** 2))[:, None, None] * np.cos(np.radians(latitude))[:, None]
    runs = []
    for name, b in b_C.items():
        with np.errstate(divide="ignore"):
            ratio = np.array(storage.flux_ratio(edges, b, B_P, start[name])) if name != FIXED else np.full(10, 117.0)
        ratio[0] = np.nan
        store = float(storage.soft_tissue_carbon(respired[name], BASE))
        field = np.where(wet, 2100.0 + (respired[name] - storage.REDFIELD) * bump, np.nan)
        surface = np.where(wet[0], start[name] * (1.2 - 0.4 * np.abs(np.sin(np.radians(latitude)))[:, None]), np.nan)
        runs.append(
            xr.Dataset(
                {
                    "pco2": float(storage.pco2_of_storage(store, BASE)),
                    "b_C": b,
                    "poc_export": 12.0 * respired[name] / R_0,
                    "export_ratio": start[name],
                    "respired_carbon": store,
                    "respired_ratio": respired[name],
                    "flux_ratio": ("interface", ratio),
                    "DIC": (("depth", "latitude", "longitude"), field),
                    "suspended_ratio": (("latitude", "longitude"), surface),
                    "export_ratio_map": (("latitude", "longitude"), 0.9 * surface),
                },
                {"interface": edges, "run": name} | coordinates,
            )
        )
    constants = {"phosphate": 2.14, "preformed_phosphate": 1.09, "regenerated_phosphate": 1.0}
    attributes = {"abiotic_pco2": 651.0, "volume": float(BASE.volume), "b_P": B_P}
    return xr.concat(runs, "run", join="exact", coords="minimal", compat="override").assign_attrs(
        constants | attributes
    )


@pytest.fixture(scope="module")
def table() -> xr.Dataset:
    return made_up_table()


@pytest.fixture(scope="module")
def lines(table: xr.Dataset) -> xr.Dataset:
    return theory(table)


def test_fan_has_a_line_for_each_run_and_for_each_closed_form(table):
    axes = mops.flux_ratio_fan(table).axes[0]
    runs = [line for line in axes.lines if line.get_linewidth() > 1.0]
    closed = [line for line in axes.lines if line.get_linewidth() < 1.0]
    assert len(runs) == table.sizes["run"] and len(closed) == table.sizes["run"] - 1
    assert len({to_hex(line.get_color()) for line in runs}) == len(runs)
    for line in runs:
        depth = line.get_ydata()
        assert depth[0] == 100.0 and depth[-1] == 2000.0
    for run, line in zip(runs[:-1], closed, strict=True):  # a power law between the interfaces, as the runs here
        np.testing.assert_allclose(run.get_xdata()[[0, -1]], line.get_xdata()[[0, -1]], rtol=1e-6)
    labels = {text.get_text() for text in axes.texts}
    assert {"0.50", "1.46 (control)", "Redfield"} <= labels and len(labels) == len(runs)
    assert "mol per mol" in axes.get_xlabel() and "(m)" in axes.get_ylabel()


def test_storage_figure_puts_the_runs_on_the_line_of_theory_and_marks_the_least_error(table, lines):
    left, right, errors = mops.storage_figure(table, lines).axes
    flexible = table.sizes["run"] - 1
    for axes, quantity in ((left, "respired_carbon"), (right, "pco2")):
        marks = [line.get_marker() for line in axes.lines]
        assert [marks.count(mark) for mark in "^Dvos"] == [flexible] * 4 + [1]
        theory_line = axes.lines[0]
        own = [line for line in axes.lines if line.get_marker() in ("o", "s")]
        x, y = (np.array([line.get_data()[i][0] for line in own]) for i in (0, 1))
        np.testing.assert_allclose(np.interp(x, *theory_line.get_data()), y, rtol=2e-3)
        assert set(np.round(y, 6)) == set(np.round(table[quantity].values, 6))
        (fixed,) = (line for line in axes.lines if line.get_marker() == "s")
        assert fixed.get_xdata()[0] == storage.REDFIELD and fixed.get_color() == ORANGE
    dashed = left.lines[1]
    assert dashed.get_linestyle() == "--" and dashed.get_ydata()[-1] < left.lines[0].get_ydata()[-1]
    least = [float(line.get_xdata()[0]) for line in errors.lines if line.get_marker() == "o"]
    assert least == [BEST, BEST] == [lines.attrs["best_pco2"], lines.attrs["best_store"]]
    assert [text.get_text() for text in errors.get_legend().get_texts()] == [
        f"ln {name}, least at 1000 m" for name in ("pCO$_2$", "OCS")
    ]
    assert "Pg C" in left.get_ylabel() and "ppm" in right.get_ylabel()


def test_least_error_is_marked_where_it_is(table, lines):
    moved = lines.copy()
    moved["error_pco2"] = abs(lines["horizon"] - 600.0) / 1000.0 + 0.1
    errors = mops.storage_figure(table, moved).axes[2]
    assert [float(line.get_xdata()[0]) for line in errors.lines if line.get_marker() == "o"] == [600.0, BEST]


def test_dic_differences_are_those_of_the_runs(table):
    volume = xr.ones_like(table["DIC"].isel(run=0))
    figure = mops.dic_difference(table, volume=volume)
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left") for axes in panels] == [
        f"{basin}, {what} minus Redfield" for basin in ("Atlantic", "Pacific") for what in ("control", "$b_C$ = 0.75")
    ]
    shown = [[part for part in axes.collections if isinstance(part, QuadMesh)][-1].get_array() for axes in panels]
    for values, name in zip(shown, (CONTROL, "b_C 0.75") * 2, strict=True):
        difference = table["DIC"].sel(run=name) - table["DIC"].sel(run=FIXED)
        assert values.max() == pytest.approx(float(difference.max()))
    only = mops.dic_difference(
        table, {"Pacific": np.ones(volume.shape[1:], bool), "Indian": np.zeros(volume.shape[1:])}
    )
    assert len([axes for axes in only.axes if axes.get_title(loc="left")]) == 2
    assert "mmol m" in only.axes[-1].get_xlabel()
    everywhere = mops.dic_difference(table, {"Pacific": np.zeros(volume.shape[1:], bool)})
    assert everywhere.axes[0].get_title(loc="left") == "ocean, control minus Redfield"


def test_maps_share_their_colours_and_leave_out_land(table):
    figure = mops.suspended_map(table, "b_C 0.75")
    maps = [[part for part in axes.collections if isinstance(part, QuadMesh)][-1] for axes in figure.axes[:2]]
    assert maps[0].get_clim() == maps[1].get_clim()
    assert int((~np.ma.getmaskarray(maps[0].get_array())).sum()) == int(table["suspended_ratio"][0].notnull().sum())
    assert figure.axes[2].get_xlabel() == "C:P (mol per mol), b_C 0.75 run"


def test_drift_leaves_out_what_logarithmic_axes_cannot_show():
    newton = [(0, 0.3), (1, 0.2), (40, 1e-3), (90, 1e-9), (91, 0.0)]
    axes = mops.drift_figure(
        {"Newton-Krylov": newton, "direct integration": [(1, 0.2), (3000, 1e-5)], "other": [(5, 1)]}
    )
    (axes,) = axes.axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len(axes.lines) == 6  # a line and its end for each
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 40, 90])
    assert [text.get_text() for text in axes.get_legend().get_texts()][:2] == [
        "Newton-Krylov, 90 years", "direct integration, 3,000 years",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        ({}, "found no history"),
        ({"Anderson": []}, r"'Anderson': found an array of shape \(0,\); expected pairs"),
        ({"Anderson": [(1, 2, 3)]}, r"shape \(1, 3\)"),
        ({"Anderson": [(0, 0.1), (3, np.nan)]}, "no pair of positive years and drift among 2"),
    ],
)
def test_histories_that_cannot_be_drawn(histories, message):
    with pytest.raises(InputError, match=message):
        mops.drift_figure(histories)


def test_series_marks_control_and_redfield(table):
    for axes, quantity in zip(mops.series_figure(table).axes, ("pco2", "poc_export", "respired_carbon"), strict=True):
        points = [line for line in axes.lines if line.get_marker() in ("o", "s")]
        assert len(points) == table.sizes["run"]
        assert sum(line.get_markeredgewidth() > 1.5 for line in points) == 1
        values = {line.get_marker(): float(line.get_ydata()[0]) for line in points}
        assert values["s"] == pytest.approx(float(table[quantity].sel(run=FIXED)))
        assert "(" in axes.get_ylabel()


def test_figures_are_written(table, lines, tmp_path):
    paths = mops.write_figures(table, lines, tmp_path / "figures", histories={"Anderson": [(1, 0.1), (9, 0.01)]})
    names = ("flux_ratio", "storage", "dic_difference", "suspended_ratio", "series", "drift")
    assert [path.name for path in paths] == [f"mops_{name}.png" for name in names]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


@pytest.mark.parametrize(
    ("missing", "draw"),
    [
        (CONTROL, mops.flux_ratio_fan),
        (FIXED, mops.flux_ratio_fan),
        (FIXED, mops.series_figure),
        (FIXED, mops.dic_difference),
        ("b_C 0.75", mops.dic_difference),
        ("b_C 0.75", lambda table: mops.suspended_map(table, "b_C 0.75")),
    ],
)
def test_a_missing_run_is_named(table, missing, draw):
    fewer = table.sel(run=[name for name in table["run"].values if name != missing])
    with pytest.raises(InputError, match=rf"no run '{missing}' in the table, whose runs are .*b_C 0\.50.*expected"):
        draw(fewer)


def test_storage_figure_names_a_missing_run(table, lines):
    with pytest.raises(InputError, match="no run 'redfield'"):
        mops.storage_figure(table.sel(run=[name for name in table["run"].values if name != FIXED]), lines)


def test_storage_figure_wants_theory_of_its_depths(table, lines):
    with pytest.raises(InputError, match=r"theory for z' of \[250.0, 1000.0, 1000.0\] m; expected"):
        mops.storage_figure(table, lines.sel(horizon=slice(0.0, 1000.0)))
