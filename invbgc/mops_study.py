"""From a run file to MOPS: its steady core, its carbon, the experiment, a fit; files and figures in one folder.

The commands ``invbgc mops`` call these functions. Every result is a netCDF file; what exists and belongs to the same
model is not computed again.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from invbgc.errors import InputError
from invbgc.files import manifest, read_netcdf, replaced, write_netcdf
from invbgc.inference.checkpoint import digest
from invbgc.runfile import RunFile

if TYPE_CHECKING:
    from invbgc.models.mops import MopsModel
    from invbgc.models.mops.equilibrium import Equilibrium
    from invbgc.observations import Observations

Progress = Callable[[str], Any]

FOLDER = "mops"
"""Folder for the results of MOPS in the output folder of a run."""

CHUNK = 50
"""Years of a direct integration between restart files."""

LONGEST = 20_000
"""Years of a direct integration at most."""

_OF_CARBON = ("b_C", "s_P", "s_T")
"""Parameters that the phosphorus core does not see, beside the homeostasis of zooplankton."""

DRIFT = 1e-6
"""Drift per year, relative to a tracer's standard deviation, at which a periodic state counts as found."""


def mops_model(run: RunFile) -> "tuple[MopsModel, Observations]":
    """The model of a run, and the observations on its grid."""
    from invbgc.models.mops import MopsModel, MopsOptions, mops_parameters
    from invbgc.run import load_ocean

    section = run.mops
    circulation, forcing, observations = load_ocean(run)
    options = MopsOptions(
        stoichiometry=section.stoichiometry,
        sinking=section.sinking,
        form=section.form,
        exchange=section.exchange,
        alkalinity=section.alkalinity,
    )
    table = mops_parameters(section.calibration).with_values(section.overrides)
    return MopsModel(circulation, forcing, options, table, run.solver.backend), observations


def _core_mark(model: "MopsModel") -> str:
    """What a steady core depends on; carbon and its parameters do not count."""
    table = model.table.with_values({name: 1.0 for name in _OF_CARBON} | {"homeostasis": 0.5})
    options = replace(model.options, stoichiometry="flexible", exchange="fast", alkalinity="uniform", excess_to_doc=0.0)
    return digest(model.circulation.transport, model.grid.volume, model.forcing, options, table.values)


def _write(path: Path, data: xr.Dataset, run: RunFile, source: Path | None, **attrs: Any) -> Path:
    from invbgc.run import inputs

    record = manifest(inputs(run, source), run.model_dump(mode="json"), run.run.seed)
    return write_netcdf(data.assign_attrs(manifest=json.dumps(record, default=str), **attrs), path)


def _known(path: Path, mark: str) -> xr.Dataset | None:
    """A result file, if it is there and belongs to the same model."""
    if not path.is_file():
        return None
    stored = read_netcdf(path, "result of MOPS")
    return stored if stored.attrs.get("mark") == mark else None


def core(
    run: RunFile, source: Path | None = None, progress: Progress = print, fresh: bool = False
) -> "tuple[MopsModel, Observations, dict[str, np.ndarray]]":
    """The model of a run and its steady phosphorus core, computed unless `mops/core.nc` holds it.

    Args:
        run: the run.
        source: the run file, for the manifest.
        progress: receives lines of text.
        fresh: compute it again.

    Returns:
        the model, started from the core; the observations; the core, tracer -> [n_wet] mmol m-3.
    """
    from invbgc.models.mops.core import CORE
    from invbgc.models.mops.equilibrium import integrate
    from invbgc.models.mops.model import TRACERS
    from invbgc.models.mops.spinup import spin_up
    from invbgc.models.mops.year import wet_fields, year_state

    model, observations = mops_model(run)
    path, mark = run.run.output / FOLDER / "core.nc", _core_mark(model)
    stored = None if fresh else _known(path, mark)
    if stored is None:
        x = model.table.to_vector()
        first, name = _start(model, run.mops.start), run.mops.start or "the uniform state"
        progress(f"{model.grid.n_wet} boxes; {run.mops.start_years} years from {name}")
        year, years = _year(model, run), run.mops.start_years
        begun = integrate(model, year, year_state(model, first), x, years, progress=progress, every=5)
        found = spin_up(model, x, wet_fields(model, begun.mean), progress)
        progress(f"steady after {found.steps} implicit steps, {found.factorisations} factors, {found.seconds:.0f} s")
        data = to_dataset(model, found.fields)
        _write(
            path, data, run, source, mark=mark, steps=found.steps, seconds=found.seconds, title="steady core of MOPS"
        )
        stored = read_netcdf(path, "result of MOPS")
    fields = {name: model.grid.pack(stored[name]) for name in TRACERS if name in stored}
    model.start_from({name: fields[name] for name in CORE})
    return model, observations, fields


def _start(model: "MopsModel", path: Path | None) -> dict[str, Any]:
    """Tracers [n_wet] to start from: uniform, or with the core of a file on whatever grid."""
    from invbgc.datasets.regridding import read_climatology, regrid
    from invbgc.models.mops.core import CORE

    first = dict(model.uniform_start())
    if path is not None:
        stored = read_netcdf(path, "steady core of MOPS")
        lacking = [name for name in CORE if name not in stored]
        if lacking:
            raise InputError(f"{path}, to start from: no {', '.join(lacking)}; expected the core.nc of another ocean.")
        first |= {name: regrid(read_climatology(stored, name), model.grid).values for name in CORE}
    return first


def _year(model: "MopsModel", run: RunFile, with_carbon: bool = False) -> Any:
    from invbgc.circulation.propagation import Propagation
    from invbgc.circulation.seasonal import seasonal_transport
    from invbgc.constants import DAY
    from invbgc.models.mops.year import make_year

    step = run.mops.time_step_days
    transport = seasonal_transport(model.circulation, min(step, 0.5) * DAY)
    return make_year(model, Propagation(transport, step * DAY), run.mops.substeps, with_carbon)


def to_dataset(model: "MopsModel", fields: Mapping[str, Any]) -> xr.Dataset:
    """Tracers on (depth, latitude, longitude), mmol m-3, with the area, volume and bounds of the cells."""
    arrays = {
        name: model.grid.unpack(np.asarray(field), name, {"units": "mmol m-3", "long_name": model.long_names[name]})
        for name, field in fields.items()
    }
    return model.grid.to_dataset().drop_vars("wet").assign(arrays)


def periodic(
    run: RunFile, method: str = "newton", source: Path | None = None, progress: Progress = print, fresh: bool = False
) -> "tuple[Path, Equilibrium]":
    """The periodic steady state of the core under a synthetic seasonal cycle of mixing and the light of the year.

    Args:
        run: the run.
        method: ``"newton"`` (Newton-Krylov from the steady core), ``"anderson"`` (from there too) or ``"direct"``
            (years from the uniform state; restarts after every `CHUNK` years).
        source: the run file, for the manifest.
        progress: receives lines of text.
        fresh: begin again, not from a restart file.

    Returns:
        the file with annual mean and history, and the state.

    Raises:
        InputError: there is no such method.
    """
    from invbgc.models.mops.equilibrium import anderson, newton_krylov
    from invbgc.models.mops.year import wet_fields, year_state
    from invbgc.plots.mops import drift_figure

    if method not in ("newton", "anderson", "direct"):
        raise InputError(f"method {method!r} of invbgc mops spinup; expected newton, anderson or direct.")
    folder = run.run.output / FOLDER
    if method == "direct":
        model, _ = mops_model(run)
        found = _direct(model, run, folder / "restart.nc", source, progress, fresh)
    else:
        model, _, fields = core(run, source, progress, fresh)
        solve = newton_krylov if method == "newton" else anderson
        start = year_state(model, fields)
        found = solve(model, _year(model, run), start, model.table.to_vector(), DRIFT, progress=progress)
    data = to_dataset(model, wet_fields(model, found.mean))
    history = np.array(found.history).reshape(-1, 2)
    data["drift"] = ("step", history[:, 1], {"long_name": "largest change per year over the standard deviation"})
    data["years"] = ("step", history[:, 0], {"long_name": "model years"})
    attrs = {"years": found.years, "products": found.products, "seconds": found.seconds, "drift": found.drift}
    path = _write(folder / f"periodic_{method}.nc", data, run, source, method=method, title="periodic core", **attrs)
    kept = {name: _known_history(folder / f"periodic_{name}.nc") for name in ("direct", "anderson", "newton")}
    with replaced(folder / "mops_drift.png") as temporary:
        drift_figure({name: line for name, line in kept.items() if line}).savefig(temporary, dpi=150, format="png")
    return path, found


def _known_history(path: Path) -> list[tuple[float, float]]:
    if not path.is_file():
        return []
    stored = read_netcdf(path, "result of MOPS")
    return [(float(a), float(b)) for a, b in zip(stored["years"].values, stored["drift"].values, strict=True)]


def _direct(
    model: "MopsModel", run: RunFile, restart: Path, source: Path | None, progress: Progress, fresh: bool
) -> "Equilibrium":
    """Year after year, with restart files."""
    from invbgc.models.mops.equilibrium import integrate
    from invbgc.models.mops.model import TRACERS
    from invbgc.models.mops.year import wet_fields, year_state

    mark = _core_mark(model) + digest(run.mops.time_step_days, run.mops.substeps)
    stored = None if fresh else _known(restart, mark)
    fields: Mapping[str, Any] = model.uniform_start()
    years, history, seconds = 0, [], 0.0
    if stored is not None:
        fields = {name: model.grid.pack(stored[name]) for name in TRACERS if name in stored}
        years, seconds = int(stored.attrs["years"]), float(stored.attrs["seconds"])
        history = [(int(a), float(b)) for a, b in zip(stored["years"].values, stored["drift"].values, strict=True)]
        progress(f"continuing after {years} years")
    year, state = _year(model, run), year_state(model, fields)
    while True:
        found = integrate(model, year, state, model.table.to_vector(), CHUNK, DRIFT, progress, CHUNK)
        history += [(years + number, drift) for number, drift in found.history]
        years, seconds, state = years + found.years, seconds + found.seconds, found.state
        data = to_dataset(model, wet_fields(model, state.tracers))
        data["drift"], data["years"] = ("step", [drift for _, drift in history]), ("step", [y for y, _ in history])
        _write(restart, data, run, source, mark=mark, years=years, seconds=seconds, title="restart of MOPS")
        progress(f"{years} years, drift {found.drift:.1e}")
        if found.drift < DRIFT or years >= LONGEST:
            return replace(found, years=years, seconds=seconds, history=tuple(history))


def one_run(
    run: RunFile, b_C: float | None = None, pco2: float | None = None, total: float | None = None,
    source: Path | None = None, progress: Progress = print,
) -> tuple[Path, list[str]]:  # fmt: skip
    """All tracers of one ocean on the steady core.

    Args:
        run: the run.
        b_C: exponent of the carbon flux; that of the run file where None.
        pco2: atmosphere, ppm; 280 where neither this nor `total` is given.
        total: carbon of ocean and atmosphere, Pg C, from which pCO2 follows.
        source: the run file, for the manifest.
        progress: receives lines of text.

    Returns:
        the file ``state.nc``, and lines of numbers.

    Raises:
        InputError: both pCO2 and the total are given.
    """
    import jax.numpy as jnp

    from invbgc.models.mops.closed import under_pco2, with_total
    from invbgc.models.mops.experiment import describe

    if pco2 is not None and total is not None:
        raise InputError("invbgc mops run: found --pco2 and --total; expected one of them, the other follows.")
    model, _, fields = core(run, source, progress)
    p = model.table.with_values({} if b_C is None else {"b_C": b_C}).values
    traced = {name: jnp.asarray(field) for name, field in fields.items()}
    if total is not None:
        state = with_total(model, traced, p, total)
    else:
        state = under_pco2(model, traced, p, model.pco2 if pco2 is None else pco2)
    row = describe(model, state, p, f"b_C {p['b_C']:.2f}")
    numbers = [name for name, part in row.data_vars.items() if part.dims == ()]
    data = to_dataset(model, state.fields).merge(row[[*numbers, "flux_ratio", "suspended_ratio"]], compat="override")
    path = _write(run.run.output / FOLDER / "state.nc", data, run, source, title="steady state of MOPS")
    return path, [f"{row[name].long_name:<52}{float(row[name]):12.5g} {row[name].units}" for name in numbers]


def experiment(run: RunFile, source: Path | None = None, progress: Progress = print) -> tuple[Path, list[str]]:
    """The series of b_C, the theory, the numbers of the paper beside those found, figures and a report.

    Returns:
        the folder, and lines of the table.
    """
    from invbgc.models.mops.experiment import experiment as compute
    from invbgc.models.mops.experiment import theory
    from invbgc.models.mops.published import beside_published
    from invbgc.mops_report import write_report
    from invbgc.plots.mops import write_figures

    if not any(abs(b - 0.75) < 1e-9 for b in run.mops.b_C):
        raise InputError(f"[mops] b_C = {list(run.mops.b_C)}; expected 0.75 among them, the run that the paper prints.")
    model, _, fields = core(run, source, progress)
    table = compute(model, fields, run.mops.b_C, run.mops.control_pco2, progress)
    folder = run.run.output / FOLDER
    _write(folder / "experiment.nc", table, run, source, title="experiment of Tanioka et al. (2021)")
    lines = theory(table)
    write_netcdf(lines, folder / "theory.nc")
    rows = beside_published(table, lines)
    with replaced(folder / "published.csv") as temporary:
        rows.to_csv(temporary, index=False, float_format="%.6g")
    volume = model.grid.unpack(model.grid.volume, "volume", {"units": "m3"})
    figures = write_figures(table, lines, folder, volume)
    write_report(folder / "report.html", run.run.name, table, rows, figures)
    text = [f"{'quantity':<52}{'published':>12}{'found':>12}"]
    text += [
        f"{row.quantity:<52}{row.published:>12.5g}{row.found:>12.5g} {row.unit}{'' if row.within else '  *'}"
        for _, row in rows.iterrows()
    ]
    return folder, [*text, "* outside the tolerance of a reproduction on the paper's own circulation"]


def fit(run: RunFile, source: Path | None = None, progress: Progress = print, fresh: bool = False) -> tuple[Path, bool]:
    """Fit some parameters of MOPS to the observations of a run, with Laplace's error bars.

    Args:
        run: the run; `mops.fit` names the parameters, `observations` the tracers.
        source: the run file, for the manifest.
        progress: receives lines of text.
        fresh: begin again, not from a checkpoint.

    Returns:
        the result file ``fit.nc``, and whether the fit converged.

    Raises:
        InputError: a parameter is unknown, or no tracer of the model is observed.
    """
    from invbgc.inference.fit import fit as find_optimum
    from invbgc.inference.posterior import Posterior
    from invbgc.models.mops import MopsModel, mops_parameters
    from invbgc.run import approximations, inputs

    known = mops_parameters(run.mops.calibration)
    for name in run.mops.fit:
        known[name]  # says what is known where it is not, before anything is computed
    settled, observations, _ = core(run, source, progress)
    wanted = [
        name for name in run.observations.tracers if name in ("DIP", "DIC", "O2") and name in observations.tracers
    ]
    if not wanted:
        raise InputError(
            f"invbgc mops fit: observations of {', '.join(observations.tracers)}; expected DIP, DIC or O2, which MOPS "
            "models in full."
        )
    table = settled.table.freeze([name for name in settled.table.free_names if name not in run.mops.fit])
    model = MopsModel(settled.circulation, settled.forcing, settled.options, table, run.solver.backend)
    model.pco2 = run.mops.fit_pco2
    model.start_from(settled.start)
    posterior = Posterior(
        model,
        observations.subset(wanted),
        {str(name): float(weight) for name, weight in run.observations.weights.items()},
    )
    folder = run.run.output / FOLDER
    found = find_optimum(
        posterior,
        gtol=run.fit.gtol,
        max_evaluations=run.fit.max_evaluations,
        start_radius=min(run.fit.start_radius, 0.1),
        checkpoint=folder / "checkpoints",
        resume=not fresh,
        progress=lambda line: progress(str(line)),
    )
    progress(f"{found.status}: {found.message}")
    path = found.save(
        folder / "fit.nc",
        laplaces=approximations(found, run.laplace.scaling),
        record=manifest(inputs(run, source), run.model_dump(mode="json"), run.run.seed),
        attrs={"run_name": f"{run.run.name}, MOPS", "data_source": str(observations.attrs.get("source", ""))},
    )
    return path, found.converged
