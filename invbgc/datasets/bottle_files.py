"""Bottle tables from files: the DOM compilation, the merged GLODAPv2 file, and any table whose columns are named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from invbgc.datasets.bottles import Bottles
from invbgc.datasets.teos10 import depth_of_pressure
from invbgc.errors import InputError

DOM_COLUMNS = {"DON": "DONt_obs", "DOP": "DOPt_obs", "DOC": "DOCt_obs"}
"""Columns of the compilation of dissolved organic matter."""

DOM_UNIT = "mmol m-3"
"""Unit of its columns. The file does not state it: divided by 1.025 kg per litre, the values are those in umol kg-1 of
the DOC compilation that Wang et al. (2023) binned."""

DOM_DENSITY = 1025.0
"""Density with which the compilation was made, kg m-3, found from the same comparison."""

GLODAP_COLUMNS = {
    "temperature": ("G2temperature", "degC"),
    "salinity": ("G2salinity", "1"),
    "DIP": ("G2phosphate", "umol kg-1"),
    "DIC": ("G2tco2", "umol kg-1"),
    "ALK": ("G2talk", "umol kg-1"),
    "O2": ("G2oxygen", "umol kg-1"),
    "silicate": ("G2silicate", "umol kg-1"),
    "nitrate": ("G2nitrate", "umol kg-1"),
    "DOC": ("G2doc", "umol kg-1"),
    "D14C": ("G2c14", "permil"),
    "d13C": ("G2c13", "permil"),
}
"""Variable -> column of the merged GLODAPv2 file and its unit; `<column>f` holds the flag, `<column>qc` the second."""

GLODAP_MISSING = -9999.0
"""Missing value of the merged GLODAPv2 files."""

TABLE_COLUMNS = (
    *("longitude", "latitude", "depth", "pressure", "year", "month", "day", "date"),
    *("value", "flag", "temperature", "salinity"),
)
"""What the columns of a user's table may hold. Needed are longitude, latitude, value, and depth (m) or pressure (dbar);
date is a number such as 20010513."""

UNMEASURED_FLAG = 9
"""WOCE flag of a value that was not measured."""

DAYS_BEFORE_MONTH = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])


def read_dom_bottles(path: str | Path, missing: float = -999.0) -> Bottles:
    """The public compilation of dissolved organic matter (DOMobs.csv).

    Args:
        path: a CSV file with month (0 unknown), lon, lat, depth, DONt_obs, DOPt_obs, DOCt_obs.
        missing: missing value of the file.

    Returns:
        variables DON, DOP, DOC, mmol m-3; the years are unknown.

    Raises:
        InputError: the file or a column is missing, a column is not numeric, or a value is impossible.
    """
    table = _read_columns(path, ["month", "lon", "lat", "depth", *DOM_COLUMNS.values()])
    month = table["month"]
    if not np.isin(month, np.arange(13)).all():
        raise InputError(f"Bottles {path}, variable 'month': values up to {np.max(month):g}; expected 0 to 12.")
    return Bottles(
        longitude=table["lon"],
        latitude=table["lat"],
        depth=table["depth"],
        time=np.full(month.size, np.nan),
        values={name: _without(table[column], missing) for name, column in DOM_COLUMNS.items()},
        units=dict.fromkeys(DOM_COLUMNS, DOM_UNIT),
        month=month,
        source=str(path),
    )


def read_glodap_bottles(
    path: str | Path,
    variables: Sequence[str] = ("DIP", "DIC", "ALK", "O2"),
    missing: float = GLODAP_MISSING,
) -> Bottles:
    """The merged bottle file of GLODAPv2 (Olsen et al. 2016 and its updates), the named columns only.

    Temperature and salinity always come along. Values are as in the file: apply `require_flags`.

    Args:
        path: the CSV file, G2cruise,G2year,...
        variables: keys of `GLODAP_COLUMNS`.
        missing: missing value of the file.

    Returns:
        the variables with their flags; a bottle without depth has NaN there and is not binned.

    Raises:
        InputError: a variable is unknown, the file or a column is missing, or a value is impossible.
    """
    unknown = sorted(set(variables) - set(GLODAP_COLUMNS))
    if unknown:
        raise InputError(f"Bottles {path}: variables {unknown} are unknown; expected some of {list(GLODAP_COLUMNS)}.")
    names = list(dict.fromkeys(("temperature", "salinity", *variables)))
    columns = {name: GLODAP_COLUMNS[name][0] for name in names}
    flagged = [name for name in names if name != "temperature"]
    checked = [name for name in flagged if name not in ("DOC", "D14C")]
    wanted = [f"G2{name}" for name in ("year", "month", "day", "latitude", "longitude", "depth")]
    wanted += [*columns.values(), *(f"{columns[name]}f" for name in flagged)]
    optional = [f"{columns[name]}qc" for name in flagged]
    table = _read_columns(path, wanted, optional)
    for name in checked:
        if f"{columns[name]}qc" not in table:
            raise InputError(f"Bottles {path}: no column '{columns[name]}qc'; expected a merged GLODAPv2 file.")
    month = np.nan_to_num(_without(table["G2month"], missing)).astype(np.int64)
    return Bottles(
        longitude=table["G2longitude"],
        latitude=table["G2latitude"],
        depth=_without(table["G2depth"], missing),
        time=decimal_year(*(_without(table[f"G2{part}"], missing) for part in ("year", "month", "day"))),
        values={name: _without(table[column], missing) for name, column in columns.items()},
        units={name: GLODAP_COLUMNS[name][1] for name in names},
        flags={name: table[f"{columns[name]}f"].astype(np.int64) for name in flagged},
        second_flags={
            name: table[f"{columns[name]}qc"].astype(np.int64) for name in flagged if f"{columns[name]}qc" in table
        },
        month=month,
        source=str(path),
    )


def read_bottle_table(
    path: str | Path, variable: str, unit: str, columns: Mapping[str, str] | None = None, missing: float = -999.0
) -> Bottles:
    """One variable of any table of bottles, CSV or Excel.

    Args:
        path: the file; `.xlsx` needs openpyxl (extra `prep`), and its first sheet is taken.
        variable: the name that it gets.
        unit: unit of its values.
        columns: what (`TABLE_COLUMNS`) -> name of the column; what is not named here is looked for under its own name,
            and the value under the name of the variable.
        missing: missing value of the file; empty cells are missing too.

    Returns:
        the table, with flags, temperature and salinity where the file has them; dates as far as they are known.

    Raises:
        InputError: the file or a column is missing, a key of `columns` is unknown, or a value is impossible.
    """
    columns = dict(columns or {})
    unknown = sorted(set(columns) - set(TABLE_COLUMNS))
    if unknown:
        raise InputError(f"Bottles {path}: columns {unknown} are unknown; expected some of {', '.join(TABLE_COLUMNS)}.")
    names = {key: columns.get(key, variable if key == "value" else key) for key in TABLE_COLUMNS}
    header = _header(Path(path))
    vertical = "pressure" if "pressure" in columns or names["depth"] not in header else "depth"
    needed = {names[key] for key in ("longitude", "latitude", "value", vertical)} | set(columns.values())
    optional = {name for key, name in names.items() if key not in ("depth", "pressure")} - needed
    table = _read_columns(path, sorted(needed), sorted(optional), empty_is=missing)
    found = {key: _without(table[name], missing) for key, name in names.items() if name in table}
    unknown_part = np.full(found["longitude"].size, np.nan)
    parts = [found.get(part, unknown_part) for part in ("year", "month", "day")]
    if "date" in found:
        parts = [found["date"] // 10000, found["date"] // 100 % 100, found["date"] % 100]
    depth = found[vertical]
    if vertical == "pressure":
        depth = depth_of_pressure(depth, found["latitude"])
    also = {name: unit for name, unit in (("temperature", "degC"), ("salinity", "1")) if name in found}
    return Bottles(
        longitude=found["longitude"],
        latitude=found["latitude"],
        depth=depth,
        time=decimal_year(*parts),
        values={variable: found["value"]} | {name: found[name] for name in also},
        units={variable: unit} | also,
        flags={variable: np.nan_to_num(found["flag"], nan=UNMEASURED_FLAG).astype(np.int64)} if "flag" in found else {},
        month=np.nan_to_num(parts[1]).astype(np.int64),
        source=str(path),
    )


def decimal_year(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Middle of a day as decimal year of 365 days; of the month if the day is unknown, of the year without month.

    Args:
        year: [n], NaN where unknown.
        month: [n] 1 to 12, NaN where unknown.
        day: [n] 1 to 31, NaN where unknown; 29 February counts as the 28th.

    Returns:
        [n] decimal years, NaN where the year is unknown.
    """
    known = np.isfinite(month) & (month >= 1) & (month <= 12)
    index = np.where(known, month, 1).astype(np.int64) - 1
    length = np.diff(np.r_[DAYS_BEFORE_MONTH, 365])[index]
    days = np.where(np.isfinite(day) & (day >= 1), np.minimum(day, length) - 0.5, 0.5 * length)
    return year + np.where(known, (DAYS_BEFORE_MONTH[index] + days) / 365.0, 0.5)


def _without(column: np.ndarray, missing: float) -> np.ndarray:
    return np.where(column == missing, np.nan, column)


def _header(path: Path) -> list[str]:
    """Names of the columns of a table."""
    if not path.is_file():
        raise InputError(f"Bottles: no file at {path}; check the path, or fetch the file first.")
    return [str(name) for name in _pandas(path, nrows=0).columns]


def _pandas(path: Path, **options: Any) -> pd.DataFrame:
    """A table by pandas; what cannot be read is an InputError."""
    try:
        if path.suffix == ".xlsx":
            return pd.read_excel(path, **options)
        return pd.read_csv(path, low_memory=False, **options)
    except (ValueError, OSError, ImportError, BadZipFile) as error:
        raise InputError(f"Bottles {path}: not a readable table ({str(error).strip()}).") from error


def _read_columns(
    path: str | Path, names: Sequence[str], optional: Sequence[str] = (), empty_is: float | None = None
) -> dict[str, np.ndarray]:
    """Numeric columns of a table, float64; empty cells are an error unless they stand for a value."""
    path = Path(path)
    header = _header(path)
    absent = [name for name in names if name not in header]
    if absent:
        raise InputError(
            f"Bottles {path}: no column {', '.join(map(repr, absent))}; found {', '.join(header[:12])}"
            f"{' ...' if len(header) > 12 else ''}; expected {', '.join(names)}."
        )
    table = _pandas(path, usecols=[*names, *(name for name in optional if name in header)])
    if table.empty:
        raise InputError(f"Bottles {path}: no rows; expected one per bottle.")
    result = {}
    for name in map(str, table.columns):
        column = pd.Series(table[name])
        if empty_is is not None:
            column = column.fillna(empty_is)
        numbers = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
        bad = np.flatnonzero(np.isnan(numbers))
        if bad.size:
            raise InputError(
                f"Bottles {path}, column '{name}': {bad.size} entries are empty or not numbers, first "
                f"{column.iloc[bad[0]]!r} in row {bad[0] + 1}; expected numbers, or the missing value. Is the file "
                "complete?"
            )
        result[name] = numbers
    return result
