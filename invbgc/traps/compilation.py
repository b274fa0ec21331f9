"""Quality rules for a compilation of particle fluxes from many studies, applied as named steps that report themselves.

The rules are those of Tanioka et al. (2021), who keep 54 pairs of carbon and phosphorus fluxes; the study of its own of
a station comes before the average over periods, which would else mix studies. The columns are those of
`invbgc.traps.table.COLUMNS`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from invbgc.errors import InputError
from invbgc.traps.table import Table, problems_table

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

    table: Table
    steps: Table
    dropped: Table


def screen(table: Table) -> Screened:
    """Apply the quality rules in their order.

    Args:
        table: usable rows (`invbgc.traps.table.usable`) with the columns `reference`, `latitude`, `longitude`, `depth`,
            `C` and `P`; the rules use `simultaneous`, `setting`, `year_published`, `station`, `start`, `end` and
            `P_kind` where they are there.

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

    def drop(step: str, rule: str, keep: Any) -> None:
        nonlocal left
        dropped.extend(_dropped(row, step, rule) for _, row in left[~keep].iterrows())
        steps.append({"step": step, "rule": rule, "before": len(left), "after": int(keep.sum())})
        left = left[keep]

    for step, (rule, keep) in _RULES.items():
        drop(step, rule, keep(left))
    drop("time series", "other studies of a station with a study of its own", _of_own_study(left))
    before = len(left)
    left, overlapping = _averaged(left)
    dropped.extend(overlapping)
    rule = "periods of one place and depth averaged, by duration; of overlapping ones the first"
    steps.append({"step": "one record for a place", "rule": rule, "before": before, "after": len(left)})
    return Screened(left.reset_index(drop=True), pd.DataFrame(steps), problems_table(dropped))


def _column(table: Table, name: str, default: str = "") -> Any:
    if name not in table:
        return pd.Series(default, index=table.index)
    return table[name].fillna(default).astype(str).str.strip().str.lower()


def _place(table: Table) -> list[Any]:
    """Keys of a place and depth: rounded positions; where a position is missing, every row is a place of its own."""
    known = np.isfinite(table["latitude"]) & np.isfinite(table["longitude"])
    alone = pd.Series(np.where(known, -1, table["row"]), index=table.index)
    rounded = [(table[name] / _SAME_PLACE).round().fillna(0.0) for name in ("latitude", "longitude")]
    return [*rounded, alone, table["depth"]]


def _best_phosphorus(table: Table) -> Any:
    """Rows whose kind of phosphorus is the best of their place, depth and period."""
    kind = _column(table, "P_kind")
    rank = kind.map({name: i for i, name in enumerate(PHOSPHORUS_KINDS)}).fillna(len(PHOSPHORUS_KINDS))
    return rank == rank.groupby([*_place(table), _column(table, "start")]).transform("min")


def _has_position(table: Table) -> Any:
    known = np.isfinite(table["latitude"]) & np.isfinite(table["longitude"])
    year = table["year_published"] if "year_published" in table else pd.Series(np.nan, index=table.index)
    return known | ~(year > POSITIONS_SINCE)


_RULES: dict[str, tuple[str, Callable[[Table], Any]]] = {
    "simultaneous": ("carbon and phosphorus are not of one sample", lambda t: _column(t, "simultaneous") != "no"),
    "open ocean": ("coastal or Southern Ocean", lambda t: ~_column(t, "setting").isin(["coastal", "southern ocean"])),
    "depth": (f"not deeper than {MIN_DEPTH:g} m", lambda t: t["depth"] > MIN_DEPTH),
    "position": (f"published after {POSITIONS_SINCE} without a position", _has_position),
    "phosphorus": ("a better kind of phosphorus is there (reactive, organic, total)", _best_phosphorus),
}
"""Step -> what is dropped, in words, and which rows stay."""


def _of_own_study(table: Table) -> Any:
    """Rows of the study that stands for a station, where that study is in the table; all rows of other places."""
    keep = pd.Series(True, index=table.index)
    station, reference = _column(table, "station"), _column(table, "reference")
    for name, word in TIME_SERIES.items():
        here, own = station == name.lower(), reference.str.contains(word.lower(), regex=False)
        if (here & own).any():
            keep &= ~here | own
    return keep


def _averaged(table: Table) -> tuple[Table, list[list[object]]]:
    """One row for each place and depth: fluxes averaged over periods that do not overlap, by duration.

    Where a period of a place has no dates, all of its periods count alike and none can be said to overlap.
    """
    dates = [pd.to_datetime(_column(table, name), format="%Y-%m-%d", errors="coerce") for name in ("start", "end")]
    rows, overlapping = [], []
    for _, index in table.groupby(_place(table), sort=False).groups.items():
        part, (start, end) = table.loc[index], (date.loc[index] for date in dates)
        days = pd.Series(1.0, index=index)
        if start.notna().all() and end.notna().all():
            days = (end - start).dt.days.clip(lower=1).astype(float)
            kept: list[Any] = []
            for i in start.sort_values(kind="stable").index:
                if kept and start[i] < end[kept[-1]]:
                    overlapping.append(_dropped(part.loc[i], "one record for a place", "overlaps"))
                else:
                    kept.append(i)
            part, days = part.loc[kept], days.loc[kept]
        row = part.iloc[0].copy()
        row["C"], row["P"] = (np.average(part[name], weights=days) for name in ("C", "P"))
        row["c_to_p"], row["mean_c_to_p"] = row["C"] / row["P"], part["c_to_p"].mean()
        row["n_periods"] = len(part)
        rows.append(row)
    return pd.DataFrame(rows, columns=table.columns), overlapping


def _dropped(row: Any, step: str, reason: str) -> list[object]:
    return [row["row"], row["profile"], row["depth"], step, reason, row["reference"]]
