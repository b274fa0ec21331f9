"""The fit: the most probable parameters of a posterior, with progress, checkpoints and a result that can be saved."""

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from invbgc import __version__
from invbgc.constants import YEAR
from invbgc.errors import ConvergenceError, InputError
from invbgc.inference.checkpoint import CheckpointFolder, digest
from invbgc.inference.laplace import NO_CURVATURE
from invbgc.inference.posterior import Evaluation, Posterior
from invbgc.inference.trust_region import TrustRegionOptions, TrustRegionState, assess, minimise, start
from invbgc.observations import skill
from invbgc.parameters import ParameterTable
from invbgc.state import State

Method = Literal["newton", "optax"]
_log = logging.getLogger("invbgc")


@dataclass(frozen=True)
class Iteration:
    """One line of progress; `str` gives it as text.

    Attributes:
        iteration: number of trials so far; 0 is the start.
        value: misfit f at the present point.
        gradient_norm: largest component of its gradient.
        min_eigenvalue: smallest eigenvalue of its Hessian; NaN for a first-order method.
        radius: trust radius of the next step; NaN for a first-order method.
        step_norm: length of the step tried.
        predicted: reduction of f that the quadratic model promised.
        actual: reduction found.
        accepted: whether the step was taken.
        reason: why not, or how it was judged.
        evaluations: objective calls so far.
        factorisations: sparse factorisations so far.
        solves: right-hand sides solved so far.
        seconds: time spent so far, earlier sessions included.
        memory: peak resident memory of the process, GB; NaN where the system does not tell.
        remaining: evaluations still allowed; 0 where the search has ended.
    """

    iteration: int
    value: float
    gradient_norm: float
    min_eigenvalue: float
    radius: float
    step_norm: float
    predicted: float
    actual: float
    accepted: bool
    reason: str
    evaluations: int
    factorisations: int
    solves: int
    seconds: float
    memory: float
    remaining: int = 0

    def __str__(self) -> str:
        word = "" if self.accepted else "  rejected"
        return (
            f"iteration {self.iteration:3d}  f {self.value:.10g}  |g| {self.gradient_norm:.2e}  "
            f"radius {self.radius:.2g}  step {self.step_norm:.2e}  evaluations {self.evaluations}  "
            f"factorisations {self.factorisations}  solves {self.solves}  {self.seconds:.1f} s  "
            f"{self.memory:.2f} GB{word}{f': {self.reason}' if self.reason else ''}{self._left}"
        )

    @property
    def _left(self) -> str:
        """The time that the evaluations still allowed would take at the pace so far."""
        left = self.remaining * self.seconds / max(self.evaluations, 1)
        if not left > 0:
            return ""
        return f"  at most {left:.0f} s left" if left < 120 else f"  at most {left / 60:.0f} min left"


@dataclass(frozen=True, eq=False)
class Fit:
    """The result of a fit.

    Attributes:
        x: [p] optimiser coordinates of the free parameters.
        value: f(x).
        gradient: [p].
        hessian: [p, p].
        table: parameter table with the fitted values.
        initial: value of every parameter at the start.
        history: one entry per iteration (dimension ``iteration``): the columns of `Iteration`, and x.
        state: the steady state at x; None for a fit read from a file.
        skill: agreement with the observations, per tracer.
        fields: ``model_X``, ``observed_X``, volume, area and particle export on the grid.
        status: ``"converged"``, ``"stalled"`` (at round-off), ``"max_evaluations"`` or ``"failed"``.
        message: the status in words.
        stats: totals of the run: evaluations, factorisations, solves, seconds, largest residual, min_eigenvalue.
    """

    x: np.ndarray
    value: float
    gradient: np.ndarray
    hessian: np.ndarray
    table: ParameterTable
    initial: Mapping[str, float]
    history: xr.Dataset
    state: State | None
    skill: xr.Dataset
    fields: xr.Dataset
    status: str
    message: str
    stats: Mapping[str, float]

    @property
    def names(self) -> tuple[str, ...]:
        """Free parameters, in the order of x."""
        return self.table.free_names

    @property
    def converged(self) -> bool:
        """Whether x is a minimum within the tolerances."""
        return self.status == "converged"

    def save(self, path: str | Path, **more: Any) -> Path:
        """Write the result file; see `invbgc.io.save_fit` for what else it can hold."""
        from invbgc.io import save_fit

        return save_fit(self, path, **more)

    @classmethod
    def load(cls, path: str | Path) -> "Fit":
        """Read a result file; see `invbgc.io.load_fit`."""
        from invbgc.io import load_fit

        return load_fit(path)


def log_progress(line: Iteration) -> None:
    """Default progress: one line of the log per iteration."""
    _log.info("%s", line)


def fit(
    posterior: Posterior,
    x0: np.ndarray | None = None,
    *,
    gtol: float = 1e-8,
    max_evaluations: int = 100,
    start_radius: float = 0.3,
    checkpoint: str | Path | None = None,
    resume: bool = True,
    progress: Callable[[Iteration], Any] = log_progress,
    method: Method = "newton",
) -> Fit:
    """Find the most probable parameters.

    Args:
        posterior: the function to minimise.
        x0: [p] start in optimiser coordinates; the table's present values where absent.
        gtol: largest gradient component at convergence.
        max_evaluations: objective calls allowed in this session; a rerun with the same checkpoint folder continues.
        start_radius: first trust radius of ``"newton"``, in optimiser coordinates.
        checkpoint: folder for checkpoints, written after every step; None for none. A run that was killed and
            resumed takes the same steps as one that was not.
        resume: continue from a checkpoint in that folder; False starts afresh and replaces the checkpoints there.
        progress: called with every iteration.
        method: ``"newton"``: trust-region Newton with exact Hessians (Wang et al. 2023 use such a method), far from
            the optimum with their Gauss-Newton part;
            ``"optax"``: L-BFGS on gradients alone, whose only Hessian is that of the last point.

    Returns:
        The fit, whatever its status.

    Raises:
        InputError: an option is wrong, or the start is not admissible.
        ConvergenceError: the model has no steady state at the start.
        CheckpointError: the checkpoints are all damaged or belong to another problem.
        KeyboardInterrupt: with a message that says where the run can be resumed.
    """
    if method not in get_args(Method):
        raise InputError(f"fit: method {method!r}; expected one of {', '.join(get_args(Method))}.")
    if max_evaluations < 1:
        raise InputError(f"fit: max_evaluations is {max_evaluations}; expected 1 or more.")
    options = TrustRegionOptions(gtol=gtol, start_radius=start_radius)
    begin = np.array(posterior.x0 if x0 is None else x0, dtype=np.float64)
    if begin.shape != (len(posterior.names),) or not np.all(np.isfinite(begin)):
        raise InputError(f"fit: x0 has shape {begin.shape} or is not finite; expected {(len(posterior.names),)}.")
    folder, saved = None, None
    if checkpoint is not None:
        folder = CheckpointFolder(Path(checkpoint), fingerprint(posterior, begin, method, start_radius))
        saved = folder.load() if resume else None
    run = _Run(posterior, folder, progress, saved[0] if saved else None, saved[1]["path"] if saved else None)
    search = _newton if method == "newton" else _first_order
    try:
        evaluation, status, message = search(run, begin, saved, options, max_evaluations)
    except KeyboardInterrupt:
        where = f"rerun with the checkpoint folder {folder.path} to continue" if folder else "nothing was saved"
        raise KeyboardInterrupt(f"fit interrupted after {len(run.lines)} iterations; {where}") from None
    return _result(posterior, begin, run, evaluation, status, message, options)


def fingerprint(posterior: Posterior, x0: np.ndarray, method: str, start_radius: float) -> dict[str, str]:
    """What the path of a fit depends on, item -> text or checksum; tolerances and budgets are left out."""
    model = posterior.model
    rows = [
        (r.name, r.transform, r.free, None if r.free else r.value, r.prior_mean, r.prior_sd) for r in posterior.table
    ]
    return {
        "invbgc version": __version__,
        "free parameters": " ".join(posterior.names),
        "parameter table": digest(rows),
        "start": digest(x0),
        "method": method,
        "start radius": f"{start_radius:g}",
        "model options": digest(model.options),
        "circulation": digest(model.circulation.transport, model.grid.volume),
        "forcing": digest(model.forcing),
        "observations": digest(
            [(o.tracer, o.index, o.value, o.weight, o.structure) for o in posterior.observations.tracers.values()]
        ),
        "misfit scales": digest(posterior.scales, posterior.prior_factor),
    }


# ---------------------------------------------------------------------------- book-keeping of a run


class _Run:
    """Progress, counters and checkpoints of one run, over its sessions."""

    def __init__(
        self,
        posterior: Posterior,
        folder: CheckpointFolder | None,
        progress: Callable[[Iteration], Any],
        header: Mapping[str, Any] | None,
        path: np.ndarray | None,
    ):
        self.posterior, self.folder, self.progress = posterior, folder, progress
        self.lines = [Iteration(**line) for line in header["lines"]] if header else []
        self.path = list(path) if path is not None else []
        self.totals: dict[str, float] = dict(header["totals"]) if header else {}
        self.clock = time.perf_counter() - (self.lines[-1].seconds if self.lines else 0.0)

    def add(self, stats: Mapping[str, Any]) -> None:
        """Add the counters of one evaluation to the totals."""
        for key, value in stats.items():
            if isinstance(value, int | float | np.integer | np.floating):
                old = self.totals.get(key, 0.0)
                self.totals[key] = max(old, float(value)) if key.startswith("max_") else old + float(value)

    def report(
        self, x: np.ndarray, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray], **columns: Any
    ) -> None:
        """Add a line to the history, write a checkpoint where a folder was given, then show the line.

        Args:
            x: the present point.
            header: what a resumed run needs to know besides `arrays`.
            arrays: see `header`.
            **columns: of the line.
        """
        line = Iteration(
            **columns,
            factorisations=int(self.totals.get("factorisations", 0)),
            solves=int(self.totals.get("solves", 0)),
            seconds=time.perf_counter() - self.clock,
            memory=peak_memory(),
        )
        self.lines.append(line)
        self.path.append(np.array(x))
        if self.folder is not None:
            common = {"lines": [asdict(item) for item in self.lines], "totals": self.totals}
            common |= {"iteration": line.iteration, "evaluations": line.evaluations}
            self.folder.save(line.iteration, common | dict(header), {"path": np.array(self.path)} | dict(arrays))
        self.progress(line)

    def history(self, names: Sequence[str]) -> xr.Dataset:
        """The lines as columns."""
        columns = {f.name: np.array([getattr(line, f.name) for line in self.lines]) for f in fields(Iteration)}
        columns["accepted"] = columns["accepted"].astype(np.int8)
        data: dict[str, Any] = {name: ("iteration", column) for name, column in columns.items() if name != "iteration"}
        data["x"] = (("iteration", "free_parameter"), np.array(self.path).reshape(-1, len(names)))
        return xr.Dataset(data, {"iteration": columns["iteration"], "free_parameter": list(names)})


def peak_memory() -> float:
    """Peak resident memory of this process, GB; NaN where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return float("nan")
    unit = 1e-9 if sys.platform == "darwin" else 1024e-9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# ---------------------------------------------------------------------------- the two searches


def _newton(
    run: _Run, begin: np.ndarray, saved: Any, options: TrustRegionOptions, max_evaluations: int
) -> tuple[Evaluation, str, str]:
    posterior = run.posterior
    earlier = saved[0]["evaluations"] if saved is not None else 0

    def on_step(state: TrustRegionState) -> None:
        trial = state.trial
        for stats in trial.stats if trial is not None else ():
            run.add(stats)
        run.report(
            state.x,
            {"radius": float(state.radius), "rejected": state.rejected},
            _pack(state.evaluation),
            iteration=state.iteration,
            value=float(state.evaluation.value),
            gradient_norm=float(np.abs(state.evaluation.gradient).max()),
            min_eigenvalue=state.min_eigenvalue,
            radius=float(state.radius),
            step_norm=trial.step_norm if trial else 0.0,
            predicted=trial.predicted if trial else 0.0,
            actual=trial.actual if trial else 0.0,
            accepted=trial.accepted if trial else True,
            reason=trial.reason if trial else "",
            evaluations=state.evaluations,
            remaining=earlier + max_evaluations - state.evaluations if state.status == "running" else 0,
        )

    if saved is None:
        state = start(posterior, begin, options)
        run.add(state.evaluation.stats)
        on_step(state)
    else:
        header, arrays = saved
        state = TrustRegionState(
            arrays["x"],
            _unpack(posterior, arrays),
            header["radius"],
            header["iteration"],
            header["evaluations"],
            rejected=header["rejected"],
        )
        state = assess(state, options)
        _log.info("fit: resumed after iteration %d, f = %.10g", state.iteration, state.evaluation.value)
    state = minimise(posterior, state, options, earlier + max_evaluations, on_step)
    run.totals |= {"evaluations": state.evaluations, "min_eigenvalue": state.min_eigenvalue}
    if state.status == "running":
        message = f"{max_evaluations} evaluations were spent; rerun to continue"
        return state.evaluation, "max_evaluations", message  # type: ignore[return-value]
    return state.evaluation, state.status, state.message  # type: ignore[return-value]


def _first_order(
    run: _Run, begin: np.ndarray, saved: Any, options: TrustRegionOptions, max_evaluations: int
) -> tuple[Evaluation, str, str]:
    """L-BFGS with a zoom line search; each line-search point is one evaluation of value and gradient."""
    posterior = run.posterior
    reason = posterior.admissible(begin)
    if reason is not None:
        raise InputError(f"fit: the starting point is not admissible: {reason}.")
    solver = optax.lbfgs(
        linesearch=optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one")
    )

    def allowed(x) -> np.ndarray:
        return np.array(posterior.admissible(np.asarray(x)) is None)

    def objective(x):
        """The posterior, infinite where it is not admissible; the line search then tries a shorter step."""
        inside = jax.pure_callback(allowed, jax.ShapeDtypeStruct((), bool), jax.lax.stop_gradient(x))
        return jnp.where(inside, posterior(jnp.where(inside, x, begin)), jnp.inf)

    value_and_grad = jax.jit(jax.value_and_grad(objective))

    @jax.jit
    def advance(x, memory, value, gradient):
        step, memory = solver.update(gradient, memory, x, value=value, grad=gradient, value_fn=objective)
        return x + step, memory

    x = jnp.asarray(begin)
    memory = solver.init(x)
    iteration = evaluations = 0
    if saved is not None:
        header, arrays = saved
        iteration, evaluations = header["iteration"], header["evaluations"]
        x = jnp.asarray(arrays["x"])
        leaves, shape = jax.tree.flatten(memory)
        memory = jax.tree.unflatten(shape, [jnp.asarray(arrays[f"memory_{i}"]) for i in range(len(leaves))])
    limit = evaluations + max_evaluations
    value, gradient = value_and_grad(x)
    if not bool(jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))):
        raise ConvergenceError(f"fit: the objective is {float(value)} at the starting point; expected a finite number.")

    def report(before: float, step_norm: float) -> None:
        leaves = {f"memory_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(memory))}
        run.report(
            np.asarray(x),
            {},
            {"x": np.asarray(x)} | leaves,
            iteration=iteration,
            value=float(value),
            gradient_norm=float(jnp.abs(gradient).max()),
            min_eigenvalue=float("nan"),
            radius=float("nan"),
            step_norm=step_norm,
            predicted=float("nan"),
            actual=before - float(value),
            accepted=True,
            reason="",
            evaluations=evaluations,
            remaining=limit - evaluations,
        )

    if saved is None:
        evaluations = 1
        report(float(value), 0.0)
    stuck = False
    while float(jnp.abs(gradient).max()) >= options.gtol and evaluations < limit and not stuck:
        new, memory = advance(x, memory, value, gradient)
        evaluations += int(optax.tree_utils.tree_get(memory, "num_linesearch_steps"))  # type: ignore[arg-type]
        found = [optax.tree_utils.tree_get(memory, name) for name in ("value", "grad")]
        stuck = not bool(jnp.isfinite(found[0]) & (found[0] <= value) & jnp.any(new != x))
        if not stuck:
            before, step_norm = float(value), float(jnp.linalg.norm(new - x))
            x, (value, gradient), iteration = new, found, iteration + 1
            report(before, step_norm)

    final = posterior.value_grad_hess(np.asarray(x))
    run.add(final.stats)
    state = assess(TrustRegionState(np.asarray(x), final, options.start_radius), options)
    run.totals |= {"evaluations": evaluations + 1, "min_eigenvalue": state.min_eigenvalue}
    norm = float(np.abs(final.gradient).max())  # type: ignore[arg-type]
    if state.status == "converged":
        return final, "converged", state.message
    if stuck:
        return final, "stalled", f"the line search finds no lower value; |g| = {norm:.2e}"
    if norm < options.gtol:
        return final, "stalled", f"|g| = {norm:.2e}, but the Hessian promises more: continue with method 'newton'"
    return final, "max_evaluations", f"{max_evaluations} evaluations were spent; rerun to continue"


def _pack(evaluation: Any) -> dict[str, np.ndarray]:
    """Arrays of a checkpoint from a complete evaluation."""
    tracers = {f"field_{name}": np.asarray(value) for name, value in evaluation.state.fields.items()}
    jacobian = {f"jacobian_{tracer}": part for tracer, part in evaluation.jacobian.items()}
    sensitivities = {f"sensitivity_{tracer}": part for tracer, part in evaluation.sensitivities.items()}
    names = ("x", "value", "gradient", "hessian", "gauss_newton")
    return {name: np.asarray(getattr(evaluation, name)) for name in names} | tracers | jacobian | sensitivities


def _unpack(posterior: Posterior, arrays: Mapping[str, np.ndarray]) -> Evaluation:
    """The evaluation of a checkpoint."""
    x = arrays["x"]
    values = {name: float(value) for name, value in posterior.table.to_values(x).items()}

    def group(prefix: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(prefix): part for name, part in arrays.items() if name.startswith(prefix)}

    state = State(posterior.model, x, values, {name: jnp.asarray(part) for name, part in group("field_").items()})
    return Evaluation(
        x, float(arrays["value"]), arrays["gradient"], arrays["hessian"], state, {}, {}, arrays["gauss_newton"],
        group("jacobian_"), group("sensitivity_"),
    )  # fmt: skip


# ---------------------------------------------------------------------------- the result


def _result(
    posterior: Posterior,
    begin: np.ndarray,
    run: _Run,
    evaluation: Evaluation,
    status: str,
    message: str,
    options: TrustRegionOptions,
) -> Fit:
    if evaluation.gradient is None or evaluation.hessian is None:
        raise ConvergenceError("fit: the last evaluation holds no derivatives; expected gradient and Hessian.")
    level = logging.INFO if status == "converged" else logging.WARNING
    _log.log(level, "fit: %s: %s", status, message)
    eigenvalues = np.linalg.eigvalsh(evaluation.hessian)
    if status != "max_evaluations" and not eigenvalues[0] > NO_CURVATURE * eigenvalues[-1]:
        _log.warning(
            "fit: eigenvalues of the Hessian run from %.2e to %.2e; some direction is not informed by the data",
            eigenvalues[0],
            eigenvalues[-1],
        )
    data = result_fields(posterior, evaluation.state)
    return Fit(
        x=np.asarray(evaluation.x),
        value=float(evaluation.value),
        gradient=np.asarray(evaluation.gradient),
        hessian=np.asarray(evaluation.hessian),
        table=posterior.table.fitted(evaluation.x),
        initial=posterior.table.fitted(begin).values,
        history=run.history(posterior.names),
        state=evaluation.state,
        skill=skill(evaluation.state.observable, posterior.observations),
        fields=data.assign_attrs(gtol=options.gtol, prior_factor=posterior.prior_factor),
        status=status,
        message=message,
        stats=dict(run.totals),
    )


def result_fields(posterior: Posterior, state: State) -> xr.Dataset:
    """What a fit file shows on the grid.

    Args:
        posterior: with the observations.
        state: a steady state of its model.

    Returns:
        ``model_X`` and ``observed_X`` in mmol m-3 for every observed tracer X, volume m3, area m2, ``poc_export`` (and
        ``pic_export``, where the model has calcite) in mol m-2 yr-1 at the base of the euphotic zone; constants of the
        forcing as attributes.
    """
    model, grid = posterior.model, posterior.model.grid
    base = model.euphotic_layers
    observable = state.observable
    variables: dict[str, xr.DataArray] = {}
    for tracer in posterior.observations.tracers:
        attributes = {"long_name": f"modelled {tracer}", "units": "mmol m-3"}
        variables[f"model_{tracer}"] = grid.unpack(observable[tracer], attrs=attributes)
    variables["volume"] = grid.unpack(grid.volume, attrs={"standard_name": "ocean_volume", "units": "m3"})
    variables["area"] = grid.unpack_surface(grid.surface_area, attrs={"standard_name": "cell_area", "units": "m2"})
    fluxes = [pool for pool in ("poc", "pic") if f"{pool}_flux" in state.diagnostics]
    for pool in fluxes:
        # The flux is per open area below the layer; on coarsened grids part of a column's floor may be closed.
        open_share = (grid.to_columns(grid.area_below) / grid.surface_area)[base - 1]
        flux = np.asarray(state.diagnostics[f"{pool}_flux"])[base] * open_share * 1e-3 * YEAR
        attributes = {
            "long_name": f"sinking {pool.upper()} flux at {grid.depth_edges[base]:.1f} m",
            "units": "mol m-2 yr-1",
        }
        variables[f"{pool}_export"] = grid.unpack_surface(flux, attrs=attributes)
    data = xr.Dataset(variables).merge(posterior.observations.to_dataset())
    bounds = {name: part for name, part in grid.coordinates().items() if name.endswith("_bounds")}
    constants = ("DIP_mean", "ALK_mean", "T_min", "T_max")
    attributes = {"circulation": getattr(model.circulation, "name", ""), "grid": grid.name}
    attributes |= {name: float(getattr(model.forcing, name)) for name in constants}
    attributes |= {
        key: value for key, value in posterior.observations.attrs.items() if isinstance(value, str | int | float)
    }
    return data.assign(bounds).assign_attrs(attributes)
