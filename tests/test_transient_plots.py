"""Figures of the industrial era from made-up tables: panels, labels with units, land, and parts that are missing."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from invbgc.circulation import load_circulation
from invbgc.errors import InputError
from invbgc.grid import OceanGrid
from invbgc.plots import transient
from invbgc.transient.atmosphere import load_atmosphere

CONCENTRATION = "mmol m$^{−3}$"
BASINS = ("atlantic", "pacific", "indian", "southern")


def year_series(grid: OceanGrid) -> dict[str, xr.DataArray]:
    """Histories of the package's atmosphere, and an ocean that follows them late."""
    year = np.arange(1850.0, 2021.0)
    atmosphere = load_atmosphere()
    pco2 = np.array([atmosphere.co2.at(t) for t in year])
    air = np.array([atmosphere.d14c.at(t) for t in year])
    sea = np.zeros_like(air)
    sea[0] = air[0] - np.array([60.0, 55.0, 85.0])
    for now in range(1, year.size):
        sea[now] = sea[now - 1] + np.array([0.02, 0.025, 0.012]) * (air[now] - 55.0 - sea[now - 1])
    excess = 160.0 * (pco2 - pco2[0]) / (pco2[-1] - pco2[0])
    series = {
        "excess_inventory": (excess, "Pg C"),
        "pco2": (pco2, "uatm"),
        "vertical_gradient": (215.0 - 0.25 * excess, "mmol m-3"),
        "bomb_inventory": (np.clip(year - 1955.0, 0.0, None) * 7.0, "1e26 atoms"),
    }
    one = {name: xr.DataArray(value, dims="year", attrs={"units": unit}) for name, (value, unit) in series.items()}
    zones = {"atmosphere_D14C": air, "surface_D14C": sea}
    two = {name: xr.DataArray(x, dims=("year", "zone"), attrs={"units": "permil"}) for name, x in zones.items()}
    coordinates = {"year": year, "zone": ["north", "tropics", "south"]}
    return {name: field.assign_coords({d: coordinates[d] for d in field.dims}) for name, field in (one | two).items()}


def fields_of(grid: OceanGrid) -> dict[str, xr.DataArray]:
    """Excess carbon that decays with depth, less so in the subtropics and the far north; old water below."""
    reach = 350.0 + 500.0 * np.cos(np.radians(3.0 * grid.wet_latitude)) ** 2 + 900.0 * (grid.wet_latitude > 50.0)
    shape = np.exp(-grid.wet_depth / reach)
    age = np.sin(np.radians(grid.wet_longitude)) * 30.0
    snapshots = xr.DataArray([1994.0, 2013.5], dims="snapshot", name="snapshot")
    excess, d14c = (
        xr.concat([grid.unpack(values, attrs={"units": unit}) for values in pair], snapshots)
        for pair, unit in (
            ((40.0 * shape, 60.0 * shape), "mmol m-3"),
            (((200.0 * shape - 190.0 + age), (220.0 * shape - 185.0 + age)), "permil"),
        )
    )
    return {"excess_DIC": excess, "D14C": d14c}


def cells_of(grid: OceanGrid, size: int = 900) -> xr.Dataset:
    """Bottles all over the ocean, which the model misses by noise and by ten permil at the surface."""
    random = np.random.default_rng(3)
    box = random.integers(grid.n_wet, size=size)
    modelled = 220.0 * np.exp(-grid.wet_depth[box] / 600.0) - 185.0
    observed = modelled + random.normal(size=size) * 12.0 - 10.0 * np.exp(-grid.wet_depth[box] / 300.0)
    attrs = {"units": "permil"}
    return xr.Dataset(
        {
            "cell_year": ("cell", random.uniform(1972.0, 2015.0, size), {"units": "yr"}),
            "cell_depth": ("cell", grid.wet_depth[box], {"units": "m"}),
            "cell_latitude": ("cell", grid.wet_latitude[box], {"units": "degrees_north"}),
            "observed_D14C": ("cell", observed, attrs),
            "modelled_D14C": ("cell", modelled, attrs),
        }
    )


def transient_of(circulation: str, basins: tuple[str, ...] = ()) -> xr.Dataset:
    grid = load_circulation(circulation).grid
    table = xr.Dataset(year_series(grid) | fields_of(grid))
    table["volume"] = grid.unpack(grid.volume, attrs={"units": "m3"})
    table["area"] = grid.unpack_surface(grid.surface_area, attrs={"units": "m2"})
    for name in basins:
        table[f"basin_{name}"] = (("latitude", "longitude"), grid.masks[name][0])
    return table.merge(cells_of(grid))


def calibration_of(scales: tuple[float, ...] = (1.0, 0.7, 0.82, 0.9, 1.3)) -> xr.Dataset:
    """A misfit that is a parabola with its minimum at 0.86."""
    scale = np.array(scales)
    return xr.Dataset(
        {
            "scale": ("trial", scale, {"units": "1"}),
            "misfit": ("trial", 0.11 + 0.6 * (scale - 0.86) ** 2, {"units": "1"}),
            "scale_best": ((), 0.86, {"units": "1"}),
            "scale_error": ((), 0.04, {"units": "1"}),
        }
    )


@pytest.fixture(scope="module")
def table():
    return transient_of("embedded_8deg", BASINS)


@pytest.fixture(scope="module")
def figures(table):
    masks = [f"basin_{name}" for name in BASINS]
    return {
        "carbon": transient.excess_carbon(table),
        "sections": transient.excess_sections(table),
        "global sections": transient.excess_sections(table.drop_vars(masks)),
        "map": transient.excess_map(table),
        "bomb": transient.bomb_curves(table),
        "misfit": transient.misfit_of_scale(calibration_of()),
        "fit": transient.radiocarbon_fit(table),
    }


PANELS = {
    "carbon": (3, 0), "sections": (10, 2), "global sections": (4, 2), "map": (2, 1), "bomb": (3, 0), "misfit": (1, 0),
    "fit": (3, 1),
}  # fmt: skip
"""Figure -> axes in all, and colour bars among them."""


def labels(figure: Figure) -> str:
    return " | ".join(
        text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
    )


def line(axes, label):
    return next(line for line in axes.lines if line.get_label() == label)


@pytest.mark.parametrize("name", PANELS)
def test_figures_are_made_and_nothing_stays_open(figures, name):
    figure = figures[name]
    bars = [axes for axes in figure.axes if "colorbar" in axes.get_label()]
    assert (len(figure.axes), len(bars)) == PANELS[name]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    assert buffer.getbuffer().nbytes > 2000
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("carbon", ("excess DIC (Pg C)", "pCO$_2$ (µatm)", "reduction of the gradient (%)", "year", "160 Pg C")),
        ("carbon", (f"215 {CONCENTRATION} at the start",)),
        ("sections", (f"excess DIC ({CONCENTRATION})", "Δ$^{14}$C (‰)", "depth (m)", "latitude", "Atlantic", "2013.5")),
        ("map", ("column inventory of excess DIC (mol m$^{−2}$)", "2013.5")),
        ("bomb", ("Δ$^{14}$C (‰)", "year", "northern zone", "tropical zone", "southern zone")),
        ("misfit", ("scale of the gas exchange", "misfit of Δ$^{14}$C")),
        ("fit", ("data (‰)", "model (‰)", "model minus data (‰)", "depth (m)", "cells per bin")),
    ],
)
def test_labels_carry_units(figures, name, words):
    for word in words:
        assert word in labels(figures[name])


def test_gradient_is_reduced_relative_to_the_start_whatever_its_sign(figures, table):
    """The gradient shrinks by 0.25 mmol m-3 per Pg C of 160, from 215."""
    turned = table.assign(vertical_gradient=(-table["vertical_gradient"]).assign_attrs(units="mmol m-3"))
    for figure in (figures["carbon"], transient.excess_carbon(turned)):
        curve = figure.axes[1].lines[0]
        assert curve.get_ydata()[0] == pytest.approx(0.0)
        assert curve.get_ydata()[-1] == pytest.approx(100.0 * 0.25 * 160.0 / 215.0)


def test_land_is_masked_and_columns_are_summed(figures, table):
    """The map shows the wet columns, in the longitudes of its own, and no others."""
    meshes = [mesh for mesh in figures["map"].axes[0].collections if isinstance(mesh, QuadMesh)]
    drawn = np.ma.masked_invalid(np.ma.asarray(meshes[-1].get_array())).compressed()
    amount = 1e-3 * np.nansum((table["excess_DIC"].isel(snapshot=-1) * table["volume"]).values, axis=0)
    wet = table["area"].notnull().values
    np.testing.assert_allclose(np.sort(drawn), np.sort((amount / table["area"].values)[wet]))


def test_sections_are_means_weighted_by_volume_of_the_last_snapshot(figures, table):
    section = [mesh for mesh in figures["sections"].axes[0].collections if isinstance(mesh, QuadMesh)][-1]
    drawn = np.ma.asarray(section.get_array()).reshape(table.sizes["depth"], table.sizes["latitude"])
    field, volume = table["excess_DIC"].isel(snapshot=-1).values, table["volume"].values
    wet = np.isfinite(field)
    for layer, row in ((0, 5), (6, 12), (16, 0)):
        here = wet[layer, row]
        if not here.any():
            assert np.ma.getmaskarray(drawn)[layer, row]
            continue
        assert drawn[layer, row] == pytest.approx(np.average(field[layer, row, here], weights=volume[layer, row, here]))


def test_basins_are_the_first_three_that_hold_water(figures, table):
    titles = labels(figures["sections"])
    assert all(name in titles for name in ("Global", "Atlantic", "Pacific", "Indian"))
    assert "Southern" not in titles
    dry = table.drop_vars([f"basin_{name}" for name in BASINS[1:]])
    dry["basin_lake"] = xr.zeros_like(table["basin_atlantic"])
    assert len(transient.excess_sections(dry).axes) == 2 * 2 + 2
    assert "Lake" not in labels(transient.excess_sections(dry))


def test_bomb_curves_begin_before_the_bombs(figures, table):
    for axes, zone in zip(figures["bomb"].axes, ("north", "tropics", "south"), strict=True):
        air, sea = line(axes, "atmosphere"), line(axes, "surface ocean")
        assert (air.get_linestyle(), sea.get_linestyle()) == ("--", "-")
        assert air.get_xdata()[0] == transient.BOMB_YEARS_FROM
        np.testing.assert_array_equal(sea.get_ydata(), table["surface_D14C"].sel(zone=zone, year=slice(1940, None)))


def test_a_parabola_is_found_again(figures):
    axes = figures["misfit"].axes[0]
    curve = line(axes, "parabola")
    np.testing.assert_allclose(curve.get_ydata(), 0.11 + 0.6 * (curve.get_xdata() - 0.86) ** 2, rtol=1e-9)
    assert "best scale 0.86 ± 0.04" in [text.get_text() for text in figures["misfit"].legends[0].get_texts()]
    band = axes.patches[0]
    assert (band.get_x(), band.get_x() + band.get_width()) == pytest.approx((0.82, 0.90))


def test_a_far_trial_does_not_lift_the_parabola_off_the_near_ones():
    table = calibration_of((0.859, 0.861, 0.8601, 2.0))
    table["misfit"][3] += 5.0
    curve = line(transient.misfit_of_scale(table).axes[0], "parabola")
    assert np.min(curve.get_ydata()) == pytest.approx(0.11, abs=1e-3)


def test_cells_are_counted_and_their_residuals_averaged_by_layer(figures, table):
    left, right, _ = figures["fit"].axes
    count = np.ma.asarray(next(part for part in left.collections if isinstance(part, QuadMesh)).get_array())
    assert count.sum() == table.sizes["cell"]
    assert left.get_xlim() == left.get_ylim()
    curve = right.lines[0]
    residual = table["modelled_D14C"] - table["observed_D14C"]
    for depth, mean in zip(curve.get_ydata(), curve.get_xdata(), strict=True):
        assert mean == pytest.approx(float(residual.where(table["cell_depth"] == depth).mean()))
    assert right.get_ylim()[0] > right.get_ylim()[1]


@pytest.mark.parametrize(
    ("draw", "missing"),
    [
        (transient.excess_carbon, "pco2"),
        (transient.excess_sections, "D14C"),
        (transient.excess_map, "area"),
        (transient.bomb_curves, "surface_D14C"),
    ],
)
def test_missing_variables_are_named(table, draw, missing):
    with pytest.raises(InputError, match=f"Table 'transient': no {missing};"):
        draw(table.drop_vars(missing))


def test_tables_too_short_are_refused(table):
    with pytest.raises(InputError, match="Table 'calibration': no scale_best"):
        transient.misfit_of_scale(calibration_of().drop_vars("scale_best"))
    with pytest.raises(InputError, match="0 years from 1940 on"):
        transient.bomb_curves(table.sel(year=slice(None, 1930)))
    with pytest.raises(InputError, match="Table 'radiocarbon': no observed_D14C"):
        transient.radiocarbon_fit(table.drop_vars("observed_D14C"))


@pytest.mark.parametrize("circulation", ["column", "few_box"])
def test_figures_of_oceans_without_basins(circulation):
    table = transient_of(circulation)
    for draw in (transient.excess_sections, transient.excess_map, transient.radiocarbon_fit):
        draw(table).savefig(io.BytesIO(), format="png", dpi=40)
    transient.radiocarbon_fit(table.isel(cell=[0])).savefig(io.BytesIO(), format="png", dpi=40)
    assert plt.get_fignums() == []
