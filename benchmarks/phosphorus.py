"""Ways to solve the coupled phosphorus equations: joint factors in two precisions, and the loop around its blocks.

`python -m benchmarks.phosphorus --sizes 8 4 2 --shared ../shared/data` writes its table into `docs/performance.md`.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation import CASES, PAGE, STEP, make_posterior
from benchmarks.tables import replace, table

COLUMNS = 7
"""Parameters of the phosphorus model, and so right-hand sides of its sensitivities."""

LIMIT = 100


def measure(degrees: int, shared: Path) -> list[list[str]]:
    """Rows of the table for one ocean."""
    import invbgc  # noqa: F401  (double precision)
    from benchmarks.loop import LoopAnalysis
    from invbgc.linalg.backend import find_backend
    from invbgc.linalg.system import _with_diagonal

    posterior = make_posterior(degrees, "auto", shared)
    stage, x = posterior.model.stages[0], posterior.x0
    operator = stage.system.operator
    analyse = find_backend("auto")[1]
    blocks = operator.size // posterior.model.grid.n_wet
    here, there = (_matrix(stage, point) for point in (x, x + STEP * np.cos(np.arange(len(x)))))
    held = operator.inventory.hold
    ways: dict[str, Any] = {
        "joint, double": analyse(operator.pattern, False),
        "joint, single": analyse(operator.pattern, True),
        "blocks, double": LoopAnalysis(operator.pattern, blocks, analyse),
    }
    rows = []
    for name, analysis in ways.items():
        values = _with_diagonal(here, held).data if name != "joint, double" else here.data
        analysis.factor(values).free()  # with the analysis of the pattern
        start = time.perf_counter()
        factor = analysis.factor(values)
        seconds = time.perf_counter() - start
        row = [f"{operator.size:,}", name, f"{seconds:.2f}", f"{factor.bytes / 2**30:.2f}"]
        for matrix, columns in ((here, 1), (here, COLUMNS), (there, COLUMNS)):
            iterations, seconds = _solve(operator, matrix, factor, columns)
            row += [str(iterations), f"{seconds:.2f}"]
        factor.free()
        rows.append(row)
    return rows


def _matrix(stage: Any, x: np.ndarray) -> Any:
    """The joint matrix at a point."""
    import scipy.sparse as sp

    operator = stage.system.operator
    zero = np.zeros(operator.size)
    values = operator.values([np.asarray(part) for part in stage.matrix_coefficients(zero, {}, x)])
    return sp.csr_array((values, operator.pattern.indices, operator.pattern.indptr), shape=operator.pattern.shape)


def _solve(operator: Any, matrix: Any, factor: Any, columns: int) -> tuple[int, float]:
    """Iterations and seconds of a solve of the bordered equations."""
    from invbgc.linalg.krylov import gmres
    from invbgc.linalg.system import ROUNDING

    rhs = 1e-9 * np.random.default_rng(0).normal(size=(operator.size, columns))
    rounding = ROUNDING * float(abs(matrix).sum(axis=1).max())
    start = time.perf_counter()
    product, bordered, _ = operator.inventory.border(lambda v: matrix @ v, rhs, False)
    found = gmres(product, lambda v: factor.solve(v, False), bordered, 1e-12, LIMIT, rounding)
    return found.iterations, time.perf_counter() - start


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phosphorus", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(CASES), default=[8, 4])
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"), help="real data, for 2 degrees")
    arguments = parser.parse_args()
    header = (
        "unknowns", "factor", "s", "GiB", "iterations, one column", "s", f"iterations, {COLUMNS} columns", "s",
        "iterations, nearby matrix", "s",
    )  # fmt: skip
    rows = []
    for degrees in arguments.sizes:
        rows += measure(degrees, arguments.shared)
        PAGE.write_text(replace(PAGE.read_text(), "phosphorus", table(header, rows)))
        print(rows[-3:], flush=True)


if __name__ == "__main__":
    main()
