"""The run file: one TOML file that says everything about a run, checked before anything is computed.

Each field below is declared once, with its default and its description; the declaration reads the file,
checks it and writes the commented template of ``invbgc init``.
"""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError

from invbgc.constants import PREINDUSTRIAL_PCO2
from invbgc.errors import InputError
from invbgc.tomlfile import Section, nearest, read_toml, write_text

TRACERS = ("DIP", "DIC", "ALK", "O2", "DOC")
"""Observed tracers, in the order of the misfit terms."""

CIRCULATIONS = {
    "embedded": "4-degree, 17-layer ocean that comes with the package",
    "embedded_8deg": "the same with its cells joined two by two",
    "column": "one water column, for trying things out",
    "few_box": "a few boxes, for tests",
    "two_box": "surface and deep box, for tests",
}
"""Circulations known by name, and what they are; anything else is a path."""

DATASETS = {
    "embedded": "synthetic observations (identical twin) on the embedded ocean; comes with the package",
    "wang2023": "the binned observations of Wang et al. (2023); needs the authors' data files",
}
"""Datasets known by name, and what they are; anything else is a path."""

Tracer = Literal["DIP", "DIC", "ALK", "O2", "DOC"]
Positive = Annotated[float, Field(gt=0)]


class RunSection(Section):
    """What the run is called and where it writes."""

    name: str = Field(default="embedded", min_length=1, description="Title of the run, printed on the report.")
    output: Path = Field(
        default=Path("runs/embedded"),
        description="Folder for fit.nc, report.html, the log and the checkpoints; relative to this file.",
    )
    seed: int = Field(default=0, ge=0, description="Seed of every random number drawn.")


class CirculationSection(Section):
    """The ocean circulation: the transport operator and its grid."""

    name: str = Field(
        default="embedded", description=f"A name ({', '.join(CIRCULATIONS)}), a fetched source or a path."
    )
    coarsen: int = Field(
        default=1,
        ge=1,
        description="Merge blocks of this many boxes in each horizontal direction; 1 keeps all.",
    )


class DatasetSection(Section):
    """The forcing fields and the observations."""

    name: str = Field(
        default="embedded", description=f"A name ({', '.join(DATASETS)}) or the path of a netCDF dataset."
    )
    source: Path | None = Field(default=None, description="wang2023: folder with the authors' data files.")
    dic: Literal["anthropogenic_removed", "raw"] | None = Field(
        default=None, description="wang2023: DIC without (the default) or with anthropogenic carbon."
    )
    npp: str | None = Field(
        default=None,
        description="wang2023: net primary production, a product of its file (by default satellite_pattern).",
    )
    structured_error: bool | None = Field(
        default=None,
        description="embedded: keep the smooth part of the error of the synthetic observations (by default yes).",
    )


class ModelSection(Section):
    """Choices within the phosphorus, carbon and oxygen model."""

    labile: Literal["off", "satellite_residual"] = Field(
        default="off",
        description="Labile DOC production: none (first round), or satellite minus modelled production.",
    )
    c_to_p: Literal["observed_phosphate", "modelled_phosphate"] = Field(
        default="observed_phosphate", description="Phosphate that sets the C:P ratio of production."
    )
    exponent_layers: Literal[2, 3] = Field(
        default=2,
        description="Surface layers whose mean temperature sets the particle exponents b (the released code: 3).",
    )
    chemistry_units: Literal["consistent", "released"] = Field(
        default="consistent",
        description="Convert mmol m-3 to umol kg-1 before the carbonate system; the released code does not.",
    )
    sinking: Literal["upwind", "exact"] = Field(
        default="upwind", description="Particle flux: upwind scheme of the paper, or the exact power law."
    )
    atmosphere: Literal["dry", "ocmip2"] = Field(
        default="dry",
        description="CO2 exchange without humidity and pressure terms, as released, or with them (OCMIP-2).",
    )
    kappa_p_days: Positive = Field(
        default=30.0, description="Dissolution time of POP and POC, days; fluxes do not depend on it."
    )
    kappa_l_hours: Positive = Field(
        default=12.0, description="Respiration time of labile DOC, hours (the paper: 12 or 24)."
    )
    pco2_atm: Positive = Field(default=PREINDUSTRIAL_PCO2, description="Atmospheric pCO2, uatm.")


class ParametersSection(Section):
    """Where the parameters start and which stay fixed."""

    start: str = Field(
        default="first_guess", description="first_guess, published, or the path of a parameter table (CSV)."
    )
    freeze: tuple[str, ...] = Field(default=(), description="Names of the parameters that are not fitted.")
    overrides: dict[str, float] = Field(
        default={},
        description="Start values that replace those of 'start', for example { b_C = 0.65, eta = 0.98 }.",
    )
    priors: dict[str, tuple[float, Positive]] = Field(
        default={},
        description="Gaussian priors: value, and standard deviation of its logarithm (of itself where linear), "
        "for example { kappa_ru = [2e-11, 1.0] }; flat where none is given.",
    )
    prior_sd: float | None = Field(
        default=None, gt=0, description="Standard deviation of a prior about the start, for all other free parameters."
    )


class ObservationsSection(Section):
    """Which tracers the model is compared with, and how much each counts."""

    tracers: tuple[Tracer, ...] = Field(default=TRACERS, min_length=1, description="Tracers in the misfit.")
    weights: dict[Tracer, Positive] = Field(
        default={},
        description="Factor s of each misfit term, for example { DOC = 0.5 }; 1 where none is given.",
    )


class SolverSection(Section):
    """The sparse direct solver."""

    backend: Literal["auto", "superlu", "pardiso", "cudss"] = Field(
        default="auto",
        description="auto takes the fastest one installed; cudss needs a GPU and is what auto takes with --device gpu.",
    )
    memory_GiB: float | None = Field(
        default=None,
        gt=0,
        description="Memory that live factors may take; where it is small they are of single precision, then fewer.",
    )


class FitSection(Section):
    """The search for the most probable parameters."""

    method: Literal["newton", "optax"] = Field(
        default="newton", description="Trust-region Newton, or a first-order optimiser."
    )
    gtol: Positive = Field(default=1e-8, description="Converged when no component of the gradient is larger.")
    max_evaluations: int = Field(default=100, ge=1, description="Stop after this many evaluations; a rerun continues.")
    start_radius: float = Field(
        default=0.3, gt=0, le=3.0, description="First trust radius, in log (or linear) parameter units."
    )


class LaplaceSection(Section):
    """The Gaussian approximation that gives the error bars."""

    scaling: Literal["authors", "all", "effective"] = Field(
        default="authors",
        description="Boxes counted as independent: those of DIP, DIC and O2; all; or fewer, for correlation.",
    )


class ErrorsSection(Section):
    """The error model of sample, twin and sensitivity: how far the misfit may rise. An ensemble takes [laplace]."""

    model: Literal["paper", "per_tracer", "structured"] = Field(
        default="structured",
        description="One scale for all tracers as published; one for each, inferred; or partly smooth errors.",
    )


class SampleSection(Section):
    """Sampling the posterior."""

    kernel: Literal["both", "nuts", "delayed"] = Field(
        default="both",
        description="No-U-Turn sampler, draws of the Gaussian approximation that the model judges, or in turn.",
    )
    chains: int = Field(default=4, ge=1, description="Chains, each in a process of its own where there are workers.")
    warmup: int = Field(default=40, ge=1, description="Draws of a chain in which its step is adapted, not kept.")
    draws: int = Field(default=400, ge=1, description="Draws of a chain that are kept; more may be asked for later.")
    chunk: int = Field(default=10, ge=1, description="Draws between checkpoints.")
    importance: int = Field(
        default=400, ge=50, description="Draws of the Gaussian that are weighted by the posterior, to judge it."
    )


class TwinSection(Section):
    """Identical twins: are the error bars true?"""

    number: int = Field(default=100, ge=1, description="Synthetic data sets, each from a truth of its own.")
    spread: Positive = Field(
        default=0.2, description="Standard deviation of the true parameters about the start; a prior replaces it."
    )
    noise: float = Field(
        default=0.05, ge=0, description="Independent error of a box of mean volume over the spread of the tracer."
    )
    structure: float = Field(default=0.05, ge=0, description="Smooth error over the spread of the tracer.")
    draws: int = Field(default=0, ge=0, description="Draws of a chain for each twin; 0 for Gaussian error bars only.")


class EnsembleSection(Section):
    """Members that differ in structure, and draws from the Gaussian approximation of the fit."""

    members: dict[str, tuple[Any, ...]] = Field(
        default={},
        description="Keys of this file with the values they take, combined with each other, for example "
        "{ 'dataset.npp' = ['satellite_pattern', 'inverse_uptake_pattern'], 'model.sinking' = ['upwind', 'exact'] }.",
    )
    draws: int = Field(default=200, ge=0, description="Draws of the fitted parameters, for the spread of diagnostics.")


class TransientSection(Section):
    """The industrial era: DIC and radiocarbon since preindustrial times."""

    start: float = Field(default=1850.0, description="First instant, decimal year; the steady state before it.")
    years: int = Field(default=170, ge=1, le=2000, description="Number of years.")
    steps_per_year: int = Field(default=6, ge=1, description="Time steps of a year (the paper: 6, of two months).")
    scheme: Literal["dirk2", "trapezoid"] = Field(
        default="dirk2", description="Time stepping: two implicit stages of second order, or the paper's."
    )
    co2: str | None = Field(
        default=None,
        description="CSV of pCO2 (year, pCO2_uatm) or a fetched source; the package's if absent or after its end.",
    )
    d14c: str | None = Field(
        default=None,
        description="CSV of atmospheric radiocarbon (year, D14C_north_permil, D14C_tropics_permil, D14C_south_permil).",
    )
    sst: Path | None = Field(
        default=None,
        description="netCDF with sea_surface_temperature (year, latitude, longitude) on the grid; constant if absent.",
    )
    bottles: Path | None = Field(
        default=None,
        description="netCDF with dated bottles of DIC and D14C (data prepare, keep_bottles); the dataset where absent.",
    )
    tolerance: Positive = Field(
        default=0.1, description="calibrate: largest change, in error bars, between rounds that agree."
    )
    max_rounds: int = Field(default=8, ge=1, description="calibrate: rounds at most.")


class MopsSection(Section):
    """The plankton model MOPS with flexible C:P, for the commands of invbgc mops."""

    calibration: Literal["ecco", "mit28", "mops2"] = Field(
        default="ecco", description="Published parameter set: ecco is that of Tanioka et al. (2021)."
    )
    overrides: dict[str, float] = Field(
        default={}, description="Parameter values that replace those of the set, for example { b_P = 1.2 }."
    )
    stoichiometry: Literal["flexible", "redfield"] = Field(
        default="flexible", description="C:P of phytoplankton from phosphate and temperature, or 117 everywhere."
    )
    sinking: Literal["mid_depth", "exact_profile"] = Field(
        default="mid_depth", description="Sinking speed of the middle of a layer, or one that gives the power law."
    )
    form: Literal["hard", "smooth"] = Field(
        default="hard", description="Corners of the equations as published, or rounded off."
    )
    exchange: Literal["fast", "wind"] = Field(
        default="fast", description="Gas exchange of CO2: 160 m per day everywhere, or by wind and ice."
    )
    alkalinity: Literal["uniform", "salinity"] = Field(
        default="uniform", description="Surface alkalinity: the same everywhere, or proportional to salinity."
    )
    start: Path | None = Field(
        default=None,
        description="core.nc of another ocean, a coarser one say, to start from; a uniform ocean where absent.",
    )
    start_years: int = Field(default=20, ge=1, description="Years integrated before the search for the steady state.")
    time_step_days: Positive = Field(default=2.0, description="Step of the transport in time integrations, days.")
    substeps: int = Field(default=4, ge=1, description="Steps of biology in each.")
    b_C: tuple[Positive, ...] = Field(
        default=(0.5, 0.75, 1.0, 1.25, 1.46, 1.75), description="Exponents of the carbon flux in the experiment."
    )
    control_pco2: float | None = Field(
        default=None, gt=0, description="pCO2 of the control run, ppm; that of the spin-up's carbon where absent."
    )
    fit: tuple[str, ...] = Field(default=("b_P", "b_C"), description="Parameters that invbgc mops fit changes.")
    fit_pco2: Positive = Field(default=280.0, description="Atmospheric CO2 over the fitted ocean, ppm.")


class RunFile(Section):
    """A whole run; every section has defaults, so that an empty file is the embedded run."""

    run: RunSection = RunSection()
    circulation: CirculationSection = CirculationSection()
    dataset: DatasetSection = DatasetSection()
    model: ModelSection = ModelSection()
    parameters: ParametersSection = ParametersSection()
    observations: ObservationsSection = ObservationsSection()
    solver: SolverSection = SolverSection()
    fit: FitSection = FitSection()
    laplace: LaplaceSection = LaplaceSection()
    errors: ErrorsSection = ErrorsSection()
    sample: SampleSection = SampleSection()
    twin: TwinSection = TwinSection()
    ensemble: EnsembleSection = EnsembleSection()
    transient: TransientSection = TransientSection()
    mops: MopsSection = MopsSection()


PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "embedded": {},
    "embedded_8deg": {
        "run": {"name": "embedded_8deg", "output": Path("runs/embedded_8deg")},
        "circulation": {"name": "embedded_8deg"},
    },
    "wang2023_4deg": {
        "run": {"name": "wang2023_4deg", "output": Path("runs/wang2023_4deg")},
        "dataset": {
            "name": "wang2023",
            "source": Path("wang2023_observations"),
            "dic": "anthropogenic_removed",
        },
        # From the first guess the search ends in a higher minimum; see docs/real_data.md.
        "parameters": {"start": "published"},
    },
    "wang2023_2deg": {
        "run": {"name": "wang2023_2deg", "output": Path("runs/wang2023_2deg")},
        "circulation": {"name": "ocim2_grid_operator.npz"},
        "dataset": {
            "name": "wang2023",
            "source": Path("wang2023_observations"),
            "dic": "anthropogenic_removed",
        },
    },
}
"""Ready-made runs by name; each entry replaces the defaults of a section."""

PRESET_MEANINGS = {
    "embedded": "21 parameters on the embedded ocean, synthetic observations",
    "embedded_8deg": "the same on 9,937 boxes, for a quick look",
    "wang2023_4deg": "the real observations of Wang et al. (2023) on the embedded ocean",
    "wang2023_2deg": "the same on 200,160 boxes of the OCIM2 grid, with an operator of your own",
}
"""What each preset is, for lists."""


def preset(name: str) -> RunFile:
    """Return a ready-made run.

    Args:
        name: a key of ``PRESETS``.

    Returns:
        The run, with paths relative to the working folder.

    Raises:
        InputError: no preset has this name.
    """
    if name not in PRESETS:
        raise InputError(f"there is no preset {name!r}. {nearest(name, PRESETS)}")
    return RunFile.model_validate(PRESETS[name])


def read_run(path: str | Path) -> RunFile:
    """Read a run file and check every key, type and choice.

    Args:
        path: TOML file; relative paths inside it are taken from its folder.

    Returns:
        The run with absolute paths. ``runcheck.validate_run`` checks what lies outside the file.

    Raises:
        InputError: the file is missing, is not TOML, or holds an unknown key or a wrong value.
    """
    return _with_folder(read_toml(path, RunFile, "run file", "invbgc init"), Path(path).resolve().parent)


def write_template(path: str | Path, name: str = "embedded", overwrite: bool = False) -> Path:
    """Write a commented run file.

    Args:
        path: the file to write.
        name: a key of ``PRESETS``.
        overwrite: replace an existing file.

    Returns:
        The path written.

    Raises:
        InputError: the preset is unknown, or the file exists, or its folder cannot be written.
    """
    return write_text(path, to_toml(preset(name)), overwrite)


def to_toml(run: RunFile, comments: bool = True) -> str:
    """Write a run as TOML text that reads back to the same run.

    Args:
        run: the run.
        comments: explain every key and show those that are not set.

    Returns:
        The text.
    """
    lines = [f"# invbgc run file: {run.run.name}", "# Run it with: invbgc fit FILE", ""] if comments else []
    for section_name, section_field in RunFile.model_fields.items():
        section = getattr(run, section_name)
        if comments and section_field.annotation is not None:
            lines.append(f"# {(section_field.annotation.__doc__ or '').strip()}")
        lines.append(f"[{section_name}]")
        for key, field in type(section).model_fields.items():
            if comments:
                choices = _choices(field.annotation) if key != "tracers" else ""
                lines += textwrap.wrap(
                    f"{field.description}{choices}", 108, initial_indent="# ", subsequent_indent="# "
                )
            value = getattr(section, key)
            if value is not None:
                lines.append(f"{key} = {_toml_value(value)}")
            elif comments:
                lines.append(f'# {key} = "..."')
        lines.append("")
    return "\n".join(lines)


def with_keys(run: RunFile, changes: Mapping[str, Any]) -> RunFile:
    """A run with some keys changed.

    Args:
        run: the run.
        changes: dotted key -> value, for example ``{"model.sinking": "exact"}``; a section -> all its keys.

    Raises:
        InputError: a key is unknown or a value is not allowed.
    """
    content = run.model_dump()
    for key, value in changes.items():
        section, _, name = key.partition(".")
        if section not in content or (name and name not in content[section]):
            known = [f"{s}.{k}" for s, keys in content.items() for k in keys]
            raise InputError(f"the run file has no key {key!r}. {nearest(key, known)}")
        content[section] = content[section] | {name: value} if name else value
    try:
        return RunFile.model_validate(content)
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise InputError(f"changing {', '.join(changes)}: {reasons}.") from error


def _with_folder(run: RunFile, folder: Path) -> RunFile:
    """Make the paths of a run absolute, counted from the folder of its file."""
    updates: dict[str, Any] = {"run": run.run.model_copy(update={"output": folder / run.run.output})}
    if run.circulation.name not in CIRCULATIONS and Path(run.circulation.name).suffix:
        updates["circulation"] = run.circulation.model_copy(update={"name": str(folder / run.circulation.name)})
    dataset: dict[str, Any] = {}
    if run.dataset.name not in DATASETS and Path(run.dataset.name).suffix:
        dataset["name"] = str(folder / run.dataset.name)
    if run.dataset.source is not None:
        dataset["source"] = folder / run.dataset.source
    updates["dataset"] = run.dataset.model_copy(update=dataset)
    files = {key: getattr(run.transient, key) for key in ("co2", "d14c", "sst", "bottles")}
    found = {key: folder / path for key, path in files.items() if path is not None and Path(path).suffix}
    found |= {key: str(found[key]) for key in ("co2", "d14c") if key in found}
    updates["transient"] = run.transient.model_copy(update=found)
    if run.mops.start is not None:
        updates["mops"] = run.mops.model_copy(update={"start": folder / run.mops.start})
    if Path(run.parameters.start).suffix:
        updates["parameters"] = run.parameters.model_copy(update={"start": str(folder / run.parameters.start)})
    return run.model_copy(update=updates)


def _choices(annotation: Any) -> str:
    """The values a key can take, where they are a fixed list."""
    values = [value for part in (annotation, *get_args(annotation)) for value in get_args(part)]
    words = [repr(value).replace("'", '"') for value in values if isinstance(value, str | int)]
    return f" One of: {', '.join(dict.fromkeys(words))}." if len(words) > 1 else ""


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        parts = (f"{key if key.isidentifier() else repr(key)} = {_toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(parts) + " }" if value else "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml_value(item) for item in value)}]"
    if isinstance(value, str | Path):
        text = value.as_posix() if isinstance(value, Path) else value
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return repr(value).lower() if isinstance(value, bool) else repr(value)
