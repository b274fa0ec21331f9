"""The phosphorus core: PO4, DOP, O2, PHY, ZOO, DET and DIN, which carbon never changes (Kriest & Oschlies 2015).

In the lit layers, with the rates of `plankton.py`, eps = assimilation and sig = dissolved fraction:

    PO4: -U + X_Z                               DOP: sig W + M_Y
    PHY: U - G - E_Y - M_Y                      DET: (1 - sig) W
    ZOO: eps G - X_Z - M_Z                      W = (1 - eps) G + E_Y + M_Z
    DIN: 16 (-U + X_Z) + F_N                    O2:  R_-O2:P (U - X_Z)

everywhere, with mortality m, and r, d the oxic and suboxic decay of `decay.py`:

    PO4: r_DOP + r_DET + d_DOP + d_DET          DOP: -r_DOP - d_DOP + m PHY + m ZOO
    PHY: -m PHY,  ZOO: -m ZOO                   DET: -r_DET - d_DET + sinking - burial
    DIN: 16 (r_DOP + r_DET) - R_dN (d_DOP + d_DET)
    O2:  -R_-O2:P (r_DOP + r_DET) + gas exchange

and what was buried returns to the surface layer as PO4, with 16 DIN (`Environment.resupply`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from invbgc.models.mops.decay import Decay, decay, nitrate_demand
from invbgc.models.mops.environment import Environment
from invbgc.models.mops.light import Daylight
from invbgc.models.mops.plankton import R_NP, PlanktonRates, plankton_rates
from invbgc.models.mops.sinking import Sinking, sink, sinking_speed

CORE = ("PO4", "DOP", "O2", "PHY", "ZOO", "DET", "DIN")
"""Tracers of the core, in their order."""

PHOSPHORUS_IN = ("PO4", "DOP", "PHY", "ZOO", "DET")
"""Tracers that hold phosphorus, one P each."""


class CoreRates(NamedTuple):
    """All that happens in the core; carbon follows it.

    Attributes:
        plankton: rates in the lit layers, zero below, [nz, n_columns] mmol P m-3 d-1.
        decay: limitation of decay.
        dop_decay: [nz, n_columns] lambda DOP above the cut, mmol P m-3 d-1, before limitation.
        det_decay: [nz, n_columns] the same of DET.
        phy_mortality: [nz, n_columns] mmol P m-3 d-1.
        zoo_mortality: [nz, n_columns].
        sinking: of DET.
    """

    plankton: PlanktonRates
    decay: Decay
    dop_decay: jax.Array
    det_decay: jax.Array
    phy_mortality: jax.Array
    zoo_mortality: jax.Array
    sinking: Sinking


def core_rates(env: Environment, tracers, light: Daylight, p) -> CoreRates:
    """Rates of the core.

    Args:
        env: the ocean.
        tracers: name -> [nz, n_columns] mmol m-3, those of `CORE`.
        light: [.., n_columns]; growth is the mean over leading axes.
        p: parameters.

    Returns:
        the rates; Kriest & Oschlies (2015).
    """
    options, shapes, layers = env.options, env.shapes, env.layers

    def cut(name: str) -> jax.Array:
        return shapes.positive(tracers[name] - options.offset, options.offset)

    lit = plankton_rates(
        *(tracers[name][:layers] for name in ("PO4", "DIN", "PHY", "ZOO")),
        temperature=env.temperature[:layers],
        light=light,
        ice=env.ice,
        thickness=env.thickness[:layers],
        p=p,
        shapes=shapes,
        step=options.biology_step,
        offset=options.offset,
    )
    below = ((0, env.grid.n_layers - layers), (0, 0))
    wet = env.columns.wet
    plankton = PlanktonRates(*(jnp.pad(rate, below) * wet for rate in lit))
    dop_decay, det_decay = p["DOP_rate"] * cut("DOP"), p["detritus_rate"] * cut("DET")
    speed = sinking_speed(p["b_P"], p["detritus_rate"], env.columns, layers, options.sinking)
    return CoreRates(
        plankton=plankton,
        decay=decay(tracers["O2"], tracers["DIN"], dop_decay + det_decay, p, shapes, options.biology_step),
        dop_decay=dop_decay,
        det_decay=det_decay,
        phy_mortality=p["mortality"] * cut("PHY"),
        zoo_mortality=p["mortality"] * cut("ZOO"),
        sinking=sink(cut("DET"), speed, env.columns),
    )


def core_sources(env: Environment, tracers, rates: CoreRates, p) -> dict[str, jax.Array]:
    """Sources minus sinks of the core, without the return of what was buried.

    Args:
        env: the ocean.
        tracers: name -> [nz, n_columns] mmol m-3.
        rates: of `core_rates`.
        p: parameters.

    Returns:
        tracer -> [nz, n_columns] mmol m-3 d-1; equations in the head of this module.
    """
    b, part = rates.plankton, rates.decay
    waste = (1.0 - p["assimilation"]) * b.grazing + b.exudation + b.mortality
    dissolved = p["dissolved_fraction"]
    decays = rates.dop_decay + rates.det_decay
    net_uptake = b.uptake - b.excretion
    oxic, suboxic = part.oxic * decays, part.suboxic * decays
    gone = part.oxic + part.suboxic
    return {
        "PO4": -net_uptake + oxic + suboxic,
        "DOP": dissolved * waste
        + b.quadratic_loss
        - gone * rates.dop_decay
        + rates.phy_mortality
        + rates.zoo_mortality,
        "O2": p["r_O2P"] * (net_uptake - oxic) + env.oxygen_exchange(tracers["O2"]),
        "PHY": b.uptake - b.grazing - b.exudation - b.quadratic_loss - rates.phy_mortality,
        "ZOO": p["assimilation"] * b.grazing - b.excretion - b.mortality - rates.zoo_mortality,
        "DET": (1.0 - dissolved) * waste - gone * rates.det_decay + rates.sinking.source,
        "DIN": R_NP * (oxic - net_uptake) + b.fixation - nitrate_demand(p) * suboxic,
    }
