"""Curves of the biological pump: flux with depth, sequestration times, community production, and data beside them."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from invbgc.diagnostics.compare import LAWS, band_means
from invbgc.diagnostics.published import PUBLISHED
from invbgc.diagnostics.sequestration import THRESHOLDS
from invbgc.plots.sections import ocean_basins
from invbgc.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    house_style,
    new_figure,
    with_units,
)

PUBLISHED_LONGER = {years: PUBLISHED[f"longer_than_{years:g}_yr"] for years in THRESHOLDS}
"""Respiration that stays below the surface longer than some years: Pg C yr-1 and standard deviation."""

POOLS = {
    "POC": ("particles", ORANGE),
    "DOC": ("semi-labile DOC", BLUE),
    "DOCl": ("labile DOC", GREEN),
    "DOCr": ("refractory DOC", PURPLE),
}
"""Respired pools: label and colour."""

KINDS = {"trap": ("sediment traps", "o"), "ncp": ("net community production", "D")}
"""Kinds of observations: label and marker."""

LAW_COLOURS = dict(zip(LAWS, (BLUE, GREEN), strict=True))
"""Colour of each law of the sinking flux."""

BOX_FROM = 5
"""Observations of a group from which a box plot stands for them."""

_DEPTH_CLASS = 1.15  # observations within 15 per cent of depth are drawn as one group
_DEPTHS = (50, 100, 200, 500, 1000, 2000, 5000)
_YOUNGEST = 1e-2  # years, where the axes of sequestration time begin


def profiles_figure(station_table: xr.Dataset, comparison: xr.Dataset | None = None) -> Figure:
    """Draw the flux of particulate organic carbon against depth at stations, beside what sediment traps caught.

    Args:
        station_table: result of ``station_table``.
        comparison: result of ``compare_fluxes``; traps of the same station names are drawn: error bars of one standard
            deviation, or a box plot where five or more lie within 15 per cent of depth.

    Returns:
        One panel for each station, both axes logarithmic: the continuous law with one standard deviation of the boxes
        around, and the flux of the model's own scheme. The content of Fig. 2 of Wang et al. (2023).
    """
    stations = [str(name) for name in station_table["station"].values]
    columns = min(3, len(stations))
    rows = -(-len(stations) // columns)
    with house_style():
        figure = new_figure(3.5 * columns, 2.9 * rows + 0.4)
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
        for axes in grid[len(stations) :]:
            axes.set_visible(False)
        for axes, name in zip(grid, stations, strict=False):
            here = station_table.sel(station=name)
            depth = here["depth"].values
            for law, colour in LAW_COLOURS.items():
                flux, spread = here[f"poc_flux_{law}"].values, here[f"poc_flux_{law}_sd"].values
                low, high = flux - spread, flux + spread
                axes.plot(flux, depth, color=colour, linewidth=1.5, label=f"model, {law} ± 1 s.d. of 3 × 3 boxes")
                axes.fill_betweenx(depth, np.maximum(low, 0.02 * flux), high, color=colour, alpha=0.16, linewidth=0)
            if comparison is not None:
                chosen = (comparison["station"].values == name) & (comparison["kind"].values == "trap")
                _draw_traps(axes, comparison.isel(observation=chosen))
            axes.set_title(name)
            axes.set_xscale("log")
            _log_depth(axes)
            _rules(axes)
        units = station_table["poc_flux_continuous"].attrs["units"]
        for number, axes in enumerate(grid[: len(stations)]):
            _plain_numbers(axes.xaxis)
            axes.label_outer()
            if number + columns >= len(stations):
                axes.tick_params(labelbottom=True)
                axes.set_xlabel(with_units("POC flux", units))
            if number % columns == 0:
                axes.set_ylabel("depth (m)")
        found = [axes.get_legend_handles_labels() for axes in grid[: len(stations)]]
        legend = {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=4)
    return figure


def sequestration_figure(sequestration: xr.Dataset) -> Figure:
    """Draw how much respired carbon stays below the surface longer than a time, its density, and the stock it makes.

    Args:
        sequestration: result of ``sequestration``.

    Returns:
        Three panels against the logarithm of time, pool by pool and in total, from 0.01 years: respiration that stays
        longer, with the published totals at 3 months, 1 and 3 years; respiration per unit of the logarithm; stock of
        respired carbon, with the steady solution as lines. The content of Fig. 5 of Wang et al. (2023).
    """
    shown = sequestration.isel(time=sequestration["time"].values >= _YOUNGEST)
    time = shown["time"].values
    quantities = {
        "production_longer": ("respiration that stays longer", "respiration"),
        "density_log_time": ("respiration per unit of ln(time)", "density"),
        "stock": ("stock of respired carbon", "stock"),
    }
    with house_style():
        figure = new_figure(10.5, 3.7)
        panels = figure.subplots(1, 3)
        for axes, (name, (title, label)) in zip(panels, quantities.items(), strict=True):
            for pool, (text, colour) in POOLS.items():
                axes.plot(time, shown[name].sel(pool=pool), color=colour, linewidth=1.3, label=text)
            axes.plot(time, shown[name].sum("pool"), color=INK, linewidth=1.7, label="total")
            axes.set_title(title)
            axes.set_ylabel(with_units(label, shown[name].attrs["units"]))
            axes.set_xscale("log")
            axes.set_xlim(_YOUNGEST, time[-1])
            axes.set_xticks([1e-2, 1e-1, 1, 10, 100, 1e3, 1e4], ["0.01", "0.1", "1", "10", "100", "1000", "10⁴"])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("time below the surface (yr)")
            _rules(axes)
        for axes in panels[:2]:
            for threshold in PUBLISHED_LONGER:
                axes.axvline(threshold, color=GREY, linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
        years, published = np.array(list(PUBLISHED_LONGER)), np.array(list(PUBLISHED_LONGER.values()))
        panels[0].errorbar(
            years, published[:, 0], yerr=published[:, 1], fmt="D", color=INK, markerfacecolor="white", markersize=4.5,
            capsize=2.5, elinewidth=1.1, zorder=5, label="total, Wang et al. (2023)",
        )  # fmt: skip
        for threshold, text in zip(PUBLISHED_LONGER, ("3 months", "1 yr", "3 yr"), strict=True):
            panels[0].annotate(
                text, (threshold, 1.0), xycoords=("data", "axes fraction"), xytext=(1.5, -2),
                textcoords="offset points", rotation=90, ha="left", va="top", fontsize=7, color=GREY,
            )  # fmt: skip
        direct = sequestration["stock_direct"]
        for pool, (_, colour) in POOLS.items():
            panels[2].axhline(float(direct.sel(pool=pool)), color=colour, linewidth=0.8, linestyle=":")
        panels[2].axhline(
            float(direct.sum("pool")), color=INK, linewidth=0.8, linestyle=":", label="stock by steady solution"
        )
        for axes in panels:
            axes.set_ylim(bottom=0.0)
        found = [axes.get_legend_handles_labels() for axes in panels]
        legend = {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=len(legend))
    return figure


def community_production_figure(
    export: xr.Dataset,
    mixed_layer_flux: xr.Dataset | None = None,
    comparison: xr.Dataset | None = None,
    basins: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draw the export of total organic carbon by latitude, basin by basin, beside net community production.

    Args:
        export: result of ``carbon_export``.
        mixed_layer_flux: result of ``flux_at_mixed_layer``; without it the base of the euphotic zone stands alone.
        comparison: result of ``compare_fluxes``, of which the net community production is drawn.
        basins: masks [latitude, longitude]; the North Atlantic and the Pacific when absent, or all water where neither
            is.

    Returns:
        One panel for each basin: means over bands of 10 degrees with one standard deviation in space, at the base of
        the euphotic zone and of the maximum mixed layer. The content of Extended Data Fig. 7 of Wang et al. (2023).
    """
    wet = export["wet"].astype(bool)
    if basins is None:
        found = ocean_basins(wet)
        north = export["latitude"].values[:, None] > 0.0
        basins = {"North Atlantic": found["Atlantic"] & north, "Pacific": found["Pacific"]}
    basins = {name: mask for name, mask in basins.items() if np.any(mask & wet.values)} or {"ocean": wet.values}
    levels = {"base of the euphotic zone": (export["toc_export"], GREY)}
    if mixed_layer_flux is not None:
        levels["base of the maximum mixed layer"] = mixed_layer_flux["toc_flux_continuous"], BLUE
    lowest = 0.0
    with house_style():
        figure = new_figure(10.5, 3.7)
        grid = figure.subplots(1, len(basins), sharey=True, squeeze=False)[0]
        for axes, (name, mask) in zip(grid, basins.items(), strict=True):
            for label, (field, colour) in levels.items():
                means = band_means(field, export["area"], mask)
                latitude, mean, spread = (means[key].values for key in ("latitude", "mean", "sd"))
                axes.fill_between(latitude, mean - spread, mean + spread, color=colour, alpha=0.16, linewidth=0)
                axes.plot(latitude, mean, "o-", color=colour, markersize=3.5, linewidth=1.5, label=f"{label} ± 1 s.d.")
            if comparison is not None:
                inside = (comparison["kind"].values == "ncp") & _inside(comparison, export, mask)
                if inside.any():
                    here = comparison.isel(observation=inside)
                    _draw_community_production(axes, here)
                    lowest = min(lowest, float((here["observed"] - here["observed_error"].fillna(0.0)).min()))
            axes.set_title(name)
            axes.set_xlabel("latitude")
            ticks = np.arange(-80, 81, 20)
            axes.set_xticks(ticks, [f"{abs(tick)}°{'S' if tick < 0 else 'N' if tick > 0 else ''}" for tick in ticks])
            rows = export["latitude"].values[mask.any(axis=1)]
            axes.set_xlim(10.0 * np.floor(rows.min() / 10.0), 10.0 * np.floor(rows.max() / 10.0) + 10.0)
            _rules(axes)
        grid[0].set_ylim(bottom=1.05 * lowest)
        grid[0].set_ylabel(with_units("total organic carbon export", export["toc_export"].attrs["units"]))
        found = [axes.get_legend_handles_labels() for axes in grid]
        legend = {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3)
    return figure


def comparison_figure(comparison: xr.Dataset) -> Figure:
    """Draw modelled against observed fluxes, and their ratio station by station.

    Args:
        comparison: result of ``compare_fluxes``.

    Returns:
        Both fluxes on logarithmic axes, with the line of agreement and a band of a factor of two; the ratios by station
        and kind, as points, or as a box plot where there are five or more.
    """
    station, kinds = comparison["station"].values, comparison["kind"].values
    observed, error = comparison["observed"].values, comparison["observed_error"].values
    units = comparison["observed"].attrs["units"]
    groups = list(dict.fromkeys(zip(station, kinds, strict=True)))
    drawn: list[float] = []
    with house_style():
        figure = new_figure(10.5, max(4.6, 0.36 * len(groups) + 1.6))
        left, right = figure.subplots(1, 2)
        for law, colour in LAW_COLOURS.items():
            model, spread, ratio = (comparison[name].sel(law=law).values for name in ("model", "model_sd", "ratio"))
            for kind, (label, marker) in KINDS.items():
                chosen = (kinds == kind) & (observed > 0.0) & (model > 0.0)
                if not chosen.any():
                    continue
                left.errorbar(
                    observed[chosen], model[chosen], xerr=_bars(observed, error)[:, chosen],
                    yerr=_bars(model, spread)[:, chosen], fmt=marker, color=colour, markersize=5, elinewidth=0.7,
                    ecolor=(colour, 0.4), markeredgecolor="white", markeredgewidth=0.5, label=f"{label}, {law} law",
                    zorder=3,
                )  # fmt: skip
                drawn += [*observed[chosen], *model[chosen]]
            for row, (name, kind) in enumerate(groups):
                here = ratio[(station == name) & (kinds == kind) & (ratio > 0.0)]
                at = row + (0.18 if law == LAWS[1] else -0.18)
                _points_or_box(right, here, at, 0.26, colour, KINDS[kind][1])
        ends = np.array([0.4 * min(drawn), 2.5 * max(drawn)]) if drawn else np.array([0.1, 10.0])
        left.plot(ends, ends, color=INK, linewidth=0.9)
        left.fill_between(ends, 0.5 * ends, 2.0 * ends, color=INK, alpha=0.07, linewidth=0)
        left.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        left.set_box_aspect(1)
        left.set_xlabel(with_units("observed flux of carbon", units))
        left.set_ylabel(with_units("model flux of carbon", units))
        left.set_title("flux, ± 1 s.d.")
        right.axvspan(0.5, 2.0, color=INK, alpha=0.07, linewidth=0)
        right.axvline(1.0, color=INK, linewidth=0.9)
        right.set_xscale("log")
        right.set_xlabel("model over observed")
        right.set_title("ratio; boxes: quartiles, lines: 5 to 95 %")
        short = {"trap": "traps", "ncp": "NCP"}
        right.set_yticks(range(len(groups)), [f"{name}, {short[kind]}" for name, kind in groups])
        right.set_ylim(len(groups) - 0.5, -0.5)
        for axis in (left.xaxis, left.yaxis, right.xaxis):
            _plain_numbers(axis)
        for axes in (left, right):
            _rules(axes)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_community_production(axes: Axes, observations: xr.Dataset) -> None:
    """Draw net community production at its latitudes, with the errors that are known."""
    label, marker = KINDS["ncp"]
    axes.errorbar(
        observations["latitude"].values, observations["observed"].values,
        yerr=np.nan_to_num(observations["observed_error"].values), fmt=marker, color=ORANGE, markersize=5,
        elinewidth=1.0, capsize=2, label=label, zorder=4,
    )  # fmt: skip


def _draw_traps(axes: Axes, traps: xr.Dataset) -> None:
    """Draw traps at their depths: error bars, or a box plot for a group."""
    depth, flux = traps["depth"].values, traps["observed"].values
    group = np.round(np.log(depth) / np.log(_DEPTH_CLASS))
    for number in np.unique(group):
        here = group == number
        if here.sum() >= BOX_FROM:
            at = float(np.median(depth[here]))
            _points_or_box(axes, flux[here], at, 0.16 * at, ORANGE, "o", KINDS["trap"][0])
        else:
            bars = _bars(flux, traps["observed_error"].values)[:, here]
            axes.errorbar(
                flux[here], depth[here], xerr=bars, fmt="o", color=ORANGE, markersize=4, elinewidth=0.9,
                markeredgecolor="white", markeredgewidth=0.4, label=KINDS["trap"][0], zorder=4,
            )  # fmt: skip


def _points_or_box(
    axes: Axes, values: np.ndarray, at: float, width: float, colour: str, marker: str, label: str | None = None
) -> None:
    """Draw values along x at a height: as points, or where there are many as quartiles and a line from 5 to 95 %."""
    if values.size < BOX_FROM:
        axes.plot(values, np.full(values.size, at), marker, color=colour, markersize=4, label=label)
        return
    low, first, median, third, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    axes.hlines(at, low, high, color=colour, linewidth=1.0)
    axes.barh(
        at, third - first, left=first, height=width, color=colour, alpha=0.45, edgecolor=colour, linewidth=0.8,
        label=label, zorder=3,
    )  # fmt: skip
    axes.vlines(median, at - 0.5 * width, at + 0.5 * width, color=INK, linewidth=1.4, zorder=4)


def _bars(values: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Lengths of error bars [2, n] that end above zero on a logarithmic axis; none where the error is not known."""
    length = np.nan_to_num(spread)
    return np.stack([np.clip(length, 0.0, 0.95 * np.abs(values)), length])


def _inside(places: xr.Dataset, maps: xr.Dataset, mask: np.ndarray) -> np.ndarray:
    """True for the observations whose box lies in a mask [latitude, longitude]."""
    row = np.abs(maps["latitude"].values - places["latitude"].values[:, None]).argmin(axis=1)
    apart = (maps["longitude"].values - places["longitude"].values[:, None] + 180.0) % 360.0 - 180.0
    return mask[row, np.abs(apart).argmin(axis=1)]


def _log_depth(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.set_yticks(_DEPTHS, [f"{depth}" for depth in _DEPTHS])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(6000.0, 60.0)


def _plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with plain numbers: at powers of ten, and at their double and fivefold on short axes."""
    low, high = axis.get_view_interval()
    decades = abs(np.log10(high / low))
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 1.7 else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
    axis.set_minor_formatter(NullFormatter())


def _rules(axes: Axes) -> None:
    axes.grid(color=INK, alpha=0.1, linewidth=0.5)
    axes.set_axisbelow(True)
