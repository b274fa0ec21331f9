"""Quality rules for a compilation of particle fluxes from many studies, applied as named steps that report themselves.

The rules are those of Tanioka et al. (2021), who keep 54 pairs of carbon and phosphorus fluxes. The columns are those
of `invbgc.traps.table.COLUMNS`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from invbgc.errors import InputError
from invbgc.traps.table import problems_table

MIN_DEPTH = 100.0
"""m; shallower traps catch swimmers and lie within the euphotic zone."""

POSITIONS_SINCE = 2005
"""Studies published after this year must give their positions."""

TIME_SERIES = {"ALOHA": "Grabowski", "BATS": "Lomas"}
"""Station -> study whose values stand for it: Grabowski et al. (2019), Lomas et al. (2010)."""

PHOSPHORUS_KINDS = ("reactive", "organic", "total")
"""Kinds of phosphorus, the best first: reactive is authigenic and organic phosphorus, total has detrital minerals."""

_SAME_PLACE = 0.05
_NEEDED = ("reference", "latitude", "longitude", "C", "P")


class Screened(NamedTuple):
    """A compilation after its quality rules.

    Attributes:
        table: the rows that are left, with `c_to_p` (of the mean fluxes), `mean_c_to_p` (mean of the ratios, mol per
            mol) and `n_periods`.
        steps: one row for each rule: `step`, `rule`, `before` and `after`.
        dropped: the rows taken away, as problems.
    """

    table: pd.DataFrame
    steps: pd.DataFrame
    dropped: pd.DataFrame


def screen(table: pd.DataFrame, time_series: Mapping[str, str] = TIME_SERIES) -> Screened:
    """Apply the quality rules in their order.

    Args:
        table: usable rows (`invbgc.traps.table.usable`) with the columns `reference`, `latitude`, `longitude`, `depth`,
            `C` and `P`; the rules use `simultaneous`, `setting`, `year_published`, `station`, `start`, `end` and
            `P_kind` where they are there.
        time_series: station -> word in the reference of the study that stands for it.

    Returns:
        what is left, the steps, and what was dropped and why.

    Raises:
        InputError: a needed column is missing.
    """
    absent = [name for name in _NEEDED if name not in table]
    if absent:
        raise InputError(
            f"Compilation: found the columns {', '.join(map(str, table.columns))}; expected also {', '.join(absent)}."
        )
    left = table.assign(n_periods=1, c_to_p=table["C"] / table["P"], mean_c_to_p=table["C"] / table["P"])
    steps, dropped = [], []

    def drop(step: str, rule: str, keep: pd.Series) -> None:
        nonlocal left
        away = left[~keep]
        dropped.extend(
            [r["row"], r.get("profile", ""), r["depth"], step, rule, r["reference"]] for _, r in away.iterrows()
        )
        steps.append({"step": step, "rule": rule, "before": len(left), "after": int(keep.sum())})
        left = left[keep]

    for step, (rule, keep) in _RULES.items():
        drop(step, rule, keep(left))
    drop("time series", "other studies of a station with a study of its own", _of_own_study(left, time_series))
    before = len(left)
    left, overlapping = _averaged(left)
    dropped.extend(overlapping)
    rule = "periods of one place and depth averaged, by duration; of overlapping ones the first"
    steps.append({"step": "one record for a place", "rule": rule, "before": before, "after": len(left)})
    return Screened(left.reset_index(drop=True), pd.DataFrame(steps), problems_table(dropped))


def _column(table: pd.DataFrame, name: str, default: str = "") -> pd.Series:
    if name not in table:
        return pd.Series(default, index=table.index)
    return table[name].fillna(default).astype(str).str.strip().str.lower()


def _best_phosphorus(table: pd.DataFrame) -> pd.Series:
    """Rows whose kind of phosphorus is the best of their place, depth and period."""
    kind = _column(table, "P_kind")
    rank = kind.map({name: i for i, name in enumerate(PHOSPHORUS_KINDS)}).fillna(len(PHOSPHORUS_KINDS))
    best = rank.groupby([table["latitude"], table["longitude"], table["depth"], _column(table, "start")], dropna=False)
    return rank == best.transform("min")


def _has_position(table: pd.DataFrame) -> pd.Series:
    known = np.isfinite(table["latitude"]) & np.isfinite(table["longitude"])
    year = table["year_published"] if "year_published" in table else pd.Series(np.nan, index=table.index)
    return known | ~(year > POSITIONS_SINCE)


_RULES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "phosphorus": ("a better kind of phosphorus is there (reactive, organic, total)", _best_phosphorus),
    "simultaneous": (
        "carbon and phosphorus are not of one sample",
        lambda t: _column(t, "simultaneous", "yes") == "yes",
    ),
    "open ocean": ("coastal or Southern Ocean", lambda t: ~_column(t, "setting").isin(["coastal", "southern ocean"])),
    "depth": (f"not deeper than {MIN_DEPTH:g} m", lambda t: t["depth"] > MIN_DEPTH),
    "position": (f"published after {POSITIONS_SINCE} without a position", _has_position),
}
"""Step -> what is dropped, in words, and which rows stay."""


def _of_own_study(table: pd.DataFrame, time_series: Mapping[str, str]) -> pd.Series:
    """Rows of the study that stands for a station, where that study is in the table; all rows of other places."""
    keep = pd.Series(True, index=table.index)
    station, reference = _column(table, "station"), _column(table, "reference")
    for name, word in time_series.items():
        here, own = station == name.lower(), reference.str.contains(word.lower(), regex=False)
        if (here & own).any():
            keep &= ~here | own
    return keep


def _averaged(table: pd.DataFrame) -> tuple[pd.DataFrame, list[list[object]]]:
    """One row for each place and depth: fluxes averaged by duration over periods that do not overlap."""
    if "start" not in table or "end" not in table:
        return table, []
    where = ["latitude", "longitude", "depth"]
    rounded = table.assign(**{name: (table[name] / _SAME_PLACE).round() for name in ("latitude", "longitude")})
    rows, overlapping = [], []
    for _, index in rounded.groupby(where, sort=False, dropna=False).groups.items():
        part = table.loc[index]
        start, end = (pd.to_datetime(part[name], errors="coerce") for name in ("start", "end"))
        order = start.sort_values(kind="stable").index
        kept: list[object] = []
        for i in order:
            if kept and start[i] < end[kept[-1]]:
                r = part.loc[i]
                overlapping.append(
                    [r["row"], r.get("profile", ""), r["depth"], "one record for a place", "overlaps", r["reference"]]
                )
            else:
                kept.append(i)
        part, days = part.loc[kept], (end - start).dt.days.loc[kept].clip(lower=1).fillna(1).to_numpy(float)
        row = part.iloc[0].copy()
        row["C"], row["P"] = (np.average(part[name], weights=days) for name in ("C", "P"))
        row["c_to_p"], row["mean_c_to_p"] = row["C"] / row["P"], part["c_to_p"].mean()
        row["n_periods"] = len(part)
        rows.append(row)
    return pd.DataFrame(rows), overlapping
