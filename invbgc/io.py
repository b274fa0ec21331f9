"""Files: netCDF written whole or not at all, the manifest of a run, and the result file of a fit.

A file is written beside its final place, forced to disk and renamed, so that a reader (or a killed run) only ever sees
the old file or the new one.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

import invbgc
from invbgc.errors import InputError
from invbgc.grid import DIMENSIONS
from invbgc.parameters import Parameter, ParameterTable

if TYPE_CHECKING:
    from invbgc.inference.fit import Fit
    from invbgc.inference.laplace import Laplace

SCHEMA = "invbgc fit 1"
"""Value of the attribute ``schema`` of a result file."""

PACKAGES = ("numpy", "scipy", "jax", "jaxlib", "optax", "xarray", "netCDF4")
"""Packages whose versions a manifest records."""

_PARAMETER_TEXT = ("name", "symbol", "alias", "unit", "transform", "description", "reference")


@contextlib.contextmanager
def replaced(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is forced to disk and takes the place of `path`.

    Args:
        path: the file to write; its folder is made.

    Raises:
        InputError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}. Check the folder and the disk.") from error


def _sync_folder(folder: Path) -> None:
    """Force a rename to disk, where the system can (Windows cannot)."""
    with contextlib.suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_netcdf(dataset: xr.Dataset, path: str | Path) -> Path:
    """Write a dataset as compressed netCDF-4, whole or not at all.

    Args:
        dataset: any dataset; attributes that netCDF cannot hold become JSON text.
        path: the file.

    Returns:
        The path.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    dataset = dataset.copy()
    dataset.attrs = {"Conventions": "CF-1.11"} | {str(key): _attribute(value) for key, value in dataset.attrs.items()}
    encoding = {
        name: {"zlib": True, "complevel": 4, "_FillValue": np.nan}
        for name, part in dataset.data_vars.items()
        if part.dtype.kind == "f" and part.ndim > 1
    }
    with replaced(path) as temporary:
        dataset.to_netcdf(temporary, format="NETCDF4", engine="netcdf4", encoding=encoding)
    return path


def _attribute(value: Any) -> Any:
    if isinstance(value, bool | np.bool_):
        return int(value)
    if isinstance(value, str | int | float | np.integer | np.floating):
        return value
    return json.dumps(value, default=str)


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal text.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path} for its checksum: {error.strerror}.") from error


def manifest(
    inputs: Iterable[str | Path] = (), options: Mapping[str, Any] | None = None, seed: int | None = None
) -> dict[str, Any]:
    """Record of how a result is made.

    Args:
        inputs: files read.
        options: whatever was chosen.
        seed: of the random numbers.

    Returns:
        versions, git_commit (None outside a repository), inputs with their sha256, options, seed, command, platform and
        date (UTC).

    Raises:
        InputError: an input cannot be read.
    """
    versions = {"invbgc": invbgc.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "versions": versions,
        "git_commit": _git_commit(),
        "inputs": [{"path": str(path), "sha256": sha256(path), "bytes": Path(path).stat().st_size} for path in inputs],
        "options": dict(options or {}),
        "seed": seed,
        "command": sys.argv,
        "platform": platform.platform(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _git_commit() -> str | None:
    """Commit of the source tree, with ``+changes`` where files differ; None for an installed package or without git."""
    root = Path(invbgc.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


# ---------------------------------------------------------------------- the result of a fit


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
        "published": ("parameter", [row.published for row in rows], {"long_name": "Wang et al. (2023)"}),
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
