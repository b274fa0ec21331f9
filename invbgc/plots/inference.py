"""Figures of the fit itself: agreement with data, convergence, parameters, correlations, eigen-directions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from invbgc.plots.style import (
    BLUE,
    DENSITY,
    DIFFERENCE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    colour_bar,
    house_style,
    new_figure,
    with_units,
)


def volume_r2(observed: np.ndarray, model: np.ndarray, volume: np.ndarray) -> float:
    """Fraction of the volume-weighted spatial variance that the model explains.

    R2 = 1 - sum v (model - observed)^2 / sum v (observed - mean)^2

    Args:
        observed: [m] in any unit.
        model: [m], same unit.
        volume: [m] m3.

    Returns:
        R2; negative where the mean of the data does better than the model.
    """
    weight = volume / volume.sum()
    variance = np.sum(weight * (observed - np.sum(weight * observed)) ** 2)
    return float(1 - np.sum(weight * (model - observed) ** 2) / variance)


def joint_density(panels: Sequence[tuple[str, np.ndarray, np.ndarray, np.ndarray, str]]) -> Figure:
    """Draw the joint distribution of observed and modelled concentrations, by ocean volume on a log scale.

    Args:
        panels: tracer, observed [m], model [m], volume [m] m3, units; one panel each.

    Returns:
        The figure; each panel states R2 weighted by volume.
    """
    with house_style():
        figure = new_figure(10.5, 3.1)
        grid = figure.subplots(1, len(panels), squeeze=False)[0]
        mesh = None
        for axes, (name, observed, model, volume, units) in zip(grid, panels, strict=True):
            low, high = np.percentile(np.concatenate([observed, model]), (0.2, 99.8))
            pad = 0.04 * (high - low)
            edges = np.linspace(low - pad, high + pad, 61)
            share, *_ = np.histogram2d(observed, model, bins=(edges, edges), weights=100 * volume / volume.sum())
            mesh = axes.pcolormesh(
                edges, edges, np.ma.masked_equal(share.T, 0), cmap=DENSITY, norm=LogNorm(1e-3, 3), rasterized=True
            )
            axes.plot(edges[[0, -1]], edges[[0, -1]], color=ORANGE, linewidth=0.9)
            axes.set_box_aspect(1)
            axes.set_xlim(edges[0], edges[-1])
            axes.set_ylim(edges[0], edges[-1])
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_title(name)
            axes.set_xlabel(with_units("data", units))
            axes.text(
                0.05,
                0.95,
                f"$R^2$ = {volume_r2(observed, model, volume):.2f}\nn = {observed.size:,}",
                transform=axes.transAxes,
                va="top",
                fontsize=8,
            )
        grid[0].set_ylabel("model (same unit)")
        if mesh is not None:
            bar = figure.colorbar(mesh, ax=list(grid), shrink=0.62, aspect=18, pad=0.01, extend="both")
            bar.set_label("% of observed volume per cell")
    return figure


def convergence(value: np.ndarray, gradient_norm: np.ndarray, gtol: float | None = None) -> Figure:
    """Draw how the misfit and its gradient fall with the iterations.

    Args:
        value: f at each iteration.
        gradient_norm: largest component of the gradient at each iteration.
        gtol: the tolerance asked for, drawn as a line.

    Returns:
        The figure.
    """
    iteration = np.arange(len(value))
    excess = np.asarray(value, dtype=float) - np.nanmin(value)
    with house_style():
        figure = new_figure(10.5, 2.9)
        left, right = figure.subplots(1, 2)
        shown = excess > 0
        left.semilogy(iteration[shown], excess[shown], "o-", color=BLUE, markersize=3.5, linewidth=1.2)
        left.set_title(f"misfit above its smallest value, $f_{{min}}$ = {np.nanmin(value):.6g}")
        left.set_ylabel("$f - f_{min}$")
        right.semilogy(iteration, gradient_norm, "o-", color=GREEN, markersize=3.5, linewidth=1.2)
        right.set_title("largest component of the gradient")
        right.set_ylabel("max |g|")
        if gtol is not None:
            right.axhline(gtol, color=GREY, linewidth=0.9, linestyle="--")
            right.text(0, gtol, " tolerance", va="bottom", fontsize=8, color=GREY)
        for axes in (left, right):
            axes.set_xlabel("iteration")
            axes.set_xlim(-0.3, max(len(value) - 0.7, 1))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(color=INK, alpha=0.1, linewidth=0.5)
    return figure


def parameter_figure(
    labels: Sequence[str],
    estimate: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    published: np.ndarray,
    initial: np.ndarray,
    truth: np.ndarray | None = None,
    z_score: np.ndarray | None = None,
) -> Figure:
    """Draw the parameters as ratios to their published values and, for a twin, the distance from the truth.

    Args:
        labels: one per parameter [p].
        estimate: [p] in parameter units.
        lower: [p] length of the error bar downwards; none is drawn where it is NaN or infinite.
        upper: [p] length upwards.
        published: [p] values of Wang et al. (2023).
        initial: [p] start values.
        truth: [p] true values of an identical twin; NaN or None otherwise.
        z_score: [p] (estimate - truth) / standard deviation, in the fitted coordinates.

    Returns:
        The figure.
    """
    twin = truth is not None and z_score is not None and bool(np.any(np.isfinite(truth)))
    rows = np.arange(len(labels))
    with house_style():
        figure = new_figure(10.5 if twin else 8.0, 0.235 * len(labels) + 1.2)
        grid = figure.subplots(1, 2, sharey=True, width_ratios=(1.7, 1)) if twin else [figure.subplots()]
        axes = grid[0]
        _draw_ratio(axes, rows, initial / published, "o", GREY, "start", hollow=True)
        if twin and truth is not None:
            _draw_ratio(axes, rows, truth / published, "D", GREEN, "truth")
        bars = np.nan_to_num(np.abs(np.stack([lower, upper]) / published), posinf=0.0)
        bars = np.minimum(bars, np.array([[0.95], [np.inf]]) * np.abs(estimate / published))
        axes.errorbar(
            estimate / published,
            rows,
            xerr=bars,
            fmt="none",
            ecolor=BLUE,
            elinewidth=1.3,
            capsize=2.5,
            zorder=4,
        )
        _draw_ratio(axes, rows, estimate / published, "o", BLUE, "estimate ± 1σ")
        axes.axvline(1, color=PURPLE, linewidth=1, label="published", zorder=1)
        axes.set_xscale("log")
        axes.set_xticks([0.1, 0.2, 0.5, 1, 2, 5, 10])
        axes.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(0.08, 14)
        axes.set_yticks(rows, labels)
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_xlabel("ratio to the published value (markers at the frame lie outside it)")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=4)
        if twin and z_score is not None:
            _draw_z_scores(grid[1], rows, z_score)
        for part in grid:
            part.grid(color=INK, alpha=0.1, linewidth=0.5)
            part.set_axisbelow(True)
    return figure


def correlation_matrix(labels: Sequence[str], correlation: np.ndarray) -> Figure:
    """Draw the posterior correlations of the parameters.

    Args:
        labels: one per parameter [p].
        correlation: [p, p] between -1 and 1.

    Returns:
        The figure; strong correlations carry their value.
    """
    size = len(labels)
    shown = np.ma.masked_where(np.triu(np.ones((size, size), bool)), correlation)
    with house_style():
        figure = new_figure(7.0, 6.6)
        axes = figure.subplots()
        mesh = axes.pcolormesh(
            np.arange(size + 1),
            np.arange(size + 1),
            shown,
            cmap=DIFFERENCE,
            norm=Normalize(-1, 1),
            edgecolors="white",
            linewidth=0.6,
        )
        for row, column in zip(*np.nonzero(np.abs(np.tril(correlation, -1)) > 0.5), strict=True):
            value = correlation[row, column]
            axes.text(
                column + 0.5,
                row + 0.5,
                f"{value:.1f}".replace("0.", ".").replace("-", "−"),
                ha="center",
                va="center",
                fontsize=6.5,
                color="white" if abs(value) > 0.65 else INK,
            )
        axes.set_xticks(np.arange(size) + 0.5, labels, rotation=90)
        axes.set_yticks(np.arange(size) + 0.5, labels)
        axes.set_ylim(size, 0)
        axes.set_aspect("equal")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        colour_bar(figure, mesh, [axes], "posterior correlation", shrink=0.6)
    return figure


def eigen_directions(labels: Sequence[str], values: np.ndarray, directions: np.ndarray, count: int = 3) -> Figure:
    """Draw the best and the worst constrained combinations of parameters.

    Args:
        labels: one per parameter [p].
        values: eigenvalues of the Hessian [p].
        directions: eigenvectors in the columns [p, p].
        count: how many at each end.

    Returns:
        The figure: the spectrum, then bars of the parameters that make up each direction.
    """
    order = np.argsort(values)
    chosen = [*order[:count], *order[::-1][:count][::-1]] if len(order) > 2 * count else list(order)
    with house_style():
        figure = new_figure(10.5, 4.6)
        spectrum, *rest = figure.subplots(1, 1 + len(chosen), width_ratios=[1.5] + [1] * len(chosen))
        positive = values[order] > 0
        spectrum.semilogy(np.flatnonzero(positive) + 1, values[order][positive], "o", color=BLUE, markersize=4)
        spectrum.set_title("eigenvalues")
        spectrum.set_xlabel("rank")
        spectrum.set_ylabel("curvature of the misfit")
        spectrum.grid(color=INK, alpha=0.1, linewidth=0.5)
        for place, (axes, index) in enumerate(zip(rest, chosen, strict=True)):
            vector = directions[:, index] * np.sign(directions[np.argmax(np.abs(directions[:, index])), index])
            axes.barh(np.arange(len(labels)), vector, color=np.where(vector > 0, BLUE, ORANGE), height=0.72)
            axes.set_ylim(len(labels) - 0.4, -0.6)
            axes.set_xlim(-1.05, 1.05)
            axes.set_xticks([-1, 0, 1])
            axes.axvline(0, color=INK, linewidth=0.6)
            axes.set_yticks(np.arange(len(labels)), labels if place == 0 else [])
            axes.tick_params(axis="y", length=0, labelsize=7.5)
            kind = "loose" if place < len(chosen) // 2 else "stiff"
            axes.set_title(f"{kind}\n{values[index]:.1e}", fontsize=8)
    return figure


def _draw_ratio(
    axes: Axes, rows: np.ndarray, ratio: np.ndarray, marker: str, colour: str, label: str, hollow: bool = False
) -> None:
    """Draw ratios on the log axis; those outside it become arrow heads at the frame."""
    inside = (ratio > 0.08) & (ratio < 14)
    face = "white" if hollow else colour
    axes.plot(
        ratio[inside], rows[inside], marker, color=colour, markerfacecolor=face, markersize=4.5, label=label, zorder=3
    )
    below = ratio <= 0.08
    above = ratio >= 14
    axes.plot(
        np.full(below.sum(), 0.084), rows[below], "<", color=colour, markerfacecolor=face, markersize=4.5, zorder=3
    )
    axes.plot(
        np.full(above.sum(), 13.3), rows[above], ">", color=colour, markerfacecolor=face, markersize=4.5, zorder=3
    )


def _draw_z_scores(axes: Axes, rows: np.ndarray, z_score: np.ndarray) -> None:
    for width, alpha in ((3, 0.06), (2, 0.08), (1, 0.12)):
        axes.axvspan(-width, width, color=GREEN, alpha=alpha, linewidth=0)
    limit = max(4.0, 1.15 * float(np.nanmax(np.abs(z_score), initial=0)))
    axes.hlines(rows, 0, np.nan_to_num(z_score), color=BLUE, linewidth=1.2)
    axes.plot(z_score, rows, "o", color=BLUE, markersize=4.5)
    axes.axvline(0, color=INK, linewidth=0.7)
    axes.set_xlim(-limit, limit)
    axes.set_xlabel("distance from the truth (σ)")
