"""Commands about sinking particles: ``traps`` and ``stoichiometry``."""

from pathlib import Path
from typing import Annotated

import typer

from invbgc.cli_common import guard


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(traps)
    app.command()(stoichiometry)


def _numbers(text: str, what: str) -> list[float]:
    from invbgc.errors import InputError

    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise InputError(f"{what}: found '{text}'; expected numbers with commas between them.") from error


@guard
def traps(
    file: Annotated[Path, typer.Argument(help="The BATS flux file as published, or a CSV table of fluxes.")],
    elements: Annotated[str, typer.Option(help="Fluxes, of which the first two are compared.")] = "P,C",
    depths: Annotated[str, typer.Option(help="Depths of a complete profile, m.")] = "150,200,300",
    years: Annotated[str, typer.Option(help="First and last year, such as 2006,2019; all where absent.")] = "",
    pooled: Annotated[bool, typer.Option("--pooled/--no-pooled", help="Sample the hierarchical model too.")] = True,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
    output: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path("traps"),
) -> None:
    """Exponents of the particle flux from sediment traps: with errors, tests, choices, and figures."""
    from invbgc import trap_study as study
    from invbgc.errors import InputError

    span = _numbers(years, "--years")
    if len(span) not in (0, 2):
        raise InputError(f"--years: found '{years}'; expected a first and a last year.")
    names = [name.strip() for name in elements.split(",") if name.strip()]
    found = study.trap_study(
        file,
        names,
        _numbers(depths, "--depths"),
        (span[0], span[1]) if span else None,
        pooled,
        seed,
        typer.echo,
    )
    for line in study.lines_of(found):
        typer.echo(line)
    typer.echo(f"Results: {study.write(found, output)}")


@guard
def stoichiometry(
    b_carbon: Annotated[str, typer.Option(help="Exponents of the carbon flux.")] = "0.5,0.75,1.0,1.25,1.46,1.75",
    b_phosphorus: Annotated[float, typer.Option(help="Exponent of the phosphorus flux.")] = 1.46,
    surface_ratio: Annotated[float, typer.Option(help="C:P of the flux at 100 m.")] = 142.0,
    pco2: Annotated[str, typer.Option(help="pCO2 in uatm whose exponents are sought, such as 280,190.")] = "",
    fluxes: Annotated[
        Path | None, typer.Option(help="CSV compilation of fluxes of C and P, for C:P by region.")
    ] = None,
    phosphate: Annotated[
        Path | None,
        typer.Option(
            help="netCDF file with surface phosphate (latitude, longitude); the embedded ocean's where absent."
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for tables and figures.")] = Path("stoichiometry"),
) -> None:
    """What C:P and the exponents of sinking particles do to the ocean's carbon storage and to atmospheric CO2."""
    from invbgc import trap_study as study
    from invbgc.carbon import read_field

    surface = None if phosphate is None else read_field(phosphate, "phosphate")
    found = study.stoichiometry(
        _numbers(b_carbon, "--b-carbon"), b_phosphorus, surface_ratio, _numbers(pco2, "--pco2"), fluxes, surface,
        [] if phosphate is None else [phosphate],
    )  # fmt: skip
    for line in study.storage_lines(found):
        typer.echo(line)
    typer.echo(f"Results: {study.write(found, output)}")
