"""Commands about the posterior of a fit: ``laplace``, ``sample``, ``twin``, ``ensemble``, ``sensitivity``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from invbgc.cli_common import RunArgument, guard, load

WorkersOption = Annotated[int, typer.Option("--workers", "-w", min=1, help="Processes; more than one needs dask.")]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of a dask scheduler, whose workers see the same files.")
]


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (laplace, sample, twin, ensemble, sensitivity):
        app.command()(command)


@guard
def laplace(
    runfile: RunArgument = None,
    draws: Annotated[
        int | None, typer.Option(min=0, help="Draws weighted by the posterior; 0 for none, those of the run file else.")
    ] = None,
    bars_only: Annotated[
        bool, typer.Option("--bars-only", help="Only the error bars of the fit again, with another scaling.")
    ] = False,
) -> None:
    """Error bars of a finished fit: the Gaussian under an honest error model, and how far it holds."""
    from invbgc import run as runs
    from invbgc import uncertainty

    run, source = load(runfile)
    runs.laplace(run, source)
    if not bars_only:
        _finish(run, source, uncertainty.laplace(run, draws, typer.echo))
    else:
        typer.echo(f"Report:  {runs.write_report(run.run.output / runs.RESULT_NAME)}")


@guard
def sample(runfile: RunArgument = None, workers: WorkersOption = 1, scheduler: SchedulerOption = None) -> None:
    """Sample the posterior of a finished fit; a rerun resumes every chain to the same draws."""
    from invbgc import uncertainty
    from invbgc.tasks import Workers

    run, source = load(runfile)
    chains, path = uncertainty.sample(run, Workers(workers, scheduler), typer.echo)
    for line in uncertainty.sample_lines(chains):
        typer.echo(line)
    typer.echo(f"Chains:  {path}")
    _finish(run, source, {})


@guard
def twin(
    runfile: RunArgument = None,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    write: Annotated[
        Path | None, typer.Option(help="Write one twin into this folder, as data and run file, and fit nothing.")
    ] = None,
    number: Annotated[int, typer.Option(help="Number of the twin that is written.")] = 0,
) -> None:
    """Are the error bars true? Synthetic data sets of known truth, fitted, and how often the bars hold it."""
    from invbgc import studies
    from invbgc.tasks import Workers

    run, source = load(runfile)
    if write is not None:
        typer.echo(f"Wrote {studies.write_twin(run, number, write)}")
        return
    tables, outcome = studies.twin(run, Workers(workers, scheduler), typer.echo)
    for line in studies.coverage_lines(tables["coverage"]):
        typer.echo(line)
    _finish(run, source, tables, outcome)


@guard
def ensemble(runfile: RunArgument = None, workers: WorkersOption = 1, scheduler: SchedulerOption = None) -> None:
    """Members of different structure, each fitted again, and draws of the fitted parameters, with their spread."""
    from invbgc import studies
    from invbgc.tasks import Workers

    run, source = load(runfile)
    tables, outcome = studies.ensemble(run, Workers(workers, scheduler), typer.echo)
    for line in studies.ensemble_lines(tables):
        typer.echo(line)
    _finish(run, source, tables, outcome)


@guard
def sensitivity(
    runfile: RunArgument = None,
    refits: Annotated[bool, typer.Option("--refits/--no-refits", help="Fit again without each tracer.")] = True,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
) -> None:
    """Which observations constrain which number, as maps, and what is lost without a tracer."""
    from invbgc import studies
    from invbgc.tasks import Workers

    run, source = load(runfile)
    tables, outcome = studies.sensitivity(run, refits, Workers(workers, scheduler), typer.echo)
    for line in studies.sensitivity_lines(tables):
        typer.echo(line)
    _finish(run, source, tables, outcome)


def _finish(run: Any, source: Path | None, tables: Any, outcome: Any = None) -> None:
    """Write tables and figures, renew the report where there is a fit, and end with status 3 where tasks failed."""
    from invbgc import run as runs
    from invbgc import uncertainty

    folder = uncertainty.save(run, tables, source)
    typer.echo(f"Results: {folder}")
    result = run.run.output / runs.RESULT_NAME
    if result.is_file():
        typer.echo(f"Report:  {runs.write_report(result)}")
    if outcome is not None and outcome.failures:
        for name, reason in outcome.failures.items():
            typer.echo(f"{name} failed: {reason}", err=True)
        typer.echo("The same command tries what failed again.", err=True)
        raise typer.Exit(3)
