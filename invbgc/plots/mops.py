"""Figures of the MOPS experiment: C:P of fluxes, stored carbon and pCO2 beside theory, DIC, and ways to equilibrium.

A run has one colour in all figures: that of its b_C, light where little carbon reaches the deep ocean. The control run
has a dark edge, the run with fixed ratios (Redfield) is orange.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import Normal, Stroke

from invbgc.errors import InputError
from invbgc.files import replaced
from invbgc.models.mops.experiment import CONTROL, FIXED, run_name
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
    house_style,
    new_figure,
    robust_range,
    symmetric_range,
    with_units,
)
from invbgc.storage import EXPORT_DEPTH, HORIZONS, REDFIELD, Storage, flux_ratio, pco2_of_ratio, soft_tissue_carbon

DEEPEST = 2000.0
"""m: where the fan of C:P ends."""

WAYS = {
    "direct integration": (GREY, "solid"),
    "Anderson": (BLUE, "dashed"),
    "Newton-Krylov": (ORANGE, "solid"),
}
"""Ways to equilibrium: colour and kind of line."""

_HORIZON_MARKS = dict(zip(HORIZONS, ("^", "D", "v"), strict=True))
_RATIO_LABEL = "C:P of regeneration (mol per mol)"
_CLOSED_FORM: dict[str, Any] = {"linewidth": 0.8, "linestyle": (0, (4, 3))}
_HALO = [Stroke(linewidth=2.5, foreground="white"), Normal()]


def flux_ratio_fan(table: xr.Dataset) -> Figure:
    """Draw C:P of the global particle flux against depth, beside the closed form r_0 (z/z_0)^(b_P - b_C).

    Args:
        table: of `invbgc.models.mops.experiment.experiment`.

    Returns:
        A line for each run from 100 to 2000 m, labelled with its b_C, on logarithmic axes; thin dashed lines of the
        closed form. Source: Tanioka et al. (2021), figure 1b.

    Raises:
        InputError: there is no control or Redfield run.
    """
    b_P = float(_run(table, CONTROL)["b_C"])
    runs = [*_flexible(table), FIXED]
    colours = _colours(table)
    closed = np.geomspace(EXPORT_DEPTH, DEEPEST, 60)
    with house_style():
        figure = new_figure(5.2, 4.8)
        axes = figure.subplots()
        feet: list[float] = []
        ends: list[float] = []
        for name in runs:
            run = _run(table, name)
            depth, ratio = _profile(run)
            axes.plot(ratio, depth, color=colours[name], zorder=2, **_line_look(name))
            if name != FIXED:
                line = flux_ratio(closed, float(run["b_C"]), b_P, float(run["export_ratio"]))
                axes.plot(np.asarray(line), closed, color=colours[name], zorder=3, **_CLOSED_FORM)
                ends.append(float(line[-1]))
            feet.append(float(ratio[-1]))
        for name, foot in zip(runs, feet, strict=True):
            exponent = f"{float(_run(table, name)['b_C']):.2f}"
            text = {CONTROL: f"{exponent} (control)", FIXED: "Redfield"}.get(name, exponent)
            axes.annotate(text, (foot, DEEPEST), xytext=(0, -5), textcoords="offset points", ha="center", va="top",
                          rotation=90, fontsize=8, color=colours[name], annotation_clip=False)  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="C:P of the particle flux (mol per mol)", ylabel="depth (m)")
        axes.xaxis.set_label_position("top")
        axes.tick_params(axis="x", which="both", top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.spines["top"].set_visible(True)
        axes.spines["bottom"].set_visible(False)
        axes.set_ylim(DEEPEST, EXPORT_DEPTH)
        axes.set_xlim(0.9 * min(feet + ends), 1.15 * max(feet))
        _plain_ticks(axes, (50, 70, 100, 150, 200, 300, 500, 1000, 2000, 5000), (100, 200, 300, 500, 1000, 2000))
        power = f"$r_0\\,(z/{EXPORT_DEPTH:.0f}\\,\\mathrm{{m}})^{{b_P - b_C}}$, $b_P$ = {b_P:.2f}"
        handles = [
            Line2D([], [], color=INK, linewidth=1.6, label="run, with its $b_C$ at the foot"),
            Line2D([], [], color=INK, label=power, **_CLOSED_FORM),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def storage_figure(table: xr.Dataset, lines: xr.Dataset) -> Figure:
    """Draw stored carbon and pCO2 against C:P of regeneration, runs beside theory, and how good the theory is.

    The line of the store is equation 3, OCS = r (<PO4> - <PO4_pre>) V, with preformed phosphate from oxygen; the dashed
    one takes the phosphate regenerated in the model since the water left the surface. That of pCO2 is equation 4,
    c_0 exp(-OCS / C_buf), through the control. A run stands at the C:P of equation 5 for three depths z' and, filled,
    at the C:P of what was respired in it.

    Args:
        table: of `invbgc.models.mops.experiment.experiment`.
        lines: of `invbgc.models.mops.experiment.theory`.

    Returns:
        Three panels; the last has the RMS errors of ln pCO2 and ln OCS (relative to the control) against z' with the
        least of each marked. Source: Tanioka et al. (2021), figure 3 and equations 3 to 5.

    Raises:
        InputError: a run is missing, or theory of one of the three depths.
    """
    base = _constants(table, lines)
    fixed = _run(table, FIXED)
    with house_style():
        figure = new_figure(10.5, 4.5)
        left, right, errors = figure.subplots(1, 3, width_ratios=[1.0, 1.0, 0.8])
        widest = max(
            max(*_foreseen(lines, name), float(_run(table, name)["respired_ratio"])) for name in _flexible(table)
        )
        ratios = np.linspace(0.75 * REDFIELD, 1.14 * widest, 200)
        left.plot(ratios, np.asarray(soft_tissue_carbon(ratios, base)), color=INK, linewidth=1.0)
        if "regenerated_phosphate" in table.attrs:
            held = base._replace(preformed_phosphate=base.phosphate - float(table.attrs["regenerated_phosphate"]))
            left.plot(ratios, np.asarray(soft_tissue_carbon(ratios, held)), "--", color=INK, linewidth=0.8)
        right.plot(ratios, np.asarray(pco2_of_ratio(ratios, base)), color=INK, linewidth=1.0)
        for axes, quantity in ((left, "respired_carbon"), (right, "pco2")):
            _points(axes, table, lines, quantity)
            axes.plot(REDFIELD, float(fixed[quantity]), "s", color=ORANGE, markersize=6, zorder=5)
            axes.set(xlabel=_RATIO_LABEL, xlim=(ratios[0], ratios[-1]), ylim=(0.0, 1.12 * float(table[quantity].max())))
        left.set(ylabel=with_units("stored carbon", "Pg C"), title="a  respired carbon")
        right.set(ylabel=with_units("atmospheric pCO$_2$", "ppm"), title="b  atmosphere")
        left.yaxis.set_major_formatter("{x:,.0f}")
        _error_panel(errors, lines)
        keys = _storage_legend("regenerated_phosphate" in table.attrs)
        title = "numbers beside the points: $b_C$"
        figure.legend(handles=keys, loc="outside lower center", ncols=4, title=title, title_fontsize=8)
    return figure


def _points(axes: Axes, table: xr.Dataset, lines: xr.Dataset, quantity: str) -> None:
    """Draw flexible runs at the C:P of equation 5 for three z' and at that of what they respired, each with its b_C."""
    colours = _colours(table)
    for name in _flexible(table):
        run = _run(table, name)
        y, control = float(run[quantity]), name == CONTROL
        at = _foreseen(lines, name)
        for x, mark in zip(at, _HORIZON_MARKS.values(), strict=True):
            axes.plot(x, y, mark, color="white", mec=colours[name], mew=1.2, markersize=5.5, zorder=4)
        own = float(run["respired_ratio"])
        edge = INK if control else colours[name]
        axes.plot(own, y, "o", color=colours[name], mec=edge, mew=1.2, markersize=6, zorder=5)
        text = f"{float(run['b_C']):.2f}" + (" (control)" if control else "")
        axes.annotate(text, (max(*at, own), y), xytext=(7, 0), textcoords="offset points", va="center",
                      fontsize=7.5, color=colours[name], path_effects=_HALO, zorder=6)  # fmt: skip


def _foreseen(lines: xr.Dataset, name: str) -> list[float]:
    """C:P of equation 5 of a run, for the three z'."""
    near = _run(lines, name)["ratio"].sel(horizon=list(HORIZONS), method="nearest")
    if np.abs(near["horizon"].to_numpy() - HORIZONS).max() > 50.0:
        raise InputError(
            f"figure of storage: found theory for z' of {near['horizon'].values.tolist()} m; expected {HORIZONS} m, "
            "within 50 m."
        )
    return [float(value) for value in near]


def _error_panel(axes: Axes, lines: xr.Dataset) -> None:
    """Draw the errors of theory against z', with the least of each."""
    horizon = lines["horizon"].to_numpy()
    for quantity, label, colour in (("error_pco2", "ln pCO$_2$", BLUE), ("error_store", "ln OCS", GREEN)):
        error = lines[quantity].to_numpy()
        best = int(error.argmin())
        axes.plot(horizon, error, color=colour, label=f"{label}, least at {horizon[best]:.0f} m")
        axes.plot([horizon[best]] * 2, [0.0, error[best]], color=colour, linewidth=0.8, linestyle="dotted")
        axes.plot(horizon[best], error[best], "o", color=colour, markersize=6, clip_on=False, zorder=4)
    highest = max(float(lines[quantity].max()) for quantity in ("error_pco2", "error_store"))
    axes.set(xlabel="depth of regeneration z' (m)", ylabel="RMS error over the runs", title="c  error of theory")
    axes.set_ylim(0.0, 1.25 * highest)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="upper left")


def _storage_legend(dashed: bool) -> list[Line2D]:
    """Keys of the marks and lines of the storage figure."""
    marks = {"linestyle": "none", "color": "white", "markeredgecolor": INK, "markeredgewidth": 1.2, "markersize": 5.5}
    keys = [
        Line2D([], [], marker=mark, label=f"equation 5, z' = {z:.0f} m", **marks) for z, mark in _HORIZON_MARKS.items()
    ]
    keys.append(Line2D([], [], color=GREY, linestyle="none", marker="o", markersize=6, label="respired in the run"))
    keys.append(Line2D([], [], color=ORANGE, linestyle="none", marker="s", markersize=6, label="Redfield run"))
    keys.append(Line2D([], [], color=INK, linewidth=1.0, label="equations 3 and 4"))
    if dashed:
        text = "equation 3, regenerated phosphate of the model"
        keys.append(Line2D([], [], color=INK, linewidth=0.8, linestyle="dashed", label=text))
    return keys


def dic_difference(
    table: xr.Dataset, masks: Mapping[str, np.ndarray] | None = None, volume: xr.DataArray | None = None
) -> Figure:
    """Draw by how much DIC differs from the Redfield run in zonal means of the Atlantic and the Pacific.

    Args:
        table: of `invbgc.models.mops.experiment.experiment`.
        masks: basin -> bool [latitude, longitude]; Atlantic and Pacific where None, all water where neither is.
        volume: (depth, latitude, longitude) m3; all boxes of a latitude and depth count alike where None.

    Returns:
        Left the control, right b_C = 0.75, both minus Redfield; a row for each basin. Source: Tanioka et al. (2021),
        figure S3.

    Raises:
        InputError: a run is missing.
    """
    fixed = _run(table, FIXED)["DIC"]
    pairs = {
        "control": _run(table, CONTROL)["DIC"] - fixed,
        "$b_C$ = 0.75": _run(table, run_name(0.75))["DIC"] - fixed,
    }
    volume = xr.ones_like(fixed) if volume is None else volume
    if masks is None:
        found = ocean_basins(fixed.isel(depth=0).notnull())
        masks = {name: found[name] for name in ("Atlantic", "Pacific")}
    masks = {name: mask for name, mask in masks.items() if np.any(mask)} or {"ocean": np.ones(fixed.shape[1:], bool)}
    with house_style():
        figure = new_figure(8.6, 2.3 * len(masks) + 0.9)
        grid = figure.subplots(len(masks), len(pairs), squeeze=False, sharex=True, sharey=True)
        for column, (what, difference) in zip(grid.T, pairs.items(), strict=True):
            means = {basin: zonal_mean(difference, volume, mask) for basin, mask in masks.items()}
            norm = symmetric_range(*(mean.values for mean in means.values()))
            mesh: ScalarMappable | None = None
            for axes, (basin, mean) in zip(column, means.items(), strict=True):
                mesh = draw_section(axes, mean, mean, DIFFERENCE, norm)
                axes.set_title(f"{basin}, {what} minus Redfield")
            if mesh is not None:
                colour_bar(figure, mesh, list(column), with_units("difference of DIC", "mmol m-3"), shrink=0.85)
        for axes in grid[:, 0]:
            axes.set_ylabel("depth (m)")
    return figure


def suspended_map(table: xr.Dataset, run: str = CONTROL) -> Figure:
    """Draw C:P of suspended matter at the surface, and that of the particle flux at 100 m, in the same colours.

    Args:
        table: of `invbgc.models.mops.experiment.experiment`.
        run: which run.

    Returns:
        Two maps; pale where nothing sinks through 100 m.

    Raises:
        InputError: there is no such run.
    """
    chosen = _run(table, run)
    wet = chosen["DIC"].isel(depth=0).notnull()
    fields = {
        "suspended matter, surface": chosen["suspended_ratio"],
        "particle flux, 100 m": chosen["export_ratio_map"],
    }
    norm = robust_range(*(field.values for field in fields.values()))
    with house_style():
        figure = new_figure(9.6, 3.2)
        panels = figure.subplots(1, 2)
        mesh: ScalarMappable | None = None
        for axes, (title, field) in zip(panels, fields.items(), strict=True):
            mesh = draw_map(axes, field, wet, _map("matter"), norm)
            axes.set_title(title)
        if mesh is not None:
            colour_bar(figure, mesh, list(panels), f"C:P (mol per mol), {run} run", shrink=0.5)
    return figure


def drift_figure(histories: Mapping[str, Sequence[tuple[float, float]]]) -> Figure:
    """Draw how the drift of the seasonal model falls with the years it has run, for ways to equilibrium.

    Args:
        histories: way -> pairs of model years and drift (standard deviations of a tracer per year), as the `history` of
            `invbgc.models.mops.equilibrium.Equilibrium`.

    Returns:
        A line for each way on logarithmic axes, its end marked, with its years in the key.

    Raises:
        InputError: there is no history, or one holds no pair of positive years and drift.
    """
    if not histories:
        raise InputError("figure of drift: found no history; expected one way to equilibrium at least.")
    spare = iter((GREEN, PURPLE, INK) * len(histories))
    with house_style():
        figure = new_figure(5.6, 3.8)
        axes = figure.subplots()
        for name, history in histories.items():
            years, drift = _history(name, history)
            colour, kind = WAYS[name] if name in WAYS else (next(spare), "solid")
            label = f"{name}, {years[-1]:,.0f} years"
            axes.plot(years, drift, color=colour, linestyle=kind, linewidth=1.5, label=label)
            axes.plot(years[-1], drift[-1], "o", color=colour, markersize=6)
        axes.set(xscale="log", yscale="log", xlabel="model years", ylabel="drift (standard deviations per year)")
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.grid(color=INK, alpha=0.1, linewidth=0.5)
        axes.legend(loc="lower left")
    return figure


def _history(name: str, history: Sequence[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Years and drift of one way; pairs that logarithmic axes cannot show are left out."""
    pairs = np.asarray(history, dtype=float)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise InputError(
            f"figure of drift, '{name}': found an array of shape {pairs.shape}; expected pairs of years and drift."
        )
    shown = pairs[np.all((pairs > 0.0) & np.isfinite(pairs), axis=1)]
    if not len(shown):
        raise InputError(f"figure of drift, '{name}': found no pair of positive years and drift among {len(pairs)}.")
    return shown[:, 0], shown[:, 1]


def series_figure(table: xr.Dataset) -> Figure:
    """Draw pCO2, POC export and respired carbon against b_C.

    Args:
        table: of `invbgc.models.mops.experiment.experiment`.

    Returns:
        Three panels; control and Redfield run have marks of their own, and the run with fixed ratios stands at b_P.
        Source: after Tanioka et al. (2021).

    Raises:
        InputError: there is no control or Redfield run.
    """
    names, colours, fixed = _flexible(table), _colours(table), _run(table, FIXED)
    b_P = float(_run(table, CONTROL)["b_C"])
    panels = {
        "pco2": ("a  atmospheric pCO$_2$", with_units("pCO$_2$", "ppm")),
        "poc_export": ("b  POC export at 100 m", with_units("POC export", "Pg C yr-1")),
        "respired_carbon": ("c  respired carbon", with_units("respired carbon", "Pg C")),
    }
    with house_style():
        figure = new_figure(9.6, 3.3)
        for axes, (quantity, (title, label)) in zip(figure.subplots(1, 3), panels.items(), strict=True):
            x = [float(_run(table, name)["b_C"]) for name in names]
            y = [float(_run(table, name)[quantity]) for name in names]
            axes.axvline(b_P, color=GREY, linewidth=0.7, zorder=1)
            axes.plot(x, y, color=GREY, linewidth=1.0, zorder=2)
            for name, one, other in zip(names, x, y, strict=True):
                axes.plot(one, other, color=colours[name], zorder=4, **_mark(name))
            axes.plot(float(fixed["b_C"]), float(fixed[quantity]), color=ORANGE, zorder=3, **_mark(FIXED))
            axes.set(xlabel="exponent of the carbon flux, $b_C$", ylabel=label, title=title)
            axes.margins(y=0.12)
            axes.yaxis.set_major_formatter("{x:,.10g}")
        handles = [
            Line2D([], [], color=colours[names[0]], linestyle="none", marker="o", label="flexible C:P"),
            Line2D([], [], color=colours[CONTROL], **_mark(CONTROL), label=f"control, $b_C$ = $b_P$ = {b_P:.2f}"),
            Line2D([], [], color=ORANGE, **_mark(FIXED), label=f"Redfield, C:P {REDFIELD:.0f}"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def write_figures(
    table: xr.Dataset,
    lines: xr.Dataset,
    folder: str | Path,
    volume: xr.DataArray | None = None,
    histories: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> list[Path]:
    """Draw all figures of an experiment into a folder, each as ``mops_<name>.png``.

    Args:
        table: of `invbgc.models.mops.experiment.experiment`.
        lines: of `invbgc.models.mops.experiment.theory`.
        folder: where they go; it is made.
        volume: (depth, latitude, longitude) m3, as for `dic_difference`.
        histories: as for `drift_figure`, which is left out where None.

    Returns:
        The files.

    Raises:
        InputError: a run is missing, or the folder cannot be written.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "flux_ratio": lambda: flux_ratio_fan(table),
        "storage": lambda: storage_figure(table, lines),
        "dic_difference": lambda: dic_difference(table, volume=volume),
        "suspended_ratio": lambda: suspended_map(table),
        "series": lambda: series_figure(table),
    }
    if histories is not None:
        figures["drift"] = lambda: drift_figure(histories)
    paths = []
    for name, draw in figures.items():
        path = Path(folder) / f"mops_{name}.png"
        with replaced(path) as temporary:
            draw().savefig(temporary, dpi=150, format="png")
        paths.append(path)
    return paths


def _run(table: xr.Dataset, name: str) -> xr.Dataset:
    """One run of the experiment."""
    runs = [str(run) for run in table["run"].values]
    if name not in runs:
        raise InputError(
            f"figures of MOPS: found no run '{name}' in the table, whose runs are {', '.join(runs)}; expected the "
            "result of an experiment with it."
        )
    return table.isel(run=runs.index(name))


def _flexible(table: xr.Dataset) -> list[str]:
    """Names of the runs with flexible C:P, by b_C."""
    names = [str(name) for name in table["run"].values if name != FIXED]
    return sorted(names, key=lambda name: float(_run(table, name)["b_C"]))


def _colours(table: xr.Dataset) -> dict[str, str]:
    """Run -> colour, along the range of b_C."""
    names = _flexible(table)
    b_C = np.array([float(_run(table, name)["b_C"]) for name in names])
    share = (b_C - b_C.min()) / max(float(np.ptp(b_C)), 1e-9)
    found = {name: to_hex(_map("deep")(0.95 - 0.62 * at)) for name, at in zip(names, share, strict=True)}
    return found | {FIXED: ORANGE}


def _map(name: str) -> Colormap:
    return mpl.colormaps[f"cmo.{name}"]


def _profile(run: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Depth, from 100 to 2000 m, and C:P of the flux, as power laws between the interfaces."""
    edges, values = run["interface"].to_numpy().astype(float), run["flux_ratio"].to_numpy()
    known = np.isfinite(values) & (edges > EXPORT_DEPTH)
    edges, values = np.r_[EXPORT_DEPTH, edges[known]], np.r_[float(run["export_ratio"]), values[known]]
    depth = np.r_[edges[edges < DEEPEST], DEEPEST]
    return depth, np.exp(np.interp(np.log(depth), np.log(edges), np.log(values)))


def _line_look(name: str) -> dict[str, Any]:
    """How the line of a run differs from others."""
    if name == CONTROL:
        return {"linewidth": 1.8, "path_effects": [Stroke(linewidth=3.4, foreground=INK), Normal()]}
    return {"linewidth": 1.6, "linestyle": "dashdot" if name == FIXED else "solid"}


def _mark(name: str) -> dict[str, Any]:
    """How the point of a run differs from others."""
    if name == CONTROL:
        return {"linestyle": "none", "marker": "o", "markersize": 9.0, "markeredgecolor": INK, "markeredgewidth": 1.6}
    return {"linestyle": "none", "marker": "s" if name == FIXED else "o", "markersize": 7.0}


def _constants(table: xr.Dataset, lines: xr.Dataset) -> Storage:
    """The constants of equations 3 and 4 for the ocean of the experiment."""
    return Storage(
        phosphate=float(table.attrs["phosphate"]),
        preformed_phosphate=float(table.attrs["preformed_phosphate"]),
        abiotic_pco2=float(table.attrs["abiotic_pco2"]),
        volume=float(table.attrs["volume"]),
        buffered_carbon=float(lines.attrs["buffered_carbon"]),
    )


def _plain_ticks(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Label logarithmic axes with plain numbers."""
    for axis, ticks, limits in ((axes.xaxis, x, axes.get_xlim()), (axes.yaxis, y, sorted(axes.get_ylim()))):
        inside = [tick for tick in ticks if limits[0] <= tick <= limits[1]]
        axis.set_ticks(inside, [f"{tick:g}" for tick in inside])
        axis.set_ticks([], minor=True)
