"""Figures of a posterior: its Gaussian, its chains, and the errors of the observations; with their common pieces."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from invbgc.plots.sections import depth_axis
from invbgc.plots.style import (
    BLUE,
    DENSITY,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    house_style,
    new_figure,
)

MOST_PAIRS = 4
"""Pairs of parameters that are drawn."""

COLUMNS = 7
"""Panels in a row where there is one per parameter."""

_COLOURS = (BLUE, ORANGE, PURPLE, GREEN, "#e69f00", GREY)


def rank_plots(chains: xr.Dataset) -> Figure:
    """Draw how the draws of each chain rank among those of all.

    Args:
        chains: draws in optimiser coordinates, a variable (chain, draw) per parameter.

    Returns:
        A panel per parameter: counts of ranks, a line per chain, with the level of equal counts and two standard
        deviations of the counts of independent draws.
    """
    length, total = chains.sizes["draw"], chains.sizes["chain"] * chains.sizes["draw"]
    bins = int(np.clip(length // 25, 5, 20))
    with house_style():
        figure, panels = panel_grid(len(chains.data_vars), COLUMNS, 1.35)
        for axes, (name, draws) in zip(panels, chains.data_vars.items(), strict=True):
            values = draws.transpose("chain", "draw").values
            rank = (values.ravel().argsort().argsort().reshape(values.shape) + 0.5) / total
            for number, row in enumerate(rank):
                count, edges = np.histogram(row, bins, (0.0, 1.0))
                look = {"color": colour_of(number), "linewidth": 1.1, "label": f"chain {number}"}
                axes.stairs(count, edges, baseline=None, **look)
            expected_counts(axes, length, bins)
            axes.set(xlim=(0, 1), ylim=(0, 2.2 * length / bins), xticks=[0, 1])
            axes.set_title(str(name), fontsize=8)
        _outer_labels(panels, "rank", "draws")
        one_legend(figure, panels[0])
    return figure


def marginals(
    unconstrained: xr.Dataset,
    gaussian: xr.Dataset,
    importance: xr.Dataset | None = None,
    truth: xr.DataArray | None = None,
) -> Figure:
    """Draw the marginal densities of sampled parameters against those of the Gaussian.

    Args:
        unconstrained: draws in optimiser coordinates, a variable (chain, draw) per parameter.
        gaussian: Laplace's approximation, with x and standard_deviation (parameter).
        importance: weighted draws, of which mean and standard deviation are drawn.
        truth: coordinates (parameter) that made the data of a twin.

    Returns:
        A panel per parameter, in standard deviations of the Gaussian from its centre.
    """
    with house_style():
        figure, panels = panel_grid(len(unconstrained.data_vars), COLUMNS, 1.4)
        for axes, (name, draws) in zip(panels, unconstrained.data_vars.items(), strict=True):
            at = gaussian[["x", "standard_deviation"]].sel(parameter=name)
            centre, spread = float(at["x"]), float(at["standard_deviation"])
            true = np.nan if truth is None else (float(truth.sel(parameter=name)) - centre) / spread
            z = (draws.values.ravel() - centre) / spread
            limit = float(np.nanmax(np.abs([4.0, *np.quantile(z, (0.002, 0.998)), 1.1 * true])))
            draw_density(axes, z, -limit, limit)
            draw_normal(axes, 0.0, 1.0, "Gaussian")
            if importance is not None:
                moments = importance[["mean", "standard_deviation"]].sel(parameter=name)
                mean, bar = (float(moments["mean"]) - centre) / spread, float(moments["standard_deviation"]) / spread
                axes.errorbar(
                    mean, 0.04, xerr=bar, fmt="o", color=ORANGE, markersize=3, capsize=2, label="weighted ± 1 s.d."
                )
            if np.isfinite(true):
                axes.axvline(true, color=GREEN, linewidth=1.3, label="truth")
            axes.set(xlim=(-limit, limit), yticks=[], ylim=(0, None))
            axes.set_title(str(name), fontsize=8)
        _outer_labels(panels, "distance (s.d.)", "density")
        one_legend(figure, panels[0])
    return figure


def pairs(unconstrained: xr.Dataset, names: list[str]) -> Figure:
    """Draw the pairs of parameters whose joint distribution is furthest from a Gaussian.

    Args:
        unconstrained: draws in optimiser coordinates, a variable (chain, draw) per parameter.
        names: parameters among which pairs are sought.

    Returns:
        Counts of the standardised draws z of the pairs with the largest third-order co-moment |E[z_i z_j^2]|, which is
        zero for a Gaussian; j along x.
    """
    draws = np.array([unconstrained[name].values.ravel() for name in names])
    z = (draws - draws.mean(axis=1, keepdims=True)) / draws.std(axis=1, keepdims=True)
    moment = z @ (z**2).T / z.shape[1]
    size = np.abs(moment - np.diag(np.diag(moment)))
    bent = np.where(size >= size.T, size, 0.0)  # of (i, j) and (j, i), the larger one
    chosen = [divmod(int(k), len(names)) for k in np.argsort(-bent, axis=None) if bent.flat[k] > 0.0][:MOST_PAIRS]
    with house_style():
        figure, panels = panel_grid(len(chosen), MOST_PAIRS, 2.4)
        for axes, (i, j) in zip(panels, chosen, strict=True):
            axes.hexbin(z[j], z[i], gridsize=28, cmap=DENSITY, mincnt=1, linewidths=0.1)
            axes.set_box_aspect(1)
            value = f"{moment[i, j]:+.2f}".replace("-", "−")
            label_axes(axes, f"third co-moment {value}", f"{names[j]} (s.d.)", f"{names[i]} (s.d.)")
            axes.title.set_fontsize(8)
    return figure


def contraction_figure(contraction: xr.Dataset, importance: xr.Dataset | None = None) -> Figure:
    """Draw how much narrower than its prior each parameter is.

    Args:
        contraction: prior and posterior standard deviations.
        importance: weighted draws, whose standard deviations are drawn as well.

    Returns:
        Bars of posterior over prior standard deviation; of the posterior one alone, in grey, where the prior is flat.
    """
    prior, names = contraction["prior_sd"].values, contraction["parameter"].values
    flat, rows = ~np.isfinite(prior), np.arange(names.size)
    unit = np.where(flat, 1.0, prior)
    ratio = contraction["posterior_sd"].values / unit
    finite = ratio[np.isfinite(ratio) & (ratio > 0.0)]
    left, right = 10.0 ** np.floor(np.log10(finite.min())), max(1.5, 1.5 * finite.max())
    with house_style():
        figure = new_figure(7.2, 0.22 * names.size + 1.2)
        axes = figure.subplots()
        for kind, colour, label in ((~flat, BLUE, "posterior over prior"), (flat, GREY, "posterior alone, flat prior")):
            if kind.any():
                ends = np.minimum(ratio[kind], right)  # an infinite one ends at the frame
                axes.barh(rows[kind], ends - left, left=left, height=0.7, color=colour, label=label)
        if importance is not None:
            weighted = importance["standard_deviation"].sel(parameter=names).values / unit
            axes.plot(weighted, rows, "o", color=ORANGE, markersize=4, label="from weighted draws")
        axes.axvline(1.0, color=INK, linewidth=0.9)
        axes.set(xscale="log", xlim=(left, right))
        label_axes(axes, "", "posterior over prior standard deviation")
        name_rows(axes, names)
        one_legend(figure, axes)
    return figure


def asymmetry_figure(asymmetry: xr.Dataset) -> Figure:
    """Draw how skew the posterior is along the eigen-directions of its Gaussian.

    Args:
        asymmetry: third derivatives of -ln p.

    Returns:
        Bars, the loosest direction on top; where a point had no steady state there is none.
    """
    order = np.argsort(asymmetry["eigenvalue"].values)
    third = asymmetry["third_derivative"].values[order]
    names = [str(name).replace("-", "−") for name in asymmetry["direction_name"].values[order]]
    with house_style():
        figure = new_figure(8.2, 0.22 * third.size + 1.1)
        axes = figure.subplots()
        axes.barh(np.arange(third.size), np.nan_to_num(third), height=0.7, color=np.where(third > 0, BLUE, ORANGE))
        axes.axvline(0.0, color=INK, linewidth=0.9)
        limit = 1.1 * float(np.nanmax(np.abs(third), initial=0.1))
        axes.set_xlim(-limit, limit)
        label_axes(axes, "", "third derivative of −ln p, unit variance (minus the skewness)")
        name_rows(axes, names)
    return figure


def errors_figure(errors: xr.Dataset) -> Figure:
    """Draw how large the errors of the observations are, or how many observations count as independent.

    Args:
        errors: of an error model.

    Returns:
        Bars per tracer: independent and smooth error in percent of the tracer's spread, with the correlation lengths
        of the smooth one, and the smooth one by depth; where the model has no smooth error, observed boxes and
        independent observations.
    """
    ticks, kind = [str(tracer) for tracer in errors["tracer"].values], str(errors.attrs["error_model"])
    structured = "smooth_error" in errors
    names = ("independent_error", "smooth_error") if structured else ("boxes", "number")
    labels = ("independent", "smooth") if structured else ("observed boxes", "counted as independent")
    with house_style():
        figure = new_figure(10.4 if structured else 7.2, 3.4)
        axes, *by_depth = figure.subplots(1, 2, width_ratios=[3, 2]) if structured else [figure.subplots()]
        for name, label, colour, shift in zip(names, labels, (BLUE, ORANGE), (-0.2, 0.2), strict=True):
            height = errors[name].values * (100 if structured else 1)
            axes.bar(np.arange(len(ticks)) + shift, height, 0.38, color=colour, label=label)
        if structured:
            lengths = zip(ticks, errors["horizontal_scale"].values, errors["depth_scale"].values, strict=True)
            named = [f"{tracer}\n{1e-3 * along:.0f} km\n{down:g} (z + 100 m)" for tracer, along, down in lengths]
        elif "horizontal_scale" in errors:
            lengths = zip(ticks, errors["horizontal_scale"].values, errors["vertical_scale"].values, strict=True)
            named = [f"{tracer}\n{1e-3 * along:.0f} km\n{down:.0f} m" for tracer, along, down in lengths]
        else:
            named = ticks
        axes.set_xticks(np.arange(len(ticks)), named, fontsize=8)
        if not structured:
            axes.set_yscale("log")
        label_axes(axes, f"error model: {kind.replace('_', ' ')}", "", "% of the spread" if structured else "number")
        axes.legend()
        for panel in by_depth:
            for tracer, profile, colour in zip(ticks, errors["smooth_profile"].values, _COLOURS, strict=False):
                panel.plot(100 * profile, errors["depth"].values, color=colour, marker="o", markersize=3, label=tracer)
            panel.set_xlim(left=0.0)
            depth_axis(panel, float(errors["depth"].max()))
            label_axes(panel, "smooth error by depth", "% of the spread", "depth (m)")
            panel.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _outer_labels(panels: list[Axes], x: str, y: str) -> None:
    """Label the left-most and lowest panels of a grid, and the numbers of y on the left alone."""
    for place, axes in enumerate(panels):
        axes.tick_params(labelsize=7, labelleft=place % COLUMNS == 0)
        axes.set_ylabel("" if place % COLUMNS else y, fontsize=8)
        axes.set_xlabel(x if place + COLUMNS >= len(panels) else "", fontsize=8)


def panel_grid(count: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Make a figure of panels in rows; places that are left over stay empty.

    Args:
        count: number of panels.
        columns: panels in a row.
        height: of a row, inches.

    Returns:
        The figure and its panels.
    """
    rows = -(-count // columns)
    figure = new_figure(10.5, height * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.remove()
    return figure, list(grid[:count])


def label_axes(axes: Axes, title: str, x: str = "", y: str = "") -> None:
    """Name a panel and its axes, and draw a faint grid."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title)
    axes.grid(color=INK, alpha=0.1, linewidth=0.5)
    axes.set_axisbelow(True)


def name_rows(axes: Axes, names: Sequence[str] | np.ndarray) -> None:
    """Name the rows 0, 1, ... of a panel, the first on top."""
    axes.set_yticks(np.arange(len(names)), [str(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def one_legend(figure: Figure, *panels: Axes) -> None:
    """Draw one legend for all panels, below them, with each label once."""
    found = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for parts in found for handle, label in zip(*parts, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(len(handles), 6))


def expected_counts(axes: Axes, number: int, bins: int) -> None:
    """Draw the count per bin of numbers spread evenly over bins, and two binomial standard deviations."""
    level, spread = number / bins, 2.0 * np.sqrt(number * (1.0 - 1.0 / bins) / bins)
    axes.axhspan(level - spread, level + spread, color=GREY, alpha=0.25, linewidth=0, label="uniform ± 2 s.d.")
    axes.axhline(level, color=INK, linewidth=0.7)


def draw_density(axes: Axes, values: np.ndarray, low: float, high: float) -> None:
    """Draw the density of draws as a histogram from low to high; what lies beyond counts as well."""
    count, edges = np.histogram(values, int(np.clip(np.sqrt(values.size), 8, 40)), (low, high))
    axes.stairs(count / values.size / np.diff(edges), edges, fill=True, color=BLUE, alpha=0.35, label="draws")


def draw_normal(axes: Axes, mean: float, deviation: float, label: str) -> None:
    """Draw the density of a normal distribution up to four standard deviations from its mean."""
    z = np.linspace(-4.0, 4.0, 201)
    height = np.exp(-0.5 * z**2) / (deviation * np.sqrt(2.0 * np.pi))
    axes.plot(mean + deviation * z, height, color=INK, linewidth=0.9, label=label)


def colour_of(number: int) -> str:
    """Colour of one of several kinds, told apart from its neighbours."""
    return _COLOURS[number % len(_COLOURS)]
