"""The experiment of Tanioka et al. (2021): what b_C and the flexible C:P do to carbon storage and pCO2.

All members share one phosphorus core, which carbon never changes; each is a chain of linear solves and one root. The
total of carbon is that of the spin-up (pCO2 fixed, gas exchange by wind, alkalinity proportional to salinity), or the
one for which the control run has a given pCO2.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from invbgc import storage
from invbgc.models.mops import diagnostics as diag
from invbgc.models.mops.carbon import CARBON
from invbgc.models.mops.closed import ClosedState, balanced, under_pco2, with_total
from invbgc.models.mops.core import CORE
from invbgc.models.mops.model import TRACERS, MopsModel
from invbgc.models.mops.options import MopsOptions
from invbgc.storage import PG_PER_MMOL

B_C_SERIES = (0.5, 0.75, 1.0, 1.25, 1.46, 1.75)
"""Exponents of the POC flux, the paper's range."""

CONTROL, FIXED = "control", "redfield"
"""Names of the runs with b_C = b_P, flexible and at 117."""

Progress = Callable[[str], Any]


def variant(model: MopsModel, **changes: Any) -> MopsModel:
    """The same model with other options, started from the same state."""
    options: MopsOptions = replace(model.options, **changes)
    ice = np.asarray(model.environment.ice)
    other = MopsModel(model.circulation, model.forcing, options, model.table, model.systems["core"].backend, ice)
    other.total_phosphorus, other.pco2 = model.total_phosphorus, model.pco2
    other.start_from(model.start)
    return other


def lifeless(model: MopsModel) -> dict[str, jnp.ndarray]:
    """Core and pools without life: all phosphorus is phosphate, the same everywhere; nothing is taken up."""
    volume = np.asarray(model.grid.volume)
    fields = {name: np.zeros(model.grid.n_wet) for name in TRACERS}
    fields["PO4"] = np.full(model.grid.n_wet, model.total_phosphorus / volume.sum())
    return {name: jnp.asarray(field) for name, field in fields.items()}


def run_name(b_C: float) -> str:
    """Name of a member of the series."""
    return f"b_C {b_C:.2f}"


def experiment(
    model: MopsModel,
    core: Mapping[str, Any],
    b_C: Sequence[float] = B_C_SERIES,
    control_pco2: float | None = None,
    progress: Progress = lambda line: None,
) -> xr.Dataset:
    """Run the series on a steady core.

    Args:
        model: with flexible C:P, fast exchange and uniform alkalinity; its table holds b_P.
        core: tracer -> [n_wet] mmol m-3, the steady core.
        b_C: exponents of the series; the control has b_C = b_P.
        control_pco2: pCO2 of the control run, ppm, which sets the total of carbon; that of the spin-up where None.
        progress: receives a line per run.

    Returns:
        Dataset on `run`: pCO2, exports, ratios and stores; profiles of the flux; fields of carbon and of suspended C:P;
        means of the core in the attributes. See `theory`.

    Raises:
        ConvergenceError: no steady state of a member.
    """
    core = {name: jnp.asarray(core[name]) for name in CORE}
    values = {name: float(value) for name, value in model.table.values.items()}
    control = values | {"b_C": values["b_P"]}
    if control_pco2 is None:
        ordinary = variant(model, exchange="wind", alkalinity="salinity")
        total = float(under_pco2(ordinary, core, control, model.pco2).total)
        progress(f"spin-up under {model.pco2:g} ppm: {total:.1f} Pg C in ocean and air")
    else:
        total = float(under_pco2(model, core, control, control_pco2).total)
    members = {CONTROL: control | {"flexible": 1.0}, FIXED: control | {"flexible": 0.0}}
    members |= {run_name(b): values | {"b_C": float(b)} for b in b_C if abs(b - control["b_C"]) > 1e-9}
    rows = []
    for name, p in members.items():
        state = with_total(model, core, p, total, start=control_pco2 or model.pco2)
        rows.append(describe(model, state, p, name))
        progress(
            f"{name:<10} pCO2 {float(state.pco2):6.1f} ppm, C:P of export {float(rows[-1].export_ratio):5.1f}, "
            f"POC export {float(rows[-1].poc_export):5.2f} Pg C/yr"
        )
    nothing = balanced(model, lifeless(model), control, total, start=600.0)
    progress(f"without life pCO2 {float(nothing.pco2):6.1f} ppm")
    result = xr.concat(rows, "run", join="exact", coords="minimal", compat="override")
    means = diag.storage_of(model, {**core, **_fields_of(rows[0], model)}, control)
    constants = {key: float(means[key]) for key in ("phosphate", "preformed_phosphate", "regenerated_phosphate")}
    return result.assign_attrs(
        total_carbon=total,
        abiotic_pco2=float(nothing.pco2),
        volume=float(np.sum(model.grid.volume)),
        b_P=values["b_P"],
        protocol="spin-up" if control_pco2 is None else f"control at {control_pco2:g} ppm",
        **constants,
    )


def _fields_of(row: xr.Dataset, model: MopsModel) -> dict[str, np.ndarray]:
    return {name: model.grid.pack(row[name]) for name in CARBON}


def describe(model: MopsModel, state: ClosedState, x, name: str) -> xr.Dataset:
    """One run as a Dataset: numbers, profiles and fields."""
    grid = model.grid
    fields = {key: np.asarray(field) for key, field in state.fields.items()}
    diagnostics = {key: np.asarray(value) for key, value in diag.diagnose(model, state.fields, x).items()}
    poc, pop = diag.flux_profiles(model, diagnostics)
    export_c, export_p = float(diag.at_depth(grid, poc)), float(diag.at_depth(grid, pop))
    held = diag.storage_of(model, state.fields, x)
    volume = np.asarray(grid.volume)
    uptake_c, uptake_p = (float(volume @ diagnostics[key]) for key in ("uptake_C", "uptake_P"))
    per_pg = diag.TMOL_PER_MMOL / PG_PER_MMOL
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(pop > 0.0, poc * per_pg / pop, np.nan)
        columns = np.where(diagnostics["pop_flux"] > 0.0, diagnostics["poc_flux"] / diagnostics["pop_flux"], np.nan)
    numbers = {
        "pco2": (float(state.pco2), "ppm", "atmospheric CO2"),
        "b_C": (float(x["b_C"]), "1", "exponent of the POC flux"),
        "poc_export": (export_c, "Pg yr-1", "POC flux through 100 m, carbon"),
        "pop_export": (export_p, "Tmol yr-1", "POP flux through 100 m, phosphorus"),
        "export_ratio": (export_c * per_pg / export_p, "1", "C:P of the particle flux through 100 m"),
        "uptake_ratio": (uptake_c / uptake_p, "1", "C:P of net primary production"),
        "respired_carbon": (held["respired_carbon"], "Pg", "carbon respired since the water left the surface"),
        "respired_ratio": (held["respired_ratio"], "1", "C:P of what was respired since then"),
        "total_carbon": (float(state.total), "Pg", "carbon of ocean and atmosphere"),
    }
    data: dict[str, Any] = {
        key: ((), value, {"units": unit, "long_name": text}) for key, (value, unit, text) in numbers.items()
    }
    profile = {"units": "1", "long_name": "C:P of the global particle flux"}
    data["flux_ratio"] = (("interface",), ratio, profile)
    dataset = xr.Dataset(data, {"interface": ("interface", grid.depth_edges, {"units": "m", "positive": "down"})})
    for key in CARBON:
        dataset[key] = grid.unpack(fields[key], key, {"units": "mmol m-3"})
    dataset["suspended_ratio"] = grid.unpack_surface(
        diag.suspended_ratio(model, fields), attrs={"units": "1", "long_name": "C:P of suspended matter at the surface"}
    )
    dataset["export_ratio_map"] = grid.unpack_surface(
        diag.at_depth(grid, columns), attrs={"units": "1", "long_name": "C:P of the particle flux at 100 m"}
    )
    return dataset.assign_coords(run=name)


def theory(table: xr.Dataset, horizons: Sequence[float] = tuple(np.arange(200.0, 3001.0, 50.0))) -> xr.Dataset:
    """How well equations 3 to 5 foresee the runs, for every depth z' of regeneration.

    With c_0 from the run without life, <PO4> and <PO4_pre> of the core and C_buf such that the control is met, theory
    gives a C:P of regeneration, a store and a pCO2 to every b_C. The z' whose foresight is best is that of the least
    RMS of ln pCO2 over the series; the same for the store.

    Args:
        table: of `experiment`.
        horizons: z', m, below 100 m.

    Returns:
        Dataset on `horizon` and `run` (flexible runs): `ratio`, `store` (Pg C), `pco2` (ppm); on `horizon` the RMS
        errors `error_pco2` (relative) and `error_store` (relative); attributes `best_pco2` and `best_store`, m.
    """
    runs = table.sel(run=[name for name in table.run.values if name != FIXED])
    control = table.sel(run=CONTROL)
    b_C = runs["b_C"].values
    base = storage.Storage(
        phosphate=table.attrs["phosphate"],
        preformed_phosphate=table.attrs["preformed_phosphate"],
        abiotic_pco2=table.attrs["abiotic_pco2"],
        volume=table.attrs["volume"],
    )
    start = float(control["export_ratio"])
    held = float(np.asarray(storage.soft_tissue_carbon(start, base)))
    base = base._replace(buffered_carbon=held / np.log(table.attrs["abiotic_pco2"] / float(control["pco2"])))
    lines = storage.theory_lines(b_C, float(table.attrs["b_P"]), start, np.asarray(horizons), base)
    store, pco2 = lines["soft_tissue_carbon"].values.T, lines["pco2"].values.T
    true_store = runs["respired_carbon"].values / float(control["respired_carbon"]) * held
    error_pco2 = np.sqrt(np.mean(np.log(pco2 / runs["pco2"].values) ** 2, axis=1))
    error_store = np.sqrt(np.mean(np.log(store / true_store) ** 2, axis=1))
    dims = ("horizon", "run")
    return xr.Dataset(
        {
            "ratio": (dims, lines["respired_ratio"].values.T),
            "store": (dims, store, {"units": "Pg"}),
            "pco2": (dims, pco2, {"units": "ppm"}),
            "error_pco2": ("horizon", error_pco2),
            "error_store": ("horizon", error_store),
        },
        {"horizon": ("horizon", np.asarray(horizons), {"units": "m"}), "run": runs.run.values, "b_C": ("run", b_C)},
        {
            "best_pco2": float(horizons[int(error_pco2.argmin())]),
            "best_store": float(horizons[int(error_store.argmin())]),
            "buffered_carbon": float(np.asarray(base.buffered_carbon)),
            "log_pco2_slope": float(np.asarray(base.log_pco2_slope)),
        },
    )
