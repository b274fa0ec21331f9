"""invbgc: Bayesian inverse modelling of the ocean's carbon cycle by automatic differentiation.

The public names below are imported when they are first used, so that ``import invbgc`` and ``invbgc --help`` are
instant. Double precision is chosen here, before any JAX array can exist: inventories are set by rates of 1e-6 per year,
which single precision cannot resolve. So is that compiled programs take the ocean's arrays as arguments, not as
constants in their text: at 200,160 boxes that compiles in a quarter of the time and a tenth of the memory.
"""

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

for _setting in ("JAX_ENABLE_X64", "JAX_USE_SIMPLIFIED_JAXPR_CONSTANTS"):
    os.environ[_setting] = "1"  # read by JAX when it is imported
# JAX runs a program, and copies large arguments of its host callbacks, on a thread per core, or on NPROC of them. With
# one thread the program waits for its callback and the callback for that thread, forever.
_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
if _cores < 4:
    os.environ.setdefault("NPROC", "4")
if "jax" in sys.modules:  # then it is too late for the second, which saves time and memory only
    sys.modules["jax"].config.update("jax_enable_x64", True)

if TYPE_CHECKING:
    from invbgc import plots, storage, traps, units, verify
    from invbgc.circulation import Circulation, coarsen, load_circulation, write_circulation
    from invbgc.datasets import Forcing, list_datasets, load_dataset, open_dataset
    from invbgc.datasets.idealised import idealised_forcing
    from invbgc.diagnostics.compare import compare_fluxes, read_flux_table
    from invbgc.diagnostics.export import carbon_export, flux_at_depth, flux_at_mixed_layer
    from invbgc.diagnostics.places import region_totals, station_table, zonal_bands
    from invbgc.diagnostics.pumps import carbon_pumps
    from invbgc.diagnostics.residence import doc_residence_time
    from invbgc.diagnostics.scalars import carbon_scalars, scalar_table
    from invbgc.diagnostics.sequestration import retention_weights, sequestration
    from invbgc.diagnostics.warming import warming_effect
    from invbgc.errors import CheckpointError, ConservationError, ConvergenceError, InputError, InvbgcError
    from invbgc.grid import OceanGrid
    from invbgc.inference.chains import Chains
    from invbgc.inference.coordinates import Coordinates, whitened
    from invbgc.inference.errors import estimate_errors, with_errors
    from invbgc.inference.fit import Fit, fit
    from invbgc.inference.importance import asymmetry, importance
    from invbgc.inference.information import contraction, influence
    from invbgc.inference.laplace import Laplace, laplace
    from invbgc.inference.posterior import Evaluation, Posterior
    from invbgc.inference.sample import SamplerOptions, sample_chain
    from invbgc.inference.straighten import straightened
    from invbgc.inference.target import Target, find_target
    from invbgc.inference.twin import synthetic_observations
    from invbgc.inference.twins import coverage, draw_twin
    from invbgc.metrics import xgcm_arguments
    from invbgc.models.mops import MopsModel, MopsOptions, mops_parameters
    from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
    from invbgc.models.tracers import Tracer, TracerModel
    from invbgc.observations import Observations, skill
    from invbgc.parameters import Parameter, ParameterTable
    from invbgc.report import write_report
    from invbgc.run import prepare
    from invbgc.runfile import preset, read_run
    from invbgc.state import State
    from invbgc.transient.atmosphere import Atmosphere, load_atmosphere
    from invbgc.transient.bottles import DatedBottles, cell_means
    from invbgc.transient.calibrate import JointProblem, era_of, fit_scale
    from invbgc.transient.era import IndustrialEra
    from invbgc.transient.industrial import industrial_carbon
    from invbgc.transient.integrate import Clock, Simulation, TransientModel
    from invbgc.transient.isotopes import delta14c, isotope_carbon, isotope_history, steady_isotopes
    from invbgc.transient.rounds import alternate
    from invbgc.transient.summary import Yearbook
    from invbgc.transient.tracers import cfc, cfc_history, ideal_age, radiocarbon_age

__version__ = "0.1.0"

__all__ = [
    "Atmosphere",
    "Chains",
    "CheckpointError",
    "Circulation",
    "Clock",
    "ConservationError",
    "ConvergenceError",
    "Coordinates",
    "DatedBottles",
    "Evaluation",
    "Fit",
    "Forcing",
    "IndustrialEra",
    "InputError",
    "InvbgcError",
    "JointProblem",
    "Laplace",
    "MopsModel",
    "MopsOptions",
    "Observations",
    "OceanGrid",
    "PCOModel",
    "PCOOptions",
    "Parameter",
    "ParameterTable",
    "Posterior",
    "SamplerOptions",
    "Simulation",
    "State",
    "Target",
    "Tracer",
    "TracerModel",
    "TransientModel",
    "Yearbook",
    "alternate",
    "asymmetry",
    "carbon_export",
    "carbon_pumps",
    "carbon_scalars",
    "cell_means",
    "cfc",
    "cfc_history",
    "coarsen",
    "compare_fluxes",
    "contraction",
    "coverage",
    "delta14c",
    "doc_residence_time",
    "draw_twin",
    "era_of",
    "estimate_errors",
    "find_target",
    "fit",
    "fit_scale",
    "flux_at_depth",
    "flux_at_mixed_layer",
    "ideal_age",
    "idealised_forcing",
    "importance",
    "industrial_carbon",
    "influence",
    "isotope_carbon",
    "isotope_history",
    "laplace",
    "list_datasets",
    "load_atmosphere",
    "load_circulation",
    "load_dataset",
    "mops_parameters",
    "open_dataset",
    "pco_parameters",
    "plots",
    "prepare",
    "preset",
    "radiocarbon_age",
    "read_flux_table",
    "read_run",
    "region_totals",
    "retention_weights",
    "sample_chain",
    "scalar_table",
    "sequestration",
    "skill",
    "station_table",
    "steady_isotopes",
    "storage",
    "straightened",
    "synthetic_observations",
    "traps",
    "units",
    "verify",
    "warming_effect",
    "whitened",
    "with_errors",
    "write_circulation",
    "write_report",
    "xgcm_arguments",
    "zonal_bands",
]

_HOMES = {
    "invbgc.circulation": ("Circulation", "coarsen", "load_circulation", "write_circulation"),
    "invbgc.datasets": ("Forcing", "list_datasets", "load_dataset", "open_dataset"),
    "invbgc.datasets.idealised": ("idealised_forcing",),
    "invbgc.diagnostics.compare": ("compare_fluxes", "read_flux_table"),
    "invbgc.diagnostics.export": ("carbon_export", "flux_at_depth", "flux_at_mixed_layer"),
    "invbgc.diagnostics.places": ("region_totals", "station_table", "zonal_bands"),
    "invbgc.diagnostics.pumps": ("carbon_pumps",),
    "invbgc.diagnostics.residence": ("doc_residence_time",),
    "invbgc.diagnostics.scalars": ("carbon_scalars", "scalar_table"),
    "invbgc.diagnostics.sequestration": ("retention_weights", "sequestration"),
    "invbgc.diagnostics.warming": ("warming_effect",),
    "invbgc.errors": ("CheckpointError", "ConservationError", "ConvergenceError", "InputError", "InvbgcError"),
    "invbgc.grid": ("OceanGrid",),
    "invbgc.inference.fit": ("Fit", "fit"),
    "invbgc.inference.laplace": ("Laplace", "laplace"),
    "invbgc.inference.posterior": ("Evaluation", "Posterior"),
    "invbgc.inference.chains": ("Chains",),
    "invbgc.inference.coordinates": ("Coordinates", "whitened"),
    "invbgc.inference.errors": ("estimate_errors", "with_errors"),
    "invbgc.inference.importance": ("asymmetry", "importance"),
    "invbgc.inference.information": ("contraction", "influence"),
    "invbgc.inference.sample": ("SamplerOptions", "sample_chain"),
    "invbgc.inference.straighten": ("straightened",),
    "invbgc.inference.target": ("Target", "find_target"),
    "invbgc.inference.twins": ("coverage", "draw_twin"),
    "invbgc.inference.twin": ("synthetic_observations",),
    "invbgc.metrics": ("xgcm_arguments",),
    "invbgc.models.pco": ("PCOModel", "PCOOptions", "pco_parameters"),
    "invbgc.models.mops": ("MopsModel", "MopsOptions", "mops_parameters"),
    "invbgc.models.tracers": ("Tracer", "TracerModel"),
    "invbgc.observations": ("Observations", "skill"),
    "invbgc.parameters": ("Parameter", "ParameterTable"),
    "invbgc.report": ("write_report",),
    "invbgc.run": ("prepare",),
    "invbgc.runfile": ("preset", "read_run"),
    "invbgc.state": ("State",),
    "invbgc.transient.atmosphere": ("Atmosphere", "load_atmosphere"),
    "invbgc.transient.bottles": ("DatedBottles", "cell_means"),
    "invbgc.transient.calibrate": ("JointProblem", "era_of", "fit_scale"),
    "invbgc.transient.era": ("IndustrialEra",),
    "invbgc.transient.industrial": ("industrial_carbon",),
    "invbgc.transient.integrate": ("Clock", "Simulation", "TransientModel"),
    "invbgc.transient.isotopes": ("delta14c", "isotope_carbon", "isotope_history", "steady_isotopes"),
    "invbgc.transient.rounds": ("alternate",),
    "invbgc.transient.summary": ("Yearbook",),
    "invbgc.transient.tracers": ("cfc", "cfc_history", "ideal_age", "radiocarbon_age"),
}
_MODULE_OF = {name: module for module, names in _HOMES.items() for name in names}
_MODULES = ("plots", "storage", "traps", "units", "verify")


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    if name in _MODULE_OF:
        value = getattr(import_module(_MODULE_OF[name]), name)
    elif name in _MODULES:
        value = import_module(f"invbgc.{name}")
    else:
        raise AttributeError(f"module 'invbgc' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
