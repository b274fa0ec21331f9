"""The device that JAX computes on: a CPU or a GPU.

JAX reads the variable JAX_PLATFORMS when it first makes an array, and processes started from here inherit it. The CPU
stays in the list beside a GPU: host callbacks, and so the sparse solves, receive their arguments there.
"""

import ctypes
import functools
import os
import sys
from typing import Final

from invbgc.errors import InputError

PLATFORMS: Final = {"cpu": "cpu", "gpu": "cuda,cpu"}
"""Devices by name, and the value of JAX_PLATFORMS that stands for each."""

INSTALL: Final = "pip install 'invbgc[gpu]'"
"""How to get what a GPU needs beside its driver."""


def choose(device: str) -> None:
    """Put JAX on a device, before it is imported.

    On a GPU JAX is told to take memory as it needs it; otherwise it takes three quarters of the device at once, and
    leaves the factors of the sparse solver without any. A value of XLA_PYTHON_CLIENT_PREALLOCATE that is set already
    stays.

    Args:
        device: ``"cpu"`` or ``"gpu"``.

    Raises:
        InputError: the device is unknown, JAX cannot use it here, or JAX computes on another one already.
    """
    if device not in PLATFORMS:
        raise InputError(f"device: found {device!r}; expected {' or '.join(PLATFORMS)}.")
    lacking = why_no_gpu() if device == "gpu" else None
    if lacking is not None:
        raise InputError(f"device gpu: {lacking}.")
    os.environ["JAX_PLATFORMS"] = PLATFORMS[device]
    if device == "gpu":
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        _check_jax()
    elif "jax" in sys.modules and (found := used()) != "cpu":
        raise InputError(f"device cpu: JAX computes on {found} already; choose a device before anything is computed.")


def gpu_is_chosen() -> bool:
    """Whether JAX was told to compute on a GPU."""
    return os.environ.get("JAX_PLATFORMS", "").split(",")[0] in ("cuda", "gpu")


def used() -> str:
    """What JAX computes on, such as ``gpu (NVIDIA H100)`` or ``cpu``; ``none`` where nothing needed it so far."""
    if "jax" not in sys.modules:
        return "none"
    first = sys.modules["jax"].devices()[0]
    return first.platform if first.platform == "cpu" else f"{first.platform} ({first.device_kind})"


@functools.cache
def why_no_gpu() -> str | None:
    """What a computation on an NVIDIA GPU lacks on this machine; None where there are a driver and a device."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        return f"there is no NVIDIA driver on this machine ({error})"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver finds no device; see nvidia-smi, and whether CUDA_VISIBLE_DEVICES hides it"
    return None


def _check_jax() -> None:
    """See that JAX finds the GPU: its plugin may be absent, or too new for the driver."""
    import jax

    try:
        found = jax.devices()[0].platform
    except RuntimeError as error:
        raise InputError(f"device gpu: JAX cannot use the GPU ({error}); {INSTALL}, or update the driver.") from error
    if found == "cpu":
        raise InputError("device gpu: JAX computes on the CPU already; choose a device before anything is computed.")
