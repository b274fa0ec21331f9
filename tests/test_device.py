"""The device of a run: chosen before JAX is imported, refused with what is missing, recorded."""

import ctypes
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from invbgc import cli, device
from invbgc.errors import InputError
from invbgc.runcheck import validate_run
from invbgc.runfile import preset


@pytest.fixture
def gpu_machine(monkeypatch):
    """A machine whose driver finds a device, and an environment that tests may change."""
    for name in ("JAX_PLATFORMS", "XLA_PYTHON_CLIENT_PREALLOCATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "why_no_gpu", lambda: None)


def test_a_gpu_is_asked_for_with_the_cpu_beside_it_and_memory_as_needed(gpu_machine, monkeypatch):
    gpu = SimpleNamespace(platform="gpu", device_kind="NVIDIA H100")
    monkeypatch.setattr("jax.devices", lambda: [gpu])
    assert not device.gpu_is_chosen()
    device.choose("gpu")
    assert os.environ["JAX_PLATFORMS"] == "cuda,cpu" and os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert device.gpu_is_chosen() and device.used() == "gpu (NVIDIA H100)"
    with pytest.raises(InputError, match=r"computes on gpu \(NVIDIA H100\) already"):
        device.choose("cpu")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "true")
    device.choose("gpu")
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == "true"


def test_jax_without_its_plugin_is_an_error(gpu_machine, monkeypatch):
    def absent():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr("jax.devices", absent)
    with pytest.raises(InputError, match=r"Unable to initialize backend 'cuda'.*pip install 'invbgc\[gpu\]'"):
        device.choose("gpu")
    monkeypatch.setattr("jax.devices", lambda: [SimpleNamespace(platform="cpu")])
    with pytest.raises(InputError, match="computes on the CPU already"):
        device.choose("gpu")


@pytest.mark.parametrize(
    ("answers", "expected"), [((0, 0, 1), None), ((100, 0, 1), "finds no device"), ((0, 0, 0), "CUDA_VISIBLE_DEVICES")]
)
def test_driver_and_device_are_told_apart(monkeypatch, answers, expected):
    initialised, counted, number = answers

    def count(reference):
        reference._obj.value = number
        return counted

    driver = SimpleNamespace(cuInit=lambda flags: initialised, cuDeviceGetCount=count)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    lacking = device.why_no_gpu.__wrapped__()
    assert lacking is None if expected is None else expected in str(lacking)

    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert "no NVIDIA driver" in str(device.why_no_gpu.__wrapped__())


def test_the_command_line_refuses_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(device, "why_no_gpu", lambda: "there is no NVIDIA driver on this machine")
    before = dict(os.environ)
    for word, expected in (
        ("gpu", "Error: device gpu: there is no NVIDIA driver on this machine."),
        ("tpu", "Error: device: found 'tpu'; expected cpu or gpu."),
    ):
        answer = CliRunner().invoke(cli.app, ["--device", word, "info"])
        assert answer.exit_code == 2 and answer.stderr.startswith(expected) and not answer.output.startswith("invbgc")
    assert dict(os.environ) == before


def test_the_command_line_puts_jax_on_the_cpu_and_manifests_say_so(tmp_path):
    script = (
        "import json, sys, invbgc.cli; sys.argv[1:] = ['--device', 'cpu', 'info']\n"
        "try: invbgc.cli.main()\n"
        "except SystemExit: pass\n"
        "from invbgc.files import manifest\n"
        "import jax; print(json.dumps([jax.config.jax_platforms, manifest()['device']]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "JAX_PLATFORMS"}
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert json.loads(answer.stdout.splitlines()[-1]) == ["cpu", "cpu"]
    assert any(line.split() == ["device:", "cpu"] for line in answer.stdout.splitlines())


def test_a_run_file_that_asks_for_an_absent_solver_is_refused_before_anything_is_computed(monkeypatch):
    monkeypatch.setattr("invbgc.runcheck.why_absent", lambda name: f"{name} is not installed")
    run = preset("embedded")
    validate_run(run)
    asked = run.model_copy(update={"solver": run.solver.model_copy(update={"backend": "cudss"})})
    with pytest.raises(InputError, match=r"\[solver\] backend: 'cudss' cannot run here: cudss is not installed"):
        validate_run(asked)
