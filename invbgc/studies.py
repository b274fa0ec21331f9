"""Studies of many fits: twins of known truth, members of another structure, draws, and fits to fewer tracers.

Each fit is a task (`invbgc.tasks`), so that studies run on one process, a local cluster or a large one, and resume.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from invbgc.carbon import Fitted, fitted
from invbgc.errors import InputError, InvbgcError
from invbgc.runfile import RunFile, with_keys
from invbgc.tasks import Outcome, Workers, fingerprint_of, read_results, run_tasks
from invbgc.uncertainty import FOLDER, Progress, Tables, fitting, model_of, require, target

if TYPE_CHECKING:
    from invbgc.inference.laplace import Laplace
    from invbgc.inference.posterior import Evaluation, Posterior


# ---------------------------------------------------------------------------- twin


def twin(run: RunFile, workers: Workers | None = None, progress: Progress = print) -> tuple[Tables, Outcome]:
    """Fit many synthetic data sets of known truth, and count how often the error bars hold it.

    Returns:
        ``coverage`` and ``twins`` (every truth, estimate and error bar), and the outcome of the tasks.

    Raises:
        InvbgcError: no twin could be fitted.
    """
    from invbgc.inference.twins import coverage

    folder = run.run.output / FOLDER / "twins"
    section = run.twin
    alike = section.model_copy(update={"number": 1})
    mark = fingerprint_of(model_of(run), alike, run.errors, run.fit, run.laplace, run.sample, run.run.seed)
    tasks = {f"twin_{i:04d}": {"run": run.model_dump_json(), "number": i} for i in range(section.number)}
    outcome = run_tasks(twin_task, tasks, folder, mark, fitting(run, workers, progress), progress)
    if not outcome.results:
        require(outcome, "twins")
    made = read_results(outcome.results)
    joined = xr.concat(list(made.values()), "twin", join="exact", combine_attrs="drop").assign_coords(twin=list(made))
    attrs = {"failed": len(outcome.failures), **{key: value for key, value in section.model_dump().items()}}
    return {"coverage": coverage(list(made.values())).assign_attrs(attrs), "twins": joined}, outcome


def twin_task(run: str, number: int, progress: Progress) -> xr.Dataset:
    """One twin: fit, error bars by every count and by the error model, and a chain where one is asked for."""
    from invbgc.inference.fit import fit
    from invbgc.inference.laplace import laplace as approximate
    from invbgc.inference.sample import SamplerOptions, sample_chain
    from invbgc.inference.straighten import straightened
    from invbgc.inference.target import find_target
    from invbgc.inference.twins import TwinErrors, draw_twin, gaussian_rank

    content = RunFile.model_validate_json(run)
    section = content.twin
    posterior, smooth = _twin_ocean(run)
    posterior.forget()
    made, truth = draw_twin(
        posterior, number, TwinErrors(section.spread, section.noise, section.structure, content.run.seed)
    )
    found = fit(made, gtol=content.fit.gtol, max_evaluations=content.fit.max_evaluations, progress=progress)
    progress(f"{found.status}, {int(found.stats['evaluations'])} evaluations")
    if not found.converged and found.status != "stalled":
        raise InvbgcError(f"twin {number}: the fit ended as {found.status!r}: {found.message}")
    rows: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    for scaling in ("authors", "effective"):
        part = approximate(found, scaling=scaling)
        rows[scaling] = (part.x, part.standard_deviation, gaussian_rank(truth, part.x, part.standard_deviation))
    assert found.state is not None
    at = find_target(
        made, found.x, content.errors.model, content.laplace.scaling, smooth, found.state.observable, progress=progress
    )
    if not at.fit.converged and at.fit.status != "stalled":
        raise InvbgcError(f"twin {number}: the error model's fit ended as {at.fit.status!r}: {at.fit.message}")
    deviation = at.laplace.standard_deviation
    rows[content.errors.model] = (at.fit.x, deviation, gaussian_rank(truth, at.fit.x, deviation))
    if section.draws:
        chosen = straightened(at.posterior, at.laplace, at.optimum, progress)
        options = SamplerOptions(content.sample.kernel, content.sample.warmup, section.draws, 50, content.run.seed)
        chain = sample_chain(
            at.posterior.potential(at.optimum), chosen, number, options, posterior=at.posterior, progress=progress
        )
        # A rank among n draws, spread evenly over its 1/(n + 1).
        below = np.sum(chain.x < truth, axis=0)
        rank = (below + np.random.default_rng([content.run.seed, number, 2]).uniform(size=truth.size)) / (
            len(chain.x) + 1
        )
        rows["sampled"] = (chain.x.mean(axis=0), chain.x.std(axis=0, ddof=1), rank)
    columns = {
        name: (("method", "parameter"), np.array([row[i] for row in rows.values()]))
        for i, name in enumerate(("estimate", "standard_deviation", "rank"))
    }
    return xr.Dataset(
        {"truth": ("parameter", truth), **columns},
        {"method": list(rows), "parameter": list(made.names)},
        {"evaluations": found.stats["evaluations"], "status": found.status, "error_status": at.fit.status},
    )


@lru_cache(maxsize=1)
def _twin_ocean(run: str) -> "tuple[Posterior, Any]":
    from invbgc.inference.smooth import SmoothFields
    from invbgc.run import prepare

    posterior = prepare(RunFile.model_validate_json(run))
    return posterior, SmoothFields(posterior.model.grid)


def write_twin(run: RunFile, number: int, folder: Path) -> Path:
    """Write one twin as circulation, dataset and run file, for all other commands.

    Returns:
        The run file.
    """
    from invbgc.circulation import write_circulation
    from invbgc.files import write_netcdf
    from invbgc.inference.twin import DETECTION
    from invbgc.inference.twins import TwinErrors, draw_twin
    from invbgc.run import prepare
    from invbgc.runfile import to_toml

    section = run.twin
    posterior = prepare(run)
    errors = TwinErrors(section.spread, section.noise, section.structure, run.run.seed)
    made, truth = draw_twin(posterior, number, errors, DETECTION)
    values = {name: float(value) for name, value in posterior.table.to_values(truth).items()}
    model = posterior.model
    data = model.forcing.to_dataset(model.grid).merge(made.observations.to_dataset())
    data.attrs |= {
        "title": f"identical twin {number} of {run.run.name}",
        "synthetic": "true",
        "truth": json.dumps(values),
    }
    folder.mkdir(parents=True, exist_ok=True)
    write_netcdf(data, folder / "dataset.nc")
    write_circulation(model.circulation, folder / "circulation.nc")
    changes = {
        "run.name": f"{run.run.name}, twin {number}", "run.output": "out", "circulation.name": "circulation.nc",
        "circulation.coarsen": 1, "dataset": {"name": "dataset.nc"},
    }  # fmt: skip
    path = folder / "run.toml"
    path.write_text(to_toml(with_keys(run, changes)), encoding="utf-8")
    return path


# ---------------------------------------------------------------------------- ensemble


def ensemble(run: RunFile, workers: Workers | None = None, progress: Progress = print) -> tuple[Tables, Outcome]:
    """Members that differ in structure, each fitted again, and draws of the fitted parameters.

    Returns:
        ``members`` (spread between and within), ``draws`` (spread of diagnostics over draws), as far as they were asked
        for and made, and the outcome of the tasks.
    """
    from invbgc.inference.members import draw_table, member_table
    from invbgc.run import approximations

    folder = run.run.output / FOLDER / "ensemble"
    workers = fitting(run, workers, progress)
    tables: Tables = {}
    results: dict[str, Path] = {}
    failures: dict[str, str] = {}
    members = combinations(run)
    for changes in members.values():
        with_keys(run, changes)  # a wrong key is found before anything is computed
    if members:
        mark = fingerprint_of(model_of(run), run.fit, run.laplace)
        tasks = {
            name: {"run": run.model_dump_json(), "name": name, "changes": changes} for name, changes in members.items()
        }
        outcome = run_tasks(member_task, tasks, folder, mark, workers, progress)
        results |= outcome.results
        failures |= outcome.failures
        if outcome.results:
            tables["members"] = member_table(read_results(outcome.results))
    if run.ensemble.draws:
        fit, optimum, scalars = _numbers(run.model_dump_json())
        first = approximations(fit.fit, run.laplace.scaling)[0]
        x = _draws(run, first, fit.posterior)
        mark = fingerprint_of(model_of(run), fit.fit.x, first.covariance, run.run.seed)
        tasks = {f"draw_{i:04d}": {"run": run.model_dump_json(), "x": point.tolist()} for i, point in enumerate(x)}
        outcome = run_tasks(draw_task, tasks, folder / "draws", mark, workers, progress)
        results |= outcome.results
        failures |= outcome.failures
        if outcome.results:
            progress("linear error bars of the same numbers")
            _, gradients = fit.posterior.derivatives_of(scalars.function, optimum)
            errors = xr.DataArray(first.standard_error(gradients), {"quantity": list(scalars.names)}, ["quantity"])
            tables["draws"] = draw_table(read_results(outcome.results), errors)
    return tables, Outcome(results, failures)


def combinations(run: RunFile) -> dict[str, dict[str, Any]]:
    """Members of an ensemble: name -> what each changes in the run file."""
    axes = run.ensemble.members
    made = {}
    for values in product(*axes.values()):
        changes = dict(zip(axes, values, strict=True))
        name = "_".join(f"{key.split('.')[-1]}-{value}" for key, value in changes.items())
        name = "member_" + "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        if name in made:
            raise InputError(f"[ensemble] members: two members would both be called {name}; name their files apart.")
        made[name] = changes
    return made if axes else {}


def member_task(run: str, name: str, changes: Mapping[str, Any], progress: Progress) -> xr.Dataset:
    """One structural member: fitted from the parameters of the reference fit where there is one, and diagnosed."""
    from invbgc import run as runs
    from invbgc.diagnostics.scalars import carbon_scalars, scalar_table
    from invbgc.inference.fit import Fit

    content = RunFile.model_validate_json(run)
    member = with_keys(content, {**changes, "run.output": str(content.run.output / FOLDER / "ensemble" / name)})
    reference = content.run.output / runs.RESULT_NAME
    start = Fit.load(reference).table.values if reference.is_file() else None
    path, converged = runs.fit(member, progress=progress, start=start)
    if not converged:
        raise InvbgcError(f"member {name}: the fit has not converged; {Fit.load(path).message}")
    fit = fitted(member, progress)
    laplaces = runs.approximations(fit.fit, member.laplace.scaling)
    table = scalar_table(fit.posterior, fit.evaluation, carbon_scalars(fit.posterior.model), laplaces)
    rows = fit.fit.table.free
    names = [*map(str, table["scalar"].values), *(row.name for row in rows), "misfit"]
    values = [*table["value"].values, *(row.value for row in rows), fit.fit.value]
    spread = 0.5 * (laplaces[0].upper + laplaces[0].lower)
    errors = [*table[f"error_{laplaces[0].scaling}"].values, *spread, np.nan]
    units = [*map(str, table["unit"].values), *(row.unit for row in rows), "1"]
    attrs = {"changes": json.dumps(dict(changes)), "status": fit.fit.status}
    data = {
        "value": ("quantity", np.array(values)),
        "error": ("quantity", np.array(errors)),
        "unit": ("quantity", units),
    }
    return xr.Dataset(data, {"quantity": names}, attrs)


def _draws(run: RunFile, gaussian: "Laplace", posterior: "Posterior") -> np.ndarray:
    """Draws [n, p]; each depends on its number alone, so that more can be asked for later."""
    import jax

    key = jax.random.PRNGKey(run.run.seed)
    keys = (jax.random.fold_in(key, i) for i in range(run.ensemble.draws))
    return np.concatenate([gaussian.draw(part, 1, posterior.admissible) for part in keys])


@lru_cache(maxsize=1)
def _numbers(run: str) -> "tuple[Fitted, Evaluation, Any]":
    """A fit with sensitivities at its optimum, and the numbers of its carbon cycle."""
    from invbgc.diagnostics.scalars import carbon_scalars

    fit = fitted(RunFile.model_validate_json(run), lambda line: None)
    return fit, fit.posterior.value_grad_hess(fit.fit.x), carbon_scalars(fit.posterior.model)


def draw_task(run: str, x: list[float], progress: Progress) -> xr.Dataset:
    """The numbers of the carbon cycle at one draw of the parameters."""
    fit, optimum, scalars = _numbers(run)
    state = fit.posterior.value(np.array(x), optimum).state
    values = np.asarray(scalars.compiled(dict(state.fields), np.array(x)))
    data = {"value": ("quantity", values), "unit": ("quantity", list(scalars.units)), "x": ("parameter", np.array(x))}
    return xr.Dataset(data, {"quantity": list(scalars.names), "parameter": list(fit.posterior.names)})


# ---------------------------------------------------------------------------- sensitivity


def sensitivity(
    run: RunFile, refits: bool = True, workers: Workers | None = None, progress: Progress = print
) -> tuple[Tables, Outcome]:
    """Which observations constrain which number, and what is lost without a tracer.

    Args:
        run: a validated run with a finished fit.
        refits: fit again without each tracer in turn, and with O2 and DOC alone.
        workers: where the refits run.
        progress: receives lines of text.

    Returns:
        ``influence`` (see `influence_tables`), ``contraction``, ``refits``, and the outcome of the tasks.
    """
    from invbgc.carbon import regions_of
    from invbgc.diagnostics.scalars import carbon_scalars
    from invbgc.inference.information import contraction, curvature_of, influence_tables, uninformed

    at = target(run, progress)
    scalars = carbon_scalars(at.posterior.model, progress=progress)
    _, gradients = at.posterior.derivatives_of(scalars.function, at.optimum)
    fit = fitted(run, lambda line: None)
    names = [*scalars.names, *at.posterior.names]
    units = [*scalars.units, *("1" for _ in at.posterior.names)]
    every = np.concatenate([gradients, np.eye(len(at.posterior.names))])
    tables = {
        "influence": influence_tables(at.posterior, at.optimum, every, names, units, regions_of(fit)),
        "contraction": contraction(at.laplace),
    }
    if not refits:
        return tables, Outcome({}, {})
    present = tuple(at.posterior.observations.tracers)
    choices = {f"without_{name}": tuple(t for t in present if t != name) for name in present if len(present) > 1}
    if {"O2", "DOC"} < set(present):
        choices["only_O2_DOC"] = ("O2", "DOC")
    tasks = {}
    for name, tracers in choices.items():
        frozen = uninformed(curvature_of(at.posterior, at.optimum, tracers), at.posterior.names)
        progress(f"{name}: {', '.join(frozen) or 'no parameter'} uninformed and frozen")
        tasks[name] = {"run": run.model_dump_json(), "name": name, "tracers": list(tracers), "frozen": frozen}
    mark = fingerprint_of(model_of(run), at.fit.x, run.fit)
    outcome = run_tasks(
        refit_task, tasks, run.run.output / FOLDER / "refits", mark, fitting(run, workers, progress), progress
    )
    if outcome.results:
        made = read_results(outcome.results)
        tables["refits"] = xr.concat(list(made.values()), "refit", join="outer", combine_attrs="drop").assign_coords(
            refit=list(made)
        )
    return tables, outcome


def refit_task(run: str, name: str, tracers: list[str], frozen: list[str], progress: Progress) -> xr.Dataset:
    """A fit to some tracers only, uninformed parameters held at those of the whole fit, judged by all tracers."""
    from invbgc import run as runs
    from invbgc.inference.fit import Fit
    from invbgc.observations import skill

    content = RunFile.model_validate_json(run)
    whole = Fit.load(content.run.output / runs.RESULT_NAME)
    weights = {key: value for key, value in content.observations.weights.items() if key in tracers}
    part = with_keys(
        content,
        {
            "run.output": str(content.run.output / FOLDER / "refits" / name),
            "parameters.overrides": content.parameters.overrides | {row: whole.table.values[row] for row in frozen},
            "parameters.freeze": [*content.parameters.freeze, *frozen],
            "parameters.priors": {k: v for k, v in content.parameters.priors.items() if k not in frozen},
            "observations": {"tracers": tracers, "weights": weights},
        },
    )
    path, converged = runs.fit(part, progress=progress, start=whole.table.values)
    found = Fit.load(path)
    everything = runs.prepare(with_keys(part, {"observations": content.observations.model_dump()}))
    state = everything.simulate(found.x)
    judged = skill(state.observable, everything.observations)
    values = found.table.values
    data = {f"skill_{key}": column for key, column in judged.data_vars.items()}
    return xr.Dataset(
        {
            **data,
            "estimate": ("parameter", [values[name] for name in whole.names]),
            "whole_estimate": ("parameter", [whole.table.values[name] for name in whole.names]),
            "frozen": ("parameter", [int(name in frozen) for name in whole.names]),
            "whole_R2_volume": ("tracer", whole.skill["R2_volume"].sel(tracer=judged["tracer"]).values),
            "fitted": ("tracer", [int(str(name) in tracers) for name in judged["tracer"].values]),
            "converged": int(converged),
        },
        {"parameter": list(whole.names), "tracer": judged["tracer"].values},
    )


# ---------------------------------------------------------------------------- lines of text


def coverage_lines(table: xr.Dataset) -> list[str]:
    """Coverage of all parameters together, and of the worst one, per kind of error bar."""
    columns = "".join(f"{text:>8}" for text in ("68 %", "worst", "95 %", "worst", "z rms"))
    lines = [f"  {'error bars':<14}{columns}   of {table.attrs['twins']} twins"]
    for method in table["method"].values:
        row = table.sel({"method": method})  # as a keyword, it is an option of sel
        cells = []
        for level in row["interval"].values:
            each = row["coverage"].sel(interval=level)
            worst = float(each[int(np.argmax(abs(each - level).values))])
            cells += [float(row["pooled_coverage"].sel(interval=level)), worst]
        text = "".join(f"{100 * cell:>7.0f}%" for cell in cells)
        lines.append(f"  {method!s:<14}{text}{float(np.sqrt((row['z_rms'] ** 2).mean())):>8.2f}")
    errors = ", ".join(f"{100 * float(e):.1f} %" for e in table["expected_error"].values)
    return [*lines, f"  binomial error of one parameter: {errors}"]


def ensemble_lines(tables: Mapping[str, xr.Dataset]) -> list[str]:
    """Spread between and within members, and over draws."""
    lines = []
    for key, spread, other in (("members", "between_sd", "within_sd"), ("draws", "standard_deviation", "linear_error")):
        if key in tables:
            table = tables[key]
            lines.append(f"  {key:<28}{'mean':>12}{spread.replace('_', ' '):>22}{other.replace('_', ' '):>16}")
            for name in table["quantity"].values:
                row = table.sel(quantity=name)
                lines.append(
                    f"  {name!s:<28}{float(row['mean']):>12.5g}{float(row[spread]):>22.3g}{float(row[other]):>16.3g}"
                    f"  {row['unit'].item()}"
                )
    return lines


def sensitivity_lines(tables: Mapping[str, xr.Dataset]) -> list[str]:
    """Who constrains the carbon numbers, and what fits to fewer tracers lose."""
    table = tables["influence"]
    tracers = [str(name) for name in table["tracer"].values]
    lines = [f"  {'share of the variance':<28}" + "".join(f"{name:>8}" for name in tracers)]
    for name in table["scalar"].values:
        shares = table["variance_share"].sel(scalar=name).values
        lines.append(f"  {name!s:<28}" + "".join(f"{100 * share:>7.0f}%" for share in shares))
    if "refits" in tables:
        refits = tables["refits"]
        lines.append(f"  {'R2 by volume':<28}" + "".join(f"{name!s:>8}" for name in refits["tracer"].values))
        for name in refits["refit"].values:
            row = refits.sel(refit=name)
            skills = "".join(f"{value:>8.3f}" for value in row["skill_R2_volume"].values)
            lines.append(f"  {name!s:<28}{skills}{'' if bool(row['converged']) else '  not converged'}")
    return lines
