"""Work for `test_tasks`, in a module of its own so that worker processes can import it."""

import os
import signal
from pathlib import Path

import xarray as xr

from invbgc.errors import ConvergenceError


def square(number, calls, progress, fail=False, kill=None):
    """The square of a number; notes the call in a file, and may fail, or kill its process while a file exists."""
    with Path(calls).open("a", encoding="utf-8") as file:
        file.write(f"{number}\n")
    progress(f"squaring {number}")
    if fail:
        raise ConvergenceError(f"no steady state of {number}")
    if kill is not None and Path(kill).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return xr.Dataset({"square": number**2}, attrs={"note": "kept"})
