"""The labile pool of the paper's second round, for states of the first round too.

The first round of Wang et al. (2023) has no labile pool; the second gives it what the satellite sees and the model does
not produce, J_l = C_sat - P, and respires it within hours at the rate kappa_l. It hardly touches the observed tracers,
so that it can be added to any fitted state.
"""

from typing import Any

import numpy as np

from invbgc.constants import DAY
from invbgc.errors import InputError
from invbgc.models.pco.model import PCOModel
from invbgc.state import State


def labile_hours_of(model: PCOModel, labile_hours: float | None = None) -> float:
    """Respiration time 1/kappa_l of labile DOC, hours: the one given, or the model's own where none is.

    Raises:
        InputError: it is not positive, or the model holds labile DOC that is respired in another time.
    """
    own = model.options.kappa_l_hours
    hours = own if labile_hours is None else float(labile_hours)
    if not 0.0 < hours < np.inf:
        raise InputError(f"labile_hours = {hours}; expected a positive number of hours.")
    if hours != own and (model.options.labile == "satellite_residual" or model.options.labile_fraction > 0.0):
        raise InputError(
            f"labile_hours = {hours}, but this model holds labile DOC that is respired in {own:g} hours; expected "
            "that, or the state of a model with another kappa_l_hours."
        )
    return hours


def labile_rate(model: PCOModel, labile_hours: float | None = None) -> float:
    """kappa_l, s-1; arguments and errors as `labile_hours_of`."""
    return 24.0 / (labile_hours_of(model, labile_hours) * DAY)


def labile_production(model: PCOModel, production: Any) -> Any:
    """Labile production delta P + J_l with J_l = C_sat - P; negative where the model produces more than is seen.

    Args:
        model: the model.
        production: P [n_wet] mmol m-3 s-1, NumPy or JAX.

    Returns:
        [n_wet] mmol m-3 s-1, of the same array kind. Source: Wang et al. (2023), Methods, C model.
    """
    return model.options.labile_fraction * production + model.environment.satellite_carbon - production


def labile_pool(state: State, labile_hours: float | None = None) -> np.ndarray:
    """Labile DOC, (T + kappa_l) DOCl = delta P + J_l.

    Args:
        state: a steady state. One whose model has this pool (option labile = "satellite_residual") keeps its own.
        labile_hours: 1/kappa_l, hours; the model's own where absent.

    Returns:
        [n_wet] mmol m-3. Source: Wang et al. (2023), Methods, C model.

    Raises:
        InputError: as `labile_hours_of`.
    """
    model, rate = state.model, labile_rate(state.model, labile_hours)
    if model.options.labile == "satellite_residual":
        return np.asarray(state.fields["DOCl"])
    system = model.systems["tracer"]
    production = labile_production(model, state.diagnostics["production"])
    return system.solve(system.factorise(np.full(model.grid.n_wet, rate)), production)
