"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

import invbgc  # noqa: F401  (switches on double precision before any test makes an array)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real observations and circulations; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INVBGC_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set INVBGC_SHARED_DATA to the folder that holds it")
    return folder
