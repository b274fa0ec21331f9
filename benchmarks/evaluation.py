"""Time, counts and memory of one evaluation of the posterior: value, gradient, Hessian, on 8, 4 and 2 degrees.

`python -m benchmarks.evaluation --sizes 8 4 2 --shared ../shared/data` writes `docs/performance.json`, and its tables
into `docs/performance.md`; cases measured before and not asked for stay there.

Each case runs in a process of its own. Times are warm: one evaluation has gone before, at a point nearby that the next
ones start from. The floor is measured in the same process: five factorisations of T + diagonal and 132 solves in blocks
of 21 (the unknowns of the tracers and of their sensitivities). So are the alternatives, at the sizes where they fit:
joint Jacobians with a solve per pair of parameters (`benchmarks.joint`), and `jax.jacfwd(jax.grad(f))` through the same
sparse solves.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import KINDS, write_tables

CASES = {8: "embedded_8deg", 4: "embedded", 2: "ocim2_grid"}
"""Degrees -> ocean."""

FLOOR_FACTORS, FLOOR_SOLVES, FLOOR_BLOCK = 5, 132, 21
STEP = 0.01
"""Distance of the points measured, in optimiser coordinates."""

REPEATS = 3
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"


def make_posterior(degrees: int, backend: str, shared: Path) -> Any:
    """Posterior of a case at its published parameters."""
    from invbgc.inference.posterior import Posterior
    from invbgc.models.pco import PCOModel, pco_parameters
    from invbgc.run import load_ocean
    from invbgc.runfile import preset

    table = pco_parameters("published")
    if degrees == 2:
        from invbgc.circulation import load_circulation
        from invbgc.datasets import load_dataset

        circulation = load_circulation(shared / "circulation" / "ocim2_grid_operator.npz")
        source = shared / "wang2023_observations"
        forcing, observations = load_dataset("wang2023", circulation.grid, source=source, circulation=circulation)
    else:
        circulation, forcing, observations = load_ocean(preset(CASES[degrees]))
    return Posterior(PCOModel(circulation, forcing, None, table, backend), observations)


def measure(degrees: int, backend: str, shared: Path, alternatives: bool) -> dict[str, Any]:
    """Seconds, counts and peak memory of one case, and the alternatives where they are asked for."""
    import invbgc.inference.posterior  # noqa: F401

    imported = _memory()
    posterior = make_posterior(degrees, backend, shared)
    result, here = timed(posterior)
    result |= {"degrees": degrees, "import_GiB": imported}
    if alternatives:
        direction = STEP * np.cos(np.arange(len(here.x)))
        result["alternatives"] = compare(posterior, here, here.x + direction)
    return result | {"floor_seconds": floor(posterior.model.systems["tracer"])}


def timed(posterior: Any) -> tuple[dict[str, Any], Any]:
    """Seconds, counts and peak memory of evaluations, medians of `REPEATS`; and the first evaluation."""
    systems = posterior.model.systems
    x = posterior.x0
    start = time.perf_counter()
    here = posterior.value_grad_hess(x)
    cold = time.perf_counter() - start
    direction, number = STEP * np.cos(np.arange(len(x))), 0
    rows, residual = {}, 0.0
    for kind in KINDS:
        runs = []
        for _ in range(REPEATS):
            number += 1
            old = {name: system.counters.as_dict() for name, system in systems.items()}
            start = time.perf_counter()
            evaluation = getattr(posterior, kind)(x + number * direction, guess=here)
            seconds = time.perf_counter() - start
            spent = {
                f"{name}_{key}": value - old[name][key]
                for name, system in systems.items()
                for key, value in system.counters.as_dict().items()
                if key not in ("analyses", "max_residual")
            }
            runs.append({"seconds": seconds, **spent})
            residual = max(residual, evaluation.stats["max_residual"])
        rows[kind] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        rows[kind]["iterations"] = {name: int(count) for name, count in evaluation.stats["iterations"].items()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    result = {
        "backend": systems["tracer"].backend,
        "boxes": posterior.model.grid.n_wet,
        "cold_seconds": cold,
        "peak_GiB": peak,
        "max_residual": residual,
        "evaluations": rows,
    }
    return result, here


def compare(posterior: Any, here: Any, x: np.ndarray) -> dict[str, Any]:
    """Seconds of the alternatives, compiled before, and how far their Hessians are from ours."""
    import jax

    from benchmarks.joint import JointPosterior

    ours = posterior.value_grad_hess(x, guess=here)
    guess = {name: np.asarray(value) for name, value in here.state.fields.items()}
    joint = JointPosterior(posterior)
    plain = jax.jit(jax.jacfwd(jax.grad(posterior)))
    routes = {
        "joint": lambda order: joint.evaluate(x, guess, order),
        "jacfwd": lambda _: {"hessian": np.asarray(plain(x))},
    }
    found = {}
    for name, route in routes.items():
        route(2)
        start = time.perf_counter()
        answer = route(2)
        seconds = time.perf_counter() - start
        error = float(np.abs(answer["hessian"] - ours.hessian).max() / np.abs(ours.hessian).max())
        found[name] = {"seconds": seconds, "hessian_error": error, "counts": answer.get("counts", {})}
    start = time.perf_counter()
    joint.evaluate(x, guess, 0)
    found["joint"]["value_seconds"] = time.perf_counter() - start
    start = time.perf_counter()
    joint.evaluate(x, guess, 1)
    found["joint"]["value_grad_seconds"] = time.perf_counter() - start
    found["peak_GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return found


def floor(system: Any) -> float:
    """Seconds of the factorisations and solves that no evaluation can do without."""
    system.clear()
    random = np.random.default_rng(0)
    rhs = random.normal(size=(system.operator.size, FLOOR_BLOCK))
    start = time.perf_counter()
    for number in range(FLOOR_FACTORS):
        # far from each other, so that none is solved with the factor of another
        token = system.factorise(np.full(system.operator.size, 1e-9 * 10.0**number))
    for first in range(0, FLOOR_SOLVES, FLOOR_BLOCK):
        system.solve(token, rhs[:, : min(FLOOR_BLOCK, FLOOR_SOLVES - first)])
    return time.perf_counter() - start


def _memory() -> float:
    """Resident memory now, GiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**30


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(CASES), default=[8, 4])
    parser.add_argument("--backends", nargs="+", default=["pardiso", "superlu"])
    parser.add_argument("--alternatives", type=int, nargs="*", default=[8, 4], help="sizes at which they are run")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="real data, for 2 degrees")
    parser.add_argument("--one", nargs=2, metavar=("DEGREES", "BACKEND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        degrees, backend = int(arguments.one[0]), arguments.one[1]
        print(json.dumps(measure(degrees, backend, arguments.shared, degrees in arguments.alternatives)))
        return
    store = PAGE.with_suffix(".json")
    results = json.loads(store.read_text()) if store.is_file() else []
    for degrees in arguments.sizes:
        for backend in arguments.backends:
            compared = [str(degrees)] if degrees in arguments.alternatives and backend == arguments.backends[0] else []
            command = [sys.executable, "-m", "benchmarks.evaluation", "--one", str(degrees), backend]
            command += ["--shared", str(arguments.shared), "--alternatives", *compared]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                raise SystemExit(answer.stderr[-3000:])
            case = json.loads(answer.stdout.splitlines()[-1])
            results = [old for old in results if (old["degrees"], old["backend"]) != (degrees, case["backend"])]
            results = sorted([*results, case], key=lambda old: (-old["degrees"], old["backend"]))
            store.write_text(json.dumps(results, indent=1) + "\n")
            write_tables(results, PAGE)
            print(degrees, backend, {kind: round(row["seconds"], 2) for kind, row in case["evaluations"].items()})


if __name__ == "__main__":
    main()
