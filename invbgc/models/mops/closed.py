"""Carbon of a closed system: ocean and atmosphere share a fixed total, and pCO2 is what follows.

Organic carbon is a chain of linear solves on a given phosphorus core; DIC has the surface exchange with an atmosphere
of pCO2 p; and p is the root of

    C(p) = 2.1324 p + 12.011e-18 sum_k V_k (DIC(p) + DOC + POC + PHYC + ZOOC)_k + 117 (P buried last year) = C_0.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from invbgc.errors import ConvergenceError
from invbgc.models.mops import carbon
from invbgc.models.mops.core import CORE
from invbgc.models.mops.environment import RETURN_TIME
from invbgc.models.mops.model import MopsModel
from invbgc.models.mops.year import PG_PER_PPM
from invbgc.storage import PG_PER_MMOL

_STEPS = 12
"""Newton steps for pCO2 at most; each moves it by a factor e at most, and near the root three reach round-off."""

_ROUND_OFF = 1e-12
"""Relative change of pCO2 that counts as none."""

_BOUNDS = (1.0, 5000.0)
"""Where pCO2 is looked for, ppm."""


@dataclass(frozen=True)
class ClosedState:
    """A steady ocean and its atmosphere.

    Attributes:
        fields: tracer -> [n_wet] mmol m-3.
        pco2: ppm.
        total: carbon of the whole system, Pg C.
    """

    fields: Mapping[str, jax.Array]
    pco2: jax.Array
    total: jax.Array


def organic_carbon(model: MopsModel, core: Mapping[str, jax.Array], x) -> dict[str, jax.Array]:
    """Core and organic carbon at steady state, tracer -> [n_wet] mmol m-3, for a core that is known.

    Raises:
        ConvergenceError: no steady state of a pool.
    """
    return _checked(model.organic({name: core[name] for name in CORE}, model.values(x)))


def system_carbon(model: MopsModel, fields: Mapping[str, jax.Array], pco2) -> jax.Array:
    """Carbon of ocean, atmosphere, and of what was buried and is yet to return, Pg C."""
    volume = jnp.asarray(model.grid.volume)
    ocean = jnp.vdot(volume, jnp.sum(jnp.stack([fields[name] for name in carbon.CARBON]), axis=0))
    away = carbon.REDFIELD * model.resupply(fields) * RETURN_TIME
    return PG_PER_PPM * pco2 + PG_PER_MMOL * (ocean + away)


def under_pco2(model: MopsModel, core: Mapping[str, jax.Array], x, pco2: float) -> ClosedState:
    """Carbon at steady state under a prescribed atmosphere.

    Args:
        model: the model.
        core: tracer -> [n_wet] mmol m-3, of `CORE`.
        x: optimiser coordinates, or a dictionary of parameter values.
        pco2: ppm.

    Returns:
        the state and the carbon that it holds.

    Raises:
        ConvergenceError: no steady state.
    """
    fields, p = organic_carbon(model, core, x), {**model.values(x), "pCO2": jnp.asarray(pco2, dtype=float)}
    fields = _checked(model.dissolved(fields, p))
    return ClosedState(fields, p["pCO2"], system_carbon(model, fields, pco2))


def with_total(model: MopsModel, core: Mapping[str, jax.Array], x, total, start: float | None = None) -> ClosedState:
    """Carbon at steady state of a system with a fixed total; differentiable in the core, x and the total.

    Args:
        model: the model.
        core: tracer -> [n_wet] mmol m-3, of `CORE`.
        x: optimiser coordinates, or a dictionary of parameter values.
        total: C_0, Pg C.
        start: pCO2 to start from, ppm.

    Returns:
        the state. Its derivative is that of the implicit function; derivatives of second order are not exact.

    Raises:
        ConvergenceError: no steady state, or no pCO2 within 1 to 5000 ppm.
    """
    return balanced(model, organic_carbon(model, core, x), x, total, start)


def balanced(model: MopsModel, fields: Mapping[str, jax.Array], x, total, start: float | None = None) -> ClosedState:
    """The last step of `with_total`: DIC and pCO2 for a known core and known organic carbon; arguments as there."""
    p = model.values(x)

    def held(pco2):
        everything, info = model.dissolved(fields, {**p, "pCO2": pco2})
        return system_carbon(model, everything, pco2), (everything, info)

    def newton(pco2):
        """One step in ln pCO2, which keeps it positive; the slope is not differentiated."""
        value, slope, solution = jax.jvp(held, (pco2,), (jnp.ones(()),), has_aux=True)
        step = (total - value) / jax.lax.stop_gradient(slope * pco2)
        return pco2 * jnp.exp(jnp.clip(step, -1.0, 1.0)), step, solution

    pco2 = jnp.asarray(model.pco2 if start is None else start, dtype=float)
    for _ in range(_STEPS):
        pco2, step, solution = newton(jax.lax.stop_gradient(pco2))
        _checked(solution)
        if not _traced(step) and abs(float(step)) < _ROUND_OFF:
            break
    else:
        if not _traced(pco2):
            raise ConvergenceError(f"MOPS: no pCO2 was found that holds {float(total):.1f} Pg C in ocean and air")
    fields = _checked(held(pco2)[1])
    if not _traced(pco2) and not _BOUNDS[0] < float(pco2) < _BOUNDS[1]:
        raise ConvergenceError(f"MOPS: no pCO2 between 1 and 5000 ppm holds {float(total):.1f} Pg C in ocean and air")
    return ClosedState(fields, pco2, system_carbon(model, fields, pco2))


def _traced(value: jax.Array) -> bool:
    """Whether a value is not known yet, because JAX follows the computation."""
    return isinstance(value, Tracer)


def _checked(solution: tuple[dict[str, jax.Array], dict]) -> dict[str, jax.Array]:
    """The fields of a steady state, where every stage converged."""
    fields, info = solution
    for name, stage in info.items():
        if not _traced(stage.converged) and not bool(np.all(stage.converged)):
            raise ConvergenceError(f"MOPS: no steady state of {name}")
    return fields
