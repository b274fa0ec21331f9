import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from tiny_result import TRACERS, tiny_result

from invbgc.plots import inference, maps, sections, style

RESULT = tiny_result()
WET = RESULT["model_DIP"].notnull()
VOLUME = xr.ones_like(RESULT["model_DIP"])
LABELS = ["a", "b", "c"]


def density() -> Figure:
    observed = np.linspace(0, 1, 50)
    return inference.joint_density([("DIP", observed, observed**2, np.ones(50), "mmol m-3")])


FIGURES = {
    "map": lambda: maps.map_figure(RESULT["poc_export"], WET[0], "poc_export"),
    "maps": lambda: maps.compare_maps(RESULT["model_O2"], RESULT["observed_O2"], WET, "O2", (0, 2)),
    "sections": lambda: sections.compare_sections(RESULT["model_O2"], RESULT["observed_O2"], VOLUME, "O2"),
    "profiles": lambda: sections.profiles(
        {n: (RESULT[f"model_{n}"], RESULT[f"observed_{n}"]) for n in TRACERS}, VOLUME
    ),
    "density": density,
    "convergence": lambda: inference.convergence(np.array([2.0, 1.0, 0.5]), np.array([1.0, 0.1, 1e-9]), 1e-8),
    "parameters": lambda: inference.parameter_figure(LABELS, *np.ones((5, 3))),
    "parameters of a twin": lambda: inference.parameter_figure(
        LABELS, *np.ones((5, 3)), truth=np.array([1, 0.01, 100]), z_score=np.array([0.5, -5, np.nan])
    ),
    "correlation": lambda: inference.correlation_matrix(LABELS, np.array([[1, 0.9, 0], [0.9, 1, -0.6], [0, -0.6, 1]])),
    "eigen": lambda: inference.eigen_directions(LABELS, np.array([1e-3, 1, 2]), np.eye(3)),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_are_made_and_nothing_stays_open(name):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getbuffer().nbytes > 2000
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", ["map", "maps", "sections"])
def test_colour_bars_carry_units(name):
    labels = [axes.get_xlabel() for axes in FIGURES[name]().axes if "colorbar" in axes.get_label()]
    assert labels
    assert all("m$^{" in label for label in labels)


def test_units_in_type():
    assert style.unit_text("mmol m-3") == "mmol m$^{−3}$"
    assert style.unit_text("mol C m-2 yr-1") == "mol C m$^{−2}$ yr$^{−1}$"
    assert style.unit_text("1") == ""
    assert style.with_units("b", "1") == "b"


def test_ranges_ignore_outliers_and_survive_constants():
    values = np.append(np.linspace(0, 1, 999), 1e6)
    assert style.robust_range(values).vmax < 2
    limits = style.symmetric_range(np.array([-3.0, 1.0, np.nan]))
    assert limits.vmin == -limits.vmax
    flat = style.robust_range(np.ones(5))
    assert flat.vmin < 1 < flat.vmax
    assert style.robust_range(np.array([np.nan])).vmax > 0


def test_projection_keeps_areas():
    latitude = np.linspace(-90, 90, 181)
    x, y = maps.equal_earth(np.full(181, 180.0), latitude)
    band = 2 * np.trapezoid(np.interp(np.linspace(y[90], y[120], 2001), y, x), np.linspace(y[90], y[120], 2001))
    assert band == pytest.approx(2 * np.pi * np.sin(np.radians(30)), rel=1e-3)
    x, y = maps.equal_earth(np.array([0.0]), np.array([0.0]))
    assert (x[0], y[0]) == (0, 0)


def test_zonal_mean_weighs_by_volume_and_skips_gaps():
    field = xr.DataArray([[[1.0, 3.0, np.nan]]], dims=("depth", "latitude", "longitude"))
    volume = xr.DataArray([[[1.0, 3.0, 9.0]]], dims=("depth", "latitude", "longitude"))
    assert sections.zonal_mean(field, volume, np.array([[True, True, True]])).item() == pytest.approx(2.5)
    assert np.isnan(sections.zonal_mean(field, volume, np.array([[False, False, True]])).item())


def test_basins_part_the_ocean():
    latitude, longitude = np.arange(-78.0, 90, 4), np.arange(2.0, 360, 4)
    wet = xr.DataArray(
        np.ones((latitude.size, longitude.size), bool),
        {"latitude": latitude, "longitude": longitude},
        ("latitude", "longitude"),
    )
    masks = sections.ocean_basins(wet)
    together = sum(mask.astype(int) for mask in masks.values())
    assert together.max() == 1
    assert (together[latitude < 66] == 1).all()

    def at(lat, lon):
        row, column = np.argmin(np.abs(latitude - lat)), np.argmin(np.abs(longitude - lon))
        return next(name for name, mask in masks.items() if mask[row, column])

    assert at(30, 320) == at(-30, 350) == at(-30, 10) == at(22, 274) == "Atlantic"
    assert at(0, 200) == at(12, 262) == at(-50, 282) == at(30, 130) == at(10, 114) == "Pacific"
    assert at(-20, 80) == at(14, 62) == at(-50, 130) == "Indian"


def test_volume_r2():
    observed, volume = np.array([0.0, 1.0, 2.0]), np.ones(3)
    assert inference.volume_r2(observed, observed, volume) == 1
    assert inference.volume_r2(observed, np.ones(3), volume) == pytest.approx(0)
