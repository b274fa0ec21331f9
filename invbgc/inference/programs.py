"""The compiled local terms of a posterior: misfit, sources, their slopes and their curvature.

Transport and its inverse live in the sparse solves; everything here is local in space and differentiated by JAX. The
observations are arguments, so that posteriors of one model that differ in their data alone (twins, other error models)
share what was compiled.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invbgc import heap
from invbgc.models.contract import SteadyModel
from invbgc.observations import TracerObservations, misfit
from invbgc.steady import Stage

_log = logging.getLogger("invbgc")

Fields = Mapping[str, jax.Array]


@partial(jax.tree_util.register_dataclass, data_fields=["number", "reference"], meta_fields=[])
@dataclass(frozen=True)
class UnknownScale:
    """The misfit of a tracer whose error variance is not known, and integrated out.

    Errors of variance s over the weights, with the prior 1/s, leave (Gelman et al. 2013, section 3.2)

        -ln p = n/2 (1 + ln(2 q/(n s_0))),

    with the misfit q and n independent observations. Where the variance is most likely s_0, that is where q = n s_0/2,
    value and slope are those of the known scale, q/s_0.

    Attributes:
        number: n.
        reference: s_0, which moves the value by a constant.
    """

    number: float
    reference: float


Scale = float | UnknownScale
"""A known factor of the misfit, or an unknown one that is integrated out."""


def scaled(scale: Scale, misfit):
    """Term of the objective for a misfit q: the factor times q, or that of an unknown scale."""
    if isinstance(scale, UnknownScale):
        return 0.5 * scale.number * (1.0 + jnp.log(2.0 * misfit / (scale.number * scale.reference)))
    return scale * misfit


def scale_slope(scale: Scale, misfit):
    """Derivative of `scaled` by the misfit."""
    return 0.5 * scale.number / misfit if isinstance(scale, UnknownScale) else scale


class Data(NamedTuple):
    """What an objective depends on beside the model.

    Attributes:
        tracers: tracer -> its observations and the scale of its misfit.
        prior_factor: factor of the negative log prior.
    """

    tracers: Mapping[str, tuple[TracerObservations, Scale]]
    prior_factor: float


@dataclass(eq=False)
class Programs:
    """Compiled functions of a model; each is compiled when it is first called, or all of them at once.

    Attributes:
        model: the model.
        compiled: whether `compile` was called.
    """

    model: SteadyModel
    compiled: bool = False

    def compile(self, data: Data) -> None:
        """Compile what a value, a gradient and a Hessian take, from the shapes of their arguments.

        Done before anything is factored, so that what the compiler needs for a while and what factors hold for long
        are not in memory together: at 34,092 boxes a quarter of the peak.

        Args:
            data: of the posterior; only its shapes matter.
        """
        if self.compiled:
            return
        _log.info("compiling the model's equations and their derivatives, once")
        model, floats = self.model, partial(jax.ShapeDtypeStruct, dtype=np.float64)
        boxes, number = model.grid.n_wet, len(model.table.free)
        rows = {stage.name: len(stage.tracers) * boxes for stage in model.stages}
        fields, x = {name: floats((boxes,)) for stage in model.stages for name in stage.tracers}, floats((number,))
        tangents = {name: floats((number, boxes)) for name in fields}
        guess = {name: fields[name] for stage in model.stages if not stage.linear for name in stage.tracers}
        calls: list[tuple[Any, tuple]] = [
            (model.steady, (x, guess)),
            (self.terms, (fields, data)),
            (self.objective, (fields, x, data)),
            (self.observed_sensitivities, (fields, tangents)),
            (self.prior_slopes, (x,)),
        ]
        upstream: dict[str, jax.ShapeDtypeStruct] = {}
        for stage in model.stages:
            calls.append((self.forcing[stage.name], (fields, x, dict(upstream), floats((number, number)))))
            calls.append((self.backward[stage.name], (fields, x, floats((1, rows[stage.name])))))
            upstream |= {name: tangents[name] for name in stage.tracers}
        adjoints = {name: floats((size,)) for name, size in rows.items()}
        calls.append((self.curvature, (fields, x, data, adjoints, tangents)))
        heap.map_large_blocks()
        for function, arguments in calls:
            function.lower(*arguments).compile()
            heap.give_back()
        self.compiled = True

    def misfits(self, fields: Fields, data: Data) -> dict[str, jax.Array]:
        """Misfit q of every tracer, before its scale."""
        modelled = self.model.observable(fields)
        return {name: misfit(modelled[name][observed.index], observed) for name, (observed, _) in data.tracers.items()}

    def value(self, fields: Fields, x, data: Data) -> jax.Array:
        """f(u, x): misfit of a state plus the negative log prior of its parameters."""
        terms = [scaled(data.tracers[name][1], term) for name, term in self.misfits(fields, data).items()]
        return sum(terms, data.prior_factor * self.model.table.negative_log_prior(x))

    @cached_property
    def terms(self) -> Callable:
        """(fields, data) -> misfit of every tracer before its scale."""
        return jax.jit(self.misfits)

    @cached_property
    def objective(self) -> Callable:
        """(fields, x, data) -> f and its slopes by fields and x."""
        return jax.jit(jax.value_and_grad(self.value, argnums=(0, 1)))

    @cached_property
    def forcing(self) -> dict:
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
    def backward(self) -> dict:
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
    def curvature(self) -> Callable:
        """Hessian of the Lagrangian contracted with the sensitivities, [p, p]."""

        def lagrangian(fields, x, data, adjoints):
            total = self.value(fields, x, data)
            for stage in self.model.stages:
                source = stage.stacked_source(stage.stack(fields), fields, x)
                total = total + jnp.vdot(adjoints[stage.name], source)
            return total

        def contracted(fields, x, data, adjoints, sensitivities):
            slope = jax.grad(lagrangian, argnums=(0, 1))

            def row(direction):
                tangent, unit = direction
                _, (fields_part, x_part) = jax.jvp(
                    lambda u, v: slope(u, v, data, adjoints), (fields, x), (tangent, unit)
                )
                products = (sensitivities[name] @ fields_part[name] for name in fields)
                return sum(products, x_part)

            # One direction after the other: what it touches stays in the cache, and memory is bounded.
            return jax.lax.map(row, (sensitivities, jnp.eye(len(x))))

        return jax.jit(contracted)

    @cached_property
    def observed_sensitivities(self) -> Callable:
        """Derivatives of what is observed [p, n_wet] from those of the tracers."""

        def along(fields, tangent):
            return jax.jvp(self.model.observable, (fields,), (tangent,))[1]

        return jax.jit(jax.vmap(along, in_axes=(None, 0)))

    @cached_property
    def prior_slopes(self) -> Callable:
        """Gradient [p] and Hessian [p, p] of the negative log prior."""
        prior = self.model.table.negative_log_prior
        return jax.jit(lambda x: (jax.grad(prior)(x), jax.hessian(prior)(x)))
