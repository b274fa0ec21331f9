"""Bottle data: a table of positions, times and values, with every exclusion counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.datasets.teos10 import density as density_of
from invbgc.errors import InputError
from invbgc.units import convert

FIXED_DENSITY = 1000.0 * SEAWATER_DENSITY_FACTOR
"""Density of seawater of Wang et al. (2023), kg m-3."""

GOOD_FLAG = 2
"""WOCE flag of a good measurement; 0 is a calculated or interpolated value, 9 is not measured."""

LOWEST_VALUE = -900.0
"""No quantity of the tables is that low; a lower value is a missing value that was not declared."""


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


def seawater_density(bottles: Bottles, kind: Literal["potential", "in_situ"]) -> np.ndarray:
    """Density of each bottle by TEOS-10.

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
    return density_of(
        bottles.variable("temperature"),
        bottles.variable("salinity"),
        bottles.depth,
        bottles.latitude,
        bottles.longitude,
        kind,
    )
