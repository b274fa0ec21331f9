"""The numbers of Tanioka et al. (2021), and those of an experiment beside them."""

import numpy as np
import pandas as pd
import xarray as xr

from invbgc.models.mops.experiment import CONTROL, FIXED, run_name
from invbgc.storage import HORIZONS, PUBLISHED, REDFIELD, pco2_of_ratio, respired_ratio


def beside_published(table: xr.Dataset, lines: xr.Dataset) -> pd.DataFrame:
    """What the paper prints, what this ocean gives, and whether it lies within the tolerance of a reproduction.

    Ratios, slopes and the agreement with theory are the claim on another circulation than the paper's; absolute numbers
    are reported.

    Args:
        table: of `invbgc.models.mops.experiment.experiment`, with the run of b_C = 0.75.
        lines: of `invbgc.models.mops.experiment.theory`.

    Returns:
        Columns quantity, unit, published, found, tolerance, within.
    """
    control, fixed, steep = (table.sel(run=name) for name in (CONTROL, FIXED, run_name(0.75)))
    stored = {name: float(row["respired_carbon"]) for name, row in (("c", control), ("f", fixed), ("s", steep))}
    foreseen = lines.sel(run=run_name(0.75))
    nearest = [int(np.abs(lines["horizon"].values - horizon).argmin()) for horizon in HORIZONS]
    errors = lines["error_pco2"].values[nearest]
    per_p = lines.attrs["log_pco2_slope"]
    depth = (table["interface"].values >= 100.0) & (table["interface"].values <= 2000.0)
    fan = table["flux_ratio"].values[:, depth]
    rows = [
        ("C:P of net primary production, control", "1", 142.0, float(control["uptake_ratio"]), 5.0),
        ("C:P of the flux through 100 m, control", "1", 142.0, float(control["export_ratio"]), 5.0),
        ("C:P of regeneration at b_C 0.75, z' 1000 m", "1", 309.0,
         float(respired_ratio(0.75, table.attrs["b_P"], float(control["uptake_ratio"]))), 5.0),
        ("C:P of regeneration at b_C 0.75, run over control", "1", 309.0 / 142.0,
         float(steep["respired_ratio"] / control["respired_ratio"]), 0.2),
        ("pCO2, control", "ppm", 305.0, float(control["pco2"]), 15.0),
        ("pCO2 at b_C 0.75", "ppm", 128.0, float(steep["pco2"]), 10.0),
        ("pCO2 at b_C 0.75 minus control", "ppm", -177.0, float(steep["pco2"] - control["pco2"]), 15.0),
        ("pCO2 of the theory at b_C 0.75, best z'", "ppm", 125.7,
         float(foreseen["pco2"].sel(horizon=lines.attrs["best_pco2"])), 10.0),
        ("stored carbon at b_C 0.75 over control", "1", 2.18, stored["s"] / stored["c"], 0.15),
        ("stored carbon, control minus Redfield", "Pg C", 422.0, stored["c"] - stored["f"], 40.0),
        ("stored carbon, control over Redfield", "1", 1.21, stored["c"] / stored["f"], 0.02),
        ("POC export, control minus Redfield", "Pg C yr-1", 3.0,
         float(control["poc_export"] - fixed["poc_export"]), 0.5),
        ("pCO2, Redfield minus control", "ppm", 44.0, float(fixed["pco2"] - control["pco2"]), 15.0),
        ("pCO2 without life", "ppm", 651.0, table.attrs["abiotic_pco2"], 20.0),
        ("mean phosphate", "mmol m-3", 2.14, table.attrs["phosphate"], 0.03),
        ("mean preformed phosphate", "mmol m-3", 1.09, table.attrs["preformed_phosphate"], 0.05),
        ("d ln pCO2 / d C:P", "1", -0.00532181, per_p, 0.0005),
        ("best z' of 250, 1000, 2000 m", "m", 1000.0, HORIZONS[int(np.argmin(errors))], 0.0),
        ("best z', fine grid, by pCO2", "m", 1000.0, lines.attrs["best_pco2"], 250.0),
        ("best z', fine grid, by stored carbon", "m", 1000.0, lines.attrs["best_store"], 250.0),
        ("least C:P of the flux, 100 to 2000 m", "1", 83.0, float(np.nanmin(fan)), 20.0),
        ("greatest C:P of the flux, 100 to 2000 m", "1", 500.0, float(np.nanmax(fan)), 100.0),
        ("pCO2 with all phosphate regenerated at 117", "ppm", 183.0,
         float(pco2_of_ratio(REDFIELD, PUBLISHED.fully_regenerated)), 0.5),
        ("spread of total carbon over the runs, relative", "1", 0.0,
         float(np.ptp(table["total_carbon"].values) / table.attrs["total_carbon"]), 1e-8),
    ]  # fmt: skip
    names = ("quantity", "unit", "published", "found", "tolerance")
    frame = pd.DataFrame(rows, columns=pd.Index(names))
    frame["within"] = (frame["found"] - frame["published"]).abs() <= frame["tolerance"]
    return frame
