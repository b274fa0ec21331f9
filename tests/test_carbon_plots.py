"""Figures of the biological pump from made-up results: panels, labels with units, land, and nothing left open."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import PathCollection, QuadMesh
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from invbgc.circulation import load_circulation
from invbgc.diagnostics.compare import compare_fluxes, read_flux_table
from invbgc.diagnostics.export import flux_at_mixed_layer, global_total
from invbgc.diagnostics.places import station_table, zonal_bands
from invbgc.plots import carbon, curves
from tests.test_places import made_up_export

MOL = "mol m-2 yr-1"
PER_AREA = "mol m$^{−2}$ yr$^{−1}$"
POOLS = ("POC", "DOC", "DOCr", "DOCl")


def small_export(circulation: str) -> xr.Dataset:
    export = made_up_export(load_circulation(circulation).grid)
    for name in ("toc", "poc", "semilabile", "labile"):
        export[f"{name}_export_global"] = global_total(export[f"{name}_export"], export["area"])
    return export


def residence_of(export: xr.Dataset) -> xr.Dataset:
    time = 5.0 * 100.0 ** (np.abs(export["latitude"]) / 90.0) * export["wet"].where(export["wet"])
    return xr.Dataset({"semilabile_base_time": time.assign_attrs(units="yr")})


def warming_of(export: xr.Dataset) -> xr.Dataset:
    present = export["exponent_C"] + 0.01 * np.abs(export["latitude"])
    warming = export[["wet", "area"]].copy()
    for element in ("C", "P"):
        warming[f"exponent_{element}"] = xr.concat(
            [present, present + 0.1], xr.DataArray(["present", "changed"], dims="climate", name="climate")
        )
        warming[f"exponent_{element}_change"] = present * 0.0 + 0.1
    return warming


def sequestration_of() -> xr.Dataset:
    """Exponential losses, one time scale for each pool: stock = P tau_0 (1 - exp(-tau/tau_0))."""
    time = xr.DataArray(np.r_[0.0, 10.0 ** np.linspace(-4, 4, 81)], dims="time")
    pools = xr.DataArray(list(POOLS), dims="pool", name="pool")
    size, scale = (xr.DataArray(values, dims="pool") for values in ([10.0, 2.0, 0.1, 5.0], [200.0, 100.0, 500.0, 0.1]))
    longer = size * np.exp(-time / scale)
    return xr.Dataset(
        {
            "production_longer": longer.assign_attrs(units="Pg C yr-1"),
            "density_log_time": (time / scale * longer).assign_attrs(units="Pg C yr-1"),
            "stock": (scale * (size - longer)).assign_attrs(units="Pg C"),
            "stock_direct": (scale * size).assign_attrs(units="Pg C"),
        },
        {"time": time, "pool": pools},
    )


def pumps_of(circulation: str) -> xr.Dataset:
    grid = load_circulation(circulation).grid
    attrs = {"units": "mmol m-3"}
    parts = {
        "DIC_soft_tissue": 0.02 * grid.wet_depth,
        "DIC_carbonate": 0.01 * grid.wet_depth,
        "DIC_disequilibrium": -0.3 * grid.wet_latitude,
    }
    inventory = {"total": 37000.0, "saturation": 35500.0, "disequilibrium": -100.0, "soft_tissue": 1200.0}
    inventory |= {"carbonate": 400.0}
    return xr.Dataset(
        {name: grid.unpack(values, attrs=attrs) for name, values in parts.items()}
        | {"carbon_inventory": ("part", list(inventory.values()), {"units": "Pg C"})},
        {"part": list(inventory)},
    )


@pytest.fixture(scope="module")
def export():
    return small_export("embedded_8deg")


@pytest.fixture(scope="module")
def comparison(export, tmp_path_factory):
    lines = ["station,depth,value,error,unit,kind"]
    lines += [f"ALOHA,{1000 + number},{0.1 * 1.1**number},0.05,{MOL},trap" for number in range(6)]
    lines += [f"ALOHA,150,1,,{MOL},trap", f"BATS,3000,0.2,0.1,{MOL},trap", f"OSP,300,2,1,{MOL},ncp"]
    path = tmp_path_factory.mktemp("fluxes") / "fluxes.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return compare_fluxes(export, read_flux_table(path))


@pytest.fixture(scope="module")
def figures(export, comparison):
    mixed = flux_at_mixed_layer(export, xr.where(export["wet"], 120.0, np.nan).assign_attrs(units="m"))
    stations = station_table(export)
    made = {
        "export": lambda: carbon.export_maps_figure(export, residence_of(export)),
        "pathway": lambda: carbon.pathway_figure(export, zonal_bands(export)),
        "exponents": lambda: carbon.exponents_figure(warming_of(export)),
        "pumps": lambda: carbon.pumps_figure(pumps_of("embedded_8deg")),
        "profiles": lambda: curves.profiles_figure(stations, comparison),
        "profiles alone": lambda: curves.profiles_figure(stations),
        "one profile": lambda: curves.profiles_figure(stations.isel(station=[0])),
        "sequestration": lambda: curves.sequestration_figure(sequestration_of()),
        "community": lambda: curves.community_production_figure(export, mixed, comparison),
        "community alone": lambda: curves.community_production_figure(export),
        "comparison": lambda: curves.comparison_figure(comparison),
    }
    return {name: make() for name, make in made.items()}


PANELS = {
    "export": (8, 4), "pathway": (3, 1), "exponents": (8, 4), "pumps": (11, 3), "profiles": (6, 0),
    "profiles alone": (6, 0), "one profile": (1, 0), "sequestration": (3, 0), "community": (2, 0),
    "community alone": (2, 0), "comparison": (2, 0),
}  # fmt: skip
"""Figure -> axes in all, and colour bars among them."""


def labels(figure: Figure) -> str:
    return " | ".join(
        text for axes in figure.axes for text in (axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"))
    )


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
        ("export", (f"export ({PER_AREA})", "mean time below the surface (yr)", "Pg C yr$^{−1}$")),
        ("pathway", ("share (%)",)),
        ("pumps", ("Pg C", "DIC, soft tissue (mmol m$^{−3}$)", "depth (m)", "37,000 Pg C")),
        ("profiles", (f"POC flux ({PER_AREA})", "depth (m)", "ALOHA")),
        ("sequestration", ("respiration (Pg C yr$^{−1}$)", "stock (Pg C)", "time below the surface (yr)")),
        ("community", (f"total organic carbon export ({PER_AREA})", "North Atlantic", "Pacific")),
        ("comparison", (f"observed flux of carbon ({PER_AREA})", f"model flux of carbon ({PER_AREA})")),
    ],
)
def test_labels_carry_units(figures, name, words):
    for word in words:
        assert word in labels(figures[name])


def test_titles_carry_the_integrals(figures, export):
    """Dissolved export is the sum of the two pools."""
    total = float(export["semilabile_export_global"] + export["labile_export_global"])
    assert f"{total:.2f} Pg C" in labels(figures["export"])
    assert f"{float(export['toc_export_global']):.2f} Pg C" in labels(figures["export"])
    assert "change of $b_C$, mean +0.100" in labels(figures["exponents"])


@pytest.mark.parametrize("name", ["export", "exponents"])
def test_land_is_masked(figures, export, name):
    """On every map the field covers the wet boxes and no others."""
    maps = [axes for axes in figures[name].axes if "colorbar" not in axes.get_label()]
    for axes in maps:
        fields = [mesh for mesh in axes.collections if isinstance(mesh, QuadMesh)]
        drawn = np.ma.getmaskarray(np.ma.asarray(fields[-1].get_array()))
        assert (~drawn).sum() == int(export["wet"].sum())


def test_published_values_stand_beside_the_bands(figures, export):
    right = next(axes for axes in figures["pathway"].axes if axes.get_xlabel() == "share (%)" and axes.lines)
    marks = [line for line in right.lines if line.get_marker() == "D"]
    np.testing.assert_allclose([line.get_xdata() for line in marks], np.array([[15, 37, 39, 29]] * 2).T)
    np.testing.assert_allclose(
        [line.get_ydata() for line in marks], [[-7.5, 7.5], [-22.5, 22.5], [-37.5, 37.5], [-52.5, 52.5]]
    )
    other = carbon.pathway_figure(
        small_export("embedded_8deg"), zonal_bands(small_export("embedded_8deg"), (0.0, 90.0))
    )
    assert not any(line.get_marker() == "D" for axes in other.axes for line in axes.lines)


def test_published_sequestration_is_drawn_at_its_times(figures):
    left, _, right = figures["sequestration"].axes
    marks = next(line for line in left.lines if line.get_marker() == "D")
    np.testing.assert_array_equal(marks.get_xdata(), [0.25, 1.0, 3.0])
    np.testing.assert_array_equal(marks.get_ydata(), [11.09, 8.25, 6.30])
    total = next(line for line in right.lines if line.get_label() == "stock by steady solution")
    np.testing.assert_allclose(total.get_ydata(), 2000.0 + 200.0 + 50.0 + 0.5)
    curve = next(line for line in left.lines if line.get_label() == "total")
    at_one = np.interp(1.0, np.asarray(curve.get_xdata()), np.asarray(curve.get_ydata()))
    expected = 10 * np.exp(-1 / 200) + 2 * np.exp(-1 / 100) + 0.1 * np.exp(-1 / 500) + 5 * np.exp(-10)
    assert at_one == pytest.approx(expected, rel=1e-9)


def test_traps_are_drawn_at_their_station(figures):
    """Six traps near 1000 m at ALOHA make a box, those at 150 m and at BATS stay points; OSP has none."""
    panels = {axes.get_title(loc="left"): axes for axes in figures["profiles"].axes}
    assert [len(panels[name].patches) for name in ("ALOHA", "BATS", "OSP")] == [1, 0, 0]
    assert [len(panels[name].containers) for name in ("ALOHA", "BATS", "OSP")] == [2, 1, 0]
    box = panels["ALOHA"].patches[0]
    left, width = box.get_x(), box.get_width()  # pyright: ignore[reportAttributeAccessIssue]
    values = 0.1 * 1.1 ** np.arange(6)
    np.testing.assert_allclose([left, left + width], np.quantile(values, [0.25, 0.75]))
    assert panels["ALOHA"].get_ylim()[0] > panels["ALOHA"].get_ylim()[1]
    assert not any(axes.patches or axes.containers for axes in figures["profiles alone"].axes)


def test_community_production_is_drawn_in_its_basin(figures):
    atlantic, pacific = figures["community"].axes
    assert [len(axes.containers) for axes in (atlantic, pacific)] == [0, 1]
    assert list(pacific.containers[0].lines[0].get_xdata()) == [50.017]
    assert [len(axes.lines) for axes in (atlantic, pacific)] == [2, 5]  # an error bar has three
    assert [len(axes.lines) for axes in figures["community alone"].axes] == [1, 1]
    assert not any(axes.containers for axes in figures["community alone"].axes)


def test_comparison_shows_every_observation_by_both_laws(figures, comparison):
    left, right = figures["comparison"].axes
    drawn = [np.asarray(container.lines[0].get_ydata()) for container in left.containers]
    np.testing.assert_allclose(np.sort(np.concatenate(drawn)), np.sort(comparison["model"].values.ravel()))
    agreement = left.lines[-1]
    names = [text.get_text() for text in right.get_yticklabels()]
    assert names == ["ALOHA, traps", "BATS, traps", "OSP, NCP"]
    assert left.get_xlim() == left.get_ylim()
    assert any(np.array_equal(line.get_xdata(), line.get_ydata()) for line in (agreement, *left.lines))
    assert sum(patch.get_facecolor()[:3] == to_rgba(curves.LAW_COLOURS["discrete"])[:3] for patch in right.patches) == 1
    assert not any(isinstance(part, PathCollection) for part in right.collections)


@pytest.mark.parametrize("circulation", ["column", "few_box"])
def test_figures_of_oceans_without_basins(circulation):
    export = small_export(circulation)
    for figure in (
        carbon.export_maps_figure(export, residence_of(export)),
        carbon.pathway_figure(export, zonal_bands(export, (0.0, 90.0))),
        carbon.exponents_figure(warming_of(export)),
        carbon.pumps_figure(pumps_of(circulation)),
        curves.community_production_figure(
            export, flux_at_mixed_layer(export, xr.where(export["wet"], 50.0, np.nan).assign_attrs(units="m"))
        ),
    ):
        figure.savefig(io.BytesIO(), format="png", dpi=40)
    assert plt.get_fignums() == []
