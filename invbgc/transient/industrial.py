"""DIC and its radiocarbon through the industrial era, with the biology of a steady state.

With fixed biology the organic pools, PIC and alkalinity stay at their steady state, so that DIC alone evolves:

    dDIC/dt + T DIC = S + J_CO2(DIC, t),    S = respiration - uptake + calcite - virtual flux, constant.

Radiocarbon is the fractionation-corrected chi, chi/DIC = R = 1 + D14C/1000, without fractionation factors:

    dchi/dt + T chi = k rho/dz (k0 pCO2 R_atm - [CO2*] R) - R (U + P_PIC) + remin(R P_POC) + remin(R P_PIC)
                      + R resp_dissolved - R virtual - lambda chi.

Particles carry the ratio of the water where they formed; dissolved organic carbon is respired at the ratio of the water
it is in, which leaves out its own age (`invbgc.transient.isotopes` carries it).

Source: Wang et al. (2023), Methods, anthropogenic DIC and radiocarbon.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.chemistry.equilibrium import equilibrium_constants
from invbgc.chemistry.gas_exchange import piston_velocity, schmidt_co2
from invbgc.constants import YEAR
from invbgc.models.pco.carbon import dic_source, docr_rate, gross_co2, organic_carbon, respiration, sinking_poc
from invbgc.models.pco.environment import Environment, at_surface, total_boron_per_salinity
from invbgc.models.pco.model import PCOModel
from invbgc.models.pco.parameters import exchange_scale
from invbgc.particles import exponential_law, remineralise
from invbgc.transient.atmosphere import Atmosphere, zone_of_columns
from invbgc.transient.integrate import Clock, TransientModel

HALF_LIFE = 5730.0
"""Half-life of radiocarbon, years (Godwin 1962)."""

DECAY = float(np.log(2.0)) / (HALF_LIFE * YEAR)
"""lambda, s-1."""

TRACERS = ("DIC", "DI14C")


class Moment(NamedTuple):
    """The atmosphere and the surface at one instant.

    Attributes:
        pco2: uatm.
        ratio: R_atm = 1 + D14C/1000 over each column [n_columns].
        warming: of the sea surface since the start [n_columns] degC; a single zero where it stays as it is.
    """

    pco2: Any
    ratio: Any
    warming: Any = np.zeros(())


def history(model: PCOModel, atmosphere: Atmosphere, start: float = 1850.0) -> Callable[[float], Moment]:
    """Decimal year -> what lies over the ocean then; its surface warms from the year `start` on."""
    zone, sst = zone_of_columns(model.grid), atmosphere.sst

    def moment(year: float) -> Moment:
        warming = np.zeros(()) if sst is None else sst.at(year) - sst.at(start)
        return Moment(np.asarray(atmosphere.co2.at(year)), 1.0 + 1e-3 * atmosphere.d14c.at(year)[zone], warming)

    return moment


def warmed(model: PCOModel, warming: Any) -> Environment:
    """The model's environment with the solubility, chemistry and gas exchange of a surface warmer by [n_columns] degC.

    A single number leaves it as it is.
    """
    env, forcing = model.environment, model.forcing
    if jnp.ndim(warming) == 0:
        return env
    constants = equilibrium_constants(
        forcing.chemistry_temperature + warming,
        forcing.chemistry_salinity,
        forcing.chemistry_phosphate,
        forcing.chemistry_silicate,
        forcing.chemistry_pressure,
        total_boron_per_salinity(env.options),
    )
    surface = forcing.temperature[: env.grid.n_columns] + warming
    exchange: Any = piston_velocity(forcing.piston_velocity_660, schmidt_co2(surface)) / env.grid.thickness[0]
    return replace(env, equilibrium=constants, co2_exchange=exchange)


def industrial_carbon(model: PCOModel) -> TransientModel:
    """DIC and chi, in the reduced form of the module's docstring.

    Args:
        model: whose biology and chemistry it is.

    Returns:
        Tracers ``DIC`` and ``DI14C``, both carried by transport alone; theta is a dictionary of the optimiser
        coordinates ``x`` [p] and the steady ``fields``, tracer -> [n_wet].
    """
    env, grid = model.environment, model.grid
    to_values, freshwater = model.table.to_values, env.freshwater * env.DIC_surface_mean

    def prepare(theta):
        p, fields = to_values(theta["x"]), theta["fields"]
        organic = organic_carbon(env, fields["DIP"], p)
        poc_production = (1.0 - p["sigma_C"] - env.options.labile_fraction) * organic.production
        steady = dic_source(env, {"DIC": fields["DIC"]}, fields, p)["DIC"]
        invasion, evasion = gross_co2(env, fields["DIC"], fields["ALK"], env.options.pco2_atm, exchange_scale(p))
        return {
            "steady": steady - at_surface(grid, invasion - evasion),
            "alk": fields["ALK"],
            "scale": exchange_scale(p),
            "taken": organic.uptake + organic.pic_production,
            "poc_production": poc_production,
            "pic_production": organic.pic_production,
            "poc_law": sinking_poc(env, p),
            "pic_law": exponential_law(p["d_PIC"], env.columns),
            "dissolved": respiration(env, fields, p, organic) - organic.poc_remineralisation - freshwater,
        }

    def source(c, now: Moment, known):
        dic, chi = c
        surface = warmed(model, now.warming)
        invasion, evasion = gross_co2(surface, dic, known["alk"], now.pco2, known["scale"])
        ratio = chi / dic
        particles = _sunk(env, ratio * known["poc_production"], known["poc_law"]) + _sunk(
            env, ratio * known["pic_production"], known["pic_law"]
        )
        gas = at_surface(grid, invasion * now.ratio - evasion * ratio[: grid.n_columns])
        return jnp.stack(
            [
                known["steady"] + at_surface(grid, invasion - evasion),
                gas + particles + ratio * (known["dissolved"] - known["taken"]) - DECAY * chi,
            ]
        )

    loss = np.zeros((len(TRACERS), grid.n_wet))
    return TransientModel(TRACERS, model.systems["tracer"], loss, grid.volume, prepare, source)


def _sunk(env: Environment, production, law):
    """What dissolves [n_wet] of particles produced at a rate [n_wet], both mmol m-3 s-1."""
    grid = env.grid
    return grid.from_columns(remineralise(grid.to_columns(production), law, env.columns).remineralisation)


def whole_carbon(model: PCOModel) -> TransientModel:
    """All carbon tracers of a model and alkalinity, each with its own losses: the full form, to check the reduced one.

    Args:
        model: whose equations are stepped.

    Returns:
        DOC, DOCr, DOCl where there is one, ALK and DIC; POC and PIC follow production at once. theta as above.
    """
    env, grid, options = model.environment, model.grid, model.options
    stages = [stage for stage in model.stages if stage.name in ("DOC", "DOCr", "DOCl", "ALK", "DIC")]
    names = tuple(stage.name for stage in stages)
    p0 = model.table.to_values(model.table.to_vector())
    # Implicit losses fix the matrices: those of the table; the sources take up what the parameters change.
    losses = {
        "DOC": np.asarray(p0["kappa_dC"] * p0["Q10_C"] ** ((env.temperature - 30.0) / 10.0)),
        "DOCr": np.asarray(docr_rate(env, p0)),
        "DOCl": np.full(grid.n_wet, options.kappa_l),
        "ALK": np.full(grid.n_wet, options.kappa_g),
        "DIC": np.zeros(grid.n_wet),
    }
    loss = np.stack([losses[name] for name in names])

    def source(c, now: Moment, known):
        fields = known["fields"] | dict(zip(names, c, strict=True))
        p = model.table.to_values(known["x"])
        rates = [stage.source({stage.name: fields[stage.name]}, fields, known["x"])[stage.name] for stage in stages]
        steady_gas = gross_co2(env, fields["DIC"], fields["ALK"], options.pco2_atm, exchange_scale(p))
        gas = gross_co2(warmed(model, now.warming), fields["DIC"], fields["ALK"], now.pco2, exchange_scale(p))
        rates[-1] = rates[-1] + at_surface(grid, gas[0] - gas[1] - steady_gas[0] + steady_gas[1])
        return jnp.stack(rates) + loss * c

    return TransientModel(names, model.systems["tracer"], loss, grid.volume, lambda theta: theta, source)


def gas_exchange_stability(model: PCOModel, fields: Any, clock: Clock, scale: float = 1.0) -> np.ndarray:
    """H d(evasion)/dDIC of every surface box [n_columns]: explicit gas exchange is stable below two.

    Args:
        model: whose exchange it is.
        fields: tracer -> [n_wet]; DIC and ALK are used.
        clock: whose step h it is.
        scale: of the gas exchange.

    Returns:
        Dimensionless; above one the exchange overshoots its equilibrium within a step.
    """
    env, columns = model.environment, model.grid.n_columns
    dic, alk = jnp.asarray(fields["DIC"])[:columns], jnp.asarray(fields["ALK"])[:columns]

    def evasion(dic):
        return gross_co2(env, dic, alk, env.options.pco2_atm, scale)[1]

    return clock.step * np.asarray(jax.jvp(evasion, (dic,), (jnp.ones_like(dic),))[1])
