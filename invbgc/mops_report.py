"""The report of the MOPS experiment: one HTML file with its numbers, those of the paper, and the figures."""

import base64
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import pandas as pd
import xarray as xr

from invbgc import __version__, markup
from invbgc.files import replaced

_CAPTIONS = {
    "mops_flux_ratio": "C:P of the particle flux against depth, for every run (figure 1b of the paper).",
    "mops_storage": "Stored carbon and pCO2 against C:P of regeneration, runs and theory (figure 3).",
    "mops_dic_difference": "Differences of DIC, zonal means of the Atlantic and the Pacific (figure S3).",
    "mops_suspended_ratio": "C:P of suspended matter at the surface and of the flux at 100 m.",
    "mops_series": "pCO2, export and stored carbon against the exponent of the carbon flux.",
}

_COLUMNS = {
    "b_C": "b_C", "pco2": "pCO2, ppm", "poc_export": "POC export, Pg C yr-1", "export_ratio": "C:P of export",
    "uptake_ratio": "C:P of uptake", "respired_carbon": "stored carbon, Pg", "respired_ratio": "C:P of regeneration",
}  # fmt: skip


def mops_section(table: xr.Dataset, rows: pd.DataFrame, figures: Sequence[Path]) -> str:
    """The experiment as a piece of HTML: runs, comparison with the paper, figures."""
    runs = [
        [markup.safe(name), *(markup.number(float(table[key].sel(run=name)), 4) for key in _COLUMNS)]
        for name in table["run"].values
    ]
    beside = [
        [markup.safe(row.quantity), markup.number(row.published), markup.number(row.found), markup.unit(str(row.unit))]
        for _, row in rows.iterrows()
    ]
    pictures = ""
    for path in figures:
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        caption = markup.safe(_CAPTIONS.get(path.stem, path.stem))
        pictures += (
            f'<figure class="wide-figure"><img alt="{caption}" src="data:image/png;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    return (
        f"<p>Carbon of ocean and atmosphere: {markup.number(table.attrs['total_carbon'], 6)} Pg C "
        f"({markup.safe(table.attrs['protocol'])}).</p>"
        + markup.table(["run", *(markup.safe(title) for title in _COLUMNS.values())], runs, text=[0])
        + "<h3>Beside the paper</h3><p>Marked rows lie outside the tolerance of a reproduction on the paper's own "
        "circulation.</p>"
        + markup.table(
            ["quantity", "published", "found", "unit"], beside, text=[0], flags=[not w for w in rows["within"]]
        )
        + pictures
    )


def write_report(path: Path, name: str, table: xr.Dataset, rows: pd.DataFrame, figures: Sequence[Path]) -> Path:
    """Write the report of an experiment as one HTML file without links to anything outside it.

    Args:
        path: file to write.
        name: of the run.
        table: of `invbgc.models.mops.experiment.experiment`.
        rows: of `invbgc.models.mops.published.beside_published`.
        figures: PNG files to show.

    Returns:
        The path.
    """
    style = files("invbgc").joinpath("data/report.css").read_text(encoding="utf-8")
    title = f"{markup.safe(name)}: MOPS with flexible C:P"
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{title}</title><style>{style}</style></head><body><header><h1>{title}</h1></header>"
        f"<main><section>{mops_section(table, rows, figures)}</section></main>"
        f"<footer>Made by invbgc {__version__}. Published values: Tanioka et al. (2021), Geophys. Res. Lett. 48."
        "</footer></body></html>\n"
    )
    with replaced(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
