"""From a finished fit to how sure it is: its posterior under an error model, the Gaussian there, and samples.

Tables and chains lie in the folder ``posterior`` beside the result of the fit, one netCDF file each.
"""

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from invbgc import __version__
from invbgc.carbon import fitted
from invbgc.errors import InputError, InvbgcError
from invbgc.runfile import RunFile
from invbgc.tasks import Outcome, Workers, fingerprint_of, read_results, run_tasks

if TYPE_CHECKING:
    from invbgc.inference.chains import Chains
    from invbgc.inference.coordinates import Coordinates
    from invbgc.inference.target import Target

FOLDER = "posterior"
"""Folder of tables and chains, beside the result of the fit."""

Progress = Callable[[Any], Any]
Tables = dict[str, xr.Dataset]


# ---------------------------------------------------------------------------- the posterior of a run


def target(run: RunFile, progress: Progress = print) -> "Target":
    """The posterior of a finished fit under the run's error model, with its optimum; kept for the next command.

    Raises:
        InputError: there is no fit, or it belongs to another run.
        ConvergenceError: no optimum is found.
    """
    from invbgc.inference.errors import with_errors
    from invbgc.inference.fit import Fit
    from invbgc.inference.smooth import SmoothFields
    from invbgc.inference.target import find_target, target_at

    fit = fitted(run, progress)
    folder, kind = run.run.output / FOLDER, run.errors.model
    mark = fingerprint_of(fit.fit.x, kind, model_of(run), run.laplace.scaling)
    smooth = SmoothFields(fit.posterior.model.grid)
    known = _known(folder / "target.nc", mark)
    if known is not None and (folder / "target_fit.nc").is_file():
        return target_at(with_errors(fit.posterior, known, smooth), Fit.load(folder / "target_fit.nc"), known)
    progress(f"error model '{kind}': sizes of the errors from the residuals of the fit, and the optimum that follows")
    modelled = fit.evaluation.state.observable
    found = find_target(
        fit.posterior, fit.fit.x, kind, run.laplace.scaling, smooth, modelled, progress=lambda line: progress(str(line))
    )
    progress(f"{found.fit.status}: {found.fit.message}")
    found.fit.save(folder / "target_fit.nc", laplaces=[found.laplace])
    _write(folder / "target.nc", found.errors, mark)
    return found


def coordinates(run: RunFile, at: "Target", progress: Progress = print) -> "Coordinates":
    """Coordinates for sampling at the optimum of a target; kept for the next command.

    Raises:
        InputError: a direction is not informed.
    """
    from invbgc.inference.coordinates import from_dataset, to_dataset
    from invbgc.inference.straighten import straightened

    blind = [name for name, known in zip(at.laplace.direction_names, at.laplace.informed, strict=True) if not known]
    if blind:
        raise InputError(
            f"the data do not inform [{'], ['.join(blind)}]; the posterior has no end there. Give a prior to a "
            "parameter of each direction (priors or prior_sd in [parameters]), or freeze one, and fit again."
        )
    path = run.run.output / FOLDER / "coordinates.nc"
    mark = fingerprint_of(__version__, at.fit.x, at.fit.hessian)
    known = _known(path, mark)
    if known is None:
        at.posterior.forget()
        known = to_dataset(straightened(at.posterior, at.laplace, at.optimum, progress))
        _write(path, known, mark)
    return from_dataset(known)


def model_of(run: RunFile) -> str:
    """What the posterior of a run depends on: its sections on ocean, data, model and parameters, and their files."""
    from invbgc.files import sha256
    from invbgc.run import inputs

    sections = ("circulation", "dataset", "model", "parameters", "observations")
    content = {name: getattr(run, name).model_dump(mode="json") for name in sections}
    return json.dumps([__version__, content, [sha256(path) for path in inputs(run, None)]])


def _known(path: Path, mark: str) -> xr.Dataset | None:
    from invbgc.files import read_netcdf

    if not path.is_file():
        return None
    data = read_netcdf(path, "result")
    return data if data.attrs.get("fingerprint") == mark else None


def _write(path: Path, data: xr.Dataset, mark: str) -> None:
    from invbgc.files import write_netcdf

    write_netcdf(data.assign_attrs(fingerprint=mark), path)


def save(run: RunFile, tables: Mapping[str, xr.Dataset], source: Path | None = None) -> Path:
    """Write tables into the folder ``posterior``, with a manifest, and draw all its figures."""
    from invbgc.posterior_report import figures, read_tables
    from invbgc.run import RESULT_NAME
    from invbgc.summary import open_result

    _write_tables(run, tables, source)
    folder, path = run.run.output / FOLDER, run.run.output / RESULT_NAME
    for name, figure in figures(read_tables(folder, open_result(path) if path.is_file() else None)).items():
        figure.savefig(folder / f"{name}.png", dpi=150)
    return folder


def _write_tables(run: RunFile, tables: Mapping[str, xr.Dataset], source: Path | None = None) -> None:
    from invbgc.files import manifest, write_netcdf
    from invbgc.run import inputs

    record = json.dumps(manifest(inputs(run, source), run.model_dump(mode="json"), run.run.seed))
    for name, table in tables.items():
        made = table.assign_attrs(manifest=record, **_mark_of_fit(run))
        write_netcdf(made, run.run.output / FOLDER / f"{name}.nc")


def _mark_of_fit(run: RunFile) -> dict[str, str]:
    """Attribute ``fit`` of tables, by which the report knows those of its own fit; none where there is no fit."""
    from invbgc.carbon_report import fingerprint
    from invbgc.inference.fit import Fit
    from invbgc.run import RESULT_NAME

    path = run.run.output / RESULT_NAME
    return {"fit": fingerprint(Fit.load(path).x)} if path.is_file() else {}


def fitting(run: RunFile, workers: Workers | None, progress: Progress) -> Workers:
    """Workers, no more than memory holds of processes as large as the one that has made the fit."""
    from invbgc.inference.fit import Fit
    from invbgc.run import RESULT_NAME

    path = run.run.output / RESULT_NAME
    needed = float(Fit.load(path).history["memory"].max()) if path.is_file() else 0.0
    return (workers or Workers()).within(needed, progress)


# ---------------------------------------------------------------------------- laplace


def laplace(run: RunFile, draws: int | None = None, progress: Progress = print) -> Tables:
    """The Gaussian under the run's error model, and how far it holds.

    Args:
        run: a validated run with a finished fit.
        draws: that are weighted by the posterior; those of the run file where absent, 0 for none.
        progress: receives lines of text.

    Returns:
        ``errors``, ``gaussian``, ``contraction``, ``asymmetry`` (third derivatives), and ``importance`` (k-hat,
        corrected moments).
    """
    import jax

    from invbgc.inference.importance import asymmetry, importance
    from invbgc.inference.information import contraction

    at = target(run, progress)
    tables = {
        "errors": at.errors,
        "gaussian": at.laplace.to_dataset(),
        "contraction": contraction(at.laplace),
    }
    progress("third derivatives along the eigen-directions")
    tables["asymmetry"] = asymmetry(at.posterior, at.laplace, at.optimum)
    number = run.sample.importance if draws is None else draws
    if number:
        chosen = coordinates(run, at, progress)
        step = max(1, number // 10)

        def tell(done: int, of: int) -> None:
            if done % step == 0:
                progress(f"weighing draws: {done} of {of}")

        found = importance(at.at, at.posterior.names, chosen, jax.random.PRNGKey(run.run.seed), number, tell)
        progress(
            f"k-hat {found.k_hat:.2f}: the weighted moments are {'' if found.reliable else 'NOT '}reliable; {number} "
            f"draws are worth {found.effective:.0f}"
        )
        tables["importance"] = found.to_dataset()
    return tables


# ---------------------------------------------------------------------------- sample


def sample(run: RunFile, workers: Workers | None = None, progress: Progress = print) -> "tuple[Chains, Path]":
    """Run or continue the chains of a run, each as a task of its own.

    Returns:
        The chains, and their file.

    Raises:
        InvbgcError: chains failed; those that are finished are kept, and the others go on from their checkpoints.
    """
    from invbgc.inference.chains import Chains
    from invbgc.inference.sample import Chain

    at = target(run, progress)
    coordinates(run, at, progress)
    folder = run.run.output / FOLDER / "chains"
    section = run.sample
    mark = fingerprint_of(at.fit.x, at.fit.hessian, section.model_copy(update={"importance": 50}), run.run.seed)
    tasks = {f"chain_{i}": {"run": run.model_dump_json(), "chain": i} for i in range(section.chains)}
    outcome = run_tasks(chain_task, tasks, folder, mark, fitting(run, workers, progress), progress)
    require(outcome, "chains")
    parts = read_results(outcome.results).values()
    chains = [
        Chain(
            part["x"].values, {str(k): v.values for k, v in part.drop_vars("x").items()}, int(part.attrs["gradients"]),
            int(part.attrs["values"]), float(part.attrs["seconds"]),
        )
        for part in parts
    ]  # fmt: skip
    record = {"kernel": section.kernel, "warmup": section.warmup, "seed": run.run.seed, "error_model": run.errors.model}
    joined = Chains.joined(chains, at.posterior.table, record | _mark_of_fit(run))
    path = joined.save(run.run.output / FOLDER / "chains.nc")
    _write_tables(run, {"sample_summary": joined.summary()})
    return joined, path


def chain_task(run: str, chain: int, progress: Progress) -> xr.Dataset:
    """One chain of a run, as a task."""
    from invbgc.inference.fit import fingerprint
    from invbgc.inference.sample import SamplerOptions, sample_chain

    content = RunFile.model_validate_json(run)
    at, chosen = _sampled(run)
    section = content.sample
    options = SamplerOptions(section.kernel, section.warmup, section.draws, section.chunk, content.run.seed)
    checkpoints = content.run.output / FOLDER / "chains" / f"chain_{chain}"
    made = sample_chain(
        at.posterior.potential(at.optimum), chosen, chain, options, checkpoints,
        fingerprint(at.posterior, at.fit.x, "sample", 1.0), at.posterior, progress,
    )  # fmt: skip
    data = {"x": (("draw", "parameter"), made.x)} | {name: ("draw", part) for name, part in made.statistics.items()}
    attrs = {"gradients": made.gradients, "values": made.values, "seconds": made.seconds}
    return xr.Dataset(data, {"parameter": list(at.posterior.names)}, attrs)


@lru_cache(maxsize=1)
def _sampled(run: str) -> "tuple[Target, Coordinates]":
    content = RunFile.model_validate_json(run)
    at = target(content, lambda line: None)
    return at, coordinates(content, at, lambda line: None)


def require(outcome: Outcome, what: str) -> None:
    """Raise an error that lists the failures of tasks, if there are any."""
    if outcome.failures:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in outcome.failures.items())
        raise InvbgcError(
            f"{len(outcome.failures)} {what} have no result:\n{reasons}\nThe same command tries them again; what is "
            "finished is kept."
        )


def sample_lines(chains: "Chains") -> list[str]:
    """What a set of chains says, as lines of text."""
    from invbgc.inference.chains import GOOD_R_HAT

    table = chains.summary()
    lines = [f"  {'parameter':<18}{'median':>12}{'16 %':>12}{'84 %':>12}{'R-hat':>8}{'ESS':>7}{'tail':>7}"]
    for name in table["parameter"].values:
        row = table.sel(parameter=name)
        low, middle, high = row["quantile"].sel(probability=[0.16, 0.5, 0.84]).values
        lines.append(
            f"  {name!s:<18}{middle:>12.4g}{low:>12.4g}{high:>12.4g}{float(row['r_hat']):>8.3f}"
            f"{float(row['ess_bulk']):>7.0f}{float(row['ess_tail']):>7.0f}"
        )
    worst = float(table["r_hat"].max())
    lines.append(
        f"  {table.attrs['divergences']} divergences; {table.attrs['solves_per_effective_draw']:.1f} model solves per "
        f"effective draw; R-hat up to {worst:.3f}{'' if worst < GOOD_R_HAT else ': not converged, ask for more draws'}"
    )
    return lines
