"""The phosphorus, carbon and oxygen model: stages, parameters, observables."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from types import MappingProxyType

import jax
import numpy as np

from invbgc.circulation.core import Circulation
from invbgc.datasets.forcing import Forcing
from invbgc.linalg.backend import ON_A_GPU, find_backend
from invbgc.linalg.memory import FactorMemory
from invbgc.linalg.operators import RowProduct, ShiftedTransport
from invbgc.linalg.system import Counters, SparseSystem
from invbgc.models.pco import carbon, oxygen, phosphorus
from invbgc.models.pco.environment import make_environment
from invbgc.models.pco.options import PCOOptions
from invbgc.models.pco.parameters import exchange_scale, pco_parameters
from invbgc.observations import TRACERS
from invbgc.parameters import ParameterTable
from invbgc.steady import Stage, steady_state

OXYGEN_START = 200.0
"""First guess of O2 everywhere, mmol m-3; well above the transition of respiration, where Newton's method is safe."""

SINGLE_ABOVE = 50_000
"""Unknowns of the phosphorus loop above which it is factored in single precision on a CPU; see
`benchmarks/phosphorus.py`. On a GPU factors cost little, and the iterations that single precision needs cost more."""


class PCOModel:
    """The P-C-O model on one circulation (Wang et al. 2023).

    Args:
        circulation: transport operator and grid.
        forcing: climatologies and constants on the same grid.
        options: the model's switches.
        table: parameter table; the 21 rows at their first guess where absent.
        backend: sparse solver, ``"auto"`` for the fastest installed.
        memory: GiB that live factors may take; without it, those of all stages stay alive. Where they would not fit,
            they are made in single precision, and solves iterate to the accuracy of double precision.
    """

    observables = TRACERS
    long_names: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        circulation: Circulation,
        forcing: Forcing,
        options: PCOOptions | None = None,
        table: ParameterTable | None = None,
        backend: str = "auto",
        memory: float | None = None,
    ):
        self.circulation = circulation
        self.grid = circulation.grid
        self.forcing = forcing
        self.options = options or PCOOptions()
        self.table = table or pco_parameters()
        forcing.require(self.grid)
        self.environment = make_environment(self.grid, forcing, self.options)
        self.systems = self._systems(backend, None if memory is None else FactorMemory(memory))
        self.stages = self._stages()

    def _systems(self, backend: str, memory: FactorMemory | None) -> dict[str, SparseSystem]:
        options = self.options
        transport = self.circulation.transport
        product = RowProduct(transport)
        labile = (options.labile_fraction, options.kappa_l) if options.labile_fraction > 0 else None
        loop = phosphorus.PhosphorusLoop(
            transport, product, self.grid, options.euphotic_layers, options.kappa_g, labile
        )
        transported = ShiftedTransport(transport, product, np.asarray(self.grid.volume))
        # One analysis serves every tracer: their matrices are transport plus a diagonal. Those of DOC, DOCr, ALK, DIC
        # and O2 stay alive together, and that of DOCl where there is one.
        keep = 6 if labile is not None or options.labile == "satellite_residual" else 5
        backend = find_backend(backend)[0]
        single = loop.size > SINGLE_ABOVE and backend not in ON_A_GPU
        return {
            "phosphorus": SparseSystem(loop, "phosphorus", backend, keep=1, reuse=True, single=single, memory=memory),
            "tracer": SparseSystem(transported, "tracer", backend, keep=keep, reuse=True, memory=memory),
        }

    def _stages(self) -> tuple[Stage, ...]:
        env, to_values = self.environment, self.table.to_values
        weights = jax.device_put(self.grid.volume)
        n = self.grid.n_wet
        labile_fraction = self.options.labile_fraction

        def stage(name: str, source, system: str = "tracer", tracers: tuple[str, ...] = (), **more) -> Stage:
            return Stage(name, tracers or (name,), source, self.systems[system], weights, **more)

        def on_upstream(source):
            return lambda own, upstream, x: source(env, own, upstream, to_values(x))

        loop_tracers = ("DIP", "DOP", "DOPl") if labile_fraction > 0 else ("DIP", "DOP")
        stages = [
            stage(
                "phosphorus",
                lambda own, _, x: phosphorus.phosphorus_source(env, own, to_values(x)),
                "phosphorus",
                loop_tracers,
                weak="proportional",
                coefficients=lambda own, _, x: phosphorus.loop_coefficients(env, to_values(x)),
            ),
            stage("DOC", on_upstream(carbon.doc_source)),
            stage("DOCr", on_upstream(carbon.docr_source)),
        ]
        if labile_fraction > 0 or self.options.labile == "satellite_residual":
            stages.append(stage("DOCl", on_upstream(carbon.docl_source)))
        stages += [
            stage("ALK", on_upstream(carbon.alk_source), weak="uniform"),
            stage(
                "DIC",
                on_upstream(carbon.dic_source),
                linear=False,
                start=jax.device_put(np.full(n, env.DIC_surface_mean)),
            ),
            stage(
                "O2",
                on_upstream(oxygen.o2_source),
                linear=False,
                start=jax.device_put(np.full(n, OXYGEN_START)),
                relaxed_source=lambda own, upstream, x, softness: oxygen.o2_source(
                    env, own, upstream, to_values(x), softness
                ),
            ),
        ]
        return tuple(stages)

    @cached_property
    def steady(self) -> Callable:
        """The compiled steady state: (x, guess) -> tracers and how each stage was solved; see `steady_state`."""
        return jax.jit(partial(steady_state, self.stages))

    @cached_property
    def _compiled_diagnose(self) -> Callable:
        return jax.jit(self._diagnose)

    @property
    def euphotic_layers(self) -> int:
        """Layers in which organic matter is produced."""
        return self.options.euphotic_layers

    @property
    def counters(self) -> Counters:
        """Cost of all sparse solves so far."""
        return sum((system.counters for system in self.systems.values()), Counters())

    def observable(self, fields: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        """What the observations measure [n_wet] mmol m-3: DIP, DIC, ALK, O2, and all DOC together."""
        doc = fields["DOC"] + fields["DOCr"] + fields.get("DOCl", 0.0)
        return {"DIP": fields["DIP"], "DIC": fields["DIC"], "ALK": fields["ALK"], "O2": fields["O2"], "DOC": doc}

    def diagnose(self, fields: Mapping[str, jax.Array], x) -> dict[str, jax.Array]:
        """Particle concentrations and fluxes that belong to a state.

        Returns:
            POP, POC, PIC [n_wet] mmol m-3; production, respiration, air_sea_co2_flux, pic_production [n_wet]
            mmol m-3 s-1; poc_flux, pic_flux [nz + 1, n_columns] mmol m-2 s-1, downward at the layer interfaces.
        """
        return self._compiled_diagnose(dict(fields), x)

    def _diagnose(self, fields: dict[str, jax.Array], x) -> dict[str, jax.Array]:
        env, p = self.environment, self.table.to_values(x)
        organic = carbon.organic_carbon(env, fields["DIP"], p)
        pop, _ = phosphorus.pop_remineralisation(env, p, phosphorus.uptake_rate(env, p) * fields["DIP"])
        kappa_p = self.options.kappa_p
        return {
            "POP": pop / kappa_p,
            "POC": organic.poc_remineralisation / kappa_p,
            "PIC": organic.pic_dissolution / kappa_p,
            "dip_uptake": phosphorus.uptake_rate(env, p) * fields["DIP"],
            "production": organic.production,
            "labile_production": organic.labile_production,
            "pic_production": organic.pic_production,
            "respiration": carbon.respiration(env, fields, p, organic),
            "air_sea_co2_flux": carbon.air_sea_co2(env, fields["DIC"], fields["ALK"], exchange_scale(p)),
            "air_sea_o2_flux": oxygen.air_sea_o2(env, fields["O2"], exchange_scale(p)),
            "poc_flux": organic.poc_flux,
            "pic_flux": organic.pic_flux,
        }

    def admissible(self, x: np.ndarray) -> str | None:
        """Why parameters lie outside the model's meaning, or None where they do not (Wang et al. 2023, safeguards).

        Fractions must stay below one and flux exponents between 0.3 and 3 on average, which an optimiser enforces by
        rejecting the step, never by moving the point.
        """
        p = {name: float(value) for name, value in self.table.to_values(np.asarray(x)).items()}
        limit = 1.0 - self.options.labile_fraction
        for name in ("sigma_P", "sigma_C"):
            if p[name] > limit:
                return f"{name} = {p[name]:.3g} exceeds {limit:.3g}"
        if p["eta"] > 1.0:
            return f"eta = {p['eta']:.4g} exceeds 1"
        for element in ("P", "C"):
            exponent = self.environment.exponent(p, element)
            if exponent.min() <= 0.05 or not 0.3 <= exponent.mean() <= 3.0:
                return f"flux exponent b_{element} spans {exponent.min():.2f} to {exponent.max():.2f}"
        return None
