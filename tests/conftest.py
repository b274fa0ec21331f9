"""Fixtures shared by all tests, and how JAX compiles in all processes of a test run: quickly, and into one cache."""

import atexit
import gc
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Workers and commands started by tests inherit it; JAX reads it when it is first imported.
    folder = tempfile.mkdtemp(prefix="invbgc-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

if "INVBGC_TESTS_STATES" not in os.environ:
    # Steady states that one worker has solved are read by the others, in this run only.
    states = tempfile.mkdtemp(prefix="invbgc-states-")
    atexit.register(shutil.rmtree, states, ignore_errors=True)
    os.environ["INVBGC_TESTS_STATES"] = states

if "XLA_FLAGS" not in os.environ:
    # Compiling takes most of the time of the tests, and programs for small oceans gain little from being optimised.
    # XLA aborts at a flag that it does not know. Where the variable is set, to "" say, tests compile as users do.
    flags = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    trial = [sys.executable, "-c", "import jax; jax.devices()"]
    known = subprocess.run(trial, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True).returncode == 0
    os.environ["XLA_FLAGS"] = flags if known else ""

import invbgc  # noqa: F401  (switches on double precision before any test makes an array)
from invbgc.linalg.backend import why_absent

# Tracing makes very many small objects that refer to each other: looking for garbage among them took a tenth of the
# time of the tests.
gc.set_threshold(20_000, 10, 10)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real observations and circulations; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("INVBGC_SHARED_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set INVBGC_SHARED_DATA to the folder that holds it")
    return folder


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports with captions alone: maps, sections and pixels take nearly all of their time.

    They are drawn in full where the report is what is tested, and in the tests of the carbon commands.
    """
    from invbgc import markup
    from invbgc.plots import maps, sections

    monkeypatch.setattr(markup, "image", lambda figure, caption, narrow=False: f"<p>{caption}</p>")
    monkeypatch.setattr(maps, "compare_maps", lambda *arguments: None)
    monkeypatch.setattr(sections, "compare_sections", lambda *arguments: None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu need cuDSS and its device; where JAX shall compute on it too, set JAX_PLATFORMS=cuda,cpu."""
    if item.get_closest_marker("gpu") is not None:
        lacking = why_absent("cudss")
        if lacking is not None:
            pytest.skip(f"needs a GPU with the gpu extra installed: {lacking}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow tests come first, so that no worker is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
