"""Fluxes of carbon against a user's table of them: sediment traps, and net community production.

A trap is compared with the flux of particulate organic carbon at its depth, net community production with the export
of total organic carbon at its horizon or at the base of the maximum mixed layer. Two laws give the model's value: the
continuous one, f(z_0) (z / z_0)^-b, and the flux of the model's own scheme.
"""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from invbgc.constants import CARBON_MOLAR_MASS
from invbgc.diagnostics.export import FLUX_UNIT, flux_at_depth, flux_at_mixed_layer
from invbgc.diagnostics.places import STATIONS, at_stations, boxes_around
from invbgc.errors import InputError
from invbgc.tomlfile import join_problems
from invbgc.units import convert

KINDS = {"trap": "particulate organic carbon", "ncp": "total organic carbon"}
"""Kinds of observations, with the flux of the model that each measures."""

LAWS = ("continuous", "discrete")
"""Laws of the flux below the euphotic zone; dissolved carbon follows the continuous one in both."""

ALL_STATIONS = "all stations"
"""Label of the summary over all observations of a kind."""

QUARTILES = (0.25, 0.5, 0.75)

_NEEDED = ("depth", "value", "error", "unit")
_POSITION = ("latitude", "longitude")
_MASS_OF_CARBON = re.compile(r"\b(\w*g)[ _]?C\b")


def carbon_flux(value: float, unit: str) -> float:
    """A flux of carbon in mol m-2 yr-1, from an amount or from grams of carbon at 12 g mol-1.

    Args:
        value: in `unit`.
        unit: such as "mol m-2 yr-1", "mmol C m-2 d-1" or "mg C m-2 d-1".

    Returns:
        mol m-2 yr-1, of years of 365 days.

    Raises:
        InputError: the unit is not understood or not that of a flux of carbon.

    Examples:
        >>> round(carbon_flux(32.8767, "mg C m-2 d-1"), 5)
        1.0
    """
    mass = _MASS_OF_CARBON.sub(r"\1", unit)
    if mass != unit:
        return convert(value, mass, "g m-2 yr-1") / CARBON_MOLAR_MASS
    return convert(value, unit, FLUX_UNIT)


def read_flux_table(path: str | Path) -> xr.Dataset:
    """Read observed fluxes of carbon from a comma-separated file with one observation a line.

    Columns, in any order, others are ignored:

        station              a name; its position is known for ALOHA, BATS, OSP, CARIACO, PAP and K2
        latitude, longitude  degrees north and east; needed for other stations
        depth                m, positive downward; may be empty for ncp: the base of the maximum mixed layer
        value                the flux, positive downward
        error                its standard deviation; may be empty
        unit                 mol m-2 yr-1, mg C m-2 d-1 or another unit of a flux of carbon
        kind                 trap (also where there is no such column) or ncp, net community production
        source               free text, optional

    Args:
        path: the file.

    Returns:
        On `observation`: `observed` and `observed_error`, mol m-2 yr-1; coordinates `station`, `kind`, `latitude`,
        `longitude`, `depth` (NaN: base of the mixed layer), `source` and `line` of the file. Attribute `file`.

    Raises:
        InputError: the file or a column is missing, or lines are wrong; every problem is named with line and column.
    """
    path = Path(path)
    reader = csv.DictReader(_text(path).splitlines(), skipinitialspace=True)
    header = [str(name).strip().lower() for name in reader.fieldnames or ()]
    reader.fieldnames = header
    place = () if "station" in header else _POSITION
    absent = [name for name in (*_NEEDED, *place) if name not in header]
    if absent:
        raise InputError(
            f"Flux table {path}, line 1: no column {', '.join(map(repr, absent))}; found {', '.join(header) or 'none'};"
            f" expected {', '.join(_NEEDED)}, and station or latitude and longitude."
        )
    rows, problems = [], []
    for cells in reader:
        line = _Line(f"Flux table {path}, line {reader.line_num}", cells)
        rows.append({**_read_line(line), "line": reader.line_num})
        problems += line.problems
    if not rows:
        problems = [f"Flux table {path}: no lines below the header; expected one for each observation."]
    if problems:
        raise InputError(join_problems(problems))
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    flux = {"units": FLUX_UNIT}
    observed = {
        "observed": ("observation", columns.pop("value"), flux | {"long_name": "observed flux of carbon"}),
        "observed_error": ("observation", columns.pop("error"), flux | {"long_name": "its standard deviation"}),
    }
    attrs = {
        "latitude": {"units": "degrees_north"},
        "longitude": {"units": "degrees_east"},
        "depth": {"units": "m", "positive": "down", "long_name": "depth; missing at the base of the mixed layer"},
    }
    coordinates = {name: ("observation", values, attrs.get(name, {})) for name, values in columns.items()}
    return xr.Dataset(observed, coordinates, {"file": str(path)})


class _Line:
    """The cells of a line of the table, and what is wrong with them."""

    def __init__(self, where: str, cells: Mapping[str | None, str | list[str] | None]):
        self._where, self._cells = where, cells
        self.problems: list[str] = []
        if None in cells:
            self.problems.append(f"{where}: found more cells than there are columns; expected a point as decimal sign.")

    def text(self, column: str) -> str:
        return str(self._cells.get(column) or "").strip()

    def number(self, column: str, expected: str, low: float = -np.inf, high: float = np.inf) -> float:
        try:
            value = float(self.text(column))
        except ValueError:
            value = np.nan
        if not (np.isfinite(value) and low <= value <= high):
            self.wrong(column, expected)
        return value

    def wrong(self, column: str, expected: str) -> None:
        found = repr(self.text(column)) if self.text(column) else "an empty cell"
        self.problems.append(f"{self._where}, column '{column}': found {found}; expected {expected}.")


def _read_line(line: _Line) -> dict[str, str | float]:
    """One observation; what is wrong with it is noted in the line."""
    station, latitude, longitude = _position(line)
    kind = line.text("kind").lower() or "trap"
    if kind not in KINDS:
        line.wrong("kind", " or ".join(KINDS))
    depth = error = np.nan
    if line.text("depth") or kind != "ncp":
        depth = line.number("depth", "the depth in m, zero or positive", low=0.0)
    if kind == "trap":
        value = line.number("value", "a downward flux, zero or positive", low=0.0)
    else:
        value = line.number("value", "a number")
    if line.text("error"):
        error = line.number("error", "a standard deviation, zero or positive, or an empty cell", low=0.0)
    try:
        value, error = (carbon_flux(number, line.text("unit")) for number in (value, error))
    except InputError:
        line.wrong("unit", f"a flux of carbon per area, such as '{FLUX_UNIT}' or 'mg C m-2 d-1'")
    return {
        "station": station, "kind": kind, "latitude": latitude, "longitude": longitude, "depth": depth,
        "value": value, "error": error, "source": line.text("source"),
    }  # fmt: skip


def _position(line: _Line) -> tuple[str, float, float]:
    """Station, latitude and longitude of an observation."""
    station = line.text("station")
    if any(line.text(axis) for axis in _POSITION):
        latitude = line.number("latitude", "degrees north, -90 to 90", -90.0, 90.0)
        longitude = line.number("longitude", "degrees east, -180 to 360", -180.0, 360.0)
        return station or f"{latitude:g} N {longitude:g} E", latitude, longitude
    if station.upper() not in STATIONS:
        line.wrong("station", f"one of {', '.join(STATIONS)}, or a latitude and a longitude")
        return station, np.nan, np.nan
    return station.upper(), *STATIONS[station.upper()]


def _text(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"Flux table {path}: no such file; expected a CSV file of observed fluxes.")
    try:
        return path.read_text(encoding="utf-8-sig")  # spreadsheets put a byte-order mark first
    except UnicodeDecodeError as error:
        raise InputError(f"Flux table {path}: not UTF-8 text ({error.reason}); save it as CSV UTF-8.") from None


def compare_fluxes(export: xr.Dataset, table: xr.Dataset, mixed_layer_depth: xr.DataArray | None = None) -> xr.Dataset:
    """The model's flux at the place of each observation, against it.

        ratio = model / observed,    difference = (model - observed) / sqrt(error^2 + sd^2)

    with the mean and the standard deviation sd of the model over the wet boxes among the 3 x 3 around (sd = 0 for a
    single box).

    Args:
        export: result of `carbon_export`.
        table: result of `read_flux_table`.
        mixed_layer_depth: maximum mixed layer (latitude, longitude), with units of length; needed for observations
            without depth.

    Returns:
        The table, and on (law, observation): `model` and `model_sd`, mol m-2 yr-1, NaN where the model's sea floor is
        above the depth; `ratio`, of positive observations; `difference`, where the error is known. On (observation):
        `boxes`, the number of wet boxes, and `own_box_wet`, false where the box of the position itself is land.
        Source: Wang et al. (2023), main text and Fig. 2.

    Raises:
        InputError: a position is on land, a depth is above the base of the euphotic zone or below the deepest sea
            floor, or missing without a mixed layer; every problem is named with its line. The mixed layer is not sound.
    """
    latitude, longitude, depth = (table[name].values for name in (*_POSITION, "depth"))
    corners, place = np.unique(np.stack([latitude, longitude], axis=1), axis=0, return_inverse=True)
    problems = _problems(export, table, mixed_layer_depth is not None)
    if problems:
        raise InputError(join_problems(problems))
    positions = {str(number): (float(lat), float(lon)) for number, (lat, lon) in enumerate(corners)}
    levels = np.unique(depth[np.isfinite(depth)])
    around = []
    if levels.size:
        around.append(at_stations(_measured(flux_at_depth(export, levels.tolist())), export, positions))
    if mixed_layer_depth is not None:
        around.append(at_stations(_measured(flux_at_mixed_layer(export, mixed_layer_depth)), export, positions))
    station = xr.DataArray(place, dims="observation")
    level = xr.DataArray(np.searchsorted(levels, depth), dims="observation")  # NaN is last: the mixed layer
    horizons = [part.drop_vars("depth") if "depth" in part.dims else part.expand_dims("depth") for part in around]
    flux = {
        name: xr.concat([part[name] for part in horizons], "depth")
        .isel(station=station, depth=level)
        .drop_vars(("station", *_POSITION))
        .transpose("law", "observation")
        for name in ("trap", "trap_sd", "ncp", "ncp_sd")
    }
    boxes = around[0][["boxes", "own_box_wet"]].isel(station=station).drop_vars(("station", *_POSITION))
    trap = table["kind"] == "trap"
    model = flux["trap"].where(trap, flux["ncp"])
    spread = flux["trap_sd"].where(trap, flux["ncp_sd"])
    observed, error = table["observed"], table["observed_error"]
    combined = (error**2 + spread.fillna(0.0) ** 2) ** 0.5

    def labelled(values: xr.DataArray, units: str, long_name: str) -> xr.DataArray:
        values.attrs = {"units": units, "long_name": long_name}
        return values

    return table.assign(
        model=labelled(model, FLUX_UNIT, "model flux of carbon, mean of the boxes around"),
        model_sd=labelled(spread, FLUX_UNIT, "model flux of carbon, standard deviation of the boxes around"),
        ratio=labelled(model / observed.where(observed > 0.0), "1", "model over observation"),
        difference=labelled(
            (model - observed) / combined.where(combined > 0.0), "1", "model minus observation over their joint error"
        ),
        boxes=boxes["boxes"],
        own_box_wet=boxes["own_box_wet"],
    ).assign_attrs(title="Model and observed fluxes of carbon", euphotic_depth=export.attrs["euphotic_depth"])


def _measured(fluxes: xr.Dataset) -> xr.Dataset:
    """What each kind of observation measures, by both laws: maps on (law, ...)."""
    poc = [fluxes[f"poc_flux_{law}"] for law in LAWS]
    dissolved = fluxes["toc_flux_continuous"] - poc[0]
    by_law = xr.DataArray(list(LAWS), dims="law", name="law")
    trap = xr.concat([flux.drop_attrs() for flux in poc], by_law)
    return xr.Dataset({"trap": trap, "ncp": trap + dissolved})


def _problems(export: xr.Dataset, table: xr.Dataset, has_mixed_layer: bool) -> list[str]:
    """What keeps the observations from being compared with this ocean, each with its line."""
    top, deepest = export.attrs["euphotic_depth"], float(export["sea_floor_depth"].max())
    problems = []
    for line, station, latitude, longitude, depth in zip(
        *(table[name].values for name in ("line", "station", *_POSITION, "depth")), strict=True
    ):
        where = f"Flux table {table.attrs['file']}, line {line}, "
        try:
            boxes_around(export, latitude, longitude)
        except InputError as error:
            problems.append(f"{where}station {station}: {error}")
        if np.isnan(depth) and not has_mixed_layer:
            problems.append(
                f"{where}column 'depth': found an empty cell; expected a depth in m, or a mixed layer to compare at."
            )
        elif not np.isnan(depth) and not top <= depth <= deepest:
            problems.append(
                f"{where}column 'depth': found {depth:g} m; expected from the base of the euphotic zone at {top:g} m "
                f"to the deepest sea floor at {deepest:g} m."
            )
    return problems


def comparison_summary(comparison: xr.Dataset) -> xr.Dataset:
    """How the model agrees with the observations of each station and kind.

        bias = mean log10(model / observed),    rmse = sqrt(mean log10(model / observed)^2)

    Args:
        comparison: result of `compare_fluxes`.

    Returns:
        On (station, kind), the last station being "all stations": `observations`, the number of those above the
        model's sea floor. With `quantile` 0.25, 0.5 and 0.75: `observed_quantile` mol m-2 yr-1, and on law too,
        `model_quantile` mol m-2 yr-1 and `ratio_quantile`. On (law, station, kind): `log10_bias` and `log10_rmse`, of
        the positive ratios. NaN where there are none.
    """
    station, kind = comparison["station"].values, comparison["kind"].values
    stations, kinds = [*dict.fromkeys(station), ALL_STATIONS], [name for name in KINDS if name in kind]
    reached = comparison["model"].notnull().all("law").values
    ratio = comparison["ratio"].values
    logarithm = np.log10(np.where(ratio > 0.0, ratio, np.nan))
    shape = (len(stations), len(kinds))
    numbers = np.zeros(shape, dtype=np.int64)
    observed = np.full((len(QUARTILES), *shape), np.nan)
    model, ratios = np.full((2, len(LAWS), len(QUARTILES), *shape), np.nan)
    bias, rmse = np.full((2, len(LAWS), *shape), np.nan)
    for row, name in enumerate(stations):
        for column, what in enumerate(kinds):
            inside = reached & (kind == what) & ((station == name) | (name == ALL_STATIONS))
            numbers[row, column] = inside.sum()
            observed[:, row, column] = _quartiles(comparison["observed"].values[inside])
            for law in range(len(LAWS)):
                model[law, :, row, column] = _quartiles(comparison["model"].values[law, inside])
                ratios[law, :, row, column] = _quartiles(ratio[law, inside])
                found = logarithm[law, inside]
                found = found[np.isfinite(found)]
                if found.size:
                    bias[law, row, column], rmse[law, row, column] = found.mean(), np.sqrt(np.mean(found**2))
    group = ("station", "kind")
    flux = {"units": FLUX_UNIT}
    return xr.Dataset(
        {
            "observations": (group, numbers, {"units": "1", "long_name": "number of observations"}),
            "observed_quantile": (("quantile", *group), observed, flux | {"long_name": "observed flux of carbon"}),
            "model_quantile": (("law", "quantile", *group), model, flux | {"long_name": "model flux of carbon"}),
            "ratio_quantile": (("law", "quantile", *group), ratios, {"units": "1", "long_name": "model over observed"}),
            "log10_bias": (("law", *group), bias, {"units": "1", "long_name": "mean log10 of model over observed"}),
            "log10_rmse": (
                ("law", *group), rmse, {"units": "1", "long_name": "root mean square log10 of model over observed"},
            ),
        },
        {"station": stations, "kind": kinds, "law": list(LAWS), "quantile": list(QUARTILES)},
        {"title": "Agreement of model and observed fluxes of carbon"},
    )  # fmt: skip


def _quartiles(values: np.ndarray) -> np.ndarray:
    finite = values[np.isfinite(values)]
    return np.quantile(finite, QUARTILES) if finite.size else np.full(len(QUARTILES), np.nan)


def band_means(field: xr.DataArray, area: xr.DataArray, mask: np.ndarray, width: float = 10.0) -> xr.Dataset:
    """Mean and standard deviation in space of a map over bands of latitude of one basin.

        mean = sum A f / sum A,    sd^2 = sum A (f - mean)^2 / sum A

    Args:
        field: f (latitude, longitude); NaN boxes do not count.
        area: A (latitude, longitude) m2.
        mask: bool [latitude, longitude], the basin.
        width: of the bands, degrees, counted from the equator; a box is in the band of its centre.

    Returns:
        On `latitude`, the middles of the bands that hold boxes: `mean` and `sd`, in the unit of the field. Source: Wang
        et al. (2023), Extended Data Fig. 7.
    """
    inside = field.notnull().values & mask
    row, column = np.nonzero(inside)
    weight, values = area.values[row, column], field.values[row, column]
    bands, band = np.unique(np.floor(field["latitude"].values[row] / width), return_inverse=True)
    total = np.bincount(band, weight)
    mean = np.bincount(band, weight * values) / total
    variance = np.bincount(band, weight * (values - mean[band]) ** 2) / total
    units = {"units": field.attrs.get("units", "")}
    return xr.Dataset(
        {"mean": ("latitude", mean, units), "sd": ("latitude", np.sqrt(variance), units)},
        {"latitude": ("latitude", (bands + 0.5) * width, {"units": "degrees_north"})},
    )
