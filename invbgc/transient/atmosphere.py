"""Histories of the atmosphere: carbon dioxide, and radiocarbon in three zones of latitude.

Two small histories come with the package (``data/atmosphere_*.csv``, with source and licence in their first lines); any
file with the same columns can take their place. Values are interpolated linearly, and constant before the first year.
"""

import csv
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from invbgc.errors import InputError
from invbgc.files import read_netcdf
from invbgc.grid import OceanGrid
from invbgc.transient.integrate import Clock

Columns = tuple[str, ...]

CO2_COLUMNS: tuple[Columns, ...] = (
    ("year", "pCO2_uatm"),
    ("decimal date", "deseasonalized"),  # NOAA, Mauna Loa by month
    ("year", "month", "data_mean_global"),  # CMIP6, by month
)
"""Forms of a record of CO2: the decimal year, or year and month, and the value."""

D14C_COLUMNS: tuple[Columns, ...] = (("year", "D14C_north_permil", "D14C_tropics_permil", "D14C_south_permil"),)
"""Forms of a record of radiocarbon: the decimal year, and the northern, tropical and southern zone."""

ZONE_EDGES = (26.7, -24.7)
"""Latitudes between the northern, tropical and southern zone of the atmosphere, degrees (Wang et al. 2023)."""

TREND_YEARS = 10.0
"""Length of the last part of a record whose trend carries it beyond its end."""


@dataclass(frozen=True, eq=False)
class Record:
    """One history.

    Attributes:
        years: [m] decimal years, increasing.
        values: [m], or [m, zones], or [m, n_columns].
        source: where it comes from, and what was done to it.
    """

    years: np.ndarray
    values: np.ndarray
    source: str

    def at(self, year: float) -> Any:
        """Values at a decimal year; see the module's docstring."""
        last = int(np.clip(np.searchsorted(self.years, year, side="right"), 1, self.years.size - 1))
        before, after = self.years[last - 1], self.years[last]
        share = np.clip((year - before) / (after - before), 0.0, 1.0)
        return (1.0 - share) * self.values[last - 1] + share * self.values[last]

    def completed_by(self, other: "Record") -> "Record":
        """This record where it has values, another one before its start and after its end."""
        earlier, later = other.years < self.years[0], other.years > self.years[-1]
        if not (earlier | later).any():
            return self
        return Record(
            np.concatenate([other.years[earlier], self.years, other.years[later]]),
            np.concatenate([other.values[earlier], self.values, other.values[later]]),
            f"{self.source}; outside {self.years[0]:g} to {self.years[-1]:g}: {other.source}",
        )

    def carried_to(self, year: float) -> "Record":
        """This record, carried to a later year by the trend of its last ten years."""
        if year <= self.years[-1]:
            return self
        before = self.at(self.years[-1] - TREND_YEARS)
        slope = (self.values[-1] - before) / TREND_YEARS
        return Record(
            np.append(self.years, year),
            np.concatenate([self.values, (self.values[-1] + slope * (year - self.years[-1]))[None]]),
            f"{self.source}; after {self.years[-1]:g}: trend of its last {TREND_YEARS:g} years",
        )


@dataclass(frozen=True, eq=False)
class Atmosphere:
    """What lies over the ocean through the years.

    Attributes:
        co2: pCO2, uatm.
        d14c: D14C in permil of the northern, tropical and southern zone.
        sst: temperature of the sea surface [m, n_columns] degC, or None where it stays as it is.
    """

    co2: Record
    d14c: Record
    sst: Record | None = None

    def covering(self, clock: Clock) -> "Atmosphere":
        """Histories that reach the end of a run, carried on by their trends for ten years at most.

        Raises:
            InputError: a record ends more than ten years before the run, or begins after it.
        """
        end = clock.start + clock.years
        for name, record in (("co2", self.co2), ("d14c", self.d14c), ("sst", self.sst)):
            if record is None:
                continue
            if record.years[-1] + TREND_YEARS < end or record.years[0] > clock.start + 1.0:
                raise InputError(
                    f"atmosphere, {name}: record from {record.years[0]:g} to {record.years[-1]:g} ({record.source}); "
                    f"expected one of the years {clock.start:g} to {end:g}, or up to {TREND_YEARS:g} fewer at the end."
                )
        sst = None if self.sst is None else self.sst.carried_to(end)
        return replace(self, co2=self.co2.carried_to(end), d14c=self.d14c.carried_to(end), sst=sst)


def read_record(path: str | Path, forms: Sequence[Columns]) -> Record:
    """Read a history from a comma-separated file; lines that begin with # are comments, the first one the source.

    Args:
        path: the file.
        forms: names of the columns that a file may have; the first form that it has is read.

    Raises:
        InputError: the file is missing, has none of the forms, a cell is no number, or the years do not increase.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"atmospheric record {path}: no such file")
    lines = _lines(path)
    notes = [line.lstrip("# ") for line in lines if line.startswith("#")]
    reader = csv.DictReader((line for line in lines if line and not line.startswith("#")), skipinitialspace=True)
    present = tuple(reader.fieldnames or ())
    columns = next((form for form in forms if set(form) <= set(present)), None)
    if columns is None:
        wanted = " or ".join(", ".join(form) for form in forms)
        raise InputError(f"atmospheric record {path}: columns {', '.join(present) or 'none'}; expected {wanted}")
    try:
        table = np.array([[float(row[name]) for name in columns] for row in reader])
    except (TypeError, ValueError) as error:
        raise InputError(f"atmospheric record {path}: a cell is no number ({error})") from None
    if table.size and columns[1] == "month":
        table = np.column_stack([table[:, 0] + (table[:, 1] - 0.5) / 12.0, table[:, 2:]])
    if len(table) < 2 or not np.isfinite(table).all() or np.any(np.diff(table[:, 0]) <= 0.0):
        raise InputError(f"atmospheric record {path}: {len(table)} rows; expected two at least, with increasing years")
    values = table[:, 1] if table.shape[1] == 2 else table[:, 1:]
    return Record(table[:, 0], values, f"{path.name}{f' ({notes[0]})' if notes else ''}")


def _lines(path: Path) -> list[str]:
    """Lines of a text file, or of the table of Graven et al. (2017) in its archive under our names of the columns."""
    try:
        if path.suffix != ".zip":
            return path.read_text(encoding="utf-8-sig").splitlines()
        with zipfile.ZipFile(path) as archive:
            member = next(name for name in archive.namelist() if name.endswith("TableS1.csv"))
            lines = archive.read(member).decode("utf-8-sig").splitlines()
    except (StopIteration, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"atmospheric record {path}: no text, nor an archive with TableS1.csv ({error}); expected a CSV file"
        ) from None
    first = next((number for number, line in enumerate(lines) if re.match(r"\s*1[89]\d\d", line)), len(lines))
    head = " ".join(lines[:first]).upper()
    places = [head.find(zone) for zone in ("NH", "TROP", "SH")]
    if not 0 <= places[0] < places[1] < places[2]:
        raise InputError(f"atmospheric record {path}: {member} has no heading NH, Tropics, SH in this order")
    return [",".join(D14C_COLUMNS[0]), *lines[first:]]


def load_atmosphere(co2: str | Path | None = None, d14c: str | Path | None = None) -> Atmosphere:
    """The histories of the package, or those of files; what a file of CO2 lacks is taken from the package.

    Args:
        co2: file in one of the forms `CO2_COLUMNS`.
        d14c: file in one of the forms `D14C_COLUMNS`.

    Raises:
        InputError: as `read_record`.
    """
    data = files("invbgc.data")
    own_co2 = read_record(Path(str(data / "atmosphere_co2.csv")), CO2_COLUMNS)
    own_d14c = read_record(Path(str(data / "atmosphere_d14c.csv")), D14C_COLUMNS)
    return Atmosphere(
        own_co2 if co2 is None else read_record(co2, CO2_COLUMNS).completed_by(own_co2),
        own_d14c if d14c is None else read_record(d14c, D14C_COLUMNS),
    )


def read_sst(path: str | Path, grid: OceanGrid) -> Record:
    """Temperature of the sea surface, ``sea_surface_temperature`` (year, latitude, longitude) degC on the grid.

    Raises:
        InputError: the file or the variable is missing, or it is not on the grid.
    """
    with read_netcdf(path, "sea-surface temperature") as data:
        name = "sea_surface_temperature"
        if name not in data or "year" not in data[name].dims:
            found = ", ".join(f"{key} {part.dims}" for key, part in data.data_vars.items()) or "none"
            raise InputError(f"{path}: no variable {name} (year, latitude, longitude); found {found}")
        years = data["year"].values.astype(float)
        values = np.array([grid.pack_surface(data[name].isel(year=number)) for number in range(years.size)])
    if years.size < 2 or np.any(np.diff(years) <= 0.0) or not np.isfinite(values).all():
        raise InputError(f"{path}: {years.size} years; expected two at least, increasing, with values in every column")
    return Record(years, values, Path(path).name)


def zone_of_columns(grid: OceanGrid) -> np.ndarray:
    """Zone of the atmosphere over each water column [n_columns]: 0 northern, 1 tropical, 2 southern."""
    latitude = grid.latitude[np.nonzero(grid.wet[0])[0]]
    return np.where(latitude > ZONE_EDGES[0], 0, np.where(latitude > ZONE_EDGES[1], 1, 2))
