"""Files written whole or not at all, checksums, and the manifest of a run.

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
from typing import Any

import numpy as np
import xarray as xr

import invbgc
from invbgc import device
from invbgc.errors import InputError

PACKAGES = ("numpy", "scipy", "jax", "jaxlib", "optax", "xarray", "netCDF4")
"""Packages whose versions a manifest records."""


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


def read_netcdf(path: str | Path, what: str) -> xr.Dataset:
    """The whole content of a netCDF file, times as numbers.

    Args:
        path: the file.
        what: what it is called in messages.

    Raises:
        InputError: there is no such file, or it is not netCDF.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{what}: no file at {path}; check the path, or fetch the file first.")
    try:
        with xr.open_dataset(path, decode_times=False) as file:
            return file.load()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{what} {path}: not readable as netCDF ({error}).") from error


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
        versions, git_commit (None outside a repository), inputs with their sha256, options, seed, command, platform,
        the device that JAX computes on and date (UTC).

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
        "device": device.used(),
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
