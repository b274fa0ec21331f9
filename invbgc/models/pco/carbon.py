"""The carbon cycle: POC, PIC, DOC, DOCr, DOCl, alkalinity and DIC (Wang et al. 2023, Methods, C model).

With P the carbon production, R the rain ratio, J_l the labile production, U = P + J_l the carbon uptake and
`resp` the respiration of all organic carbon:

    (F_POC + kappa_p) POC  = (1 - sigma_C - delta) P
    (F_PIC + kappa_PIC) PIC = (1 - sigma_C - delta) R P
    (T + kappa_dC) DOC     = sigma_C P
    (T + kappa_r) DOCr     = (1 - eta) kappa_dC DOC
    (T + kappa_l) DOCl     = delta P + J_l
    (T + kappa_g) ALK      = kappa_g ALK_mean - 2 (1 - sigma_C - delta) R P + 2 kappa_PIC PIC
                             + r_N:C (U - resp) - pme ALK_s
    T DIC                  = -U - (1 - sigma_C - delta) R P + resp + kappa_PIC PIC + J_CO2 - pme DIC_s

POC and PIC are column recursions; the rest is one sparse solve each, in this order.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from invbgc.chemistry.gas_exchange import co2_gross_fluxes
from invbgc.models.pco.environment import Environment, at_surface
from invbgc.models.pco.parameters import exchange_scale
from invbgc.models.pco.phosphorus import uptake_rate
from invbgc.particles import exponential_law, remineralise
from invbgc.stoichiometry import linear_p_to_c, q10_rate, rain_ratio


class OrganicCarbon(NamedTuple):
    """Production and particle fluxes of carbon; wet vectors are mmol m-3 s-1.

    Attributes:
        production: [n_wet] P, model production of organic carbon.
        labile_production: [n_wet] production of DOCl, delta P + J_l.
        uptake: [n_wet] U, DIC taken up by soft tissue.
        poc_remineralisation: [n_wet] kappa_p POC.
        poc_flux: [nz + 1, n_columns] mmol m-2 s-1, downward at the layer interfaces.
        pic_production: [n_wet].
        pic_dissolution: [n_wet] kappa_PIC PIC.
        pic_flux: [nz + 1, n_columns] mmol m-2 s-1.
    """

    production: jax.Array
    labile_production: jax.Array
    uptake: jax.Array
    poc_remineralisation: jax.Array
    poc_flux: jax.Array
    pic_production: jax.Array
    pic_dissolution: jax.Array
    pic_flux: jax.Array


def carbon_production(env: Environment, dip, p):
    """P = gamma DIP r_C:P [n_wet] mmol m-3 s-1, with r_C:P = 1/(cc PO4 + dd)."""
    phosphate = dip if env.options.c_to_p == "modelled_phosphate" else env.phosphate
    ratio = linear_p_to_c(phosphate, p["P_to_C_slope"], p["P_to_C_intercept"])
    return uptake_rate(env, p) * dip / ratio


def sinking_poc(env: Environment, p):
    """Sinking law of POC, with the exponent b = b_C + b_C_slope T_z per column."""
    return env.power_law(env.exponent(p, "C"))


def organic_carbon(env: Environment, dip, p) -> OrganicCarbon:
    """Production and particles for a phosphate field [n_wet] mmol m-3."""
    grid, options = env.grid, env.options
    production = carbon_production(env, dip, p)
    residual = env.satellite_carbon - production if options.labile == "satellite_residual" else 0.0
    poc_production = (1.0 - p["sigma_C"] - options.labile_fraction) * production
    pic_production = poc_production * rain_ratio(env.silicate, p["rain_ratio_slope"], p["rain_ratio"])
    poc = remineralise(grid.to_columns(poc_production), sinking_poc(env, p), env.columns)
    pic = remineralise(grid.to_columns(pic_production), exponential_law(p["d_PIC"], env.columns), env.columns)
    return OrganicCarbon(
        production=production,
        labile_production=options.labile_fraction * production + residual,
        uptake=production + residual,
        poc_remineralisation=grid.from_columns(poc.remineralisation),
        poc_flux=poc.flux,
        pic_production=pic_production,
        pic_dissolution=grid.from_columns(pic.remineralisation),
        pic_flux=pic.flux,
    )


def doc_rate(env: Environment, p):
    """Loss rate of semi-labile DOC [n_wet] s-1, kappa_dC Q10_C^((T - 30)/10)."""
    return q10_rate(p["kappa_dC"], p["Q10_C"], env.temperature)


def docr_rate(env: Environment, p):
    """Decay rate of refractory DOC [n_wet] s-1: kappa_ur in the euphotic zone, kappa_dr below."""
    return jnp.where(env.euphotic, p["kappa_ru"], p["kappa_rd"])


def respiration(env: Environment, fields, p, carbon: OrganicCarbon):
    """Respiration to DIC, eta kappa_dC DOC + kappa_r DOCr + kappa_l DOCl + kappa_p POC [n_wet] mmol m-3 s-1."""
    respired = p["eta"] * doc_rate(env, p) * fields["DOC"] + docr_rate(env, p) * fields["DOCr"]
    if "DOCl" in fields:
        respired = respired + env.options.kappa_l * fields["DOCl"]
    return respired + carbon.poc_remineralisation


def doc_source(env: Environment, own, upstream, p):
    """Local source of semi-labile DOC, sigma_C P - kappa_dC DOC [n_wet] mmol m-3 s-1."""
    production = carbon_production(env, upstream["DIP"], p)
    return {"DOC": p["sigma_C"] * production - doc_rate(env, p) * own["DOC"]}


def docr_source(env: Environment, own, upstream, p):
    """Local source of refractory DOC, (1 - eta) kappa_dC DOC - kappa_r DOCr [n_wet] mmol m-3 s-1."""
    gain = (1.0 - p["eta"]) * doc_rate(env, p) * upstream["DOC"]
    return {"DOCr": gain - docr_rate(env, p) * own["DOCr"]}


def docl_source(env: Environment, own, upstream, p):
    """Local source of labile DOC, delta P + J_l - kappa_l DOCl [n_wet] mmol m-3 s-1.

    Its production is negative where the model produces more than the satellite sees.
    """
    carbon = organic_carbon(env, upstream["DIP"], p)
    return {"DOCl": carbon.labile_production - env.options.kappa_l * own["DOCl"]}


def alk_source(env: Environment, own, upstream, p):
    """Local source of alkalinity [n_wet] mmol m-3 s-1; equation in the head of this module."""
    options = env.options
    carbon = organic_carbon(env, upstream["DIP"], p)
    calcite = carbon.pic_dissolution - carbon.pic_production
    nitrate = options.r_N2C * (carbon.uptake - respiration(env, upstream, p, carbon))
    restoring = options.kappa_g * (env.ALK_mean - own["ALK"])
    return {"ALK": restoring + 2.0 * calcite + nitrate - env.freshwater * env.ALK_surface_mean}


def air_sea_co2(env: Environment, dic, alk, scale=1.0):
    """J_CO2 = K_CO2 rho (k0 pCO2 - [CO2*]) [n_wet] mmol m-3 s-1, positive into the ocean, in the first layer only.

    DIC and alkalinity are wet vectors in mmol m-3; `scale` multiplies the exchange.
    """
    invasion, evasion = gross_co2(env, dic, alk, env.options.pco2_atm, scale)
    return at_surface(env.grid, invasion - evasion)


def gross_co2(env: Environment, dic, alk, pco2, scale=1.0):
    """CO2 that enters and that leaves the surface boxes [n_columns] mmol m-3 s-1, under pCO2 in uatm."""
    columns = env.grid.n_columns
    return co2_gross_fluxes(
        dic[:columns],
        alk[:columns],
        env.equilibrium,
        scale * env.co2_exchange,
        pco2,
        units=env.options.chemistry_units,
        pressure=env.pressure if env.options.atmosphere == "ocmip2" else None,
    )


def dic_source(env: Environment, own, upstream, p):
    """Local source of DIC [n_wet] mmol m-3 s-1; equation in the head of this module."""
    carbon = organic_carbon(env, upstream["DIP"], p)
    calcite = carbon.pic_dissolution - carbon.pic_production
    soft = respiration(env, upstream, p, carbon) - carbon.uptake
    gas = air_sea_co2(env, own["DIC"], upstream["ALK"], exchange_scale(p))
    return {"DIC": soft + calcite + gas - env.freshwater * env.DIC_surface_mean}
