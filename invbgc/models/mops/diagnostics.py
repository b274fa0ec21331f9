"""What a steady state of MOPS exports, at which C:P, and what it stores of it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from invbgc.chemistry.gas_exchange import oxygen_saturation
from invbgc.constants import DAY
from invbgc.models.mops import carbon
from invbgc.models.mops.environment import FAST_EXCHANGE
from invbgc.models.mops.model import MopsModel
from invbgc.models.mops.sinking import open_share
from invbgc.models.mops.year import DAYS, PG_PER_MMOL
from invbgc.storage import EXPORT_DEPTH

TMOL_PER_MMOL = 1e-15


def diagnose(model: MopsModel, fields: Mapping[str, Any], x) -> dict[str, jax.Array]:
    """Rates and fluxes of a steady state.

    Args:
        model: the model.
        fields: tracer -> [n_wet] mmol m-3, all of them.
        x: optimiser coordinates, or a dictionary of parameter values.

    Returns:
        uptake_P, uptake_C, respiration_C, respiration_P, burial_P [n_wet] mmol m-3 s-1; r_Y, r_Z [n_columns];
        pop_flux, poc_flux [nz + 1, n_columns] mmol m-2 s-1, downward through the open part of the layer interfaces.
    """
    env, grid, p = model.environment, model.grid, model.values(x)
    tracers, rates = model.columns(fields), model.rates(fields, x)
    r_Y, r_Z = carbon.ratios(env, tracers, p)
    share = open_share(env.columns)
    respired = carbon.respiration(env, tracers, rates)
    gone = rates.decay.oxic + rates.decay.suboxic

    def per_open_area(flux: jax.Array) -> jax.Array:
        below = jnp.where(share > 0.0, flux / jnp.where(share > 0.0, share, 1.0), 0.0)
        return jnp.concatenate([jnp.zeros_like(below[:1]), below]) / DAY

    def wet(columns: jax.Array) -> jax.Array:
        return grid.from_columns(columns) / DAY

    return {
        "uptake_P": wet(rates.plankton.uptake),
        "uptake_C": wet(r_Y * rates.plankton.uptake),
        "respiration_P": wet(gone * (rates.dop_decay + rates.det_decay)),
        "respiration_C": wet(respired["DOC"] + respired["POC"]),
        "burial_P": wet(rates.sinking.buried),
        "r_Y": r_Y,
        "r_Z": r_Z,
        "pop_flux": per_open_area(rates.sinking.flux),
        "poc_flux": per_open_area(carbon.poc_sinking(env, tracers, rates, p).flux),
    }


def flux_profiles(model: MopsModel, diagnostics: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Global fluxes of POC (Pg C yr-1) and POP (Tmol P yr-1) through the layer interfaces, [nz + 1] each."""
    grid = model.grid
    area = np.zeros((grid.n_layers + 1, grid.n_columns))
    area[1:] = grid.to_columns(grid.area_below)
    per_year = DAY * DAYS
    poc = (area * np.asarray(diagnostics["poc_flux"])).sum(axis=1) * per_year * PG_PER_MMOL
    pop = (area * np.asarray(diagnostics["pop_flux"])).sum(axis=1) * per_year * TMOL_PER_MMOL
    return poc, pop


def at_depth(grid, profile: np.ndarray, depth: float = EXPORT_DEPTH) -> np.ndarray:
    """A profile on layer interfaces, [nz + 1, ..], at a depth between them, linear in depth."""
    edges = grid.depth_edges
    layer = int(np.clip(np.searchsorted(edges, depth, side="right") - 1, 0, len(edges) - 2))
    weight = (depth - edges[layer]) / (edges[layer + 1] - edges[layer])
    return (1.0 - weight) * profile[layer] + weight * profile[layer + 1]


def regenerated(model: MopsModel, source: jax.Array) -> np.ndarray:
    """What a source in the interior leaves, removed where water meets the surface: (T + k_1) c = source.

    Args:
        model: the model; k_1 is its fast gas exchange in the first layer.
        source: [n_wet] mmol m-3 s-1.

    Returns:
        c [n_wet] mmol m-3: carbon respired, or phosphate regenerated, since the water left the surface.
    """
    grid, system = model.grid, model.systems["tracer"]
    loss = np.where(grid.layer == 0, FAST_EXCHANGE / DAY / grid.thickness[0], 0.0)
    return system.solve(system.factorise(loss), np.asarray(source))


def storage_of(model: MopsModel, fields: Mapping[str, Any], x) -> dict[str, float]:
    """Soft-tissue carbon of a state and the phosphate behind it.

    Args:
        model: the model.
        fields: all tracers of a steady state.
        x: optimiser coordinates, or a dictionary of parameter values.

    Returns:
        respired_carbon: Pg C respired since the water left the surface, a linear tracer ("true" OCS);
        regenerated_phosphate: mmol m-3, mean of the same tracer of phosphorus;
        respired_ratio: mol C (mol P)-1, their ratio;
        phosphate, preformed_phosphate: mmol m-3, means, the latter from oxygen (AOU over r_O2:P).
    """
    grid, p = model.grid, model.values(x)
    volume = np.asarray(grid.volume)
    diagnostics = diagnose(model, fields, x)
    carbon_held = float(volume @ regenerated(model, diagnostics["respiration_C"]))
    phosphate_held = float(volume @ regenerated(model, diagnostics["respiration_P"]))
    phosphate, oxygen = np.asarray(fields["PO4"]), np.asarray(fields["O2"])
    saturation = np.asarray(oxygen_saturation(model.forcing.temperature, model.forcing.salinity))
    preformed = phosphate - (saturation - oxygen) / float(p["r_O2P"])
    return {
        "respired_carbon": carbon_held * PG_PER_MMOL,
        "regenerated_phosphate": phosphate_held / volume.sum(),
        "respired_ratio": carbon_held / phosphate_held,
        "phosphate": grid.volume_mean(phosphate),
        "preformed_phosphate": grid.volume_mean(preformed),
    }


def suspended_ratio(model: MopsModel, fields: Mapping[str, Any]) -> np.ndarray:
    """C:P of suspended matter at the surface, (PHYC + ZOOC + POC) / (PHY + ZOO + DET), [n_columns]."""
    surface = {name: np.asarray(field)[: model.grid.n_columns] for name, field in fields.items()}
    carbon_in, phosphorus_in = (
        np.sum([surface[name] for name in names], axis=0) for names in (("PHYC", "ZOOC", "POC"), ("PHY", "ZOO", "DET"))
    )
    return carbon_in / phosphorus_in
