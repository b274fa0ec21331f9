"""Where the tracers of the deep ocean come from: an exact split into preformed and regenerated parts.

At steady state T X = s. The same tracer obeys A X = s + l I_s X with A = T + l I_s, I_s the first layer and l any rate:
whatever leaves the surface is renewed there. A is linear, so that X splits by its sources, without remainder:

    A X_preformed   = I_s (s + l X)        what the first layer sends down
    A X_soft_tissue = (1 - I_s) s_soft     respiration minus uptake of organic matter below it
    A X_carbonate   = (1 - I_s) s_carb     dissolution minus production of calcite below it

and a part of restoring, of order 1e-3 mmol m-3, where a tracer has one. Preformed DIC is split once more: with C_eq the
DIC in equilibrium with the atmosphere at the temperature, salinity and alkalinity of each surface box,

    A DIC_saturation = l I_s C_eq,    DIC_disequilibrium = DIC_preformed - DIC_saturation,

the second being the effect of incomplete gas exchange. l = 500 per year is close to fixing the surface values.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc.constants import PGC_PER_MMOL, YEAR
from invbgc.diagnostics.sequestration import REMOVAL_RATE, surface_loss
from invbgc.errors import ConvergenceError
from invbgc.models.pco.carbon import air_sea_co2
from invbgc.models.pco.environment import Environment
from invbgc.models.pco.oxygen import oxic_fraction
from invbgc.models.pco.phosphorus import phosphorus_source
from invbgc.state import State

TRACERS = ("DIP", "DIC", "ALK", "O2")
"""Tracers that are split, each by its sources."""

PROCESSES = ("soft_tissue", "carbonate", "gas_exchange", "freshwater", "restoring")
"""Kinds of local sources."""

INTERIOR = ("soft_tissue", "carbonate", "restoring")
"""Those that act below the first layer."""

PARTS = {
    "total": "total",
    "preformed": "preformed",
    "saturation": "preformed, in equilibrium with the atmosphere:",
    "disequilibrium": "preformed, in excess of equilibrium:",
    "soft_tissue": "regenerated",
    "carbonate": "dissolved from calcite:",
    "restoring": "restored",
}
"""Parts of a tracer, with the words for long names; preformed is the sum of saturation and disequilibrium."""

NEWTON_STEPS = 30
"""Newton steps at most for the DIC in equilibrium."""


def sources(state: State) -> dict[str, dict[str, np.ndarray]]:
    """Local sources minus sinks of the dissolved tracers, process by process; together they balance the transport.

    Args:
        state: a steady state.

    Returns:
        Tracer -> process -> [n_wet] mmol m-3 s-1. Processes: soft_tissue, carbonate, gas_exchange, freshwater,
        restoring. Source: Wang et al. (2023), Methods.
    """
    model, d, p = state.model, state.diagnostics, state.parameters
    env, options = model.environment, model.options
    fields = {name: np.asarray(value) for name, value in state.fields.items()}
    uptake = d["production"] + d["labile_production"] - options.labile_fraction * d["production"]
    calcite = options.kappa_p * d["PIC"] - d["pic_production"]
    oxic = np.asarray(oxic_fraction(env, fields["O2"])) * d["respiration"]
    restored = options.kappa_g * (env.DIP_mean - fields["DIP"])
    phosphorus = {name: fields[name] for name in ("DIP", "DOP", "DOPl") if name in fields}
    return {
        "DIP": {
            "soft_tissue": np.asarray(phosphorus_source(env, phosphorus, p)["DIP"]) - restored,
            "restoring": restored,
        },
        "DIC": {
            "soft_tissue": d["respiration"] - uptake,
            "carbonate": calcite,
            "gas_exchange": d["air_sea_co2_flux"],
            "freshwater": -env.freshwater * env.DIC_surface_mean,
        },
        "ALK": {
            "soft_tissue": options.r_N2C * (uptake - d["respiration"]),
            "carbonate": 2.0 * calcite,
            "freshwater": -env.freshwater * env.ALK_surface_mean,
            "restoring": options.kappa_g * (env.ALK_mean - fields["ALK"]),
        },
        "O2": {
            "soft_tissue": p["r_O2C"] * (uptake - oxic),
            "gas_exchange": d["air_sea_o2_flux"],
        },
    }


def equilibrium_dic(env: Environment, alk: np.ndarray, start: np.ndarray) -> np.ndarray:
    """DIC at which no CO2 would pass between surface water and atmosphere, J_CO2(DIC, ALK) = 0.

    Args:
        env: constants of the model: carbonate system, atmosphere, units.
        alk: surface alkalinity [n_columns] mmol m-3.
        start: first guess of DIC [n_columns] mmol m-3, such as the model's own.

    Returns:
        [n_columns] mmol m-3.

    Raises:
        ConvergenceError: Newton's method does not find it to 1e-9.
    """
    columns = env.grid.n_columns
    unit_exchange = replace(env, co2_exchange=np.ones(columns))

    def flux(dic):
        return air_sea_co2(unit_exchange, dic, alk)[:columns]

    dic = jnp.asarray(start)
    for _ in range(NEWTON_STEPS):
        value, slope = jax.jvp(flux, (dic,), (jnp.ones_like(dic),))
        step = value / slope
        dic = dic - step
        if float(jnp.abs(step / dic).max()) < 1e-12:
            break
    into_empty_water = jnp.abs(flux(jnp.zeros(columns)))
    worst = float((jnp.abs(flux(dic)) / into_empty_water).max())
    if not worst < 1e-9:
        raise ConvergenceError(f"DIC in equilibrium with the atmosphere: a relative CO2 flux of {worst:.1e} is left")
    return np.asarray(dic)


def carbon_pumps(state: State, removal_rate: float = REMOVAL_RATE) -> xr.Dataset:
    """Preformed and regenerated DIC, DIP, ALK and O2, and the pumps of DIC.

    Args:
        state: a steady state.
        removal_rate: l, per year; the parts depend on it weakly, their sum not at all.

    Returns:
        `<tracer>_<part>` (depth, latitude, longitude) mmol m-3: preformed, soft_tissue, carbonate and restoring, where
        the tracer has them, which add up to it; DIC_saturation and DIC_disequilibrium, which add up to DIC_preformed.
        Regenerated phosphate is DIP_soft_tissue, the true oxygen utilisation minus O2_soft_tissue. `inventory` (tracer,
        part) Pmol, with the total, NaN where a tracer lacks a part; `carbon_inventory` (part) Pg C;
        `regenerated_fraction` of phosphate. Attribute `split_residual`: the largest |sum of parts - tracer| over the
        largest concentration.

    Raises:
        InputError: the rate is not positive.

    Source: the boundary is that of the sequestration times of Wang et al. (2023), Methods.
    """
    model, grid = state.model, state.model.grid
    renewal = surface_loss(grid, removal_rate)
    fields = {tracer: np.asarray(state.fields[tracer]) for tracer in TRACERS}
    surface, columns = grid.layer_mask(1), grid.n_columns
    made = {}
    for tracer, processes in sources(state).items():
        made[tracer, "preformed"] = surface * sum(processes.values()) + renewal * fields[tracer]
        made |= {(tracer, part): ~surface * processes[part] for part in INTERIOR if part in processes}
    equilibrium = equilibrium_dic(model.environment, fields["ALK"][:columns], fields["DIC"][:columns])
    made["DIC", "saturation"] = renewal * equilibrium[grid.column]
    system = model.systems["tracer"]
    solved = system.solve(system.factorise(renewal), np.stack(list(made.values()), axis=1))
    parts = dict(zip(made, solved.T, strict=True))
    unexplained = dict(fields)
    for tracer, part in parts:
        if part != "saturation":
            unexplained[tracer] = unexplained[tracer] - parts[tracer, part]
    residual = max(np.abs(unexplained[tracer]).max() / np.abs(fields[tracer]).max() for tracer in TRACERS)
    parts["DIC", "disequilibrium"] = parts["DIC", "preformed"] - parts["DIC", "saturation"]
    everything = parts | {(tracer, "total"): total for tracer, total in fields.items()}
    amount = np.array(
        [
            [grid.volume @ everything[tracer, part] if (tracer, part) in everything else np.nan for part in PARTS]
            for tracer in TRACERS
        ]
    )
    phosphate, carbon = amount[TRACERS.index("DIP")], amount[TRACERS.index("DIC")]
    return xr.Dataset(
        {
            f"{tracer}_{part}": grid.unpack(values, attrs={"long_name": f"{PARTS[part]} {tracer}", "units": "mmol m-3"})
            for (tracer, part), values in parts.items()
        }
        | {
            "inventory": (("tracer", "part"), amount * 1e-18, {"long_name": "inventory", "units": "Pmol"}),
            "carbon_inventory": ("part", carbon * PGC_PER_MMOL, {"long_name": "inventory of DIC", "units": "Pg C"}),
            "regenerated_fraction": (
                (),
                (phosphate / phosphate[0])[list(PARTS).index("soft_tissue")],
                {"long_name": "part of phosphate that is regenerated", "units": "1"},
            ),
        },
        coords=grid.coordinates() | {"tracer": list(TRACERS), "part": list(PARTS)},
        attrs={"removal_rate_per_year": removal_rate, "split_residual": float(residual)},
    )


def budget_table(state: State) -> xr.Dataset:
    """Global budgets of the dissolved tracers, process by process, in the surface layer and below it.

    Args:
        state: a steady state.

    Returns:
        `budget` (tracer, process, zone) Tmol yr-1, sources positive, 0 where a tracer lacks a process; `exchange`
        (tracer, zone) Tmol yr-1, what the circulation brings in, minus the sum over the processes at steady state;
        `closure` (tracer), the sum over processes and zones relative to all gross sources and sinks; expected below
        1e-9.
    """
    grid, made = state.model.grid, sources(state)
    zones = {"surface layer": grid.layer_mask(1), "below": ~grid.layer_mask(1)}
    transport = state.model.circulation.transport

    def by_zone(values: np.ndarray) -> list[float]:
        return [float(grid.volume[zone] @ values[zone]) * YEAR * 1e-15 for zone in zones.values()]

    nothing = np.zeros(grid.n_wet)
    budget = np.array([[by_zone(made[tracer].get(process, nothing)) for process in PROCESSES] for tracer in TRACERS])
    gross = np.array([np.sum([by_zone(np.abs(source)) for source in made[tracer].values()]) for tracer in TRACERS])
    carried = np.array([by_zone(-(transport @ np.asarray(state.fields[tracer]))) for tracer in TRACERS])
    imbalance = np.abs(budget.sum(axis=(1, 2))) / gross
    tmol = {"units": "Tmol yr-1"}
    return xr.Dataset(
        {
            "budget": (("tracer", "process", "zone"), budget, tmol | {"long_name": "sources minus sinks"}),
            "exchange": (("tracer", "zone"), carried, tmol | {"long_name": "gain by circulation"}),
            "closure": ("tracer", imbalance, {"long_name": "imbalance over gross sources and sinks", "units": "1"}),
        },
        coords={"tracer": list(TRACERS), "process": list(PROCESSES), "zone": list(zones)},
    )
