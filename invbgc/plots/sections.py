"""Zonal-mean sections and mean profiles, basin by basin, model beside data."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure

from invbgc.plots.maps import cell_edges
from invbgc.plots.style import (
    DIFFERENCE,
    INK,
    LAND,
    ORANGE,
    UNOBSERVED,
    colour_bar,
    field_style,
    house_style,
    new_figure,
    robust_range,
    symmetric_range,
    unit_text,
    with_units,
)

_DEPTH_TICKS = (0, 200, 500, 1000, 2000, 3000, 4000, 5000)
_DEPTH_POWER = 0.6  # stretches the upper ocean, where most of the gradients are


def ocean_basins(wet: xr.DataArray) -> dict[str, np.ndarray]:
    """Divide the open ocean south of 66 N by meridians and isthmuses, for grids that bring no basin masks.

    Args:
        wet: bool (latitude, longitude) of the surface.

    Returns:
        Masks [latitude, longitude] of the Atlantic, Pacific and Indian Ocean; the part between the Americas follows
        a staircase along Central America, that between Asia and Australia the Indonesian arc.
    """
    longitude, latitude = np.meshgrid(wet["longitude"].values % 360.0, wet["latitude"].values)
    america = np.select(
        [latitude < 9, latitude < 14, latitude < 17, latitude < 22], [291.0, 276.0, 271.0, 262.0], default=258.0
    )
    atlantic = (longitude >= america) | (longitude < np.where(latitude < 30, 20.0, 42.0))
    sunda = np.select([latitude < -30, latitude < -8, latitude < 8], [147.0, 131.0, 106.0], default=99.0)
    indian = ~atlantic & (longitude < sunda) & (latitude < 31)
    open_ocean = wet.transpose("latitude", "longitude").values.astype(bool) & (latitude < 66)
    masks = {"Atlantic": atlantic, "Pacific": ~(atlantic | indian), "Indian": indian}
    return {name: mask & open_ocean for name, mask in masks.items()}


def zonal_mean(field: xr.DataArray, volume: xr.DataArray, mask: np.ndarray) -> xr.DataArray:
    """Average along longitude, weighted by box volume.

    Args:
        field: (depth, latitude, longitude); NaN boxes do not count.
        volume: same shape, m3.
        mask: bool [latitude, longitude].

    Returns:
        (depth, latitude), NaN where no box counts.
    """
    here = field.notnull() & xr.DataArray(mask, dims=("latitude", "longitude"))
    weight = volume.where(here, 0.0).sum("longitude")
    total = (field * volume).where(here, 0.0).sum("longitude")
    return (total / weight.where(weight > 0)).transpose("depth", "latitude")


def compare_sections(
    model: xr.DataArray,
    observed: xr.DataArray,
    volume: xr.DataArray,
    name: str,
    basins: Mapping[str, np.ndarray] | None = None,
) -> Figure:
    """Draw zonal means of model, data and their difference, one row for each basin.

    The difference is averaged over the observed boxes only, so that gaps in the data do not look like misfit.

    Args:
        model: (depth, latitude, longitude), with attribute ``units``, NaN on land.
        observed: same shape, NaN where unobserved.
        volume: same shape, m3.
        name: tracer.
        basins: masks [latitude, longitude]; ``ocean_basins`` when absent.

    Returns:
        The figure.
    """
    look, units = field_style(name), model.attrs.get("units", "")
    wet = model.notnull()
    basins = basins if basins is not None else ocean_basins(wet.isel(depth=0))
    means = {
        basin: (
            zonal_mean(model, volume, mask),
            zonal_mean(observed, volume, mask),
            zonal_mean(model - observed, volume, mask),
        )
        for basin, mask in basins.items()
        if np.any(mask)
    }
    norm = robust_range(*(mean.values for triple in means.values() for mean in triple[:2]))
    gap = symmetric_range(*(triple[2].values for triple in means.values()))
    with house_style():
        figure = new_figure(10.5, 1.75 * len(means) + 0.9)
        grid = figure.subplots(len(means), 3, squeeze=False, sharex=True, sharey=True)
        mesh: list[QuadMesh] = []
        for row, (basin, triple) in zip(grid, means.items(), strict=True):
            looks = ((look.colours, norm), (look.colours, norm), (DIFFERENCE, gap))
            titles = (f"{basin}, model", f"{basin}, data", f"{basin}, model minus data")
            mesh = [
                draw_section(axes, mean, means[basin][0], *how)
                for axes, mean, how in zip(row, triple, looks, strict=True)
            ]
            for axes, title in zip(row, titles, strict=True):
                axes.set_title(title)
            row[0].set_ylabel("depth (m)")
        colour_bar(figure, mesh[0], list(grid[:, :2].flat), with_units(look.label, units), shrink=0.5)
        colour_bar(figure, mesh[2], list(grid[:, 2]), with_units("model minus data", units), shrink=0.8)
    return figure


def profiles(fields: Mapping[str, tuple[xr.DataArray, xr.DataArray]], volume: xr.DataArray) -> Figure:
    """Draw mean profiles of model and data over the observed boxes of each layer, with the spread of the data.

    Args:
        fields: (model, observed) by tracer, each (depth, latitude, longitude) with attribute ``units``.
        volume: same shape, m3.

    Returns:
        The figure.
    """
    with house_style():
        figure = new_figure(10.5, 3.6)
        grid = figure.subplots(1, len(fields), sharey=True, squeeze=False)[0]
        for axes, (name, (model, observed)) in zip(grid, fields.items(), strict=True):
            weight = volume.where(observed.notnull() & model.notnull(), 0.0)
            total = weight.sum(("latitude", "longitude"))
            weight = weight / total.where(total > 0)
            mean = (weight * observed.fillna(0)).sum(("latitude", "longitude"), min_count=1)
            spread = np.sqrt((weight * (observed - mean).fillna(0) ** 2).sum(("latitude", "longitude"), min_count=1))
            simulated = (weight * model.fillna(0)).sum(("latitude", "longitude"), min_count=1)
            depth = model["depth"].values
            axes.fill_betweenx(depth, mean - spread, mean + spread, color=INK, alpha=0.12, linewidth=0)
            axes.plot(mean, depth, color=INK, linewidth=1.4, label="data ± 1 s.d. in space")
            axes.plot(simulated, depth, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 1.2)), label="model")
            axes.set_title(name)
            axes.set_xlabel(unit_text(model.attrs.get("units", "")))
            axes.grid(color=INK, alpha=0.1, linewidth=0.5)
        depth_axis(grid[0], float(cell_edges(volume["depth"].values, 0)[-1]))
        grid[0].set_ylabel("depth (m)")
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def draw_section(axes: Axes, mean: xr.DataArray, ocean: xr.DataArray, colours: Colormap, norm: Normalize) -> QuadMesh:
    """Draw one section.

    Args:
        axes: where to draw.
        mean: (depth, latitude); NaN in rock and where unobserved.
        ocean: the same, NaN in rock only.
        colours: colour map.
        norm: colour range.

    Returns:
        The mesh, for a colour bar.
    """
    latitude = cell_edges(mean["latitude"].values, -90, 90)
    depth = cell_edges(mean["depth"].values, 0)
    inside = np.isfinite(ocean.values)
    axes.set_facecolor(LAND)
    axes.pcolormesh(
        latitude, depth, np.ma.masked_where(~inside, inside), cmap=ListedColormap([UNOBSERVED]), rasterized=True
    )
    mesh = axes.pcolormesh(latitude, depth, np.ma.masked_invalid(mean.values), cmap=colours, norm=norm, rasterized=True)
    depth_axis(axes, depth[-1])
    axes.set_xticks(np.arange(-60, 61, 30), ["60°S", "30°S", "0°", "30°N", "60°N"])
    axes.set_xlim(latitude[0], latitude[-1])
    return mesh


def depth_axis(axes: Axes, bottom: float) -> None:
    """Depth downwards to `bottom` in m, the upper ocean stretched."""
    axes.set_yscale("function", functions=(_stretch, _unstretch))
    axes.set_yticks([tick for tick in _DEPTH_TICKS if tick <= bottom])
    axes.set_ylim(bottom, 0)


def _stretch(depth: np.ndarray) -> np.ndarray:
    return np.sign(depth) * np.abs(depth) ** _DEPTH_POWER


def _unstretch(height: np.ndarray) -> np.ndarray:
    return np.sign(height) * np.abs(height) ** (1 / _DEPTH_POWER)
