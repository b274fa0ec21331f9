"""Bottle data: a table of positions, times and values, read from public compilations, with every exclusion counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.errors import InputError
from invbgc.units import convert

FIXED_DENSITY = 1000.0 * SEAWATER_DENSITY_FACTOR
"""Density of seawater of Wang et al. (2023), kg m-3."""

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

GOOD_FLAG = 2
"""WOCE flag of a good measurement; 0 is a calculated or interpolated value, 9 is not measured."""

LOWEST_VALUE = -900.0
"""No quantity of the tables is that low; a lower value is a missing value that was not declared."""

DAYS_BEFORE_MONTH = np.cumsum([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30])


@dataclass(frozen=True)
class Step:
    """One exclusion: what was asked, of which variable, and the number of its values before and after."""

    name: str
    variable: str
    before: int
    after: int


@dataclass(frozen=True, eq=False)
class Bottles:
    """Water samples: one row per bottle, one array per variable, NaN where nothing usable was measured.

    Args:
        longitude: [n] degrees east, -180 to 360.
        latitude: [n] degrees north.
        depth: [n] m, positive down, NaN where unknown.
        time: [n] decimal years of 365 days, NaN where unknown.
        values: variable -> [n].
        units: variable -> unit.
        flags: variable -> [n] WOCE flags, for variables that have them.
        second_flags: variable -> [n], 1 where the cruise passed secondary quality control.
        month: [n] 1 to 12, 0 where unknown.
        source: file or origin, for messages and provenance.
        steps: the exclusions so far.

    Raises:
        InputError: lengths differ, a position is impossible, a variable has no unit, or a missing value is undeclared.
    """

    longitude: np.ndarray
    latitude: np.ndarray
    depth: np.ndarray
    time: np.ndarray
    values: Mapping[str, np.ndarray]
    units: Mapping[str, str]
    flags: Mapping[str, np.ndarray] = field(default_factory=dict)
    second_flags: Mapping[str, np.ndarray] = field(default_factory=dict)
    month: np.ndarray | None = None
    source: str = "bottles"
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        """Bring the columns to their types, then check them."""
        for name in ("longitude", "latitude", "depth", "time"):
            object.__setattr__(self, name, np.array(getattr(self, name), dtype=np.float64))
        values = {name: np.array(column, dtype=np.float64) for name, column in self.values.items()}
        object.__setattr__(self, "values", values)
        month = np.zeros(self.longitude.shape) if self.month is None else self.month
        object.__setattr__(self, "month", np.array(month, dtype=np.int64))
        self._check()

    def _check(self) -> None:
        columns = [(name, getattr(self, name)) for name in ("longitude", "latitude", "depth", "time", "month")]
        columns += [item for kind in (self.values, self.flags, self.second_flags) for item in kind.items()]
        for name, column in columns:
            if np.shape(column) != (self.longitude.size,):
                self._fail(name, f"shape {np.shape(column)}", f"{(self.longitude.size,)}, one per bottle")
        limits = {"longitude": (-180.0, 360.0), "latitude": (-90.0, 90.0), "depth": (0.0, 12_000.0)}
        for name, (low, high) in limits.items():
            column = getattr(self, name)
            bad = ~((column >= low) & (column <= high))
            if name == "depth":
                bad &= ~np.isnan(column)
            if bad.any():
                row = int(np.flatnonzero(bad)[0])
                found = f"{bad.sum()} values outside {low:g} to {high:g}, first {column[row]:g} in row {row + 1}"
                self._fail(name, found, f"{'m, positive down' if name == 'depth' else 'degrees'} in that range")
        for name, column in self.values.items():
            if name not in self.units:
                self._fail(name, "no unit", "an entry of units")
            undeclared = column[column < LOWEST_VALUE]
            if undeclared.size:
                found = f"{undeclared.size} values below {LOWEST_VALUE:g}, first {undeclared[0]:g}"
                self._fail(name, found, "missing= set to the file's missing value, or NaN")

    def _fail(self, variable: str, found: str, expected: str) -> None:
        raise InputError(f"Bottles {self.source}, variable '{variable}': {found}; expected {expected}.")

    def __len__(self) -> int:
        """Number of bottles."""
        return self.longitude.size

    def variable(self, name: str) -> np.ndarray:
        """Values [n] of a variable in `units[name]`, NaN where missing; InputError if there is no such variable."""
        if name not in self.values:
            self._fail(name, "not in the table", f"one of {', '.join(self.values)}")
        return self.values[name]

    def count(self, name: str) -> int:
        """Number of bottles that have a value of a variable."""
        return int(np.isfinite(self.variable(name)).sum())

    def keep(self, step: str, name: str, where: np.ndarray) -> "Bottles":
        """Keep the values of one variable where a condition holds, and report the step.

        Args:
            step: name of the exclusion.
            name: the variable.
            where: [n] true where values are kept.

        Returns:
            the table with the other values missing and one more entry in `steps`.
        """
        kept = np.where(where, self.variable(name), np.nan)
        record = Step(step, name, self.count(name), int(np.isfinite(kept).sum()))
        return replace(self, values={**self.values, name: kept}, steps=(*self.steps, record))

    def require_flags(self, name: str, accepted: Sequence[int] = (GOOD_FLAG,)) -> "Bottles":
        """Keep values whose WOCE flag is accepted.

        Args:
            name: a variable with flags.
            accepted: flags that are kept; (0, 2) keeps calculated and interpolated values too.

        Returns:
            the table, with a step "flag in ...".

        Raises:
            InputError: the variable has no flags.
        """
        if name not in self.flags:
            self._fail(name, "no flags", f"one of {', '.join(self.flags) or 'none'}")
        label = f"flag in {', '.join(str(flag) for flag in accepted)}"
        return self.keep(label, name, np.isin(self.flags[name], list(accepted)))

    def require_second_flag(self, name: str) -> "Bottles":
        """Keep values of cruises that passed secondary quality control (flag 1), as `require_flags`."""
        if name not in self.second_flags:
            self._fail(name, "no secondary flags", f"one of {', '.join(self.second_flags) or 'none'}")
        return self.keep("secondary quality control", name, self.second_flags[name] == 1)

    def require_range(self, name: str, low: float, high: float) -> "Bottles":
        """Keep values from low to high, both included, in the unit of the variable."""
        values = self.variable(name)
        return self.keep(f"from {low:g} to {high:g}", name, (values >= low) & (values <= high))

    def to_volume(
        self, name: str, density: float | Literal["potential", "in_situ"] = FIXED_DENSITY, unit: str = "mmol m-3"
    ) -> "Bottles":
        """An amount per mass as an amount per volume: x [mmol m-3] = rho/1000 x [umol kg-1].

        Args:
            name: the variable; if it is per volume already, it is brought to `unit` without a density.
            density: kg m-3, by default the 1024.5 of Wang et al. (2023); "potential" is that at the sea surface and
                "in_situ" that at the depth of the bottle, by TEOS-10 from its temperature and salinity.
            unit: unit wanted.

        Returns:
            the table; with a computed density, values without temperature or salinity are dropped as a step.

        Raises:
            InputError: units do not fit, the density is impossible, or the extra `prep` (gsw) is missing.
        """
        self.variable(name)
        table, litre = self, np.asarray(SEAWATER_DENSITY_FACTOR)
        if isinstance(density, str):
            rho = seawater_density(self, density)
            table, litre = self.keep(f"density {density}", name, np.isfinite(rho)), rho / 1000.0
        elif not 900.0 < density < 1100.0:
            self._fail(name, f"density {density!r}", "kg m-3, between 900 and 1100")
        else:
            litre = np.asarray(density / 1000.0)
        converted = convert(table.values[name], self.units[name], unit, density=litre)  # pyright: ignore[reportArgumentType]
        return replace(table, values={**table.values, name: converted}, units={**self.units, name: unit})


def seawater_density(bottles: Bottles, kind: str) -> np.ndarray:
    """Density of each bottle by TEOS-10 (McDougall and Barker 2011).

    Args:
        bottles: with "temperature" (degC, in situ) and "salinity" (practical).
        kind: "potential", at sea-level pressure, or "in_situ".

    Returns:
        [n] kg m-3, NaN where temperature, salinity or depth is missing.

    Raises:
        InputError: temperature or salinity is not in the table, the kind is unknown, or gsw is not installed.
    """
    if kind not in ("potential", "in_situ"):
        raise InputError(f"Bottles {bottles.source}: density '{kind}'; expected 'potential', 'in_situ' or a number.")
    try:
        import gsw
    except ImportError as error:
        raise InputError(
            f"Bottles {bottles.source}: a computed density needs gsw; expected pip install 'invbgc[prep]'."
        ) from error
    temperature, practical = bottles.variable("temperature"), bottles.variable("salinity")
    pressure = gsw.p_from_z(-bottles.depth, bottles.latitude)
    absolute = gsw.SA_from_SP(practical, pressure, bottles.longitude, bottles.latitude)
    conservative = gsw.CT_from_t(absolute, temperature, pressure)
    return np.asarray(gsw.rho(absolute, conservative, 0.0 * pressure if kind == "potential" else pressure))


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


def _read_columns(path: str | Path, names: Sequence[str], optional: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Numeric columns of a CSV file, float64."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Bottles: no file at {path}; check the path, or fetch the file first.")
    try:
        header = list(pd.read_csv(path, nrows=0).columns)
        absent = [name for name in names if name not in header]
        if absent:
            raise InputError(
                f"Bottles {path}: no column {', '.join(map(repr, absent))}; found {', '.join(map(str, header[:12]))}"
                f"{' ...' if len(header) > 12 else ''}; expected {', '.join(names)}."
            )
        table = pd.read_csv(path, usecols=[*names, *(name for name in optional if name in header)], low_memory=False)
    except (ValueError, OSError) as error:
        raise InputError(f"Bottles {path}: not a readable CSV table ({str(error).strip()}).") from error
    if table.empty:
        raise InputError(f"Bottles {path}: no rows; expected one per bottle.")
    result = {}
    for name in map(str, table.columns):
        column = pd.Series(table[name])
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
