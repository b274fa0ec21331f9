"""Fixtures shared by all tests, and one cache of compiled programs for all processes of a test run."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

import pytest

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Workers and commands started by tests inherit it; JAX reads it when it is first imported.
    folder = tempfile.mkdtemp(prefix="invbgc-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import invbgc  # noqa: F401  (switches on double precision before any test makes an array)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real observations and circulations; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INVBGC_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set INVBGC_SHARED_DATA to the folder that holds it")
    return folder
