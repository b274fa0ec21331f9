"""States that several test modules look at; each is solved once per test run, by whichever process needs it first."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from invbgc.datasets.idealised import idealised_forcing
from invbgc.inference.checkpoint import digest
from invbgc.inference.posterior import Posterior
from invbgc.inference.twins import TwinErrors, draw_twin
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.observations import Observations
from invbgc.run import prepare
from invbgc.runfile import preset
from invbgc.state import State
from tests.properties.cases import CIRCULATIONS


def solved_once(posterior: Posterior, x: np.ndarray, *name: object) -> State:
    """The steady state at x, read where another process of this test run has solved it: compiling takes ten seconds."""
    folder = os.environ.get("INVBGC_TESTS_STATES")
    path = None if folder is None else Path(folder) / f"{digest([str(part) for part in name])}.npz"
    if path is None or not path.is_file():
        state = posterior.simulate(x)
        if path is not None:
            whole = path.with_suffix(f".{os.getpid()}.npz")
            arrays: dict[str, Any] = {key: np.asarray(part) for key, part in state.fields.items()}
            np.savez(whole, **arrays)
            whole.replace(path)
        return state
    with np.load(path) as stored:
        fields = {key: jnp.asarray(stored[key]) for key in stored.files}
    values = {key: float(value) for key, value in posterior.table.to_values(x).items()}
    return State(posterior.model, x, values, fields)


@cache
def toy_model(circulation: str, options: PCOOptions) -> PCOModel:
    """The model of a toy ocean under made-up forcing, with the published parameters; compiled once per process."""
    ocean = CIRCULATIONS[circulation]()
    return PCOModel(ocean, idealised_forcing(ocean.grid), options, pco_parameters("published"), "superlu")


@cache
def toy_state(circulation: str, options: PCOOptions) -> State:
    """The steady state of a toy ocean."""
    model = toy_model(circulation, options)
    posterior = Posterior(model, Observations.from_fields({"DIP": model.forcing.phosphate}, model.grid))
    return solved_once(posterior, model.table.to_vector(), circulation, options)


@cache
def embedded_8deg_state() -> State:
    """The steady state of the 8-degree embedded ocean with the published parameters."""
    posterior = prepare(preset("embedded_8deg"))
    return solved_once(posterior, pco_parameters("published").to_vector(), "embedded_8deg")


@cache
def few_box_posterior() -> Posterior:
    """Five free parameters, three with priors, on 22 boxes, observed as the model itself with errors."""
    ocean = CIRCULATIONS["few_box"]()
    forcing = idealised_forcing(ocean.grid)
    table = pco_parameters("published")
    table = table.freeze(set(table.names) - {"sigma_P", "kappa_dP", "b_P_slope", "b_C", "eta"})
    for name, sd in (("sigma_P", 0.2), ("kappa_dP", 0.3), ("b_C", 0.1)):
        table = table.with_prior(name, table[name].value, sd)
    model = PCOModel(ocean, forcing, PCOOptions(), table, "superlu")
    everywhere = dict.fromkeys(("DIP", "DIC", "O2"), forcing.phosphate)
    return draw_twin(Posterior(model, Observations.from_fields(everywhere, ocean.grid)), 1, TwinErrors(0.05))[0]
