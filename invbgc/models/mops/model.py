"""MOPS with flexible C:P on a steady circulation: stages, parameters, observables."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.circulation.core import Circulation
from invbgc.constants import DAY
from invbgc.datasets.forcing import Forcing
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.system import Counters, SparseSystem
from invbgc.models.mops import carbon
from invbgc.models.mops.core import CORE, PHOSPHORUS_IN, CoreRates, core_rates, core_sources
from invbgc.models.mops.environment import RETURN_TIME, make_environment
from invbgc.models.mops.operator import CoreOperator, SinkingOperator, core_jacobian
from invbgc.models.mops.options import MopsOptions
from invbgc.models.mops.parameters import mops_parameters
from invbgc.models.mops.plankton import R_NP
from invbgc.parameters import ParameterTable
from invbgc.steady import Stage, steady_state

TRACERS = (*CORE, *carbon.CARBON)
"""Tracers of the model; alkalinity is prescribed, because nothing in MOPS changes it."""

LONG_NAMES = {
    "PO4": "phosphate",
    "DOP": "dissolved organic phosphorus",
    "O2": "dissolved oxygen",
    "PHY": "phytoplankton phosphorus",
    "ZOO": "zooplankton phosphorus",
    "DET": "detritus phosphorus",
    "DIN": "nitrate",
    "PHYC": "phytoplankton carbon",
    "ZOOC": "zooplankton carbon",
    "DOC": "dissolved organic carbon",
    "POC": "detritus carbon",
    "DIC": "dissolved inorganic carbon",
}
"""Names of the tracers in full."""

RATES = "rates"
"""Name under which the rates of a known core are handed to the stages of carbon, which would make them again."""

START = {"PHY": 0.01, "ZOO": 0.01, "PHYC": 1.17, "ZOOC": 1.17, "PO4": 2.17, "DIN": 31.23, "O2": 300.0, "DIC": 2251.0}
"""Uniform initial concentrations, mmol m-3, those published but for plankton, whose 1e-4 is the cut below which nothing
grows; other organic pools start with 1e-4 mmol P m-3 and 117 times that of carbon."""

ORGANIC_START = 1e-4

SPUN_UP_PCO2 = 280.0
"""pCO2 under which the ocean is spun up, ppm."""


class MopsModel:
    """MOPS with flexible C:P on one steady circulation, in its annual mean (Tanioka et al. 2021).

    The steady state is that of dc/dt + T c = q(c), with the growth of plankton averaged over the light of the year. The
    total of phosphorus, that of the start, includes what was buried within the last year and is yet to return.

    Args:
        circulation: transport operator and grid.
        forcing: climatologies on the same grid.
        options: the model's switches.
        table: parameter table; the calibration of ECCO where absent.
        backend: sparse solver, ``"auto"`` for the fastest installed.
        ice: [n_columns] covered part of the surface; from the temperature where absent.
    """

    observables = ("DIP", "DIC", "O2", "DOC")
    long_names = LONG_NAMES

    def __init__(
        self,
        circulation: Circulation,
        forcing: Forcing,
        options: MopsOptions | None = None,
        table: ParameterTable | None = None,
        backend: str = "auto",
        ice: np.ndarray | None = None,
    ):
        self.circulation = circulation
        self.grid = circulation.grid
        self.forcing = forcing
        self.options = options or MopsOptions()
        self.table = table or mops_parameters()
        forcing.require(self.grid)
        self.environment = make_environment(self.grid, forcing, self.options, ice)
        self.pco2 = SPUN_UP_PCO2
        volume = np.asarray(self.grid.volume)
        self._start = self.uniform_start()
        self.total_phosphorus = float(sum(volume @ self._start[name] for name in PHOSPHORUS_IN))
        self._product = RowProduct(circulation.transport)
        self.systems = self._systems(backend)
        self.stages = self._stages()

    def uniform_start(self) -> dict[str, np.ndarray]:
        """The published initial state, tracer -> [n_wet] mmol m-3."""
        organic = {name: ORGANIC_START * (carbon.REDFIELD if name in carbon.CARBON else 1.0) for name in TRACERS}
        return {name: np.full(self.grid.n_wet, value) for name, value in (organic | START).items()}

    def values(self, x) -> Mapping[str, Any]:
        """Parameter values, `pCO2` in ppm and `flexible` (0 or 1), of coordinates or of a dictionary of values."""
        values = x if isinstance(x, Mapping) else self.table.to_values(x)
        return {"pCO2": self.pco2, "flexible": float(self.options.stoichiometry == "flexible"), **values}

    # ------------------------------------------------------------------ sources

    def columns(self, fields: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Wet vectors as water columns, tracer -> [nz, n_columns]."""
        return {name: self.grid.to_columns(field) for name, field in fields.items() if name in TRACERS}

    def rates(self, fields: Mapping[str, Any], x) -> CoreRates:
        """All that happens in the core, for wet vectors; see `core_rates`. Known rates are in `fields[RATES]`."""
        if RATES in fields:
            return fields[RATES]
        env = self.environment
        return core_rates(env, self.columns({name: fields[name] for name in CORE}), env.seasons, self.values(x))

    def resupply(self, fields: Mapping[str, jax.Array]) -> jax.Array:
        """Phosphorus that returns from the rivers, mmol d-1: what the ocean lacks, within a year of 360 days."""
        volume = jnp.asarray(self.grid.volume)
        ocean = jnp.vdot(volume, jnp.sum(jnp.stack([fields[name] for name in PHOSPHORUS_IN]), axis=0))
        return (self.total_phosphorus - ocean) / RETURN_TIME

    def _wet(self, sources: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """Sources of columns per day as wet vectors per second."""
        return {name: self.grid.from_columns(source) / DAY for name, source in sources.items()}

    def _core_columns(self, stacked: jax.Array, x) -> jax.Array:
        """Sources of the core but the resupply, [7, nz, n_columns] mmol m-3 s-1, of columns of the same shape."""
        env, p = self.environment, self.values(x)
        tracers = dict(zip(CORE, stacked, strict=True))
        sources = core_sources(env, tracers, core_rates(env, tracers, env.seasons, p), p)
        return jnp.stack([sources[name] for name in CORE]) / DAY

    def core_source(self, own: Mapping[str, jax.Array], x) -> dict[str, jax.Array]:
        """Sources of the core, tracer -> [n_wet] mmol m-3 s-1, the return of what was buried included."""
        grid = self.grid
        sources = self._core_columns(grid.to_columns(jnp.stack([own[name] for name in CORE])), x)
        result = dict(zip(CORE, grid.from_columns(sources), strict=True))
        returned = grid.from_columns(self.environment.resupply(self.resupply(own))) / DAY
        return result | {"PO4": result["PO4"] + returned, "DIN": result["DIN"] + R_NP * returned}

    def carbon_source(self, name: str, own, upstream, x) -> dict[str, jax.Array]:
        """Source of one carbon tracer, [n_wet] mmol m-3 s-1, with gas exchange and returns."""
        env, p = self.environment, self.values(x)
        fields = {**upstream, **own}
        tracers = self.columns(fields)
        sources = carbon.carbon_sources(env, tracers, self.rates(upstream, x), p, (name,))
        if name == "DIC":
            gas = carbon.carbon_exchange(env, tracers["DIC"][0], p["pCO2"])
            returned = carbon.REDFIELD * env.resupply(self.resupply(upstream))
            sources = {"DIC": sources["DIC"] + env.at_surface(gas) + returned}
        return self._wet(sources)

    # ------------------------------------------------------------------ matrices and stages

    def _core_coefficients(self, own, x):
        stacked = self.grid.to_columns(jnp.stack([own[name] for name in CORE]))
        return core_jacobian(lambda u: self._core_columns(u, x), stacked, self.environment.layers)

    def _poc_coefficients(self, own, upstream, x):
        """Coefficients of `SinkingOperator` by two products: one for every other layer."""
        grid = self.grid
        even = jnp.arange(grid.n_layers)[:, None] % 2 == 0

        def source(poc):
            return grid.to_columns(self.carbon_source("POC", {"POC": grid.from_columns(poc)}, upstream, x)["POC"])

        here = grid.to_columns(own["POC"])
        push = jax.linearize(source, here)[1]
        of_even, of_odd = (push(jnp.broadcast_to(jnp.where(where, 1.0, 0.0), here.shape)) for where in (even, ~even))
        loss = -grid.from_columns(jnp.where(even, of_even, of_odd))
        return loss, jnp.where(even, of_odd, of_even)

    def _systems(self, backend: str) -> dict[str, SparseSystem]:
        grid, env, transport = self.grid, self.environment, self.circulation.transport
        surface = np.asarray(grid.from_columns(np.asarray(env.resupply(1.0)))) / DAY
        nothing = np.zeros(grid.n_wet)
        rises = {"PO4": surface, "DIN": R_NP * surface}
        left = np.concatenate([rises.get(name, nothing) for name in CORE])
        volume = np.asarray(grid.volume) / RETURN_TIME
        right = np.concatenate([-volume if name in PHOSPHORUS_IN else nothing for name in CORE])
        core = CoreOperator(transport, self._product, grid, env.layers, (left, right))
        return {
            "core": SparseSystem(core, "phosphorus core", backend, keep=1, reuse=True),
            "tracer": SparseSystem(ShiftedTransport(transport, self._product), "tracer", backend, keep=4, reuse=True),
            "POC": SparseSystem(SinkingOperator(transport, self._product, grid), "POC", backend, keep=1, reuse=True),
        }

    def _stages(self) -> tuple[Stage, ...]:
        weights = jnp.asarray(self.grid.volume)

        def carbon_stage(name: str, system: str = "tracer", **more) -> Stage:
            def source(own, upstream, x):
                return self.carbon_source(name, own, upstream, x)

            return Stage(name, (name,), source, self.systems[system], weights, **more)

        core = Stage(
            "core",
            CORE,
            lambda own, _, x: self.core_source(own, x),
            self.systems["core"],
            weights,
            coefficients=lambda own, _, x: self._core_coefficients(own, x),
            linear=False,
            start=jnp.concatenate([jnp.asarray(self._start[name]) for name in CORE]),
            scales=(1.0, 1.0, 150.0, 1.0, 1.0, 1.0, R_NP),
        )
        return (
            core,
            carbon_stage("PHYC", linear=False, start=jnp.asarray(self._start["PHYC"])),
            carbon_stage("ZOOC"),
            carbon_stage("DOC"),
            carbon_stage("POC", "POC", coefficients=self._poc_coefficients),
            carbon_stage("DIC", linear=False, start=jnp.asarray(self._start["DIC"])),
        )

    @property
    def start(self) -> dict[str, np.ndarray]:
        """Where solves start, tracer -> [n_wet] mmol m-3."""
        return dict(self._start)

    def start_from(self, fields: Mapping[str, Any]) -> None:
        """Start later solves from a state, tracer -> [n_wet] mmol m-3; what was compiled before is dropped."""
        self._start = self._start | {name: np.asarray(field) for name, field in fields.items()}
        self.stages = self._stages()
        for compiled in ("steady", "organic", "dissolved"):
            self.__dict__.pop(compiled, None)

    @cached_property
    def steady(self) -> Callable:
        """The compiled steady state: (x, guess) -> tracers and how each stage was solved; see `steady_state`."""
        return jax.jit(partial(steady_state, self.stages))

    @cached_property
    def organic(self) -> Callable:
        """Compiled organic carbon: (core, parameter values) -> core, its rates, the pools, and how they were solved."""

        def solve(core, p):
            return steady_state(self.stages[1:-1], p, given={**core, RATES: self.rates(core, p)})

        return jax.jit(solve)

    @cached_property
    def dissolved(self) -> Callable:
        """Compiled DIC: (what `organic` gave, values with `pCO2`) -> all tracers, and how they were solved."""

        def solve(fields, p):
            known = fields if RATES in fields else {**fields, RATES: self.rates(fields, p)}
            found, info = steady_state(self.stages[-1:], p, given=known)
            return {name: found[name] for name in TRACERS}, info

        return jax.jit(solve)

    @property
    def euphotic_layers(self) -> int:
        """Layers in which plankton grows."""
        return self.environment.layers

    @property
    def counters(self) -> Counters:
        """Cost of all sparse solves so far."""
        return sum((system.counters for system in self.systems.values()), Counters())

    # ------------------------------------------------------------------ what is read from a state

    def observable(self, fields: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What observations measure [n_wet] mmol m-3: DIP (PO4), DIC, O2, DOC (semi-labile only)."""
        return {"DIP": fields["PO4"], "DIC": fields["DIC"], "O2": fields["O2"], "DOC": fields["DOC"]}

    def admissible(self, x: np.ndarray) -> str | None:
        """Why parameters lie outside the model's meaning, or None: exponents of 0.3 to 3."""
        p = {name: float(value) for name, value in self.table.to_values(np.asarray(x)).items()}
        for name in ("b_P", "b_C"):
            if not 0.3 <= p[name] <= 3.0:
                return f"{name} = {p[name]:.3g} is not between 0.3 and 3"
        return None

    def diagnose(self, fields: Mapping[str, jax.Array], x) -> dict[str, jax.Array]:
        """Rates and fluxes of a state; see `invbgc.models.mops.diagnostics`."""
        from invbgc.models.mops.diagnostics import diagnose

        return diagnose(self, fields, x)
