"""The dataset format: one netCDF file (or xarray Dataset) with forcing and observations on the grid of a model.

=====================================  ==========================================  ============================
variable                               dimensions                                  units
=====================================  ==========================================  ============================
fields of `forcing.FIELDS_3D`          depth, latitude, longitude                  as stated there
fields of `forcing.FIELDS_2D`          latitude, longitude                         as stated there
observed_<tracer>                      depth, latitude, longitude                  mmol m-3, NaN where unobserved
wet (optional)                         depth, latitude, longitude                  compared with the grid
constants of `forcing.CONSTANTS`       global attributes (numbers)                 as stated there
=====================================  ==========================================  ============================

Tracers are DIP, DIC, ALK, O2, DOC; at least one must be there. Units may be any that convert; dimensions may be in
any order; `freshwater_flux` may have a depth dimension with zeros below the surface, and its sum over the ocean should
be zero: the rounding of single precision is taken away. A constant that is not given is formed from the data
(`forcing.data_constants`). Other variables are ignored; other attributes are carried along as provenance.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from invbgc.datasets.forcing import CONSTANTS, FIELDS_2D, FIELDS_3D, Forcing, data_constants
from invbgc.errors import InputError
from invbgc.grid import DIMENSIONS, OceanGrid
from invbgc.observations import TRACERS, Observations
from invbgc.units import require_unit

logger = logging.getLogger("invbgc")

ROUND_OFF = 1e-14
"""Relative sum of a freshwater flux in double precision that is zero already."""

STORAGE_PRECISION = 1e-6
"""Relative sum of a freshwater flux that counts as rounding of a file in single precision."""

SALINITY_UNITS = ("1e-3", "0.001", "g kg-1", "g/kg")
"""Spellings of the unit of practical salinity whose values are not to be scaled by a thousand."""


def open_dataset(source: str | Path | xr.Dataset, grid: OceanGrid) -> tuple[Forcing, Observations]:
    """Forcing and observations from a dataset in the format of this module, completely checked.

    Args:
        source: path of a netCDF file, or a Dataset.
        grid: the grid of the model; coordinates of the dataset must be its own.

    Returns:
        forcing and observations in the order and the units of the toolkit.

    Raises:
        InputError: the file or a variable is missing; a shape, coordinate or unit does not fit; a forcing is NaN in the
            ocean; observations are negative or infinite; a tracer, or the dataset, has no observation; a constant is
            neither given nor can be formed.
    """
    dataset, label = _load(source)
    _check_wet(dataset, grid, label)
    fields = {name: _field(dataset, name, grid, label) for name in FIELDS_3D}
    surface = {name: _surface_field(dataset, name, grid, label) for name in FIELDS_2D}
    observed = {
        name: _observed(dataset, f"observed_{name}", grid, label)
        for name in TRACERS
        if f"observed_{name}" in dataset.variables
    }
    if not observed:
        raise InputError(
            f"{label}: no observations; expected at least one of {', '.join('observed_' + name for name in TRACERS)} "
            f"on {DIMENSIONS} in mmol m-3, NaN where unobserved."
        )
    forcing = _forcing(dataset, fields, surface, observed, grid, label)
    return forcing, Observations.from_fields(observed, grid, forcing.attrs)


def read_forcing(source: str | Path | xr.Dataset, grid: OceanGrid) -> Forcing:
    """The forcing alone, of a dataset that need not hold observations; its constants must be given as attributes.

    Args:
        source: path of a netCDF file, or a Dataset.
        grid: the grid of the model.

    Returns:
        the forcing, checked as by `open_dataset`.

    Raises:
        InputError: as `open_dataset`.
    """
    dataset, label = _load(source)
    _check_wet(dataset, grid, label)
    fields = {name: _field(dataset, name, grid, label) for name in FIELDS_3D}
    surface = {name: _surface_field(dataset, name, grid, label) for name in FIELDS_2D}
    return _forcing(dataset, fields, surface, {}, grid, label)


def _balanced(flux: np.ndarray, grid: OceanGrid, label: str) -> np.ndarray:
    """The freshwater flux [n_columns] with a sum of zero over the ocean, which keeps the mean of alkalinity.

    What single precision leaves is taken away; a larger sum is a property of the data, kept and warned about.
    """
    volume = grid.volume[: grid.n_columns]
    mean, size = np.average(flux, weights=volume), np.average(np.abs(flux), weights=volume)
    if abs(mean) <= ROUND_OFF * size:
        return flux
    if abs(mean) <= STORAGE_PRECISION * size:
        return flux - mean
    logger.warning(
        "%s, variable 'freshwater_flux': its sum over the ocean is %.1e of that of its magnitude; expected zero, which "
        "keeps the mean of alkalinity at its target",
        label,
        mean / size,
    )
    return flux


def _forcing(
    dataset: xr.Dataset,
    fields: dict[str, np.ndarray],
    surface: dict[str, np.ndarray],
    observed: dict[str, np.ndarray],
    grid: OceanGrid,
    label: str,
) -> Forcing:
    surface = surface | {"freshwater_flux": _balanced(surface["freshwater_flux"], grid, label)}
    values: dict[str, Any] = {**fields, **surface, **_constants(dataset, fields, observed, grid, label)}
    attrs = {str(key): value for key, value in dataset.attrs.items() if key not in CONSTANTS}
    attrs.setdefault("source", label)
    return Forcing(**values, attrs=attrs)


def _load(source: str | Path | xr.Dataset) -> tuple[xr.Dataset, str]:
    if isinstance(source, xr.Dataset):
        return source, "Dataset"
    path = Path(source)
    if not path.is_file():
        raise InputError(f"Dataset {path}: no such file; check the path, or make the dataset first.")
    wanted = ["wet", *FIELDS_3D, *FIELDS_2D, *(f"observed_{name}" for name in TRACERS)]
    try:
        with xr.open_dataset(path, decode_times=False) as file:
            return file[[name for name in wanted if name in file.variables]].load(), f"Dataset {path}"
    except (OSError, ValueError) as error:
        raise InputError(f"Dataset {path}: not a readable netCDF file ({error}).") from error


def _check_wet(dataset: xr.Dataset, grid: OceanGrid, label: str) -> None:
    if "wet" not in dataset.variables:
        return
    wet = dataset["wet"]
    if set(wet.dims) != set(DIMENSIONS):
        raise InputError(f"{label}, variable 'wet': dimensions {wet.dims}; expected {DIMENSIONS}.")
    values = wet.transpose(*DIMENSIONS).values > 0
    if values.shape != grid.shape or not np.array_equal(values, grid.wet):
        raise InputError(
            f"{label}, variable 'wet': {int(values.sum())} wet boxes of shape {values.shape}, not the mask of grid "
            f"'{grid.name}' with {grid.n_wet} of {grid.shape}; dataset and circulation must be on one grid."
        )


def _variable(dataset: xr.Dataset, name: str, unit: str, dimensions: tuple[str, ...], label: str) -> xr.DataArray:
    if name not in dataset.variables:
        raise InputError(f"{label}: no variable '{name}'; expected it on {dimensions} in '{unit}'.")
    variable = dataset[name]
    where = f"{label}, variable '{name}'"
    if set(variable.dims) != set(dimensions):
        raise InputError(f"{where}: dimensions {variable.dims}; expected {dimensions}.")
    if not np.issubdtype(variable.dtype, np.number):
        raise InputError(f"{where}: values of type {variable.dtype}; expected numbers.")
    if name.endswith("salinity") and str(variable.attrs.get("units")).strip() in SALINITY_UNITS:
        variable = variable.assign_attrs(units="1")
    return require_unit(variable, unit, where)


def _packed(variable: xr.DataArray, grid: OceanGrid, label: str) -> np.ndarray:
    try:
        return grid.pack(variable) if "depth" in variable.dims else grid.pack_surface(variable)
    except InputError as error:
        raise InputError(f"{label}, variable '{variable.name}': not on the grid of the model. {error}") from error


def _require_finite(values: np.ndarray, name: str, grid: OceanGrid, label: str) -> np.ndarray:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise InputError(
            f"{label}, variable '{name}': {bad.size} of {values.size} wet boxes are NaN or infinite, first "
            f"{grid.describe(int(bad[0]))}; expected a value in every wet box, so fill the gaps first."
        )
    return values


def _field(dataset: xr.Dataset, name: str, grid: OceanGrid, label: str) -> np.ndarray:
    variable = _variable(dataset, name, FIELDS_3D[name][0], DIMENSIONS, label)
    return _require_finite(_packed(variable, grid, label), name, grid, label)


def _surface_field(dataset: xr.Dataset, name: str, grid: OceanGrid, label: str) -> np.ndarray:
    unit = FIELDS_2D[name][0]
    if name != "freshwater_flux" or name not in dataset.variables or "depth" not in dataset[name].dims:
        variable = _variable(dataset, name, unit, DIMENSIONS[1:], label)
        return _require_finite(_packed(variable, grid, label), name, grid, label)
    values = _packed(_variable(dataset, name, unit, DIMENSIONS, label), grid, label)
    _require_finite(values, name, grid, label)
    below = np.flatnonzero(values[grid.n_columns :])
    if below.size:
        raise InputError(
            f"{label}, variable '{name}': {below.size} boxes below the first layer are not zero; expected the "
            "freshwater flux in the first layer only."
        )
    return values[: grid.n_columns]


def _observed(dataset: xr.Dataset, name: str, grid: OceanGrid, label: str) -> np.ndarray:
    variable = _variable(dataset, name, "mmol m-3", DIMENSIONS, label)
    values = _packed(variable, grid, label)
    where = f"{label}, variable '{name}'"
    present = np.isfinite(values)
    if not present.any():
        raise InputError(
            f"{where}: no observation in any of {grid.n_wet} wet boxes; expected some, or leave the variable out."
        )
    if np.isinf(values).any():
        raise InputError(f"{where}: {int(np.isinf(values).sum())} infinite values; expected NaN where unobserved.")
    negative = np.flatnonzero(present & (values < 0.0))
    if negative.size:
        raise InputError(
            f"{where}: {negative.size} negative values, first {values[negative[0]]:.6g} in "
            f"{grid.describe(int(negative[0]))}; expected NaN where unobserved, so replace missing-value flags."
        )
    on_land = int(np.isfinite(variable.values).sum()) - int(present.sum())
    if on_land:
        logger.info("%s: %d observed boxes are dry on grid '%s' and are not used", where, on_land, grid.name)
    return values


def _constants(
    dataset: xr.Dataset,
    fields: Mapping[str, np.ndarray],
    observed: Mapping[str, np.ndarray],
    grid: OceanGrid,
    label: str,
) -> dict[str, float]:
    """The constants: given by the dataset, otherwise formed from its data."""
    constants: dict[str, float] = {}
    given = {name: _number(dataset.attrs[name], name, label) for name in CONSTANTS if name in dataset.attrs}
    absent = [name for name in CONSTANTS if name not in given]
    if absent:
        # A tracer whose constants are given need not have data where they would be formed.
        needed = {name: values for name, values in observed.items() if any(item.startswith(name) for item in absent)}
        try:
            constants |= data_constants(fields["temperature"], fields["silicate"], needed, grid)
        except InputError as error:
            raise InputError(f"{label}: {error}") from error
    constants |= given
    missing = [name for name in CONSTANTS if name not in constants]
    if missing:
        raise InputError(
            f"{label}: no attribute {', '.join(missing)} and no observations to form it from; expected "
            + "; ".join(f"{name} = {CONSTANTS[name]}" for name in missing)
            + "."
        )
    for low, high in (("T_min", "T_max"), ("Si_min", "Si_max")):
        if not constants[low] < constants[high]:
            raise InputError(
                f"{label}: {low} is {constants[low]:.6g} and {high} is {constants[high]:.6g}; expected {low} < {high}."
            )
    return constants


def _number(value: Any, name: str, label: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not np.isfinite(number):
        raise InputError(f"{label}, attribute '{name}': found {value!r}; expected a finite number.")
    return number
