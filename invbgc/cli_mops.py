"""The commands ``invbgc mops spinup``, ``run``, ``experiment`` and ``fit``."""

from pathlib import Path
from typing import Annotated

import typer

from invbgc.cli_common import RunArgument, guard

mops_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="MOPS, plankton with flexible C:P: particles, carbon storage and pCO2 of the air.",
)

FreshOption = Annotated[bool, typer.Option("--fresh", help="Begin again; replaces what an earlier run left.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.add_typer(mops_app, name="mops")


def _load(runfile: Path | None):
    """The run file; without one, the embedded ocean of 8 degrees."""
    from invbgc.runcheck import validate_run
    from invbgc.runfile import preset, read_run

    run = preset("embedded_8deg") if runfile is None else read_run(runfile)
    validate_run(run, runfile or "the embedded run")
    return run


@mops_app.command()
@guard
def spinup(
    runfile: RunArgument = None,
    periodic: Annotated[
        str | None,
        typer.Option(help="Find the periodic state of a seasonal ocean instead: newton, anderson or direct."),
    ] = None,
    fresh: FreshOption = False,
) -> None:
    """Find the steady state of the phosphorus core, which all runs share; a rerun takes what is there."""
    from invbgc import mops_study as study

    run = _load(runfile)
    if periodic is None:
        study.core(run, runfile, typer.echo, fresh)
        typer.echo(f"Result:  {run.run.output / study.FOLDER / 'core.nc'}")
        return
    path, found = study.periodic(run, periodic, runfile, typer.echo, fresh)
    typer.echo(f"{found.years} model years ({found.products} products with the derivative), {found.seconds:.0f} s")
    typer.echo(f"Result:  {path}")
    if found.drift >= study.DRIFT:
        typer.echo(f"Not settled: a drift of {found.drift:.1e} per year is left (wanted {study.DRIFT:g}).", err=True)
        raise typer.Exit(3)


@mops_app.command("run")
@guard
def one_run(
    runfile: RunArgument = None,
    b_carbon: Annotated[float | None, typer.Option(help="Exponent of the carbon flux.")] = None,
    pco2: Annotated[float | None, typer.Option(help="Atmospheric CO2, ppm.")] = None,
    total: Annotated[float | None, typer.Option(help="Carbon of ocean and atmosphere, Pg C, in place of pCO2.")] = None,
) -> None:
    """All tracers of one ocean, with its exports, ratios and stores."""
    from invbgc import mops_study as study

    path, lines = study.one_run(_load(runfile), b_carbon, pco2, total, runfile, typer.echo)
    typer.echo("\n".join(lines) + f"\nResult:  {path}")


@mops_app.command()
@guard
def experiment(runfile: RunArgument = None) -> None:
    """The series of carbon exponents, the theory, and the paper's numbers beside those found, with figures."""
    from invbgc import mops_study as study

    folder, lines = study.experiment(_load(runfile), runfile, typer.echo)
    typer.echo("\n".join(lines) + f"\nResults: {folder}\nReport:  {folder / 'report.html'}")


@mops_app.command()
@guard
def fit(runfile: RunArgument = None, fresh: FreshOption = False) -> None:
    """Fit exponents, or other parameters, to phosphate, oxygen and DIC, with error bars and a report."""
    from invbgc import mops_study as study
    from invbgc import run as runs

    path, converged = study.fit(_load(runfile), runfile, typer.echo, fresh)
    typer.echo(f"Result:  {path}\nReport:  {runs.write_report(path, path.with_name('fit.html'))}")
    if not converged:
        raise typer.Exit(3)
