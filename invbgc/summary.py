"""The numbers of a fit that people compare: parameters with errors, skill, global fluxes and inventories, cautions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from invbgc.constants import CARBON_MOLAR_MASS, EARTH_RADIUS, YEAR
from invbgc.errors import InputError
from invbgc.plots.maps import cell_edges
from invbgc.transforms import TRANSFORMS, error_bar

PUBLISHED_R2 = {"DIP": 0.93, "DIC": 0.94, "ALK": 0.87, "O2": 0.88, "DOC": 0.80}
"""R2 over boxes, unweighted, as published by Wang et al. (2023)."""

PUBLISHED_POC_EXPORT = (10.63, 0.14)
"""Sinking POC flux at 73.4 m and its spread over the structural ensemble, Pg C yr-1 (Wang et al. 2023)."""

_REQUIRED = ("parameter_name", "parameter_transform", "initial", "estimate", "published")


@dataclass(frozen=True)
class ParameterRow:
    """One line of the parameter table; errors are lengths in parameter units, NaN for a frozen parameter."""

    name: str
    symbol: str
    unit: str
    initial: float
    estimate: float
    lower: float
    upper: float
    published: float
    truth: float
    z_score: float


@dataclass(frozen=True)
class GlobalNumber:
    """A global flux, inventory or closure, with a published or expected value where one exists."""

    label: str
    value: float
    unit: str
    reference: str = ""


def open_result(path: str | Path) -> xr.Dataset:
    """Read the result file of a fit into memory.

    Args:
        path: netCDF file written by ``invbgc fit``.

    Returns:
        The dataset.

    Raises:
        InputError: the file is missing, is not netCDF, or lacks the parameters.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no result file {path}; 'invbgc fit' writes fit.nc into the output folder.")
    try:
        with xr.open_dataset(path) as dataset:
            result = dataset.load()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as netCDF ({error}).") from error
    missing = [name for name in _REQUIRED if name not in result]
    if missing:
        raise InputError(f"{path} is not the result of a fit: it has no variable {', '.join(missing)}.")
    return result


def has_truth(result: xr.Dataset) -> bool:
    """True when the file knows the parameters that made its observations."""
    return "truth" in result and bool(np.any(np.isfinite(result["truth"].values)))


def is_synthetic(result: xr.Dataset) -> bool:
    """True when the observations came from the model itself (an identical twin)."""
    if has_truth(result):
        return True
    flag = result.attrs.get("synthetic", 0)
    return str(flag).strip().lower() in ("1", "true", "yes")


def tracers(result: xr.Dataset) -> list[str]:
    """Tracers that the file holds both modelled and observed."""
    names = [str(name).removeprefix("model_") for name in result.data_vars if str(name).startswith("model_")]
    return [name for name in names if f"observed_{name}" in result]


def box_volume(result: xr.Dataset) -> xr.DataArray:
    """Volume of the grid boxes (depth, latitude, longitude) in m3: from the file, or from its coordinates."""
    if "volume" in result:
        return result["volume"]
    thickness = np.diff(cell_edges(result["depth"].values, 0))
    return xr.DataArray(thickness, dims="depth", coords={"depth": result["depth"]}) * cell_area(result)


def cell_area(result: xr.Dataset) -> xr.DataArray:
    """Area of the grid cells (latitude, longitude) in m2: from the file, or from its coordinates."""
    if "area" in result:
        return result["area"]
    band = np.diff(np.sin(np.radians(cell_edges(result["latitude"].values, -90, 90))))
    width = np.diff(np.radians(cell_edges(result["longitude"].values)))
    coordinates = {"latitude": result["latitude"], "longitude": result["longitude"]}
    return xr.DataArray(EARTH_RADIUS**2 * np.outer(band, width), coordinates, ("latitude", "longitude"))


def covariance(result: xr.Dataset) -> tuple[np.ndarray, str] | None:
    """Posterior covariance in the fitted coordinates.

    Args:
        result: the fit.

    Returns:
        The matrix [p, p], NaN in the rows of frozen parameters, and the name of its scaling; None before ``laplace``.
    """
    names = [str(name) for name in result.data_vars if str(name).startswith("covariance_")]
    if not names:
        return None
    scaling = str(result.attrs.get("scaling", "authors"))
    chosen = f"covariance_{scaling}" if f"covariance_{scaling}" in names else names[0]
    return _full_matrix(result, chosen), chosen.removeprefix("covariance_")


def scalings(result: xr.Dataset) -> list[tuple[str, float, float]]:
    """The ways in which the file counts independent observations.

    Args:
        result: the fit.

    Returns:
        Name, number of observations counted, and length of the error bars relative to the headline, for each.
    """
    found = covariance(result)
    headline = float(result[f"covariance_{found[1]}"].attrs.get("noise_scale", np.nan)) if found else np.nan
    return [
        (
            str(name).removeprefix("covariance_"),
            float(part.attrs.get("number_of_observations", np.nan)),
            float(np.sqrt(float(part.attrs.get("noise_scale", np.nan)) / headline)),
        )
        for name, part in result.data_vars.items()
        if str(name).startswith("covariance_")
    ]


def hessian(result: xr.Dataset) -> np.ndarray | None:
    """Hessian of the misfit [p, p] in the fitted coordinates, NaN in the rows of frozen parameters."""
    return _full_matrix(result, "hessian") if "hessian" in result else None


def standard_deviation(result: xr.Dataset) -> np.ndarray:
    """Posterior standard deviation [p] in the fitted coordinates (ln p, or p of a linear parameter); NaN if unknown."""
    matrix = covariance(result)
    if matrix is None:
        return np.full(result["parameter_name"].size, np.nan)
    variance = np.diag(matrix[0])
    return np.sqrt(np.where(variance > 0, variance, np.nan))  # infinite where the data say nothing


def parameter_rows(result: xr.Dataset) -> list[ParameterRow]:
    """Build the parameter table.

    The error bars end at the values whose coordinates are x - sigma and x + sigma, and are infinite where the data say
    nothing. The z-score of a twin is (x - x_true) / sigma in the fitted coordinates.

    Args:
        result: the fit.

    Returns:
        One row for each parameter.
    """
    sigma = standard_deviation(result)
    estimate = result["estimate"].values
    transforms = result["parameter_transform"].values.astype(str)
    truth = result["truth"].values if "truth" in result else np.full(estimate.shape, np.nan)
    bars = np.array([error_bar(*row) for row in zip(transforms, estimate, sigma, strict=True)])
    lower, upper = bars[:, 0], bars[:, 1]
    coordinates = [TRANSFORMS[name].coordinate for name in transforms]
    with np.errstate(invalid="ignore", divide="ignore"):
        distance = [x(p) - x(t) for x, p, t in zip(coordinates, estimate, truth, strict=True)]
        z_score = np.array(distance) / sigma
    text = {
        key: result[f"parameter_{key}"].values.astype(str) if f"parameter_{key}" in result else [""] * estimate.size
        for key in ("name", "symbol", "unit")
    }
    columns = (result["initial"].values, estimate, lower, upper, result["published"].values, truth, z_score)
    labels = zip(text["name"], text["symbol"], text["unit"], strict=True)
    return [
        ParameterRow(str(name), str(symbol), str(unit), *(float(column[row]) for column in columns))
        for row, (name, symbol, unit) in enumerate(labels)
    ]


def global_numbers(result: xr.Dataset) -> list[GlobalNumber]:
    """Integrate what the file holds: export, inventories, closure of the budgets, and its scalar variables.

    Args:
        result: the fit.

    Returns:
        The numbers, each with what it is compared with.
    """
    numbers: list[GlobalNumber] = []
    area, volume = cell_area(result), box_volume(result)
    to_petagrams = CARBON_MOLAR_MASS * 1e-15
    mean, spread = PUBLISHED_POC_EXPORT
    for name, label, reference in (
        ("poc_export", "POC export", f"{mean} ± {spread} (Wang et al. 2023)"),
        ("pic_export", "PIC export", ""),
    ):
        if name in result:
            total = float((result[name] * area).sum()) * to_petagrams
            numbers.append(GlobalNumber(label, total, "Pg C yr-1", reference))
    for name, molar_mass, unit in (
        ("DIC", to_petagrams, "Pg C"),
        ("DOC", to_petagrams, "Pg C"),
        ("DIP", 1e-15, "Pmol P"),
    ):
        if f"model_{name}" in result:
            inventory = float((result[f"model_{name}"] * volume).sum()) * 1e-3 * molar_mass
            numbers.append(GlobalNumber(f"{name} inventory", inventory, unit))
    for name in ("DIP", "ALK"):
        if f"model_{name}" in result and f"{name}_mean" in result.attrs:
            field = result[f"model_{name}"]
            found = float((field * volume).sum() / volume.where(field.notnull()).sum())
            target = float(result.attrs[f"{name}_mean"])
            numbers.append(
                GlobalNumber(
                    f"mean {name}",
                    found,
                    "mmol m-3",
                    f"restored to {target:.6g}, off by {abs(found / target - 1):.0e} of it",
                )
            )
    numbers += [
        GlobalNumber(str(part.attrs.get("long_name", name)), float(part), str(part.attrs.get("units", "")))
        for name, part in result.data_vars.items()
        if part.ndim == 0 and np.issubdtype(part.dtype, np.number)
    ]
    return numbers


def derived_numbers(result: xr.Dataset) -> list[GlobalNumber]:
    """Express the flux exponents in degrees and the rates of refractory and semi-labile DOC as times.

    b(T) = b + slope (T - T_min + 1) / (T_max - T_min), hence the exponent at 0 degC and its slope per degC.

    Args:
        result: the fit.

    Returns:
        The numbers; empty where the file lacks a parameter.
    """
    rows = {row.name: row for row in parameter_rows(result)}
    numbers = [
        GlobalNumber(
            f"{label}, 1/{name}",
            1 / rows[name].estimate / YEAR,
            "yr",
            f"{1 / rows[name].published / YEAR:,.{0 if 'r' in name[6:] else 2}f}",
        )
        for name, label in (
            ("kappa_dP", "semi-labile DOP at 30 °C"),
            ("kappa_dC", "semi-labile DOC at 30 °C"),
            ("kappa_ru", "refractory DOC, upper ocean"),
            ("kappa_rd", "refractory DOC, deep ocean"),
        )
        if name in rows
    ]
    if "T_min" in result.attrs and "T_max" in result.attrs:
        low, span = float(result.attrs["T_min"]), float(result.attrs["T_max"]) - float(result.attrs["T_min"])
        for pool in ("P", "C"):
            base, slope = rows.get(f"b_{pool}"), rows.get(f"b_{pool}_slope")
            if base is None or slope is None:
                continue
            at_zero = [
                b + s * (1 - low) / span
                for b, s in ((base.estimate, slope.estimate), (base.published, slope.published))
            ]
            numbers.append(GlobalNumber(f"b of PO{pool} at 0 °C", at_zero[0], "1", f"{at_zero[1]:.3f}"))
            numbers.append(
                GlobalNumber(
                    f"slope of b of PO{pool}", slope.estimate / span, "degC-1", f"{slope.published / span:.4f}"
                )
            )
    return numbers


def cautions(result: xr.Dataset) -> list[str]:
    """Say what a reader must know before trusting the fit.

    Args:
        result: the fit.

    Returns:
        Sentences; empty where nothing is amiss.
    """
    notes = []
    status = str(result.attrs.get("status", "converged"))
    if status != "converged":
        message = str(result.attrs.get("message", "")).strip() or "the search was cut short."
        notes.append(f"The search ended as '{status}' and not as converged: {message}")
    curvature = hessian(result)
    if curvature is not None:
        free = np.isfinite(np.diag(curvature))
        values = np.linalg.eigvalsh(curvature[np.ix_(free, free)])
        if values[0] <= 0:
            notes.append(
                f"The Hessian has an eigenvalue of {values[0]:.2g}: this point is no minimum, "
                "and its error bars mean nothing."
            )
        elif values[-1] > 1e8 * values[0]:
            notes.append(
                f"The Hessian's eigenvalues span a factor of {values[-1] / values[0]:.1e}: some combination of "
                f"parameters is hardly constrained. See the loosest direction below."
            )
    stored = [result.attrs.get(name, "") for name in ("warnings", "laplace_warnings")]
    notes += [line.strip() for text in stored for line in str(text).split("\n") if line.strip()]
    return notes


def trust(result: xr.Dataset) -> str:
    """Say plainly how far the error bars can be trusted.

    Args:
        result: the fit.

    Returns:
        One paragraph.
    """
    found = covariance(result)
    if found is None:
        return "No error bars have been computed for this fit yet; 'invbgc laplace' adds them."
    scaling = found[1]
    counted = {
        "authors": "every observed box of phosphate, DIC and oxygen counts as independent, as in the paper",
        "all": "every observed box of every tracer counts as independent",
        "effective": "the number of boxes was reduced for the spatial correlation of the residuals",
    }.get(scaling, f"the scaling is {scaling!r}")
    bars = f"The error bars are one standard deviation of a Gaussian fitted at the optimum (Laplace); {counted}."
    if not is_synthetic(result):
        honest = (
            " Errors of the circulation, of the production map and of the form of the model are shared by many boxes, "
            "and neighbouring boxes of the real ocean repeat each other. The bars therefore measure how sharply this "
            "model and these data pin a parameter; as statements about the ocean they are far too narrow. Compare fits "
            "with other production maps and circulations for that."
        )
        return bars + honest
    if not has_truth(result):
        note = str(result.attrs.get("twin_note", "the parameters that made them are not known here"))
        return f"{bars} The observations are synthetic; {note}, so that the bars cannot be checked."
    scores = np.abs([row.z_score for row in parameter_rows(result)])
    scores = scores[np.isfinite(scores)]
    within = [int(np.sum(scores <= width)) for width in (1, 2, 3)]
    promised = [round(share * scores.size) for share in (0.683, 0.954, 0.997)]
    verdict = (
        f"of {scores.size} parameters, {within[0]} lie within one, {within[1]} within two and {within[2]} within three "
        f"standard deviations of it; Gaussian bars of the right width would hold about {promised[0]}, {promised[1]} "
        f"and {promised[2]}."
    )
    if within[1] < 0.8 * scores.size:
        verdict += (
            " They are too narrow here: errors that are correlated between neighbouring boxes were counted as "
            "independent ones."
        )
    return f"{bars} The observations are synthetic, so the truth is known: {verdict}"


def manifest(result: xr.Dataset) -> Mapping[str, Any]:
    """The record of how the file was made: versions, inputs, options, seed, command, date."""
    try:
        record = json.loads(str(result.attrs.get("manifest", "{}")))
    except json.JSONDecodeError:
        return {"manifest": str(result.attrs["manifest"])}
    return record if isinstance(record, dict) else {"manifest": record}


def _full_matrix(result: xr.Dataset, name: str) -> np.ndarray:
    """A matrix over all parameters from one stored over all, or over the free ones only."""
    values = np.asarray(result[name].values, dtype=float)
    size = result["parameter_name"].size
    if values.shape == (size, size):
        return values
    free = result["free"].values.astype(bool) if "free" in result else np.isfinite(result["x"].values)
    full = np.full((size, size), np.nan)
    full[np.ix_(free, free)] = values
    return full
