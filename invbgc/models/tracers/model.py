"""A model made of single tracers, alone or on top of another model that is solved before them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.circulation.core import Circulation
from invbgc.datasets.forcing import Forcing
from invbgc.errors import InputError
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.system import Counters, SparseSystem
from invbgc.models.contract import SteadyModel
from invbgc.models.tracers.registry import TRACERS
from invbgc.models.tracers.tracer import Surroundings, Tracer, check_source
from invbgc.parameters import ParameterTable
from invbgc.steady import Stage, steady_state


class TracerModel:
    """Tracers on one circulation, each solved after those it reads; fitted and sampled like any other model.

    The optimiser coordinates are those of the base, then those of the tracers.

    Args:
        circulation: transport operator and grid.
        forcing: prescribed fields on the same grid.
        tracers: in order; `Tracer`s, or names of `TRACERS`.
        table: the tracers' parameters; as the tracers declare them where absent.
        base: a model on the same circulation whose tracers these may read, and change nothing of.
        backend: sparse solver, ``"auto"`` for the fastest installed.

    Raises:
        InputError: no such tracer, none at all, a name that is taken, a base on another circulation, a forcing on
            another grid, or a source that is not what its tracer says (see `check_source`).

    Example:
        >>> import invbgc as ib
        >>> ocean = ib.load_circulation("few_box")
        >>> model = TracerModel(ocean, ib.idealised_forcing(ocean.grid), ["radiocarbon"])
        >>> model.table.names
        ('decay_rate',)
    """

    def __init__(
        self,
        circulation: Circulation,
        forcing: Forcing,
        tracers: Iterable[Tracer | str],
        table: ParameterTable | None = None,
        base: SteadyModel | None = None,
        backend: str = "auto",
    ):
        self.circulation, self.grid, self.forcing, self.base = circulation, circulation.grid, forcing, base
        self.tracers = tuple(_tracer(one) for one in tracers)
        _check(self.tracers, circulation, base)
        own = table or ParameterTable(row for tracer in self.tracers for row in tracer.parameters)
        self._below = len(base.table.free) if base is not None else 0
        self.table = ParameterTable([*(base.table if base is not None else ()), *own])
        forcing.require(self.grid)
        self.surroundings = Surroundings(self.grid, forcing)
        known = [name for stage in base.stages for name in stage.tracers] if base is not None else []
        for tracer in self.tracers:
            check_source(tracer, self.surroundings, known, self.table.values)
            known.append(tracer.name)
        product = RowProduct(circulation.transport)
        system = SparseSystem(
            ShiftedTransport(circulation.transport, product), "own tracers", backend, keep=len(self.tracers), reuse=True
        )
        self.systems = {**(base.systems if base is not None else {}), "own tracers": system}
        inherited = () if base is None else tuple(self._inherited(stage) for stage in base.stages)
        self.stages = (*inherited, *(self._stage(tracer, system) for tracer in self.tracers))

    def _inherited(self, stage: Stage) -> Stage:
        """A stage of the base, which sees its own part of x."""

        def part(function):
            return None if function is None else lambda own, up, x, *more: function(own, up, x[: self._below], *more)

        return replace(
            stage,
            source=part(stage.source),
            coefficients=part(stage.coefficients),
            relaxed_source=part(stage.relaxed_source),
        )

    def _stage(self, tracer: Tracer, system: SparseSystem) -> Stage:
        def source(own, upstream, x):
            return {tracer.name: tracer.source(self.surroundings, own[tracer.name], upstream, self.table.to_values(x))}

        start = None if tracer.linear else jnp.full(self.grid.n_wet, tracer.start)
        weights = jnp.asarray(self.grid.volume)
        return Stage(
            tracer.name, (tracer.name,), source, system, weights, linear=tracer.linear, start=start, weak=tracer.weak
        )

    @cached_property
    def steady(self) -> Callable:
        """The compiled steady state: (x, guess) -> tracers and how each stage was solved; see `steady_state`."""
        return jax.jit(partial(steady_state, self.stages))

    @property
    def options(self) -> tuple[Any, ...]:
        """Names of the tracers and the options of the base."""
        return tuple(tracer.name for tracer in self.tracers), None if self.base is None else self.base.options

    @property
    def euphotic_layers(self) -> int:
        """Layers in which the base produces organic matter; the first where there is none."""
        return 1 if self.base is None else self.base.euphotic_layers

    @property
    def counters(self) -> Counters:
        """Cost of all sparse solves so far, those of the base included."""
        return sum((system.counters for system in self.systems.values()), Counters())

    @property
    def observables(self) -> tuple[str, ...]:
        """Names of what can be observed: that of the base, and every tracer."""
        return (*(() if self.base is None else self.base.observables), *(tracer.name for tracer in self.tracers))

    @property
    def long_names(self) -> dict[str, str]:
        """Tracer -> name in full."""
        return {**({} if self.base is None else self.base.long_names), **{t.name: t.long_name for t in self.tracers}}

    def observable(self, fields: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What observations measure, tracer -> [n_wet] mmol m-3."""
        below = {} if self.base is None else self.base.observable(fields)
        return below | {tracer.name: fields[tracer.name] for tracer in self.tracers}

    def diagnose(self, fields: Mapping[str, jax.Array], x) -> dict[str, jax.Array]:
        """Rates and fluxes of the base; tracers have none."""
        return {} if self.base is None else self.base.diagnose(fields, x[: self._below])

    def admissible(self, x: np.ndarray) -> str | None:
        """Why parameters lie outside the meaning of the base, or None."""
        return None if self.base is None else self.base.admissible(x[: self._below])


def _tracer(one: Tracer | str) -> Tracer:
    if isinstance(one, Tracer):
        return one
    if one not in TRACERS:
        raise InputError(f"tracer {one!r} is not in the registry; expected a Tracer or one of {', '.join(TRACERS)}")
    return TRACERS[one]


def _check(tracers: tuple[Tracer, ...], circulation: Circulation, base: SteadyModel | None) -> None:
    if not tracers:
        raise InputError("a model of tracers: found none; expected one at least")
    taken = [name for stage in base.stages for name in stage.tracers] if base is not None else []
    for tracer in tracers:
        if tracer.name in taken:
            raise InputError(f"tracer {tracer.name!r} is there twice; expected another name, present are {taken}")
        taken.append(tracer.name)
    if base is not None and base.circulation is not circulation:
        raise InputError("a model of tracers on a base: found two circulations; expected that of the base")
