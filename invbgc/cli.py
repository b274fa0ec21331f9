"""The command line: ``invbgc init``, ``fit``, ``laplace``, ``report``, ``check``, ``info`` and ``data list``.

Everything heavy is imported inside the commands, so that help is instant.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from invbgc.errors import InvbgcError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    help="Fit the ocean's phosphorus, carbon and oxygen cycles to observations.",
)
data_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="What can be computed on and with.")
app.add_typer(data_app, name="data")

RunArgument = Annotated[
    Path | None, typer.Argument(help="Run file (TOML); without one, the embedded ocean with its synthetic data.")
]


def main() -> None:
    """Run the command line."""
    app()


def _guard(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors made on purpose into one paragraph and status 2, and Ctrl-C into status 130."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InvbgcError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as stop:
            typer.echo(f"\nStopped. {stop}\nRun the same command again to continue where it stopped.", err=True)
            raise typer.Exit(130) from None

    return guarded


@app.command()
@_guard
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("run.toml"),
    preset: Annotated[
        str, typer.Option(help="Ready-made run to start from: embedded, embedded_8deg or wang2023_4deg.")
    ] = "embedded",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a run file in which every option is explained."""
    from invbgc.runfile import write_template

    written = write_template(path, preset, overwrite=force)
    typer.echo(f"Wrote {written}. Edit it, then: invbgc fit {written}")


@app.command()
@_guard
def fit(
    runfile: RunArgument = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start again; replaces the checkpoints of an earlier run.")] = (
        False
    ),
) -> None:
    """Find the most probable parameters, with error bars and a report; a rerun resumes an interrupted fit.

    Ends with status 3 where the search did not converge.
    """
    from invbgc import run

    result, converged = run.fit(*_load(runfile), progress=typer.echo, fresh=fresh)
    typer.echo(f"Result:  {result}\nReport:  {run.write_report(result)}")
    if not converged:
        typer.echo("The fit has not converged; the same command continues it where evaluations were spent.", err=True)
        raise typer.Exit(3)


@app.command()
@_guard
def laplace(runfile: RunArgument = None) -> None:
    """Compute the error bars of a finished fit again, for example with another scaling."""
    from invbgc import run

    result = run.laplace(*_load(runfile))
    typer.echo(f"Result:  {result}\nReport:  {run.write_report(result)}")


@app.command()
@_guard
def report(
    result: Annotated[Path, typer.Argument(help="Result file (fit.nc), or the output folder that holds it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file; report.html beside it.")] = None,
) -> None:
    """Write the report of a fit as one HTML file."""
    from invbgc import run

    path = result / run.RESULT_NAME if result.is_dir() else result
    typer.echo(f"Report:  {run.write_report(path, output)}")


@app.command()
@_guard
def check(runfile: RunArgument = None) -> None:
    """Verify a run: conservation, steady state, derivatives. Ends with status 1 if a check fails."""
    from invbgc import run

    passed = True
    for table in run.verify(*_load(runfile)):
        lines, holds = check_lines(table)
        typer.echo("\n".join(lines) + "\n")
        passed = passed and holds
    typer.echo("All checks hold." if passed else "Some checks failed.")
    if not passed:
        raise typer.Exit(1)


@app.command()
@_guard
def info() -> None:
    """Print versions, sparse solvers found, cores, memory, and what is known by name."""
    from invbgc import run

    for key, value in run.environment().items():
        typer.echo(f"{key + ':':<14}{value}")


@data_app.command("list")
@_guard
def data_list() -> None:
    """List circulations, datasets with their terms, and presets."""
    from invbgc.datasets.registry import list_datasets
    from invbgc.runfile import CIRCULATIONS, DATASETS, PRESET_MEANINGS

    for title, names, elsewhere in (
        ("Circulations", CIRCULATIONS, "or the path of a .nc or .npz file"),
        ("Datasets", DATASETS, "or the path of a .nc file"),
        ("Presets", PRESET_MEANINGS, "for invbgc init --preset"),
    ):
        typer.echo(f"{title} ({elsewhere}):")
        for name, meaning in names.items():
            typer.echo(f"  {name:<16}{meaning}")
    typer.echo("Terms of the datasets:")
    for record in list_datasets():
        typer.echo(f"  {record.name:<16}licence: {record.licence}\n{'':<18}cite: {record.citation}")


def check_lines(table: Any) -> tuple[list[str], bool]:
    """Lay out one verification table as lines of text.

    Args:
        table: xarray Dataset of ``invbgc.verify``: one row dimension, a variable ``holds`` along it.

    Returns:
        The lines, and whether every row holds.
    """
    (row_dimension,) = table["holds"].dims
    columns = [str(name) for name, part in table.data_vars.items() if part.dims == (row_dimension,) and name != "holds"]
    labels = [str(label) for label in table[row_dimension].values]
    width = max(len(row_dimension), *(len(label) for label in labels))
    lines = [str(table.attrs.get("check", "Check"))]
    lines.append("  ".join([f"  {row_dimension.replace('_', ' '):<{width}}", *(f"{name:>10}" for name in columns)]))
    for row, label in enumerate(labels):
        cells = [f"{float(table[name].values[row]):>10.3g}" for name in columns]
        verdict = "ok" if bool(table["holds"].values[row]) else "FAILED"
        lines.append("  ".join([f"  {label:<{width}}", *cells, verdict]))
    return lines, bool(table["holds"].all())


def _load(runfile: Path | None) -> tuple[Any, Path | None]:
    """Read and check the run file, or take the embedded preset."""
    from invbgc.runcheck import validate_run
    from invbgc.runfile import preset, read_run

    run = preset("embedded") if runfile is None else read_run(runfile)
    validate_run(run, runfile or "the embedded run")
    return run, runfile
