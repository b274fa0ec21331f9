"""Figures of the industrial era: excess carbon, bomb radiocarbon, and how well gas exchange is known from it."""

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from invbgc.errors import InputError
from invbgc.plots.maps import cell_edges, map_figure
from invbgc.plots.sections import depth_axis, draw_section, zonal_mean
from invbgc.plots.style import (
    BLUE,
    DENSITY,
    GREEN,
    GREY,
    INK,
    ORANGE,
    colour_bar,
    field_style,
    from_zero,
    house_style,
    new_figure,
    robust_range,
    unit_text,
    with_units,
)

ZONES = {"north": ("northern zone", BLUE), "tropics": ("tropical zone", ORANGE), "south": ("southern zone", GREEN)}
"""Zones of the atmosphere: label and colour."""

BOMB_YEARS_FROM = 1940.0
"""Year from which radiocarbon is drawn, some time before the bombs."""

MOST_BASINS = 3
"""Basins that are drawn beside the global ocean."""

_D14C = "Δ$^{14}$C"
_DASHED = (0, (4, 1.6))
_FEWEST_BINS, _MOST_BINS = 12, 60


def excess_carbon(table: xr.Dataset) -> Figure:
    """Draw how much carbon the ocean took up, under which atmosphere, and how its vertical gradient weakened.

    Args:
        table: ``transient``, with `excess_inventory`, `pco2` and `vertical_gradient` by year.

    Returns:
        Left: inventory of excess DIC since the start, above pCO2 of the atmosphere. Right: the gradient of DIC, the
        difference of its means above and below 100 m in either sense, as a reduction relative to the first year, in
        percent. Method of Wang et al. (2023), Methods, anthropogenic DIC.
    """
    _require(table, "excess_inventory", "pco2", "vertical_gradient")
    year, inventory, gradient = table["year"].values, table["excess_inventory"], table["vertical_gradient"]
    start = float(gradient[0])
    reduction = 100.0 * (1.0 - gradient.values / start)
    with house_style():
        figure = new_figure(10.5, 4.4)
        layout = figure.add_gridspec(2, 2, height_ratios=(1.5, 1))
        stock, right = figure.add_subplot(layout[0, 0]), figure.add_subplot(layout[:, 1])
        air = figure.add_subplot(layout[1, 0], sharex=stock)
        stock.plot(year, inventory, color=BLUE, linewidth=1.6)
        air.plot(year, table["pco2"], color=GREY, linewidth=1.6)
        right.plot(year, reduction, color=ORANGE, linewidth=1.6)
        _label(stock, f"excess DIC: {float(inventory[-1]):.0f} Pg C at the end", y=_units("excess DIC", inventory))
        stock.tick_params(labelbottom=False)
        _label(air, "atmosphere", "year", _units("pCO$_2$", table["pco2"]))
        amount = f"{abs(start):.0f} {unit_text(gradient.attrs['units'])}"
        title = f"gradient of DIC across 100 m: {amount} at the start"
        _label(right, title, "year", "reduction of the gradient (%)")
        for axes in (stock, right):
            axes.axhline(0.0, color=INK, linewidth=0.6)
            axes.set_xlim(year[0], year[-1])
    return figure


def excess_sections(table: xr.Dataset) -> Figure:
    """Draw how deep excess carbon and radiocarbon have reached, as means along longitude at the last snapshot.

    Args:
        table: ``transient``, with `excess_DIC`, `D14C` and `volume`; of masks ``basin_<name>``, the first three that
            hold any water are drawn.

    Returns:
        Sections of excess DIC, left, and D14C, right, weighted by volume: the global ocean, and below it each basin,
        if there are any masks. Method of Wang et al. (2023), Methods, anthropogenic DIC and radiocarbon.
    """
    _require(table, "excess_DIC", "D14C", "volume")
    last = table.isel(snapshot=-1)
    excess, radiocarbon, volume = last["excess_DIC"], last["D14C"], table["volume"]
    masks = _basins(table, excess.isel(depth=0).notnull())
    columns: tuple[tuple[xr.DataArray, str, Colormap, Normalize], ...] = (
        (excess, "excess DIC", field_style("DIC").colours, from_zero(excess.values)),
        (radiocarbon, _D14C, mpl.colormaps["cmo.thermal"], robust_range(radiocarbon.values)),
    )
    with house_style():
        figure = new_figure(10.5, 1.9 * len(masks) + 1.1)
        grid = figure.subplots(len(masks), 2, squeeze=False, sharex=True, sharey=True)
        for panels, (field, name, colours, norm) in zip(grid.T, columns, strict=True):
            mesh: ScalarMappable | None = None
            for axes, (basin, mask) in zip(panels, masks.items(), strict=True):
                mean = zonal_mean(field, volume, mask)
                mesh = draw_section(axes, mean, mean, colours, norm)
                axes.set_title(f"{basin}, {name}, {_date(last)}")
            panels[-1].set_xlabel("latitude")
            if mesh is not None:
                colour_bar(figure, mesh, list(panels), _units(name, field), shrink=0.7)
        for axes in grid[:, 0]:
            axes.set_ylabel("depth (m)")
    return figure


def excess_map(table: xr.Dataset) -> Figure:
    """Draw where excess carbon is stored.

    Args:
        table: ``transient``, with `excess_DIC`, `volume` and `area`.

    Returns:
        Map of the column inventory of excess DIC at the last snapshot, the sum over depth of excess times volume over
        the sea surface of the column, mol m-2. Method of Wang et al. (2023), Methods, anthropogenic DIC.
    """
    _require(table, "excess_DIC", "volume", "area")
    last = table.isel(snapshot=-1)
    stored = 1e-3 * (last["excess_DIC"] * table["volume"]).sum("depth", min_count=1)
    column = (stored / table["area"]).transpose("latitude", "longitude").assign_attrs(units="mol m-2")
    name = "column inventory of excess DIC"
    return map_figure(column, column.notnull(), name, f"{name}, {_date(last)}", from_zero(column.values))


def bomb_curves(table: xr.Dataset) -> Figure:
    """Draw how radiocarbon of the bombs passed from the atmosphere into the surface ocean.

    Args:
        table: ``transient``, with `atmosphere_D14C` and `surface_D14C` by year and zone.

    Returns:
        D14C of the atmosphere, dashed, and of the surface ocean, solid, one panel for each zone, from 1940 or the start
        of the run. Method of Wang et al. (2023), Methods, radiocarbon.
    """
    _require(table, "atmosphere_D14C", "surface_D14C")
    shown = table.isel(year=table["year"].values >= BOMB_YEARS_FROM)
    if shown.sizes["year"] < 2:
        raise InputError(
            f"Table 'transient': {shown.sizes['year']} years from {BOMB_YEARS_FROM:g} on; expected two at least."
        )
    year = shown["year"].values
    with house_style():
        figure = new_figure(10.5, 3.5)
        grid = figure.subplots(1, len(ZONES), sharex=True, sharey=True)
        for axes, (zone, (label, colour)) in zip(grid, ZONES.items(), strict=True):
            here = shown.sel(zone=zone)
            axes.plot(year, here["atmosphere_D14C"], color=colour, linewidth=1.3, linestyle=_DASHED, label="atmosphere")
            axes.plot(year, here["surface_D14C"], color=colour, linewidth=1.8, label="surface ocean")
            axes.axhline(0.0, color=INK, linewidth=0.6)
            _label(axes, label, "year")
            axes.legend(loc="upper right")
            axes.xaxis.set_major_locator(MultipleLocator(20, offset=10))  # no labels where panels meet
        grid[0].set_ylabel(_units(_D14C, table["surface_D14C"]))
        grid[0].set_xlim(year[0], year[-1])
    return figure


def misfit_of_scale(table: xr.Dataset) -> Figure:
    """Draw the misfit of radiocarbon against the scale of gas exchange.

    Args:
        table: ``calibration``, with `scale` and `misfit` of each trial, `scale_best` and `scale_error`.

    Returns:
        The trials; the parabola with its minimum at the best scale that fits them best, each by its misfit over the
        squared distance from there; and the best scale with a band of one standard deviation.
    """
    _require(table, "scale", "misfit", "scale_best", "scale_error", name="calibration")
    scale, misfit = table["scale"].values, table["misfit"].values
    best, error = float(table["scale_best"]), float(table["scale_error"])
    drawn = np.linspace(min(scale.min(), best - 2.0 * error), max(scale.max(), best + 2.0 * error), 201)
    with house_style():
        figure = new_figure(6.2, 4.0)
        axes = figure.add_subplot()
        axes.axvspan(best - error, best + error, color=BLUE, alpha=0.16, linewidth=0, label="± 1 s.d.")
        axes.axvline(best, color=BLUE, linewidth=1.1, label=f"best scale {best:.4g} ± {error:.2g}")
        axes.plot(drawn, _parabola(scale, misfit, best, error, drawn), color=GREY, linewidth=1.2, label="parabola")
        axes.plot(scale, misfit, "o", color=ORANGE, markersize=5.5, markeredgecolor="white", label="trials", zorder=4)
        axes.set_xlim(drawn[0] - 0.03 * np.ptp(drawn), drawn[-1] + 0.03 * np.ptp(drawn))
        _label(axes, f"misfit of {_D14C} and gas exchange", "scale of the gas exchange", f"misfit of {_D14C}")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def radiocarbon_fit(table: xr.Dataset) -> Figure:
    """Draw modelled against observed radiocarbon of the cells of box and time step, and what remains by depth.

    Args:
        table: ``radiocarbon``, with `observed_D14C`, `modelled_D14C` and `cell_depth` of each cell.

    Returns:
        Left: number of cells by observed and modelled D14C, with the line of agreement. Right: mean of model minus data
        over the cells of each layer, every cell counting the same, with one standard deviation. Cells as in Wang et al.
        (2023), released code.

    Raises:
        InputError: the table has no cells, because no dated bottles were given.
    """
    _require(table, "observed_D14C", "modelled_D14C", "cell_depth", name="radiocarbon")
    with house_style():
        figure = new_figure(9.0, 4.4)
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
        _draw_agreement(figure, left, table)
        _draw_residuals(right, table)
    return figure


def _draw_agreement(figure: Figure, axes: Axes, table: xr.Dataset) -> None:
    """Draw the joint density of observed and modelled D14C."""
    observed, modelled = table["observed_D14C"].values, table["modelled_D14C"].values
    both = np.concatenate([observed, modelled])
    bins = int(np.clip(np.sqrt(observed.size), _FEWEST_BINS, _MOST_BINS))
    edges = np.linspace(both.min() - 5.0, both.max() + 5.0, bins + 1)
    count, *_ = np.histogram2d(observed, modelled, bins=(edges, edges))
    norm = LogNorm(0.4, max(count.max(), 4.0))  # a single cell is to be seen on white
    mesh = axes.pcolormesh(edges, edges, np.ma.masked_equal(count.T, 0), cmap=DENSITY, norm=norm, rasterized=True)
    axes.plot(edges[[0, -1]], edges[[0, -1]], color=ORANGE, linewidth=0.9)
    axes.set(xlim=edges[[0, -1]], ylim=edges[[0, -1]])
    axes.set_box_aspect(1)
    residual = modelled - observed
    text = f"n = {observed.size:,}\nmean {residual.mean():+.1f}\nr.m.s. {np.sqrt(np.mean(residual**2)):.1f}"
    axes.text(0.05, 0.95, text.replace("-", "−"), transform=axes.transAxes, va="top", fontsize=8)
    _label(axes, _D14C, _units("data", table["observed_D14C"]), _units("model", table["modelled_D14C"]))
    bar = figure.colorbar(mesh, ax=[axes], shrink=0.7, aspect=18, pad=0.01)
    bar.set_label("cells per bin")
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000) if tick <= (norm.vmax or 1.0)]
    bar.set_ticks(ticks, labels=[f"{tick}" for tick in ticks])
    bar.minorticks_off()


def _draw_residuals(axes: Axes, table: xr.Dataset) -> None:
    """Draw mean and spread of model minus data in the layers of the grid that have cells."""
    edges = cell_edges(table["depth"].values, 0.0)
    layer = np.clip(np.searchsorted(edges, table["cell_depth"].values, side="right") - 1, 0, edges.size - 2)
    residual = (table["modelled_D14C"] - table["observed_D14C"]).values
    layers = np.unique(layer)
    depth = table["depth"].values[layers]
    mean, spread = (np.array([measure(residual[layer == n]) for n in layers]) for measure in (np.mean, np.std))
    axes.fill_betweenx(depth, mean - spread, mean + spread, color=BLUE, alpha=0.16, linewidth=0)
    axes.plot(mean, depth, "o-", color=BLUE, markersize=3.5, linewidth=1.5)
    axes.axvline(0.0, color=INK, linewidth=0.7)
    depth_axis(axes, float(edges[-1]))
    _label(axes, "mean by layer ± 1 s.d.", _units("model minus data", table["modelled_D14C"]), "depth (m)")


def _parabola(scale: np.ndarray, misfit: np.ndarray, best: float, error: float, at: np.ndarray) -> np.ndarray:
    """Parabola a + b (scale - best)^2 of least weighted squares, evaluated at some scales.

    The weights let every trial say as much about b as any other, and those within the error about a.
    """
    square = (scale - best) ** 2
    weight = 1.0 / (square + error**2)
    (lowest, bend), *_ = np.linalg.lstsq(weight[:, None] * np.stack([np.ones_like(square), square], 1), weight * misfit)
    return lowest + bend * (at - best) ** 2


def _basins(table: xr.Dataset, wet: xr.DataArray) -> dict[str, np.ndarray]:
    """The whole ocean and the first basins of the table that hold water: masks [latitude, longitude]."""
    order = ("latitude", "longitude")
    surface = wet.transpose(*order).values
    masks = {
        str(name).removeprefix("basin_").replace("_", " ").capitalize(): mask.transpose(*order).values.astype(bool)
        for name, mask in table.data_vars.items()
        if str(name).startswith("basin_")
    }
    found = [(name, mask) for name, mask in masks.items() if np.any(mask & surface)]
    return {"Global": np.ones(surface.shape, bool)} | dict(found[:MOST_BASINS])


def _require(table: xr.Dataset, *variables: str, name: str = "transient") -> None:
    """Refuse a table that lacks what a figure draws."""
    missing = [variable for variable in variables if variable not in table]
    if missing:
        raise InputError(f"Table '{name}': no {', '.join(missing)}; this figure draws {', '.join(variables)}.")


def _date(snapshot: xr.Dataset) -> str:
    """Decimal year of a snapshot, to a tenth where it is not whole."""
    return f"{round(float(snapshot['snapshot']), 1):g}"


def _units(text: str, field: xr.DataArray) -> str:
    """Join a label and the units of a field, with the signs of micro and per mille."""
    return with_units(text, field.attrs["units"]).replace("uatm", "µatm").replace("permil", "‰")


def _label(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Name panel and axes, and draw a faint grid."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title)
    axes.grid(color=INK, alpha=0.1, linewidth=0.5)
    axes.set_axisbelow(True)
