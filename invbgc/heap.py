"""The heap of the C library: memory that is free, but kept for later, goes back to the system.

Compiling a large program takes a few hundred MiB for a while, and several threads keep pools of their own; without this
a process holds the largest of all such moments on top of its factors. It acts where the C library is glibc, and does
nothing elsewhere.
"""

import ctypes
import functools
import sys

_MAP_THRESHOLD = -3
"""`M_MMAP_THRESHOLD` of glibc's malloc.h."""

MAPPED_ABOVE = 4 * 2**20
"""Bytes from which a block is mapped on its own, and given back the moment it is freed. Left alone, glibc raises this
to 32 MiB by itself, and blocks of right-hand sides leave holes in the pools of the threads that used them."""


@functools.cache
def _library() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def map_large_blocks() -> None:
    """Give blocks above `MAPPED_ABOVE` back as soon as they are freed, from now on, in the whole process."""
    library = _library()
    if library is not None:
        library.mallopt(_MAP_THRESHOLD, MAPPED_ABOVE)


def give_back() -> None:
    """Give all free memory of the heap back now."""
    library = _library()
    if library is not None:
        library.malloc_trim(0)
