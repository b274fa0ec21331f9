"""What the choices of an analysis do to its answer: exponents for every way to read, screen and fit a table of fluxes.

The paper prints medians and says neither which replicates were used nor which fit; the table of all choices shows how
far the answer depends on them, and which come closest.
"""

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from invbgc.traps.arrays import count_complete, profiles, ratio
from invbgc.traps.bats import from_replicates, has_replicates
from invbgc.traps.martin import METHODS, exponents
from invbgc.traps.statistics import compare
from invbgc.traps.table import Table

PUBLISHED = {"P": 1.28, "C": 0.98}
"""Medians of the exponents at Bermuda, Tanioka et al. (2021)."""

VALUES: dict[str, tuple[str, int]] = {
    "means of the file": ("", 0),
    "mean of replicates": ("mean", 1),
    "mean of two or more": ("mean", 2),
    "mean of three": ("mean", 3),
    "median of replicates": ("median", 1),
}
"""Name -> statistic over replicates and how many are needed; none for the means of the file."""

CARBON = {"as measured": "C", "blank-corrected": "C_corrected"}
"""Name -> column of the carbon flux."""

SCREENS: dict[str, Callable[[xr.Dataset, xr.Dataset], np.ndarray]] = {
    "all": lambda data, fits: np.ones(data.sizes["profile"], bool),
    "core cruises": lambda data, fits: np.array([name[0] != "2" for name in data["profile"].values.astype(str)]),
    "fluxes fall": lambda data, fits: (data["flux"].diff("depth") < 0).all(("depth", "element")).to_numpy(),
    "r2 > 0.5": lambda data, fits: (fits["r2"].isel(fit=0) > 0.5).all("element").to_numpy(),
    "C:P 30 to 3000": lambda data, fits: _ratio_within(data, 30.0, 3000.0),
}
"""Name -> which profiles stay, from profiles and their exponents."""

MIN_PROFILES = 10
"""Profiles without which medians are not compared."""


def _ratio_within(data: xr.Dataset, low: float, high: float) -> np.ndarray:
    value = ratio(data, *map(str, data["element"].values))
    return ((value > low) & (value < high)).all("depth").to_numpy()


def all_choices(
    table: Table,
    depths: Sequence[float] = (150.0, 200.0, 300.0),
    years: tuple[float, float] | None = (2006, 2019),
) -> Table:
    """Medians of the exponents of carbon and phosphorus for every combination of choices that a table offers.

    Args:
        table: as from `invbgc.traps.bats.read_bats`; with other tables, choices about replicates and blanks fall away.
        depths: of a profile, m; the first and the last alone are a choice too, for which all fits are one.
        years: first and last year; all where None.

    Returns:
        One row for each combination, nearest to the published medians first: the choices (`values`, `carbon`, `depths`,
        `screen`, `fit`), `n` profiles, the medians `b_P` and `b_C`, `difference`, `distance` from the published pair,
        and the p values of four tests. No row where no combination has `MIN_PROFILES` profiles.

    Raises:
        InputError: a column of C or P is missing, or there are fewer than two depths.
    """
    rows = []
    sets = [tuple(depths)] if len(depths) == 2 else [tuple(depths), (depths[0], depths[-1])]
    for values, carbon, chosen_depths in product(VALUES, CARBON, sets):
        column, (statistic, at_least) = CARBON[carbon], VALUES[values]
        if column not in table or (statistic and not (has_replicates(table, column) and has_replicates(table, "P"))):
            continue
        chosen = table
        for name in (column, "P") if statistic else ():
            chosen = from_replicates(chosen, name, statistic, at_least)
        if count_complete(chosen, (column, "P"), chosen_depths, years) < MIN_PROFILES:
            continue
        data, _ = profiles(chosen, (column, "P"), chosen_depths, years)
        fits = exponents(data, list(METHODS) if len(chosen_depths) > 2 else ["free"])
        for (screen, keep), fit in product(SCREENS.items(), map(str, fits["fit"].values)):
            kept = fits["b"].sel(fit=fit)[keep(data, fits)].to_numpy()
            if len(kept) < MIN_PROFILES:
                continue
            found = compare(kept[:, 1], kept[:, 0])
            rows.append(
                {
                    **{"values": values, "carbon": carbon, "depths": ", ".join(f"{z:g}" for z in chosen_depths) + " m"},
                    **{"screen": screen, "fit": fit, "n": found.n},
                    **{"b_P": found.medians[0], "b_C": found.medians[1], "difference": found.median_difference},
                    "distance": float(np.hypot(*(np.subtract(found.medians, tuple(PUBLISHED.values()))))),
                    **{"welch_p": found.welch_p, "paired_p": found.paired_p},
                    **{"signed_rank_p": found.signed_rank_p, "rank_sum_p": found.rank_sum_p},
                }
            )
    return pd.DataFrame(rows).sort_values("distance", kind="stable", ignore_index=True) if rows else pd.DataFrame()
