"""Time, counts and memory of one evaluation of the posterior: value, gradient, Hessian, on 8, 4 and 2 degrees.

`python -m benchmarks.evaluation --sizes 8 4 2 --shared ../shared/data --out evaluation.json`

Each case runs in a process of its own. Times are warm: one evaluation has gone before, at a point nearby whose state is
the first guess. The floor is measured in the same process: five factorisations of T + diagonal and 132 solves in blocks
of 21 (the unknowns of the tracers and their sensitivities, `docs/performance.md`).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

CASES = {8: "embedded_8deg", 4: "embedded", 2: "ocim2_grid"}
"""Degrees -> ocean."""

FLOOR_FACTORS, FLOOR_SOLVES, FLOOR_BLOCK = 5, 132, 21
STEP = 0.01
"""Distance of the points measured, in optimiser coordinates."""


def make_posterior(degrees: int, backend: str, shared: Path) -> Any:
    """Posterior of a case at its published parameters."""
    from invbgc.inference.posterior import Posterior
    from invbgc.models.pco import PCOModel, pco_parameters
    from invbgc.run import _ocean
    from invbgc.runfile import preset

    table = pco_parameters("published")
    if degrees == 2:
        from invbgc.circulation import load_circulation
        from invbgc.datasets import load_dataset

        circulation = load_circulation(shared / "circulation" / "ocim2_grid_operator.npz")
        source = shared / "wang2023_observations"
        forcing, observations = load_dataset("wang2023", circulation.grid, source=source, circulation=circulation)
    else:
        circulation, forcing, observations = _ocean(preset(CASES[degrees]))
    return Posterior(PCOModel(circulation, forcing, None, table, backend), observations)


def measure(degrees: int, backend: str, shared: Path) -> dict[str, Any]:
    """Seconds, counts and peak memory of one case."""
    import invbgc  # noqa: F401  (double precision)

    posterior = make_posterior(degrees, backend, shared)
    before = _memory()
    x, n = posterior.x0, posterior.model.grid.n_wet
    start = time.perf_counter()
    first = posterior.value_grad_hess(x)
    cold = time.perf_counter() - start
    direction = STEP * np.cos(np.arange(len(x)))
    rows = {}
    for number, kind in enumerate(("value", "value_grad", "value_grad_hess"), start=1):
        counters = {name: system.counters for name, system in posterior.model.systems.items()}
        old = {name: counter.as_dict() for name, counter in counters.items()}
        start = time.perf_counter()
        evaluation = getattr(posterior, kind)(x + number * direction, guess=first)
        seconds = time.perf_counter() - start
        spent = {
            f"{name}_{key}": value - old[name][key]
            for name, counter in counters.items()
            for key, value in counter.as_dict().items()
            if key not in ("analyses", "max_residual")
        }
        rows[kind] = {"seconds": seconds, **spent, "iterations": evaluation.stats["iterations"]}
    return {
        "degrees": degrees,
        "backend": backend,
        "boxes": n,
        "cold_seconds": cold,
        "memory_before_GiB": before,
        "peak_GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "max_residual": evaluation.stats["max_residual"],
        "floor_seconds": floor(posterior.model.systems["tracer"]),
        "evaluations": rows,
    }


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
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(CASES), default=[8, 4])
    parser.add_argument("--backends", nargs="+", default=["auto"])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="real data, for 2 degrees")
    parser.add_argument("--out", type=Path, default=Path("evaluation.json"))
    parser.add_argument("--one", nargs=2, metavar=("DEGREES", "BACKEND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(int(arguments.one[0]), arguments.one[1], arguments.shared)))
        return
    results = []
    for degrees in arguments.sizes:
        for backend in arguments.backends:
            command = [sys.executable, "-m", "benchmarks.evaluation", "--one", str(degrees), backend]
            command += ["--shared", str(arguments.shared)]
            answer = subprocess.run(command, capture_output=True, text=True, check=False)
            if answer.returncode:
                raise SystemExit(answer.stderr[-3000:])
            results.append(json.loads(answer.stdout.splitlines()[-1]))
            arguments.out.write_text(json.dumps(results, indent=1))
            rows = results[-1]["evaluations"]
            print(degrees, backend, {kind: round(row["seconds"], 2) for kind, row in rows.items()}, flush=True)


if __name__ == "__main__":
    main()
