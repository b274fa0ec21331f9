"""Check a run against the world outside its file, before anything is computed."""

from collections.abc import Iterable
from pathlib import Path

from invbgc.circulation.registry import READERS
from invbgc.errors import InputError
from invbgc.linalg.backend import why_absent
from invbgc.models.pco.parameters import pco_parameters
from invbgc.parameters import ParameterTable
from invbgc.runfile import CIRCULATIONS, DATASETS, TRACERS, RunFile
from invbgc.sources import SOURCES, located
from invbgc.tomlfile import join_problems, nearest
from invbgc.transforms import TRANSFORMS


def felt_by(table: ParameterTable) -> dict[str, frozenset[str]]:
    """Say which tracers feel each parameter: the non-zero blocks of the sensitivities of the P-C-O model.

    A parameter that no fitted tracer feels leaves a zero row in the Hessian.

    Args:
        table: the parameters of the model, phosphorus first.

    Returns:
        Tracers by parameter name.
    """
    exceptions = {
        **{name: frozenset({"DIC", "ALK", "O2"}) for name in ("b_C_slope", "b_C")},
        **{name: frozenset({"DIC", "ALK"}) for name in ("d_PIC", "rain_ratio_slope", "rain_ratio")},
        "r_O2C": frozenset({"O2"}),
    }
    carbon = table.names.index("sigma_C")
    return {
        name: exceptions.get(name, frozenset(TRACERS if row < carbon else set(TRACERS) - {"DIP"}))
        for row, name in enumerate(table.names)
    }


def validate_run(run: RunFile, where: str | Path = "the run file") -> None:
    """Check a run against the world before anything is computed: names, files, observations, parameters.

    Args:
        run: the run.
        where: the file it came from, for the messages.

    Raises:
        InputError: lists every problem found.
    """
    problems = [
        *_check_circulation(run, where),
        *_check_dataset(run, where),
        *_check_parameters(run, where),
        *_check_observations(run, where),
        *_check_solver(run, where),
    ]
    if run.mops.start is not None and not run.mops.start.is_file():
        problems.append(f"{where}, [mops] start: the file {run.mops.start} does not exist.")
    if run.run.output.exists() and not run.run.output.is_dir():
        problems.append(f"{where}, [run] output: {run.run.output} exists and is not a folder.")
    if problems:
        raise InputError(join_problems(problems))


def _check_solver(run: RunFile, where: str | Path) -> list[str]:
    name = run.solver.backend
    lacking = None if name == "auto" else why_absent(name)
    return [] if lacking is None else [f"{where}, [solver] backend: {name!r} cannot run here: {lacking}."]


def _check_circulation(run: RunFile, where: str | Path) -> list[str]:
    name = run.circulation.name
    if name in CIRCULATIONS:
        return []
    place = f"{where}, [circulation] name"
    try:
        path = located(name)
    except InputError as error:
        return [f"{place}: {error}"]
    if not path.suffix:
        return [f"{place}: no circulation is called {name!r}. {nearest(name, (*CIRCULATIONS, *SOURCES))}"]
    if path.suffix not in READERS:
        return [f"{place}: {name} is not a {', '.join(READERS)} file; invbgc data convert makes one of a folder."]
    return [] if path.is_file() else [f"{place}: the file {name} does not exist."]


def _check_dataset(run: RunFile, where: str | Path) -> list[str]:
    section = run.dataset
    place = f"{where}, [dataset]"
    if section.name == "wang2023":
        if section.source is None:
            return [f"{place} source: the dataset wang2023 needs the folder that holds the authors' data files."]
        if not section.source.is_dir():
            return [f"{place} source: the folder {section.source} does not exist."]
        return [f"{place} source: {reason}" for reason in _missing_files(section.source)]
    idle = [key for key in ("source", "dic", "npp") if getattr(section, key) is not None]
    problems = [f"{place} {key}: applies to the dataset wang2023 only, not to {section.name!r}." for key in idle]
    if section.name in DATASETS:
        return problems
    path = Path(section.name)
    if not path.suffix:
        return [
            *problems,
            f"{place} name: no dataset is called {section.name!r}. {nearest(section.name, DATASETS)}",
        ]
    return problems if path.is_file() else [*problems, f"{place} name: the file {path} does not exist."]


def _missing_files(source: Path) -> list[str]:
    from invbgc.datasets.wang2023 import FILES, find_file

    for name in FILES:
        try:
            find_file(source, name)
        except InputError as error:
            return [str(error)]
    return []


def _check_parameters(run: RunFile, where: str | Path) -> list[str]:
    section = run.parameters
    place = f"{where}, [parameters]"
    table = pco_parameters()
    known = table.names
    aliases = {row.alias: row.name for row in table}
    problems = [
        f"{place} {key}: no parameter is called {name!r}. {nearest(name, known, aliases)}"
        for key in ("freeze", "overrides", "priors")
        for name in getattr(section, key)
        if name not in known
    ]
    problems += [
        f"{place} overrides: {name} = {value:g}; expected {TRANSFORMS[table[name].transform].domain}."
        for name, value in section.overrides.items()
        if name in known and not TRANSFORMS[table[name].transform].allowed(value)
    ]
    problems += [
        f"{place} priors: {name} is frozen; a prior says nothing about it."
        for name in section.priors
        if name in section.freeze
    ]
    problems += [
        f"{place} priors: {name} about {value:g}; expected {TRANSFORMS[table[name].transform].domain}."
        for name, (value, _) in section.priors.items()
        if name in known and not TRANSFORMS[table[name].transform].allowed(value)
    ]
    if section.start not in ("first_guess", "published") and not Path(section.start).is_file():
        problems.append(
            f"{place} start: {section.start!r} is neither a set of values nor an existing table. "
            f"{nearest(section.start, ('first_guess', 'published'))}"
        )
    if not set(known) - set(section.freeze):
        problems.append(f"{place} freeze: all {len(known)} parameters are frozen, nothing is left to fit.")
    return problems


def _check_observations(run: RunFile, where: str | Path) -> list[str]:
    tracers = run.observations.tracers
    place = f"{where}, [observations]"
    problems = [f"{place} tracers: {name} is listed twice." for name in TRACERS if tracers.count(name) > 1]
    problems += [
        f"{place} weights: {name} has a weight but is not among the tracers {', '.join(tracers)}."
        for name in run.observations.weights
        if name not in tracers
    ]
    unfelt = [
        name
        for name, felt in felt_by(pco_parameters()).items()
        if not felt & set(tracers) and name not in run.parameters.freeze
    ]
    if unfelt:
        problems.append(
            f"{place} tracers: observations of {', '.join(tracers)} alone say nothing about "
            f"{', '.join(unfelt)}; add these names to freeze in [parameters]."
        )
    path = Path(run.dataset.name)
    if run.dataset.name not in DATASETS and path.is_file():
        problems += _check_observed_fields(path, tracers, place)
    return problems


def _check_observed_fields(path: Path, tracers: Iterable[str], place: str) -> list[str]:
    import xarray as xr

    try:
        with xr.open_dataset(path) as dataset:
            present = set(dataset.data_vars)
    except (OSError, ValueError) as error:
        return [f"{path} cannot be read as netCDF ({error})."]
    missing = [name for name in tracers if f"observed_{name}" not in present]
    return [f"{place} tracers: {path} has no variable observed_{name}." for name in missing]
