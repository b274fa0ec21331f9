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

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.errors import ConvergenceError, InputError
from invbgc.grid import OceanGrid
from invbgc.models.pco.model import PCOModel
from invbgc.observations import Observations, misfit
from invbgc.state import State
from invbgc.steady import Stage, StageInfo, steady_state


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
        scales: factor s_X of each tracer's misfit; 1 where absent.
    """

    def __init__(self, model: PCOModel, observations: Observations, scales: Mapping[str, float] | None = None):
        if observations.grid is not model.grid and not _same_boxes(observations.grid, model.grid):
            raise InputError(
                f"the observations are on a grid of {observations.grid.n_wet} wet boxes, the model on another one of "
                f"{model.grid.n_wet}; expected one grid: load the dataset on that of the circulation, or coarsen both."
            )
        for tracer, scale in (scales or {}).items():
            if tracer not in observations.tracers or not scale >= 0:
                raise InputError(
                    f"scale {scale} of {tracer!r}: expected numbers of at least 0 for {', '.join(observations.tracers)}"
                )
        self.model = model
        self.table = model.table
        self.observations = observations
        self.scales = {tracer: float((scales or {}).get(tracer, 1.0)) for tracer in observations.tracers}

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
        """s_X/2 e^T W e of every tracer (Wang et al. 2023, equation 6)."""
        modelled = self.model.observable(fields)
        return {
            tracer: self.scales[tracer] * misfit(modelled[tracer][data.index], data)
            for tracer, data in self.observations.tracers.items()
        }

    def objective(self, fields: Mapping[str, jax.Array], x) -> jax.Array:
        """f(u, x): misfit of a state plus the prior of its parameters."""
        return sum(self.misfit_terms(fields).values(), self.table.negative_log_prior(x))

    def __call__(self, x) -> jax.Array:
        """f(x), differentiable by JAX; NaN where no steady state was found."""
        fields, info = steady_state(self.model.stages, x)
        found = jnp.all(jnp.stack([stage.converged for stage in info.values()]))
        # Multiplied, so that the derivatives are NaN as well.
        return self.objective(fields, x) * jnp.where(found, 1.0, jnp.nan)

    # ------------------------------------------------------------------ the fast route

    @cached_property
    def _objective(self):
        return jax.jit(jax.value_and_grad(self.objective, argnums=(0, 1)))

    @cached_property
    def _forcing(self) -> dict:
        """Per stage: tangents of its source along those of the tracers upstream and directions [k, p], [k, m]."""

        def of(stage: Stage):
            def forcing(fields, x, upstream_tangents, directions):
                own = stage.stack(fields)

                def source(upstream, x):
                    return stage.stacked_source(own, upstream, x)

                upstream = {name: fields[name] for name in upstream_tangents}

                def along(tangents):
                    return jax.jvp(source, (upstream, x), tangents)[1]

                return jax.lax.map(along, (upstream_tangents, directions))

            return jax.jit(forcing)

        return {stage.name: of(stage) for stage in self.model.stages}

    @cached_property
    def _backward(self) -> dict:
        """Per stage: what adjoints of its source [k, m] pass to the tracers upstream and to the parameters."""

        def of(stage: Stage, upstream_names: tuple[str, ...]):
            def backward(fields, x, adjoints):
                own = stage.stack(fields)
                upstream = {name: fields[name] for name in upstream_names}
                _, pull = jax.vjp(lambda up, v: stage.stacked_source(own, up, v), upstream, x)
                return jax.lax.map(pull, adjoints)

            return jax.jit(backward)

        rules, known = {}, ()
        for stage in self.model.stages:
            rules[stage.name] = of(stage, known)
            known += stage.tracers
        return rules

    @cached_property
    def _curvature(self):
        """Hessian of the Lagrangian contracted with the sensitivities, [p, p]."""

        def lagrangian(fields, x, adjoints):
            total = self.objective(fields, x)
            for stage in self.model.stages:
                source = stage.stacked_source(stage.stack(fields), fields, x)
                total = total + jnp.vdot(adjoints[stage.name], source)
            return total

        def contracted(fields, x, adjoints, sensitivities):
            slope = jax.grad(lagrangian, argnums=(0, 1))

            def row(direction):
                tangent, unit = direction
                _, (fields_part, x_part) = jax.jvp(lambda u, v: slope(u, v, adjoints), (fields, x), (tangent, unit))
                products = (sensitivities[name] @ fields_part[name] for name in fields)
                return sum(products, x_part)

            # One direction after the other: what it touches stays in the cache, and memory is bounded.
            return jax.lax.map(row, (sensitivities, jnp.eye(len(x))))

        return jax.jit(contracted)

    @cached_property
    def _observed_sensitivities(self):
        """Derivatives of what is observed [p, n_wet] from those of the tracers."""

        def along(fields, tangent):
            return jax.jvp(self.model.observable, (fields,), (tangent,))[1]

        return jax.jit(jax.vmap(along, in_axes=(None, 0)))

    @cached_property
    def _prior_slopes(self):
        """Gradient [p] and Hessian [p, p] of the negative log prior."""
        prior = self.table.negative_log_prior
        return jax.jit(lambda x: (jax.grad(prior)(x), jax.hessian(prior)(x)))

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
            value = sum(terms.values()) + float(self.table.negative_log_prior(x))
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
        base = evaluation if evaluation is not None else self.value(x, guess)
        fields, point = base.state.fields, jnp.asarray(base.x)
        with _Meter(self.model) as meter:
            tokens = self._living_tokens(base)
            # Sensitivities first: their many right-hand sides make the factors that the adjoint then finds.
            sensitivities = self._sensitivities(tokens, fields, point)
            gradient, adjoints = self._gradient(tokens, fields, point)
            hessian = np.asarray(self._curvature(fields, point, adjoints, sensitivities))
            # Exactly symmetric but for round-off: s_j . d2L . s_k is formed from one side only.
            asymmetry = float(np.abs(hessian - hessian.T).max() / np.abs(hessian).max())
            gauss_newton, jacobian = self._gauss_newton(fields, point, sensitivities)
        stats = _added(base.stats, meter.stats) | {"max_hessian_asymmetry": asymmetry}
        foresight = {name: sensitivities[name] for name in self._nonlinear}
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

    def chord_gradient(self, evaluation: Evaluation, trial: Evaluation) -> np.ndarray:
        """J^T W r + d(prior)/dx [p]: residuals r and prior of `trial`, sensitivities J of `evaluation`.

        It equals the gradient where both are one; see `invbgc.inference.trust_region.correction`.
        """
        modelled = self.model.observable(trial.state.fields)
        slope = np.asarray(self._prior_slopes(jnp.asarray(trial.x))[0])
        for tracer, data in self.observations.tracers.items():
            residual = np.asarray(modelled[tracer])[data.index] - data.value
            slope = slope + evaluation.jacobian[tracer] @ (self.scales[tracer] * data.weight * residual)
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
        return {name: jnp.asarray(value[0]) for name, value in along.items()}

    def simulate(self, x: np.ndarray) -> State:
        """The steady state at x."""
        return self.value(x).state

    def _gauss_newton(self, fields, x, sensitivities) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """J^T W J plus the Hessian of the prior [p, p], and J [p, m] of every tracer."""
        observed = self._observed_sensitivities(fields, sensitivities)
        total = np.asarray(self._prior_slopes(x)[1])
        jacobian = {}
        for tracer, data in self.observations.tracers.items():
            jacobian[tracer] = np.ascontiguousarray(np.asarray(observed[tracer])[:, data.index])
            total = total + (jacobian[tracer] * (self.scales[tracer] * data.weight)) @ jacobian[tracer].T
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
        _, slopes = self._objective(fields, x)
        load, direct = jax.tree.map(lambda slope: slope[None], slopes)
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
            adjoint = stage.system.solve(tokens[stage.name], np.ascontiguousarray(rhs.T), transposed=True).T
            adjoints[stage.name] = adjoint
            upstream, parameters = self._backward[stage.name](fields, x, adjoint)
            loads |= {name: loads[name] + np.asarray(value) for name, value in upstream.items()}
            gradients = gradients + np.asarray(parameters)
        return gradients, adjoints

    def _sensitivities(self, tokens: Mapping[str, int], fields, x, directions=None) -> dict[str, np.ndarray]:
        """Derivatives of every tracer along directions [k, p], of every parameter where none are given: [k, n_wet].

        Directions that do not reach a stage cost no solve.
        """
        directions = jnp.eye(len(x)) if directions is None else directions
        sensitivities: dict[str, np.ndarray] = {}
        for stage in self.model.stages:
            rhs = np.asarray(self._forcing[stage.name](fields, x, sensitivities, directions))
            active = np.flatnonzero(np.any(rhs != 0.0, axis=1))
            stacked = np.zeros_like(rhs)
            if active.size:
                stacked[active] = stage.system.solve(tokens[stage.name], np.ascontiguousarray(rhs[active].T)).T
            parts = np.split(stacked, len(stage.tracers), axis=1)
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

    def __init__(self, model: PCOModel):
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
