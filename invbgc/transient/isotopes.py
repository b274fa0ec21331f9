"""Carbon isotopes in every pool, with fractionation: radiocarbon, and carbon-13 by the same equations.

A pool of carbon C holds chi = C R/R_std, so that r = chi/DIC is R/R_std of inorganic carbon. Biology is that of a
steady state, as in `invbgc.transient.industrial`. With P, J_l and U of `invbgc.models.pco.carbon`, and a the ratio of
organic matter over that of the inorganic carbon it is made of,

    dchi/dt + T chi = J + remin(a r P_POC) + remin(r P_PIC) + eta kappa_d D + kappa_r D_r + kappa_l D_l
                      - a r U - r P_PIC - r virtual - lambda chi
    dD/dt   + T D   = sigma_C a r P - (kappa_d + lambda) D
    dD_r/dt + T D_r = (1 - eta) kappa_d D - (kappa_r + lambda) D_r
    dD_l/dt + T D_l = a r (delta P + J_l) - (kappa_l + lambda) D_l
    J = alpha_k alpha_aq k rho/dz (k0 pCO2 r_atm - [CO2*] r / alpha_DIC).

Nothing fractionates in respiration, nor between water and calcite. The standards are R_std = 1.176e-12 of 14C and
0.0112372 of 13C, which the equations never need.

D14C of this form lies 1 to 3 permil below that of the reduced one on small oceans: an isotope passes the surface slower
than carbon by alpha_k alpha_aq / alpha_DIC, 2 % for 14C, which normalisation by delta13C does not undo.

Source: Wang et al. (2023), Methods, and the authors' released code.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.errors import ConvergenceError, InputError
from invbgc.linalg.krylov import gmres
from invbgc.models.pco.carbon import doc_rate, docr_rate, gross_co2, organic_carbon
from invbgc.models.pco.environment import at_surface
from invbgc.models.pco.model import PCOModel
from invbgc.particles import remineralise
from invbgc.transient.atmosphere import Atmosphere, Record, zone_of_columns
from invbgc.transient.equilibrium import LIMIT, TOLERANCE
from invbgc.transient.industrial import DECAY, Moment, industrial_carbon
from invbgc.transient.integrate import TransientModel

DELTA13C_AIR = -6.61
"""delta13C of the pre-industrial atmosphere, permil."""

PHOTOSYNTHESIS = 0.5
"""Part of the published photosynthetic fractionation that is taken, as in the released code of Wang et al. (2023)."""


class Isotope(NamedTuple):
    """A heavy isotope of carbon.

    Attributes:
        name: ending of the tracers' names.
        strength: f, its fractionation over that of carbon-13.
        decay: lambda, s-1.
    """

    name: str
    strength: float
    decay: float


ISOTOPES = {"14C": Isotope("14C", 2.0, DECAY), "13C": Isotope("13C", 1.0, 0.0)}
"""Isotopes by name."""


class Fractionation(NamedTuple):
    """Ratios of heavy over light isotopes, dimensionless.

    Attributes:
        kinetic: alpha_k, of the passage through the surface.
        dissolved: alpha_aq, dissolved over gaseous CO2.
        inorganic: alpha_DIC, DIC over gaseous CO2.
        organic: a, organic matter over the DIC that it is made of.
    """

    kinetic: Any
    dissolved: Any
    inorganic: Any
    organic: Any


def fractionation(strength: float, temperature: ArrayLike, co2: ArrayLike) -> Fractionation:
    """Fractionation factors of an isotope.

        alpha_k = 1 - f (1 - 0.99915),   alpha_aq = 1 - f (1 - 0.998764),   alpha_DIC = 1 + f (0.01051 - 1.05e-4 t)
        a = alpha_aq alpha_aq->POC / alpha_DIC,   alpha_aq->POC = 1 + 0.5 f (0.0034 - 0.017 log10 [CO2*])

    Args:
        strength: f, 1 for 13C and 2 for 14C.
        temperature: t, degC.
        co2: [CO2*], umol kg-1, of the same shape.

    Returns:
        The factors. Source: Zhang et al. (1995) for gas exchange, Popp et al. (1989) for photosynthesis, as in the
        released code of Wang et al. (2023) with its factor 0.5.
    """
    dissolved = 1.0 - strength * (1.0 - 0.998764)
    inorganic = 1.0 + strength * (0.01051 - 1.05e-4 * jnp.asarray(temperature))
    photosynthesis = 1.0 + PHOTOSYNTHESIS * strength * (0.0034 - 0.017 * jnp.log10(co2))
    return Fractionation(1.0 - strength * (1.0 - 0.99915), dissolved, inorganic, dissolved * photosynthesis / inorganic)


def delta14c(ratio: ArrayLike, delta13c: ArrayLike) -> Any:
    """D14C = 1000 {r [0.975 / (1 + delta13C/1000)]^2 - 1}, the radiocarbon content normalised for fractionation.

    Args:
        ratio: r = R/R_std of 14C.
        delta13c: of the same sample, permil: of DIC, that of `isotope_carbon(model, "13C")` at the same time, or where
            that was not run `equilibrium_delta13c`.

    Returns:
        permil. Source: Stuiver and Polach (1977).
    """
    return 1e3 * (ratio * (0.975 / (1.0 + 1e-3 * delta13c)) ** 2 - 1.0)


def ratio_of_delta14c(d14c: ArrayLike, delta13c: ArrayLike) -> Any:
    """R/R_std of 14C for a D14C and a delta13C in permil, the inverse of `delta14c`."""
    return (1.0 + 1e-3 * d14c) * ((1.0 + 1e-3 * delta13c) / 0.975) ** 2


def equilibrium_delta13c(temperature: ArrayLike, air: ArrayLike = DELTA13C_AIR) -> Any:
    """delta13C of DIC in equilibrium with the air, 1000 {(1 + delta13C_air/1000) alpha_DIC - 1} with f = 1.

    What the same factors imply without a simulation: in the deep ocean it is up to 3 permil too high, and D14C up
    to 7 permil too low, because water sinks before its 13C is in equilibrium and then gains that of organic matter.

    Args:
        temperature: degC.
        air: delta13C of the atmosphere, permil.

    Returns:
        permil, the shape of the temperature.
    """
    return 1e3 * ((1.0 + 1e-3 * air) * fractionation(1.0, temperature, 1.0).inorganic - 1.0)


def isotope_history(
    model: PCOModel, atmosphere: Atmosphere, isotope: str = "14C", delta13c: Record | float = DELTA13C_AIR
) -> Callable[[float], Moment]:
    """Decimal year -> pCO2, and R/R_std of the air over each column.

    Args:
        model: on whose grid.
        atmosphere: the histories.
        isotope: ``"14C"`` or ``"13C"``.
        delta13c: of the air, permil, a history or a constant.

    Raises:
        InputError: an unknown isotope.
    """
    name, zone = _isotope(isotope).name, zone_of_columns(model.grid)

    def at(year: float) -> Moment:
        light = delta13c.at(year) if isinstance(delta13c, Record) else delta13c
        ratio = ratio_of_delta14c(atmosphere.d14c.at(year), light) if name == "14C" else np.full(3, 1.0 + 1e-3 * light)
        return Moment(np.asarray(atmosphere.co2.at(year)), ratio[zone])

    return at


def isotope_carbon(model: PCOModel, isotope: str | Isotope = "14C") -> TransientModel:
    """DIC and an isotope of carbon in DIC, DOC, DOCr and, where there is one, DOCl.

    Args:
        model: whose biology and chemistry it is.
        isotope: ``"14C"``, ``"13C"``, or one of one's own.

    Returns:
        Tracers ``DIC``, ``DI14C``, ``DO14C``, ``DO14Cr`` and ``DO14Cl``; particles follow production at once. Forcing
        is `isotope_history`, theta that of `industrial_carbon`. Organic pools are lost implicitly at the rates of the
        table; the sources take up what the parameters change, and decay.

    Raises:
        InputError: an unknown isotope.
    """
    heavy = _isotope(isotope)
    env, grid, options = model.environment, model.grid, model.options
    carbon, columns = industrial_carbon(model), grid.n_columns
    bare = replace(env, co2_exchange=np.full(columns, 1.0 / SEAWATER_DENSITY_FACTOR))  # fluxes become concentrations
    p0 = model.table.to_values(model.table.to_vector())
    still = np.zeros(grid.n_wet)
    loss = [still, still, np.asarray(doc_rate(env, p0)), np.asarray(docr_rate(env, p0))]
    names = ["DIC", f"DI{heavy.name}", f"DO{heavy.name}", f"DO{heavy.name}r"]
    if any(stage.name == "DOCl" for stage in model.stages):
        loss.append(np.full(grid.n_wet, options.kappa_l))
        names.append(f"DO{heavy.name}l")
    loss = np.stack(loss)

    def prepare(theta):
        p = model.table.to_values(theta["x"])
        organic = organic_carbon(env, theta["fields"]["DIP"], p)
        return carbon.prepare(theta) | {
            "uptake": organic.uptake,
            "to_semilabile": p["sigma_C"] * organic.production,
            "to_labile": organic.labile_production,
            "eta": p["eta"],
            "semilabile_rate": doc_rate(env, p),
            "refractory_rate": docr_rate(env, p),
        }

    def sunk(production, law):
        return grid.from_columns(remineralise(grid.to_columns(production), law, env.columns).remineralisation)

    def source(c, now: Moment, known):
        dic, inorganic, semilabile, refractory, *labile = c
        ratio = inorganic / dic
        air, water = gross_co2(bare, dic, known["alk"], now.pco2)
        exchange = known["scale"] * env.co2_exchange * SEAWATER_DENSITY_FACTOR
        alpha = fractionation(heavy.strength, env.temperature, water[grid.column])
        made = alpha.organic * ratio
        evading = water * (ratio / alpha.inorganic)[:columns]
        gas = alpha.kinetic * alpha.dissolved * exchange * (air * now.ratio - evading)
        particles = sunk(made * known["poc_production"], known["poc_law"]) + sunk(
            ratio * known["pic_production"], known["pic_law"]
        )
        lost = known["semilabile_rate"] * semilabile
        respired = known["eta"] * lost + known["refractory_rate"] * refractory + options.kappa_l * sum(labile)
        taken = made * known["uptake"] + ratio * (known["pic_production"] + env.freshwater * env.DIC_surface_mean)
        rates = [
            known["steady"] + at_surface(grid, exchange * (air - water)),
            at_surface(grid, gas) + particles + respired - taken - heavy.decay * inorganic,
            made * known["to_semilabile"] - lost - heavy.decay * semilabile,
            (1.0 - known["eta"]) * lost - (known["refractory_rate"] + heavy.decay) * refractory,
            *(made * known["to_labile"] - (options.kappa_l + heavy.decay) * pool for pool in labile),
        ]
        return jnp.stack(rates) + loss * c

    return TransientModel(tuple(names), model.systems["tracer"], loss, grid.volume, prepare, source)


def steady_isotopes(transient: TransientModel, theta: Any, now: Moment) -> np.ndarray:
    """Steady state of an isotope under a constant atmosphere, for the DIC of a steady state.

    Organic pools follow from DI14C by one solve each, with their own matrices; what is left is linear in DI14C and
    solved by GMRES, with the factor of transport plus the local losses.

    Args:
        transient: of `isotope_carbon`.
        theta: as for a run; ``fields`` must be the steady state under the pCO2 of `now`.
        now: the atmosphere.

    Returns:
        All tracers [k, n_wet] mmol m-3, DIC among them, from which a run starts.

    Raises:
        ConvergenceError: GMRES does not converge.
    """
    system, loss = transient.system, transient.loss
    prepared = jax.jit(transient.prepare)(theta)
    compiled = jax.jit(lambda c, ratio: transient.source(c, now._replace(ratio=ratio), prepared))
    dic, silence = np.asarray(theta["fields"]["DIC"]), np.zeros_like(now.ratio)

    def alone(row: int, values) -> np.ndarray:
        """DIC, and one other tracer."""
        c = np.zeros_like(loss)
        c[0], c[row] = dic, values
        return c

    def own_loss(row: int) -> np.ndarray:
        return np.maximum(loss[row] - np.asarray(compiled(alone(row, 1.0), silence))[row], 0.0)

    tokens = [system.factorise(own_loss(row)) for row in range(1, len(loss))]

    def pools(inorganic: np.ndarray) -> np.ndarray:
        """All tracers, the organic ones in balance with DI14C; each depends on those before it."""
        c = alone(1, inorganic)
        for row, token in enumerate(tokens[1:], start=2):
            c[row] = system.solve(token, np.asarray(compiled(c, silence))[row])
        return c

    def multiply(v: np.ndarray) -> np.ndarray:
        gained = np.asarray(compiled(pools(v[:, 0]), silence))[1]
        return system.operator.pattern @ v + (loss[1] * v[:, 0] - gained)[:, None]

    rhs = np.asarray(compiled(alone(1, 0.0), now.ratio))[1]
    found = gmres(multiply, lambda v: system.solve(tokens[0], v), rhs[:, None], TOLERANCE, LIMIT)
    if not found.converged:
        raise ConvergenceError(
            f"no steady state of {transient.names[1]}: GMRES stopped after {found.iterations} iterations"
        )
    return pools(found.solution[:, 0])


def _isotope(isotope: str | Isotope) -> Isotope:
    if isinstance(isotope, Isotope):
        return isotope
    if isotope not in ISOTOPES:
        raise InputError(f"unknown isotope {isotope!r}; known: {', '.join(ISOTOPES)}")
    return ISOTOPES[isotope]
