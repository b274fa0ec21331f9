"""A table of particle fluxes, one row for each trap: its columns, its reader, and the bad rows, each with its reason.

Rows that cannot be used are never dropped in silence: every function that takes some away returns them as well, as a
table of `row` (the line of the file), `profile`, `depth`, `column`, `reason` and `found`.
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from invbgc.constants import MOLAR_MASS
from invbgc.errors import InputError
from invbgc.units import convert

Table = Any
"""A pandas.DataFrame. Its own type makes a union with Series of every selection, which no checker can follow."""

FLUX_UNIT = "mmol m-2 d-1"
"""Unit of every flux of an element in a table; mass is in mg m-2 d-1."""

TYPICAL_FLUX = {"C": (0.03, 30.0), "N": (0.003, 5.0), "P": (1e-4, 0.3)}
"""mmol m-2 d-1: range of medians, over the traps of a file, in the upper 2000 m; outside, the unit is doubted."""

COLUMNS = {
    "profile": "name of the profile: traps of one array and one period have the same",
    "time": "decimal year of the middle of the period",
    "start": "first day, YYYY-MM-DD",
    "end": "last day, YYYY-MM-DD",
    "depth": "m, positive downward",
    "latitude": "degrees north",
    "longitude": "degrees east",
    "station": "name of the place; stands for `profile`, with `start`, where there is no such column",
    "reference": "study",
    "year_published": "year of the study",
    "setting": "open, coastal or southern ocean",
    "simultaneous": "yes where carbon and phosphorus are of the same sample; yes where the column is absent",
    "P_kind": "total, reactive or organic: which phosphorus the column P is",
}
"""Columns of a table of fluxes. Others named ``ELEMENT (UNIT)``, such as "C (mg m-2 d-1)", are fluxes."""

PROBLEM_COLUMNS = ("row", "profile", "depth", "column", "reason", "found")

MISSING = (-99.0, -999.0, -9999.0)
"""Values that stand for a missing flux."""

SLIP = 1000.0
"""Factor between units that are taken for each other: mol, mmol and umol."""

WORDS = {
    "setting": ("", "open", "coastal", "southern ocean"),
    "simultaneous": ("", "yes", "no"),
    "P_kind": ("", "reactive", "organic", "total"),
}
"""Columns with a choice of words, in lower case; empty is the first."""

RANGES = {"latitude": (-90.0, 90.0), "longitude": (-180.0, 360.0), "time": (1800.0, 2200.0)}
"""Columns with bounds, degrees and decimal years."""

_FLUX_HEADER = re.compile(r"^\s*([A-Z][a-z]?)(_\w+)?\s*\((.+)\)\s*$")
_NUMBERS = ("time", "depth", "latitude", "longitude", "year_published")


def problems_table(rows: Sequence[Sequence[object]] = ()) -> Table:
    """A table of problems from rows in the order of `PROBLEM_COLUMNS`."""
    return pd.DataFrame(list(rows), columns=list(PROBLEM_COLUMNS))


def read_flux_profiles(path: str | Path) -> Table:
    """Read a comma-separated table of particle fluxes, one row for each trap.

    Columns are those of `COLUMNS`, of which `depth` and `profile` (or `station` and `start`) are needed, and fluxes in
    any unit of an amount or a mass: ``C (mmol m-2 d-1)``, ``P (umol m-2 d-1)``, ``C (mg m-2 d-1)``. Lines that start
    with # are comments. An empty cell, or a value of `MISSING`, is a missing flux.

    Args:
        path: the file.

    Returns:
        One row for each trap: `row` (line of the file), the columns found, and the fluxes by element in mmol m-2 d-1.

    Raises:
        InputError: the file cannot be read, a column is missing or there twice, a number, a word, a date or a unit is
            not understood, a position is not on the globe, or a row has no profile.
    """
    path = Path(path)
    where = f"Flux table {path}"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read as text ({error}).") from error
    kept = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    if len(kept) < 2:
        raise InputError(f"{where}: found no row below a header; expected the columns {', '.join(COLUMNS)} and fluxes.")
    cells = [[cell.strip() for cell in row] for row in csv.reader(line for _, line in kept)]
    for (number, _), row in zip(kept, cells, strict=True):
        if len(row) != len(cells[0]):
            raise InputError(f"{where}, line {number}: found {len(row)} cells; expected {len(cells[0])}, one a column.")
    table = pd.DataFrame(cells[1:], columns=cells[0])
    table.insert(0, "row", [number for number, _ in kept[1:]])
    if "profile" not in table and {"station", "start"} <= set(table.columns):
        made = (table["station"] + " " + table["start"]).str.strip()
        table["profile"] = made.where(made != "", "line " + table["row"].astype(str))
    fluxes = {name: match for name in table.columns if (match := _FLUX_HEADER.match(name))}
    absent = [name for name in ("profile", "depth") if name not in table]
    if absent or not fluxes:
        raise InputError(
            f"{where}: found the columns {', '.join(table.columns[1:])}; expected profile (or station and start), depth"
            " and at least one flux such as 'C (mmol m-2 d-1)'."
        )
    for name in (*(n for n in _NUMBERS if n in table), *fluxes):
        table[name] = _numbers(table, name, where)
    _check_words(table, where)
    for name, match in fluxes.items():
        element, _, unit = match.groups()
        table[name] = to_amount(table[name].where(~table[name].isin(MISSING)), element, unit, where)
    table = table.rename(columns={name: match.group(1) + (match.group(2) or "") for name, match in fluxes.items()})
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise InputError(f"{where}: found the column {twice[0]} twice; expected one.")
    return table


def to_amount(values: Any, element: str, unit: str, where: str) -> Any:
    """Fluxes in mmol m-2 d-1, from amounts or masses of the element.

    Raises:
        InputError: the unit is not understood, is no flux, or the element's molar mass is not known.
    """
    mass = re.sub(rf"\b(\w*g)[ _]?{element}\b", r"\1", unit)
    numbers = values.to_numpy(float)
    if "mol" in mass:
        return pd.Series(convert(numbers, mass, FLUX_UNIT), values.index)
    if element not in MOLAR_MASS:
        raise InputError(
            f"{where}: the flux of '{element}' is in '{unit}'; expected an amount, or one of {', '.join(MOLAR_MASS)}."
        )
    return pd.Series(convert(numbers, mass, "mg m-2 d-1") / MOLAR_MASS[element], values.index)


def _numbers(table: Table, name: str, where: str) -> Any:
    cells = table[name]
    numbers: Any = pd.to_numeric(cells.where(cells != "", "nan"), errors="coerce")
    wrong = numbers.isna() & ~cells.str.lower().isin(["", "nan", "na"])
    if wrong.any():
        row = table.loc[wrong].iloc[0]
        raise InputError(f"{where}, line {row['row']}, column '{name}': found '{row[name]}'; expected a number.")
    return numbers


def _check_words(table: Table, where: str) -> None:
    """Raise at the first cell that is no known word, no date, out of bounds, or an empty profile."""

    def refuse(wrong: Any, name: str, expected: str) -> None:
        if wrong.any():
            row = table[wrong].iloc[0]
            raise InputError(f"{where}, line {row['row']}, column '{name}': found '{row[name]}'; expected {expected}.")

    for name, words in WORDS.items():
        if name in table:
            table[name] = table[name].str.lower()
            refuse(~table[name].isin(words), name, f"one of {', '.join(filter(None, words))}")
    for name, (low, high) in RANGES.items():
        if name in table:
            refuse(table[name].notna() & ~table[name].between(low, high), name, f"{low:g} to {high:g}, or nothing")
    for name in ("start", "end"):
        if name in table:
            dates = pd.to_datetime(table[name], format="%Y-%m-%d", errors="coerce")
            refuse(dates.isna() & (table[name] != ""), name, "YYYY-MM-DD, or nothing")
    refuse(table["profile"].str.strip() == "", "profile", "a name")


def usable(table: Table, elements: Sequence[str]) -> tuple[Table, Table]:
    """The rows in which depth and every flux can be used, and the others with their reasons.

    Reasons are "missing depth", "missing flux", "not a number" (infinite), "negative flux", "below detection" (zero),
    "duplicated" (the profile has the depth twice: a repetition counts once, two different values count not at all) and
    "unit slip" (a flux is off by 1000, within a factor of three, judged by the median and by the other elements).

    Args:
        table: as from `read_flux_profiles`.
        elements: columns of fluxes.

    Returns:
        The usable rows, and the problems.

    Raises:
        InputError: a column is missing, or the fluxes of an element are all of an odd size: its unit is wrong.
    """
    absent = [name for name in elements if name not in table]
    if absent:
        raise InputError(
            f"Fluxes: found the columns {', '.join(map(str, table.columns))}; expected also {', '.join(absent)}."
        )
    elements = list(elements)
    problems: list[list[object]] = []
    bad = np.zeros(len(table), dtype=bool)

    def report(wrong: np.ndarray, column: str, reason: str) -> None:
        fresh = wrong & ~bad
        bad[:] |= fresh
        for _, row in table[fresh].iterrows():
            problems.append([row["row"], row["profile"], row["depth"], column, reason, row[column]])

    depth = table["depth"].to_numpy(float)
    report(~(np.isfinite(depth) & (depth > 0.0)), "depth", "missing depth")
    for name in elements:
        value = table[name].to_numpy(float)
        for reason, wrong in (
            ("missing flux", np.isnan(value)),
            ("not a number", np.isinf(value)),
            ("negative flux", value < 0.0),
            ("below detection", value == 0.0),
        ):
            report(wrong, name, reason)
    _require_plausible(table[~bad], elements)
    for name, wrong in _slipped(table, elements, ~bad).items():
        report(wrong, name, "unit slip")
    key = ["profile", "depth"]
    good = table[~bad]
    repeated = good.duplicated([*key, *elements])
    clashing = good[~repeated].duplicated(key, keep=False)
    clash = good.set_index(key).index.isin(good.loc[clashing[clashing].index].set_index(key).index)
    wrong = np.zeros(len(table), dtype=bool)
    wrong[~bad] = repeated.to_numpy() | clash
    report(wrong, "depth", "duplicated")
    return table[~bad].copy(), problems_table(problems).sort_values("row", kind="stable", ignore_index=True)


def _require_plausible(good: Table, elements: Sequence[str]) -> None:
    """Units are checked by magnitude: no ocean has a median flux a thousand times too large."""
    for name in elements:
        limits = TYPICAL_FLUX.get(name.split("_")[0])
        if limits is None or good.empty:
            continue
        median = float(good[name].median())
        if not limits[0] <= median <= limits[1]:
            raise InputError(
                f"Fluxes, column '{name}': found a median of {median:.3g} {FLUX_UNIT}; expected {limits[0]:g} to "
                f"{limits[1]:g}. Is its unit right?"
            )


def _slipped(table: Table, elements: Sequence[str], sound: np.ndarray) -> dict[str, np.ndarray]:
    """Rows whose flux is off by about 1000 from the median of the table, and from the other fluxes of the row."""
    logs = pd.DataFrame({name: np.log10(table[name].where(sound)) for name in elements})
    logs = logs - logs.median()
    result = {}
    for name in elements:
        others = logs.drop(columns=name)
        apart = logs[name] - (others.median(axis=1) if len(others.columns) else 0.0)
        steps = [part.abs() - np.log10(SLIP) for part in (logs[name], apart)]
        result[name] = np.logical_and(*(part.abs() < 0.5 for part in steps)).to_numpy()
    return result
