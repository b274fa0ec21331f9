"""Conversion of a circulation of any format to the netCDF format of this project, or to MATLAB."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from invbgc.circulation.core import Circulation
from invbgc.circulation.matlab import read_matlab, write_matlab
from invbgc.circulation.netcdf import read_circulation, write_circulation
from invbgc.circulation.ocim import COLUMN_MAJOR
from invbgc.circulation.registry import load_circulation
from invbgc.errors import InputError
from invbgc.files import replaced


def _read_matlab(path: Path) -> Circulation:
    """What `write_matlab` writes, whose convention need not be found."""
    return read_matlab(path, sign="convergence", unit="yr-1", order=COLUMN_MAJOR)


FORMATS: dict[str, tuple[Callable[[Circulation, Path], Any], Callable[[Path], Circulation]]] = {
    ".nc": (write_circulation, read_circulation),
    ".mat": (write_matlab, _read_matlab),
}
"""Suffix of a target -> how it is written and how it is read back."""

ROUNDING = {".nc": 0.0, ".mat": 1e-15}
"""Relative difference that the entries of the operator may have after it; a change of unit rounds them."""


def convert(source: str | Path, target: str | Path, **options: Any) -> str:
    """Read a circulation, audit it, write it as netCDF or MATLAB and read it back.

    The target appears whole or not at all.

    Args:
        source: whatever `load_circulation` accepts: a name, a file or a folder.
        target: the file to write: `.nc`, the format of this project; `.mat`, that of OCIM2 (`write_matlab`), which
            AIBECS.jl can take as well.
        **options: of the reader, such as grid, sign, unit, order or time_step.

    Returns:
        a report: size, what was detected, the audit, and the time of each part.

    Raises:
        InputError: the source is not sound, an option does not exist for it, or the target cannot be written.
        ConservationError: the operator failed the audit.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     print(convert("two_box", f"{folder}/two_box.nc").splitlines()[0])
        two_box: 2 wet boxes in 1 columns and 2 layers, 4 entries
    """
    target = Path(target)
    if target.suffix not in FORMATS:
        raise InputError(f"target {target}: expected a name that ends in {' or '.join(FORMATS)}.")
    if Path(source).exists() and Path(source).resolve() == target.resolve():
        raise InputError(f"target {target}: it is the source; choose another name.")
    write, read_back = FORMATS[target.suffix]
    start = time.perf_counter()
    circulation = _load(source, options)
    loaded = time.perf_counter()
    with replaced(target) as temporary:
        write(circulation, temporary)
        written = time.perf_counter()
        difference = _difference(circulation, read_back(temporary), ROUNDING[target.suffix])
        if difference:
            raise InputError(f"target {target}: what was written reads back with another {difference}; not kept.")
    read = time.perf_counter()
    grid = circulation.grid
    lines = [
        f"{circulation.name}: {grid.n_wet} wet boxes in {grid.n_columns} columns and {grid.n_layers} layers, "
        f"{circulation.transport.nnz} entries",
        f"volume {grid.volume.sum():.6g} m3, surface {grid.surface_area.sum():.6g} m2",
        str(circulation.attrs.get("detection", "sign, unit and order are those of the format")),
        str(circulation.audit),
        f"read and audited in {loaded - start:.1f} s, written in {written - loaded:.1f} s, read back and audited in "
        f"{read - written:.1f} s",
        f"written to {target}",
    ]
    return "\n".join(lines)


def _load(source: str | Path, options: dict[str, Any]) -> Circulation:
    try:
        return load_circulation(source, **options)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        raise InputError(f"circulation {source}: {error}; expected options of its reader.") from error


def _difference(one: Circulation, two: Circulation, rounding: float) -> str:
    """What a circulation and its copy on disk disagree on beyond rounding; empty if nothing."""
    if not np.array_equal(one.grid.wet, two.grid.wet):
        return "wet mask"
    if not np.allclose(one.grid.volume, two.grid.volume, rtol=1e-6 if one.grid.wet_fraction is not None else 1e-12):
        return "volume"
    apart = abs(one.transport - two.transport) - rounding * abs(one.transport)
    return "operator" if apart.max() > 0.0 else ""
