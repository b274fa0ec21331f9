"""The negative log posterior: misfit of a model's steady state to observations, plus priors.

Two routes lead to its derivatives. `Posterior.__call__` is a JAX function of the optimiser coordinates: `jax.jit`,
`jax.grad`, `jax.jvp` and `jax.jacfwd(jax.grad(...))` compose with it and reuse its factors. `Posterior.value_grad_hess`
is the fast route to value, gradient and Hessian at once: with sensitivities s_j = du/dx_j and one adjoint lambda of the
steady state T u = s(u, x),

    g_j  = df/dx_j + lambda . ds/dx_j
    H_jk = [s_j, e_j] . d2L . [s_k, e_k],     L(u, x) = f(u, x) + lambda . s(u, x),

which is exact and needs no second-order solve (Pasquier and Primeau 2019, F-1 algorithm). Transport is linear in u and
free of parameters, so that L holds local terms only.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.errors import ConvergenceError, InputError
from invbgc.grid import OceanGrid
from invbgc.inference.programs import Data, Programs, Scale, UnknownScale, scale_slope, scaled
from invbgc.models.contract import SteadyModel
from invbgc.observations import Observations
from invbgc.state import State
from invbgc.steady import StageInfo, steady_state

_log = logging.getLogger("invbgc")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The posterior at one point.

    Attributes:
        x: optimiser coordinates [p].
        value: f(x).
        gradient: [p], or None where it was not asked for.
        hessian: [p, p], or None where it was not asked for.
        state: the steady state at x.
        tokens: stage name -> token of the factor at the solution.
        stats: factorisations, solves, seconds and residuals of this evaluation, Newton iterations per stage.
        gauss_newton: [p, p] positive semi-definite part of the Hessian, J^T W J plus that of the prior; with `hessian`.
        jacobian: tracer -> J [p, m], derivatives of the modelled at the observed boxes, mmol m-3; with `hessian`.
        sensitivities: nonlinear tracer -> du/dx [p, n_wet], from which states nearby are foreseen; with `hessian`.
    """

    x: np.ndarray
    value: float
    gradient: np.ndarray | None
    hessian: np.ndarray | None
    state: State
    tokens: Mapping[str, int] = field(repr=False)
    stats: dict = field(default_factory=dict)
    gauss_newton: np.ndarray | None = None
    jacobian: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    sensitivities: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    def foreseen(self, x: np.ndarray, tracer: str) -> np.ndarray:
        """A tracer [n_wet] at x, to first order where its sensitivities are known."""
        here = np.asarray(self.state.fields[tracer])
        return here + (x - self.x) @ self.sensitivities[tracer] if tracer in self.sensitivities else here


class Posterior:
    """Negative log posterior of the free parameters of a model.

    Args:
        model: the model; its table says which parameters are free.
        observations: data of one or more tracers.
        scales: factor s_X of each tracer's misfit, or `UnknownScale`; 1 where absent.
        prior_factor: factor of the negative log prior: the noise scale s where f is s times -ln p.
        programs: compiled functions of the model, where another posterior has them.
    """

    def __init__(
        self,
        model: SteadyModel,
        observations: Observations,
        scales: Mapping[str, Scale] | None = None,
        prior_factor: float = 1.0,
        programs: Programs | None = None,
    ):
        if observations.grid is not model.grid and not _same_boxes(observations.grid, model.grid):
            raise InputError(
                f"the observations are on a grid of {observations.grid.n_wet} wet boxes, the model on another one of "
                f"{model.grid.n_wet}; expected one grid: load the dataset on that of the circulation, or coarsen both."
            )
        unknown = sorted(set(observations.tracers) - set(model.observables))
        if unknown:
            raise InputError(
                f"observations of {', '.join(unknown)}, which the model does not have; expected some of "
                f"{', '.join(model.observables)}"
            )
        for tracer, scale in (scales or {}).items():
            size = min(scale.number, scale.reference) if isinstance(scale, UnknownScale) else scale
            if tracer not in observations.tracers or not size >= 0:
                raise InputError(
                    f"scale {size} of {tracer!r}: expected numbers of at least 0 for {', '.join(observations.tracers)}"
                )
        self.model: Any = model  # diagnostics of one model want that one
        self.table = model.table
        self.observations = observations
        self.scales = {tracer: (scales or {}).get(tracer, 1.0) for tracer in observations.tracers}
        self.prior_factor = prior_factor
        tracers = {tracer: (part, self.scales[tracer]) for tracer, part in observations.tracers.items()}
        # Transferred, not converted by jnp.asarray, which compiles a program for every shape and keeps it for good.
        self.data: Data = jax.tree.map(lambda part: jax.device_put(np.asarray(part)), Data(tracers, prior_factor))
        self.programs = Programs(model) if programs is None else programs

    def with_data(
        self, observations: Observations, scales: Mapping[str, Scale] | None = None, prior_factor: float = 1.0
    ) -> "Posterior":
        """The posterior of the same model for other observations and scales; shares what was compiled."""
        return Posterior(self.model, observations, scales, prior_factor, self.programs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the free parameters, in the order of x."""
        return self.table.free_names

    @property
    def x0(self) -> np.ndarray:
        """Optimiser coordinates of the table's present values."""
        return self.table.to_vector()

    def admissible(self, x: np.ndarray) -> str | None:
        """Why x is outside the model's meaning, or None."""
        return self.model.admissible(x)

    def misfit_terms(self, fields: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Terms of f: s_X/2 e^T W e of every tracer (Wang et al. 2023, equation 6), or that of an `UnknownScale`."""
        misfits = self.programs.terms(dict(fields), self.data)
        return {tracer: scaled(self.scales[tracer], term) for tracer, term in misfits.items()}

    def objective(self, fields: Mapping[str, jax.Array], x) -> jax.Array:
        """f(u, x): misfit of a state plus the prior of its parameters."""
        return self.programs.value(fields, x, self.data)

    def __call__(self, x, guess: Mapping[str, jax.Array] | None = None) -> jax.Array:
        """f(x), differentiable by JAX; NaN where no steady state was found.

        Args:
            x: optimiser coordinates [p].
            guess: concentrations from which the nonlinear tracers start; their own first guess where absent.
        """
        fields, info = steady_state(self.model.stages, x, guess)
        found = jnp.all(jnp.stack([stage.converged for stage in info.values()]))
        # Multiplied, so that the derivatives are NaN as well.
        return self.objective(fields, x) * jnp.where(found, 1.0, jnp.nan)

    def potential(self, start: Evaluation) -> Callable[[jax.Array], jax.Array]:
        """The function f in JAX near a point: infinite where x is not admissible, NaN where no steady state was found.

        Every evaluation starts from the state foreseen at x, so that f depends on x alone, not on what was computed
        before.

        Args:
            start: the posterior at a point, with sensitivities (`value_grad_hess`).
        """
        centre = jnp.asarray(start.x)
        here = {name: jnp.asarray(start.state.fields[name]) for name in start.sensitivities}
        slopes = {name: jnp.asarray(part) for name, part in start.sensitivities.items()}

        def allowed(x) -> np.ndarray:
            return np.array(self.admissible(np.asarray(x)) is None)

        def function(x):
            inside = jax.pure_callback(
                allowed, jax.ShapeDtypeStruct((), bool), jax.lax.stop_gradient(x), vmap_method="sequential"
            )
            x = jnp.where(inside, x, centre)
            guess = {name: here[name] + (x - centre) @ slopes[name] for name in here}
            return jnp.where(inside, self(x, guess), jnp.inf)

        return function

    def forget(self) -> None:
        """Drop all factors and what is known of them: what follows depends on its arguments alone, to the last bit."""
        for system in self.model.systems.values():
            system.reset()

    def interrupted(self) -> bool:
        """Whether an evaluation of the JAX function since the last call was stopped by Ctrl-C; clears failures."""
        failures = [system.failure for system in self.model.systems.values() if system.failure is not None]
        for system in self.model.systems.values():
            system.failure = None
        for failure in failures:
            _log.warning("a point without a steady state: %s", failure)
        return any(isinstance(failure, KeyboardInterrupt) for failure in failures)

    # ------------------------------------------------------------------ the fast route

    def value(self, x: np.ndarray, guess: Evaluation | None = None) -> Evaluation:
        """The posterior and its state at x, without derivatives.

        Args:
            x: optimiser coordinates [p].
            guess: the posterior at a point nearby, from which the nonlinear tracers start.

        Raises:
            ConvergenceError: no steady state was found; the message names the tracer.
        """
        x = np.asarray(x, dtype=np.float64)
        for system in self.model.systems.values():
            system.failure = None
        with _Meter(self.model) as meter:
            fields, info = _interruptible(self.model.steady, jnp.asarray(x), self._start(x, guess))
            for system in self.model.systems.values():
                if isinstance(system.failure, KeyboardInterrupt):
                    raise system.failure
            self._check(info)
            terms = {name: float(term) for name, term in self.misfit_terms(fields).items()}
            value = sum(terms.values()) + self.prior_factor * float(self.table.negative_log_prior(x))
        values = {name: float(v) for name, v in self.table.to_values(x).items()}
        state = State(self.model, x, values, fields)
        iterations = {name: int(item.iterations) for name, item in info.items()}
        stats = meter.stats | {"misfit": terms, "iterations": iterations}
        return Evaluation(x, value, None, None, state, {k: int(i.token) for k, i in info.items()}, stats)

    def value_grad_hess(
        self, x: np.ndarray, guess: Evaluation | None = None, evaluation: Evaluation | None = None
    ) -> Evaluation:
        """The posterior, its exact gradient and its exact Hessian at x.

        Args:
            x: optimiser coordinates [p].
            guess: the posterior at a point nearby, from which the nonlinear tracers start.
            evaluation: what `value` returned at the same x, so that the state is not solved again.

        Raises:
            ConvergenceError: no steady state was found; the message names the tracer.
        """
        self.programs.compile(self.data)
        base = evaluation if evaluation is not None else self.value(x, guess)
        fields, point = base.state.fields, jnp.asarray(base.x)
        with _Meter(self.model) as meter:
            tokens = self._living_tokens(base)
            # Sensitivities first: their many right-hand sides make the factors that the adjoint then finds.
            sensitivities = self._sensitivities(tokens, fields, point)
            gradient, adjoints = self._gradient(tokens, fields, point)
            hessian = np.asarray(self.programs.curvature(fields, point, self.data, adjoints, sensitivities))
            # Exactly symmetric but for round-off: s_j . d2L . s_k is formed from one side only.
            asymmetry = float(np.abs(hessian - hessian.T).max() / np.abs(hessian).max())
            gauss_newton, jacobian = self._gauss_newton(fields, point, sensitivities)
        stats = _added(base.stats, meter.stats) | {"max_hessian_asymmetry": asymmetry}
        foresight = {name: np.asarray(sensitivities[name]) for name in self._nonlinear}
        return Evaluation(
            base.x, base.value, gradient, 0.5 * (hessian + hessian.T), base.state, tokens, stats, gauss_newton,
            jacobian, foresight,
        )  # fmt: skip

    def value_grad(
        self, x: np.ndarray, guess: Evaluation | None = None, evaluation: Evaluation | None = None
    ) -> Evaluation:
        """The posterior and its exact gradient at x, by one adjoint; arguments as for `value_grad_hess`."""
        base = evaluation if evaluation is not None else self.value(x, guess)
        with _Meter(self.model) as meter:
            tokens = self._living_tokens(base)
            gradient, _ = self._gradient(tokens, base.state.fields, jnp.asarray(base.x))
        return Evaluation(base.x, base.value, gradient, None, base.state, tokens, _added(base.stats, meter.stats))

    def slopes(self, fields: Mapping[str, jax.Array]) -> dict[str, float]:
        """Derivative of every tracer's term of f by its misfit: s_X, or n_X/(2 q_X) where the scale is unknown."""
        misfits = self.programs.terms(dict(fields), self.data)
        return {tracer: float(scale_slope(self.scales[tracer], term)) for tracer, term in misfits.items()}

    def prior_curvature(self, x: np.ndarray) -> np.ndarray:
        """Hessian of the prior's part of f, [p, p]."""
        return self.prior_factor * np.asarray(self.programs.prior_slopes(jnp.asarray(x))[1])

    def chord_gradient(self, evaluation: Evaluation, trial: Evaluation) -> np.ndarray:
        """J^T W r + d(prior)/dx [p]: residuals r and prior of `trial`, sensitivities J of `evaluation`.

        It equals the gradient where both are one; see `invbgc.inference.trust_region.correction`.
        """
        modelled = self.model.observable(trial.state.fields)
        slope = self.prior_factor * np.asarray(self.programs.prior_slopes(jnp.asarray(trial.x))[0])
        scales = self.slopes(trial.state.fields)
        for tracer, data in self.observations.tracers.items():
            residual = np.asarray(modelled[tracer])[data.index] - data.value
            slope = slope + scales[tracer] * (evaluation.jacobian[tracer] @ data.weighted(residual))
        return slope

    def derivatives_of(
        self, scalars: Callable[[Mapping[str, jax.Array], jax.Array], jax.Array], evaluation: Evaluation
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scalars that depend on the state and the parameters, and their exact gradients, by one adjoint of each.

        Args:
            scalars: (fields, x) -> [k], differentiable by JAX; fields are those of the state, tracer -> [n_wet].
            evaluation: the posterior at a point, with its state.

        Returns:
            The scalars [k] and their gradients [k, p] in optimiser coordinates.
        """
        fields, point = dict(evaluation.state.fields), jnp.asarray(evaluation.x)
        for system in self.model.systems.values():
            system.failure = None
        values = _interruptible(jax.jit(scalars), fields, point)
        load, direct = _interruptible(jax.jit(jax.jacrev(scalars, argnums=(0, 1))), fields, point)
        for system in self.model.systems.values():
            if system.failure is not None:
                raise system.failure
        gradients, _ = self._adjoint(self._living_tokens(evaluation), fields, point, load, direct)
        return np.asarray(values), gradients

    def pull(self, evaluation: Evaluation, by_fields: Mapping[str, Any], by_x: Any) -> np.ndarray:
        """Gradient [p] of a scalar of state and parameters, by one adjoint.

        Args:
            evaluation: the posterior at a point, with its state.
            by_fields: tracer -> derivatives of the scalar by the state [n_wet].
            by_x: its derivatives by the optimiser coordinates at a fixed state [p].
        """
        load = {name: jnp.asarray(value)[None] for name, value in by_fields.items()}
        fields, point = dict(evaluation.state.fields), jnp.asarray(evaluation.x)
        return self._adjoint(self._living_tokens(evaluation), fields, point, load, jnp.asarray(by_x)[None])[0][0]

    def state_along(self, evaluation: Evaluation, direction: np.ndarray) -> dict[str, jax.Array]:
        """Derivative of the state along a direction [p] of the optimiser coordinates, tracer -> [n_wet]."""
        fields, point = dict(evaluation.state.fields), jnp.asarray(evaluation.x)
        along = self._sensitivities(self._living_tokens(evaluation), fields, point, jnp.asarray(direction)[None])
        return {name: value[0] for name, value in along.items()}

    def simulate(self, x: np.ndarray) -> State:
        """The steady state at x."""
        return self.value(x).state

    def _gauss_newton(self, fields, x, sensitivities) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """J^T W J plus the Hessian of the prior [p, p], and J [p, m] of every tracer."""
        observed = self.programs.observed_sensitivities(fields, sensitivities)
        total = self.prior_curvature(x)
        jacobian, scales = {}, self.slopes(fields)
        for tracer, data in self.observations.tracers.items():
            jacobian[tracer] = np.ascontiguousarray(np.asarray(observed[tracer])[:, data.index])
            total = total + scales[tracer] * (jacobian[tracer] @ data.weighted(jacobian[tracer].T))
        return total, jacobian

    def _living_tokens(self, evaluation: Evaluation) -> dict[str, int]:
        """Tokens of the factors at a state; one that was forgotten since is made again from the state itself."""
        fields, x = evaluation.state.fields, jnp.asarray(evaluation.x)
        tokens = dict(evaluation.tokens)
        for stage in self.model.stages:
            if not stage.system.remembers(tokens[stage.name]):
                coefficients = stage.matrix_coefficients(stage.stack(fields), fields, x)
                tokens[stage.name] = stage.system.factorise(*(np.asarray(part) for part in coefficients))
        return tokens

    def _gradient(self, tokens: Mapping[str, int], fields, x) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Gradient [p] of f and the adjoint of every stage's source."""
        _, slopes = self.programs.objective(fields, x, self.data)
        load, direct = jax.tree.map(lambda slope: np.asarray(slope)[None], slopes)
        gradients, adjoints = self._adjoint(tokens, fields, x, load, direct)
        return gradients[0], {name: adjoint[0] for name, adjoint in adjoints.items()}

    def _adjoint(
        self, tokens: Mapping[str, int], fields, x, load: Mapping[str, jax.Array], direct: jax.Array
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Gradients [k, p] of k scalars and their adjoints of every stage's source [k, m], last stage first.

        Args:
            tokens: of the factors at the state.
            fields: the state.
            x: [p].
            load: tracer -> derivatives of the scalars by the state [k, n_wet].
            direct: derivatives of the scalars by the parameters [k, p].
        """
        loads = {name: np.asarray(value) for name, value in load.items()}
        gradients, adjoints = np.asarray(direct), {}
        for stage in reversed(self.model.stages):
            rhs = np.concatenate([loads[name] for name in stage.tracers], axis=1)
            adjoint = stage.system.solve(tokens[stage.name], rhs.T, transposed=True).T
            adjoints[stage.name] = adjoint
            upstream, parameters = self.programs.backward[stage.name](fields, x, adjoint)
            loads |= {name: loads[name] + np.asarray(value) for name, value in upstream.items()}
            gradients = gradients + np.asarray(parameters)
        return gradients, adjoints

    def _sensitivities(self, tokens: Mapping[str, int], fields, x, directions=None) -> dict[str, jax.Array]:
        """Derivatives of every tracer along directions [k, p], of every parameter where none are given: [k, n_wet].

        Directions that do not reach a stage cost no solve.
        """
        directions = np.eye(len(x)) if directions is None else directions
        sensitivities: dict[str, jax.Array] = {}
        for stage in self.model.stages:
            rhs = np.asarray(self.programs.forcing[stage.name](fields, x, sensitivities, directions))
            active = np.flatnonzero(np.any(rhs != 0.0, axis=1))
            stacked = np.zeros_like(rhs)
            if active.size:
                stacked[active] = stage.system.solve(tokens[stage.name], rhs[active].T).T
            # To the device once, not with every program that they are an argument of.
            parts = jax.device_put(np.split(stacked, len(stage.tracers), axis=1))
            sensitivities |= dict(zip(stage.tracers, parts, strict=True))
        return sensitivities

    @property
    def _nonlinear(self) -> dict[str, jax.Array]:
        """Tracers found by Newton's method, and the model's own first guess of each."""
        stages = [stage for stage in self.model.stages if not stage.linear]
        return {name: part for stage in stages for name, part in stage.split(stage.start).items()}

    def _start(self, x: np.ndarray, guess: Evaluation | None) -> dict[str, jax.Array]:
        """Concentrations from which the nonlinear tracers start."""
        start = self._nonlinear
        return start if guess is None else {name: jnp.asarray(guess.foreseen(x, name)) for name in start}

    def _check(self, info: Mapping[str, StageInfo]) -> None:
        failures = [system.failure for system in self.model.systems.values() if system.failure is not None]
        for name, item in info.items():
            if not bool(item.converged) and failures:
                raise ConvergenceError(f"no steady state of {name}: {failures[0]}") from failures[0]
            if not bool(item.converged):
                raise ConvergenceError(
                    f"no steady state of {name}: after {int(item.iterations)} Newton steps the last step was "
                    f"{float(item.step):.1e} mmol m-3. The parameters may be far from anything an ocean does; start "
                    f"nearer to the published values, or take a smaller trust radius."
                )


def _same_boxes(one: OceanGrid, other: OceanGrid) -> bool:
    return one.shape == other.shape and np.array_equal(one.wet, other.wet) and np.allclose(one.volume, other.volume)


def _interruptible(function, *arguments):
    """Call a compiled function with host callbacks; a Ctrl-C that JAX met around a callback stays a Ctrl-C."""
    try:
        return jax.block_until_ready(function(*arguments))
    except (ValueError, RuntimeError) as error:
        if "KeyboardInterrupt" in str(error):
            raise KeyboardInterrupt from error
        raise


class _Meter:
    """Difference of the model's counters, and the seconds, across a block of code."""

    def __init__(self, model: SteadyModel):
        self._model = model
        self.stats: dict = {}

    def __enter__(self) -> "_Meter":
        self._before, self._start = self._model.counters, time.perf_counter()
        return self

    def __exit__(self, *_) -> None:
        after, before = self._model.counters.as_dict(), self._before.as_dict()
        self.stats = {name: after[name] - before[name] for name in after} | {
            "max_residual": after["max_residual"],
            "seconds": time.perf_counter() - self._start,
        }


def _added(first: dict, second: dict) -> dict:
    """Counters of two consecutive steps as one."""
    summed = {name: first[name] + second[name] for name in second if name != "max_residual"}
    return first | summed | {"max_residual": max(first["max_residual"], second["max_residual"])}
