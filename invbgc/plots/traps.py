"""Figures of sediment traps: exponents and their distributions, C:P with depth, regions, and theory."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy.stats import gaussian_kde

from invbgc.plots.style import BLUE, GREEN, GREY, INK, LAND, ORANGE, PURPLE, house_style, new_figure, with_units
from invbgc.storage import REDFIELD, Storage, flux_ratio, pco2_of_ratio
from invbgc.traps.smooth import Smooth
from invbgc.traps.table import Table

_COLOURS = (ORANGE, BLUE, GREEN, PURPLE)
_REGION_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#e69f00", "#56b4e9", GREY)
_LINES = ("solid", "dashed", "dotted", "dashdot")


def distributions(fits: xr.Dataset, published: Mapping[str, float] | None = None) -> Figure:
    """Draw the distributions of exponents, a violin and a box for each element, a panel for each way of fitting.

    Args:
        fits: as from `invbgc.traps.martin.exponents`.
        published: element -> median to mark.

    Returns:
        Violins are Gaussian kernel densities (bandwidth of Silverman's rule), cut at the data; boxes hold half of the
        profiles, whiskers 95 %.
    """
    with house_style():
        count = fits.sizes["fit"]
        figure = new_figure(2.3 * count + 0.6, 3.6)
        panels = np.atleast_1d(figure.subplots(1, count, sharey=True))
        elements = [str(name) for name in fits["element"].values]
        for axes, fit in zip(panels, fits["fit"].values.astype(str), strict=True):
            for place, element in enumerate(elements):
                _violin(axes, place, fits["b"].sel(fit=fit, element=element).to_numpy(), _colour(place))
                if published and element in published:
                    axes.plot(place, published[element], "*", color=INK, markersize=9, zorder=4, label="published")
            axes.set_xticks(range(len(elements)), elements)
            axes.set_title({"free": "log-linear", "forced": "through the first trap"}.get(fit, fit))
            axes.axhline(0.0, color=GREY, linewidth=0.6)
        panels[0].set_ylabel("exponent b of the flux")
        values = fits["b"].to_numpy()
        low, high = np.nanpercentile(values, [0.5, 99.5])
        panels[0].set_ylim(min(low, 0.0) - 0.3, high + 0.5)
        if published:
            panels[0].legend(*(part[:1] for part in panels[0].get_legend_handles_labels()), loc="upper left")
    return figure


def _violin(axes: Axes, place: float, values: np.ndarray, colour: str) -> None:
    values = values[np.isfinite(values)]
    quartiles = np.percentile(values, [25.0, 50.0, 75.0])
    spread = min(values.std(ddof=1), (quartiles[2] - quartiles[0]) / 1.34) or values.std(ddof=1)
    if spread > 0.0:
        density = gaussian_kde(values, 0.9 * spread * len(values) ** -0.2 / values.std(ddof=1))
        at = np.linspace(values.min(), values.max(), 300)
        width = 0.38 * density(at) / density(at).max()
        axes.fill_betweenx(at, place - width, place + width, color=colour, alpha=0.35, linewidth=0.0)
    look = {"linewidth": 1.0, "color": INK}
    axes.bxp(
        [{"med": quartiles[1], "q1": quartiles[0], "q3": quartiles[2], "whislo": np.percentile(values, 2.5),
          "whishi": np.percentile(values, 97.5), "fliers": []}],
        positions=[place], widths=0.13, showfliers=False, boxprops=look, whiskerprops=look, capprops=look,
        medianprops={"color": colour, "linewidth": 2.0},
    )  # fmt: skip


def series(
    fits: xr.Dataset, smooth: Mapping[str, Smooth], fit: str = "free", pooled: xr.Dataset | None = None
) -> Figure:
    """Draw exponents against time, with a smooth curve and its band.

    Args:
        fits: as from `invbgc.traps.martin.exponents`, with `time`.
        smooth: element -> its curve, with the 95 % band.
        fit: which exponents.
        pooled: as from `invbgc.traps.hierarchical.pooled_exponents`: its exponents, drawn towards each other, and the
            95 % range of its mean.

    Returns:
        A panel for each element.
    """
    with house_style():
        elements = [str(name) for name in fits["element"].values]
        figure = new_figure(7.2, 2.2 * len(elements) + 0.3)
        panels = np.atleast_1d(figure.subplots(len(elements), 1, sharex=True))
        time = fits["time"].to_numpy()
        for place, (axes, element) in enumerate(zip(panels, elements, strict=True)):
            colour, chosen = _colour(place), fits.sel(fit=fit, element=element)
            b, error = chosen["b"].to_numpy(), chosen["b_error"].to_numpy()
            axes.errorbar(time, b, error, fmt="o", ms=2.5, color=colour, elinewidth=0.5, alpha=0.45, label="profiles")
            curve = smooth[element]
            axes.fill_between(curve.at, *curve.band, color=colour, alpha=0.25, linewidth=0.0)
            axes.plot(curve.at, curve.value, color=colour, label="LOESS, 95 % band")
            if pooled is not None:
                draws = pooled.sel(element=element)
                low, high = draws["center"].quantile([0.025, 0.975], ("chain", "draw")).to_numpy()
                axes.plot(time, draws["b"].mean(("chain", "draw")), ".", color=INK, ms=3.5, label="pooled")
                for edge in (low, high):
                    axes.plot(time, edge, color=INK, linewidth=0.7, linestyle="dashed")
            axes.set_ylabel(f"exponent of {element}")
            spread = np.percentile(b, [1.0, 99.0])
            axes.set_ylim(spread[0] - 0.6, spread[1] + 0.6)
            axes.axhline(0.0, color=GREY, linewidth=0.6)
        panels[0].legend(ncols=3, loc="upper right")
        panels[-1].set_xlabel("year")
    return figure


def choices(table: Table, published: Mapping[str, float]) -> Figure:
    """Draw the medians of all choices of an analysis, and the published ones.

    Args:
        table: as from `invbgc.traps.choices.all_choices`.
        published: medians of C and P.

    Returns:
        b_C against b_P, coloured by the replicates used, marked by the fit.
    """
    marks = {"free": "o", "forced": "s", "nonlinear": "^"}
    with house_style():
        figure = new_figure(5.4, 4.4)
        axes = figure.subplots()
        for colour, (values, part) in zip(_REGION_COLOURS, table.groupby("values", sort=False), strict=False):
            for fit, group in part.groupby("fit", sort=False):
                label = str(values) if fit == part["fit"].iloc[0] else None
                axes.scatter(
                    group["b_P"],
                    group["b_C"],
                    s=16,
                    color=colour,
                    marker=marks[str(fit)],
                    alpha=0.55,
                    label=label,
                    lw=0,
                )
        axes.plot(published["P"], published["C"], "*", color=INK, ms=13, label="published")
        ends = np.array([table["b_P"].min(), table["b_P"].max()])
        gap = published["P"] - published["C"]
        axes.plot(ends, ends - gap, color=GREY, linewidth=0.8, label=f"difference of {gap:.2f}")
        for fit, mark in marks.items():
            axes.scatter([], [], s=16, color=GREY, marker=mark, label=f"{fit} fit", lw=0)
        axes.set(xlabel="median exponent of P", ylabel="median exponent of C")
        axes.legend(fontsize=7)
    return figure


def ratio_profile(
    depth: ArrayLike,
    c_to_p: ArrayLike,
    groups: Sequence[str],
    b_P: float,
    surface_ratio: float,
    b_C: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.46, 1.75),
    start: float = 100.0,
) -> Figure:
    """Draw C:P of fluxes against depth, over the fan that theory draws for exponents of carbon.

    Args:
        depth: [n] m.
        c_to_p: [n] mol per mol.
        groups: [n] names, such as regions; empty ones are called "elsewhere".
        b_P: exponent of the phosphorus flux.
        surface_ratio: C:P at `start`, mol per mol.
        b_C: exponents of the lines, each labelled at its foot.
        start: depth where the lines begin, m.

    Returns:
        Depth is logarithmic, as the power laws are.
    """
    depths, values = np.asarray(depth, float), np.asarray(c_to_p, float)
    with house_style():
        figure = new_figure(5.0, 4.6)
        axes = figure.subplots()
        z = np.geomspace(start, max(2.0 * start, float(depths.max()) * 1.15), 100)
        for exponent in b_C:
            line = np.asarray(flux_ratio(z, exponent, b_P, surface_ratio, start))
            axes.plot(line, z, color=GREY, linewidth=0.9, zorder=1)
            axes.annotate(f"{exponent:g}", (line[-1], z[-1]), ha="center", va="top", rotation=90, fontsize=7,
                          color=GREY, xytext=(0, -2), textcoords="offset points")  # fmt: skip
        names = np.array([str(name) or "elsewhere" for name in groups])
        for place, name in enumerate(dict.fromkeys(names)):
            here = names == name
            axes.scatter(values[here], depths[here], s=18, color=_REGION_COLOURS[place % 7],
                         alpha=0.7, lw=0, label=name, zorder=3)  # fmt: skip
        if np.unique(depths).size < len(depths) / 5:  # repeated depths: the scatter alone would hide the centre
            levels = np.unique(depths)
            centre = [np.median(values[depths == level]) for level in levels]
            axes.plot(centre, levels, "D-", color=INK, ms=4, lw=1.0, label="medians", zorder=4)
        low, high = np.percentile(values, [1.0, 99.0])
        axes.set(xscale="log", yscale="log", xlabel="C:P of the particle flux (mol per mol)", ylabel="depth (m)")
        axes.set_xlim(min(low, 60.0) * 0.8, max(high, 800.0) * 1.2)
        axes.set_ylim(z[-1] * 1.15, start * 0.9)
        _plain_ticks(axes, (50, 100, 200, 500, 1000, 2000), (100, 150, 200, 300, 500, 1000, 2000, 4000))
        axes.legend(fontsize=7, loc="lower left", title=f"lines: b_C, with b_P = {b_P:.3g}", title_fontsize=7)
    return figure


def _plain_ticks(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    for axis, ticks, limits in ((axes.xaxis, x, axes.get_xlim()), (axes.yaxis, y, sorted(axes.get_ylim()))):
        inside = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
        axis.set_ticks(inside, [f"{tick:g}" for tick in inside])
        axis.set_ticks([], minor=True)


def theory(lines: xr.Dataset, storage: Storage | None = None, marked: Mapping[str, float] | None = None) -> Figure:
    """Draw what theory says of C:P, stored carbon and pCO2.

    Args:
        lines: as from `invbgc.storage.theory_lines`.
        storage: the constants of the lines.
        marked: name -> b_C that is marked on the lines of the middle horizon.

    Returns:
        Left: C:P of regeneration against b_C, for each depth of regeneration. Right: pCO2 and stored carbon against C:P
        (figure 3 of Tanioka et al. 2021), with the limit of full regeneration at the Redfield ratio.
    """
    storage = storage or Storage()
    with house_style():
        figure = new_figure(8.0, 3.6)
        left, right = figure.subplots(1, 2)
        middle = lines.sizes["horizon"] // 2
        for place, horizon in enumerate(lines["horizon"].to_numpy()):
            line = lines.sel(horizon=horizon)
            left.plot(line["b_C"], line["respired_ratio"], color=BLUE, linestyle=_LINES[place % 4],
                      label=f"regeneration above {horizon:g} m")  # fmt: skip
        ratios = np.linspace(80.0, float(lines["respired_ratio"].max()), 200)
        right.plot(ratios, pco2_of_ratio(ratios, storage), color=BLUE, label="pCO2")
        right.axhline(
            float(pco2_of_ratio(REDFIELD, storage.fully_regenerated)), color=GREY, linestyle="dashed", linewidth=0.9,
            label=f"all phosphate regenerated at {REDFIELD:g}",
        )  # fmt: skip
        for name, exponent in (marked or {}).items():
            at = float(np.interp(exponent, lines["b_C"], lines["respired_ratio"].isel(horizon=middle)))
            left.plot(exponent, at, "o", color=ORANGE)
            right.plot(at, float(pco2_of_ratio(at, storage)), "o", color=ORANGE)
            for axes, x, y in ((left, exponent, at), (right, at, float(pco2_of_ratio(at, storage)))):
                axes.annotate(name, (x, y), xytext=(6, 5), textcoords="offset points", fontsize=7)
        left.axvline(float(lines.attrs["b_P"]), color=GREY, linewidth=0.7)
        left.annotate("b_C = b_P", (float(lines.attrs["b_P"]), 0.03), xycoords=("data", "axes fraction"), fontsize=7,
                      xytext=(-3, 0), textcoords="offset points", ha="right", color=GREY)  # fmt: skip
        left.set(xlabel="exponent of the carbon flux, b_C", ylabel="C:P of regeneration (mol per mol)")
        right.set(xlabel="C:P of regeneration (mol per mol)", ylabel=with_units("atmospheric pCO2", "uatm"))
        left.legend()
        right.legend()
    return figure


def region_map(regions: xr.DataArray, latitude: Sequence[float] = (), longitude: Sequence[float] = ()) -> Figure:
    """Draw the regions of a phosphate climatology, and traps in them.

    Args:
        regions: as from `invbgc.traps.regions.phosphate_regions`.
        latitude: [n] of traps, degrees north.
        longitude: [n] of traps, degrees east.

    Returns:
        A map, a colour for each region.
    """
    import matplotlib as mpl
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    with house_style():
        names = [str(name) for name in np.unique(regions) if name]
        number = np.full(regions.shape, np.nan)
        for place, name in enumerate(names):
            number[regions.to_numpy() == name] = place
        colours = [mpl.colormaps["tab20"](place % 20) for place in range(len(names))]
        figure = new_figure(8.0, 3.8)
        axes = figure.subplots()
        axes.set_facecolor(LAND)
        axes.pcolormesh(regions["longitude"], regions["latitude"], number, cmap=ListedColormap(colours),
                        vmin=-0.5, vmax=len(names) - 0.5, rasterized=True)  # fmt: skip
        west = float(regions["longitude"].min())
        axes.plot((np.asarray(longitude, float) - west) % 360.0 + west, latitude, "o", ms=3.5, color=INK, mec="white",
                  mew=0.5)  # fmt: skip
        axes.set(xlabel="longitude (degrees east)", ylabel="latitude (degrees north)")
        figure.legend(
            handles=[Patch(color=colour, label=name) for colour, name in zip(colours, names, strict=True)],
            loc="outside right center", fontsize=7,
        )  # fmt: skip
    return figure


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]
