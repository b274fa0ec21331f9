"""Maps in the Equal Earth projection, drawn from the model's own land mask without any map data."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, QuadMesh
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from invbgc.plots.style import (
    DIFFERENCE,
    INK,
    LAND,
    UNOBSERVED,
    colour_bar,
    field_style,
    house_style,
    new_figure,
    robust_range,
    symmetric_range,
    with_units,
)

_LEFT_EDGE = 26.0  # degrees east; through Africa, so that the Indian, Pacific and Atlantic each stay whole


def cell_edges(centres: np.ndarray, lower: float = -np.inf, upper: float = np.inf) -> np.ndarray:
    """Place cell edges halfway between centres.

    Args:
        centres: [n], increasing.
        lower: no edge lies below.
        upper: no edge lies above.

    Returns:
        Edges [n + 1].
    """
    centres = np.asarray(centres, dtype=float)
    if centres.size == 1:
        return np.clip([centres[0] - 0.5, centres[0] + 0.5], lower, upper)
    middle = 0.5 * (centres[1:] + centres[:-1])
    first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
    return np.clip(np.concatenate([[first], middle, [last]]), lower, upper)


def equal_earth(longitude: np.ndarray, latitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project onto the plane so that areas keep their proportions (Savric, Patterson and Jenny 2018).

    Args:
        longitude: degrees east of the central meridian.
        latitude: degrees north, same shape.

    Returns:
        Plane coordinates x and y in units of the Earth's radius.
    """
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(latitude)))
    slope = 9 * a4 * theta**8 + 7 * a3 * theta**6 + 3 * a2 * theta**2 + a1
    x = 2 * np.sqrt(3) * np.radians(longitude) * np.cos(theta) / (3 * slope)
    return x, a4 * theta**9 + a3 * theta**7 + a2 * theta**3 + a1 * theta


def draw_map(axes: Axes, field: xr.DataArray, wet: xr.DataArray, colours: Colormap, norm: Normalize) -> QuadMesh:
    """Draw one field with land, unobserved ocean, coastline and graticule.

    Args:
        axes: where to draw.
        field: (latitude, longitude); NaN on land and where unobserved.
        wet: bool (latitude, longitude).
        colours: colour map.
        norm: colour range.

    Returns:
        The mesh, for a colour bar.
    """
    longitude = np.asarray(field["longitude"], dtype=float)
    shift = int(np.argmin(np.abs((longitude - _LEFT_EDGE + 180) % 360 - 180)))
    global_belt = longitude.size > 2 and np.isclose(np.ptp(cell_edges(longitude)), 360)
    shift = shift if global_belt else 0
    values = np.roll(np.asarray(field.transpose("latitude", "longitude"), dtype=float), -shift, axis=1)
    mask = np.roll(np.asarray(wet.transpose("latitude", "longitude"), dtype=bool), -shift, axis=1)
    east = np.unwrap(np.roll(longitude, -shift), period=360)
    lon_edges, lat_edges = cell_edges(east), cell_edges(field["latitude"].values, -90, 90)
    centre = 0.5 * (lon_edges[0] + lon_edges[-1])
    x, y = equal_earth(*np.meshgrid(lon_edges - centre, lat_edges))

    rim = (-90.0, 90.0) if global_belt else (lat_edges[0], lat_edges[-1])
    _draw_globe(axes, lon_edges[0] - centre, lon_edges[-1] - centre, *rim)
    axes.pcolormesh(x, y, np.ma.masked_where(~mask, mask), cmap=ListedColormap([UNOBSERVED]), rasterized=True, zorder=1)
    mesh = axes.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=colours, norm=norm, rasterized=True, zorder=2)
    axes.add_collection(LineCollection(list(_coastline(mask, x, y)), colors=INK, linewidths=0.45, zorder=3))
    axes.set_aspect("equal")
    axes.set_axis_off()
    return mesh


def map_figure(
    field: xr.DataArray, wet: xr.DataArray, name: str = "", title: str = "", norm: Normalize | None = None
) -> Figure:
    """Draw one map with its colour bar.

    Args:
        field: (latitude, longitude), with attribute ``units``.
        wet: bool (latitude, longitude).
        name: field name, which sets label and colours.
        title: above the map.
        norm: colour range; robust percentiles when absent.

    Returns:
        The figure.
    """
    look = field_style(name or str(field.name))
    with house_style():
        figure = new_figure(7.2, 3.9)
        axes = figure.add_subplot()
        mesh = draw_map(axes, field, wet, look.colours, norm or robust_range(field.values))
        axes.set_title(title or look.label)
        colour_bar(figure, mesh, [axes], with_units(look.label, field.attrs.get("units", "")), shrink=0.55)
    return figure


def compare_maps(
    model: xr.DataArray,
    observed: xr.DataArray,
    wet: xr.DataArray,
    name: str,
    layers: Sequence[int] = (0,),
) -> Figure:
    """Draw model, data and their difference side by side, one row for each layer.

    Args:
        model: (depth, latitude, longitude), with attribute ``units``.
        observed: same shape, NaN where unobserved.
        wet: bool, same shape.
        name: tracer.
        layers: indices along depth.

    Returns:
        The figure.
    """
    look = field_style(name)
    units = model.attrs.get("units", "")
    with house_style():
        figure = new_figure(10.5, 2.35 * len(layers) + 0.2)
        grid = figure.subplots(len(layers), 3, squeeze=False)
        for row, layer in zip(grid, layers, strict=True):
            pair = (model.isel(depth=layer), observed.isel(depth=layer))
            difference = pair[0] - pair[1]
            mask = wet.isel(depth=layer)
            norm = robust_range(pair[0].values, pair[1].values)
            mesh = [draw_map(axes, part, mask, look.colours, norm) for axes, part in zip(row, pair, strict=False)]
            gap = draw_map(row[2], difference, mask, DIFFERENCE, symmetric_range(difference.values))
            depth = f"{float(model['depth'][layer]):.0f} m"
            for axes, title in zip(row, (f"model, {depth}", f"data, {depth}", "model minus data"), strict=True):
                axes.set_title(title)
            colour_bar(figure, mesh[0], list(row[:2]), with_units(look.label, units), shrink=0.5)
            colour_bar(figure, gap, [row[2]], with_units("model minus data", units), shrink=0.8)
    return figure


def _draw_globe(axes: Axes, west: float, east: float, south: float, north: float) -> None:
    """Draw the outline, filled as land, and the parallels."""
    along = np.linspace(south, north, 91)
    rim_longitude = np.concatenate([np.full(91, west), np.full(91, east)])
    rim = equal_earth(rim_longitude, np.concatenate([along, along[::-1]]))
    axes.add_patch(Polygon(np.column_stack(rim), closed=True, facecolor=LAND, edgecolor=INK, linewidth=0.6, zorder=0))
    for parallel in range(-60, 61, 30):
        if south < parallel < north:
            line = equal_earth(np.linspace(west, east, 61), np.full(61, float(parallel)))
            axes.plot(*line, color=INK, linewidth=0.3, alpha=0.25, zorder=4)


def _coastline(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Collect the cell edges that part wet from dry cells: segments [m, 2, 2] in the plane."""
    vertices = np.stack([x, y], axis=-1)
    row, column = np.nonzero(mask[:, 1:] != mask[:, :-1])
    upright = np.stack([vertices[row, column + 1], vertices[row + 1, column + 1]], axis=1)
    row, column = np.nonzero(mask[1:] != mask[:-1])
    level = np.stack([vertices[row + 1, column], vertices[row + 1, column + 1]], axis=1)
    return np.concatenate([upright, level])
