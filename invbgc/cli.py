"""The command line: ``invbgc init``, ``fit``, ``laplace``, ``export`` and the rest; ``invbgc --help`` lists them.

Everything heavy is imported inside the commands, so that help is instant.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from invbgc import cli_mops, cli_posterior, cli_traps
from invbgc.cli_common import RunArgument, guard, load

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)
data_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="What can be computed on and with, and getting it."
)
app.add_typer(data_app, name="data")
cli_posterior.add_to(app)
cli_traps.add_to(app)
cli_mops.add_to(app)

SourceArgument = Annotated[str, typer.Argument(help="Name of a source; invbgc data list shows them.")]
SourcesArgument = Annotated[list[str] | None, typer.Argument(help="Names of sources; all where none is given.")]


def main() -> None:
    """Run the command line."""
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        from invbgc import __version__

        typer.echo(f"invbgc {__version__}")
        raise typer.Exit


@app.callback()
@guard
def main_options(
    device: Annotated[
        str | None,
        typer.Option(help="cpu or gpu, before the command: invbgc --device gpu fit. Where absent, JAX chooses."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fit the ocean's phosphorus, carbon and oxygen cycles to observations."""
    if device is not None:
        from invbgc.device import choose

        choose(device)


@app.command()
@guard
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
@guard
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

    result, converged = run.fit(*load(runfile), progress=typer.echo, fresh=fresh)
    typer.echo(f"Result:  {result}\nReport:  {run.write_report(result)}")
    if not converged:
        typer.echo("The fit has not converged; the same command continues it where evaluations were spent.", err=True)
        raise typer.Exit(3)


LabileOption = Annotated[
    float | None, typer.Option(help="Respiration time of labile DOC, hours; that of the model where absent.")
]
MixedLayerOption = Annotated[
    Path | None,
    typer.Option(
        help="netCDF file with the maximum mixed layer, mixed_layer_depth (latitude, longitude), on the grid."
    ),
]


@app.command()
@guard
def export(
    runfile: RunArgument = None,
    labile_hours: LabileOption = None,
    warming: Annotated[float, typer.Option(help="Warming whose effect on sinking is computed, degC.")] = 3.0,
    temperature: Annotated[
        Path | None,
        typer.Option(help="netCDF file with the temperature of another climate, on the grid, in place of a warming."),
    ] = None,
    mixed_layer: MixedLayerOption = None,
) -> None:
    """Where the carbon of a fitted ocean goes: export by pathway and place, inventories, error bars and figures."""
    from invbgc import carbon

    run, source = load(runfile)
    layer = None if mixed_layer is None else carbon.read_field(mixed_layer, "mixed_layer_depth")
    climate = warming if temperature is None else carbon.read_field(temperature, "temperature")
    fit = carbon.fitted(run, typer.echo, labile_hours)
    _finish(fit, carbon.export(fit, labile_hours, climate, layer, typer.echo), source)


@app.command()
@guard
def sequestration(runfile: RunArgument = None, labile_hours: LabileOption = None) -> None:
    """How long respired carbon stays away from the atmosphere: distributions over 10,000 years, by pool."""
    from invbgc import carbon

    run, source = load(runfile)
    fit = carbon.fitted(run, typer.echo, labile_hours)
    _finish(fit, carbon.sequestration(fit, labile_hours, typer.echo), source)


@app.command()
@guard
def compare(
    table: Annotated[Path, typer.Argument(help="CSV of measured fluxes: station, depth, value, error, unit, kind.")],
    runfile: RunArgument = None,
    mixed_layer: MixedLayerOption = None,
) -> None:
    """Compare a fitted ocean with sediment traps and net community production."""
    from invbgc import carbon
    from invbgc.diagnostics.compare import read_flux_table

    run, source = load(runfile)
    layer = None if mixed_layer is None else carbon.read_field(mixed_layer, "mixed_layer_depth")
    observed = read_flux_table(table)
    fit = carbon.fitted(run, typer.echo)
    _finish(fit, carbon.compare(fit, observed, layer), source)


@app.command()
@guard
def transient(
    runfile: RunArgument = None,
    scale: Annotated[float, typer.Option(help="Gas exchange over that of the forcing.")] = 1.0,
) -> None:
    """Follow a fitted ocean through the industrial era: excess DIC, bomb radiocarbon; a rerun resumes."""
    from invbgc import carbon, transients

    run, source = load(runfile)
    fit = carbon.fitted(run, typer.echo)
    _finish(fit, transients.transient(fit, scale, typer.echo), source)


@app.command()
@guard
def calibrate(
    runfile: RunArgument = None,
    joint: Annotated[bool, typer.Option("--joint", help="Fit gas exchange and parameters at once.")] = False,
) -> None:
    """Calibrate the gas exchange with dated bottles of radiocarbon and DIC, in turn with the fit; a rerun resumes."""
    from invbgc import run as runs
    from invbgc import transients

    run, source = load(runfile)
    folder = transients.calibrate(run, source, typer.echo, joint)
    typer.echo(f"Results: {folder}")
    if not joint:
        typer.echo(f"Report:  {runs.write_report(folder / runs.RESULT_NAME)}")


@app.command()
@guard
def report(
    result: Annotated[Path, typer.Argument(help="Result file (fit.nc), or the output folder that holds it.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file; report.html beside it.")] = None,
) -> None:
    """Write the report of a fit as one HTML file."""
    from invbgc import run

    path = result / run.RESULT_NAME if result.is_dir() else result
    typer.echo(f"Report:  {run.write_report(path, output)}")


@app.command()
@guard
def check(runfile: RunArgument = None) -> None:
    """Verify a run: conservation, steady state, derivatives. Ends with status 1 if a check fails."""
    from invbgc import run

    passed = True
    for table in run.verify(*load(runfile)):
        lines, holds = check_lines(table)
        typer.echo("\n".join(lines) + "\n")
        passed = passed and holds
    typer.echo("All checks hold." if passed else "Some checks failed.")
    if not passed:
        raise typer.Exit(1)


@app.command()
@guard
def info() -> None:
    """Print versions, sparse solvers found, device, cores, memory, and what is known by name."""
    from invbgc import run

    for key, value in run.environment().items():
        typer.echo(f"{key + ':':<14}{value}")


@data_app.command("list")
@guard
def data_list() -> None:
    """List circulations, datasets with their terms, presets, and the external sources that can be fetched."""
    from invbgc.datasets.registry import list_datasets
    from invbgc.runfile import CIRCULATIONS, DATASETS, PRESET_MEANINGS
    from invbgc.sources.cache import cache_folder, is_present
    from invbgc.sources.registry import SOURCES

    for title, names, elsewhere in (
        ("Circulations", CIRCULATIONS, "or a source below, or the path of a .nc, .npz, .mat or .jld2 file"),
        ("Datasets", DATASETS, "or the path of a .nc file"),
        ("Presets", PRESET_MEANINGS, "for invbgc init --preset"),
    ):
        typer.echo(f"{title} ({elsewhere}):")
        for name, meaning in names.items():
            typer.echo(f"  {name:<16}{meaning}")
    typer.echo("Terms of the datasets:")
    for record in list_datasets():
        typer.echo(f"  {record.name:<16}licence: {record.licence}\n{'':<18}cite: {record.citation}")
    typer.echo(f"Sources (for invbgc data fetch; kept in {cache_folder()}):")
    for source in SOURCES.values():
        state = "present" if is_present(source) else "-"
        typer.echo(f"  {source.name:<26}{_size(source.size):>12}  {state:<9}{source.title}")


@data_app.command("convert")
@guard
def data_convert(
    source: Annotated[str, typer.Argument(help="Circulation: a name, a .mat, .jld2, .npz or .nc file, a TMM folder.")],
    target: Annotated[Path, typer.Argument(help="File to write: .nc, or .mat in the layout of OCIM2.")],
    grid: Annotated[str | None, typer.Option(help="File with the grid, where the source holds none.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="Unit of the operator, where it cannot be told: s-1 or yr-1.")
    ] = None,
) -> None:
    """Convert a circulation to the netCDF format of this project or to MATLAB, audited and read back."""
    from invbgc.circulation.convert import convert
    from invbgc.sources import located

    options = {"grid": grid, "unit": unit}
    typer.echo(convert(located(source), target, **{key: value for key, value in options.items() if value is not None}))


@data_app.command("info")
@guard
def data_info(name: SourceArgument) -> None:
    """Describe a source: files, addresses, checksums, licence, citation and how to get it."""
    from invbgc.sources.cache import local_path
    from invbgc.sources.registry import get_source

    source = get_source(name)
    typer.echo(f"{source.name}: {source.title}")
    for label, text in (
        ("version", source.version),
        ("licence", source.licence),
        ("cite", source.citation),
        ("page", source.landing),
        ("reader", source.reader or "none yet"),
        ("note", source.note),
    ):
        if text:
            typer.echo(f"  {label + ':':<10}{text}")
    for file in source.files:
        path = local_path(source, file)
        typer.echo(f"  {file.name}{' (only when asked for by --file)' if file.optional else ''}")
        typer.echo(f"    {'address:':<10}{' or '.join((file.url, *file.mirrors)) if file.url else 'none; by hand'}")
        typer.echo(f"    {'checksum:':<10}{file.checksum or 'not published; recorded on first download'}")
        typer.echo(f"    {'size:':<10}{_size(file.size)}")
        typer.echo(f"    {'here:':<10}{path}{'' if path.exists() else ' (absent)'}")


@data_app.command("fetch")
@guard
def data_fetch(
    name: SourceArgument,
    file: Annotated[list[str] | None, typer.Option(help="Only this file of the source; may be repeated.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Use what is here; never touch the network.")] = False,
) -> None:
    """Download a source into the cache, resuming what was begun, and check it."""
    from invbgc.sources.cache import fetch
    from invbgc.sources.registry import get_source

    source = get_source(name)
    for path in fetch(source, file or (), offline=True if offline else None, progress=_tenths()):
        typer.echo(path)
    typer.echo(f"Licence: {source.licence}\nCite: {source.citation}")


@data_app.command("cite")
@guard
def data_cite(names: SourcesArgument = None) -> None:
    """Print what to cite for the sources named (all where none is)."""
    from invbgc.sources.registry import cite

    for name, citation in cite(names or ()).items():
        typer.echo(f"{name}: {citation}")


@data_app.command("verify")
@guard
def data_verify(names: SourcesArgument = None) -> None:
    """Compare files in the cache with their checksums.

    Ends with status 1 where one does not fit, or one of a named source is absent.
    """
    from invbgc.sources.cache import cache_folder, verify

    checks = verify(names or ())
    shown = [check for check in checks if names or check.status != "absent"]
    for check in shown:
        typer.echo(f"{check.status:<9}{check.source}/{check.file}: {check.message}")
    if not shown:
        typer.echo(f"No source is in the cache {cache_folder()}.")
    if any(check.status in ("failed", "absent") for check in shown):
        raise typer.Exit(1)


@data_app.command("recipe")
@guard
def data_recipe(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.toml"),
    template: Annotated[str, typer.Option(help="Ready-made recipe to start from: wang2023 or glodap_woa.")] = (
        "wang2023"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a recipe for a dataset file, explained line by line."""
    from invbgc.datasets.recipe import write_recipe

    written = write_recipe(path, template, overwrite=force)
    typer.echo(f"Wrote {written}. Edit it, then: invbgc data prepare {written}")


@data_app.command("prepare")
@guard
def data_prepare(recipe: Annotated[Path, typer.Argument(help="Recipe (TOML); invbgc data recipe writes one.")]) -> None:
    """Make one dataset file for an ocean: bin bottles, regrid climatologies, derive what follows, check, write."""
    from invbgc.datasets.prepare import prepare
    from invbgc.datasets.recipe import read_recipe

    prepare(read_recipe(recipe), recipe, progress=typer.echo)


@data_app.command("check")
@guard
def data_check(
    file: Annotated[Path, typer.Argument(help="Dataset file (netCDF).")],
    circulation: Annotated[
        str, typer.Option("--circulation", "-c", help="Name or path of the circulation whose grid it is on.")
    ] = "embedded",
) -> None:
    """Check a dataset file against the format and the grid of a circulation, and list what it holds."""
    from invbgc.circulation import load_circulation
    from invbgc.datasets.forcing import CONSTANTS, FIELDS_2D, FIELDS_3D
    from invbgc.datasets.schema import open_dataset

    grid = load_circulation(circulation).grid
    forcing, observations = open_dataset(file, grid)
    typer.echo(f"{file}: sound, on grid '{grid.name}' with {grid.n_wet} boxes.")
    typer.echo(f"Forcing:\n  {'variable':<24}{'units':<16}{'least':>12}{'greatest':>12}")
    for name, (unit, _) in {**FIELDS_3D, **FIELDS_2D}.items():
        values = getattr(forcing, name)
        typer.echo(f"  {name:<24}{unit:<16}{values.min():>12.5g}{values.max():>12.5g}")
    typer.echo("Constants: " + ", ".join(f"{name} {getattr(forcing, name):.6g}" for name in CONSTANTS))
    typer.echo(f"Observations:\n  {'tracer':<24}{'boxes':<16}{'mean, mmol m-3':>24}")
    for name, data in observations.tracers.items():
        typer.echo(f"  {name:<24}{data.count:<16}{data.mean:>24.6g}")


def _finish(fit: Any, tables: Any, source: Path | None) -> None:
    """Write tables and figures of a fitted ocean, print its headline numbers, and renew the report."""
    from invbgc import carbon, run

    folder = carbon.save(fit, tables, source)
    for line in carbon.headlines(tables):
        typer.echo(line)
    typer.echo(f"Results: {folder}\nReport:  {run.write_report(fit.run.run.output / run.RESULT_NAME)}")


def _size(size: int | None) -> str:
    if size is None:
        return "not stated"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def _tenths() -> Callable[[str, int, int | None], None]:
    """A progress callback that prints a line for every tenth of a file, or every 50 MB where the size is unknown."""
    told: dict[str, int] = {}

    def progress(name: str, done: int, total: int | None) -> None:
        step = 10 * done // total if total else done // 50_000_000
        if step != told.get(name):
            told[name] = step
            typer.echo(f"{name}: {_size(done)}{f' of {_size(total)}' if total else ''}", err=True)

    return progress


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
