"""Steady state of one tracer of a transient model, from which a run starts.

The tracer's sources are linear in it, but may reach from box to box (particles that carry the ratio of the surface), so
that its equations (T + d) u = f(u) are solved by GMRES, with the factor of transport plus the local losses. The adjoint
is the same with transposes.
"""

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.errors import ConvergenceError
from invbgc.linalg.krylov import gmres
from invbgc.transient.integrate import TransientModel

TOLERANCE = 1e-12
"""Residual over right-hand side at which GMRES ends."""

LIMIT = 200
"""Iterations at most."""


class SteadyTracer:
    """Steady state of a tracer of a transient model while the others stay as they are.

    Args:
        model: the model.
        tracer: name of the tracer.
        now: the forcing of the steady state.
    """

    def __init__(self, model: TransientModel, tracer: str, now: Any):
        self.model, self.now, self.row = model, now, model.names.index(tracer)

    @cached_property
    def _source(self):
        def source(u, c, theta):
            """F of the tracer for its concentration u [n_wet] among the others c [k, n_wet]."""
            prepared = self.model.prepare(theta)
            return self.model.source(c.at[self.row].set(u), self.now, prepared)[self.row]

        return source

    @cached_property
    def _slope(self):
        return jax.jit(lambda u, c, theta, v: jax.jvp(lambda w: self._source(w, c, theta), (u,), (v,))[1])

    @cached_property
    def _transposed(self):
        return jax.jit(lambda u, c, theta, v: jax.vjp(lambda w: self._source(w, c, theta), u)[1](v)[0])

    @cached_property
    def _compiled(self):
        return jax.jit(self._source)

    def solve(self, c: np.ndarray, theta: Any) -> np.ndarray:
        """The steady tracer [n_wet]; c [k, n_wet] are all tracers, the row of this one being a first guess.

        Raises:
            ConvergenceError: GMRES does not converge.
        """
        known, zero = jnp.asarray(c), jnp.zeros(c.shape[1])
        rhs = np.asarray(self._compiled(zero, known, theta))
        return self._gmres(lambda v: self._slope(zero, known, theta, v), rhs, known, theta, False)

    def pull(self, c: np.ndarray, theta: Any, by_tracer: np.ndarray) -> tuple[np.ndarray, Any]:
        """Derivatives of a scalar by the other tracers [k, n_wet] and by theta, from those by the steady tracer.

        Args:
            c: all tracers, the steady one among them.
            theta: as for `solve`.
            by_tracer: [n_wet].
        """
        known = jnp.asarray(c)
        u = known[self.row]
        adjoint = self._gmres(lambda v: self._transposed(u, known, theta, v), np.asarray(by_tracer), known, theta, True)
        _, back = jax.vjp(lambda others, t: self._source(u, others, t), known, theta)
        by_others, by_theta = back(jnp.asarray(adjoint))
        return np.array(by_others.at[self.row].set(0.0)), jax.tree.map(np.asarray, by_theta)

    def along(self, c: np.ndarray, theta: Any, d_c: np.ndarray, d_theta: Any) -> np.ndarray:
        """Derivative of the steady tracer [n_wet] along a direction of the others and of theta."""
        known = jnp.asarray(c)
        u = known[self.row]
        held = jnp.asarray(d_c).at[self.row].set(0.0)
        forcing = jax.jvp(lambda others, t: self._source(u, others, t), (known, theta), (held, d_theta))[1]
        return self._gmres(lambda v: self._slope(u, known, theta, v), np.asarray(forcing), known, theta, False)

    def _gmres(self, slope, rhs: np.ndarray, c, theta, transposed: bool) -> np.ndarray:
        system, loss = self.model.system, self.model.loss[self.row]
        # Row sums of -df/du: what is lost locally, and by particles; only losses enter the preconditioner.
        local = -np.asarray(self._slope(c[self.row], c, theta, jnp.ones(c.shape[1])))
        token = system.factorise(loss + np.maximum(local, 0.0))
        transport = system.operator.pattern
        matrix = transport.T if transposed else transport

        def multiply(v):
            return matrix @ v + loss[:, None] * v - np.asarray(slope(jnp.asarray(v[:, 0])))[:, None]

        found = gmres(multiply, lambda v: system.solve(token, v, transposed), rhs[:, None], TOLERANCE, LIMIT)
        if not found.converged:
            raise ConvergenceError(
                f"no steady state of {self.model.names[self.row]}: GMRES stopped after {found.iterations} iterations"
            )
        return found.solution[:, 0]
