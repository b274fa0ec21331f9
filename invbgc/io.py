"""The result file of a fit."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.files import manifest, write_netcdf
from invbgc.grid import DIMENSIONS
from invbgc.parameters import Parameter, ParameterTable

if TYPE_CHECKING:
    from invbgc.inference.fit import Fit
    from invbgc.inference.laplace import Laplace

SCHEMA = "invbgc fit 1"
"""Value of the attribute ``schema`` of a result file."""

_PARAMETER_TEXT = ("name", "symbol", "alias", "unit", "transform", "description", "reference")


def save_fit(
    fit: "Fit",
    path: str | Path,
    laplaces: "Iterable[Laplace]" = (),
    record: Mapping[str, Any] | None = None,
    truth: Mapping[str, float] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Path:
    """Write the result file of a fit.

    The dimension ``parameter`` holds every row of the table; x, gradient, Hessian and covariances are NaN for frozen
    rows.

    Args:
        fit: the fit.
        path: netCDF file.
        laplaces: approximations, each stored as ``covariance_<scaling>``; the first is the headline.
        record: a `manifest`; made here where absent.
        truth: true values of an identical twin, by parameter name.
        attrs: further global attributes (run_name, circulation, data_source, licence, ...).

    Returns:
        The path.

    Raises:
        InputError: the file cannot be written.
    """
    return write_netcdf(fit_dataset(fit, laplaces, record, truth, attrs), path)


def fit_dataset(
    fit: "Fit",
    laplaces: "Iterable[Laplace]" = (),
    record: Mapping[str, Any] | None = None,
    truth: Mapping[str, float] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The result file of a fit as a dataset; arguments as `save_fit`."""
    laplaces, truth = list(laplaces), truth or {}
    rows = list(fit.table)
    free = np.array([row.free for row in rows])
    initial = fit.table.with_values(fit.initial)
    variables: dict[str, Any] = {
        f"parameter_{key}": ("parameter", [getattr(row, key) for row in rows]) for key in _PARAMETER_TEXT
    }
    variables |= {
        "free": ("parameter", free.astype(np.int8), {"long_name": "1 where the fit could change the parameter"}),
        "initial": ("parameter", [row.value for row in initial], {"long_name": "start of the fit"}),
        "estimate": ("parameter", [row.value for row in rows], {"long_name": "fitted value"}),
        "first_guess": ("parameter", [row.first_guess for row in rows]),
        "published": ("parameter", [row.published for row in rows], {"long_name": "published value"}),
        "truth": ("parameter", [truth.get(row.name, np.nan) for row in rows], {"long_name": "truth of a twin"}),
        "prior_mean": ("parameter", [_number(row.prior_mean) for row in rows]),
        "prior_sd": ("parameter", [_number(row.prior_sd) for row in rows]),
        "x": ("parameter", _expand(fit.x, free), {"long_name": "optimiser coordinate: ln p, or p if linear"}),
        "gradient": ("parameter", _expand(fit.gradient, free), {"long_name": "gradient of the misfit in x"}),
    }
    pair = ("parameter", "parameter_2")
    variables["hessian"] = (pair, _expand(fit.hessian, free), {"long_name": "Hessian of the misfit in x"})
    for item in laplaces:
        attributes = {
            "long_name": "posterior covariance in x",
            "number_of_observations": item.number,
            "noise_scale": item.scale,
        }
        variables[f"covariance_{item.scaling}"] = (pair, _expand(item.covariance, free), attributes)
    result = xr.Dataset(variables)
    history = fit.history.rename({name: f"history_{name}" for name in fit.history.data_vars})
    skill = fit.skill.rename({name: f"skill_{name}" for name in fit.skill.data_vars})
    result = xr.merge([result, history, skill, fit.fields], compat="no_conflicts", join="outer")
    result.attrs = dict(fit.fields.attrs) | {
        "title": "invbgc fit",
        "schema": SCHEMA,
        "status": fit.status,
        "message": fit.message,
        "value": fit.value,
        "stats": json.dumps(dict(fit.stats), default=float),
        "manifest": json.dumps(dict(record if record is not None else manifest())),
    }
    if laplaces:
        result.attrs["scaling"] = laplaces[0].scaling
        result.attrs["laplace_warnings"] = "\n".join(dict.fromkeys(note for item in laplaces for note in item.warnings))
    result.attrs |= dict(attrs or {})
    return result


def load_fit(path: str | Path) -> "Fit":
    """Read the result file of a fit.

    The loaded fit has no `state` (its model is not in the file); `fields` holds what the state gave.

    Args:
        path: file written by `save_fit`.

    Returns:
        The fit.

    Raises:
        InputError: the file is missing, is not netCDF, or is not the result of a fit.
    """
    from invbgc.inference.fit import Fit

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected the result file of a fit.")
    try:
        with xr.open_dataset(path, engine="netcdf4") as file:
            data = file.load()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path} cannot be read as netCDF: {error}.") from error
    if data.attrs.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema {data.attrs.get('schema')!r}; expected {SCHEMA!r}, the result file of a fit.")
    free = data["free"].values.astype(bool)
    table = ParameterTable(_row(data, i) for i in range(free.size))
    own = {"stats", "manifest", "status", "message", "value", "schema", "title", "Conventions"}
    own |= {"scaling", "laplace_warnings"}
    grid = [name for name in data.data_vars if set(map(str, data[name].dims)) & set(DIMENSIONS)]
    fields = data[grid].assign_attrs({key: value for key, value in data.attrs.items() if key not in own})
    return Fit(
        x=data["x"].values[free],
        value=float(data.attrs["value"]),
        gradient=data["gradient"].values[free],
        hessian=data["hessian"].values[np.ix_(free, free)],
        table=table,
        initial=dict(zip(table.names, data["initial"].values.tolist(), strict=True)),
        history=_part(data, "history_"),
        state=None,
        skill=_part(data, "skill_"),
        fields=fields,
        status=str(data.attrs["status"]),
        message=str(data.attrs["message"]),
        stats=json.loads(data.attrs["stats"]),
    )


def _part(data: xr.Dataset, prefix: str) -> xr.Dataset:
    names = [str(name) for name in data.data_vars if str(name).startswith(prefix)]
    part = data[names].rename({name: name.removeprefix(prefix) for name in names})
    part.attrs = {}
    return part


def _row(data: xr.Dataset, i: int) -> Parameter:
    text = {key: str(data[f"parameter_{key}"].values[i]) for key in _PARAMETER_TEXT}
    prior = {key: float(data[key].values[i]) for key in ("prior_mean", "prior_sd")}
    return Parameter(
        **text,
        value=float(data["estimate"].values[i]),
        first_guess=float(data["first_guess"].values[i]),
        published=float(data["published"].values[i]),
        free=bool(data["free"].values[i]),
        prior_mean=None if np.isnan(prior["prior_mean"]) else prior["prior_mean"],
        prior_sd=None if np.isnan(prior["prior_sd"]) else prior["prior_sd"],
    )


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _expand(values: np.ndarray, free: np.ndarray) -> np.ndarray:
    """A vector or matrix over the free rows as one over all rows, NaN at the frozen ones."""
    values = np.asarray(values)
    full = np.full((free.size,) * values.ndim, np.nan)
    full[np.ix_(*(free,) * values.ndim)] = values
    return full
