"""Maps and sections of the biological pump: export, its pathways, its flux exponents and the carbon it stores."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LogNorm, Normalize
from matplotlib.figure import Figure

from invbgc.diagnostics.published import PUBLISHED
from invbgc.plots.maps import draw_map
from invbgc.plots.sections import draw_section, ocean_basins, zonal_mean
from invbgc.plots.style import (
    BLUE,
    DIFFERENCE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    colour_bar,
    from_zero,
    house_style,
    new_figure,
    robust_range,
    symmetric_range,
    unit_text,
    with_units,
)

PUMPS = {
    "saturation": ("saturation", GREY),
    "disequilibrium": ("disequilibrium", PURPLE),
    "soft_tissue": ("soft tissue", GREEN),
    "carbonate": ("carbonate", BLUE),
}
"""Parts of DIC: label and colour."""

_YEARS = (1, 3, 10, 30, 100, 300, 1000, 3000)


def export_maps_figure(export: xr.Dataset, residence: xr.Dataset) -> Figure:
    """Draw where carbon leaves the euphotic zone, by pathway, and how long dissolved carbon then stays away.

    Args:
        export: result of ``carbon_export``.
        residence: result of ``doc_residence_time``.

    Returns:
        Four maps: export of total, particulate, and labile and semi-labile dissolved organic carbon, with their
        integrals; mean time below the surface of semi-labile DOC exported from the base of the euphotic zone.
        The content of Fig. 3 of Wang et al. (2023).
    """
    wet = export["wet"].astype(bool)
    dissolved = export["semilabile_export"] + export["labile_export"]
    totals = {name: float(export[f"{name}_export_global"]) for name in ("toc", "poc", "semilabile", "labile")}
    panels = (
        (export["toc_export"], "total organic carbon", totals["toc"], _colours("matter")),
        (export["poc_export"], "sinking particles", totals["poc"], _colours("algae")),
        (dissolved, "dissolved, labile and semi-labile", totals["semilabile"] + totals["labile"], _colours("tempo")),
    )
    time = residence["semilabile_base_time"]
    with house_style():
        figure = new_figure(10.5, 6.3)
        grid = figure.subplots(2, 2).ravel()
        for axes, (field, title, total, colours) in zip(grid, panels, strict=False):
            mesh = draw_map(axes, field, wet, colours, from_zero(field.values))
            axes.set_title(f"{title}: {total:.2f} {unit_text('Pg C yr-1')}")
            colour_bar(figure, mesh, [axes], with_units("export", export["toc_export"].attrs["units"]), shrink=0.6)
        limits = robust_range(time.values)
        mesh = draw_map(grid[3], time, wet, _colours("dense"), LogNorm(limits.vmin, limits.vmax))
        grid[3].set_title("semi-labile DOC from the base of the euphotic zone")
        colour_bar(figure, mesh, [grid[3]], with_units("mean time below the surface", time.attrs["units"]), shrink=0.6)
        _log_ticks(mesh, _YEARS)
    return figure


def pathway_figure(export: xr.Dataset, bands: xr.Dataset) -> Figure:
    """Draw the share of export that water carries rather than particles, as a map and by latitude.

    Args:
        export: result of ``carbon_export``.
        bands: result of ``zonal_bands``.

    Returns:
        The map, and the area mean along longitude with the means of the bands in both hemispheres, beside the
        published ones where the bands are the same. The content of Fig. 4 of Wang et al. (2023).
    """
    ratio = 100.0 * export["advective_diffusive_ratio"]
    weight = export["area_at_base"].where(ratio.notnull())
    zonal = (ratio * weight).sum("longitude") / weight.sum("longitude").where(lambda total: total > 0.0)
    with house_style():
        figure = new_figure(10.5, 4.2)
        west, east = figure.subfigures(1, 2, width_ratios=(2.1, 1), squeeze=False)[0]
        left, right = west.subplots(), east.subplots()
        mesh = draw_map(left, ratio, export["wet"].astype(bool), _colours("haline"), from_zero(ratio.values))
        left.set_title("advective-diffusive share of the export of total organic carbon")
        colour_bar(figure, mesh, [left], "share (%)", shrink=0.55)

        right.plot(zonal, zonal["latitude"], color=GREY, linewidth=1.1, label="mean along longitude")
        for name, (low, high), mean in zip(
            bands["band"].values, bands["band_bounds"].values, bands["ratio_area_mean"].values, strict=True
        ):
            first = name == bands["band"].values[0]
            right.vlines(
                [100.0 * mean] * 2, [-high, low], [-low, high], colors=BLUE, linewidth=3,
                label="bands of |latitude|" if first else None,
            )  # fmt: skip
            if f"advective_share_{name}" in PUBLISHED:
                share, middle = 100.0 * PUBLISHED[f"advective_share_{name}"][0], 0.5 * (low + high)
                right.plot(
                    [share, share], [-middle, middle], "D", color=ORANGE, markersize=5, zorder=4,
                    label="Wang et al. (2023)" if first else None,
                )  # fmt: skip
        right.set_ylim(-80, 80)
        right.set_yticks(np.arange(-60, 61, 30), ["60°S", "30°S", "0°", "30°N", "60°N"])
        right.set_xlim(min(0.0, float(np.nanmin(zonal)) - 1.0), max(45.0, float(np.nanmax(zonal)) + 1.0))
        right.set_xlabel("share (%)")
        right.grid(color=INK, alpha=0.1, linewidth=0.5)
        right.set_axisbelow(True)
        east.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=1)
    return figure


def exponents_figure(warming: xr.Dataset) -> Figure:
    """Draw the flux exponents of particulate carbon and phosphorus, and what another temperature does to them.

    Args:
        warming: result of ``warming_effect``.

    Returns:
        Maps of the present exponents and their changes, carbon above phosphorus. The content of Extended Data Fig. 8 of
        Wang et al. (2023).
    """
    wet = warming["wet"].astype(bool)
    with house_style():
        figure = new_figure(10.5, 6.3)
        for row, (element, name) in zip(figure.subplots(2, 2), {"C": "carbon", "P": "phosphorus"}.items(), strict=True):
            present = warming[f"exponent_{element}"].sel(climate="present")
            change = warming[f"exponent_{element}_change"]
            symbol = f"$b_{element}$"
            mesh = draw_map(row[0], present, wet, _colours("thermal"), robust_range(present.values))
            row[0].set_title(f"flux exponent of particulate {name}, {symbol}")
            colour_bar(figure, mesh, [row[0]], symbol, shrink=0.6)
            limit = 1.5 * (symmetric_range(change.values).vmax or 1.0)  # a uniform change is not the end of the range
            mesh = draw_map(row[1], change, wet, DIFFERENCE, Normalize(-limit, limit))
            mean = float(change.weighted(warming["area"].fillna(0.0)).mean())
            row[1].set_title(f"change of {symbol}, mean {mean:+.3f}".replace("-", "−"))
            colour_bar(figure, mesh, [row[1]], f"change of {symbol}", shrink=0.6)
    return figure


def pumps_figure(pumps: xr.Dataset, basins: Mapping[str, np.ndarray] | None = None) -> Figure:
    """Draw how much inorganic carbon each pump holds, and where.

    Args:
        pumps: result of ``carbon_pumps``.
        basins: masks [latitude, longitude]; Atlantic and Pacific when absent, or all water where neither is.

    Returns:
        Inventories of the parts of DIC, stacked, and once more without the saturated part; sections of what the
        soft-tissue and carbonate pumps and disequilibrium make of DIC, means along longitude of each basin.
    """
    parts = {name: pumps[f"DIC_{name}"] for name in ("soft_tissue", "carbonate", "disequilibrium")}
    surface = parts["soft_tissue"].isel(depth=0).notnull()
    if basins is None:
        found = ocean_basins(surface)
        basins = {name: found[name] for name in ("Atlantic", "Pacific")}
    basins = {name: mask for name, mask in basins.items() if np.any(mask)} or {"ocean": np.ones(surface.shape, bool)}
    inventory = {name: float(pumps["carbon_inventory"].sel(part=name)) for name in PUMPS}
    total = float(pumps["carbon_inventory"].sel(part="total"))
    looks: dict[str, tuple[Colormap, Normalize]] = {
        "soft_tissue": (_colours("matter"), from_zero(parts["soft_tissue"].values)),
        "carbonate": (_colours("tempo"), from_zero(parts["carbonate"].values)),
        "disequilibrium": (DIFFERENCE, symmetric_range(parts["disequilibrium"].values)),
    }
    with house_style():
        figure = new_figure(10.5, 2.4 * len(basins) + 2.2)
        layout = figure.add_gridspec(len(basins) + 1, 6, height_ratios=[0.55] + [1.0] * len(basins))
        whole, rest = figure.add_subplot(layout[0, :3]), figure.add_subplot(layout[0, 3:])
        _stacked_bar(whole, inventory)
        whole.set_title(f"inventory of DIC: {total:,.0f} Pg C")
        _stacked_bar(rest, {name: amount for name, amount in inventory.items() if name != "saturation"})
        rest.set_title("without the part in equilibrium with the atmosphere")
        for axes in (whole, rest):
            axes.set_xlabel("Pg C")
        handles, labels = whole.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=4)
        for column, (part, field) in enumerate(parts.items()):
            row: list[Axes] = []
            mesh: ScalarMappable | None = None
            for number, (basin, mask) in enumerate(basins.items(), start=1):
                axes = figure.add_subplot(layout[number, 2 * column : 2 * column + 2])
                mean = zonal_mean(field, xr.ones_like(field), mask)
                mesh = draw_section(axes, mean, mean, *looks[part])
                axes.set_title(f"{basin}, {PUMPS[part][0]}")
                axes.tick_params(labelbottom=number == len(basins), labelleft=column == 0)
                if column == 0:
                    axes.set_ylabel("depth (m)")
                row.append(axes)
            if mesh is not None:
                units = with_units(f"DIC, {PUMPS[part][0]}", field.attrs["units"])
                colour_bar(figure, mesh, row, units, shrink=0.85)
    return figure


def _stacked_bar(axes: Axes, amounts: Mapping[str, float]) -> None:
    """Draw a bar of parts, negative ones to the left of zero, each with its amount if there is room for it."""
    ends = {True: 0.0, False: 0.0}
    gross = sum(abs(amount) for amount in amounts.values())
    for name, amount in amounts.items():
        label, colour = PUMPS[name]
        start = ends[amount >= 0.0]
        axes.barh(0.0, amount, left=start, color=colour, height=0.6, label=label, edgecolor="white", linewidth=0.8)
        middle, text = start + 0.5 * amount, f"{amount:,.0f}".replace("-", "−")
        if abs(amount) > 0.1 * gross:
            axes.text(middle, 0.0, text, ha="center", va="center", color="white")
        elif abs(amount) > 0.05 * gross:
            axes.text(middle, 0.34, text, ha="center", va="bottom", fontsize=7.5)
        ends[amount >= 0.0] = start + amount
    axes.axvline(0.0, color=INK, linewidth=0.7)
    axes.set_ylim(-0.4, 0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _colours(name: str) -> Colormap:
    return mpl.colormaps[f"cmo.{name}"]


def _log_ticks(mesh: ScalarMappable, ticks: Sequence[int]) -> None:
    """Label the colour bar of a logarithmic range with plain numbers."""
    low, high = mesh.get_clim()
    inside = [tick for tick in ticks if low <= tick <= high]
    if mesh.colorbar is not None:
        mesh.colorbar.set_ticks(inside, labels=[f"{tick}" for tick in inside])
        mesh.colorbar.minorticks_off()
