"""What the report of a fit says about its carbon: the figures, and the numbers beside the published ones."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from invbgc import markup
from invbgc.diagnostics.published import published_text
from invbgc.plots import carbon, curves, transient

Tables = Mapping[str, xr.Dataset]

_log = logging.getLogger("invbgc")

FOLDER = "carbon"
"""Folder of the tables, beside the result of the fit."""

TABLES = (
    "export", "bands", "regions", "stations", "mixed_layer", "scalars", "residence", "pumps", "budget",
    "warming", "sequestration", "comparison", "comparison_summary", "transient", "radiocarbon", "calibration",
)  # fmt: skip
"""Files of that folder, ``<name>.nc``."""


class Picture(NamedTuple):
    """A figure of the tables.

    Attributes:
        name: of its file.
        needs: tables without which it cannot be drawn.
        draw: (tables) -> figure.
        caption: below it.
    """

    name: str
    needs: tuple[str, ...]
    draw: Callable[[Tables], Figure]
    caption: str


PICTURES = (
    Picture(
        "export",
        ("export", "residence"),
        lambda t: carbon.export_maps_figure(t["export"], t["residence"]),
        "Export of organic carbon from the euphotic zone, all and by pathway, and the mean time that carbon exported "
        "as semi-labile DOC stays below the surface.",
    ),
    Picture(
        "pathways",
        ("export", "bands"),
        lambda t: carbon.pathway_figure(t["export"], t["bands"]),
        "Share of the export that water carries, the rest sinks; with the published means of latitude bands.",
    ),
    Picture(
        "profiles",
        ("stations",),
        lambda t: curves.profiles_figure(t["stations"], t.get("comparison")),
        "Sinking flux at time-series stations, by the continuous law with the fitted exponent and by the model's own "
        "scheme, which attenuates less; bands: one standard deviation of the 3 x 3 boxes around.",
    ),
    Picture(
        "sequestration",
        ("sequestration",),
        lambda t: curves.sequestration_figure(t["sequestration"]),
        "How long respired carbon stays away from the surface, by pool.",
    ),
    Picture(
        "community_production",
        ("export",),
        lambda t: curves.community_production_figure(t["export"], t.get("mixed_layer"), t.get("comparison")),
        "Export of organic carbon by latitude.",
    ),
    Picture(
        "comparison",
        ("comparison",),
        lambda t: curves.comparison_figure(t["comparison"]),
        "Modelled against measured fluxes, and their ratios station by station.",
    ),
    Picture(
        "pumps",
        ("pumps",),
        lambda t: carbon.pumps_figure(t["pumps"]),
        "What the inventory of DIC is made of: preformed at saturation with the atmosphere, gas-exchange "
        "disequilibrium, respired organic carbon, dissolved carbonate.",
    ),
    Picture(
        "exponents",
        ("warming",),
        lambda t: carbon.exponents_figure(t["warming"]),
        "Flux exponents b of sinking carbon and phosphorus, and how a warmer ocean would change them.",
    ),
    Picture(
        "excess_carbon",
        ("transient",),
        lambda t: transient.excess_carbon(t["transient"]),
        "DIC gained in the industrial era, the atmosphere above it, and what is left of the vertical gradient.",
    ),
    Picture(
        "excess_map",
        ("transient",),
        lambda t: transient.excess_map(t["transient"]),
        "Where the excess DIC lies.",
    ),
    Picture(
        "excess_sections",
        ("transient",),
        lambda t: transient.excess_sections(t["transient"]),
        "Zonal means of excess DIC and of radiocarbon at the end.",
    ),
    Picture(
        "bomb_radiocarbon",
        ("transient",),
        lambda t: transient.bomb_curves(t["transient"]),
        "Radiocarbon of the atmosphere and of the surface ocean, by zone.",
    ),
    Picture(
        "radiocarbon_fit",
        ("radiocarbon",),
        lambda t: transient.radiocarbon_fit(t["radiocarbon"]),
        "Radiocarbon of dated bottles against the run.",
    ),
    Picture(
        "gas_exchange",
        ("calibration",),
        lambda t: transient.misfit_of_scale(t["calibration"]),
        "Misfit of radiocarbon at the gas exchanges that were tried, in all rounds.",
    ),
)
"""Figures in the order of the report."""


def read_tables(folder: Path, names: Sequence[str] = TABLES) -> dict[str, xr.Dataset]:
    """The tables that are in a folder; a file that cannot be read is left out, with a warning.

    Args:
        folder: of the tables.
        names: of their files, ``<name>`` or ``<name>/<group>`` for one group of a file.

    Returns:
        Name -> dataset.
    """
    found = {}
    for entry in names:
        name, _, group = entry.partition("/")
        path = folder / f"{name}.nc"
        if path.is_file():
            try:
                with xr.open_dataset(path, group=group or None) as table:
                    found[name] = table.load()
            except (OSError, ValueError, RuntimeError) as error:
                _log.warning("%s is left out, not readable as netCDF: %s", path, error)
    return found


def fingerprint(x: np.ndarray) -> str:
    """What tells the tables of one fit from those of another: a checksum of its optimum x [p]."""
    return hashlib.sha256(np.ascontiguousarray(x, dtype=np.float64).tobytes()).hexdigest()[:16]


def figures(tables: Tables, pictures: Sequence[Picture] = PICTURES) -> dict[str, Figure]:
    """The figures of some pictures that the tables at hand allow: name -> figure."""
    return {picture.name: picture.draw(tables) for picture in pictures if all(name in tables for name in picture.needs)}


def carbon_section(tables: Tables, fit: str) -> str:
    """The section of the report: numbers, inventories and figures, in HTML; empty where there are no tables.

    Args:
        tables: of the folder of a fit.
        fit: fingerprint of the fit that the report is of; tables of another one are named as such.
    """
    if not tables:
        return ""
    content = stale_note(tables, fit, "export, sequestration and compare")
    if "scalars" in tables:
        content += _numbers(tables["scalars"])
    drawn = figures(tables)
    content += "".join(markup.image(drawn[p.name], p.caption) for p in PICTURES if p.name in drawn)
    return content


def stale_note(tables: Tables, fit: str, commands: str) -> str:
    """A warning that names the tables of another fit; empty where there are none.

    Args:
        tables: of a report.
        fit: fingerprint of the fit that the report is of.
        commands: words that name the commands to run again.

    Returns:
        HTML.
    """
    stale = sorted(name for name, table in tables.items() if table.attrs.get("fit") != fit)
    if not stale:
        return ""
    return (
        f'<p class="warning">Computed from another fit than this one: {markup.safe(", ".join(stale))}. Run the '
        f"commands {commands} again.</p>"
    )


def _numbers(table: xr.Dataset) -> str:
    """Numbers with their error bars beside the published ones."""
    scalings = [str(name).removeprefix("error_") for name in table.data_vars if str(name).startswith("error_")]
    rows = []
    for row, name in enumerate(table["scalar"].values.astype(str)):
        errors = [float(table[f"error_{scaling}"][row]) for scaling in scalings]
        value = float(table["value"][row])
        digits = markup.significant_digits(value, *errors)
        rows.append(
            [
                markup.safe(table["scalar_long_name"].values[row]),
                markup.number(value, min(digits, 5)),
                *(markup.number(error, 2) if np.isfinite(error) else "–" for error in errors),
                markup.unit(str(table["unit"].values[row])),
                published_text(name),
            ]
        )
    head = ["quantity", "value", *(f"± ({markup.safe(scaling)})" for scaling in scalings), "unit", "published"]
    note = (
        '<p class="note">Errors are one standard deviation from the error bars of the parameters, by exact gradients, '
        "with the ways to count observations named in the heading. They hold for this circulation and this model; the "
        "published ones are the spread of four versions of the model.</p>"
    )
    return markup.table(head, rows, text=(0, len(head) - 2)) + note
