"""States that several test modules look at; each is made once per process."""

from functools import cache

from invbgc.datasets.idealised import idealised_forcing
from invbgc.inference.posterior import Posterior
from invbgc.inference.twins import TwinErrors, draw_twin
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters
from invbgc.observations import Observations
from invbgc.run import prepare
from invbgc.runfile import preset
from invbgc.state import State
from tests.properties.cases import CIRCULATIONS


@cache
def toy_state(circulation: str, options: PCOOptions) -> State:
    """The steady state of a toy ocean under made-up forcing, with the published parameters."""
    ocean = CIRCULATIONS[circulation]()
    forcing = idealised_forcing(ocean.grid)
    model = PCOModel(ocean, forcing, options, pco_parameters("published"), "superlu")
    posterior = Posterior(model, Observations.from_fields({"DIP": forcing.phosphate}, ocean.grid))
    return posterior.simulate(model.table.to_vector())


@cache
def embedded_8deg_state() -> State:
    """The steady state of the 8-degree embedded ocean with the published parameters."""
    return prepare(preset("embedded_8deg")).simulate(pco_parameters("published").to_vector())


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
