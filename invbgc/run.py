"""From a run file to its results: the only place where circulation, data, model, fit and files meet."""

import importlib.metadata
import json
import logging
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import xarray as xr

import invbgc
from invbgc import device
from invbgc.errors import InputError, InvbgcError
from invbgc.runfile import CIRCULATIONS, DATASETS, RunFile
from invbgc.tasks import machine_memory

if TYPE_CHECKING:
    from invbgc.circulation import Circulation
    from invbgc.datasets import Forcing
    from invbgc.inference.fit import Fit
    from invbgc.inference.laplace import Laplace
    from invbgc.inference.posterior import Posterior
    from invbgc.observations import Observations
    from invbgc.parameters import ParameterTable

RESULT_NAME = "fit.nc"
"""Name of the result file in the output folder."""

UNEXPLAINED = 0.05
"""Part of the variance that a good fit leaves unexplained; it scales the priors of a fit, not those of a posterior."""

SCALINGS = ("authors", "all", "effective")
"""Ways to count independent observations; all are stored, the one of the run file first."""


def prepare(run: RunFile) -> "Posterior":
    """Build the posterior that a run file describes.

    Args:
        run: a validated run.

    Returns:
        The posterior of the free parameters, at their start values.

    Raises:
        InputError: a file, variable or value is not what it must be.
        ConservationError: the transport operator fails its audit.
    """
    from invbgc.inference.posterior import Posterior
    from invbgc.models.pco.model import PCOModel
    from invbgc.models.pco.options import PCOOptions

    circulation, forcing, observations = load_ocean(run)
    model = PCOModel(
        circulation, forcing, PCOOptions(**run.model.model_dump()), _table(run), run.solver.backend,
        run.solver.memory_GiB,
    )  # fmt: skip
    scales: dict[str, float] = {str(name): factor for name, factor in run.observations.weights.items()}
    chosen = observations.subset(run.observations.tracers)
    return Posterior(model, chosen, scales, _prior_factor(chosen))


def _prior_factor(observations: "Observations") -> float:
    """Noise scale 2 f/N that a prior takes in a fit of the paper's misfit, for a fit that explains most variance."""
    boxes = sum(data.count for data in observations.tracers.values())
    return UNEXPLAINED * len(observations.tracers) / boxes


def fit(
    run: RunFile,
    source: Path | None = None,
    progress: Callable[[str], Any] | None = None,
    fresh: bool = False,
    start: Mapping[str, float] | None = None,
) -> tuple[Path, bool]:
    """Fit a run, approximate its posterior, and write the result file; an interrupted fit continues.

    Args:
        run: a validated run.
        source: the run file it came from, for the manifest.
        progress: receives lines of text.
        fresh: start again instead of resuming from the checkpoints of an earlier run.
        start: values from which the search begins, parameter -> value; those of the run file where absent. Priors about
            the start of the run file stay there.

    Returns:
        The result file, and whether the fit converged.

    Raises:
        InvbgcError: of the kinds named in `prepare` and in the fit itself.
    """
    from invbgc.files import manifest
    from invbgc.inference.fit import fit as find_optimum

    with _log_file(run.run.output) as log:

        def tell(line: object) -> None:
            log.info("%s", line)
            if progress is not None:
                progress(str(line))

        posterior = prepare(run)
        tell(
            f"{run.run.name}: {posterior.model.grid.n_wet} boxes, {len(posterior.names)} free parameters, "
            f"observations of {', '.join(posterior.observations.tracers)}"
        )
        checkpoints = run.run.output / "checkpoints"
        if not fresh and any(checkpoints.glob("checkpoint_*.npz")):
            tell(f"resuming from {checkpoints}; --fresh would start again")
        found = find_optimum(
            posterior,
            None if start is None else posterior.table.with_values(start).to_vector(),
            gtol=run.fit.gtol,
            max_evaluations=run.fit.max_evaluations,
            start_radius=run.fit.start_radius,
            checkpoint=checkpoints,
            resume=not fresh,
            progress=tell,
            method=run.fit.method,
        )
        tell(f"{found.status}: {found.message}")
        attrs = {
            "run_name": run.run.name,
            "data_source": _provenance(posterior.observations.attrs),
            "citations": json.dumps(_citations(posterior)),
        }
        if _coarsening_factor(run) > 1:
            attrs["twin_note"] = "they were averaged from a finer grid, whose model is not the one fitted here"
        path = found.save(
            run.run.output / RESULT_NAME,
            laplaces=approximations(found, run.laplace.scaling),
            record=manifest(inputs(run, source), run.model_dump(mode="json"), run.run.seed),
            truth=_truth(posterior.observations.attrs) if _coarsening_factor(run) == 1 else {},
            attrs=attrs,
        )
        return path, found.converged


def laplace(run: RunFile, source: Path | None = None) -> Path:
    """Approximate the posterior of a finished fit again, with the scaling of the run file as the headline.

    Args:
        run: a validated run whose output folder holds a result file.
        source: unused; the manifest stays that of the fit.

    Returns:
        The result file, rewritten.

    Raises:
        InputError: there is no result file.
    """
    from invbgc.inference.fit import Fit
    from invbgc.summary import manifest, open_result

    path = run.run.output / RESULT_NAME
    stored = open_result(path)
    found = Fit.load(path)
    kept = ("run_name", "data_source", "citations", "twin_note")
    truth = zip(stored["parameter_name"].values.astype(str), stored["truth"].values, strict=True)
    return found.save(
        path,
        laplaces=approximations(found, run.laplace.scaling),
        record=manifest(stored),
        truth={name: float(value) for name, value in truth},
        attrs={key: stored.attrs[key] for key in kept if key in stored.attrs},
    )


def write_report(result: Path, output: Path | None = None) -> Path:
    """Write the report of a result file, ``report.html`` beside it unless said otherwise.

    What other commands found out about the carbon cycle and the posterior of the same fit is taken up.
    """
    from invbgc import carbon_report, posterior_report
    from invbgc.report import write_report as write
    from invbgc.summary import open_result
    from invbgc.uncertainty import FOLDER

    stored = open_result(result)
    carbon = carbon_report.read_tables(result.parent / carbon_report.FOLDER)
    posterior = posterior_report.read_tables(result.parent / FOLDER, stored)
    sections = []
    if carbon or posterior:
        fit = carbon_report.fingerprint(stored["x"].values[stored["free"].values.astype(bool)])
        sections = [carbon_report.carbon_section(carbon, fit), posterior_report.posterior_section(posterior, fit)]
    return write(stored, output or result.with_name("report.html"), *sections)


def verify(run: RunFile, source: Path | None = None) -> Iterator[xr.Dataset]:
    """Verify the model, transport and derivatives of a run at its start.

    Args:
        run: a validated run.
        source: unused.

    Yields:
        One table per check, as soon as it is known.
    """
    from invbgc import verify as checks
    from invbgc.diagnostics.budgets import budgets

    posterior = prepare(run)
    yield checks.conservation_audit(posterior.model.circulation)
    evaluation = posterior.value_grad_hess(posterior.x0)
    yield checks.tendency_residuals(evaluation.state)
    yield budgets(evaluation.state)
    yield checks.hessian_symmetry(evaluation)
    yield checks.taylor_test(posterior, posterior.x0, evaluation=evaluation)


def environment() -> dict[str, str]:
    """What a bug report should say: versions, solvers, device, machine, known names."""
    import jax  # noqa: F401  (so that it says its device)

    from invbgc.linalg.backend import available_backends

    packages = ("jax", "numpy", "scipy", "xarray", "netCDF4")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "invbgc": invbgc.__version__,
        "Python": f"{platform.python_version()} on {platform.platform()}",
        "packages": versions,
        "solvers": ", ".join(available_backends()),
        "device": device.used(),
        "cores": str(cores),
        "memory": _memory(),
        "circulations": ", ".join(CIRCULATIONS),
        "datasets": ", ".join(DATASETS),
    }


def load_ocean(run: RunFile) -> "tuple[Circulation, Forcing, Observations]":
    """Circulation, forcing and observations on one grid; the embedded data follow the coarsening of their ocean."""
    from invbgc.circulation import coarsen, coarsening, load_circulation
    from invbgc.datasets.coarsened import coarsen_dataset
    from invbgc.datasets.registry import load_dataset
    from invbgc.sources import located

    section, factor = run.dataset, _coarsening_factor(run)
    name = "embedded" if run.circulation.name == "embedded_8deg" else run.circulation.name
    fine = load_circulation(located(name))
    circulation = fine if factor == 1 else coarsen(fine, factor, factor)
    options = {key: value for key, value in section.model_dump(exclude={"name"}).items() if value is not None}
    if section.name == "wang2023":
        return circulation, *load_dataset("wang2023", circulation.grid, circulation=circulation, **options)
    forcing, observations = load_dataset(section.name, fine.grid, **options)
    if factor == 1:
        return circulation, forcing, observations
    return circulation, *coarsen_dataset(forcing, observations, coarsening(fine.grid, factor, factor))


def _table(run: RunFile) -> "ParameterTable":
    from invbgc.models.pco.parameters import pco_parameters
    from invbgc.parameters import ParameterTable

    section = run.parameters
    if section.start in ("first_guess", "published"):
        table = pco_parameters(section.start)
    else:
        start = ParameterTable.read_csv(section.start)
        table = pco_parameters()
        if start.names != table.names:
            raise InputError(
                f"{section.start}: the parameters are {', '.join(start.names)}; expected {', '.join(table.names)}."
            )
        table = start
    table = table.with_values(section.overrides).freeze(section.freeze)
    for row in table.free:
        if row.name in section.priors:
            table = table.with_prior(row.name, *section.priors[row.name])
        elif section.prior_sd is not None:
            table = table.with_prior(row.name, row.value, section.prior_sd)
    return table


def approximations(found: "Fit", first: str) -> "list[Laplace]":
    """Laplace's approximation with every scaling that these observations allow, the chosen one first.

    A fit is never lost for want of an error bar: what cannot be computed is left out, with a warning.
    """
    from invbgc.inference.laplace import laplace as approximate

    made = []
    for scaling in (first, *(scaling for scaling in SCALINGS if scaling != first)):
        try:
            made.append(approximate(found, scaling=cast(Any, scaling)))
        except InvbgcError as error:
            logging.getLogger("invbgc").warning("no error bars with scaling %r: %s", scaling, error)
    return made


def _coarsening_factor(run: RunFile) -> int:
    return run.circulation.coarsen * (2 if run.circulation.name == "embedded_8deg" else 1)


def _truth(attrs: Mapping[str, Any]) -> dict[str, float]:
    """True parameter values of a twin: JSON text in the attribute ``truth`` of its dataset."""
    text = attrs.get("truth")
    return {str(name): float(value) for name, value in json.loads(text).items()} if isinstance(text, str) else {}


def _provenance(attrs: Mapping[str, Any]) -> str:
    """One line on where observations come from."""
    return str(attrs.get("title", attrs.get("source", "not stated")))


def _citations(posterior: "Posterior") -> list[str]:
    """What to cite for the circulation, forcing and observations of a run, each once."""
    found: list[str] = []
    for attrs in (posterior.model.circulation.attrs, posterior.model.forcing.attrs, posterior.observations.attrs):
        found += json.loads(attrs["citations"]) if "citations" in attrs else []
        found += [str(attrs["citation"])] if "citation" in attrs else []
    return list(dict.fromkeys(found))


def inputs(run: RunFile, source: Path | None) -> list[Path]:
    """Files that a run reads, for its manifest."""
    from invbgc.sources import located

    named = [located(run.circulation.name), Path(run.dataset.name), Path(run.parameters.start)]
    if run.mops.start is not None:
        named.append(run.mops.start)
    files = [path for path in named if path.suffix and path.is_file()]
    if run.dataset.name == "wang2023" and run.dataset.source is not None:
        from invbgc.datasets.wang2023 import FILES, find_file

        files += [find_file(run.dataset.source, name) for name in FILES]
    return [*files, source] if source is not None else files


def _memory() -> str:
    total = machine_memory()
    return f"{total * 1e9 / 2**30:.1f} GiB" if total else "not known"


@contextmanager
def _log_file(folder: Path) -> Iterator[logging.Logger]:
    """Append everything the toolkit logs to ``invbgc.log`` in the output folder."""
    log = logging.getLogger("invbgc")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "invbgc.log", encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot write into the output folder {folder}: {error.strerror}.") from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield log
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
        handler.close()
