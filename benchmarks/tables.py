"""The tables of `docs/performance.md`, written by the benchmarks between markers of the page."""

import math
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

KINDS = {"value": "value", "value_grad": "value, gradient", "value_grad_hess": "value, gradient, Hessian"}


def write_tables(results: Sequence[dict[str, Any]], page: Path) -> None:
    """Replace the tables of a page by those of the cases measured."""
    text = page.read_text()
    for name, table in {
        "evaluations": evaluations(results),
        "shares": shares(results),
        "alternatives": alternatives(results),
        "scaling": scaling(results),
    }.items():
        text = replace(text, name, table)
    page.write_text(text)


def replace(text: str, name: str, content: str) -> str:
    """The text with what stands between the markers of a name replaced."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"the page has no markers <!-- {name} --> ... <!-- end {name} -->")
    return pattern.sub(lambda match: match.group(1) + content + match.group(2), text)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def evaluations(results: Sequence[dict[str, Any]]) -> str:
    """Seconds, counts and memory."""
    rows = []
    for case in results:
        for kind, label in KINDS.items():
            row = case["evaluations"][kind]
            both = {key: row[f"phosphorus_{key}"] + row[f"tracer_{key}"] for key in ("solves", "krylov_iterations")}
            rows.append(
                [
                    f"{case['boxes']:,}", case["backend"], label, f"{row['seconds']:.2f}",
                    f"{row['seconds'] / case['floor_seconds']:.2f}",
                    f"{row['phosphorus_factorisations']:.0f} + {row['tracer_factorisations']:.0f}",
                    f"{both['solves']:.0f}", f"{both['krylov_iterations']:.0f}",
                    f"{case['peak_GiB']:.1f}",
                ]
            )  # fmt: skip
    header = (
        "boxes", "solver", "evaluation", "s", "over the floor", "factorisations (2n + n)", "right-hand sides",
        "iterations with nearby factors", "peak GiB",
    )  # fmt: skip
    return table(header, rows)


def shares(results: Sequence[dict[str, Any]]) -> str:
    """Where the time of value, gradient and Hessian goes, percent."""
    rows = []
    for case in results:
        row = case["evaluations"]["value_grad_hess"]
        parts = [row[f"{name}_{part}_seconds"] for name in ("phosphorus", "tracer") for part in ("factor", "solve")]
        parts.append(row["seconds"] - sum(parts))
        shown = [f"{100 * part / row['seconds']:.0f}" for part in parts]
        steps = row["iterations"]
        rows.append([f"{case['boxes']:,}", case["backend"], *shown, f"{steps['DIC']}, {steps['O2']}"])
    header = (
        "boxes", "solver", "2n factors %", "2n solves %", "n factors %", "n solves %", "compiled programs %",
        "Newton steps DIC, O2",
    )  # fmt: skip
    return table(header, rows)


def alternatives(results: Sequence[dict[str, Any]]) -> str:
    """The other ways to a Hessian."""
    rows = []
    for case in results:
        found = case.get("alternatives")
        if not found:
            continue
        ours = case["evaluations"]
        for name, label in {"joint": "joint Jacobians, pairwise", "jacfwd": "jax.jacfwd(jax.grad)"}.items():
            other = found[name]
            rows.append(
                [
                    f"{case['boxes']:,}", label, f"{other['seconds']:.1f}",
                    f"{other['seconds'] / ours['value_grad_hess']['seconds']:.1f}", f"{other['hessian_error']:.0e}",
                ]
            )  # fmt: skip
    return table(("boxes", "algorithm", "s", "times ours", "difference of the Hessians"), rows)


def scaling(results: Sequence[dict[str, Any]]) -> str:
    """Exponents of time over boxes between neighbouring sizes."""
    rows = []
    for backend in sorted({case["backend"] for case in results}):
        cases = sorted((case for case in results if case["backend"] == backend), key=lambda case: case["boxes"])
        for small, large in pairwise(cases):
            span = math.log(large["boxes"] / small["boxes"])
            exponents = [
                math.log(large["evaluations"][kind]["seconds"] / small["evaluations"][kind]["seconds"]) / span
                for kind in KINDS
            ]
            rows.append(
                [backend, f"{small['boxes']:,} to {large['boxes']:,}", *(f"{exponent:.2f}" for exponent in exponents)]
            )
    return table(("solver", "boxes", *KINDS.values()), rows)
