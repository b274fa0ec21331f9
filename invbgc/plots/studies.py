"""Figures of studies of many fits: coverage of twins, members and draws, who constrains what, fits to fewer tracers."""

from textwrap import fill

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from invbgc.diagnostics.published import PUBLISHED
from invbgc.plots.maps import draw_map
from invbgc.plots.posterior import (
    colour_of,
    draw_density,
    draw_normal,
    expected_counts,
    label_axes,
    name_rows,
    one_legend,
    panel_grid,
)
from invbgc.plots.style import (
    BLUE,
    DIFFERENCE,
    GREY,
    INK,
    PURPLE,
    colour_bar,
    field_style,
    from_zero,
    house_style,
    new_figure,
    unit_text,
    with_units,
)

QUANTITIES = {
    "poc_export": "POC export", "semilabile_export": "semi-labile DOC export", "labile_export": "labile DOC export",
    "toc_export": "TOC export", "toc_export_100m": "TOC export at 100 m", "longer_than_1_yr": "kept longer than 1 yr",
}  # fmt: skip
"""Main numbers of the carbon cycle, all of them published, with their labels in figures."""

MOST_RATIO = 10.0
"""Ratio of a refitted parameter up to which it is drawn, either way."""


def coverage_figure(coverage: xr.Dataset) -> Figure:
    """Draw how often intervals hold the truth of twins.

    Args:
        coverage: of twins.

    Returns:
        A panel per probability: the coverage of each parameter, a colour per kind of error bar, with the stated
        probability and two binomial standard deviations; the legend holds the coverage over all parameters.
    """
    names, methods = coverage["parameter"].values, coverage["method"].values
    rows = np.arange(names.size)
    with house_style():
        figure = new_figure(10.5, 0.24 * names.size + 1.3)
        panels = figure.subplots(1, coverage.sizes["interval"], sharey=True, squeeze=False)[0]
        for axes, level, error in zip(
            panels, coverage["interval"].values, coverage["expected_error"].values, strict=True
        ):
            axes.axvspan(100 * (level - 2 * error), 100 * (level + 2 * error), color=GREY, alpha=0.2, linewidth=0)
            axes.axvline(100 * level, color=INK, linewidth=0.9)
            for number, method in enumerate(methods):
                at = coverage.sel({"method": method, "interval": level})
                label = f"{str(method).replace('_', ' ')}: {100 * float(at['pooled_coverage']):.0f} % pooled"
                at_rows = rows + _shift(number, methods.size)
                axes.plot(100 * at["coverage"], at_rows, "o", color=colour_of(number), markersize=4, label=label)
            label_axes(
                axes,
                f"{100 * level:.0f} % intervals of {coverage.attrs['twins']} twins",
                "intervals that hold the truth (%)",
            )
            axes.set_xlim(right=102)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.5 / (0.24 * names.size)), ncols=2)
        name_rows(panels[0], names)
    return figure


def rank_histograms(coverage: xr.Dataset) -> Figure:
    """Draw where the truths of twins rank in their posteriors.

    Args:
        coverage: of twins.

    Returns:
        A panel per kind of error bar: counts of ranks over all parameters, with the level of equal counts and two
        standard deviations of the counts of independent ranks.
    """
    methods = coverage["method"].values
    with house_style():
        figure, panels = panel_grid(methods.size, max(methods.size, 3), 2.7)
        for number, (axes, method) in enumerate(zip(panels, methods, strict=True)):
            count = coverage["rank_count"].sel({"method": method}).sum("parameter").values
            edges = np.linspace(0.0, 1.0, count.size + 1)
            axes.stairs(count, edges, fill=True, color=colour_of(number), alpha=0.55)
            expected_counts(axes, int(count.sum()), count.size)
            label_axes(axes, str(method).replace("_", " "), "rank of the truth", "" if number else "truths")
            axes.set(xlim=(0, 1), ylim=(0, None))
    return figure


def member_figure(members: xr.Dataset) -> Figure:
    """Draw the main numbers of the carbon cycle member by member.

    Args:
        members: of an ensemble of structure.

    Returns:
        A panel per number: each member with its own standard deviation, the mean with the standard deviation between
        members as a band, and the published value with its spread.
    """
    names = [fill(str(name).removeprefix("member_"), 34) for name in members["member"].values]
    rows = np.arange(len(names))
    with house_style():
        figure, panels = _quantity_panels(members, 0.24 * len(names) + 1.1)
        for place, (axes, quantity) in enumerate(panels):
            at = members.sel(quantity=quantity)
            mean, between = float(at["mean"]), float(at["between_sd"].fillna(0.0))
            axes.axvspan(mean - between, mean + between, color=BLUE, alpha=0.14, linewidth=0, label="between members")
            axes.axvline(mean, color=BLUE, linewidth=1.1, label="mean")
            _draw_published(axes, quantity)
            look = {"color": INK, "markersize": 4, "capsize": 2, "label": "member ± 1 s.d."}
            axes.errorbar(at["value"].values, rows, xerr=at["error"].values, fmt="o", **look)
            name_rows(axes, names if place % 3 == 0 else [""] * len(names))
        one_legend(figure, *(axes for axes, _ in panels))
    return figure


def draws_figure(draws: xr.Dataset) -> Figure:
    """Draw how the main numbers of the carbon cycle spread over draws of the parameters.

    Args:
        draws: of an ensemble of parameters.

    Returns:
        A panel per number: density of the draws, the normal curve of their mean and the linear error bar, and the
        published value with its spread.
    """
    with house_style():
        figure, panels = _quantity_panels(draws, 2.2)
        for axes, quantity in panels:
            at = draws.sel(quantity=quantity)
            values, mean, error = at["value"].values, float(at["mean"]), float(at["linear_error"])
            draw_density(axes, values, float(values.min()), float(values.max()))
            if np.isfinite(error):
                draw_normal(axes, mean, error, "linear error bar")
            _draw_published(axes, quantity)
            axes.set(yticks=[], ylim=(0, None))
        one_legend(figure, *(axes for axes, _ in panels))
    return figure


def influence_shares(influence: xr.Dataset) -> Figure:
    """Draw whose errors cause the variance of each number.

    Args:
        influence: of the observations; its numbers after the last with a unit are parameters.

    Returns:
        Bars of the shares of the tracers, and of the prior as the rest: left numbers of the carbon cycle, right
        parameters.
    """
    shares, units = influence["variance_share"].transpose("scalar", "tracer"), influence["unit"].values.astype(str)
    first = int(np.flatnonzero(units != "1").max(initial=-1)) + 1
    parts = [part for part in (shares[:first], shares[first:]) if part.sizes["scalar"]]
    with house_style():
        most = max(part.sizes["scalar"] for part in parts)
        figure = new_figure(10.5, 0.22 * most + 1.1)
        panels = figure.subplots(1, len(parts), squeeze=False)[0]
        for axes, part in zip(panels, parts, strict=True):
            rows, begin = np.arange(part.sizes["scalar"]), np.zeros(part.sizes["scalar"])
            for number, tracer in enumerate(part["tracer"].values):
                width = 100 * np.maximum(part.sel(tracer=tracer).values, 0.0)
                axes.barh(rows, width, left=begin, height=0.75, color=colour_of(number), label=tracer)
                begin = begin + width
            axes.barh(rows, 100 - begin, left=begin, height=0.75, color=GREY, alpha=0.35, label="prior")
            axes.set_xlim(0, 100)
            label_axes(axes, "", "share of the variance (%)")
            name_rows(axes, [QUANTITIES.get(str(name), str(name)) for name in part["scalar"].values])
            axes.set_ylim(bottom=most - 0.4)
        one_legend(figure, panels[0])
    return figure


def influence_maps(influence: xr.Dataset, scalar: str = "toc_export") -> Figure:
    """Draw where the observations lie that constrain a number.

    Args:
        influence: of the observations.
        scalar: name of the number.

    Returns:
        A map per tracer on one scale: root of the summed squares, down each column, of the influence of an observation
        times its error; where there are no observations the ocean is pale.
    """
    at = influence.sel(scalar=scalar)
    fields = {str(tracer): at[f"weight_{tracer}"] for tracer in at["tracer"].values}
    norm = from_zero(np.concatenate([field.where(field > 0.0).values.ravel() for field in fields.values()]))
    with house_style():
        figure, panels = panel_grid(len(fields), min(3, len(fields)), 2.3)
        colours = field_style("poc_export").colours
        meshes = []
        for axes, (tracer, field) in zip(panels, fields.items(), strict=True):
            meshes.append(draw_map(axes, field.where(field > 0.0), field.notnull(), colours, norm))
            axes.set_title(f"{tracer}: {100 * float(at['variance_share'].sel(tracer=tracer)):.0f} % of the variance")
        label = f"change of {QUANTITIES.get(scalar, scalar)} by the errors of a column"
        colour_bar(figure, meshes[-1], panels, with_units(label, at["unit"].item()), shrink=0.5)
    return figure


def refit_figure(refits: xr.Dataset) -> Figure:
    """Draw what fits to fewer tracers lose, and how they move the parameters.

    Args:
        refits: of a fit.

    Returns:
        Left: R2 by volume of each tracer, coloured by its change from the whole fit, fitted tracers with a dot. Right:
        parameters over those of the whole fit, frozen ones hollow; arrow heads at the frame lie outside it.
    """
    done = refits["converged"].values.astype(bool)
    labels = [str(name).replace("_", " ") for name in refits["refit"].values]
    labels = [label if well else f"{label}, not converged" for label, well in zip(labels, done, strict=True)]
    ratios = (refits["estimate"] / refits["whole_estimate"]).transpose("refit", "parameter").values
    moved = np.exp(np.abs(np.log(ratios[ratios > 0.0])))
    high = float(np.clip(1.2 * np.quantile(moved, 0.95), 1.2, MOST_RATIO))
    low = 1.0 / high
    with house_style():
        figure = new_figure(10.5, max(0.26 * refits.sizes["parameter"] + 1.2, 3.0))
        left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.2))
        _draw_skill(left, refits, ["whole fit", *labels])
        for number, (label, ratio) in enumerate(zip(labels, ratios, strict=True)):
            rows = np.arange(ratio.size) + _shift(number, len(labels))
            frozen = refits["frozen"].isel(refit=number).values.astype(bool)
            marks = np.where(ratio < low, "<", np.where(ratio > high, ">", "o"))
            for place in np.flatnonzero(np.isfinite(ratio)):
                face = "white" if frozen[place] else colour_of(number)
                at = np.clip(ratio[place], low, high)
                right.plot(at, rows[place], marks[place], color=colour_of(number), mfc=face, ms=3.5, clip_on=False)
            right.plot([], [], "o", color=colour_of(number), ms=3.5, label=label)
        right.plot([], [], "o", color=INK, mfc="white", ms=3.5, label="frozen")
        right.axvline(1.0, color=INK, linewidth=0.9)
        right.set(xscale="log", xlim=(low, high))
        ticks = (0.1, 0.2, 0.5, 1, 2, 5, 10) if high > 2.5 else (0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2)
        shown = [tick for tick in ticks if low <= tick <= high]
        right.set_xticks(shown, [f"{tick:g}" for tick in shown])
        right.minorticks_off()
        label_axes(right, "parameters", "ratio to the whole fit")
        name_rows(right, refits["parameter"].values)
        one_legend(figure, right)
    return figure


def _draw_skill(axes: Axes, refits: xr.Dataset, labels: list[str]) -> None:
    """Draw R2 of the whole fit and of the refits as numbers in cells, coloured by what they gain or lose."""
    pair = ("refit", "tracer")
    score, whole, fitted = (refits[n].transpose(*pair).values for n in ("skill_R2_volume", "whole_R2_volume", "fitted"))
    change = np.concatenate([np.zeros_like(whole[:1]), score - whole])
    limit = float(np.clip(np.nanmax(np.abs(change)), 0.05, 0.5))
    axes.imshow(change.clip(-limit, limit), cmap=DIFFERENCE, norm=Normalize(-1.6 * limit, 1.6 * limit), aspect="auto")
    kept = np.concatenate([np.ones_like(fitted[:1]), fitted])
    for (row, column), value in np.ndenumerate(np.concatenate([whole[:1], score])):
        text = f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
        axes.text(column, row, text.replace("-", "−"), ha="center", va="center", fontsize=8)
        if kept[row, column] == 1:
            axes.plot(column - 0.38, row - 0.32, "o", color=INK, markersize=3)
    axes.set_xticks(np.arange(whole.shape[1]), refits["tracer"].values)
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.tick_params(length=0)
    axes.set_title("$R^2$ by volume; dot: fitted")


def _quantity_panels(table: xr.Dataset, height: float) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A panel for each of the main numbers that a table holds."""
    names = [name for name in QUANTITIES if name in table["quantity"].values]
    figure, panels = panel_grid(len(names), 3, height)
    for axes, name in zip(panels, names, strict=True):
        label_axes(axes, QUANTITIES[name], unit_text(str(table["unit"].sel(quantity=name).item())))
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return figure, list(zip(panels, names, strict=True))


def _draw_published(axes: Axes, quantity: str) -> None:
    """Draw the published value of one of the main numbers with its spread."""
    value, spread = PUBLISHED[quantity]
    axes.axvspan(value - (spread or 0.0), value + (spread or 0.0), color=PURPLE, alpha=0.14, linewidth=0)
    axes.axvline(value, color=PURPLE, linewidth=1.1, linestyle="--", label="published ± spread")


def _shift(number: int, of: int) -> float:
    """Place of one of several markers within a row."""
    return 0.7 * ((number + 0.5) / of - 0.5)
