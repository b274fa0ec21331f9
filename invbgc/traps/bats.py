"""The sediment-trap file of the Bermuda Atlantic Time-series Study, as published (bats_flux_v*.txt).

Bermuda Institute of Ocean Sciences, doi 10.26008/1912/bco-dmo.894099; particle interceptor traps at 150, 200 and 300 m
(once also at 400 m) near 31 40'N, 64 10'W, up to three replicates of each flux.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from invbgc.constants import MOLAR_MASS
from invbgc.errors import InputError
from invbgc.traps.table import Table

HEADER = (
    *("cr", "dep", "yymmdd1", "yymmdd2", "decy1", "decy2", "lat1", "lat2", "long1", "long2"),
    *(f"{name}{end}" for name in ("m", "c", "n", "p", "fbc", "fbn") for end in ("1", "2", "3", "avg")),
)
"""Columns of the file, in lower case and without underscores."""

MISSING = -999.0
"""Sentinel of a missing value; zero means below the detection limit."""

REPLICATES = 3

# Column of the table -> (prefix in the file, divisor to mmol m-2 d-1 or, for mass, mg m-2 d-1)
_FLUXES = {
    "mass": ("m", 1.0),
    "C": ("c", MOLAR_MASS["C"]),
    "N": ("n", MOLAR_MASS["N"]),
    "P": ("p", 1.0),
    "C_corrected": ("fbc", MOLAR_MASS["C"]),
    "N_corrected": ("fbn", MOLAR_MASS["N"]),
}


def is_bats(path: str | Path) -> bool:
    """Whether a file begins like the published one."""
    try:
        with Path(path).open(encoding="latin-1") as file:
            return file.readline().strip().lower() == "/comments"
    except OSError:
        return False


def read_bats(path: str | Path) -> Table:
    """Read the published file of trap fluxes at Bermuda.

    Args:
        path: the file, with its header of comments, variables and flags.

    Returns:
        One row for each trap: `row` (line of the file), `profile` (cruise), `time` (decimal year of the middle of the
        deployment), `start` and `end` (YYYY-MM-DD), `depth` (m), `latitude`, `longitude` (degrees east); `mass`
        (mg m-2 d-1); `C`, `N`, `P` and the blank-corrected `C_corrected` and `N_corrected` (mmol m-2 d-1), the means of
        the file; and their replicates, such as `C_1`. Missing values are NaN, what is below detection 0.

    Raises:
        InputError: the file cannot be read, or its columns or a row are not those of this format.
    """
    path = Path(path)
    where = f"BATS flux file {path}"
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error}).") from error
    first = next((i for i, line in enumerate(lines) if line.strip().lower() == "/variables"), None)
    if first is None:
        raise InputError(f"{where}: found no line '/Variables'; expected the header of the published file.")
    start = next(i for i in range(first + 1, len(lines) + 1) if i == len(lines) or lines[i].strip())
    found = [] if start == len(lines) else [name.strip().lower().replace("_", "") for name in lines[start].split(",")]
    if tuple(name for name in found if name) != HEADER:
        raise InputError(f"{where}, line {start + 1}: found the columns {found}; expected {list(HEADER)}.")
    rows = []
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split()]
        except ValueError as error:
            raise InputError(f"{where}, line {number}: {error}; expected numbers.") from None
        if len(values) != len(HEADER):
            raise InputError(f"{where}, line {number}: found {len(values)} values; expected {len(HEADER)}.")
        rows.append([number, *values])
    if not rows:
        raise InputError(f"{where}: found no rows below the header.")
    raw = pd.DataFrame(rows, columns=["row", *HEADER]).replace(MISSING, np.nan)
    table = pd.DataFrame(
        {
            "row": raw["row"].astype(int),
            "profile": raw["cr"].map("{:.0f}".format),
            "time": 0.5 * (raw["decy1"] + raw["decy2"]),
            "start": raw["yymmdd1"].map(_date),
            "end": raw["yymmdd2"].map(_date),
            "depth": raw["dep"],
            "latitude": raw[["lat1", "lat2"]].mean(axis=1),
            "longitude": -raw[["long1", "long2"]].mean(axis=1),  # the file counts degrees west
        }
    )
    for name, (prefix, divisor) in _FLUXES.items():
        table[name] = raw[f"{prefix}avg"] / divisor
        for replicate in range(1, REPLICATES + 1):
            table[f"{name}_{replicate}"] = raw[f"{prefix}{replicate}"] / divisor
    return table


def has_replicates(table: Table, column: str) -> bool:
    """Whether a table has all replicates of a flux."""
    return set(_replicates(column)) <= set(table.columns)


def _replicates(column: str) -> list[str]:
    return [f"{column}_{replicate}" for replicate in range(1, REPLICATES + 1)]


def from_replicates(table: Table, column: str, statistic: str = "mean", at_least: int = 1) -> Table:
    """The table with a flux computed anew from its positive, finite replicates.

    Args:
        table: as from `read_bats`.
        column: a flux, such as "C".
        statistic: "mean" or "median".
        at_least: replicates needed; where there are fewer the flux is missing.

    Returns:
        a copy with the column replaced.

    Raises:
        InputError: the table has no replicates of the flux.
    """
    names = _replicates(column)
    if not has_replicates(table, column):
        raise InputError(f"Fluxes: found no replicates of '{column}'; expected the columns {', '.join(names)}.")
    values = table[names].where(np.isfinite(table[names]) & (table[names] > 0.0))
    summary = values.agg(statistic, axis=1).where(values.notna().sum(axis=1) >= at_least)
    return table.assign(**{column: summary})


def _date(value: float) -> str:
    text = f"{value:.0f}"
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if len(text) == 8 else ""
