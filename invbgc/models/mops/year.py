"""A year of MOPS: biology and transport in turn, as a map from the state at its beginning to that at its end.

One step of the transport matrix method, with the sources within it, or with biology in N steps of its own before it:

    N = 1:  c <- A_i (c + Dt A_exp c + Dt q(c)),
    N > 1:  N times c <- c + dt q(c), then c <- A_i (c + Dt A_exp c),    Dt = N dt.

The first has the steady states of T c = q(c) where transport and light do not change; the second, that of the published
model, moves them by an amount that shrinks with Dt.

What was buried in a year returns in the next one. Since phosphorus is conserved, that amount is what the ocean lacks of
the total at the beginning of the year, so that the state needs no memory beside its tracers: the year is a function of
them alone, and its fixed point is the periodic steady state.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from invbgc.circulation.propagation import Propagation
from invbgc.constants import DAY
from invbgc.errors import InputError
from invbgc.models.mops import carbon
from invbgc.models.mops.core import CORE, PHOSPHORUS_IN, core_rates, core_sources
from invbgc.models.mops.light import daylight
from invbgc.models.mops.model import TRACERS, MopsModel
from invbgc.models.mops.plankton import R_NP
from invbgc.storage import PG_PER_MMOL, PG_PER_UATM

DAYS = 360
"""Days of the model's year."""

PG_PER_PPM = PG_PER_UATM
"""Pg of carbon in the atmosphere per ppm of CO2."""


class YearState(NamedTuple):
    """State at the turn of a year.

    Attributes:
        tracers: [k, nz, n_columns] mmol m-3: the core alone (k = 7), or all tracers in the order of `TRACERS`.
        pco2: of the atmosphere, ppm.
    """

    tracers: jax.Array
    pco2: jax.Array


class YearResult(NamedTuple):
    """What a year leaves.

    Attributes:
        state: at its end.
        mean: annual mean of the tracers, [k, nz, n_columns].
        buried: phosphorus buried, mmol.
    """

    state: YearState
    mean: jax.Array
    buried: jax.Array


def make_year(
    model: MopsModel,
    propagation: Propagation,
    substeps: int = 8,
    with_carbon: bool = False,
    seasonal_light: bool = True,
) -> Callable[[YearState, object], YearResult]:
    """The map over one year of 360 days, compiled when it is first called.

    Args:
        model: the model; its options and its environment are used.
        propagation: the transport of a year; the steps of 360 days must be a whole number.
        substeps: N, steps of biology per step of transport.
        with_carbon: carry the carbon tracers too, and the atmosphere that shares their carbon.
        seasonal_light: the light of the day, or its annual mean effect on growth, as in the steady model.

    Returns:
        (state, x) -> result, with x optimiser coordinates or a dictionary of parameter values.

    Raises:
        InputError: the steps do not fill the year.
    """
    env, grid = model.environment, model.grid
    step = propagation.step_seconds / DAY
    steps = round(DAYS / step)
    if abs(steps * step - DAYS) > 1e-9:
        raise InputError(f"mops: transport steps of {step:g} d; expected a whole number of them in {DAYS} d")
    names = TRACERS if with_carbon else CORE
    dt = step / substeps
    wet = jnp.asarray(grid.column_wet)

    def inventory(tracers: jax.Array) -> jax.Array:
        return jnp.vdot(env.volume, jnp.sum(jnp.stack([tracers[names.index(name)] for name in PHOSPHORUS_IN]), axis=0))

    def biology(tracers, pco2, light, returned, p):
        """What a step of biology adds to the tracers, the atmosphere after it, and the phosphorus buried, mmol."""
        fields = dict(zip(names, tracers, strict=True))
        rates = core_rates(env, fields, light, p)
        sources = core_sources(env, fields, rates, p)
        river = env.resupply(returned)
        sources["PO4"] = sources["PO4"] + river
        sources["DIN"] = sources["DIN"] + R_NP * river
        if with_carbon:
            sources |= carbon.carbon_sources(env, fields, rates, p)
            gas = carbon.carbon_exchange(env, fields["DIC"][0], pco2)
            sources["DIC"] = sources["DIC"] + env.at_surface(gas) + carbon.REDFIELD * river
            pco2 = pco2 - dt * jnp.vdot(env.volume[0], gas) * PG_PER_MMOL / PG_PER_PPM
        change = jnp.stack([sources[name] for name in names])
        buried = dt * jnp.vdot(env.volume, rates.sinking.buried)
        return dt * jnp.where(wet, change, 0.0), pco2, buried

    def year(state: YearState, x) -> YearResult:
        p = model.values(x)
        returned = (model.total_phosphorus - inventory(state.tracers)) / DAYS

        def advance(carry, number):
            tracers, pco2, mean, buried = carry
            time = number / steps
            light = daylight(time, env.latitude) if seasonal_light else env.seasons

            def substep(carry, _):
                tracers, pco2, buried = carry
                added, pco2, more = biology(tracers, pco2, light, returned, p)
                return (tracers + added, pco2, buried + more), None

            if substeps == 1:
                added, pco2, more = biology(tracers, pco2, light, returned, p)
                tracers, buried = propagation.step_columns(tracers, time, added), buried + more
            else:
                (tracers, pco2, buried), _ = jax.lax.scan(substep, (tracers, pco2, buried), length=substeps)
                tracers = propagation.step_columns(tracers, time)
            return (tracers, pco2, mean + tracers / steps, buried), None

        start = (state.tracers, jnp.asarray(state.pco2, dtype=float), jnp.zeros_like(state.tracers), jnp.zeros(()))
        (tracers, pco2, mean, buried), _ = jax.lax.scan(advance, start, jnp.arange(steps))
        return YearResult(YearState(tracers, pco2), mean, buried)

    return jax.jit(year)


def year_state(model: MopsModel, fields, with_carbon: bool = False, pco2: float | None = None) -> YearState:
    """State of a year from wet vectors, tracer -> [n_wet] mmol m-3."""
    names = TRACERS if with_carbon else CORE
    columns = model.grid.to_columns(jnp.stack([jnp.asarray(fields[name]) for name in names]))
    return YearState(columns, jnp.asarray(model.pco2 if pco2 is None else pco2, dtype=float))


def wet_fields(model: MopsModel, tracers: jax.Array) -> dict[str, jax.Array]:
    """Wet vectors of the tracers of a year, tracer -> [n_wet] mmol m-3."""
    return dict(zip(TRACERS[: len(tracers)], model.grid.from_columns(tracers), strict=True))


def total_carbon(model: MopsModel, state: YearState) -> jax.Array:
    """Carbon of ocean, atmosphere, and of what was buried and is yet to return, Pg C: constant."""
    env = model.environment
    fields = dict(zip(TRACERS, state.tracers, strict=True))
    ocean = jnp.vdot(env.volume, jnp.sum(jnp.stack([fields[name] for name in carbon.CARBON]), axis=0))
    phosphorus = jnp.vdot(env.volume, jnp.sum(jnp.stack([fields[name] for name in PHOSPHORUS_IN]), axis=0))
    away = carbon.REDFIELD * (model.total_phosphorus - phosphorus)
    return PG_PER_PPM * state.pco2 + PG_PER_MMOL * (ocean + away)
