"""What the choices of an analysis do to its answer: exponents for every way to read, screen and fit a table of fluxes.

The paper prints medians and says neither which replicates were used nor which fit; the table of all choices shows how
far the answer depends on them, and which come closest.
"""

from collections.abc import Callable
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from invbgc.errors import InputError
from invbgc.traps.arrays import profiles, ratio
from invbgc.traps.bats import from_replicates
from invbgc.traps.martin import METHODS, exponents
from invbgc.traps.statistics import compare

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

DEPTHS = {"150, 200, 300 m": (150.0, 200.0, 300.0), "150, 300 m": (150.0, 300.0)}
"""Name -> depths of a profile."""

SCREENS: dict[str, Callable[[xr.Dataset, xr.Dataset], np.ndarray]] = {
    "all": lambda data, fits: np.ones(data.sizes["profile"], bool),
    "core cruises": lambda data, fits: np.array([name.startswith("1") for name in data["profile"].values.astype(str)]),
    "fluxes fall": lambda data, fits: (data["flux"].diff("depth") < 0).all(("depth", "element")).to_numpy(),
    "r2 > 0.5": lambda data, fits: (fits["r2"].isel(fit=0) > 0.5).all("element").to_numpy(),
    "C:P 30 to 3000": lambda data, fits: _ratio_within(data, 30.0, 3000.0),
}
"""Name -> which profiles stay, from profiles and their exponents."""

_MIN_PROFILES = 10


def _ratio_within(data: xr.Dataset, low: float, high: float) -> np.ndarray:
    value = ratio(data, *map(str, data["element"].values))
    return ((value > low) & (value < high)).all("depth").to_numpy()


def all_choices(table: pd.DataFrame, years: tuple[tuple[float, float], ...] = ((2006, 2019),)) -> pd.DataFrame:
    """Medians of the exponents of carbon and phosphorus for every combination of choices that a table offers.

    Args:
        table: as from `invbgc.traps.bats.read_bats`; with other tables, choices about replicates and blanks fall away.
        years: first and last year of each choice of years.

    Returns:
        One row for each combination, nearest to the published medians first: the choices (`values`, `carbon`, `depths`,
        `years`, `screen`, `fit`), `n` profiles, the medians `b_P` and `b_C`, `difference`, `distance` from the
        published pair, and the p values of four tests.

    Raises:
        InputError: no combination has enough profiles.
    """
    rows = []
    for values, carbon, depths, span in product(VALUES, CARBON, DEPTHS, years):
        column, (statistic, at_least) = CARBON[carbon], VALUES[values]
        if column not in table or (statistic and f"{column}_1" not in table):
            continue
        chosen = table
        for name in (column, "P") if statistic else ():
            chosen = from_replicates(chosen, name, statistic, at_least)
        try:
            data, _ = profiles(chosen, (column, "P"), DEPTHS[depths], span)
        except InputError:  # this combination leaves nothing
            continue
        fits = exponents(data)
        for (screen, keep), fit in product(SCREENS.items(), METHODS):
            kept = fits["b"].sel(fit=fit)[keep(data, fits)].to_numpy()
            if len(kept) < _MIN_PROFILES:
                continue
            found = compare(kept[:, 1], kept[:, 0])
            rows.append(
                {
                    **{"values": values, "carbon": carbon, "depths": depths, "years": f"{span[0]:g}-{span[1]:g}"},
                    **{"screen": screen, "fit": fit, "n": found.n},
                    **{"b_P": found.medians[0], "b_C": found.medians[1], "difference": found.median_difference},
                    "distance": float(np.hypot(*(np.subtract(found.medians, tuple(PUBLISHED.values()))))),
                    **{"welch_p": found.welch_p, "paired_p": found.paired_p},
                    **{"signed_rank_p": found.signed_rank_p, "rank_sum_p": found.rank_sum_p},
                }
            )
    if not rows:
        raise InputError(f"Choices: found no combination with {_MIN_PROFILES} complete profiles of C and P.")
    return pd.DataFrame(rows).sort_values("distance", kind="stable", ignore_index=True)
