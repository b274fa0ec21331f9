"""The same evaluations on a CPU and on a GPU: seconds, where they go, how far the answers differ, and throughput.

`python -m benchmarks.gpu --sizes 8 4 2 --shared ../shared/data` writes its tables into `docs/run_on_a_gpu.md`.

Each case runs in a process of its own, which is put on its device before JAX is imported; the solver is the one that
`auto` takes there. Steps of NUTS are gradients at points nearby, each from the state of the first one. An ensemble is a
year of MOPS on synthetic seasonal transport for members that differ in their parameters, mapped as one program.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation import CASES, make_posterior, timed
from benchmarks.tables import KINDS, replace, shares, table

DEVICES = ("cpu", "gpu")
PAGE = Path(__file__).resolve().parents[1] / "docs" / "run_on_a_gpu.md"
PARTS = ("value", "gradient", "hessian")
MEMBERS = (1, 8)
"""Members of an ensemble."""
MONTHS, STEP_DAYS, SUBSTEPS = 12, 4.0, 8
"""Transport matrices of a year, its steps, and those of biology within each."""


def measure(device: str, degrees: int, shared: Path, ensembles: bool, answers: Path) -> dict[str, Any]:
    """Seconds and counts of one case on one device; the numbers themselves go into a file."""
    from invbgc.device import choose, used

    choose(device)
    posterior = make_posterior(degrees, "auto", shared)
    result, here = timed(posterior)
    np.savez(answers, **{part: np.asarray(getattr(here, part)) for part in PARTS})
    result |= {"degrees": degrees, "device": used()}
    if ensembles:
        result["member_years_per_second"] = ensemble(posterior.model.circulation, posterior.model.forcing)
    return result


def ensemble(circulation: Any, forcing: Any) -> dict[int, float]:
    """Years of MOPS per second, times members, for ensembles of `MEMBERS`."""
    import jax
    import jax.numpy as jnp

    from invbgc.circulation.propagation import Propagation
    from invbgc.circulation.seasonal import seasonal_transport
    from invbgc.constants import DAY
    from invbgc.models.mops.model import MopsModel
    from invbgc.models.mops.year import make_year, year_state

    model = MopsModel(circulation, forcing)
    transport = seasonal_transport(circulation, 0.5 * DAY, MONTHS)
    year = make_year(model, Propagation(transport, STEP_DAYS * DAY), SUBSTEPS)
    state, x = year_state(model, model.start), jnp.asarray(model.table.to_vector())
    found = {}
    for members in MEMBERS:
        points = x + 0.01 * jnp.arange(members)[:, None] * jnp.cos(jnp.arange(len(x)))
        mapped = jax.jit(jax.vmap(year, in_axes=(None, 0)))
        jax.block_until_ready(mapped(state, points))
        start = time.perf_counter()
        jax.block_until_ready(mapped(state, points))
        found[members] = members / (time.perf_counter() - start)
    return found


def run(device: str, degrees: int, shared: Path, ensembles: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One case in a process of its own: what it took, and value, gradient and Hessian.

    Raises:
        RuntimeError: the process failed, for want of a device for example.
    """
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.npz"
        command = [sys.executable, "-m", "benchmarks.gpu", "--one", device, str(degrees), str(answers)]
        command += ["--shared", str(shared), *(["--ensembles"] if ensembles else [])]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            raise RuntimeError(process.stderr[-3000:])
        with np.load(answers) as stored:
            return json.loads(process.stdout.splitlines()[-1]), {part: stored[part] for part in PARTS}


def differences(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest difference of value, gradient and Hessian over their largest entries."""
    return {part: float(np.abs(one[part] - two[part]).max() / np.abs(one[part]).max()) for part in PARTS}


def evaluations(results: list[dict[str, Any]]) -> str:
    """Seconds of evaluations, and what follows for samplers and ensembles."""
    rows = []
    for case in results:
        seconds = {kind: case["evaluations"][kind]["seconds"] for kind in KINDS}
        years = case.get("member_years_per_second", {})
        rows.append(
            [
                f"{case['boxes']:,}", case["device"], case["backend"], *(f"{seconds[kind]:.3f}" for kind in KINDS),
                f"{1 / seconds['value_grad']:.2f}", *(f"{years[str(n)]:.2g}" if years else "-" for n in MEMBERS),
                f"{max(case['differences'].values()):.0e}" if "differences" in case else "-",
            ]
        )  # fmt: skip
    header = (
        "boxes", "device", "solver", *(f"{label}, s" for label in KINDS.values()), "steps of NUTS per s",
        *(f"member years per s, {n} at once" for n in MEMBERS), "difference from the CPU",
    )  # fmt: skip
    return table(header, rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(CASES), default=[8, 4])
    parser.add_argument("--ensembles", action="store_true", help="years of MOPS too; they take long on a CPU")
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="real data, for 2 degrees")
    parser.add_argument("--one", nargs=3, metavar=("DEVICE", "DEGREES", "ANSWERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        device, degrees, answers = arguments.one
        print(json.dumps(measure(device, int(degrees), arguments.shared, arguments.ensembles, Path(answers))))
        return
    results: list[dict[str, Any]] = []
    for degrees in arguments.sizes:
        reference = None
        for device in DEVICES:
            case, found = run(device, degrees, arguments.shared, arguments.ensembles)
            if reference is not None:
                case["differences"] = differences(reference, found)
            reference = reference or found
            results.append(case)
            print(
                degrees, case["device"], {kind: round(row["seconds"], 3) for kind, row in case["evaluations"].items()}
            )
    text = replace(PAGE.read_text(), "gpu", evaluations(results))
    PAGE.write_text(replace(text, "gpu shares", shares(results)))


if __name__ == "__main__":
    main()
