"""The same computations on a CPU and on a GPU: seconds, where they go, how far the answers differ, and throughput.

`python -m benchmarks.gpu evaluations --sizes 8 4 2 --shared ../shared/data` and `python -m benchmarks.gpu ensembles`
write their tables into `docs/run_on_a_gpu.md`, after every case, and the numbers behind them beside it.

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
MEMBERS = (1, 8, 32)
"""Members of an ensemble."""
MONTHS, STEP_DAYS, SUBSTEPS = 12, 4.0, 8
"""Transport matrices of a year, its steps, and those of biology within each."""


def measure(what: str, device: str, degrees: int, shared: Path, answers: Path) -> dict[str, Any]:
    """One case on one device: what it took; the value, gradient and Hessian themselves go into a file."""
    from invbgc.device import choose, used

    choose(device)
    posterior = make_posterior(degrees, "auto", shared)
    if what == "ensembles":
        model = posterior.model
        result = {"boxes": model.grid.n_wet, "member_years_per_second": ensemble(model.circulation, model.forcing)}
    else:
        result, here = timed(posterior)
        np.savez(answers, **{part: np.asarray(getattr(here, part)) for part in PARTS})
    return result | {"degrees": degrees, "device": used()}


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


def run(what: str, device: str, degrees: int, shared: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """One case in a process of its own: what it took, and value, gradient and Hessian where it made them.

    Raises:
        RuntimeError: the process failed, for want of a device for example.
    """
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.npz"
        command = [sys.executable, "-m", "benchmarks.gpu", what, "--one", device, str(degrees), str(answers)]
        process = subprocess.run([*command, "--shared", str(shared)], capture_output=True, text=True, check=False)
        if process.returncode:
            raise RuntimeError(process.stderr[-3000:])
        found = {}
        if answers.is_file():
            with np.load(answers) as stored:
                found = {part: stored[part] for part in PARTS}
        return json.loads(process.stdout.splitlines()[-1]), found


def differences(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> dict[str, float]:
    """Largest difference of value, gradient and Hessian over their largest entries."""
    return {part: float(np.abs(one[part] - two[part]).max() / np.abs(one[part]).max()) for part in PARTS}


def evaluations(results: list[dict[str, Any]]) -> str:
    """Seconds of evaluations, and the steps of NUTS that follow."""
    rows = []
    for case in results:
        seconds = {kind: case["evaluations"][kind]["seconds"] for kind in KINDS}
        rows.append(
            [
                f"{case['boxes']:,}", case["device"], case["backend"], *(f"{seconds[kind]:.3f}" for kind in KINDS),
                f"{1 / seconds['value_grad']:.2f}",
                f"{max(case['differences'].values()):.0e}" if "differences" in case else "-",
            ]
        )  # fmt: skip
    header = (
        "boxes", "device", "solver", *(f"{label}, s" for label in KINDS.values()), "steps of NUTS per s",
        "difference from the CPU",
    )  # fmt: skip
    return table(header, rows)


def ensembles(results: list[dict[str, Any]]) -> str:
    """Years of MOPS per second, times members."""
    rows = []
    for case in results:
        years = case["member_years_per_second"]
        rows.append([f"{case['boxes']:,}", case["device"], *(f"{years[str(members)]:.3g}" for members in MEMBERS)])
    return table(("boxes", "device", *(f"{members} at once" for members in MEMBERS)), rows)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=("evaluations", "ensembles"))
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(CASES), default=[8, 4])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="real data, for 2 degrees")
    parser.add_argument("--one", nargs=3, metavar=("DEVICE", "DEGREES", "ANSWERS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        device, degrees, answers = arguments.one
        print(json.dumps(measure(arguments.what, device, int(degrees), arguments.shared, Path(answers))))
        return
    store = PAGE.with_suffix(".json")
    for degrees in arguments.sizes:
        reference, cases = None, []
        for device in DEVICES:
            case, found = run(arguments.what, device, degrees, arguments.shared)
            if found and reference is not None:
                case["differences"] = differences(reference, found)
            reference = reference or found
            results = json.loads(store.read_text()) if store.is_file() else {}
            cases.append(case)
            others = [old for old in results.get(arguments.what, []) if old["degrees"] != degrees]
            results[arguments.what] = sorted([*others, *cases], key=lambda old: -old["degrees"])
            store.write_text(json.dumps(results, indent=1) + "\n")
            write_tables(results)
            print(degrees, case["device"], case.get("member_years_per_second") or _seconds(case), flush=True)


def write_tables(results: dict[str, list[dict[str, Any]]]) -> None:
    """Replace the tables of the page by those of the cases measured."""
    text = PAGE.read_text()
    if "evaluations" in results:
        text = replace(text, "gpu", evaluations(results["evaluations"]))
        text = replace(text, "gpu shares", shares(results["evaluations"]))
    if "ensembles" in results:
        text = replace(text, "gpu ensembles", ensembles(results["ensembles"]))
    PAGE.write_text(text)


def _seconds(case: dict[str, Any]) -> dict[str, float]:
    return {kind: round(row["seconds"], 3) for kind, row in case["evaluations"].items()}


if __name__ == "__main__":
    main()
