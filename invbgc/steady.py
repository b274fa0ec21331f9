"""Steady states of tracer models that are triangular: one stage after another, with exact derivatives of any order.

A *stage* is a tracer, or a few coupled ones, whose steady state depends only on the stages before it and on the
parameters x:

    T u = s(u, upstream, x),

with T the transport (divergence form, s-1) and s the local sources minus sinks (mmol m-3 s-1). Derivatives pass through
the solution, not through the solver: with A = T - ds/du at the solution,

    A du = ds/dupstream dupstream + ds/dx dx,

so that tangents and adjoints are linear solves with the factor the state has used. The rule is written once, in
`_solve_stage`, and JAX derives gradients, Jacobian products and higher orders from it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap

from invbgc.linalg.newton import NewtonResult, newton
from invbgc.linalg.solve import NO_FACTOR, factor_token, linear_solve, solve_with_token
from invbgc.linalg.system import SparseSystem

Fields = Mapping[str, jax.Array]
SourceFunction = Callable[[Fields, Fields, jax.Array], dict[str, jax.Array]]
RelaxedSourceFunction = Callable[[Fields, Fields, jax.Array, jax.Array], dict[str, jax.Array]]


@dataclass(frozen=True, eq=False)
class Stage:
    """One tracer, or a few coupled ones, solved together.

    Attributes:
        name: a word for messages and counters.
        tracers: names of the unknowns, in the order in which they are stacked.
        source: s(own, upstream, x), a dictionary tracer -> [n_wet] mmol m-3 s-1; `own` and `upstream` are dictionaries
            of concentrations.
        system: factors A; its operator must be T - ds/du.
        coefficients: c(own, upstream, x) such that A(c) is that matrix. None for a single tracer whose source in a box
            depends on the tracer in that box alone: then A = T + diag(-ds/du) follows from the source itself.
        linear: whether the source is linear in `own`.
        start: [n_wet] first guess of a nonlinear tracer, used where the caller has none.
        relaxed_source: source with a softness >= 1 as fourth argument, equal to `source` at 1; used for continuation
            where Newton fails from the first guess.
        weak: how a linear stage moves where rounding shifts its weakly tied inventory: "proportional" to itself or
            "uniform"; None where the inventory is held firmly.
        weights: [n_wet] box volumes, the weights of the residual norm.
        tolerance: step size, mmol m-3, at which Newton's method has converged.
        scales: typical concentration of each tracer over that of the others, by which residuals are compared; all
            alike where None.
    """

    name: str
    tracers: tuple[str, ...]
    source: SourceFunction
    system: SparseSystem
    weights: jax.Array
    coefficients: Callable[[Fields, Fields, jax.Array], tuple[jax.Array, ...]] | None = None
    linear: bool = True
    start: jax.Array | None = None
    relaxed_source: RelaxedSourceFunction | None = None
    tolerance: float = 1e-7
    weak: Literal["proportional", "uniform"] | None = None
    scales: tuple[float, ...] | None = None

    @property
    def residual_weights(self) -> jax.Array:
        """Weights of the residual norm, [len(tracers) * n_wet]."""
        scales = self.scales or (1.0,) * len(self.tracers)
        return jnp.concatenate([self.weights / scale for scale in scales])

    def split(self, stacked) -> dict[str, jax.Array]:
        """Dictionary tracer -> [n_wet] of a stacked vector."""
        return dict(zip(self.tracers, jnp.split(stacked, len(self.tracers)), strict=True))

    def stack(self, fields: Fields) -> jax.Array:
        """Stacked vector of this stage's tracers."""
        return jnp.concatenate([fields[name] for name in self.tracers])

    def stacked_source(self, own, upstream: Fields, x, softness=None):
        """Local source s as a stacked vector, for a stacked `own`."""
        fields = self.split(own)
        if softness is None or self.relaxed_source is None:
            return self.stack(self.source(fields, upstream, x))
        return self.stack(self.relaxed_source(fields, upstream, x, softness))

    def matrix_coefficients(self, own, upstream: Fields, x, softness=None) -> tuple[jax.Array, ...]:
        """c(u) of A = T - ds/du for a stacked `own`."""
        if self.coefficients is not None:
            return self.coefficients(self.split(own), upstream, x)
        _, slope = jax.jvp(lambda u: self.stacked_source(u, upstream, x, softness), (own,), (jnp.ones_like(own),))
        return (-slope,)


class StageInfo(NamedTuple):
    """How a stage was solved; see `invbgc.linalg.newton.NewtonResult`."""

    token: jax.Array
    converged: jax.Array
    iterations: jax.Array
    factorisations: jax.Array
    step: jax.Array


CONTINUATION = (20.0, 8.0, 3.0, 1.0)
"""Softness of the relaxed source along the continuation."""


INVENTORY_SHIFT = 1e-6
"""Part of a state by which its inventory may be moved. Rounding moves it by 1e-11 to 1e-9; more is a failed solve."""


def _with_inventory(stage: Stage, state, upstream: Fields, x):
    """The state with its inventory in balance: transport moves tracer, so that the sources must sum to zero.

    Where the inventory is tied by a weak restoring only, rounding in the solve moves it along a direction that hardly
    shows in the residual. The sum of the sources shows it: it is taken to zero along that direction.

    Returns:
        the state, and by how much it was moved, max|du| / max|u|.
    """
    if stage.weak is None:
        return state, jnp.zeros(())
    direction = state if stage.weak == "proportional" else jnp.ones_like(state)
    weights = jnp.tile(stage.weights, len(stage.tracers))
    surplus, slope = jax.jvp(lambda u: jnp.vdot(weights, stage.stacked_source(u, upstream, x)), (state,), (direction,))
    change = surplus / slope * direction
    return state - change, jnp.max(jnp.abs(change)) / jnp.max(jnp.abs(state))


def _find_state(stage: Stage, upstream: Fields, x, start) -> tuple[jax.Array, StageInfo]:
    """Solve one stage; no derivatives."""
    one = jnp.ones((), int)
    if stage.linear:
        zero = jnp.zeros(len(stage.tracers) * stage.weights.shape[0])
        coefficients = stage.matrix_coefficients(zero, upstream, x)
        token = factor_token(stage.system, coefficients)
        # In a compiled loop a matrix that does not depend on x is factored once, before it, and may be forgotten in it.
        state = solve_with_token(
            stage.system, token, stage.stacked_source(zero, upstream, x), coefficients=coefficients
        )
        state, shift = _with_inventory(stage, state, upstream, x)
        sound = jnp.isfinite(jnp.sum(state)) & (shift < INVENTORY_SHIFT)
        return state, StageInfo(token, sound, one, one, shift)

    transport = stage.system.operator.constant_part
    relaxed = CONTINUATION if stage.relaxed_source is not None else CONTINUATION[-1:]
    softness = jnp.asarray((1.0, *relaxed))
    safe = start if stage.start is None else stage.start

    def attempt(state: tuple[jax.Array, NewtonResult]) -> tuple[jax.Array, NewtonResult]:
        """From the given start; where that fails, from the stage's own along the continuation."""
        count, last = state
        result = newton(
            stage.system,
            lambda u: transport(u) - stage.stacked_source(u, upstream, x, softness[count]),
            lambda u: stage.matrix_coefficients(u, upstream, x, softness[count]),
            stage.residual_weights,
            jnp.where(count == 1, safe, last.solution),
            stage.tolerance,
            last.token,
        )
        return count + 1, result._replace(
            iterations=last.iterations + result.iterations,
            factorisations=last.factorisations + result.factorisations,
        )

    def unfinished(state: tuple[jax.Array, NewtonResult]) -> jax.Array:
        count, last = state
        return (count < len(softness)) & ((count != 1) | ~last.converged)

    none = jnp.zeros((), int)
    first = NewtonResult(start, jnp.asarray(NO_FACTOR), jnp.zeros((), bool), none, none, jnp.full((), jnp.inf))
    _, result = lax.while_loop(unfinished, attempt, (none, first))
    return result.solution, StageInfo(*result[1:])


def _solve_stage(stage: Stage, upstream: Fields, x, start):
    """State of one stage [len(tracers) * n_wet] and how it was found; differentiable in `upstream` and x."""

    @jax.custom_jvp
    @sequential_vmap
    def solve(upstream, x, start):
        return _find_state(stage, upstream, x, start)

    @solve.defjvp
    def _(primals, tangents):
        upstream, x, start = primals
        state, info = solve(upstream, x, start)
        _, forcing = jax.jvp(lambda up, v: stage.stacked_source(state, up, v), (upstream, x), tangents[:2])
        coefficients = stage.matrix_coefficients(state, upstream, x)
        tangent = linear_solve(stage.system, coefficients, forcing, token=info.token)
        return (state, info), (tangent, jax.tree.map(_no_tangent, info))

    return solve(upstream, x, start)


def _no_tangent(value):
    """Zero tangent of a value that carries no derivative (integers have the float0 dtype)."""
    floating = jnp.issubdtype(value.dtype, jnp.floating)
    return jnp.zeros_like(value) if floating else jnp.zeros(value.shape, jax.dtypes.float0)


def steady_state(
    stages: Sequence[Stage], x, guess: Fields | None = None, given: Mapping[str, Any] | None = None
) -> tuple[dict[str, jax.Array], dict]:
    """Steady state of all tracers of a staged model.

    Args:
        stages: in order; each depends on those before it.
        x: parameters, an array [p] or any pytree the sources understand.
        guess: concentrations to start nonlinear stages from; the stages' own first guess where absent.
        given: tracers of stages that are left out of `stages`, because they are known.

    Returns:
        Dictionaries tracer -> [n_wet] mmol m-3 and stage name -> `StageInfo`.
    """
    fields: dict[str, jax.Array] = dict(given or {})
    info: dict[str, StageInfo] = {}
    for stage in stages:
        start = stage.start
        if not stage.linear and guess is not None and all(name in guess for name in stage.tracers):
            start = stage.stack(guess)
        start = jnp.zeros(()) if start is None else lax.stop_gradient(start)
        state, info[stage.name] = _solve_stage(stage, fields, x, start)
        fields = fields | stage.split(state)
    return fields, info


def tendencies(stages: Sequence[Stage], fields: Fields, x) -> dict[str, jax.Array]:
    """Rate of change of every tracer, -T u + s(u, upstream, x), mmol m-3 s-1; zero at the steady state."""
    rates: dict[str, jax.Array] = {}
    for stage in stages:
        own = stage.stack(fields)
        rates |= stage.split(stage.stacked_source(own, fields, x) - stage.system.operator.constant_part(own))
    return rates
