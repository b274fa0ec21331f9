"""Profiles of particle fluxes: the traps of one array and one period, at the depths asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from invbgc.errors import InputError
from invbgc.traps.table import FLUX_UNIT, Table, problems_table, usable


def profiles(
    table: Table,
    elements: Sequence[str] = ("C", "P"),
    depths: Sequence[float] = (150.0, 200.0, 300.0),
    years: tuple[float, float] | None = None,
) -> tuple[xr.Dataset, Table]:
    """Profiles that are complete: every depth has a usable flux of every element.

    Args:
        table: as from `invbgc.traps.bats.read_bats` or `invbgc.traps.table.read_flux_profiles`.
        elements: columns of fluxes.
        depths: m, at least two; rows at other depths are left aside.
        years: first and last year, both whole; all where None.

    Returns:
        Dataset on (`profile`, `depth`, `element`) with `flux`, mmol m-2 d-1, and the coordinates `time` (decimal year),
        `latitude` and `longitude` of a profile, and the attributes `other_depths` and `other_years`, numbers of rows
        that were not asked for; and the problems: rows that cannot be used, have no time, or belong to a profile with
        "fewer than N depths".

    Raises:
        InputError: a column is missing, an element's unit must be wrong, or no profile is complete.
    """
    depths, chosen, asked, rows = _asked(table, depths, years)
    good, problems = usable(chosen[asked | ~(chosen["depth"] > 0.0)], elements)
    count = good.groupby("profile", sort=False)["depth"].nunique()
    complete = count.index[count == len(depths)]
    for _, row in good[~good["profile"].isin(complete)].iterrows():
        found = f"{count[row['profile']]} of {len(depths)}"
        rows.append([row["row"], row["profile"], row["depth"], "depth", f"fewer than {len(depths)} depths", found])
    problems = pd.concat([problems, problems_table(rows)], ignore_index=True) if rows else problems
    if not len(complete):
        raise InputError(
            f"Profiles: found none with the depths {depths} m and fluxes of {', '.join(elements)} among {len(chosen)} "
            f"rows; the depths there are {sorted(set(chosen['depth'].dropna()))[:10]}."
        )
    good = good[good["profile"].isin(complete)].sort_values(["profile", "depth"], kind="stable")
    flux = good[list(elements)].to_numpy(float).reshape(len(complete), len(depths), len(elements))
    coordinates = {
        name: ("profile", good.groupby("profile")[name].mean().to_numpy(float), attrs)
        for name, attrs in (
            ("time", {"units": "1", "long_name": "decimal year"}),
            ("latitude", {"units": "degrees_north"}),
            ("longitude", {"units": "degrees_east"}),
        )
        if name in good
    }
    result = xr.Dataset(
        {"flux": (("profile", "depth", "element"), flux, {"units": FLUX_UNIT, "long_name": "flux of an element"})},
        {
            "profile": good["profile"].to_numpy(object)[:: len(depths)].astype(str),
            "depth": ("depth", depths, {"units": "m", "positive": "down"}),
            "element": list(elements),
            **coordinates,
        },
        {"other_depths": int((~asked & (chosen["depth"] > 0.0)).sum()), "other_years": len(table) - len(chosen)},
    )
    return (result.sortby("time") if "time" in coordinates else result), problems


def count_complete(
    table: Table, elements: Sequence[str], depths: Sequence[float], years: tuple[float, float] | None
) -> int:
    """Number of profiles that `profiles` would find complete, 0 included; its arguments and errors otherwise."""
    depths, chosen, asked, _ = _asked(table, depths, years)
    good, _ = usable(chosen[asked], elements)
    return int((good.groupby("profile")["depth"].nunique() == len(depths)).sum())


def _asked(
    table: Table, depths: Sequence[float], years: tuple[float, float] | None
) -> tuple[list[float], Table, Any, list[list[object]]]:
    """The depths in order; the rows of the years; which of them are at the depths; problems of rows without time."""
    depths = sorted({float(depth) for depth in depths})
    if len(depths) < 2:
        raise InputError(f"Profiles: found the depths {depths}; expected at least two that differ.")
    chosen, rows = table, []
    if "time" in table:
        untimed = ~np.isfinite(table["time"].astype(float))
        for _, row in table[untimed].iterrows():
            rows.append([row["row"], row["profile"], row["depth"], "time", "missing time", np.nan])
        chosen = table[~untimed]
    if years is not None:
        if "time" not in table:
            raise InputError("Profiles: found no column 'time'; expected decimal years, to choose years by.")
        chosen = chosen[(chosen["time"] >= years[0]) & (chosen["time"] < years[1] + 1)]
    return depths, chosen, chosen["depth"].isin(depths), rows


def ratio(data: xr.Dataset, numerator: str = "C", denominator: str = "P") -> xr.DataArray:
    """Ratio of two fluxes of each trap, mol per mol.

    Args:
        data: as from `profiles`.
        numerator: an element of it.
        denominator: another.

    Returns:
        on (`profile`, `depth`).
    """
    quotient = data["flux"].sel(element=numerator, drop=True) / data["flux"].sel(element=denominator, drop=True)
    return quotient.rename(f"{numerator}:{denominator}").assign_attrs(units="1", long_name=f"{numerator}:{denominator}")
