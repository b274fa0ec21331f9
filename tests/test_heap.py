"""Freed memory goes back to the system; in processes of their own, since settings of the heap hold for a whole one."""

import ctypes
import subprocess
import sys

import pytest

from invbgc import heap

GLIBC = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim")
SMALL, LARGE = (8_000, 3_000), (1_000_000, 24)
"""Numbers in a block, and blocks: 183 MiB."""

SCRIPT = """
import os
import numpy as np
from invbgc import heap

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

{before}
freed = np.ones(3_500_000)
del freed  # from here on glibc keeps blocks of up to 27 MiB to itself, unless told otherwise
blocks, between = [], []
for _ in range({number}):
    blocks.append(np.ones({size}))
    between.append(np.ones(2_000))
held = resident()
del blocks
{after}
print(held - resident())
"""


@pytest.mark.skipif(not GLIBC, reason="needs glibc, whose heap this is about")
@pytest.mark.parametrize(
    ("before", "blocks", "after", "returned"),
    [
        ("", SMALL, "", False),
        ("", SMALL, "heap.give_back()", True),
        ("", LARGE, "", False),
        ("heap.map_large_blocks()", LARGE, "", True),
    ],
    ids=["kept", "given back", "large kept", "large mapped"],
)
def test_freed_memory_goes_back_when_told_to(before, blocks, after, returned):
    size, number = blocks
    script = SCRIPT.format(before=before, size=size, number=number, after=after)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (float(answer.stdout) > 150.0) == returned, answer.stdout


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(heap, "_library", lambda: None)
    heap.map_large_blocks()
    heap.give_back()
