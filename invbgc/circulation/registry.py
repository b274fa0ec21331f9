"""The circulations known by name; a new one costs one file and one line here."""

import difflib
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from invbgc.circulation.coarsen import coarsen
from invbgc.circulation.core import Circulation
from invbgc.errors import InputError

REGISTRY = {
    "two_box": "invbgc.circulation.toys:two_box",
    "few_box": "invbgc.circulation.toys:few_box",
    "column": "invbgc.circulation.toys:column",
    "embedded": "invbgc.circulation.embedded:embedded",
    "embedded_8deg": "invbgc.circulation.registry:embedded_8deg",
}
"""Name -> "module:function"; the function returns a Circulation and takes the options of `load_circulation`."""

READERS = {
    ".nc": "invbgc.circulation.netcdf:read_circulation",
    ".npz": "invbgc.circulation.ocim:read_ocim2_operator",
    ".mat": "invbgc.circulation.matlab:read_matlab",
    ".jld2": "invbgc.circulation.aibecs:read_aibecs",
}
"""Suffix of a path -> "module:function"; the function takes the path and the options."""

FOLDER_READER = "invbgc.circulation.tmm:read_tmm"
"""Reader of a folder: matrices of the transport matrix method."""


def load_circulation(name_or_path: str | Path, **options: Any) -> Circulation:
    """A circulation by its name or from a file.

    Args:
        name_or_path: a name of `REGISTRY`, the path of a netCDF file in the schema of
            `invbgc.circulation.netcdf`, of an npz file with an operator on the OCIM2 grid, of a MATLAB file of
            OCIM, of a `.jld2` archive of AIBECS, or of a folder of the transport matrix method.
        **options: passed to the builder or reader.

    Returns:
        the audited circulation.

    Raises:
        InputError: the name is unknown, or the file is missing or not sound.
        ConservationError: the operator failed the audit.

    Examples:
        >>> from invbgc.circulation import load_circulation
        >>> load_circulation("two_box").grid.n_wet
        2
    """
    key = str(name_or_path)
    if key in REGISTRY:
        return _function(REGISTRY[key])(**options)
    suffix = Path(key).suffix
    if suffix in READERS:
        return _function(READERS[suffix])(key, **options)
    if Path(key).is_dir():
        return _function(FOLDER_READER)(key, **options)
    near = difflib.get_close_matches(key, REGISTRY, n=1)
    raise InputError(
        f"Circulation '{key}' is unknown{f'; did you mean {near[0]!r}?' if near else '.'} Known names: "
        f"{', '.join(REGISTRY)}; or give a folder of transport matrices, or a path that ends in {' or '.join(READERS)}."
    )


def _function(address: str) -> Any:
    module, name = address.split(":")
    return getattr(import_module(module), name)


def embedded_8deg() -> Circulation:
    """The embedded ocean with its cells joined two by two in latitude and longitude."""
    from invbgc.circulation.embedded import embedded

    return replace(coarsen(embedded(), 2, 2), name="embedded_8deg")
